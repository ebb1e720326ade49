/** A service whose file wishes it is kept in step from its deployment on, through a worker that goes and a pause, until it is removed. */
import { randomBytes } from 'node:crypto';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { DeleteObjectCommand, GetObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { EstateClient } from '../../client/index.ts';
import { type Visitor, visitors } from '../fence/visitors.ts';
import { type OwnWorker, ownWorker, quietTemporal, writeEstate } from './own-worker.ts';

let worker: OwnWorker;
let estate: EstateClient;
const name = 'insteps';
const namespace = `replicate-${randomBytes(2).toString('hex')}`;
let start: () => Promise<void>;

beforeAll(async () => {
  quietTemporal();
  const file = writeEstate(join(mkdtempSync(join(tmpdir(), 'replicate-')), 'estate.yaml'), name, {
    firmware: {
      type: 'storage',
      preferred_providers: ['aws', 'gcp'],
      redundancy: 2,
      protect: false,
      replication: { mode: 'active-active' },
    },
  });
  start = async () => {
    worker = await ownWorker({ namespace, estateFile: file, moves: (real) => real });
    estate = new EstateClient(worker.client, name, '');
  };
  await start();
}, 120_000);
afterAll(() => worker.close(), 60_000);

async function until(holds: () => Promise<boolean>, ms = 60_000): Promise<void> {
  for (const end = Date.now() + ms; !(await holds().catch(() => false)); ) {
    if (Date.now() > end)
      throw new Error(`waited in vain for ${holds}: ${JSON.stringify(await estate.replication('firmware').lag())}`);
    await pause(100);
  }
}

it('is in step from its deployment on, whichever side is written, until it is removed', async () => {
  await (await estate.deploy()).result();
  const run = estate.replication('firmware');
  await until(async () => (await run.lag()).inStepAt !== '');
  const [aws, gcp] = (await estate.service('firmware'))?.placements ?? [];
  if (!aws || !gcp) throw new Error('it is not on two clouds');
  const bucket = aws.resources.find(({ key }) => key === 'bucket')?.outputs.bucket;
  const s3 = new S3Client({ region: aws.region });
  const outputs = Object.fromEntries(gcp.resources.map(({ key, outputs: of }) => [key, of]));
  const owner = { estate: name, uid: '', service: 'firmware', controller: '', generation: gcp.generation };
  const visitor: Visitor = await visitors.gcp({ ...gcp, owner }, outputs);
  const onAws = async (Key: string) =>
    (await s3.send(new GetObjectCommand({ Bucket: bucket, Key }))).Body?.transformToString();

  await visitor.write('from gcp', 'one');
  await until(async () => (await onAws('from gcp')) === 'one');
  await s3.send(new PutObjectCommand({ Bucket: bucket, Key: 'from aws', Body: 'two' }));
  await until(async () => (await visitor.read('from aws')) === 'two');
  // A pump that was given up tells no more than it had told; what came back as an echo would be one more.
  await pause(1000);
  expect((await run.lag()).directions.filter(({ applied }) => applied > 1)).toEqual([]);

  // Another worker goes on where this one was.
  await worker.close();
  await s3.send(new DeleteObjectCommand({ Bucket: bucket, Key: 'from gcp' }));
  await start();
  const again = estate.replication('firmware');
  await until(async () => {
    await expect(visitor.read('from gcp')).rejects.toMatchObject({ code: 404 });
    return true;
  });
  await until(async () => (await estate.status()).some(({ replication }) => replication?.lagSeconds === 1));

  await again.pause('ann');
  await until(async () => (await again.progress()).phase === 'stands still');
  await visitor.write('in the pause', 'three');
  await pause(1000);
  await expect(onAws('in the pause')).rejects.toMatchObject({ name: 'NoSuchKey' });
  await again.resume('ann');
  await until(async () => (await onAws('in the pause')) === 'three');

  // What the file wishes runs already: another deployment begins nothing, and who asks for something else asks that run.
  await (await estate.deploy()).result();
  const asked = await estate.replicate({ service: 'firmware', max_deletes: 50, by: 'ann' });
  expect([asked.joined, asked.workflowId]).toEqual([true, again.workflowId]);
  expect(await asked.reconfigure({ by: 'ann' })).toMatchObject({ mode: 'active-active', max_deletes: 50 });
  await expect(asked.reconfigure({ max_deletes: 0 })).rejects.toMatchObject({ type: 'InvalidInput' });
  const running = 'WorkflowType = "replicateService" AND ExecutionStatus = "Running"';
  await until(async () => (await worker.client.workflow.count(running)).count === 1);
  // What it follows by is nothing that was left behind.
  expect(await estate.check()).toMatchObject({ orphans: [] });
  await (await estate.remove({ service: 'firmware', by: 'ann' })).result();
  expect(await again.result()).toMatchObject({ outcome: 'done', service: 'firmware' });
}, 240_000);
