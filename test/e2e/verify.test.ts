/** Placements compared at any time: what somebody has changed behind the application's back is named, and repaired on request. */
import { randomBytes } from 'node:crypto';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import { fromLines } from '../../activities/transfer/files.ts';
import { EstateClient, OperationFailed, type OperationHandle, type VerifyResult } from '../../client/index.ts';
import type { Verified } from '../../model/operations.ts';
import { recordsPlacement } from '../../model/records.ts';
import { type Visitor, visitors } from '../fence/visitors.ts';
import { type OwnWorker, ownWorker, quietTemporal, writeEstate } from './own-worker.ts';

let worker: OwnWorker;
let estate: EstateClient;
const name = 'verify';
const storage = { type: 'storage', preferred_providers: ['aws', 'gcp'], protect: false };

beforeAll(async () => {
  quietTemporal();
  const file = writeEstate(join(mkdtempSync(join(tmpdir(), 'verify-')), 'estate.yaml'), name, {
    firmware: storage,
  });
  const namespace = `verify-${randomBytes(2).toString('hex')}`;
  worker = await ownWorker({ namespace, estateFile: file, moves: (real) => real });
  estate = new EstateClient(worker.client, name, '');
}, 120_000);
afterAll(() => worker.close(), 60_000);

const verify = async (input: { service: string; from?: string; repair?: boolean }): Promise<Verified | undefined> =>
  (await (await estate.verify({ ...input, by: 'ann' })).outcome<VerifyResult>()).verified;
const refusal = (handle: OperationHandle): Promise<unknown> =>
  handle.result().catch((error: unknown) => error instanceof OperationFailed && error.type);

async function placed(service: string, provider: string) {
  const one = (await estate.service(service))?.placements.find((placement) => placement.provider === provider);
  if (!one) throw new Error(`${service} is not on ${provider}`);
  return one;
}

async function asked(handle: OperationHandle, question: string): Promise<string> {
  for (;;) {
    const one = (await handle.progress()).waitingFor.find((each) => each.question === question);
    if (one) return one.plan;
    await setTimeout(100);
  }
}

it('a service on one cloud has nothing to compare', async () => {
  await (
    await estate.deployService('firmware', {
      file: { services: { firmware: { ...storage, preferred_providers: ['aws'] } } },
    })
  ).result();
  expect(await verify({ service: 'firmware' })).toEqual({ from: 'aws', comparisons: [], equal: true });
  expect(await refusal(await estate.verify({ service: 'firmware', from: 'gcp' }))).toBe('InvalidInput');
  expect(await refusal(await estate.verify({ service: 'unknown' }))).toBe('ServiceNotFound');
}, 120_000);

it('names a flipped byte, a missing and an extra object of what a migration keeps, and a repair makes it equal', async () => {
  const bucket = (await placed('firmware', 'aws')).resources.find(({ key }) => key === 'bucket')?.outputs.bucket;
  const s3 = new S3Client({ region: (await placed('firmware', 'aws')).region });
  const put = (Key: string, Body: string, Metadata = {}) =>
    s3.send(new PutObjectCommand({ Bucket: bucket, Key, Body, Metadata }));
  for (let n = 0; n < 30; n++) await put(`object ${n}`, `content ${n}`);
  const migration = await estate.migrate({
    service: 'firmware',
    from: 'aws',
    to: 'gcp',
    soak: '4s',
    source_retention: '1h',
    by: 'ann',
  });
  await migration.approve({ by: 'ann', plan: await asked(migration, 'cutover') });
  await asked(migration, 'undo');
  const gcp = await placed('firmware', 'gcp');
  const made = Object.fromEntries(gcp.resources.map(({ key, outputs }) => [key, outputs]));
  const owner = { estate: name, uid: '', service: 'firmware', controller: '', generation: gcp.generation };
  const visitor: Visitor = await visitors.gcp({ ...gcp, owner }, made);
  // Comes back to the kept source while it follows: a copy with our marks.
  await visitor.write('written in the soak', 'in the soak');
  expect(await migration.result()).toMatchObject({ outcome: 'done' });
  const equal = await verify({ service: 'firmware' });
  expect(equal).toMatchObject({
    from: 'gcp',
    comparisons: [{ provider: 'aws', role: 'retained', found: { objects: 31, same: 31, different: {} } }],
    equal: true,
  });

  const { Metadata } = await s3.send(new HeadObjectCommand({ Bucket: bucket, Key: 'written in the soak' }));
  await put('written in the soak', 'in the soaK', Metadata);
  await put('extra', 'not there any more');
  await s3.send(new DeleteObjectCommand({ Bucket: bucket, Key: 'object 7' }));
  const found = await verify({ service: 'firmware' });
  const [comparison] = found?.comparisons ?? [];
  expect(found?.equal).toBe(false);
  expect(comparison?.found).toMatchObject({
    objects: 32,
    same: 29,
    different: { content: 1, extra: 1, missing: 1 },
    differentNames: ['extra', 'object 7', 'written in the soak'],
  });
  const aws = await placed('firmware', 'aws');
  const { uid = '' } = (await estate.estate()) ?? {};
  const { objects } = await worker.pool.get('aws');
  const records = recordsPlacement({ estate: name, uid, controller: '' }, aws);
  const lines: unknown[] = [];
  for (const prefix of comparison?.found.reports ?? [])
    for (const key of await objects.list(records, prefix, AbortSignal.timeout(10_000)))
      lines.push(
        ...fromLines((await objects.get(records, key, AbortSignal.timeout(10_000)))?.bytes ?? Buffer.alloc(0)),
      );
  expect(lines).toContainEqual(expect.objectContaining({ key: 'written in the soak', what: 'content' }));

  const repaired = await verify({ service: 'firmware', repair: true });
  expect(repaired?.equal).toBe(true);
  expect(repaired?.comparisons[0]?.repaired).toMatchObject({
    copied: { objects: 2 },
    deleted: 1,
    failed: 0,
    found: { different: {} },
  });
  const back = await s3.send(new GetObjectCommand({ Bucket: bucket, Key: 'written in the soak' }));
  expect(await back.Body?.transformToString()).toBe('in the soak');
  expect(await visitor.read('written in the soak')).toBe('in the soak');
  expect((await verify({ service: 'firmware' }))?.equal).toBe(true);
  const { status, holder } = (await estate.service('firmware')) ?? {};
  expect([status, holder]).toEqual(['running', undefined]);
  await visitor.leave().catch(() => {});
  const confirm = `${name}/firmware`;
  expect(await (await estate.remove({ service: 'firmware', confirm })).result()).toMatchObject({ orphans: [] });
}, 240_000);
