/** Who may redirect the test's devices, and who may not. */
import { setTimeout } from 'node:timers/promises';
import { signingKey } from '../../emulators/redirect-keys.ts';

/** The public ones are built into the devices. */
export const [current, next, stranger] = [signingKey(), signingKey(), signingKey()];
/** Waits until it is so. */
export async function until(what: string, holds: () => boolean | Promise<boolean>, ms = 60_000): Promise<void> {
  for (const deadline = Date.now() + ms; !(await holds()); await setTimeout(50))
    if (Date.now() > deadline) throw new Error(`not within ${ms} ms: ${what}`);
}
