/** The preflight of a migration: whether the service may go there, what it would need and cost, before anything exists. */
import * as wf from '@temporalio/workflow';
import type { LoadedEstate } from '../activities/estate/load.ts';
import type { CostLine, Unpriced } from '../model/cost.ts';
import { durationMs } from '../model/duration.ts';
import type { Digest } from '../model/estate.ts';
import type { FenceOwner, FenceProof } from '../model/fence.ts';
import { registryCallsPerSecond, registryParts } from '../model/fleet.ts';
import type {
  EstatePlan,
  MigrateServiceInput,
  OperationResult,
  PlannedEndpoint,
  PlannedPlacement,
} from '../model/operations.ts';
import { partLimits } from '../model/part-size.ts';
import { sumUsd } from '../model/prices.ts';
import {
  type Mark,
  type Migration as MigrationRecord,
  type RecordedPlacement,
  type ServiceRecord,
  samePlacement,
} from '../model/record.ts';
import { type Owner, objectTypes, type Placement, type ServiceType } from '../model/service.ts';
import { sha256Hex } from '../model/sha256.ts';
import { type MeasuredStore, placementRef } from '../model/transfer.ts';
import type { MovingFleet, Wave, WaveSettings } from '../model/wave-settings.ts';
import { bulk, cloud, control, failure, urgent, watch } from './calls.ts';
import { censusText, fleetWarnings } from './fleet-text.ts';
import { gigabytes } from './migration-text.ts';
import type { Operation } from './operation.ts';
import { awaitHeadroom, type Planned, planServices, refuseWithoutRights } from './planning.ts';
import { placementOf } from './removal.ts';
import { isPartlyGone, removeTarget, takenUpWhole } from './taken-up.ts';

/** Types whose data this release can move. */
const movable: readonly ServiceType[] = ['storage', 'data_lake', 'iot_core'];

/** What a migration has to know from its begin to its end. */
export interface Move {
  service: string;
  owner: Omit<Owner, 'generation'>;
  /** Whose fences and whose entry in the record they are: a run that takes up another's goes by that one's name. */
  holder: FenceOwner;
  source: RecordedPlacement;
  to: Mark;
  /** How far an earlier run had come, where this one takes it up, and how many objects it went on without. */
  stage?: MigrationRecord['stage'] | undefined;
  sourceOnly: number;
  /** What the source holds. */
  holds: MeasuredStore;
  /** Of the plan and where it goes: what answers are bound to. */
  hash: string;
  approvals: LoadedEstate['approvals'];
  soakMs: number;
  retentionMs: number;
  followMs: number;
  digest: Digest;
  /** Whether what the source keeps behind its current objects moves as well. */
  versions: boolean;
  /** How long it may take until the source's fence holds everywhere. */
  fenceMs: number;
  /** Who can write to the source in spite of it, as its cloud names them. */
  escapes: string[];
  /** Absent where the estate keeps no endpoint records. */
  traffic?: Traffic | undefined;
  /** Of a service whose devices move. */
  fleet?: FleetMove | undefined;
}

export interface FleetMove {
  waves: Wave[];
  approveWaves: boolean;
  devicesPerSecond: number | undefined;
  windowMs: number;
  seen: number;
  rate: number;
  /** Left out, and no canary, in runs that began before there were these. */
  errors: number | undefined;
  canary: boolean;
  /** What an earlier run has done. */
  begun: MovingFleet | undefined;
  lastRedirect: number;
}

