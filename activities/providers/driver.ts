/**
 * The contract between the portable provisioning code and one cloud. A driver is thin: it maps one kind of resource onto
 * the cloud's own SDK, throws whatever the SDK throws, and says at one point (`Provider.classify`) what that means.
 * Adoption, ownership checks, drift, waiting, deadlines, heartbeats, metrics and error shapes are written once, above it,
 * in `provision.ts`.
 */
import type { CloudErrorFields } from '../../model/errors.ts';
import type { FenceOwner, Settling, Writer } from '../../model/fence.ts';
import type { Headroom } from '../../model/quota.ts';
import type {
  JsonObject,
  Outputs,
  Owner,
  Placement,
  ProviderType,
  ResourceSpec,
  ServiceType,
} from '../../model/service.ts';
import type { WeightedRecord } from '../../model/traffic.ts';
import type { PlacementRef } from '../../model/transfer.ts';
import type { FeedDriver } from './change-feed.ts';
import type { Ask, DeviceRegistry } from './device-registry.ts';
import type { Wanted } from './headroom.ts';
import type { ObjectStore } from './object-store.ts';
import type { TelemetryDriver } from './telemetry.ts';

/** What surrounds one call to a resource driver. */
export interface Call {
  placement: Placement;
  /** Outputs of the resources named in `spec.needs`, by key. */
  needs: Record<string, Outputs>;
  /** Aborts when the activity is cancelled or its deadline has passed; hand it to every SDK call that takes one. */
  signal: AbortSignal;
}

export interface Observed {
  /** The cloud's own identifier: ARN, ARM resource ID, self link. */
  id: string;
  /** Read from tags, labels or the nearest tagged parent; undefined when there is none or it is not one of ours. */
  owner: Owner | undefined;
  state: 'creating' | 'ready' | 'deleting' | 'failed';
  /** Normalised to the shape of `ResourceSpec.desired`; may hold more than what is desired. */
  properties: JsonObject;
  outputs: Outputs;
  /** Set on a store that an undo or a remove kept: ISO date. */
  retainedUntil?: string | undefined;
}

/** A resource found by its owner tags, without knowing its placement. */
export interface Found {
  kind: string;
  name: string;
  id: string;
  owner: Owner;
  retainedUntil?: string | undefined;
}

/**
 * One kind of cloud resource. Every method may run twice, or be cut off after it took effect: `create` of what exists
 * throws the cloud's "already exists", `remove` of what is gone succeeds.
 */
export interface ResourceDriver {
  readonly kind: string;
  /**
   * Set for kinds that the cloud gives their identity, whose creation takes no token either: a create whose answer got lost
   * and that is repeated may leave a second one behind.
   */
  readonly identity?: 'from the cloud';
  /** Desired properties that cannot change in place: a difference there is proposed in the plan, never carried out. */
  readonly immutable: readonly string[];
  /** What is there under this name now, or undefined. Reads back every property that `desired` can hold. */
  observe(spec: ResourceSpec, call: Call): Promise<Observed | undefined>;
  /** Asks for it, with owner tags in the same call wherever the cloud allows. Returns once the cloud has accepted; `observe` tells when it is ready. */
  create(spec: ResourceSpec, call: Call): Promise<void>;
  /** Brings the named properties to what `spec.desired` says, in place. Tags are repaired as the property `tags`. */
  update(spec: ResourceSpec, observed: Observed, drift: readonly string[], call: Call): Promise<void>;
  /** Asks for its deletion; the portable layer waits until `observe` finds nothing. Only ever called on what is ours. */
  remove(spec: ResourceSpec, observed: Observed, call: Call): Promise<void>;
  /** All of this kind in the placement's account and region that carry this estate's UID. */
  list(call: Pick<Call, 'placement' | 'signal'>): Promise<Found[]>;
  /** Only kinds with `holdsData`. */
  readonly store?: StoreDriver;
}

/** What a resource that holds data can do besides. */
export interface StoreDriver {
  isEmpty(spec: ResourceSpec, call: Call): Promise<boolean>;
  /** Deletes all content, every version of it. Called page by page until it returns true (nothing left). */
  empty(spec: ResourceSpec, call: Call): Promise<boolean>;
  /** Detaches it: tags it `retained-until` (ISO date), changes nothing else. */
  retain(spec: ResourceSpec, until: string, call: Call): Promise<void>;
}

