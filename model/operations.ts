/** Inputs, results and names of the workflow types: what the UI, the CLI, the client and other services send and get. */
import { z } from 'zod';
import type { Reverted } from './applied.ts';
import type { Verdict } from './audit.ts';
import type { ConflictRuleName } from './conflict.ts';
import { Duration } from './duration.ts';
import type { EndpointRecord, EndpointZone } from './endpoint-record.ts';
import type { EstateCost } from './estate-cost.ts';
import { type Census, type DeviceRows, type DiffedDevices, deviceReports } from './fleet.ts';
import type { FleetGap } from './fleet-mapping.ts';
import type { Step } from './progress.ts';
import type { Headroom, Quota, Shortage } from './quota.ts';
import type { Orphan, RecordedPlacement, ServiceStatus } from './record.ts';
import type { Rehearsal } from './rehearsal.ts';
import type { Placement, ResourceSpec, ServiceType } from './service.ts';
import type { Target } from './traffic.ts';
import type { Difference, RepairedTransfer } from './transfer.ts';
import { waveInput } from './wave-settings.ts';

export const taskQueue = 'multi-cloud';

/** Task queue of the short control calls of one provider, by what they may do and how urgent they are. */
export const providerQueue = (provider: string): string => `${taskQueue}.${provider}`;
export const urgentQueue = (provider: string): string => `${taskQueue}.${provider}.urgent`;
/** Task queue of what reads the one and writes the other for a long time: moving data. */
/** Streams that are followed for a long time, of any pair. */
export const watchQueue = `${taskQueue}.watch`;
export const bulkQueue = (source: string, target: string): string => `${taskQueue}.bulk.${source}-${target}`;

const Name = z.string().regex(/^[a-z][a-z0-9_-]{0,30}$/, 'must match [a-z][a-z0-9_-]{0,30}');
const Estate = z
  .string()
  .regex(/^[a-z][a-z0-9-]{0,23}$/, 'must match [a-z][a-z0-9-]{0,23}')
  .optional();
const Uid = z.string().regex(/^[0-9a-f]{32}$/, 'must be 32 hex digits');
const Approval = z.enum(['none', 'manual']).default('none');
/** Sections of an estate file that an input may carry; their content is checked with the worker's own file beside it. */
const File = z.strictObject({
  services: z.record(z.string(), z.json()).optional(),
  placement: z.record(z.string(), z.json()).optional(),
  cost: z.record(z.string(), z.json()).optional(),
});
/**
 * The other sections of the file that `file` was taken from, by name: sha256 of each one's canonical JSON. The run is
 * refused where one differs from the worker's own. Left out: nothing is compared.
 */
const Others = z.record(z.string().max(40), z.string().regex(/^[0-9a-f]{64}$/, 'must be a SHA-256 in hex')).optional();

/** Set when an operation runs as the child of `deployEstate`, under the locks that its parent holds. */
export const Inherited = z.strictObject({
  workflowId: z.string(),
  runId: z.string(),
  /** The child's slice of the parent's plan. */
  planned: z.custom<PlannedService>((value) => typeof value === 'object' && value !== null && 'placements' in value),
});

