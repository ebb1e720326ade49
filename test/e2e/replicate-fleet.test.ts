/** A fleet whose file wishes it is kept in step from its deployment on: whatever is changed at one registry comes to the other one. */
import { randomBytes } from 'node:crypto';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { EstateClient, type VerifyResult } from '../../client/index.ts';
import type { Device } from '../../model/fleet.ts';
import { taskQueue } from '../../model/operations.ts';
import { placementRef } from '../../model/transfer.ts';
import { fill } from '../fleet/fleets.ts';
import { devicesAt, operators } from '../fleet/operators.ts';
import { type OwnWorker, ownWorker, quietTemporal, writeEstate } from './own-worker.ts';

let worker: OwnWorker;
let estate: EstateClient;
const name = 'twins';
const service = 'fleet';
const namespace = `twins-${randomBytes(2).toString('hex')}`;
let start: () => Promise<void>;

beforeAll(async () => {
  quietTemporal();
  const file = writeEstate(join(mkdtempSync(join(tmpdir(), 'twins-')), 'estate.yaml'), name, {
    [service]: {
      ...{ type: 'iot_core', preferred_providers: ['azure', 'gcp'], redundancy: 2, protect: false },
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
      throw new Error(`waited in vain for ${holds}: ${JSON.stringify(await estate.replication(service).lag())}`);
    await pause(100);
  }
}

it('is in step from its deployment on, is compared, and goes on with another worker', async () => {
  expect((await estate.plan()).notServed).toEqual([]);
  await (await estate.deploy()).result();
  const run = estate.replication(service);
  await until(async () => (await run.lag()).inStepAt !== '');
  // Again with passes that a test can wait for.
  await run.cancel();
  await run.result().catch(() => {});
  const again = { estate: name, service, compare: '1s' };
  await worker.client.workflow.start('replicateService', { workflowId: run.workflowId, taskQueue, args: [again] });

  const { uid = '' } = (await estate.estate()) ?? {};
  const owner = { estate: name, service, uid, controller: '' };
  const placements = ((await estate.service(service))?.placements ?? []).map((one) => placementRef(owner, one));
  const [azure, gcp] = ['azure', 'gcp'].map((cloud) => placements.find(({ provider }) => provider === cloud));
  if (!azure || !gcp) throw new Error('it is not on two clouds');
  const seen = async (placement: typeof azure): Promise<Device | undefined> =>
    (await devicesAt(placement)).get('pump-1');

  await fill.azure(azure, [
    { id: 'pump-1', groups: ['pumps'], attributes: { site: 'north' } },
    { id: 'odd', credential: 'key' },
  ]);
  await until(async () => (await seen(gcp))?.attributes.site === 'north');
  await operators.gcp.change(gcp, 'pump-1', { status: 'disabled', desired: { interval: 5 } });
  // Several calls are one change there.
  await until(async () => (await seen(azure))?.desired.interval === 5);
  expect(await seen(azure)).toMatchObject({ status: 'disabled', groups: ['pumps'], attributes: { site: 'north' } });
  const { directions } = await estate.replication(service).lag();
  expect(directions.map(({ conflicts }) => conflicts)).toEqual([0, 0]);

  const { verified } = await (await estate.verify({ service, by: 'ann' })).outcome<VerifyResult>();
  expect(verified).toMatchObject({
    equal: false,
    comparisons: [
      { provider: 'azure' },
      { provider: 'gcp', found: { different: { missing: 1 }, differentNames: ['odd'] } },
    ],
  });

  await worker.close();
  await operators.azure.remove(azure, 'pump-1');
  await start();
  await until(async () => (await devicesAt(gcp)).size === 0);
  await (await estate.remove({ service, by: 'ann' })).result();
  expect(await estate.replication(service).result()).toMatchObject({ outcome: 'done', service });
}, 240_000);
