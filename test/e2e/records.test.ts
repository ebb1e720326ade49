/** The records buckets of three clouds: the trail of each run, a copy of each record; what is changed behind our back is found. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EstateClient } from '../../client/index.ts';
import { AuditLine } from '../../model/audit.ts';
import { type OperationResult, taskQueue, workflowIds } from '../../model/operations.ts';
import type { Place, ServiceRecord } from '../../model/record.ts';
import { auditPrefix, recordKey, recordsPlacement } from '../../model/records.ts';
import { armFault } from '../local/stack.ts';
import { type OwnWorker, ownWorker, quietTemporal, writeEstate } from './own-worker.ts';

const estate = 'records';
const clouds = ['aws', 'azure', 'gcp'] as const;
const workflowId = 'deploy it/…\u0000';
let worker: OwnWorker;
let client: EstateClient;
const signal = AbortSignal.timeout(300_000);

beforeAll(async () => {
  quietTemporal();
  const services = { store: { type: 'storage', redundancy: 3, protect: false } };
  const file = writeEstate(join(mkdtempSync(join(tmpdir(), 'estate-')), 'estate.yaml'), estate, services);
  worker = await ownWorker({ namespace: `records-${Date.now()}`, estateFile: file });
  client = new EstateClient(worker.client, estate, '');
}, 120_000);
afterAll(() => worker.close(), 60_000);

const run = async (type: string, id: string): Promise<OperationResult> =>
  worker.client.workflow.execute(type, { taskQueue, workflowId: id, args: [{ service: 'store' }] });
const record = (): Promise<ServiceRecord> =>
  worker.client.workflow.getHandle(workflowIds.cloudService(estate, 'store')).query('record');
async function bucketOf(cloud: string) {
  const { uid }: { uid: string } = await worker.client.workflow
    .getHandle(workflowIds.cloudEstate(estate))
    .query('record');
  const place = (await record()).places.find(({ provider }) => provider === cloud) as Place;
  const { objects } = await worker.pool.get(cloud);
  return { objects, placement: recordsPlacement({ estate, uid, controller: '' }, place) };
}
/** The name of a records bucket does not depend on the controller, so this one addresses it. */
async function trailOf(cloud: string, id: string, runId: string) {
  const { objects, placement } = await bucketOf(cloud);
  const keys = (await objects.list(placement, auditPrefix(id, runId), signal)).sort();
  const texts = await Promise.all(keys.map(async (key) => (await objects.get(placement, key, signal))?.bytes));
  return { objects, placement, keys, texts: texts.map((bytes) => Buffer.from(bytes ?? []).toString()) };
}
const runIdOf = async (id: string): Promise<string> => (await worker.client.workflow.getHandle(id).describe()).runId;

it('hold the whole trail of a deployment in each cloud, chained to its end, and the record as it is', async () => {
  expect(await run('deployService', workflowId)).toMatchObject({ outcome: 'done', orphans: [] });
  const verdict = await client.verifyAudit(workflowId);
  expect(verdict.buckets.map(({ bucket }) => bucket).sort()).toEqual([
    'aws in us-west-2',
    'azure in westus2',
    'gcp in us-central1',
  ]);
  for (const { lines, complete, broken } of verdict.buckets) {
    expect(lines).toBeGreaterThan(4);
    expect([complete, broken]).toEqual([true, undefined]);
  }
  for (const cloud of clouds) {
    const { objects, placement } = await bucketOf(cloud);
    const kept = await objects.get(placement, recordKey('store'), signal);
    const { record: copy } = JSON.parse(Buffer.from(kept?.bytes ?? []).toString());
    const { placements, status } = await record();
    expect(copy.placements).toEqual(placements);
    expect([status, copy.status]).toEqual(['running', 'deploying']); // it is kept before the lock is given back
  }
}, 120_000);

it.each(clouds)(
  'a line that is changed in the bucket on %s is found and named',
  async (cloud) => {
    const runId = await runIdOf(workflowId);
    const { objects, placement, keys, texts } = await trailOf(cloud, workflowId, runId);
    const [key = '', original = ''] = [keys[0], texts[0]];
    const lines = original
      .split('\n')
      .filter(Boolean)
      .map((line) => AuditLine.parse(JSON.parse(line)));
    const second = lines[1];
    if (!second) throw new Error('too short');
    const tampered = lines.with(1, { ...second, who: 'somebody else' });
    const write = (text: string) => objects.put(placement, key, Buffer.from(text), undefined, signal);
    await write(tampered.map((line) => `${JSON.stringify(line)}\n`).join(''));
    const verdict = await client.verifyAudit(workflowId);
    const [here, ...others] = [...verdict.buckets].sort((one) => (one.bucket.startsWith(cloud) ? -1 : 1));
    expect(here?.broken).toEqual({ seq: 2, why: expect.stringContaining('changed') });
    expect(others.map(({ broken }) => broken)).toEqual([undefined, undefined]);
    await write(original);
    expect((await client.verifyAudit(workflowId)).buckets.every(({ broken }) => broken === undefined)).toBe(true);
  },
  60_000,
);

it('outlive what they tell of, and are no orphans', async () => {
  expect(await run('removeService', 'gone')).toMatchObject({ outcome: 'done', orphans: [] });
  expect(await client.check()).toMatchObject({ orphans: [], services: [{ service: 'store', problem: '' }] });
  expect((await client.verifyAudit('gone')).buckets.every(({ complete, broken }) => complete && !broken)).toBe(true);
  expect((await client.verifyAudit(workflowId)).buckets.every(({ complete, broken }) => complete && !broken)).toBe(
    true,
  );
}, 60_000);

it('get what they have missed: one that could not be reached does not stop the run', async () => {
  const body = '<?xml version="1.0"?><Error><Code>ServiceUnavailable</Code><Message>away</Message></Error>';
  const back = await armFault({
    match: { cloud: 'aws', method: 'PUT', host: '/^records-records-/' },
    effect: 'answer',
    status: 503,
    body,
  });
  const away = run('deployService', 'away').finally(back);
  expect(await away).toMatchObject({ outcome: 'done', orphans: [] });
  const verdict = await client.verifyAudit('away');
  const complete = verdict.buckets.filter((one) => one.complete && !one.broken).map(({ bucket }) => bucket);
  expect(complete).toEqual(expect.arrayContaining(['azure in westus2', 'gcp in us-central1']));
  await run('removeService', 'end');
}, 120_000);
