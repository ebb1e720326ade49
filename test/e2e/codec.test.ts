/** With the payload codec on, the server keeps nothing of what the runs say: only IDs, type names and search attributes are plain. */
import { randomBytes } from 'node:crypto';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ApplicationFailure } from '@temporalio/activity';
import { EstateClient } from '../../client/index.ts';
import { type OperationResult, taskQueue } from '../../model/operations.ts';
import { allHistories } from './histories.ts';
import { type OwnWorker, ownWorker, quietTemporal, writeEstate } from './own-worker.ts';

const estate = 'codec';
let worker: OwnWorker;
let fails = false;

beforeAll(async () => {
  quietTemporal();
  const services = { bucket: { type: 'storage', preferred_providers: ['gcp'], protect: false } };
  const file = writeEstate(join(mkdtempSync(join(tmpdir(), 'estate-')), 'estate.yaml'), estate, services);
  const keys = { current: 'k', keys: { k: randomBytes(32).toString('base64') } };
  worker = await ownWorker({
    namespace: `codec-${Date.now()}`,
    estateFile: file,
    wrap: (real) => ({
      ...real,
      ensureResource(request) {
        if (fails) throw ApplicationFailure.nonRetryable('recognisable failure', 'InvalidInput');
        return real.ensureResource(request);
      },
    }),
    codecKeys: keys,
  });
}, 120_000);
afterAll(() => worker.close(), 60_000);

const run = (type: string): Promise<OperationResult> =>
  worker.client.workflow.execute(type, {
    taskQueue,
    workflowId: `${type}-${Math.random()}`,
    args: [{ service: 'bucket', by: 'recognisable person' }],
  });

/** Payloads anywhere in a history, but for search attributes, with where they are; and the texts of failures. */
function open(value: unknown, path = ''): string[] {
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array || path.endsWith('earchAttributes'))
    return [];
  // Which changes of the code a run knows of: names of ours, which Temporal writes past the codec.
  if (path.endsWith('markerRecordedEventAttributes.details.patch-data')) return [];
  const entries = Object.entries(value);
  // The server itself says that a worker was late, in words of its own.
  if ('timeoutFailureInfo' in value && value.timeoutFailureInfo) return [];
  const { metadata } = value as { metadata?: { encoding?: Uint8Array } };
  if (metadata?.encoding instanceof Uint8Array) {
    const encoding = Buffer.from(metadata.encoding).toString();
    return encoding === 'binary/encrypted' ? [] : [`${path}: ${encoding}`];
  }
  return entries.flatMap(([name, one]) => {
    if (
      (name === 'message' || name === 'stackTrace') &&
      typeof one === 'string' &&
      !['', 'Encoded failure'].includes(one)
    )
      return [`${path}.${name}: ${one}`];
    return open(one, `${path}.${name}`);
  });
}

it('nothing that a run takes, says or fails with is plain, and people still see everything', async () => {
  expect(await run('deployService')).toMatchObject({ outcome: 'done' });
  await run('removeService');
  fails = true;
  await expect(run('deployService')).rejects.toMatchObject({
    cause: { type: 'InvalidInput', message: 'recognisable failure' },
  });
  const histories = await allHistories(worker.client);
  const plain = histories.flatMap(({ type, history }) => (history.events ?? []).flatMap((event) => open(event, type)));
  expect([...new Set(plain.map((one) => one.replaceAll(/\d+/g, '*')))]).toEqual([]);
  const [status] = await new EstateClient(worker.client, estate, '').status();
  expect(status).toMatchObject({ service: 'bucket', status: 'removed' });
}, 120_000);