/** What the input says, else the estate file. */
export function fleetMove(
  estate: LoadedEstate['estate']['migration'],
  input: { [K in keyof WaveSettings]?: WaveSettings[K] | undefined },
  record: Pick<ServiceRecord, 'migration' | 'lastRedirect'> | undefined,
): FleetMove {
  return {
    waves: input.waves ?? estate.waves,
    approveWaves: input.approve_waves ?? estate.approve_waves,
    devicesPerSecond: input.devices_per_second ?? estate.devices_per_second,
    windowMs: durationMs(input.wave_window ?? estate.wave_window),
    seen: input.wave_seen ?? estate.wave_seen,
    rate: input.wave_rate ?? estate.wave_rate,
    errors: input.wave_errors ?? estate.wave_errors,
    canary: input.canary ?? Boolean(estate.canary),
    begun: record?.migration?.fleet,
    lastRedirect: record?.lastRedirect ?? 0,
  };
}

export interface Traffic extends PlannedEndpoint {
  /** Placements that the service keeps. */
  others: RecordedPlacement[];
}

export interface PlannedMigration extends Move {
  type: ServiceType;
  plan: EstatePlan;
  target: PlannedPlacement;
}

/** Plans the move and takes the lock of the service. `known`: the estate where it was loaded already. */
export async function planMigration(
  op: Operation,
  input: MigrateServiceInput,
  known?: LoadedEstate,
): Promise<PlannedMigration | { attached: OperationResult }> {
  const { service, from, to } = input;
  const loaded = known ?? (await control.loadEstate({ estate: input.estate }));
  const { estate, approvals } = loaded;
  op.decisions.obey(approvals);
  op.about(estate.name, service, estate.services[service]?.type);
  if (from === to) throw failure('InvalidInput', `to: ${service} is to move from ${from} to ${to}, which is the same.`);

  const look = () => planServices(loaded, input.by, [service], { from, to });
  const hashed = ({ plan }: Planned): string => sha256Hex([plan.hash, from, to].join('\n'));
  let planned = await op.board.step('plan', look);
  const lock = await op.locks.take(service, hashed(planned));
  if ('attached' in lock) return lock;
  if (lock.revision !== (planned.records[service]?.revision ?? 0)) planned = await look();
  op.board.record(input.by || 'unnamed', `migrate from ${from} to ${to}`, service);

  const [moved] = planned.services;
  const target = moved?.placements.find(({ placement }) => placement.provider === to);
  const record = planned.records[service];
  const source = record?.placements.find(({ provider, role }) => provider === from && role === 'current');
  if (!moved || !target || !source) throw failure('Unplaceable', `${service} cannot go from ${from} to ${to}.`);
  const taken = record?.migration;
  if (taken && (taken.from.provider !== from || taken.to.provider !== to))
    throw failure(
      'OperationInProgress',
      `A migration of ${service} from ${taken.from.provider} to ${taken.to.provider} was interrupted. Finish it or take it back first: multi-cloud recover ${service} [--undo]`,
    );
  const { type } = moved;
  if (!movable.includes(type))
    throw failure('NotSupported', `${service} is a ${type}; this release moves ${movable.join(' and ')}.`);
  refuseWithoutRights([{ ...moved, placements: [target] }]);
  await awaitHeadroom(op, [{ ...moved, placements: [target] }]);

  const { uid, controller, generation } = target.placement.owner;
  const owner = { estate: estate.name, service, uid, controller };
  const begun = taken?.stage === 'copying' && record?.placements.find((one) => samePlacement(one, taken.to));
  if (begun && isPartlyGone(target) && takenUpWhole()) {
    await removeTarget(op, owner, begun);
    return planMigration(op, input, loaded); // it begins anew, under another name
  }
  const others = record?.placements.filter((one) => one.role === 'current' && one !== source) ?? [];
  const traffic = moved.endpoint && { ...moved.endpoint, others };
  const soakMs = durationMs(input.soak ?? estate.migration.soak);
  const versions = input.versions ?? taken?.versions ?? estate.migration.versions ?? false;
  const carried = objectTypes.includes(type)
    ? await lookAtObjects(op, { estate, type, owner, source, target: target.placement, versions })
    : await lookAtFleet(op, { owner, source, target: target.placement, soakMs });
  const { followMs, fenceMs } = await op.waits();
  for (const one of others) op.achieved(service, one);
  return {
    service,
    type,
    owner,
    holder: taken ? { workflowId: taken.workflowId, runId: taken.runId } : op.holder,
    source,
    to: { provider: to, generation },
    ...(taken && { stage: taken.stage }),
    sourceOnly: 0,
    target,
    holds: carried.holds,
    plan: carried.plan(planned.plan),
    hash: hashed(planned),
    approvals,
    soakMs,
    retentionMs: durationMs(input.source_retention ?? estate.migration.source_retention),
    digest: estate.migration.digest,
    versions,
    followMs,
    fenceMs: Math.min(carried.fenceMs, fenceMs),
    escapes: carried.escapes,
    traffic,
    ...(type === 'iot_core' && { fleet: fleetMove(estate.migration, input, record) }),
  };
}