export const DeployEstateInput = z.strictObject({
  v: z.literal(1).default(1),
  estate: Estate,
  file: File.optional(),
  others: Others,
  approval: Approval,
  /** Take back values that somebody else has applied, without asking. */
  revert: z.boolean().default(false),
  /** Who asked, for the audit trail; proves nothing. */
  by: z.string().max(200).default(''),
});
export const DeployServiceInput = z.strictObject({
  v: z.literal(1).default(1),
  estate: Estate,
  service: Name,
  file: File.optional(),
  others: Others,
  approval: Approval,
  revert: z.boolean().default(false),
  by: z.string().max(200).default(''),
  inherited: Inherited.optional(),
});
export const RemoveServiceInput = z.strictObject({
  v: z.literal(1).default(1),
  estate: Estate,
  service: Name,
  /** `<estate>/<service>`: needed for a protected service, whose data is then deleted. */
  confirm: z.string().optional(),
  /** Only what a migration has left behind and the record was to keep until now, with its data; with `confirm` all of it. */
  retained: z.boolean().default(false),
  by: z.string().max(200).default(''),
});
export const MigrateServiceInput = z.strictObject({
  v: z.literal(1).default(1),
  estate: Estate,
  service: Name,
  /** Name of the provider that holds it now, and of the one that it goes to. */
  from: Name,
  to: Name,
  /** In place of `migration.soak` and `migration.source_retention` of the estate file. */
  soak: Duration.optional(),
  source_retention: Duration.optional(),
  /** In place of `migration.versions`. */
  versions: z.boolean().optional(),
  /** How a fleet moves, in place of what `migration` of the estate file says. */
  ...waveInput,
  by: z.string().max(200).default(''),
});
export const SteerServiceInput = z.strictObject({
  v: z.literal(1).default(1),
  estate: Estate,
  service: Name,
  /** By provider, in whatever proportion; left out: the run looks, and changes nothing. */
  weights: z
    .record(Name, z.number().min(0).max(1000))
    .refine((weights) => Object.values(weights).some((weight) => weight > 0), 'must leave one weight over 0')
    .optional(),
  /** Percentages of the way from what is to what is wanted; the last step is always all of it. */
  steps: z.array(z.number().gt(0).max(100)).max(20).default([1, 10, 50, 100]),
  /** How long a step is watched once it is in force everywhere. */
  hold: Duration.default('1m'),
  /** Largest share of requests, 0 to 1, that may fail at a target which was given more. */
  max_errors: z.number().min(0).max(1).default(0.01),
  approval: Approval,
  by: z.string().max(200).default(''),
});
export const RehearseMigrationInput = z.strictObject({
  v: z.literal(1).default(1),
  estate: Estate,
  service: Name,
  from: Name,
  to: Name,
  /** How many of the source's objects are copied and moved: `1%`. */
  sample: z.string().regex(/^(?!0+(\.0+)?%)(100|[0-9]{1,2}(\.[0-9]{1,2})?)%$/, 'must be a share from 0.01% to 100%'),
  by: z.string().max(200).default(''),
});
export const RecoverServiceInput = z.strictObject({
  v: z.literal(1).default(1),
  estate: Estate,
  service: Name,
  /** What becomes of what an interrupted run has begun. */
  direction: z.enum(['finish', 'undo']).default('finish'),
  by: z.string().max(200).default(''),
});
export const RebuildEstateInput = z.strictObject({
  v: z.literal(1).default(1),
  estate: Estate,
  /** Which estate of this name, where the accounts hold several. */
  uid: Uid.optional(),
  /** UID of the rebuilt records: ends their read-only time instead of rebuilding them. */
  confirm: Uid.optional(),
  by: z.string().max(200).default(''),
});
export const CheckEstateInput = z.strictObject({
  v: z.literal(1).default(1),
  estate: Estate,
  by: z.string().max(200).default(''),
});
export const VerifyAuditInput = z.strictObject({
  v: z.literal(1).default(1),
  estate: Estate,
  /** The run whose trail is judged. */
  workflowId: z.string().min(1).max(1000),
  runId: z.string().min(1).max(100),
});
const Looks = z.strictObject({ v: z.literal(1).default(1), estate: Estate, service: Name });
/** Calls a second to each registry, in place of `registryCallsPerSecond`. */
const CallsPerSecond = z.number().min(1).max(10_000).optional();
export const CopyFleetInput = z.strictObject({
  v: z.literal(1).default(1),
  estate: Estate,
  service: Name,
  /** Placements of the service: whose devices are registered where. */
  from: Name,
  to: Name,
  calls_per_second: CallsPerSecond,
  by: z.string().max(200).default(''),
});
export type CopyFleetInput = z.infer<typeof CopyFleetInput>;

export interface CopiedFleet extends OperationResult {
  /** `name` and `provider` tell where the outcome of each device is. */
  copy?: { provider: string; name: string; moved: number; there: number; refused: number; left: number } | undefined;
}

