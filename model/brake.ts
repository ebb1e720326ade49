/**
 * The brake against spreading a disaster: where unusually many objects of a side are to be deleted or replaced, the direction
 * that comes with the next one is held before it, and a person is asked.
 */
export const brakeWindowMs = 10 * 60_000;

/**
 * What was deleted and replaced on a side in the last 10 minutes, from wherever it came: by key, when last, ms. A key that is
 * written again and again is one object, so it counts once.
 */
export interface BrakeWindow {
  delete: Map<string, number>;
  overwrite: Map<string, number>;
}

/** Of the estate file, else `least` or 1 % of the target's objects, whichever is more. */
export const brakeLimit = (maxDeletes: number | undefined, objects: number, least = 1000): number =>
  maxDeletes ?? Math.max(least, Math.floor(objects / 100));

/**
 * Whether one more may be deleted or replaced; if so, it stands in the window, which is changed in place: it may hold a
 * million keys. At most `limit` of each kind go through in any 10 minutes.
 */
export function admit(
  window: BrakeWindow,
  { key, does, at, limit }: { key: string; does: keyof BrakeWindow; at: number; limit: number },
): boolean {
  const keys = window[does];
  if (!keys.has(key) && keys.size >= limit) {
    for (const [one, last] of keys) if (at - last >= brakeWindowMs) keys.delete(one);
    if (keys.size >= limit) return false;
  }
  keys.set(key, at);
  return true;
}
