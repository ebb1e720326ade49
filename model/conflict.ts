/**
 * Which of two changes of one key stands, where a key may be changed on several sides. A side is a placement of a replicated
 * service, named by its provider. All of it is pure, and the same on whatever side it is asked.
 */
import { z } from 'zod';

const Time = z.int().min(0);
/** The name of its provider. */
export const SideName = z
  .string()
  .regex(/^[a-z][a-z0-9_-]{0,30}$/)
  .describe('[a-z][a-z0-9_-]{0,30}');

/**
 * When and where a change was made. Fixed once, when it is captured on the side it was made on; whoever carries it on leaves
 * it as it is. No two changes of a key have the same one.
 */
export const Stamp = z.strictObject({
  /** Of the cloud's own clock; ms since 1970. Later than all that the change has superseded on its side. */
  time: Time,
  /** The side it was made on. */
  origin: SideName,
  /** The cloud's own order of the changes of one key: a sequencer, generation or version; '' where none was told. */
  sequence: z.string().regex(/^[0-9A-Za-z._:-]{0,128}$/),
});
export type Stamp = z.infer<typeof Stamp>;

/** A write or a delete: its stamp, and what it came after. */
export const Change = z.strictObject({
  stamp: Stamp,
  /**
   * A version vector: by side, the time of the last of its changes of this key that this one came after, itself included.
   * What it does not cover was made by somebody who had not seen this one, nor the other way round.
   */
  seen: z.record(SideName, Time),
});
export type Change = z.infer<typeof Change>;

/** By the number that they end in where both are of one kind; a shorter one is a smaller number. */
export const compareSequences = (a: string, b: string): number => {
  const length = Math.max(a.length, b.length);
  const [left, right] = [a.padStart(length, '0'), b.padStart(length, '0')];
  return left === right ? 0 : left < right ? -1 : 1;
};

/** Total order of the changes of a key: time, then the name of the side, then the side's own sequence. */
export function compareStamps(a: Stamp, b: Stamp): number {
  if (a.time !== b.time) return a.time - b.time;
  if (a.origin !== b.origin) return a.origin < b.origin ? -1 : 1;
  return compareSequences(a.sequence, b.sequence);
}

export const isSame = (a: Change, b: Change): boolean => compareStamps(a.stamp, b.stamp) === 0;

/** Whether `later` was made knowing `earlier`: then it replaces it, and nothing is lost. */
export const covers = (later: Change, earlier: Change): boolean =>
  (later.seen[earlier.stamp.origin] ?? -1) >= earlier.stamp.time;

/** How far ahead of the capturing worker's clock a stamp may be, ms. */
export const clampMs = 5000;

export interface Clamped {
  side: string;
  /** How far the cloud's time was ahead of the worker's clock, ms. One of the two is wrong. */
  aheadMs: number;
}

/**
 * The change that was made on `side` over what stood there before. Its time is the cloud's, held to the worker's clock and
 * 5 s, but always after what it came after: a side whose clock is behind does not lose what it has changed knowingly.
 */
export function successor(made: {
  side: string;
  time: number;
  sequence: string;
  after: Change | undefined;
  now: number;
}): {
  change: Change;
  clamped?: Clamped | undefined;
} {
  const { side, sequence, after, now } = made;
  const aheadMs = made.time - now;
  const told = aheadMs > clampMs ? now + clampMs : made.time;
  const time = after ? Math.max(told, after.stamp.time + 1) : told;
  return {
    change: { stamp: { time, origin: side, sequence }, seen: { ...after?.seen, [side]: time } },
    ...(aheadMs > clampMs && { clamped: { side, aheadMs } }),
  };
}

/**
 * What decides between two changes of a key: a total order, so that all sides end at the same change in whatever order they
 * hear of them; and what becomes of a loser that the winner does not cover.
 */
export interface ConflictRule {
  outranks(a: Change, b: Change): boolean;
  /** `logged`: with its bytes, before it goes. `kept`: as an object beside the winner (`keptKey`). */
  loser: 'logged' | 'kept';
}

export const conflictRuleNames = ['last-write-wins', 'source-wins', 'keep-both'] as const;
export type ConflictRuleName = (typeof conflictRuleNames)[number];

const isLater = (a: Change, b: Change): boolean => compareStamps(a.stamp, b.stamp) > 0;

/** `source`: the side whose changes stand against all others where the rule is `source-wins`. */
export function conflictRule(name: ConflictRuleName, source: string): ConflictRule {
  switch (name) {
    case 'last-write-wins':
      return { outranks: isLater, loser: 'logged' };
    case 'keep-both':
      return { outranks: isLater, loser: 'kept' };
    case 'source-wins':
      return {
        outranks: (a, b) => {
          const [ofSource, other] = [a.stamp.origin === source, b.stamp.origin === source];
          return ofSource === other ? isLater(a, b) : ofSource;
        },
        loser: 'logged',
      };
  }
}

/** Bytes of the longest key that all three clouds take. */
const longestKey = 1024;

/**
 * Where `keep-both` puts the loser: the same name on every side, and another one for each loser. Undefined where it would be
 * too long a key.
 */
export function keptKey(key: string, { origin, time }: Stamp): string | undefined {
  const slash = key.lastIndexOf('/');
  const dot = key.lastIndexOf('.');
  const at = dot > slash + 1 ? dot : key.length;
  const kept = `${key.slice(0, at)}.conflict-${origin}-${time}${key.slice(at)}`;
  return new TextEncoder().encode(kept).length > longestKey ? undefined : kept;
}
