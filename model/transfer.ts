/**
 * Moving objects between the stores of two placements: what the activities of `activities/transfer` are asked and answer.
 * Nothing large passes through a workflow: plans, manifests, failures and reports are files in the records bucket of the
 * target's place, and what is passed on is their keys.
 */
import { z } from 'zod';
import { digests } from './estate.ts';
import { RecordedPlacement, RecordedResource } from './record.ts';
import type { Owner } from './service.ts';
import type { CopiedVersions, CopyVersionsInput } from './versions.ts';

const OwnerFields = z.strictObject({
  estate: z.string(),
  uid: z.string(),
  service: z.string(),
  controller: z.string(),
  generation: z.number().int().min(1),
});

/** A placement with the resources that its store is found by. */
export const PlacementRef = RecordedPlacement.pick({
  provider: true,
  providerType: true,
  type: true,
  region: true,
  account: true,
  configuration: true,
}).extend({ owner: OwnerFields, resources: z.array(RecordedResource) });
export type PlacementRef = z.infer<typeof PlacementRef>;

export function placementRef(owner: Omit<Owner, 'generation'>, recorded: RecordedPlacement): PlacementRef {
  const { provider, providerType, type, region, account, configuration, generation, resources } = recorded;
  return {
    owner: { ...owner, generation },
    provider,
    providerType,
    type,
    region,
    account,
    configuration,
    resources,
  };
}

/** What every activity of one transfer is told. */
export const Transfer = z.strictObject({
  source: PlacementRef,
  target: PlacementRef,
  /** Names the transfer's files: the same in all activities of one run, another one in the next. */
  transfer: z.string().regex(/^[A-Za-z0-9_-]{1,64}$/, 'must match [A-Za-z0-9_-]{1,64}'),
  /** What the manifest has of each object that was copied: a CRC-32, or a SHA-256 besides. */
  digest: z.enum(digests).default('crc32'),
});
export type Transfer = z.infer<typeof Transfer>;

/** Objects and their bytes. */
export const Amount = z.strictObject({ objects: z.number().int().min(0), bytes: z.number().min(0) });
export type Amount = z.infer<typeof Amount>;

/** Why an object cannot be at the target as it is at the source. */
export const refusals = [
  /** In a storage class that must be restored before it can be read. */
  'archived',
  /** Encrypted with a key that only its owner has. */
  'customer-key',
  /** A name that the target does not take. */
  'key',
  /** Larger than the target takes, or than the engine can hold a part of. */
  'size',
  /** Under a hold or a retention: it can be copied, its source cannot be removed. */
  'held',
] as const;
export type Refusal = (typeof refusals)[number];

/**
 * What of an object the target has no place for: kept in the metadata of the copy, for readers and for the way back. `lost`:
 * there was no room for it there either.
 */
export const unnatives = ['metadata', 'tags', 'headers', 'lost'] as const;
export type Unnative = (typeof unnatives)[number];

export const PlanTransferInput = Transfer.extend({
  /** Most that a shard may hold: about 30 s of work. */
  shardObjects: z.number().int().min(1).max(50_000).default(5000),
  shardBytes: z
    .number()
    .int()
    .min(1)
    .default(4 * 1024 ** 3),
});
export type PlanTransferInput = z.input<typeof PlanTransferInput>;

export interface PlannedTransfer extends Amount {
  /** Shards are numbered from 0. */
  shards: number;
  /** Key prefix of the plan in the records bucket of the target's place. */
  plan: string;
  refused: Partial<Record<Refusal, number>>;
  /** Key prefix of the files that name each refused object and why, JSON lines; '' where there are none. */
  refusedFiles: string;
}

export const CopyShardInput = Transfer.extend({
  shard: z.number().int().min(0),
  /** Another one tries again what could not be copied; the same one goes on where it stopped. */
  attempt: z.number().int().min(0).default(0),
});
export type CopyShardInput = z.input<typeof CopyShardInput>;

export interface CopiedObjects {
  /** What was looked at. */
  seen: Amount;
  copied: Amount;
  /** Already at the target in the very version. */
  inStep: Amount;
  /** Gone from the source between its listing and its copy. */
  vanished: number;
  /** Changed while they were copied, and copied again. */
  changed: number;
  failed: number;
  /** First names of what failed, at most 5. */
  failedNames: string[];
  unnative: Partial<Record<Unnative, number>>;
  /** Key prefix of the manifest: JSON lines in gzip, one for each object. */
  manifest: string;
  /** Key prefix of the files that name each object that could not be copied and why, JSON lines; '' where there are none. */
  failures: string;
}

export const CopyDeltaInput = Transfer.extend({
  /** Counts the deltas of a transfer: a repeat of the same round goes on where it stopped. */
  round: z.number().int().min(0),
  /** More deletions than this are not carried out, none of them. */
  maxDeletes: z.number().int().min(0),
  /** What becomes of what only the target has: it may be what was never copied, and exist nowhere else. */
  gone: z.enum(['delete', 'keep']).default('delete'),
});
export type CopyDeltaInput = z.input<typeof CopyDeltaInput>;

