/** Cutting a listing into shards: ranges of keys that together hold every key there is, now and later. */
import { z } from 'zod';

/** Keys after `after` up to and with `to`; '' stands for no bound. */
export const Shard = z.strictObject({
  after: z.string(),
  to: z.string(),
  objects: z.number().int().min(0),
  bytes: z.number().min(0),
});
export type Shard = z.infer<typeof Shard>;

export interface ShardLimits {
  objects: number;
  bytes: number;
}

/** The state of a cut that is under way: plain data, so that it can be taken up again. */
export const openShard = (after = ''): Shard => ({ after, to: '', objects: 0, bytes: 0 });

/**
 * Adds the next object of the listing. Where the shard would hold too much it is closed before it; an object that is
 * alone too large has a shard of its own.
 */
export function addToShard(
  shard: Shard,
  last: string,
  object: { size: number },
  limits: ShardLimits,
): { shard: Shard; closed: Shard | undefined } {
  const full = shard.objects >= limits.objects || shard.bytes + object.size > limits.bytes;
  if (shard.objects > 0 && full)
    return {
      closed: { ...shard, to: last },
      shard: { after: last, to: '', objects: 1, bytes: object.size },
    };
  return {
    closed: undefined,
    shard: { ...shard, objects: shard.objects + 1, bytes: shard.bytes + object.size },
  };
}

/**
 * How long the rest of a transfer takes at the pace so far, seconds; undefined while nothing can be said. Objects and bytes
 * each have a pace; whichever is the slower one decides.
 */
export function forecastSeconds(
  total: { objects: number; bytes: number },
  done: { objects: number; bytes: number },
  elapsedSeconds: number,
): number | undefined {
  if (elapsedSeconds <= 0 || done.objects <= 0) return undefined;
  const rest = (all: number, some: number): number =>
    some > 0 ? (Math.max(0, all - some) * elapsedSeconds) / some : 0;
  return Math.max(rest(total.objects, done.objects), rest(total.bytes, done.bytes));
}
