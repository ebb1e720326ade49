/**
 * The activity types of deployments and migrations, in a worker as it runs in production: the worker is killed with kill -9, the activity times out, its
 * run is cancelled, the Temporal server is killed and started again, each before and after the activity took effect. Each
 * run ends done or undone, the same input succeeds again, and nothing is left over.
 *
 * Several activities are struck in one life, each once, where a run is to go on all the same; of those that break a life, each is tried alone.
 *
 * `npm test` goes through one fate of the worker and one of the server, chosen by the commit; `npm run test:faults` through all.
 */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { ApplicationFailure, Client, Connection, WorkflowFailedError, type WorkflowHandle } from '@temporalio/client';
import { createDeviceActivities } from '../../activities/devices/activities.ts';
import { createSenderActivities } from '../../activities/devices/sender.ts';
import { createWaveActivities } from '../../activities/devices/waves.ts';
import { createEstateActivities } from '../../activities/estate/load.ts';
import { createPlacementActivities } from '../../activities/estate/place.ts';
import { createNotifyActivities } from '../../activities/notify/activities.ts';
import { createProviderActivities } from '../../activities/providers/activities.ts';
import type { ProviderPool } from '../../activities/providers/pool.ts';
import { Resource } from '../../activities/providers/provision.ts';
import { createRegistryActivities } from '../../activities/registry/registry.ts';
import { createScheduleActivities } from '../../activities/registry/schedules.ts';
import { createFollowActivities } from '../../activities/replication/follow.ts';
import { createReplicateActivities } from '../../activities/replication/replicate.ts';
import { createSidesActivities } from '../../activities/replication/sides.ts';
import { createTelemetryActivities } from '../../activities/telemetry/follow.ts';
import { createBalancerActivities } from '../../activities/traffic/weights.ts';
import { createTransferActivities } from '../../activities/transfer/activities.ts';
import { loadPermissions, loadSheets } from '../../config/load.ts';
import { sampleZone } from '../../emulators/environment.ts';
import { taskQueue, workflowIds } from '../../model/operations.ts';
import type { Progress } from '../../model/progress.ts';
import type { EstateRecord, RecordedPlacement, ServiceRecord } from '../../model/record.ts';
import type { Placement } from '../../model/service.ts';
import { CellsEstate } from '../e2e/cells.ts';
import { writeEstate } from '../e2e/own-worker.ts';
import { testPool, writeSettings } from '../e2e/worker-process.ts';
import { type OwnTemporal, ownTemporal } from '../local/temporal.ts';
import { chosen, inLots, note } from './choice.ts';
import { GatedWorker, type Question } from './gated-worker.ts';

const root = join(import.meta.dirname, '../..');
const estate = 'activities';
const service = 'gcp_storage';
const cell = { provider: 'gcp', type: 'storage', service } as const;
/** Moves from gcp to aws. */
const moved = 'moved';
const movedCells = (['gcp', 'aws'] as const).map(
  (provider) => ({ provider, type: 'storage', service: moved }) as const,
);
const fates = ['kill -9', 'time out', 'cancel', 'server killed'] as const;

interface Case {
  id: string;
  life: () => Promise<void>;
  activity: string;
  fate: (typeof fates)[number];
  when: 'before' | 'after';
}

