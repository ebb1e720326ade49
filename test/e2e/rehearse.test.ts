/** A rehearsal moves a sample there and back, measures it and leaves nothing; the service itself is only read. */
import { randomBytes } from 'node:crypto';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ListObjectsV2Command, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { findStrays } from '../../activities/providers/strays.ts';
import { resolveEndpoint } from '../../client/endpoint.ts';
import { EstateClient, OperationFailed, type RehearsalResult } from '../../client/index.ts';
import { sampleZone } from '../../emulators/environment.ts';
import type { Placement } from '../../model/service.ts';
import { calls, localRun } from '../local/stack.ts';
import { type OwnWorker, ownWorker, quietTemporal, writeEstate } from './own-worker.ts';

let worker: OwnWorker;
let estate: EstateClient;
const name = 'rehearse';
const storage = { type: 'storage', preferred_providers: ['aws', 'gcp'] };

beforeAll(async () => {
  quietTemporal();
  const file = join(mkdtempSync(join(tmpdir(), 'rehearse-')), 'estate.yaml');
  writeEstate(file, name, { firmware: storage }, { traffic: { zone: sampleZone, dns: 'gcp', ttl: '1s' } });
  const namespace = `rehearse-${randomBytes(2).toString('hex')}`;
  worker = await ownWorker({ namespace, estateFile: file, moves: (real) => real });
  estate = new EstateClient(worker.client, name, '');
}, 120_000);
afterAll(() => worker.close(), 60_000);

const refusal = async (input: Partial<Parameters<EstateClient['rehearse']>[0]>): Promise<unknown> => {
  const run = await estate.rehearse({ service: 'firmware', from: 'aws', to: 'gcp', sample: '25%', ...input });
  return run.result().catch((error: unknown) => error instanceof OperationFailed && error.type);
};

it('goes the whole way and back with a share of the objects, and says what all of them would take', async () => {
  const onAws = { services: { firmware: { ...storage, preferred_providers: ['aws'] } } };
  await (await estate.deployService('firmware', { file: onAws })).result();
  expect(await refusal({})).toBe('InvalidInput'); // it holds nothing
  expect(await refusal({ sample: '0%' })).toBe('InvalidInput');
  expect(await refusal({ to: 'mars' })).toBe('Unplaceable');

  const [placed] = (await estate.service('firmware'))?.placements ?? [];
  const Bucket = placed?.resources.find(({ key }) => key === 'bucket')?.outputs.bucket;
  const s3 = new S3Client({ region: placed?.region ?? '' });
  for (let n = 0; n < 80; n++)
    await s3.send(new PutObjectCommand({ Bucket, Key: `object ${n}`, Body: `content ${n}`.padEnd(1000) }));
  const listed = async () =>
    (await s3.send(new ListObjectsV2Command({ Bucket }))).Contents?.map(({ Key, ETag, LastModified }) => [
      Key,
      ETag,
      LastModified?.toISOString(),
    ]);
  const [before, record, since] = [await listed(), await estate.service('firmware'), (await calls()).at(-1)?.id ?? 0];

  const run = await estate.rehearse({ service: 'firmware', from: 'aws', to: 'gcp', sample: '25%', by: 'ann' });
  const { rehearsal, outcome, orphans } = await run.outcome<RehearsalResult>();
  expect([outcome, orphans]).toEqual(['done', []]);
  expect(rehearsal).toMatchObject({
    sample: { objects: 20, bytes: 20_000 },
    whole: { objects: 80, bytes: 80_000 },
    forecast: { monthlyUsd: expect.any(Number), oneTimeUsd: expect.any(Number) },
  });
  const { measured, forecast } = rehearsal ?? {};
  expect(forecast?.copyMs).toBe(4 * (measured?.copyMs ?? 0));
  expect(measured?.refusedMs).toBeGreaterThan(0);
  expect(forecast?.refusedMs[0]).toBeGreaterThan(measured?.refusedMs ?? 0);
  expect(forecast?.refusedMs[1]).toBeGreaterThanOrEqual(forecast?.refusedMs[0] ?? 0);

  // It went there and back: the fence stood on both, the endpoint record was written, and all of it is gone.
  const steps = Object.fromEntries((await run.progress()).steps.map(({ name: step, status }) => [step, status]));
  expect(steps).toMatchObject({
    copy: 'done',
    verify: 'done',
    'last delta': 'done',
    switch: 'undone',
    fence: 'undone',
  });
  const shadow = await estate.service('firmware-rehearsal');
  expect(shadow).toMatchObject({ status: 'removed', placements: [], intents: [], orphans: [], retained: [] });
  expect(shadow?.migration).toBeUndefined();
  const { uid = '' } = (await estate.estate()) ?? {};
  for (const place of shadow?.places ?? []) {
    const owner = { estate: name, uid, service: 'firmware-rehearsal', controller: '', generation: 1 };
    const placement: Placement = { ...place, owner, type: 'storage', configuration: {} };
    const left = await findStrays(await worker.pool.get(place.provider), placement, [], AbortSignal.timeout(30_000));
    expect(left.filter(({ service }) => service === 'firmware-rehearsal')).toEqual([]);
  }
  const servers = [localRun().dns.gcp ?? ''];
  await expect(resolveEndpoint({ service: 'firmware-rehearsal', zone: sampleZone, servers })).rejects.toThrow();

  // The service itself was only read.
  expect(await listed()).toEqual(before);
  expect(await estate.service('firmware')).toEqual(record);
  const touched = (await calls({ since, mutating: true })).filter(({ host, path }) =>
    `${host}${path}`.includes(`${Bucket}`),
  );
  expect(touched.map(({ method, path }) => `${method} ${path}`)).toEqual([]);
  await (await estate.remove({ service: 'firmware', confirm: `${name}/firmware` })).result();
}, 240_000);
