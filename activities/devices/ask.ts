/** How many requests a second one activity makes to a cloud, and how a request is made: in turn, repeated, guarded, bounded. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Ask } from '../providers/device-registry.ts';
import type { Provider } from '../providers/driver.ts';
import { guarded } from '../providers/provision.ts';
import { Gate } from '../transfer/gate.ts';

/** Requests that may be made at once after a pause: a quarter of a second's. */
const burstSeconds = 0.25;

/** A bucket of tokens, filled at a steady rate. Whoever takes one that is not there yet waits for it, in turn. */
export class Rate {
  readonly #perSecond: number;
  #taken: number;

  constructor(perSecond: number) {
    this.#perSecond = perSecond;
    this.#taken = performance.now() - 1000 * burstSeconds;
  }

  async take(signal: AbortSignal): Promise<void> {
    const now = performance.now();
    this.#taken = Math.max(this.#taken, now - 1000 * burstSeconds) + 1000 / this.#perSecond;
    if (this.#taken > now) await sleep(this.#taken - now, undefined, { signal });
  }
}

/** Rates by what they are for: activities that follow one another in a worker use what the one before has left of its time. */
export class Rates {
  readonly #rates = new Map<string, Rate>();

  of(what: string, perSecond: number): Rate {
    const key = `${what} ${perSecond}`;
    const rate = this.#rates.get(key) ?? new Rate(perSecond);
    // The newest last: what was not asked for longest goes first.
    this.#rates.delete(key);
    this.#rates.set(key, rate);
    for (const oldest of this.#rates.keys()) {
      if (this.#rates.size <= mostRates) break;
      this.#rates.delete(oldest);
    }
    return rate;
  }
}
const mostRates = 1000;

/** Requests to one cloud. Counts them, repeats included. */
export function asker(
  provider: Provider,
  { rate, deadlineMs, signal }: { rate: Rate; deadlineMs: number; signal: AbortSignal },
): { ask: Ask; calls: () => number } {
  const gate = new Gate(signal);
  let calls = 0;
  const ask: Ask = (operation, resource, request) =>
    gate.run(0, () =>
      gate.call(async () => {
        await rate.take(signal);
        calls++;
        return guarded(provider, operation, resource, () => within(deadlineMs, request()));
      }),
    );
  return { ask, calls: () => calls };
}

/** For clients that have no deadline of their own, which lie below it elsewhere. */
async function within<T>(ms: number, request: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' })), ms);
  });
  try {
    return await Promise.race([request, late]);
  } finally {
    clearTimeout(timer);
  }
}
