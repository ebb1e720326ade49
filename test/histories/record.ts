/**
 * Records the committed histories: starts a stack, runs each workflow type on a small estate, and writes what the server
 * kept. `node bin/run.mjs test/histories/record.ts [TYPE ...]` after a change of workflows that old histories cannot follow (until
 * the first release; from then on such a change is made behind `patched`, and old histories stay).
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { gzipSync } from 'node:zlib';
import { ApplicationFailure } from '@temporalio/activity';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import { baseEnvironment, localCredentials, sampleZone } from '../../emulators/environment.ts';
import { LocalStack, settingsFrom } from '../../emulators/stack.ts';
import type { WorkflowHandle } from '@temporalio/client';
import type { ConflictPage } from '../../model/conflict-view.ts';
import { type CopiedFleet, taskQueue, workflowIds } from '../../model/operations.ts';
import type { Progress } from '../../model/progress.ts';
import type { EstateRecord, RecordedPlacement, ServiceRecord } from '../../model/record.ts';
import type { ReplicationLag } from '../../model/replicate.ts';
import { type PlacementRef, placementRef } from '../../model/transfer.ts';
import { allHistories, textOf } from '../e2e/histories.ts';
import { type OwnWorker, ownWorker, writeEstate } from '../e2e/own-worker.ts';

const root = resolve(import.meta.dirname, '../..');
const state = join(root, '.local/histories');
const estate = 'histories';
const types = process.argv.slice(2);
const isWanted = (type: string): boolean => types.length === 0 || types.includes(type);

/** The stack, and in a process that sees the local clouds only, this program again. */
async function withStack(): Promise<void> {
  rmSync(state, { recursive: true, force: true });
  const report = (text: string): void => void process.stderr.write(`  ${text}\n`);
  const stack = new LocalStack({
    ...settingsFrom({ MULTI_CLOUD_PORT: process.env.MULTI_CLOUD_TEST_PORT ?? '18600' }, report),
    state,
    operationMs: 150,
    pollMs: 30,
    nameHeldMs: 1000,
  });
  const run = await stack.up();
  try {
    const child = spawn(process.execPath, [import.meta.filename, ...types], {
      cwd: root,
      stdio: 'inherit',
      env: {
        ...baseEnvironment(state),
        ...localCredentials(state),
        MULTI_CLOUD_RUN: join(state, 'run.json'),
        MULTI_CLOUD_NETWORK: run.network,
        NODE_OPTIONS: `--import ${pathToFileURL(join(root, 'workers/network.ts')).href} --disable-warning=ExperimentalWarning`,
      },
    });
    const [code] = await once(child, 'exit');
    process.exitCode = Number(code ?? 1);
  } finally {
    await stack.down();
  }
}

/** Without what tells the machine it was recorded on, which no replay looks at: host names and paths of stack traces. */
const anonymous = (history: string): unknown =>
  JSON.parse(history.replaceAll(`${process.pid}@${hostname()}`, 'worker'), (key, value: unknown) =>
    key === 'stackTrace' ? '' : value,
  );