/** What was found of what is to move, and the plan with it. */
interface Carried extends Pick<Move, 'holds' | 'fenceMs' | 'escapes'> {
  plan: (plan: EstatePlan) => EstatePlan;
}

async function lookAtObjects(
  op: Operation,
  {
    estate,
    type,
    owner,
    source,
    target,
    versions,
  }: {
    estate: LoadedEstate['estate'];
    type: ServiceType;
    owner: Omit<Owner, 'generation'>;
    source: RecordedPlacement;
    target: Placement;
    versions: boolean;
  },
): Promise<Carried> {
  const { service } = owner;
  const to = target.provider;
  const from = source.provider;
  const fence = await op.held(service, () =>
    urgent(from, `preflight of the fence of ${service}`).proveFence({ placement: placementOf(owner, source) }),
  );
  if (fence.missing.length > 0)
    throw failure(
      'PermissionDenied',
      `${service} on ${from}: the worker lacks ${fence.missing.join(', ')}, which the fence of the cutover or its undo needs. Grant these rights and start again; nothing was changed.`,
    );
  const measure = { placement: placementRef(owner, source), ...(versions && { versions }) };
  const holds = await op.board.step(
    'measure',
    () => op.held(service, () => bulk(from, to, `measure ${service} on ${from}`).measureStore(measure)),
    ({ objects, bytes, versions: kept }) =>
      `${objects} objects, ${gigabytes(bytes)} GB${kept ? `; ${kept.objects} older versions, ${gigabytes(kept.bytes)} GB` : ''}`,
  );
  const egress = await control.priceEgress({ from: source, bytes: holds.bytes + (holds.versions?.bytes ?? 0) });
  const warnings = [
    ...fenceWarnings(fence),
    ...notMoved(type),
    ...readAgain(estate.migration.digest, to),
    ...tooLarge(holds, target),
    ...(versions ? versionWarnings(holds, target, await keepsVersions(op, owner, source)) : []),
  ];
  return {
    holds,
    fenceMs: fence.settles.longestMs ?? 0,
    escapes: fence.escapes.map(({ identity }) => identity),
    plan: (plan) => withEgress({ ...plan, warnings: [...plan.warnings, ...warnings] }, service, from, egress),
  };
}

/** Counts the devices, and tells who cannot go: nothing else of a fleet has to be carried. */
async function lookAtFleet(
  op: Operation,
  {
    owner,
    source,
    target,
    soakMs,
  }: { owner: Omit<Owner, 'generation'>; source: RecordedPlacement; target: Placement; soakMs: number },
): Promise<Carried> {
  const { service } = owner;
  const resources = source.resources.filter(({ key }) => registryParts[source.providerType].includes(key));
  const census = await op.board.step(
    'census',
    () =>
      op.held(service, () =>
        watch(`devices of ${service} on ${source.provider}`).censusDevices({
          placement: placementRef(owner, { ...source, resources }),
          keptAt: { ...target, resources: [] },
          census: `preflight-${wf.uuid4().slice(0, 8)}`,
          to: target.providerType,
          validUntil: new Date(Date.now() + soakMs).toISOString(),
          callsPerSecond: registryCallsPerSecond[source.providerType],
        }),
      ),
    censusText,
  );
  const warnings = fleetWarnings(census, source.providerType, target.providerType);
  return {
    ...{ holds: { objects: 0, bytes: 0, largest: 0 }, fenceMs: 0, escapes: [] },
    plan: (plan) => ({ ...plan, warnings: [...plan.warnings, ...warnings] }),
  };
}

