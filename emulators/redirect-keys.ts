/** The keys that redirects of devices are signed by on the local clouds: made once in the state folder. */
import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface RedirectKeys {
  /** File with the private key in use, as the worker that sends redirects takes it. */
  keyFile: string;
  /** Public keys for the devices: the one in use, and the one that follows it. */
  pins: [current: string, next: string];
}

export function redirectKeys(folder: string): RedirectKeys {
  const keyFile = join(folder, 'redirect.key');
  const pinsFile = join(folder, 'redirect-pins.json');
  if (!existsSync(pinsFile)) {
    const [current, next] = [signingKey(), signingKey()];
    mkdirSync(folder, { recursive: true });
    writeFileSync(keyFile, current.key, { mode: 0o600 });
    writeFileSync(join(folder, 'redirect-next.key'), next.key, { mode: 0o600 });
    writeFileSync(pinsFile, JSON.stringify([current.pin, next.pin]));
  }
  return { keyFile, pins: JSON.parse(readFileSync(pinsFile, 'utf8')) };
}

/** The last 32 bytes of either form are the key itself. */
export function signingKey(): { key: string; pin: string } {
  const { privateKey } = generateKeyPairSync('ed25519');
  const raw = (der: Buffer): string => der.subarray(-32).toString('base64');
  return {
    key: raw(privateKey.export({ format: 'der', type: 'pkcs8' })),
    pin: raw(createPublicKey(privateKey).export({ format: 'der', type: 'spki' })),
  };
}