/** One thing that a compliance officer would look for on what really exists. */
export interface Check {
  name:
    | 'encryption at rest'
    | 'TLS only'
    | 'no public access'
    | 'residency'
    | 'versioning'
    | 'retention'
    | 'ownership'
    | 'least privilege'
    | 'network isolation';
  resource: string;
  ok: boolean;
  /** What was found, in a few words. */
  found: string;
}

export interface Health {
  healthy: boolean;
  /** One line a person can act on. */
  detail: string;
}

/** One service type on one cloud. */
export interface Cell {
  readonly provider: ProviderType;
  readonly type: ServiceType;
  /** Pure: the resources of a placement, in dependency order. The same placement always gives the same answer. */
  design(placement: Placement): ResourceSpec[];
  readonly resources: readonly ResourceDriver[];
  /** Pure: judges what `observe` found, by resource key. `residency` and `ownership` are checked above, for every cell alike. */
  verify(placement: Placement, observed: Record<string, Observed>): Check[];
  health(placement: Placement, observed: Record<string, Observed>, signal: AbortSignal): Promise<Health>;
  /** Proves the function end to end and leaves nothing behind: a device connects and its telemetry comes out at the other end. */
  canary?(placement: Placement, observed: Record<string, Observed>, signal: AbortSignal): Promise<Health>;
  /** Address that readers and devices use, for the endpoint record. */
  endpoint(placement: Placement, observed: Record<string, Observed>): string;
}

/** Small objects in the store of a `storage` or `data_lake` placement: records, manifests, checkpoints. Whole ones only. */
export interface SmallObjects {
  /**
   * Writes an object and returns its version. With a condition only where nothing stands under the key, or over that very
   * version: the cloud's "precondition failed" is thrown otherwise.
   */
  put(
    placement: Placement,
    key: string,
    bytes: Uint8Array,
    condition: { absent: true } | { version: string } | undefined,
    signal: AbortSignal,
  ): Promise<string>;
  get(
    placement: Placement,
    key: string,
    signal: AbortSignal,
  ): Promise<{ bytes: Uint8Array; version: string } | undefined>;
  /** Keys with this prefix. */
  list(placement: Placement, prefix: string, signal: AbortSignal): Promise<string[]>;
}

/** The fence of a store: refuses writers with what the cloud itself offers. `fence.ts` holds what is the same on every cloud. */
export interface FenceDriver {
  readonly settles: Settling;
  /** As whom this worker asks, in the words of a fence. */
  identity(signal: AbortSignal): Promise<string>;
  /** `exempt`: identities that a fence lets through, besides whoever asks. */
  read(placement: Placement, exempt: readonly string[], signal: AbortSignal): Promise<StoreRights>;
  /** What a person wants to know before: more than `read` costs. */
  survey(
    placement: Placement,
    signal: AbortSignal,
  ): Promise<{ writers: Writer[]; uploads: { count: number; first: string[] }; unknown: string[] }>;
}

/** Who may do what on a store. The rights are data in a shape of the driver's own; what is kept of them lifts the fence. */
export interface StoreRights {
  readonly now: JsonObject;
  /** Whether something of a fence is among them, whoever set it. */
  readonly marked: boolean;
  /** By rights on the store itself, which the fence takes away for a time. */
  readonly writers: readonly Writer[];
  /** By rights from above the store. */
  readonly escapes: readonly Writer[];
  /** Pure: the rights with everything that writes taken from everybody but us. The same where the fence stands already. */
  fenced(rights: JsonObject, mark: FenceMark): JsonObject;
  /** Pure: without the fence. Exactly `before` where nobody has changed them meanwhile; else with their change. */
  lifted(rights: JsonObject, before: JsonObject): JsonObject;
  /** Brings the store from `now` to these; never leaves a reader without rights in between. */
  apply(wanted: JsonObject): Promise<void>;
}

/** Written where people look at the store's rights. */
export interface FenceMark {
  owner: FenceOwner;
  expiresAt: string;
}

/** What stands under a name of type TXT. */
export interface TxtRecords {
  ttlSeconds: number;
  /** One text a record, its strings joined. */
  values: string[];
  /** The cloud's own name of this state, where it has one. */
  version: string;
}