const fenceWarnings = ({ escapes, uploads, unknown }: FenceProof): string[] => [
  ...escapes.map(({ identity, by }) => `${identity} can write to the source in spite of the fence (${by})`),
  ...(uploads.count > 0
    ? [`${uploads.count} uploads to the source are not complete; the fence ends them: ${uploads.first.join(', ')}`]
    : []),
  ...unknown.map((what) => `the source's cloud cannot tell: ${what}`),
];

/** A store whose versioning was turned off, or never on, says so among what is judged of it. */
async function keepsVersions(
  op: Operation,
  owner: Omit<Owner, 'generation'>,
  source: RecordedPlacement,
): Promise<boolean> {
  const placement = placementOf(owner, source);
  const on = cloud(source.provider, `whether ${owner.service} keeps versions`);
  const { failed } = await op.held(owner.service, async () => {
    const { specs } = await on.inspectPlacement({ placement, existing: true });
    return on.verifyPlacement({ placement, specs, tried: true });
  });
  return !failed.some(({ name }) => name === 'versioning');
}

const tooLarge = ({ largest }: MeasuredStore, { provider, providerType }: Placement): string[] => {
  const most = partLimits[providerType].object;
  return largest > most
    ? [
        `the largest object has ${gigabytes(largest)} GB, and ${provider} takes none over ${gigabytes(most)} GB: such objects stay behind`,
      ]
    : [];
};

/** What of a history arrives otherwise than it was. */
function versionWarnings({ versions }: MeasuredStore, { provider, providerType }: Placement, kept: boolean): string[] {
  const { objects = 0, deletions = 0 } = versions ?? {};
  const warnings = [
    'versions are copied once, before the current objects: of what changes while the target follows, only what is current when it is looked at arrives, and the soak brings back only what is current',
  ];
  if (!kept) warnings.push(`the source's versioning is off: what it keeps are ${objects} older versions of before`);
  if (objects > 0)
    warnings.push(`times of versions at ${provider} are those of the copy; the marks of the copies tell the originals`);
  if (deletions > 0 && providerType !== 'aws')
    warnings.push(
      `${deletions} deletions are done there too, but ${provider} keeps no markers of them, only what was deleted`,
    );
  return warnings;
}

const notMoved = (type: ServiceType): string[] =>
  type === 'data_lake'
    ? [
        'objects are moved; what the catalogue lists and what waits in the ingest stream stays behind, and the target begins with an empty catalogue',
      ]
    : [];

const readAgain = (digest: Digest, to: string): string[] =>
  digest === 'sha256'
    ? [
        `each copy is read once more and compared by its SHA-256 (migration.digest): as much leaves ${to} as was copied, which is not in the estimate`,
      ]
    : [];

/** The plan with what leaves the source's cloud once. */
function withEgress(plan: EstatePlan, service: string, from: string, egress: CostLine | Unpriced): EstatePlan {
  if ('unpriced' in egress)
    return { ...plan, warnings: [...plan.warnings, `what leaves ${from} is not priced: ${egress.unpriced}`] };
  const { oneTime, oneTimeUsd } = plan.cost;
  const cost = {
    ...plan.cost,
    oneTime: [...oneTime, { ...egress, service, provider: from }],
    oneTimeUsd: sumUsd([oneTimeUsd, egress.monthlyUsd]),
  };
  return { ...plan, cost };
}
