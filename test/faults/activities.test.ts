/**
 * Every activity type, in a worker as it runs in production: the worker is killed with kill -9, the activity times out, its
 * run is cancelled, the Temporal server is killed and started again, each before and after the activity took effect. Each
 * run ends done or undone, the same input succeeds again, and nothing is left over.
 *
 * `npm test` goes through one fate of the worker and one of the server, chosen by the commit; `npm run test:faults` through all.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ApplicationFailure, Client, Connection, WorkflowFailedError, type WorkflowHandle } from '@temporalio/client';
import { createEstateActivities } from '../../activities/estate/load.ts';
import { createPlacementActivities } from '../../activities/estate/place.ts';
import { createProviderActivities } from '../../activities/providers/activities.ts';
import type { ProviderPool } from '../../activities/providers/pool.ts';
import { Resource } from '../../activities/providers/provision.ts';
import { createRegistryActivities } from '../../activities/registry/registry.ts';
import { loadPermissions, loadSheets } from '../../config/load.ts';
import { sampleZone } from '../../emulators/environment.ts';
import { taskQueue, workflowIds } from '../../model/operations.ts';
import type { EstateRecord, ServiceRecord } from '../../model/record.ts';
import { CellsEstate } from '../e2e/cells.ts';
import { writeEstate } from '../e2e/own-worker.ts';
import { testPool, writeSettings } from '../e2e/worker-process.ts';
import { type OwnTemporal, ownTemporal } from '../local/temporal.ts';
import { chosen, note } from './choice.ts';

const root = join(import.meta.dirname, '../..');
const estate = 'activities';
const service = 'gcp_storage';
const cell = { provider: 'gcp', type: 'storage', service } as const;
const fates = ['kill -9', 'time out', 'cancel', 'server killed'] as const;

interface Case {
  id: string;
  activity: string;
  fate: (typeof fates)[number];
  when: 'before' | 'after';
}

/** What a worker asks at its gate. */
interface Question {
  id: number;
  when: 'before' | 'after';
  activityType: string;
  attempt: number;
  workflowType: string;
  workflowId: string;
  runId: string;
}

const folder = mkdtempSync(join(tmpdir(), 'estate-'));
const storage = { type: 'storage', preferred_providers: ['gcp'], protect: false };
const file = writeEstate(join(folder, 'estate.yaml'), estate, { [service]: storage });
const written = JSON.parse(readFileSync(file, 'utf8'));
writeFileSync(file, JSON.stringify({ ...written, traffic: { zone: sampleZone, dns: 'gcp', ttl: '1s' } }));
/** All activity types that there are, as the workers register them. */
const types = Object.keys({
  ...createRegistryActivities({ client: {} as Client, controller: '' }),
  ...createEstateActivities({
    estateFile: file,
    waits: { callDeadlineMs: 1, settleMs: 1, blockedMs: 1, followMs: 200, fenceMs: 300 },
  }),
  ...createPlacementActivities({ sheets: loadSheets(join(root, 'config')) }),
  ...createProviderActivities({
    pool: {} as ProviderPool,
    pollMs: 1,
    callDeadlineMs: 1,
    permissions: loadPermissions(join(root, 'config')),
    identities: [],
  }),
}).sort();
/** Those that a life without a second run at the same time does not reach; test/e2e/locks.test.ts has these. */
const between = ['askToYield', 'awaitEnd', 'awaitHolder', 'isRunning'];
/** Those of a migration; test/workflows/migration.test.ts and test/e2e/migrate.test.ts have these. */
const moving = [
  'ensureFeed',
  'fenceStore',
  'liftFence',
  'priceEgress',
  'proveFence',
  'readEndpointRecord',
  'removeFeed',
];

let temporal: OwnTemporal;
let client: Client;
let pool: ProviderPool;
let settings: string;
let worker: ChildProcess;
let fault: Omit<Case, 'id'> | undefined;
let hits = 0;
const reached = new Set<string>();
let broken: string[] = [];
let runs = 0;
/** Cancels the next run that has changed a resource. */
let takesBack = false;