export interface CopiedDelta extends CopiedObjects {
  /** `held`: more was gone from the source than `maxDeletes`; nothing was deleted. */
  deletes: 'applied' | 'held';
  deleted: number;
  /** Objects of the target that the source no longer has; not deleted where `held`. */
  gone: number;
  /** Objects that differed when they were looked at. */
  behind: number;
  /** Objects that still differ: failed, or held deletions. */
  left: number;
}

export const VerifyTransferInput = Transfer.extend({
  what: z.discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('shard'), shard: z.number().int().min(0) }),
    /** What an attempt to copy the versions of a shard has found done, or done. */
    z.strictObject({ kind: z.literal('versions'), shard: z.number().int().min(0), attempt: z.number().int().min(0) }),
    /** What a delta has copied and deleted. */
    z.strictObject({ kind: z.literal('delta'), round: z.number().int().min(0) }),
    z.strictObject({ kind: z.literal('everything') }),
  ]),
  /** `needed`: bodies are read where no checksum of the clouds can be compared. `all`: the target's bodies are always read. */
  bodies: z.enum(['needed', 'all']).default('needed'),
});
export type VerifyTransferInput = z.input<typeof VerifyTransferInput>;

export const differences = ['missing', 'extra', 'stale', 'content', 'size', 'attributes'] as const;
/**
 * `missing` at the target, `extra` there, `stale`: of an older version of the source, `content` or `size` is not what the
 * source has in that version, `attributes`: content headers differ.
 */
export type Difference = (typeof differences)[number];

export interface VerifiedTransfer {
  /** Compared, and how many of them by their bodies. */
  compared: Amount;
  bodiesRead: Amount;
  same: number;
  different: Partial<Record<Difference, number>>;
  /** First names of what differs, at most 5. */
  differentNames: string[];
  /** Key prefix of the report: JSON lines, one for each difference; '' where there are none. */
  report: string;
}

export const RepairTransferInput = Transfer.extend({
  /** As a verification of this transfer has answered it. */
  report: z.string().min(1),
  /** What becomes of what only the target has. */
  gone: z.enum(['delete', 'keep']),
});
export type RepairTransferInput = z.input<typeof RepairTransferInput>;

export interface RepairedTransfer {
  copied: Amount;
  deleted: number;
  /** Only at the target, and left there. */
  kept: number;
  failed: number;
  /** First names of what failed, each with its reason, at most 5. */
  failedNames: string[];
}

/** More deletions at once than this, in a store of so many objects, are not carried out without asking. */
export const mostDeletes = (objects: number): number => Math.max(1000, Math.floor(objects / 100));

export const CopySampleInput = Transfer.extend({
  /** The first of this many objects, in the order of their names, and so on. */
  every: z.number().int().min(1),
});
export type CopySampleInput = z.input<typeof CopySampleInput>;

export interface CopiedSample extends Amount {
  /** Objects of the sample that cannot be copied. */
  failed: number;
}

export const MeasureStoreInput = z.strictObject({ placement: PlacementRef, versions: z.boolean().default(false) });
export type MeasureStoreInput = z.input<typeof MeasureStoreInput>;

export interface MeasuredStore extends Amount {
  largest: number;
  /** What is kept behind the current objects, where that was asked for. */
  versions?: (Amount & Pick<CopiedVersions, 'deletions'>) | undefined;
}

/** What the activities on the bulk queues do; each goes on where an earlier attempt of it has stopped. */
export interface TransferActivities {
  /** Lists the source and cuts it into shards. */
  planTransfer(input: PlanTransferInput): Promise<PlannedTransfer>;
  /** Brings the target's objects of one shard to what the source has; deletes nothing. */
  copyShard(input: CopyShardInput): Promise<CopiedObjects>;
  /** Copies what the source keeps of a shard behind its current objects; before these are copied. */
  copyVersions(input: CopyVersionsInput): Promise<CopiedVersions>;
  /** Brings the whole target to what the source has, deletions included. */
  copyDelta(input: CopyDeltaInput): Promise<CopiedDelta>;
  verifyTransfer(input: VerifyTransferInput): Promise<VerifiedTransfer>;
  /** Makes the objects that a report names at the target what they are at the source. */
  repairTransfer(input: RepairTransferInput): Promise<RepairedTransfer>;
  /** Copies every n-th object; source and target may be on one cloud. */
  copySample(input: CopySampleInput): Promise<CopiedSample>;
  measureStore(input: MeasureStoreInput): Promise<MeasuredStore>;
  /** As whom this worker writes to the store's cloud, in the words of a fence. */
  nameWriter(input: Pick<MeasureStoreInput, 'placement'>): Promise<string>;
}
