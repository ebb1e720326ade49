/** The record of a service and of the estate: what runs where, who holds it, what is in flight. Pure: state and its transitions. */
import { z } from 'zod';
import { AppliedChange } from './applied.ts';
import { Estate, Service } from './estate.ts';
import { providerTypes, serviceTypes } from './service.ts';
import { MovingFleet } from './wave-settings.ts';

export const operationKinds = ['deploy', 'migrate', 'failover', 'remove', 'recover', 'repair', 'steer'] as const;
export type OperationKind = (typeof operationKinds)[number];

export const serviceStatuses = [
  'planned',
  'deploying',
  'running',
  'degraded',
  'migrating',
  'failing-over',
  'removing',
  'removed',
  'interrupted',
  'blocked',
  'needs-operator',
] as const;
export type ServiceStatus = (typeof serviceStatuses)[number];

/** Who works on a service. Children of an operation act under their parent's lock. */
export const Holder = z.strictObject({
  workflowId: z.string(),
  runId: z.string(),
  operation: z.enum(operationKinds),
  /** Two runs with the same hash ask for the very same thing: the later attaches to the earlier. */
  planHash: z.string().default(''),
});
export type Holder = z.infer<typeof Holder>;

const Outputs = z.record(z.string(), z.string());

/** A resource that exists (or may exist, while an intent for it is open). */
export const RecordedResource = z.strictObject({
  key: z.string(),
  kind: z.string(),
  name: z.string(),
  id: z.string(),
  needs: z.array(z.string()),
  holdsData: z.boolean(),
  outputs: Outputs,
});
export type RecordedResource = z.infer<typeof RecordedResource>;

export const RecordedPlacement = z.strictObject({
  provider: z.string(),
  providerType: z.enum(providerTypes),
  type: z.enum(serviceTypes),
  region: z.string(),
  account: z.string(),
  generation: z.number().int().min(1),
  configuration: z.record(z.string(), z.json()),
  /** `target`: of a migration that has not switched yet. `retained`: its source, since then. */
  role: z.enum(['current', 'target', 'retained']).default('current'),
  /** ISO time after which a retained placement is removed. */
  removeAt: z.string().optional(),
  resources: z.array(RecordedResource),
  monthlyCostUsd: z.number(),
  endpoint: z.string().default(''),
  health: z.string().default(''),
  /** ISO time until which a call whose answer was lost may still take effect; empty where none was. */
  settlesAt: z.string().default(''),
});
export type RecordedPlacement = z.infer<typeof RecordedPlacement>;

/** Written before the calls that change a placement, closed after it is recorded as settled or withdrawn. */
export const Intent = z.strictObject({
  workflowId: z.string(),
  runId: z.string(),
  operation: z.enum(operationKinds),
  at: z.string(),
  /** What the placement is to be, or what it is while it is removed. */
  placement: RecordedPlacement,
  /** Keys of the resources that did not exist before: an undo removes these and no others. */
  creates: z.array(z.string()),
  /** A removal that was confirmed to take the data with it; whoever takes it up again may go as far. */
  deleteData: z.boolean().default(false),
});
export type Intent = z.infer<typeof Intent>;

/** A placement of a service is known by its cloud and its generation. */
const Mark = z.strictObject({ provider: z.string(), generation: z.number().int().min(1) });
export type Mark = z.infer<typeof Mark>;

/** A migration on its way: what `recover` takes up, or takes back. */
export const Migration = z.strictObject({
  workflowId: z.string(),
  runId: z.string(),
  from: Mark,
  to: Mark,
  /**
   * `copying`: the source serves. `fenced`: it refuses writers; `moving`: devices are told to leave it. `switched`: the target
   * serves, and the source follows it.
   */
  stage: z.enum(['copying', 'fenced', 'moving', 'switched']),
  /** Objects that only the source has: nothing is deleted there to follow the target, and it is not removed by itself. */
  sourceOnly: z.number().int().min(0).default(0),
  fleet: MovingFleet.optional(),
  /** Whether it takes older versions along. */
  versions: z.boolean().optional(),
});
export type Migration = z.infer<typeof Migration>;