async function startWorker(): Promise<void> {
  const child = spawn(process.execPath, ['workers/main.ts'], {
    cwd: root,
    env: {
      ...process.env,
      MULTI_CLOUD_SETTINGS: settings,
      NODE_OPTIONS: `${process.env.NODE_OPTIONS} --import ${pathToFileURL(join(import.meta.dirname, 'gate.mjs')).href}`,
    },
    stdio: ['ignore', 'pipe', 'ignore', 'ipc'],
  });
  worker = child;
  child.on('message', (question: Question) => {
    answer(question).then(
      (said) => child.connected && child.send({ id: question.id, answer: said }),
      (error: unknown) => broken.push(String(error)),
    );
  });
  await new Promise<void>((resolve, reject) => {
    child.stdout?.on('data', (chunk: Buffer) => /^ready /m.test(chunk.toString()) && resolve());
    child.once('exit', (code) => reject(new Error(`the worker ended before it was ready: exit code ${code}`)));
  });
}

async function answer({ activityType, when, workflowId, runId }: Question): Promise<'go' | 'hang'> {
  reached.add(activityType);
  if (takesBack && activityType === 'ensureResource' && when === 'after') {
    takesBack = false;
    await client.workflow.getHandle(workflowId, runId).cancel();
  }
  if (!fault || fault.activity !== activityType || fault.when !== when) return 'go';
  const { fate } = fault;
  fault = undefined;
  hits++;
  if (fate === 'time out') return 'hang';
  if (fate === 'cancel') await client.workflow.getHandle(workflowId, runId).cancel();
  if (fate === 'server killed') await temporal.kill();
  if (fate === 'kill -9') {
    worker.kill('SIGKILL');
    await once(worker, 'exit');
    await startWorker();
  }
  return 'go';
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
  if (hits === before || ended !== 'CancelledFailure') broken.push(`${type}: ${ended}`);
  const again = await end(await start(type, input));
  if (again !== 'done' && again !== orElse) broken.push(`${type} again: ${again}`);
}

const record = <R>(workflowId: string): Promise<R> => client.workflow.getHandle(workflowId).query<R>('record');

/** Everything that can happen to one service, from its first deployment to a rebuild of its records. */
async function live(): Promise<void> {
  const workflowId = `deploy-${++runs}`;
  await does('deployEstate', {}, { workflowId });
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
  settings = writeSettings(folder, {
    estateFile: file,
    temporal: { address: temporal.address },
    waits: { callDeadlineMs: 2000, settleMs: 200, blockedMs: 300, followMs: 200, fenceMs: 300 },
  });
  await startWorker();
}, 120_000);
afterAll(async () => {
  worker.kill('SIGKILL');
  await Promise.all([pool.close(), client.connection.close(), temporal.stop()]);
}, 60_000);

it('an undisturbed life reaches every activity type that there is', async () => {
  await live();
  expect(broken).toEqual([]);
  expect(types.filter((type) => !reached.has(type))).toEqual([...between, ...moving].sort());
}, 240_000);

it('whatever happens to an activity: the run ends done or undone, leaves nothing, and succeeds again', async () => {
  const cases = [...reached]
    .sort()
    .flatMap((activity) =>
      fates.flatMap((fate) =>
        (['before', 'after'] as const).map(
          (when): Case => ({ id: `activity ${activity} ${fate} ${when}`, activity, fate, when }),
        ),
      ),
    );
  const failed: string[] = [];
  for (const one of chosen(cases, ({ fate }) => (fate === 'server killed' ? 'server' : 'worker'))) {
    broken = [];
    hits = 0;
    fault = one;
    await live();
    if (hits !== 1) broken.push(`the fault hit ${hits} times`);
    note(one.id, broken);
    if (broken.length > 0) failed.push(`${one.id}: ${broken.join('; ')}`);
  }
  expect(failed).toEqual([]);
}, 10_800_000);
