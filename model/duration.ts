/** Durations as people write them in the estate file: `30s`, `5m`, `72h`, `7d`. */
import { z } from 'zod';

const units: Record<string, number> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

const durationPattern = /^([1-9][0-9]{0,5})(s|m|h|d)$/;

export const Duration = z.string().regex(durationPattern).describe('a duration such as 30s, 5m, 72h, 7d');

/** Milliseconds. The text must match, as everything that `Duration` took does. */
export function durationMs(text: string): number {
  const [, amount, unit] = durationPattern.exec(text) ?? [];
  const factor = unit === undefined ? undefined : units[unit];
  if (amount === undefined || factor === undefined) throw new RangeError(`not a duration: ${JSON.stringify(text)}`);
  return Number(amount) * factor;
}
