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

/** What stands under a key in several listings, in their order. */
export interface Row<T> {
  key: string;
  at: (T | undefined)[];
}

/** What stands under a key in two listings. */
export interface Pair<T> {
  key: string;
  source: T | undefined;
  target: T | undefined;
}

/**
 * Listings side by side, in constant memory. All in UTF-8 order, each key comes once; where a listing is not, what belongs
 * together may come in pieces, so that whoever acts on a piece looks again first.
 */
export async function* mergeAll<T extends { key: string }>(
  listings: readonly AsyncIterable<T>[],
): AsyncGenerator<Row<T>> {
  const open = listings.map((listing) => listing[Symbol.asyncIterator]());
  try {
    const heads = await Promise.all(open.map((one) => one.next()));
    for (;;) {
      let key: string | undefined;
      for (const head of heads)
        if (!head.done && (key === undefined || compareKeys(head.value.key, key) < 0)) key = head.value.key;
      if (key === undefined) return;
      const at = heads.map((head) => (!head.done && head.value.key === key ? head.value : undefined));
      yield { key, at };
      await Promise.all(
        at.map(async (taken, side) => {
          const next = taken && (await open[side]?.next());
          if (next) heads[side] = next;
        }),
      );
    }
  } finally {
    await Promise.all(open.map((one) => one.return?.()));
  }
}

export async function* mergeListings<T extends { key: string }>(
  source: AsyncIterable<T>,
  target: AsyncIterable<T>,
): AsyncGenerator<Pair<T>> {
  for await (const { key, at } of mergeAll([source, target])) yield { key, source: at[0], target: at[1] };
}
