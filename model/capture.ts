/**
 * What a look at a key on one side tells: a change of a user's, which gets its stamp here and keeps it, or a copy of ours.
 * What is known of each key of a side stands in the side's **book**, written only under the condition that it has not
 * changed since it was read, and read before the cloud is asked: an entry then never says of an older object that it is the
 * newer one.
 */
import { z } from 'zod';
import { Change, type Clamped, type ConflictRule, compareSequences, covers, isSame, successor } from './conflict.ts';

/**
 * An expiry by a rule of the bucket does not count for the brake. Where the target has such a rule of its own it does not spread
 * either, and the tombstone counts for as long as another side has the object: else that would come back as new.
 */
const Cause = z.enum(['user', 'lifecycle']);

const Time = z.int().min(0);

/** What stands under a key. */
export const KeyState = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('nothing') }),
  /** `version`: another one after each change of bytes or attributes. `since`: when it came to stand here, ms; the cloud's rules count from then. */
  z.strictObject({ kind: z.literal('object'), version: z.string(), change: Change, since: Time.optional() }),
  /** A tombstone. `recordedAt`: by the clock of the worker that wrote it here, ms; its expiry counts from then. */
  z.strictObject({ kind: z.literal('deleted'), change: Change, cause: Cause, recordedAt: Time }),
]);
export type KeyState = z.infer<typeof KeyState>;
export type Tombstone = Extract<KeyState, { kind: 'deleted' }>;

/**
 * What a worker is about to do here that cannot be told afterwards from what a user does: put a copy where nothing is, or
 * delete. It stands in the book before the act.
 */
const Announced = z.strictObject({ does: z.enum(['copy', 'delete']), change: Change, cause: Cause, at: Time });
export type Announced = z.infer<typeof Announced>;

/** The book's entry of a key. */
export const Entry = z.strictObject({ state: KeyState, announced: z.array(Announced) });
export type Entry = z.infer<typeof Entry>;

export const blank: Entry = { state: { kind: 'nothing' }, announced: [] };

/**
 * How long an announcement is remembered, ms: longer than a call that was given up may still take effect in a cloud.
 */
const announcedMs = 10 * 60_000;

export const announce = (entry: Entry, one: Announced): Entry => ({
  ...entry,
  announced: [...entry.announced.filter(({ at }) => one.at - at < announcedMs), one],
});

/** The entry once `state` stands there: what was announced and has come is not awaited any more. */
export const settle = (entry: Entry, state: KeyState, now: number): Entry => ({
  state,
  announced: entry.announced.filter(
    ({ change, at }) => now - at < announcedMs && !(state.kind !== 'nothing' && isSame(change, state.change)),
  ),
});

/** What the cloud shows under a key. */
export type Look =
  | {
      object: {
        version: string;
        /** Of the event that tells of this very version, else when it was last modified; ms. */
        time: number;
        /** When it was last modified, ms; undefined where nobody asks. */
        since?: number | undefined;
        sequence: string;
        /** Undefined also where its bytes are no longer those that were copied. */
        copyOf: Change | undefined;
      };
    }
  | {
      object: undefined;
      /**
       * When it was deleted, ms: by the event, else as the cloud keeps it of a deleted version, else the begin of the last
       * listing that still showed the key. Undefined where nobody knows.
       */
      time: number | undefined;
      sequence: string;
      cause: z.infer<typeof Cause>;
    };

export interface Captured {
  state: KeyState;
  /** What the book must say before anybody may act on `state`; undefined where it says so already. */
  entry?: Entry | undefined;
  clamped?: Clamped | undefined;
  /** A copy of ours that came too late, after what deleted it: to be logged and removed, and looked again. */
  stray?: { version: string; change: Change; deletedBy: Change } | undefined;
}

export interface CaptureContext {
  side: string;
  rule: ConflictRule;
  /** The capturing worker's clock, ms. */
  now: number;
  /** How long a tombstone counts, ms: `tombstones` of the estate file. */
  tombstoneMs: number;
}

/** Whether a tombstone counts no more. */
export const isOver = ({ cause, recordedAt }: Tombstone, now: number, tombstoneMs: number): boolean =>
  cause === 'user' && now - recordedAt > tombstoneMs;

export function capture(context: CaptureContext, book: Entry, look: Look): Captured {
  const { now, tombstoneMs } = context;
  const expired = book.state.kind === 'deleted' && isOver(book.state, now, tombstoneMs);
  const entry: Entry = expired ? { ...book, state: { kind: 'nothing' } } : book;
  return look.object ? present(context, entry, look.object) : absent(context, entry, look);
}

function present(context: CaptureContext, entry: Entry, object: NonNullable<Look['object']>): Captured {
  const { rule, now } = context;
  const { state } = entry;
  const { version, since, copyOf } = object;
  if (state.kind === 'object' && state.version === version) return { state };
  if (copyOf) {
    const ours = entry.announced.some(({ does, change }) => does === 'copy' && isSame(change, copyOf));
    const isOlder = state.kind !== 'nothing' && covers(state.change, copyOf) && !ours;
    if (state.kind === 'nothing' || (rule.outranks(copyOf, state.change) && !isOlder)) {
      const copied: KeyState = { kind: 'object', version, change: copyOf, since };
      return { state: copied, entry: settle(entry, copied, now) };
    }
    if (ours && state.kind === 'deleted') return { state, stray: { version, change: copyOf, deletedBy: state.change } };
    // An older version that a user has restored, or a copy whose attributes he has changed: a write of his own.
  }
  return made(context, entry, object, (change) => ({ kind: 'object', version, change, since }));
}

function absent(context: CaptureContext, entry: Entry, look: Extract<Look, { object: undefined }>): Captured {
  const { side, rule, now } = context;
  const { state } = entry;
  const { cause, sequence } = look;
  const deleted = (change: Change, of = cause): Tombstone => ({ kind: 'deleted', change, cause: of, recordedAt: now });
  if (state.kind === 'object') {
    const [ours] = entry.announced
      .filter(({ does, change }) => does === 'delete' && rule.outranks(change, state.change))
      .sort((a, b) => (rule.outranks(a.change, b.change) ? -1 : 1));
    if (ours) {
      const tombstone = deleted(ours.change, ours.cause);
      return { state: tombstone, entry: settle(entry, tombstone, now) };
    }
    return made(context, entry, { time: look.time ?? state.change.stamp.time, sequence }, deleted);
  }
  if (look.time === undefined) return { state };
  const again = state.kind === 'deleted' && isLaterDelete(side, state, sequence);
  return state.kind === 'nothing' || again ? made(context, entry, { time: look.time, sequence }, deleted) : { state };
}

/** A delete of this side's own that came after the recorded one: what lay between them was never seen. */
const isLaterDelete = (side: string, { change: { stamp } }: Tombstone, sequence: string): boolean =>
  stamp.origin === side && stamp.sequence !== '' && compareSequences(sequence, stamp.sequence) > 0;

/** A user's change, with the stamp that it keeps. */
function made(
  { side, now }: CaptureContext,
  entry: Entry,
  { time, sequence }: { time: number; sequence: string },
  stateOf: (change: Change) => KeyState,
): Captured {
  const after = entry.state.kind === 'nothing' ? undefined : entry.state.change;
  const { change, clamped } = successor({ side, time, sequence, after, now });
  const state = stateOf(change);
  return { state, entry: settle(entry, state, now), clamped };
}