/** TXT records in a public DNS zone of the user's own, which must exist. Names come without a dot at their end. */
export interface DnsDriver {
  /** What stands there, or undefined. Throws "not found" where there is no such zone, saying how to make one. */
  find(at: TxtName, signal: AbortSignal): Promise<TxtRecords | undefined>;
  /**
   * Replaces what was found in one step, and returns once the zone's name servers answer with it. Where something else has come
   * to stand there, the cloud's refusal is thrown: "already exists", "precondition failed" or "not found".
   */
  replace(
    change: TxtName & { before: TxtRecords | undefined; after: Omit<TxtRecords, 'version'> | undefined },
    signal: AbortSignal,
  ): Promise<void>;
}

export interface TxtName {
  zone: string;
  name: string;
  /** Account that the zone is in. */
  account: string;
}

/** What stands under a name whose answers are spread over targets by weight. */
export interface WeightedSet {
  /** Undefined where it is not wholly of one service of one estate: somebody else's. */
  record: WeightedRecord | undefined;
  /** Nothing is missing that makes name servers answer with it: false where it was made or taken away half-way. */
  whole: boolean;
  /** The cloud's own name of this state, where it has one. */
  version: string;
}

/** Whose weights, and where: the zone must exist. `account` is the one that it is in. */
export interface WeightedName extends TxtName {
  /** Of the estate. */
  uid: string;
  service: string;
}

/** Weighted answers under one name of a zone, or the weights of a load balancer. */
export interface WeightsDriver {
  find(at: WeightedName, signal: AbortSignal): Promise<WeightedSet | undefined>;
  /**
   * Brings what was found to `after` (undefined: away), and returns once it is in force. Where the cloud lets a change depend
   * on what was read, its refusal is thrown when something else has come to stand there.
   */
  replace(
    change: WeightedName & { before: WeightedSet | undefined; after: WeightedRecord | undefined },
    signal: AbortSignal,
  ): Promise<void>;
}

/** What a driver's answer to a thrown error is; the rest of `CloudErrorFields` is known above. */
export type Classified = Pick<CloudErrorFields, 'kind' | 'requestId' | 'missing' | 'retryAfterMs'>;

/** One configured provider: a cloud, an account, credentials. */
export interface Provider {
  readonly type: ProviderType;
  readonly cells: readonly Cell[];
  readonly objects: SmallObjects;
  /** The store of a `storage` or `data_lake` placement, for moving what is in it. */
  store(placement: PlacementRef): ObjectStore;
  /** The devices of an `iot_core` placement, for moving them. Each request goes through `ask`. */
  devices(placement: PlacementRef, ask: Ask, signal: AbortSignal): DeviceRegistry;
  /** How the store's cloud tells of changes in it. */
  readonly feed: FeedDriver;
  /** The telemetry streams of `iot_core` placements. */
  readonly telemetry: TelemetryDriver;
  readonly fence: FenceDriver;
  readonly dns: DnsDriver;
  readonly weights: WeightsDriver;
  /** The account that the credentials really belong to, asked of the cloud. */
  account(signal: AbortSignal): Promise<string>;
  /** Missing ones of these rights, asked of the cloud; an empty list where the cloud offers no way to ask. */
  missingPermissions(permissions: readonly string[], placement: Placement, signal: AbortSignal): Promise<string[]>;
  /**
   * The quotas that bringing a placement about draws on, as far as the cloud has an API that tells them; none for what is there
   * already. What cannot be read is unknown, not an error.
   */
  quotas(wanted: Wanted, signal: AbortSignal): Promise<Headroom>;
  /** What an SDK's error means. Must know every error its drivers can meet; what it does not know is `Unavailable`. */
  classify(error: unknown): Classified;
  close(): Promise<void>;
}

/** What a provider is made from: the worker's own settings, placeholders resolved. */
export interface ProviderSettings {
  /** Name in the estate file. */
  name: string;
  /** The provider's own region in the estate file. */
  region: string;
  /** `account`, `subscription` or `project`; asked of the cloud where it is not given. */
  account?: string | undefined;
  /** Resolved values of `credentials`; undefined means the SDK's default chain. */
  credentials?: Record<string, string> | undefined;
  /** PEM of the CA that signs device certificates (public part), for `iot_core`. */
  deviceCa?: string | undefined;
  /** Path of the broker's tarball, for GCP's `iot_core`. */
  brokerTarball?: string | undefined;
  /** How often a long-running operation is looked at, milliseconds. */
  pollMs: number;
  /** Longest that one request may take before it is given up, milliseconds; hand it to every SDK client. */
  callDeadlineMs: number;
}
