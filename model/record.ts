/** The record of a service and of the estate: what runs where, who holds it, what is in flight. Pure: state and its transitions. */
import { z } from 'zod';
import { AppliedChange } from './applied.ts';
import { Estate, Service } from './estate.ts';
import { providerTypes, serviceTypes } from './service.ts';

export const operationKinds = ['deploy', 'migrate', 'failover', 'remove', 'recover', 'repair'] as const;
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
  role: z.enum(['current', 'retained']).default('current'),
  /** ISO time after which a retained placement is removed. */
  removeAt: z.string().optional(),
  resources: z.array(RecordedResource),
  monthlyCostUsd: z.number(),
  endpoint: z.string().default(''),
  health: z.string().default(''),
});
export type RecordedPlacement = z.infer<typeof RecordedPlacement>;

/** Written before a call that changes a cloud, cleared after it is recorded as done or undone. */
export const Intent = z.strictObject({
  workflowId: z.string(),
  runId: z.string(),
  operation: z.enum(operationKinds),
  provider: z.string(),
  providerType: z.enum(providerTypes),
  region: z.string(),
  account: z.string(),
  generation: z.number().int().min(1),
  resource: RecordedResource,
  /** `remove`: it did not exist before. `keep`: it existed, nothing to take back. */
  undo: z.enum(['remove', 'keep']),
  at: z.string(),
});
export type Intent = z.infer<typeof Intent>;

/** A store that was kept when its placement ended, and what keeping it costs. */
export const RetainedStore = z.strictObject({
  provider: z.string(),
  kind: z.string(),
  name: z.string(),
  until: z.string(),
  monthlyCostUsd: z.number(),
});
export type RetainedStore = z.infer<typeof RetainedStore>;

export const ServiceRecord = z.strictObject({
  v: z.literal(1),
  estate: z.string(),
  service: z.string(),
  type: z.enum(serviceTypes).optional(),
  status: z.enum(serviceStatuses).default('planned'),
  /** Last generation handed out, by provider. */
  generations: z.record(z.string(), z.number().int()).default({}),
  placements: z.array(RecordedPlacement).default([]),
  intents: z.array(Intent).default([]),
  retained: z.array(RetainedStore).default([]),
  holder: Holder.optional(),
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
      endpoint: z.string(),
      monthlyCostUsd: z.number(),
      health: z.string(),
    }),
  ),
  operation: z.strictObject({ operation: z.string(), workflowId: z.string() }).optional(),
  waitingFor: z.string(),
  monthlyCostUsd: z.number(),
  retained: z.array(RetainedStore),
});
export type ServiceSummary = z.infer<typeof ServiceSummary>;

export function summarise(record: ServiceRecord): ServiceSummary {
  return {
    service: record.service,
    type: record.type ?? '',
    status: record.status,
    placements: record.placements.map(({ provider, region, role, endpoint, monthlyCostUsd, health }) => ({
      provider,
      region,
      role,
      endpoint: endpoint.slice(0, 200),
      monthlyCostUsd,
      health: health.slice(0, 100),
    })),
    operation: record.holder && { operation: record.holder.operation, workflowId: record.holder.workflowId },
    waitingFor: record.waitingFor.slice(0, 300),
    monthlyCostUsd: monthlyCost(record),
    retained: record.retained.slice(0, 5),
  };
}

export const monthlyCost = (record: Pick<ServiceRecord, 'placements'>): number =>
  Math.round(record.placements.reduce((sum, placement) => sum + placement.monthlyCostUsd, 0) * 100) / 100;

const mark = { provider: z.string(), generation: z.number().int().min(1) };

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
  /** A placement now is as given; its intents of this run are closed. */
  z.strictObject({ kind: z.literal('settled'), placement: RecordedPlacement }),
  /** A placement is gone, or again as it was `before`; its intents of this run are closed. */
  z.strictObject({
    kind: z.literal('withdrawn'),
    ...mark,
    before: RecordedPlacement.optional(),
    retained: z.array(RetainedStore).default([]),
  }),
]);
export type RecordChange = z.infer<typeof RecordChange>;

/** The record after a change by a run. Pure; the caller has checked that the run holds the lock. */
export function applyChange(record: ServiceRecord, runId: string, change: RecordChange): ServiceRecord {
  const next = { ...record, revision: record.revision + 1 };
  const others = (provider: string, generation: number) => (one: { provider: string; generation: number }) =>
    one.provider !== provider || one.generation !== generation;
  switch (change.kind) {
    case 'status':
      return { ...next, status: change.status, waitingFor: change.waitingFor };
    case 'intents': {
      const generations = { ...record.generations };
      for (const { provider, generation } of change.intents)
        generations[provider] = Math.max(generations[provider] ?? 0, generation);
      return {
        ...next,
        type: change.type,
        status: change.status,
        generations,
        intents: [...record.intents, ...change.intents],
      };
    }
    case 'settled': {
      const other = others(change.placement.provider, change.placement.generation);
      return {
        ...next,
        placements: [...record.placements.filter(other), change.placement].sort((a, b) =>
          a.provider < b.provider ? -1 : 1,
        ),
        intents: record.intents.filter((intent) => intent.runId !== runId || other(intent)),
      };
    }
    case 'withdrawn': {
      const other = others(change.provider, change.generation);
      return {
        ...next,
        placements: [...record.placements.filter(other), ...(change.before ? [change.before] : [])],
        intents: record.intents.filter((intent) => intent.runId !== runId || other(intent)),
        retained: [...record.retained, ...change.retained],
      };
    }
  }
}

/** What a service is when nobody works on it. */
export function restingStatus(record: Pick<ServiceRecord, 'placements' | 'intents'>): ServiceStatus {
  if (record.intents.length > 0) return 'interrupted';
  const current = record.placements.filter(({ role }) => role === 'current');
  if (current.length === 0) return 'removed';
  return current.every(({ health }) => health === '' || health.startsWith('healthy')) ? 'running' : 'degraded';
}
