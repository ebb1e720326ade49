/**
 * Many operations on one service at once, at random moments cancelled, terminated, reset, and their worker killed with kill -9: whoever
 * works at the service holds its lock, and in the end nobody does.
 *
 * `npm test` starts a few; `npm run test:faults -- --only lives` 200.
 */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { ApplicationFailure, Client, Connection, type WorkflowHandle } from '@temporalio/client';
import { type OperationResult, taskQueue, workflowIds } from '../../model/operations.ts';
import type { ServiceRecord } from '../../model/record.ts';
import { createNamespace, quietTemporal, writeEstate } from '../e2e/own-worker.ts';
import { writeSettings } from '../e2e/worker-process.ts';
import { localRun } from '../local/stack.ts';
import { whole } from './choice.ts';
import { GatedWorker, type Question } from './gated-worker.ts';

const estate = 'contended';
const service = 'bucket';
const lanes = 4;
const startsEach = whole ? 50 : 4;
/** Each is missed after the time that the server waits for a silent activity. */
const mostKills = whole ? 8 : 1;

let client: Client;
let worker: GatedWorker;
const broken: string[] = [];
let begun = 0;

const record = (): Promise<ServiceRecord> =>
  client.workflow.getHandle(workflowIds.cloudService(estate, service)).query('record');

async function lives(workflowId: string, runId: string): Promise<boolean> {
  return (await client.workflow.getHandle(workflowId, runId).describe()).status.name === 'RUNNING';
}

async function answer({ activityType, when, workflowId, runId }: Question): Promise<'go'> {
  if (when === 'after' || !['ensureResource', 'removeResource'].includes(activityType)) return 'go';
  begun++;
  const { holder } = await record();
  // What a run that was terminated or reset had under way may still begin.
  if (holder?.workflowId !== workflowId && (await lives(workflowId, runId)))
    broken.push(`${workflowId} works while the lock is with ${holder?.workflowId ?? 'nobody'}`);
  return 'go';
}

beforeAll(async () => {
  quietTemporal();
  const folder = mkdtempSync(join(tmpdir(), 'locks-'));
  const file = writeEstate(join(folder, 'estate.yaml'), estate, {
    [service]: { type: 'storage', preferred_providers: ['aws'], protect: false },
  });
  const { address } = localRun().temporal;
  const connection = await Connection.connect({ address });
  const namespace = `contended-${Date.now()}`;
  await createNamespace(connection, namespace);
  client = new Client({ connection, namespace });
  const waits = { callDeadlineMs: 2000, settleMs: 200, blockedMs: 300, followMs: 200, fenceMs: 300 };
  const settings = writeSettings(folder, { estateFile: file, temporal: { address, namespace }, waits });
  worker = new GatedWorker({ settings, answer, failed: (error) => broken.push(String(error)) });
  await worker.start();
}, 120_000);
afterAll(async () => {
  await worker.kill();
  await client.connection.close();
}, 60_000);

let killing: Promise<void> | undefined;
let kills = 0;
/** One at a time: the worker that is killed is there. */
function kill(): void {
  if (killing || kills >= mostKills) return;
  kills++;
  killing = worker
    .kill()
    .then(() => worker.start())
    .finally(() => {
      killing = undefined;
    });
}

async function reset({ workflowId }: WorkflowHandle): Promise<void> {
  const run = client.workflow.getHandle(workflowId);
  const [{ runId }, { events }] = [await run.describe(), await run.fetchHistory()];
  const completed = events?.findLast(({ workflowTaskCompletedEventAttributes: done }) => done)?.eventId;
  await client.workflowService.resetWorkflowExecution({
    namespace: client.options.namespace,
    workflowExecution: { workflowId, runId },
    workflowTaskFinishEventId: completed ?? null,
    requestId: `${runId}-${Math.random()}`,
    reason: 'test',
  });
}

const fates: ((run: WorkflowHandle) => unknown)[] = [(run) => run.terminate(), (run) => run.cancel(), reset, kill];

it('whoever works holds the lock, whatever happens to others, and in the end nobody does', async () => {
  let started = 0;
  let done = 0;
  const lane = async (): Promise<void> => {
    for (let count = 0; count < startsEach; count++) {
      const type = Math.random() < 0.5 ? 'deployService' : 'removeService';
      const workflowId = `${type}-${++started}`;
      const run = await client.workflow.start(type, { taskQueue, workflowId, args: [{ service }] });
      const fate = fates[Math.floor(Math.random() * 2 * fates.length)];
      if (fate) {
        await setTimeout(Math.random() * 1500);
        // It may have ended meanwhile.
        await Promise.resolve(fate(run)).catch(() => {});
      }
      const end: unknown = await client.workflow
        .getHandle(workflowId)
        .result()
        .catch((error: Error) => error.cause ?? error);
      if (!(end instanceof Error)) done++;
      if (end instanceof ApplicationFailure && !['OperationInProgress', 'UndoRequested'].includes(end.type ?? ''))
        broken.push(`${workflowId}: ${end.type} ${end.message}`);
      await setTimeout(Math.random() * 100);
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  await killing;
  const recovery = { taskQueue, workflowId: 'recover', args: [{ service }] };
  const end = (await (await client.workflow.start('recoverService', recovery)).result()) as OperationResult;
  expect(end).toMatchObject({ outcome: 'done', orphans: [] });
  const { holder, next, intents } = await record();
  expect([holder, next, intents]).toEqual([undefined, undefined, []]);
  expect(broken).toEqual([]);
  expect(done).toBeGreaterThan(0);
  expect(begun).toBeGreaterThan(0);
  process.stdout.write(`    ${started} operations, ${done} done, ${kills} workers killed\n`);
}, 1_800_000);