async function recordAll(): Promise<void> {
  // It needs the local clouds that the other process has started.
  const { fill } = await import('../fleet/fleets.ts');
  const services = {
    bucket: { type: 'storage', preferred_providers: ['aws'], protect: false },
    archive: { type: 'storage', preferred_providers: ['gcp'] },
    movable: { type: 'storage', preferred_providers: ['aws', 'gcp'] },
  };
  const file = writeEstate(join(mkdtempSync(join(tmpdir(), 'estate-')), 'estate.yaml'), estate, services);
  let fails = true;
  let parks = false;
  let denied = false;
  let interrupted = async () => {};
  const waits = { callDeadlineMs: 10_000, settleMs: 1000, blockedMs: 500, followMs: 200, fenceMs: 300 };
  const worker = await ownWorker({ namespace: 'histories', estateFile: file, wrap: (real) => ({
      ...real,
      async removeResource(request) {
        if (parks && request.undo) throw ApplicationFailure.nonRetryable('refused for good', 'InvalidInput');
        return real.removeResource(request);
      },
      async ensureResource(request) {
        const ensured = await real.ensureResource(request);
        if (fails && request.placement.owner.service === 'bucket')
          throw ApplicationFailure.nonRetryable('refused for good', 'InvalidInput');
        await interrupted();
        return ensured;
      },
    }), waits, moves: (real) => ({
      ...real,
      async copyShard(request) {
        if (denied) throw ApplicationFailure.nonRetryable('missing s3:GetObject', 'PermissionDenied');
        return real.copyShard(request);
      },
    }) });
  const { workflow } = worker.client;
  const start = (type: string, workflowId: string, input: object) =>
    workflow.start(type, { taskQueue, workflowId, args: [input] });

  await (await start('deployEstate', 'undone', {})).result().catch(() => {});
  fails = false;
  const until = async <T>(look: () => Promise<T | undefined>): Promise<T> => {
    for (;;) {
      const seen = await look();
      if (seen) return seen;
      await new Promise((done) => setTimeout(done, 100));
    }
  };
  const progress = (run: WorkflowHandle) => run.query<Progress>('progress');
  const answer = async (run: WorkflowHandle, question: string, given: string): Promise<void> => {
    const asked = async () => (await progress(run)).waitingFor.find((one) => one.question === question);
    const { plan, since } = await until(asked);
    await run.signal('decide', { question, answer: given, by: 'ann', plan });
    // The same may be asked again.
    await until(async () => (await asked())?.since !== since || undefined);
  };
  const waiting = await start('deployEstate', 'approved', { approval: 'manual', by: 'ann' });
  await answer(waiting, 'plan', 'approve');
  await waiting.result();
  await (await start('deployEstate', 'unchanged', {})).result();
  await (await start('planEstate', workflowIds.planEstate(estate, '1'), {})).result();
  await (await start('removeService', workflowIds.removeService(estate, 'bucket'), { service: 'bucket' })).result();
  await (await start('deployService', workflowIds.deployService(estate, 'bucket'), { service: 'bucket' })).result();
  // A run that is terminated in the middle, and what recovers it.
  let interrupt = true;
  interrupted = async () => {
    if (interrupt) await worker.client.workflow.getHandle('terminated').terminate();
    interrupt = false;
  };
  await (await start('deployService', 'terminated', { service: 'archive', file: { services: { ...services, archive: { ...services.archive, redundancy: 2, preferred_providers: ['gcp', 'aws'] } } } })).result().catch(() => {});
  await (await start('recoverService', workflowIds.recoverService(estate, 'archive'), { service: 'archive' })).result();
  // Two sides that are kept in step, through a pause, until somebody stops it.
  const kept = await start('replicateService', 'kept', { service: 'archive', mode: 'active-active', by: 'ann' });
  const isInStep = async () => (await kept.query<ReplicationLag>('lag')).inStepAt || undefined;
  await until(isInStep);
  await kept.signal('pause', { by: 'ann' });
  await until(async () => (await progress(kept)).phase === 'stands still' || undefined);
  await kept.signal('resume', { by: 'ann' });
  await until(async () => (await progress(kept)).phase === 'keeps in step' || undefined);
  await kept.cancel();
  await kept.result().catch(() => {});
  await (await start('checkEstate', workflowIds.checkEstate(estate, '1'), {})).result();
  const { runId } = await worker.client.workflow.getHandle('terminated').describe();
  await (await start('verifyAudit', workflowIds.verifyAudit(estate, '1'), { workflowId: 'terminated', runId })).result();
  await (await start('deployEstate', 'done', { file: { services: { ...services, third: services.bucket } } })).result();

  const record = (): Promise<ServiceRecord> => workflow.getHandle(workflowIds.cloudService(estate, 'movable')).query('record');
  const { uid } = await workflow.getHandle(workflowIds.cloudEstate(estate)).query<EstateRecord>('record');
  const put = async (role: RecordedPlacement['role'], key: string): Promise<void> => {
    const one = (await record()).placements.find((placement) => placement.role === role);
    if (!one) throw new Error(`movable has no ${role} placement`);
    const placement = { ...one, owner: { estate, uid, service: 'movable', controller: '', generation: one.generation } };
    const { objects } = await worker.pool.get(one.provider);
    await objects.put(placement, key, Buffer.from(key), undefined, AbortSignal.timeout(10_000));
  };
  for (let n = 0; n < 5; n++) await put('current', `object ${n}`);
  await (await start('verifyService', 'alone', { service: 'movable' })).result();

  // Migrations: rejected, paused, blocked, parked while they are taken back, taken back in the soak, brought to the end.
  const [from = ''] = (await record()).placements.map(({ provider }) => provider);
  const move = { service: 'movable', from, to: from === 'aws' ? 'gcp' : 'aws', soak: '1h', source_retention: '10s' };
  const rejected = await start('migrateService', 'rejected', move);
  await answer(rejected, 'cutover', 'reject');
  await rejected.result().catch(() => {});
  const paused = await start('migrateService', 'paused', move);
  await until(async () => (await progress(paused)).waitingFor[0]);
  await paused.signal('pause', { by: 'ann' });
  await new Promise((done) => setTimeout(done, 1000));
  await paused.signal('resume', { by: 'ann' });
  await answer(paused, 'cutover', 'reject');
  await paused.result().catch(() => {});
  denied = true;
  const blocked = await start('migrateService', 'blocked', move);
  await until(async () => (await progress(blocked)).blocked);
  denied = false;
  await blocked.signal('retryStep', { by: 'ann' });
  await answer(blocked, 'cutover', 'reject');
  await blocked.result().catch(() => {});
  parks = true;
  const parked = await start('migrateService', 'parked', move);
  await answer(parked, 'cutover', 'reject');
  await until(async () => (await progress(parked)).parked);
  parks = false;
  await parked.signal('retryCompensation', { by: 'ann' });
  await parked.result().catch(() => {});
  await (await start('rehearseMigration', 'rehearsed', { service: 'movable', from, to: move.to, sample: '50%' })).result();
  const returned = await start('migrateService', 'returned', move);
  await answer(returned, 'cutover', 'approve');
  await answer(returned, 'undo', 'approve');
  await returned.result().catch(() => {});
  const moved = await start('migrateService', 'moved', { ...move, soak: '2s' });
  await answer(moved, 'cutover', 'approve');
  await moved.result();
  await put('retained', 'extra');
  await (await start('verifyService', 'repaired', { service: 'movable', repair: true })).result();
  await until(async () => (await record()).placements.length === 1 || undefined);

  // A fleet that is looked at and copied; one of its devices stands there as something else.
  const fleet = { type: 'iot_core', redundancy: 2, preferred_providers: ['azure', 'gcp'], protect: false };
  await (await start('deployEstate', 'fleet', { file: { services: { ...services, fleet } } })).result();
  const { placements }: ServiceRecord = await workflow.getHandle(workflowIds.cloudService(estate, 'fleet')).query('record');
  const placed = (provider: string): PlacementRef => {
    const found = placements.find((one) => one.provider === provider);
    if (!found) throw new Error(`the fleet is not on ${provider}`);
    return placementRef({ estate, uid: '', service: 'fleet', controller: '' }, found);
  };
  await fill.azure(placed('azure'), [{ id: 'pump-1' }, { id: 'pump-2' }, { id: 'key', credential: 'key' }, { id: 'taken' }]);
  await fill.gcp(placed('gcp'), [{ id: 'taken' }]);
  const pair = { service: 'fleet', from: 'azure', to: 'gcp' };
  await (await start('checkDevices', 'listed', { what: 'list', service: 'fleet', provider: 'azure', to: 'gcp' })).result();
  await (await start('checkDevices', 'compared', { what: 'diff', ...pair })).result();
  const takenBack = await start('copyFleet', 'undone', pair);
  await answer(takenBack, 'devices', 'undo');
  await takenBack.result().catch(() => {});
  const copied = await start('copyFleet', 'copied', pair);
  await answer(copied, 'devices', 'retry');
  await answer(copied, 'devices', 'skip');
  const { copy } = (await copied.result()) as CopiedFleet;
  const written = { what: 'rows', service: 'fleet', provider: 'gcp', name: copy?.name, report: 'outcomes' };
  await (await start('checkDevices', 'read', written)).result();
  // A fleet of which nobody is awake: each of its waves goes back and is asked about.
  writeEstate(file, estate, { ...services, fleet: { ...fleet, preferred_providers: ['azure', 'gcp', 'aws'] } });
  const going = { service: 'fleet', from: 'azure', to: 'aws', waves: [50, 100], wave_window: '4s' };
  const homeward = await start('migrateService', 'fleetReturned', going);
  await answer(homeward, 'cutover', 'approve');
  await answer(homeward, 'devices', 'retry');
  await answer(homeward, 'devices', 'undo');
  await homeward.result().catch(() => {});
  const gone = await start('migrateService', 'fleetMoved', { ...going, soak: '2s', approve_waves: true });
  await answer(gone, 'cutover', 'approve');
  await answer(gone, 'devices', 'skip');
  await answer(gone, 'wave-2', 'approve');
  await answer(gone, 'devices', 'skip');
  await gone.result();
  // Registries that the estate wishes to be in step.
  const wished = { ...fleet, preferred_providers: ['aws', 'gcp'], replication: { mode: 'active-active' } };
  writeEstate(file, estate, { ...services, fleet: wished });
  await (await start('deployEstate', 'wished', {})).result();
  const registries = workflow.getHandle(workflowIds.replicateService(estate, 'fleet'));
  await until(async () => (await registries.query<ReplicationLag>('lag')).inStepAt || undefined);
  await (await start('verifyService', 'registries', { service: 'fleet' })).result();
  await registries.cancel();
  await registries.result().catch(() => {});

  // A database that was lost is a namespace that knows nothing.
  const fresh = await ownWorker({ namespace: 'histories-2', estateFile: file });
  const id = workflowIds.rebuildEstate(estate);
  await (await fresh.client.workflow.start('rebuildEstate', { taskQueue, workflowId: id, args: [{}] })).result();

  // Traffic that is steered in steps, and a step that is undone.
  const steered = await steering();
  const front = { service: 'web', hold: '1s' };
  await (await steered.client.workflow.start('deployEstate', { taskQueue, workflowId: 'web', args: [{}] })).result();
  const steer = (workflowId: string, input: object) =>
    steered.client.workflow.start('steerService', { taskQueue, workflowId, args: [{ ...front, ...input }] });
  await (await steer('set', { weights: { aws: 1 } })).result();
  await (await steer('looked', {})).result();
  const stepped = await steer('stepped', { weights: { gcp: 1 }, steps: [10], approval: 'manual', by: 'ann' });
  await answer(stepped, 'plan', 'approve');
  await stepped.result();
  const steeredBack = await steer('undone', { weights: { aws: 1 }, steps: [50], hold: '1h' });
  while (!(await steeredBack.query<Progress>('progress')).steps.some(({ name, status }) => name.endsWith('50 %') && status === 'running'))
    await new Promise((done) => setTimeout(done, 100));
  await steeredBack.signal('undo', { by: 'ann' });
  await steeredBack.result().catch(() => {});

  // Sides that are written at once: compared, repaired by the rule, and what lost is listed and restored.
  const twins = await replicated();
  const ofTwins = (type: string, workflowId: string, input: object = {}) =>
    twins.client.workflow.execute(type, { taskQueue, workflowId, args: [{ service: 'twins', ...input }] });
  await ofTwins('deployService', workflowIds.deployService('replicated', 'twins'));
  const both = await twins.client.workflow
    .getHandle(workflowIds.cloudService('replicated', 'twins'))
    .query<ServiceRecord>('record');
  const { uid: twinsUid } = await twins.client.workflow
    .getHandle(workflowIds.cloudEstate('replicated'))
    .query<EstateRecord>('record');
  for (const one of both.placements) {
    const owner = { estate: 'replicated', uid: twinsUid, service: 'twins', controller: '', generation: one.generation };
    const { objects } = await twins.pool.get(one.provider);
    const bytes = Buffer.from(`of ${one.provider}`);
    await objects.put({ ...one, owner }, 'both', bytes, undefined, AbortSignal.timeout(10_000));
    // S3 tells the time to the second.
    await new Promise((done) => setTimeout(done, 1100));
  }
  await ofTwins('verifyService', 'differing');
  await ofTwins('verifyService', 'mended', { repair: true });
  const [lost] = ((await ofTwins('checkConflicts', 'listed')) as ConflictPage).conflicts;
  await ofTwins('restoreConflict', 'restored', { id: lost?.id, by: 'ann' });

  for (const name of readdirSync(import.meta.dirname))
    if (name.endsWith('.json.gz') && isWanted(name.slice(0, name.indexOf('-')))) rmSync(join(import.meta.dirname, name));
  const secrets = Object.entries(process.env).filter(([name]) => /SECRET|PRIVATE/.test(name));
  const seen: Record<string, number> = {};
  const histories = [...(await allHistories(worker.client)), ...(await allHistories(fresh.client)), ...(await allHistories(steered.client)), ...(await allHistories(twins.client))].reverse();
  for (const { workflowId, type, history } of histories.filter((one) => isWanted(one.type))) {
    const text = textOf(history);
    for (const [name, value] of secrets)
      if (value && value.length > 6 && text.includes(value)) throw new Error(`${workflowId} holds ${name}`);
    if (text.includes('PRIVATE KEY')) throw new Error(`${workflowId} holds a private key`);
    const count = (seen[type] ?? 0) + 1;
    seen[type] = count;
    // The runs that the scenarios above name, under their names.
    const name = /^\w+$/.test(workflowId) ? `${type}-${workflowId}` : `${type}-${count}`;
    const recorded = JSON.stringify({ workflowId, history: anonymous(historyToJSON(history)) });
    writeFileSync(join(import.meta.dirname, `${name}.json.gz`), gzipSync(recorded, { level: 9 }));
  }
  process.stderr.write(`${JSON.stringify(seen)}\n`);
  await worker.close();
  await fresh.close();
  await steered.close();
  await twins.close();
}