/** A resource that should be gone and is not, or is there and no record knows it. */
export const Orphan = z.strictObject({
  provider: z.string(),
  kind: z.string(),
  name: z.string(),
  reason: z.string(),
});
export type Orphan = z.infer<typeof Orphan>;

/** A store that was kept when its placement ended, and what keeping it costs. */
export const RetainedStore = z.strictObject({
  provider: z.string(),
  kind: z.string(),
  name: z.string(),
  until: z.string(),
  monthlyCostUsd: z.number(),
});
export type RetainedStore = z.infer<typeof RetainedStore>;

/** An account in a region of a cloud: where resources can be. */
export const Place = RecordedPlacement.pick({ provider: true, providerType: true, region: true, account: true });
export type Place = z.infer<typeof Place>;

/** The run that keeps the sides of a service in step. It holds no lock, so what it says of itself counts no revision. */
export const Replicating = z.strictObject({
  workflowId: z.string(),
  /** The upper end of the band that the worst direction's lag is in, seconds. */
  lagSeconds: z.number().min(0),
  /** Why it stands still, or what it asks; empty where it goes on. */
  waitingFor: z.string().max(300).default(''),
});
export type Replicating = z.infer<typeof Replicating>;

/** Whether a resource that no placement has is at work for the service: feeds are a replication's own. */
export const isAtWork = ({ replication }: Pick<ServiceRecord, 'replication'>, { kind }: { kind: string }): boolean =>
  replication !== undefined && kind.endsWith('.feed');

export const ServiceRecord = z.strictObject({
  v: z.literal(1),
  estate: z.string(),
  service: z.string(),
  type: z.enum(serviceTypes).optional(),
  status: z.enum(serviceStatuses).default('planned'),
  /** Where it has ever been: scans for what is left behind look there. */
  places: z.array(Place).default([]),
  /** Last generation handed out, by provider. */
  generations: z.record(z.string(), z.number().int()).default({}),
  placements: z.array(RecordedPlacement).default([]),
  intents: z.array(Intent).default([]),
  migration: Migration.optional(),
  /** Sequence of the last redirect that its devices were told: the next one is higher. */
  lastRedirect: z.number().int().optional(),
  replication: Replicating.optional(),
  retained: z.array(RetainedStore).default([]),
  /** What could not be taken back, or was found by a scan and is nobody's. */
  orphans: z.array(Orphan).default([]),
  holder: Holder.optional(),
  /** Who has told the holder to yield, and gets the lock next. */
  next: Holder.optional(),
  /** Who or what the holder waits for, shown by `status`. */
  waitingFor: z.string().default(''),
  /** Step keys already applied, by run: a repeated write changes nothing. */
  applied: z.record(z.string(), z.array(z.string())).default({}),
  /** Counts the changes: a plan made from an older revision is made again. */
  revision: z.number().int().default(0),
});
export type ServiceRecord = z.infer<typeof ServiceRecord>;

export const EstateRecord = z.strictObject({
  v: z.literal(1),
  estate: z.string(),
  /** 32 random hex digits, made once. */
  uid: z.string().default(''),
  holder: Holder.optional(),
  /** Hash of the last applied file, and its services with placeholders unresolved. */
  lastApplied: z
    .strictObject({
      hash: z.string(),
      at: z.string(),
      by: z.string(),
      services: z.record(z.string(), Service),
      /** By path of a value: its last change, and by whom. */
      changes: z.record(z.string(), AppliedChange).default({}),
      /** Its budget, and the monthly egress of the replication that it asks for. */
      cost: Estate.shape.cost.optional(),
      replicationUsd: z.number().default(0),
    })
    .optional(),
  services: z.array(z.string()).default([]),
  /** Counts the files that were applied: the newest of two copies is known by it. */
  revision: z.number().int().default(0),
  /** The `controller` tag of its resources where that is not this namespace's ID: it was rebuilt after its database was lost. */
  controller: z.string().default(''),
  /** Rebuilt from its records buckets, and read-only until a person has confirmed it. */
  unconfirmed: z.boolean().default(false),
});
export type EstateRecord = z.infer<typeof EstateRecord>;

