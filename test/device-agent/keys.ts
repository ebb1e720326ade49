/** Who may redirect the test's devices, and who may not. */
import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';

/** The keys of who may redirect the fleet: the public ones are built into the devices. */
function signingKey(): { key: string; pin: string } {
  const { privateKey } = generateKeyPairSync('ed25519');
  const raw = (der: Buffer): string => der.subarray(-32).toString('base64');
  return {
    key: raw(privateKey.export({ format: 'der', type: 'pkcs8' })),
    pin: raw(createPublicKey(privateKey).export({ format: 'der', type: 'spki' })),
  };
}
export const [current, next, stranger] = [signingKey(), signingKey(), signingKey()];
/** Waits until it is so. */
export async function until(what: string, holds: () => boolean | Promise<boolean>, ms = 60_000): Promise<void> {
  for (const deadline = Date.now() + ms; !(await holds()); await setTimeout(50))
    if (Date.now() > deadline) throw new Error(`not within ${ms} ms: ${what}`);
}
