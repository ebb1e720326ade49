/** Orders of object keys, and listings that follow one. */

const beyondBasicPlane = /[\ud800-\udfff]/;

/** UTF-8 order, in which S3 and Cloud Storage list: JavaScript's own differs beyond the basic plane only. */
export function compareKeys(a: string, b: string): number {
  if (a === b) return 0;
  const plain = a < b ? -1 : 1;
  if (!beyondBasicPlane.test(a) && !beyondBasicPlane.test(b)) return plain;
  for (let at = 0; ; ) {
    const [left, right] = [a.codePointAt(at), b.codePointAt(at)];
    if (left !== right) return (left ?? -1) < (right ?? -1) ? -1 : 1;
    at += (left ?? 0) > 0xffff ? 2 : 1;
  }
}

/**
 * Whether a key lies after the end of a range ('' for no end) in every order that a cloud lists in: where the orders of
 * UTF-8 and UTF-16 disagree, a key counts as within, and is then looked at twice rather than never.
 */
export const isBeyond = (key: string, end: string): boolean => end !== '' && key > end && compareKeys(key, end) > 0;

/** What stands under a key in two listings. */
export interface Pair<T> {
  key: string;
  source: T | undefined;
  target: T | undefined;
}

/**
 * Two listings side by side, in constant memory. Both in UTF-8 order, each key comes once; where a listing is not, what
 * belongs together may come as two halves, so that whoever acts on a half looks again first.
 */
export async function* mergeListings<T extends { key: string }>(
  source: AsyncIterable<T>,
  target: AsyncIterable<T>,
): AsyncGenerator<Pair<T>> {
  const [left, right] = [source[Symbol.asyncIterator](), target[Symbol.asyncIterator]()];
  try {
    let [a, b] = await Promise.all([left.next(), right.next()]);
    while (!a.done || !b.done) {
      const order = a.done ? 1 : b.done ? -1 : compareKeys(a.value.key, b.value.key);
      const one = order <= 0 && !a.done ? a.value : undefined;
      const other = order >= 0 && !b.done ? b.value : undefined;
      yield { key: (one ?? other)?.key ?? '', source: one, target: other };
      if (one && other) [a, b] = await Promise.all([left.next(), right.next()]);
      else if (one) a = await left.next();
      else b = await right.next();
    }
  } finally {
    await Promise.all([left.return?.(), right.return?.()]);
  }
}
