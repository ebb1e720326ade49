/** Operations on one service: never two at work, whatever happens to them; a failover pre-empts, everything else waits its turn. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { Context } from '@temporalio/activity';
import { ApplicationFailure, type WorkflowHandle } from '@temporalio/client';
import { type OperationResult, taskQueue, workflowIds } from '../../model/operations.ts';
import type { Progress } from '../../model/progress.ts';
import type { ServiceRecord } from '../../model/record.ts';
import { whole } from '../faults/choice.ts';
import { type OwnWorker, ownWorker, quietTemporal, writeEstate } from './own-worker.ts';

const estate = 'locks';
const service = 'bucket';

let worker: OwnWorker;
/** Runs whose calls are under way; two that live and are at work at once are noted. */
const atWork = new Map<string, string>();
const together: string[] = [];
let gate: Promise<void> = Promise.resolve();

beforeAll(async () => {
  quietTemporal();
  const services = Object.fromEntries(
    ['bucket', 'lake'].map((name) => [
      name,
      { type: name === 'lake' ? 'data_lake' : 'storage', preferred_providers: ['aws'], protect: false },
    ]),
  );
  const file = writeEstate(join(mkdtempSync(join(tmpdir(), 'estate-')), 'estate.yaml'), estate, services);
  const lives = async (workflowId: string, runId: string): Promise<boolean> =>
    (await worker.client.workflow.getHandle(workflowId, runId).describe()).status.name === 'RUNNING';
  const watched = async <T>(name: string, act: () => Promise<T>): Promise<T> => {
    const { runId = '', workflowId = '' } = Context.current().info.workflowExecution ?? {};
    if (name !== service) return act();
    // What a run that was terminated had under way may still end; it begins nothing more.
    for (const [other, id] of atWork)
      if (other !== runId && (await lives(id, other)) && (await lives(workflowId, runId)))
        together.push(`${id} and ${workflowId}`);
    atWork.set(runId, workflowId);
    try {
      return await act();
    } finally {
      atWork.delete(runId);
    }
  };
  worker = await ownWorker({
    namespace: `locks-${Date.now()}`,
    estateFile: file,
    wrap: (real) => ({
      ...real,
      ensureResource: async (request) => {
        const ensured = await watched(request.placement.owner.service, () => real.ensureResource(request));
        await gate;
        return ensured;
      },
      removeResource: (request) => watched(request.placement.owner.service, () => real.removeResource(request)),
    }),
    workflowsPath: join(import.meta.dirname, 'drill-workflow.ts'),
  });
}, 120_000);
afterAll(() => worker.close(), 60_000);

let runs = 0;
const start = (type: string, input: object): Promise<WorkflowHandle> =>
  worker.client.workflow.start(type, { taskQueue, workflowId: `${type}-${++runs}`, args: [input] });
const record = (name = service): Promise<ServiceRecord> =>
  worker.client.workflow.getHandle(workflowIds.cloudService(estate, name)).query('record');
const progress = (run: WorkflowHandle): Promise<Progress> => run.query<Progress>('progress');
async function until(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) await setTimeout(50);
}
/** A deployment that stands between two steps until it is let go. */
async function deploying(): Promise<{ run: WorkflowHandle; letGo: () => void }> {
  let letGo: () => void = () => {};
  gate = new Promise((resolve) => {
    letGo = resolve;
  });
  const run = await start('deployEstate', {});
  await until(async () => (await progress(run)).children.length === 2);
  return { run, letGo };
}
const removed = async (): Promise<void> => {
  for (const name of ['bucket', 'lake']) await (await start('removeService', { service: name })).result();
};

describe('a failover', () => {
  it('makes a deployment stop at a safe point, goes first, and lets it go on where nothing has changed', async () => {
    const { run, letGo } = await deploying();
    const drill = await start('drill', { estate, service, ms: 1500, touch: false });
    await until(async () => (await record()).next?.operation === 'failover');
    expect((await record()).holder?.workflowId).toBe(run.workflowId);
    letGo();
    await until(async () => (await record()).holder?.operation === 'failover');
    const [child] = (await progress(run)).children.filter((one) => one.service === service);
    const held = await worker.client.workflow.getHandle(child?.workflowId ?? '').query<Progress>('progress');
    expect(held.held).toContain('yields bucket to failover');
    expect((await record()).holder?.workflowId).toBe(drill.workflowId);
    expect(await drill.result()).toMatchObject({ outcome: 'done' });
    expect(await run.result()).toMatchObject({ outcome: 'done', skipped: [] });
    expect((await record()).holder).toBeUndefined();
    await removed();
  }, 120_000);

  it('undoes the deployment where it has changed the service meanwhile', async () => {
    const { run, letGo } = await deploying();
    const drill = await start('drill', { estate, service, ms: 200, touch: true });
    await until(async () => (await record()).next?.operation === 'failover');
    letGo();
    expect(await drill.result()).toMatchObject({ outcome: 'done' });
    const failed = await run.result().catch((error: Error) => error.cause);
    expect(failed).toMatchObject({ type: 'PlanChanged' });
    const result = failed instanceof ApplicationFailure ? (failed.details?.[0] as OperationResult) : undefined;
    expect(result).toMatchObject({ outcome: 'undone', orphans: [] });
    for (const name of ['bucket', 'lake']) expect(await record(name)).toMatchObject({ placements: [], intents: [] });
  }, 120_000);
});

it('a paused run begins nothing new until it is resumed', async () => {
  const { run, letGo } = await deploying();
  await run.signal('pause', { by: 'ann' });
  await until(async () => (await progress(run)).held?.includes('paused by ann') ?? false);
  letGo();
  await setTimeout(1500);
  expect((await run.describe()).status.name).toBe('RUNNING');
  await run.signal('resume', { by: 'ann' });
  expect(await run.result()).toMatchObject({ outcome: 'done' });
  await removed();
}, 120_000);

it('many operations on one service at once, some terminated or cancelled: never two at work, never a lock without a living holder', async () => {
  gate = Promise.resolve();
  together.length = 0;
  let seed = 7;
  const random = (below: number): number => {
    seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
    return seed % below;
  };
  const chaos = async (): Promise<void> => {
    for (let n = 0; n < (whole ? 50 : 12); n++) {
      const type = random(2) === 0 ? 'deployService' : 'removeService';
      const run = await start(type, { service });
      const fate = random(6);
      if (fate === 0) await setTimeout(random(400)).then(() => run.terminate().catch(() => {}));
      if (fate === 1) await setTimeout(random(400)).then(() => run.cancel().catch(() => {}));
      const end: unknown = await run.result().catch((error: Error) => error.cause ?? error);
      if (end instanceof ApplicationFailure) expect(['OperationInProgress', 'UndoRequested']).toContain(end.type);
      await setTimeout(random(100));
    }
  };
  await Promise.all([chaos(), chaos(), chaos(), chaos()]);
  expect(together).toEqual([]);
  const end = (await (await start('recoverService', { service })).result()) as OperationResult;
  expect(end).toMatchObject({ outcome: 'done', orphans: [] });
  const { holder, next, intents } = await record();
  expect([holder, next, intents]).toEqual([undefined, undefined, []]);
}, 600_000);