/** What is looked at of the devices of an `iot_core` service. */
export const CheckDevicesInput = z.discriminatedUnion('what', [
  /** Everything that one registry holds; `to`: judged for a move to that provider's cloud. */
  Looks.extend({
    what: z.literal('list'),
    provider: Name.optional(),
    to: Name.optional(),
    calls_per_second: CallsPerSecond,
  }),
  /** How two registries differ. */
  Looks.extend({ what: z.literal('diff'), from: Name, to: Name, calls_per_second: CallsPerSecond }),
  /** A page of what an earlier run has written. */
  Looks.extend({
    what: z.literal('rows'),
    provider: Name,
    name: z.string().regex(/^[A-Za-z0-9_-]{1,64}$/, 'must match [A-Za-z0-9_-]{1,64}'),
    report: z.enum(deviceReports),
    page: z.number().int().min(0).default(0),
  }),
]);
export type CheckDevicesInput = z.input<typeof CheckDevicesInput>;

/** `name` and `provider` tell where the files are: what `rows` takes. */
export type DevicesCheck =
  | { what: 'list'; service: string; provider: string; name: string; census: Census }
  | {
      what: 'diff';
      service: string;
      provider: string;
      name: string;
      left: Census;
      right: Census;
      diff: DiffedDevices;
      /** What of a device does not map from the one cloud to the other. */
      gaps: Pick<FleetGap, 'becomes' | 'text'>[];
    }
  | ({ what: 'rows'; service: string } & DeviceRows);

export const VerifyServiceInput = z.strictObject({
  v: z.literal(1).default(1),
  estate: Estate,
  service: Name,
  /** Name of the provider whose placement counts, where several are current; default: the first by name. */
  from: Name.optional(),
  /** Make the placements that only keep copies what the current one is. */
  repair: z.boolean().default(false),
  by: z.string().max(200).default(''),
});
export const PlanEstateInput = z.strictObject({
  v: z.literal(1).default(1),
  estate: Estate,
  file: File.optional(),
  others: Others,
  by: z.string().max(200).default(''),
});

export type DeployEstateInput = z.infer<typeof DeployEstateInput>;
export type DeployServiceInput = z.infer<typeof DeployServiceInput>;
export type RemoveServiceInput = z.infer<typeof RemoveServiceInput>;
export type MigrateServiceInput = z.infer<typeof MigrateServiceInput>;
export type SteerServiceInput = z.infer<typeof SteerServiceInput>;
export type RehearseMigrationInput = z.infer<typeof RehearseMigrationInput>;
export type RecoverServiceInput = z.infer<typeof RecoverServiceInput>;
export type CheckEstateInput = z.infer<typeof CheckEstateInput>;
export type VerifyServiceInput = z.infer<typeof VerifyServiceInput>;
export type PlanEstateInput = z.infer<typeof PlanEstateInput>;

export interface OperationResult {
  outcome: 'done' | 'undone';
  estate: string;
  service?: string | undefined;
  placements: { service: string; provider: string; region: string; id: string }[];
  monthlyCostUsd: number;
  orphans: Orphan[];
  /** Stores that were kept because they hold data. */
  retained: { provider: string; name: string; until: string; monthlyCostUsd: number }[];
  /** Services left alone because another run holds them. */
  skipped: { service: string; heldBy: string }[];
  /** Where the record of this can be read. */
  records: string;
}

/** How the traffic of a service is spread. */
export interface Steered {
  /** The name that clients ask for, or the load balancer and its backend. */
  name: string;
  /** Empty where nothing has been set yet. */
  targets: Target[];
}

export interface SteerResult extends OperationResult {
  traffic?: Steered | undefined;
}