/** The summary in the memo of `cloudService`, 4 KB at most: `status` is one list call. */
export const ServiceSummary = z.strictObject({
  service: z.string(),
  type: z.string(),
  status: z.enum(serviceStatuses),
  placements: z.array(
    z.strictObject({
      provider: z.string(),
      region: z.string(),
      role: z.string(),
      removeAt: z.string().optional(),
      endpoint: z.string(),
      monthlyCostUsd: z.number(),
      health: z.string(),
    }),
  ),
  operation: z.strictObject({ operation: z.string(), workflowId: z.string() }).optional(),
  waitingFor: z.string(),
  replication: Replicating.optional(),
  monthlyCostUsd: z.number(),
  retained: z.array(RetainedStore),
  orphans: z.array(Orphan).default([]),
});
export type ServiceSummary = z.infer<typeof ServiceSummary>;

export function summarise(record: ServiceRecord): ServiceSummary {
  return {
    service: record.service,
    type: record.type ?? '',
    status: record.status,
    placements: record.placements.map(({ provider, region, role, removeAt, endpoint, monthlyCostUsd, health }) => ({
      provider,
      region,
      role,
      ...(removeAt !== undefined && { removeAt }),
      endpoint: endpoint.slice(0, 200),
      monthlyCostUsd,
      health: health.slice(0, 100),
    })),
    operation: record.holder && { operation: record.holder.operation, workflowId: record.holder.workflowId },
    waitingFor: record.waitingFor.slice(0, 300),
    ...(record.replication && { replication: record.replication }),
    monthlyCostUsd: monthlyCost(record),
    retained: record.retained.slice(0, 5),
    orphans: record.orphans.slice(0, 5).map((orphan) => ({ ...orphan, reason: orphan.reason.slice(0, 100) })),
  };
}

export const monthlyCost = (record: Pick<ServiceRecord, 'placements'>): number =>
  Math.round(record.placements.reduce((sum, placement) => sum + placement.monthlyCostUsd, 0) * 100) / 100;

/** One change of a service's record, written by an operation that holds its lock. */
export const RecordChange = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('status'), status: z.enum(serviceStatuses), waitingFor: z.string().default('') }),
  /** What is about to be done to the clouds. */
  z.strictObject({
    kind: z.literal('intents'),
    type: z.enum(serviceTypes),
    status: z.enum(serviceStatuses),
    intents: z.array(Intent),
  }),
  /** A placement now is as given; what was intended for it is closed. */
  z.strictObject({ kind: z.literal('settled'), placement: RecordedPlacement }),
  /** A placement is gone, or again as it was `before`; what was intended for it is closed. */
  z.strictObject({
    kind: z.literal('withdrawn'),
    ...Mark.shape,
    before: RecordedPlacement.optional(),
    retained: z.array(RetainedStore).default([]),
  }),
  /** How far a migration is, and which part its placements play from now on; it is over where none is given. */
  z.strictObject({
    kind: z.literal('migration'),
    migration: Migration.optional(),
    roles: z.array(RecordedPlacement.pick({ provider: true, generation: true, role: true, removeAt: true })),
  }),
  /** `left`: what a run could not take back. `found`: all that the last scan found, in place of what was listed before. */
  z.strictObject({ kind: z.literal('orphans'), how: z.enum(['left', 'found']), orphans: z.array(Orphan) }),
]);
export type RecordChange = z.infer<typeof RecordChange>;