/** An estate with a service that is written on two sides. */
async function replicated(): Promise<OwnWorker> {
  const twins = {
    ...{ type: 'storage', redundancy: 2, preferred_providers: ['aws', 'gcp'], protect: false },
    replication: { mode: 'active-active', latency_threshold_ms: 100 },
  };
  const file = writeEstate(join(mkdtempSync(join(tmpdir(), 'estate-')), 'estate.yaml'), 'replicated', { twins });
  return ownWorker({ namespace: 'histories-4', estateFile: file, moves: (real) => real });
}

/** An estate with a service that has fronts. */
async function steering(): Promise<OwnWorker> {
  const web = { type: 'compute', redundancy: 2, preferred_providers: ['aws', 'gcp'], configuration: { instance_count: 1 } };
  const fronts = { web: { aws: 'aws.example.net', gcp: 'gcp.example.net' } };
  const traffic = { zone: sampleZone, dns: 'gcp', ttl: '1s', fronts };
  const folder = mkdtempSync(join(tmpdir(), 'estate-'));
  const file = writeEstate(join(folder, 'estate.yaml'), 'steering', { web }, { traffic });
  return ownWorker({ namespace: 'histories-3', estateFile: file });
}

await (process.env.MULTI_CLOUD_RUN ? recordAll() : withStack());