const folder = mkdtempSync(join(tmpdir(), 'estate-'));
const storage = { type: 'storage', preferred_providers: ['gcp'], protect: false };
const movable = { ...storage, preferred_providers: ['gcp', 'aws'] };
const file = writeEstate(
  join(folder, 'estate.yaml'),
  estate,
  { [service]: storage, [moved]: movable },
  { traffic: { zone: sampleZone, dns: 'gcp', ttl: '1s' } },
);
/** All activity types that there are, as the workers register them. */
const dependencies = { pool: {} as ProviderPool, pollMs: 1, callDeadlineMs: 1 };
const transfers = createTransferActivities(dependencies);
const types = Object.keys({
  ...createRegistryActivities({ client: {} as Client, controller: '' }),
  ...createScheduleActivities({ client: {} as Client }),
  ...createNotifyActivities({ estateFile: file, secrets: () => ({}) }),
  ...createEstateActivities({
    estateFile: file,
    waits: { callDeadlineMs: 1, settleMs: 1, blockedMs: 1, followMs: 200, fenceMs: 300 },
  }),
  ...createPlacementActivities({ sheets: loadSheets(join(root, 'config')) }),
  ...createProviderActivities({ ...dependencies, permissions: loadPermissions(join(root, 'config')), identities: [] }),
  ...createBalancerActivities({ callDeadlineMs: 1 }),
  ...transfers,
  ...createFollowActivities({ ...dependencies, ...transfers }),
  ...createTelemetryActivities(dependencies),
  ...createReplicateActivities(dependencies),
  ...createDeviceActivities(dependencies),
  ...createWaveActivities(dependencies),
  ...createSenderActivities({ ...dependencies, key: '' }),
  ...createSidesActivities(dependencies),
}).sort();
/** Those that these lives do not reach, by the suite that uses them: but for `keeping`, nothing strikes them there. */
const elsewhere = {
  'test/e2e/locks': ['askToYield', 'awaitEnd', 'awaitHolder', 'isRunning'],
  'test/e2e/traffic': ['readCounters', 'readWeights', 'removeWeights', 'setWeights'],
  'test/e2e/rehearse': ['copySample'],
  'test/e2e/verify': ['repairTransfer'],
  'test/e2e/versions': ['copyVersions'],
  'test/telemetry/pump': ['ensureTelemetryFollower', 'followTelemetry', 'removeTelemetryFollower'],
  'test/e2e/replicate': ['startReplications'],
  'test/faults/keeping': ['awaitRecord', 'compareSides', 'noteReplication', 'repairSides', 'replicateSides'],
  'test/e2e/sides': ['ensureSchedule', 'readConflicts', 'removeSchedule', 'writeConflictBack'],
  'test/notify': ['alertChannels', 'sendAlert'],
  'test/e2e/devices': ['censusDevices', 'copyDevices', 'diffDevices', 'readDevices', 'removeCopiedDevices'],
  'test/fleet/claims': ['askClaims', 'issueCertificates'],
  'test/e2e/migrate-fleet': ['selectDevices', 'planWave', 'judgeWave', 'sendRedirects'],
};

let temporal: OwnTemporal;
let client: Client;
let pool: ProviderPool;
let worker: GatedWorker;
/** What has yet to strike this life. */
let faults: Case[] = [];
let striking = false;
let hits = 0;
let reached = new Set<string>();
let broken: string[] = [];
let runs = 0;
/** Cancels the next run that has changed a resource. */
let takesBack = false;

async function answer({ activityType, when, workflowId, runId }: Question): Promise<'go' | 'hang'> {
  reached.add(activityType);
  if (takesBack && activityType === 'ensureResource' && when === 'after') {
    takesBack = false;
    await client.workflow.getHandle(workflowId, runId).cancel();
  }
  const fault = faults.find((one) => one.activity === activityType && one.when === when);
  if (!fault || striking) return 'go';
  faults = faults.filter((one) => one !== fault);
  hits++;
  if (fault.fate === 'time out') return 'hang';
  striking = true;
  await strike(fault, workflowId, runId).finally(() => {
    striking = false;
  });
  return 'go';
}

async function strike({ fate }: Case, workflowId: string, runId: string): Promise<void> {
  if (fate === 'cancel') await client.workflow.getHandle(workflowId, runId).cancel();
  if (fate === 'server killed') await temporal.kill();
  if (fate === 'kill -9') {
    await worker.kill();
    await worker.start();
  }
}

/** How an operation ended: its outcome, or the type of its failure. The server may be away meanwhile. */
async function end(run: WorkflowHandle): Promise<string> {
  for (;;)
    try {
      const result = (await run.result()) as { outcome?: string } | undefined;
      return result?.outcome ?? 'done';
    } catch (error) {
      if (!(error instanceof WorkflowFailedError)) continue;
      const { cause } = error;
      return cause instanceof ApplicationFailure ? (cause.type ?? cause.message) : (cause?.name ?? error.message);
    }
}

const start = (type: string, input: object, workflowId = `${type}-${++runs}`) =>
  client.workflow.start(type, { taskQueue, workflowId, args: [input] });

/** Runs an operation; one that was struck may end undone or cancelled, and then succeeds when it is asked for again. */
async function does(type: string, input: object, { workflowId = '', orElse = 'done' } = {}): Promise<void> {
  const before = hits;
  const ended = await end(await start(type, input, workflowId || undefined));
  if (ended === 'done') return;
  // Whoever has started a run that is cancelled hears that it was.
  if (hits === before || !['CancelledFailure', 'UndoRequested'].includes(ended)) broken.push(`${type}: ${ended}`);
  const again = await end(await start(type, input));
  if (again !== 'done' && again !== orElse) broken.push(`${type} again: ${again}`);
}

