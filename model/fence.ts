/**
 * A fence: writers of a store other than our workers are refused by the cloud itself, readers go on. Set before the last
 * delta of a migration, with an owner and an expiry, so that one without a living owner is found.
 */
import { z } from 'zod';

/** The run that has set a fence, and alone may lift it. */
export const FenceOwner = z.strictObject({ workflowId: z.string().min(1), runId: z.string().min(1) });
export type FenceOwner = z.infer<typeof FenceOwner>;

const Time = z.iso.datetime();

export const Fence = z.strictObject({
  owner: FenceOwner,
  setAt: Time,
  /** ISO time. The cloud does not lift it then: whoever looks finds it and asks its owner, or `recover` lifts it. */
  expiresAt: Time,
});
export type Fence = z.infer<typeof Fence>;

/** Who can write to a store, and by what: a role, a policy, keys. */
export interface Writer {
  /** The cloud's own name: an ARN, an object ID in Entra, an IAM member. */
  identity: string;
  by: string;
}

/** What a look at a store before it is fenced tells. Nothing was changed. */
export interface FenceProof {
  /** Rights that the worker lacks to set the fence or to lift it, in the cloud's own names. */
  missing: string[];
  /** What lifting would restore, in a line; tried out on what stands there now. */
  undo: string;
  /** Can write now, and will be refused. */
  writers: Writer[];
  /** Can write now, and the fence would not stop them: rights that come from above the store. */
  escapes: Writer[];
  /** Uploads begun and not completed: they can't be completed under the fence. */
  uploads: { count: number; first: string[] };
  /** What the cloud can't tell: links already issued, uploads it does not list, writers it does not name. */
  unknown: string[];
  settles: Settling;
}

/** How long the cloud may take until a change of rights holds everywhere. */
export interface Settling {
  /** Milliseconds at most; absent where the cloud publishes no figure. */
  longestMs?: number | undefined;
  /** Where that stands, and the date it was read. */
  source: string;
}

/** What stands there now. */
export interface FenceState {
  fence: Fence | null;
  /** The store's rights are as the fence has set them; false also where somebody took part of it away. */
  inForce: boolean;
  /** Can write in spite of it. */
  escapes: Writer[];
}

/** Kept in the records bucket of the store's region, written before the store's rights are touched. */
export const FenceRecord = z.strictObject({
  v: z.literal(1),
  uid: z.string(),
  ...Fence.shape,
  state: z.enum(['set', 'lifted']),
  /** Identities that it lets through, besides the one that has set it. */
  exempt: z.array(z.string()).default([]),
  /** The rights on the store before the fence, in the driver's own shape: what lifting restores. */
  before: z.record(z.string(), z.json()),
});
export type FenceRecord = z.infer<typeof FenceRecord>;

/** Key in the records bucket. */
export const fenceKey = ({
  service,
  provider,
  generation,
}: {
  service: string;
  provider: string;
  generation: number;
}) => `fences/${service}/${provider}-${generation}.json`;
