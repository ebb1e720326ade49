/** Following a store: what the pumps of `activities/replication` are asked and answer. */
import { z } from 'zod';
import { type CopiedDelta, CopyDeltaInput } from './transfer.ts';

/** Passes that one pump may make; each pump has numbers of its own, so that one that was cut off is never taken for done. */
export const passesPerPump = 100_000;

export const FollowStoreInput = CopyDeltaInput.omit({ round: true }).extend({
  /** Counts the pumps of a transfer. */
  pump: z.number().int().min(0),
  /**
   * Whether the source's cloud tells of changes (`ensureFeed`): each pump then begins with one pass, and goes on with what it is
   * told. Where the feed cannot be read there are passes, as without one.
   */
  feed: z.boolean().default(false),
  /** From the end of one pass to the begin of the next, milliseconds. */
  intervalMs: z.number().int().min(10),
  /** After this long, with a feed after its pass, it returns, so that the history of who follows stays short; milliseconds. */
  forMs: z.number().int().min(0),
  /** Return as soon as a pass finds no more than this many objects behind. */
  untilBehind: z.number().int().min(0).optional(),
});
export type FollowStoreInput = z.input<typeof FollowStoreInput>;

export interface FollowedStore {
  /** What the last whole pass did. */
  last: CopiedDelta;
  /** When it began, ISO: what was written before it is at the target. */
  inStepAt: string;
  /** What the source's cloud has told since, where it was asked. */
  feed?: FollowedFeed;
}

/** A feed may tell late, or leave something out: it says how soon changes arrive, not that none is missing. */
export interface FollowedFeed {
  /** Changes that were brought to the target; one that it had already is none. */
  applied: number;
  /** Notices that were under way when it was asked the last time. */
  behind: number;
  /** It then told of nothing that had happened more than some seconds before. */
  caughtUp: boolean;
  /** The longest of the last minute or two, from when a change happened, as the cloud tells, until it was at the target. */
  lagMs: number;
  /** Why it cannot be read; following goes on by passes. Empty where it can. */
  problem: string;
}