export const workflowIds = {
  deployEstate: (estate: string) => `deploy-estate/${estate}`,
  deployService: (estate: string, service: string) => `deploy/${estate}/${service}`,
  migrateService: (estate: string, service: string) => `migrate/${estate}/${service}`,
  steerService: (estate: string, service: string) => `steer/${estate}/${service}`,
  rehearseMigration: (estate: string, service: string) => `rehearse/${estate}/${service}`,
  removeService: (estate: string, service: string) => `remove/${estate}/${service}`,
  replicateService: (estate: string, service: string) => `replicate/${estate}/${service}`,
  recoverService: (estate: string, service: string) => `recover/${estate}/${service}`,
  checkEstate: (estate: string, id: string) => `check/${estate}-${id}`,
  copyFleet: (estate: string, service: string) => `copy-fleet/${estate}/${service}`,
  checkDevices: (estate: string, service: string) => `devices/${estate}/${service}`,
  verifyAudit: (estate: string, id: string) => `verify-audit/${estate}-${id}`,
  rebuildEstate: (estate: string) => `rebuild/${estate}`,
  cloudEstate: (estate: string) => `estate/${estate}`,
  cloudService: (estate: string, service: string) => `service/${estate}/${service}`,
  checkConflicts: (estate: string, service: string, id: string) => `conflicts/${estate}/${service}-${id}`,
  restoreConflict: (estate: string, service: string, id: string) => `restore/${estate}/${service}/${id}`,
  verifyService: (estate: string, service: string) => `verify/${estate}/${service}`,
  planEstate: (estate: string, id: string) => `plan/${estate}-${id}`,
} as const;

/** What differs between what is wanted and what is there, for one resource. */
export interface ResourceChange {
  key: string;
  kind: string;
  name: string;
  /** `replace` is only ever a proposal; `remove` is what lets newborns in where nobody is to be let in any more. */
  action: 'create' | 'update' | 'none' | 'replace' | 'remove';
  /** Names of the differing properties. */
  drift: string[];
}

/** One candidate cloud of one service: why it was or was not chosen. */
export interface CandidateView {
  provider: string;
  region: string;
  chosen: boolean;
  /** `already placed here`, `score 0.8123, rank 1`, or the filter that removed it and why. */
  reason: string;
  score?: number | undefined;
  scores?: { cost: number; performance: number; compliance: number; reliability: number } | undefined;
  monthlyCostUsd?: number | undefined;
}

export interface ServicePlan {
  service: string;
  type: string;
  candidates: CandidateView[];
  placements: {
    provider: string;
    region: string;
    existing: boolean;
    monthlyCostUsd: number;
    costLines: { item: string; quantity: number; unit: string; monthlyUsd: number; note: string }[];
    changes: ResourceChange[];
    /** What it draws on, with what is left. Absent where no cloud was asked. */
    quotas?: Quota[] | undefined;
  }[];
  /** What will be done to its endpoint record; absent where that is nothing. */
  endpoint?: 'create' | 'update' | undefined;
  assumptions: string[];
}

export interface EstatePlan {
  estate: string;
  /** Of the decisions: placements, resource changes, cost to the dollar. Hex. */
  hash: string;
  services: ServicePlan[];
  /** What only a person can start: `multi-cloud migrate …`, `multi-cloud remove …`, with the reason. */
  proposals: { service: string; text: string; command: string }[];
  warnings: string[];
  /** `cost.monthlyUsd`, under the name that results have. */
  monthlyCostUsd: number;
  /** `budget` only where the plan is for the whole estate. */
  cost: Omit<EstateCost, 'warnings'>;
  /** Values that somebody else has applied and that this plan takes back: the run asks first. */
  reverts: Reverted[];
  /** Wishes that this release does not serve yet: replication. */
  notServed: string[];
  /** By provider: the account that the worker's credentials belong to. Absent where no cloud was asked. */
  accounts?: Record<string, string> | undefined;
  /** Quotas that the changes do not fit into: a run is held until they were raised. Absent where no cloud was asked. */
  short?: Shortage[] | undefined;
}

/** What a comparison of two placements has found. */
export interface Findings {
  /** Compared. */
  objects: number;
  bytes: number;
  same: number;
  /** How many differ, by how. */
  different: Partial<Record<Difference, number>>;
  /** First names of what differs, at most 5. */
  differentNames: string[];
  /** Key prefixes of the reports, at most 5: JSON lines, one for each difference, in the records bucket of the place that was compared. */
  reports: string[];
}

/** A placement beside the one that counts. */
export interface Comparison {
  provider: string;
  region: string;
  role: RecordedPlacement['role'];
  found: Findings;
  /** What was done about it, and how it looks since then; absent where nothing was to be done. */
  repaired?: (RepairedTransfer & { found: Findings }) | undefined;
}