const record = <R>(workflowId: string): Promise<R> => client.workflow.getHandle(workflowId).query<R>('record');

const only = (name: string) => ({ file: { services: { [name]: storage } } });

/** Everything that can happen to one service that stays where it is, from its first deployment to a rebuild of its records. */
async function live(): Promise<void> {
  const workflowId = `deploy-${++runs}`;
  await does('deployEstate', only(service), { workflowId });
  const { runId } = await client.workflow.getHandle(workflowId).describe();
  await does('verifyAudit', { workflowId, runId });

  // A change that is taken back half-way: the bucket gets its earlier configuration again.
  const changed = { services: { [service]: { ...storage, configuration: { retention_days: 9 } } } };
  takesBack = true;
  await end(await start('deployService', { service, file: changed }));
  takesBack = false;

  await strayBucket();
  await does('checkEstate', {});
  await does('recoverService', { service });
  await does('removeService', { service });
  await does('rebuildEstate', {});
  const { uid } = await record<EstateRecord>(workflowIds.cloudEstate(estate));
  await does('rebuildEstate', { confirm: uid }, { orElse: 'InvalidInput' }); // it was confirmed before it was struck
  const left = await new CellsEstate({ client, pool, close: async () => {} }, estate).left(cell);
  if (left.length > 0) broken.push(`left: ${left.join(', ')}`);
}

/** A service that moves to another cloud and back, and then moves for good. What it holds is there wherever it is. */
async function move(): Promise<void> {
  await does('deployService', { service: moved, ...only(moved) });
  const [placed] = (await record<ServiceRecord>(workflowIds.cloudService(estate, moved))).placements;
  if (!placed) return void broken.push('nothing was deployed');
  const [{ objects }, placement] = [await pool.get('gcp'), await placementOf(placed)];
  for (const key of ['a', 'b'])
    await objects.put(placement, key, Buffer.from(key), undefined, AbortSignal.timeout(30_000));

  const there = { service: moved, from: 'gcp', to: 'aws', source_retention: '1s' };
  await moves({ ...there, soak: '1h' }, 'UndoRequested');
  await holds('gcp');
  await moves({ ...there, soak: '1s' }, 'done');
  await holds('aws');
  // The record removes the source once its retention is over.
  for (let look = 0; look < 100; look++) {
    const { placements, holder } = await current();
    if (placements.length === 1 && !holder) break;
    await setTimeout(200);
  }
  await does('removeService', { service: moved });
  const left = new CellsEstate({ client, pool, close: async () => {} }, estate);
  for (const one of movedCells) {
    const names = await left.left(one);
    if (names.length > 0) broken.push(`left on ${one.provider}: ${names.join(', ')}`);
  }
}

const current = () => record<ServiceRecord>(workflowIds.cloudService(estate, moved));
async function placementOf(recorded: RecordedPlacement): Promise<Placement> {
  const { uid } = await record<EstateRecord>(workflowIds.cloudEstate(estate));
  const owner = { estate, uid, service: moved, controller: '', generation: recorded.generation };
  return { ...recorded, owner };
}

/** The service is there and nowhere else, with all that was written. */
async function holds(provider: 'aws' | 'gcp'): Promise<void> {
  const placed = (await current()).placements.find(({ role }) => role === 'current');
  if (placed?.provider !== provider) return void broken.push(`it is on ${placed?.provider}, not on ${provider}`);
  const [{ objects }, placement] = [await pool.get(provider), await placementOf(placed)];
  for (const key of ['a', 'b']) {
    const found = await objects.get(placement, key, AbortSignal.timeout(30_000));
    if (!found || Buffer.from(found.bytes).toString() !== key) broken.push(`${provider} has not what ${key} was`);
  }
}

/** Migrates, approves the cutover, and asks to undo it where that is how it is to end; a run that was struck may end cancelled. */
async function moves(input: object, orElse: 'done' | 'UndoRequested'): Promise<void> {
  for (const tries of [1, 2]) {
    const before = hits;
    const ended = await migrates(input, orElse === 'UndoRequested' ? ['cutover', 'undo'] : ['cutover']);
    if (ended === orElse) return;
    if (tries === 2 || hits === before || ended !== 'CancelledFailure')
      return void broken.push(`migrateService: ${ended}`);
  }
}

