/** Hostile inputs, signals and updates to real runs: each refusal names its field, no workflow task fails, no cloud is touched. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { ApplicationFailure, WorkflowFailedError, WorkflowUpdateFailedError } from '@temporalio/client';
import fc from 'fast-check';
import { taskQueue } from '../../model/operations.ts';
import type { Progress } from '../../model/progress.ts';
import { allHistories } from '../e2e/histories.ts';
import { type OwnWorker, ownWorker, quietTemporal, writeEstate } from '../e2e/own-worker.ts';
import { json, object } from './nasties.ts';

const estate = 'hostile';
let worker: OwnWorker;
/** What the workflows have asked of a cloud beyond looking. */
const touched: string[] = [];

beforeAll(async () => {
  quietTemporal();
  const services = { bucket: { type: 'storage', preferred_providers: ['gcp'], protect: true } };
  const file = writeEstate(join(mkdtempSync(join(tmpdir(), 'estate-')), 'estate.yaml'), estate, services);
  worker = await ownWorker({
    namespace: `hostile-${Date.now()}`,
    estateFile: file,
    wrap: (real) => ({
      ...real,
      ensureResource(request) {
        touched.push(request.spec.name);
        return real.ensureResource(request);
      },
      removeResource(request) {
        touched.push(request.resource.name);
        return real.removeResource(request);
      },
    }),
  });
}, 120_000);
afterAll(() => worker.close(), 60_000);

const types = [
  'deployEstate',
  'deployService',
  'removeService',
  'recoverService',
  'steerService',
  'planEstate',
  'checkEstate',
  'verifyService',
  'checkConflicts',
  'restoreConflict',
  'rebuildEstate',
];
const refusals = ['InvalidInput', 'ServiceNotFound', 'Unplaceable', 'NotSupported', 'NotCompliant'];

it('six hundred hostile inputs: each run ends at once, refused with the field it is about', async () => {
  // None of them is an input that means something: it always has a key that no input has.
  const inputs = fc.sample(
    fc.oneof(
      fc.tuple(object, fc.string({ minLength: 1, maxLength: 8 })).map(([one, key]) => ({ ...one, [`x-${key}`]: 1 })),
      fc.array(json, { minLength: 1, maxLength: 3 }),
      fc.string({ minLength: 1, maxLength: 50 }),
      fc.integer(),
    ),
    { numRuns: 600, seed: 5 },
  );
  const ends = await Promise.all(
    inputs.map(async (input, at) => {
      const type = types[at % types.length] ?? 'planEstate';
      try {
        await worker.client.workflow.execute(type, { taskQueue, workflowId: `hostile-${at}`, args: [input] });
        return `${type} took ${JSON.stringify(input)}`;
      } catch (error) {
        const cause = error instanceof WorkflowFailedError ? error.cause : error;
        if (!(cause instanceof ApplicationFailure)) return String(cause);
        return refusals.includes(cause.type ?? '') && cause.message.length > 20
          ? 'refused'
          : `${cause.type}: ${cause.message}`;
      }
    }),
  );
  expect([...new Set(ends)]).toEqual(['refused']);
}, 240_000);

it('a thousand hostile signals and updates: the run goes on, shows them, and obeys none', async () => {
  const run = await worker.client.workflow.start('deployService', {
    taskQueue,
    workflowId: 'waiting',
    args: [{ service: 'bucket', approval: 'manual' }],
  });
  const progress = () => run.query<Progress>('progress');
  while ((await progress()).waitingFor.length === 0) await setTimeout(100);
  const signals = [
    'decide',
    'approvePlan',
    'rejectPlan',
    'undo',
    'retryStep',
    'retryCompensation',
    'abandonCompensation',
    'pause',
    'resume',
    'yieldTo',
  ];
  // A command is obeyed when it says who gives it: these never do.
  const unnamed = fc
    .oneof(json, object)
    .filter((value) => !(typeof value === 'object' && value !== null && 'by' in value));
  const payloads = fc.sample(unnamed, { numRuns: 1000, seed: 9 });
  for (let start = 0; start < payloads.length; start += 50)
    await Promise.all(
      payloads.slice(start, start + 50).map(async (payload, at) => {
        if (at % 5 > 0) return run.signal(signals[(start + at) % signals.length] ?? 'decide', payload);
        const refused: unknown = await run
          .executeUpdate('decide', { args: [payload] })
          .catch((error: unknown) => error);
        expect(refused).toBeInstanceOf(WorkflowUpdateFailedError);
        return undefined;
      }),
    );
  const now = await progress();
  expect(now).toMatchObject({ waitingFor: [{ question: 'plan' }] });
  expect(now.held).toBeUndefined();
  await run.signal('rejectPlan', { by: 'ann', plan: now.waitingFor[0]?.plan });
  await expect(run.result()).rejects.toMatchObject({ cause: { type: 'ApprovalRejected' } });
}, 240_000);

it('not one workflow task has failed, nothing is stuck, no cloud was touched', async () => {
  const failed: string[] = [];
  for (const { workflowId, history } of await allHistories(worker.client))
    for (const { workflowTaskFailedEventAttributes } of history.events ?? [])
      if (workflowTaskFailedEventAttributes)
        failed.push(`${workflowId}: ${workflowTaskFailedEventAttributes.failure?.message}`);
  expect(failed).toEqual([]);
  const open: string[] = [];
  for await (const { workflowId } of worker.client.workflow.list({ query: 'ExecutionStatus = "Running"' }))
    open.push(workflowId);
  expect(open.sort()).toEqual([`estate/${estate}`, `service/${estate}/bucket`]);
  expect(touched).toEqual([]);
}, 120_000);
