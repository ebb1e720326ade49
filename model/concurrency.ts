/** How many calls may be under way at once: one more for each round that went well, half as many when a cloud throttles. */

export interface Concurrency {
  /** Calls at once; its whole part counts. */
  limit: number;
  /** No call starts before this time, milliseconds. */
  pausedUntil: number;
}

export const concurrencyBounds = { start: 32, least: 1, most: 64 } as const;

export const startConcurrency = (): Concurrency => ({ limit: concurrencyBounds.start, pausedUntil: 0 });

export const afterSuccess = ({ limit, pausedUntil }: Concurrency): Concurrency => ({
  limit: Math.min(concurrencyBounds.most, limit + 1 / limit),
  pausedUntil,
});

/**
 * A throttled answer. Calls that were under way when the pause began are throttled by the same cause: they lengthen the
 * pause, and do not halve again.
 */
export function afterThrottled({ limit, pausedUntil }: Concurrency, now: number, delayMs: number): Concurrency {
  const paused = now < pausedUntil;
  return {
    limit: paused ? limit : Math.max(concurrencyBounds.least, Math.floor(limit / 2)),
    pausedUntil: Math.max(pausedUntil, now + delayMs),
  };
}