async function migrates(input: object, approved: readonly string[]): Promise<string> {
  const run = await start('migrateService', input);
  let over = false;
  const ended = end(run).finally(() => {
    over = true;
  });
  const answered = new Set<string>();
  while (!over) {
    await setTimeout(100);
    try {
      const { waitingFor } = await run.query<Progress>('progress');
      for (const { question, plan } of waitingFor) {
        if (!approved.includes(question) || answered.has(plan)) continue;
        await run.signal('decide', { question, answer: 'approve', by: 'ann', plan });
        answered.add(plan);
      }
    } catch {
      // Its worker or the server is away, or it has ended meanwhile.
    }
  }
  return ended;
}

/** A resource that carries our tags and that no record knows. */
async function strayBucket(): Promise<void> {
  const provider = await pool.get('gcp');
  const storageCell = provider.cells.find(({ type }) => type === 'storage');
  const { placements } = await record<ServiceRecord>(workflowIds.cloudService(estate, service));
  const [placed] = placements;
  if (!storageCell || !placed) return void broken.push('nothing was deployed');
  const { uid } = await record<EstateRecord>(workflowIds.cloudEstate(estate));
  const { namespaceInfo } = await client.workflowService.describeNamespace({ namespace: 'default' });
  const owner = { estate, service, uid, controller: namespaceInfo?.id ?? '', generation: 1000 + ++runs };
  const { provider: name, providerType, type, region, account, configuration } = placed;
  const placement = { owner, provider: name, providerType, type, region, account, configuration };
  const signal = AbortSignal.timeout(30_000);
  for (const spec of storageCell.design(placement))
    await new Resource(provider, storageCell, spec, { placement, needs: {}, signal }).ensure({
      pollMs: 50,
      heartbeat: () => {},
    });
}

beforeAll(async () => {
  temporal = await ownTemporal();
  client = new Client({ connection: await Connection.connect({ address: temporal.address }) });
  pool = testPool(file);
  const settings = writeSettings(folder, {
    estateFile: file,
    temporal: { address: temporal.address },
    waits: { callDeadlineMs: 2000, settleMs: 200, blockedMs: 300, followMs: 200, fenceMs: 300 },
  });
  worker = new GatedWorker({ settings, answer, failed: (error) => broken.push(String(error)) });
  await worker.start();
}, 120_000);
afterAll(async () => {
  await worker.kill();
  await Promise.all([pool.close(), client.connection.close(), temporal.stop()]);
}, 60_000);

/** Which life is the first to reach an activity type. */
const firstIn = new Map<string, () => Promise<void>>();

it('two undisturbed lives reach every activity type that there is', async () => {
  for (const life of [live, move]) {
    reached = new Set();
    await life();
    for (const type of reached) if (!firstIn.has(type)) firstIn.set(type, life);
  }
  expect(broken).toEqual([]);
  expect(types.filter((type) => !firstIn.has(type))).toEqual(Object.values(elsewhere).flat().sort());
}, 240_000);

/** What is broken after a life that all of these have struck. */
async function struckBy(lot: readonly Case[]): Promise<string[]> {
  broken = [];
  hits = 0;
  faults = [...lot];
  await lot[0]?.life();
  broken.push(...faults.map(({ id }) => `it was not reached: ${id}`));
  return broken;
}

it('whatever happens to an activity: the run ends done or undone, leaves nothing, and succeeds again', async () => {
  const cases = [...firstIn]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([activity, life]) =>
      fates.flatMap((fate) =>
        (['before', 'after'] as const).map(
          (when): Case => ({ id: `activity ${activity} ${fate} ${when}`, life, activity, fate, when }),
        ),
      ),
    );
  const some = chosen(cases, ({ fate }) => (fate === 'server killed' ? 'server' : 'worker'));
  const canShare = (one: Case, other: Case) =>
    one.life === other.life && one.activity !== other.activity && one.fate !== 'cancel' && other.fate !== 'cancel';
  const failed: string[] = [];
  for (const lot of inLots(some, 8, canShare)) {
    const together = await struckBy(lot);
    for (const one of lot) {
      const found = together.length === 0 || lot.length === 1 ? together : await struckBy([one]);
      note(one.id, found);
      if (found.length > 0) failed.push(`${one.id}: ${found.join('; ')}`);
    }
  }
  expect(failed).toEqual([]);
}, 10_800_000);
