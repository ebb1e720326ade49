/** Copying the versions that a store keeps behind its current objects: what the activity is asked and answers. */
import { z } from 'zod';
import { type CopiedObjects, CopyShardInput } from './transfer.ts';

export const CopyVersionsInput = CopyShardInput.extend({
  /** Whether a history goes on without what cannot be copied; else it stops there, and another attempt goes on. */
  passOver: z.boolean().default(false),
});
export type CopyVersionsInput = z.input<typeof CopyVersionsInput>;

/** Counts versions, not objects. */
export interface CopiedVersions extends CopiedObjects {
  /** Deletions between them that were done at the target as well. */
  deletions: number;
  /** Came between two passes that copy only what is current: they are not there, and cannot be put there any more. */
  missed: number;
}

/** How far a measurement has come, and what it has seen. */
export const VersionsHeld = z.strictObject({
  cursor: z.string(),
  objects: z.number().int(),
  bytes: z.number(),
  deletions: z.number().int(),
});