/** The record after a change. Pure; the caller has checked that whoever makes it holds the lock. */
export function applyChange(record: ServiceRecord, change: RecordChange): ServiceRecord {
  const next = { ...record, revision: record.revision + 1 };
  switch (change.kind) {
    case 'status':
      return { ...next, status: change.status, waitingFor: change.waitingFor };
    case 'intents': {
      const generations = { ...record.generations };
      for (const { placement } of change.intents)
        generations[placement.provider] = Math.max(generations[placement.provider] ?? 0, placement.generation);
      // Who takes up what another run left open, takes over its intent.
      const open = record.intents.filter(
        ({ placement }) => !change.intents.some((one) => samePlacement(one.placement, placement)),
      );
      const places = withPlaces(
        record.places,
        change.intents.map(({ placement }) => placement),
      );
      const { type, status } = change;
      return { ...next, type, status, generations, places, intents: [...open, ...change.intents] };
    }
    case 'settled':
      return {
        ...next,
        placements: [
          ...record.placements.filter((one) => !samePlacement(one, change.placement)),
          change.placement,
        ].sort((a, b) => (a.provider < b.provider ? -1 : 1)),
        intents: record.intents.filter(({ placement }) => !samePlacement(placement, change.placement)),
      };
    case 'withdrawn':
      return {
        ...next,
        placements: [
          ...record.placements.filter((one) => !samePlacement(one, change)),
          ...(change.before ? [change.before] : []),
        ],
        intents: record.intents.filter(({ placement }) => !samePlacement(placement, change)),
        retained: [...record.retained, ...change.retained],
        migration: concerns(record.migration, change) && !change.before ? undefined : record.migration,
      };
    case 'migration':
      return {
        ...next,
        migration: change.migration,
        ...(change.migration?.fleet && {
          lastRedirect: Math.max(record.lastRedirect ?? 0, change.migration.fleet.sequence),
        }),
        placements: record.placements.map((one) => {
          const part = change.roles.find((role) => samePlacement(role, one));
          return part ? { ...one, role: part.role, removeAt: part.removeAt } : one;
        }),
      };
    case 'orphans':
      return { ...next, orphans: change.how === 'found' ? change.orphans : [...record.orphans, ...change.orphans] };
  }
}

const withPlaces = (known: readonly Place[], more: readonly Place[]): Place[] => {
  const all = [...known];
  for (const { provider, providerType, region, account } of more)
    if (!all.some((one) => one.provider === provider && one.region === region && one.account === account))
      all.push({ provider, providerType, region, account });
  return all;
};

const concerns = (migration: Migration | undefined, placement: Mark): boolean =>
  migration !== undefined && [migration.from, migration.to].some((one) => samePlacement(one, placement));

export const samePlacement = (a: Mark, b: Mark): boolean => a.provider === b.provider && a.generation === b.generation;

/** Placements that a run began and did not finish: they keep their cloud and generation when they are taken up again. */
export const begunPlacements = ({ placements, intents }: Pick<ServiceRecord, 'placements' | 'intents'>) =>
  intents
    .filter(
      ({ operation, placement }) => operation !== 'remove' && !placements.some((one) => samePlacement(one, placement)),
    )
    .map(({ placement }) => placement);

/** The record as a plan of the run `self` sees it: what another run is at work on is not there to be taken up. */
export const seenBy = (self: string, record: ServiceRecord): ServiceRecord =>
  record.holder && record.holder.workflowId !== self ? { ...record, intents: [] } : record;

/** When the next placement that is kept for a while only is to go, ISO; undefined where none is. */
export const nextRemoval = ({ placements }: Pick<ServiceRecord, 'placements'>): string | undefined =>
  placements
    .flatMap(({ role, removeAt }) => (role === 'retained' && removeAt) || [])
    .sort()
    .at(0);

/** What a service is when nobody works on it. */
export function restingStatus(record: Pick<ServiceRecord, 'placements' | 'intents' | 'migration'>): ServiceStatus {
  if (record.intents.length > 0 || record.migration) return 'interrupted';
  const current = record.placements.filter(({ role }) => role === 'current');
  if (current.length === 0) return 'removed';
  return current.every(({ health }) => health === '' || health.startsWith('healthy')) ? 'running' : 'degraded';
}