/** How the placements of a service compare, object by object. */
export interface Verified {
  /** The provider whose placement counts. */
  from: string;
  /** Where all sides are written: it tells for each key what counts, and `from` is the first of them. */
  rule?: ConflictRuleName | undefined;
  /** Empty where there is nothing to compare it with. */
  comparisons: Comparison[];
  /** Whether nothing differs, or nothing does any more. */
  equal: boolean;
}

/** `verified` is absent only where the run had nothing to say: it has attached to another one that ended without. */
export type VerifyResult = OperationResult & { verified?: Verified | undefined };

/** What a rehearsal has measured, and what follows from it for the whole. */
export type RehearsalResult = OperationResult & { rehearsal?: Rehearsal | undefined };

/** What the records buckets have of a run's audit trail. */
export interface AuditVerdict {
  workflowId: string;
  runId: string;
  buckets: (Verdict & {
    /** `aws in us-west-2`. */
    bucket: string;
    /** Why it could not be read. */
    problem?: string | undefined;
  })[];
}

/** What was found of an estate whose records were lost. */
export interface Rebuilt {
  uid: string;
  services: {
    service: string;
    status: ServiceStatus;
    placements: { provider: string; region: string; generation: number }[];
    /** The bucket whose copy counts; empty where there is none. */
    source: string;
    /** In what other copies, and what really runs, differ from it. */
    differences: string[];
  }[];
  /** Copies that do not count, and why. */
  refused: { bucket: string; key: string; why: string }[];
}

/** What a look at the whole estate has found. */
export interface EstateCheck {
  estate: string;
  clouds: {
    provider: string;
    /** The account that the credentials belong to; empty where the cloud could not be asked. */
    account: string;
    /** Why it could not be asked, and what to do. */
    problem: string;
  }[];
  services: {
    service: string;
    status: ServiceStatus;
    /** What is the matter, and the command that repairs it; empty where nothing is. */
    problem: string;
    command: string;
  }[];
  /** Resources that carry the estate's tags and stand in no record, by service. */
  orphans: (Orphan & { service: string })[];
  /** Estates of this name that the clouds hold and of which there are no records, by UID. */
  lost?: { uid: string; resources: number; services: string[] }[] | undefined;
}

export type { Step };

/** A placement with everything that the run needs to bring it about. */
export interface PlannedPlacement {
  placement: Placement;
  /** What it is to be once it exists; `current` where it is not said. A migration's target holds nothing but copies: its undo deletes them. */
  role?: 'target' | undefined;
  /** As the record has it, where it exists already: what an undo restores. */
  before?: RecordedPlacement | undefined;
  /** Keys of the resources that an earlier run has begun to create and not finished. */
  begun: string[];
  specs: ResourceSpec[];
  changes: ResourceChange[];
  /** Rights that the worker lacks to make it or to take it back, in the cloud's own names. */
  missing: string[];
  /** Of the quotas that its changes draw on; absent in what a release made that did not look. */
  headroom?: Headroom | undefined;
  monthlyCostUsd: number;
}

/** A service's endpoint record: where it stands, and what stands there. */
export interface PlannedEndpoint {
  at: EndpointZone;
  /** Of the estate. */
  uid: string;
  ttlSeconds: number;
  /** What an undo restores. */
  before: EndpointRecord | null;
  /** It does not tell what the service's record does. */
  stale: boolean;
}

/** One service's slice of a plan; the child of `deployEstate` gets this and never the file. */
export interface PlannedService {
  service: string;
  type: ServiceType;
  placements: PlannedPlacement[];
  /** Absent where no endpoint record is kept. */
  endpoint?: PlannedEndpoint | undefined;
}

export const changesAnything = (planned: PlannedService): boolean =>
  planned.endpoint?.stale === true ||
  planned.placements.some(
    ({ before, begun, changes }) =>
      !before || begun.length > 0 || changes.some(({ action }) => ['create', 'update', 'remove'].includes(action)),
  );
