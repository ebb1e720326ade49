/** Following a store: what the pumps of `activities/replication` are asked and answer. */
import { z } from 'zod';
import { type CopiedDelta, CopyDeltaInput } from './transfer.ts';

/** Passes that one pump may make; each pump has numbers of its own, so that one that was cut off is never taken for done. */
export const passesPerPump = 100_000;

export const FollowStoreInput = CopyDeltaInput.omit({ round: true }).extend({
  /** Counts the pumps of a transfer. */
  pump: z.number().int().min(0),
  /** From the end of one pass to the begin of the next, milliseconds. */
  intervalMs: z.number().int().min(10),
  /** After this long it returns, so that the history of who follows stays short; milliseconds. */
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
}
