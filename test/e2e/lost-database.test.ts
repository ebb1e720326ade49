/** Temporal's database is lost: the records are made again from the buckets, read-only until a person has confirmed them. */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ProviderPool } from '../../activities/providers/pool.ts';
import { scan } from '../../activities/providers/provision.ts';
import { connect, type EstateClient, type OperationResult, type Rebuilt } from '../../client/index.ts';
import { CloudError } from '../../model/errors.ts';
import type { RecordedPlacement, ServiceRecord } from '../../model/record.ts';
import { isRecords, Kept, recordKey, recordsPlacement } from '../../model/records.ts';
import { multiCloud } from '../client/command.ts';
import { type OwnTemporal, ownTemporal } from '../local/temporal.ts';
import { writeEstate } from './own-worker.ts';
import { startWorker, testPool, writeSettings } from './worker-process.ts';

const estate = 'lost';
const storage = { type: 'storage', protect: false };
const services = {
  pair: { ...storage, redundancy: 2, preferred_providers: ['aws', 'gcp'] },
  lake: { type: 'data_lake', preferred_providers: ['azure'], protect: false },
  // Its record is deleted from the bucket: only its resources tell of it.
  forgotten: { ...storage, preferred_providers: ['gcp'] },
};
const signal = AbortSignal.timeout(580_000);
const folder = mkdtempSync(join(tmpdir(), 'estate-'));
const file = writeEstate(join(folder, 'estate.yaml'), estate, services);
let temporal: OwnTemporal;
let worker: ChildProcess;
let pool: ProviderPool;
let client: EstateClient;
const before: Record<string, ServiceRecord> = {};
let identity: { estate: string; uid: string; controller: string };
let rebuilt: OperationResult & { rebuilt?: Rebuilt };

async function start(): Promise<void> {
  const settings = writeSettings(folder, {
    estateFile: file,
    temporal: { address: temporal.address },
    waits: { callDeadlineMs: 5000, settleMs: 500, blockedMs: 500, followMs: 200, fenceMs: 300 },
  });
  worker = await startWorker(settings);
  client = await connect({ address: temporal.address, estate });
}

async function stop(): Promise<void> {
  worker.kill('SIGKILL');
  await Promise.all([once(worker, 'exit'), client.close()]);
}

const command = (...args: string[]) =>
  multiCloud(args, { MULTI_CLOUD_ADDRESS: temporal.address, MULTI_CLOUD_ESTATE: estate });
const refusal = async (run: Promise<{ result(): Promise<unknown> }>): Promise<unknown> =>
  run.then((one) => one.result()).catch((error: unknown) => error);

const placed = (service: string, provider: string): RecordedPlacement => {
  const found = before[service]?.placements.find((one) => one.provider === provider);
  if (!found) throw new Error(`${service} is not on ${provider}`);
  return found;
};
/** The records bucket of a placement. */
async function bucket(service: string, provider: string) {
  const { objects } = await pool.get(provider);
  const placement = recordsPlacement(identity, placed(service, provider));
  const key = recordKey(service);
  const found = await objects.get(placement, key, signal);
  return { objects, placement, key, kept: Kept.parse(JSON.parse(Buffer.from(found?.bytes ?? []).toString())) };
}
/** Writes another copy over the one that is there. */
async function forge(service: string, provider: string, change: (kept: Kept) => object): Promise<void> {
  const { objects, placement, key, kept } = await bucket(service, provider);
  await objects.put(placement, key, Buffer.from(JSON.stringify({ ...kept, ...change(kept) })), undefined, signal);
}

/** What the clouds have of the estate, but for records buckets. */
async function left(): Promise<string[]> {
  const found = await Promise.all(
    ['aws', 'azure', 'gcp'].map(async (provider) => {
      const one = placed(provider === 'azure' ? 'lake' : 'pair', provider);
      const owner = { ...identity, service: '', generation: 1 };
      for (let left = 5; ; left--)
        try {
          return await scan(await pool.get(provider), { ...one, owner }, signal);
        } catch (error) {
          // As an activity would: a connection that an idle server has closed is no finding.
          if (left === 0 || !(error instanceof CloudError && error.kind === 'Unavailable')) throw error;
        }
    }),
  );
  return found.flat().flatMap(({ kind, name, owner }) => (isRecords(owner.service) ? [] : [`${kind} ${name}`]));
}

beforeAll(async () => {
  temporal = await ownTemporal();
  pool = testPool(file);
  await start();
  expect(await (await client.deploy({ by: 'ann' })).result()).toMatchObject({ outcome: 'done', orphans: [] });
  for (const service of Object.keys(services)) {
    const record = await client.service(service);
    if (record) before[service] = record;
  }
  const { uid = '' } = (await client.estate()) ?? {};
  identity = { estate, uid, controller: '' };
  identity.controller = (await bucket('pair', 'aws')).kept.controller;

  // A copy that says more than its run has written, with a later revision than the other.
  await forge('pair', 'gcp', ({ record }) => ({
    record: { ...record, revision: record.revision + 5, placements: [] },
  }));
  const { objects, placement, key } = await bucket('forgotten', 'gcp');
  await objects.put(placement, key, Buffer.from('{}'), undefined, signal);

  await stop();
  await temporal.lose();
  await start();
}, 240_000);
afterAll(async () => {
  await stop();
  await pool.close();
  await temporal.stop();
}, 60_000);

it('says in status and doctor what to do', async () => {
  expect((await command('status')).out).toContain('npx multi-cloud doctor');
  const { code, out } = await command('doctor');
  expect(code).toBe(1);
  expect(out).toContain(`npx multi-cloud recover --rebuild ${identity.uid}`);
}, 120_000);

it('makes the records again, from the newest copy whose trail holds its hash', async () => {
  rebuilt = await (await client.rebuild({ by: 'ann' })).result();
  expect(rebuilt.rebuilt).toMatchObject({
    uid: identity.uid,
    services: [
      { service: 'forgotten', source: '', placements: [] },
      { service: 'lake', status: 'running', source: 'azure in westus2', differences: [] },
      { service: 'pair', status: 'running', source: 'aws in us-west-2', differences: [] },
    ],
  });
  const refused = rebuilt.rebuilt?.refused ?? [];
  expect(refused.map(({ bucket: where, key }) => `${key} in ${where}`).sort()).toEqual([
    'records/forgotten.json in gcp in us-central1',
    'records/pair.json in gcp in us-central1',
  ]);
  expect(refused.find(({ key }) => key.includes('pair'))?.why).toContain('its hash is not in the trail');
  for (const service of ['lake', 'pair']) {
    const { placements, intents, generations, places } = before[service] as ServiceRecord;
    expect(await client.service(service)).toMatchObject({ placements, intents, generations, places });
  }
  expect((await client.estate())?.lastApplied).toMatchObject({ by: 'ann', services: { pair: { redundancy: 2 } } });
}, 120_000);

it('lists as orphans what no copy of a record tells of', () => {
  const { resources } = placed('forgotten', 'gcp');
  expect(rebuilt.orphans.map(({ kind, name }) => ({ kind, name }))).toEqual(
    resources.map(({ kind, name }) => ({ kind, name })),
  );
});

it('refuses every changing operation until it is confirmed, and names the command', async () => {
  const refusals = await Promise.all([
    refusal(client.deploy({ approval: 'manual' })),
    refusal(client.deployService('lake')),
    refusal(client.deployService('unheard_of')),
    refusal(client.remove({ service: 'pair' })),
    refusal(client.recover({ service: 'forgotten' })),
  ]);
  expect(refusals.map((error) => (error instanceof Error && 'type' in error ? error.type : error))).toEqual([
    'Unconfirmed',
    'Unconfirmed',
    'ServiceNotFound', // it is in no file: refused before
    'Unconfirmed',
    'Unconfirmed',
  ]);
  expect(String(refusals[0])).toContain(`npx multi-cloud recover --confirm ${identity.uid}`);
  expect((await command('status')).out).toContain(`recover --confirm ${identity.uid}`);
  expect(await refusal(client.confirm({ uid: '0'.repeat(32) }))).toMatchObject({ type: 'InvalidInput' });
}, 120_000);

it('refuses the copy of another controller', async () => {
  await forge('pair', 'aws', () => ({ controller: 'another' }));
  const again: OperationResult & { rebuilt?: Rebuilt } = await (await client.rebuild()).result();
  expect(again.rebuilt?.services.map(({ service, source }) => [service, source])).toEqual([
    ['forgotten', ''],
    ['lake', 'azure in westus2'],
    ['pair', ''],
  ]);
  expect(again.rebuilt?.refused.map(({ why }) => why).join()).toContain('its controller is another');
  await forge('pair', 'aws', () => ({ controller: identity.controller }));
}, 120_000);

it('is confirmed: a deployment finds nothing to change, a removal removes everything', async () => {
  await (await client.rebuild()).result();
  const confirmed = await command('recover', '--confirm', identity.uid, '--yes');
  expect([confirmed.err, confirmed.code]).toEqual([expect.stringContaining(identity.uid), 0]);
  expect(await (await client.recover({ service: 'forgotten' })).result()).toMatchObject({ outcome: 'done' });

  const plan = await client.plan();
  const changes = plan.services.flatMap(({ service, placements }) =>
    placements.flatMap((one) =>
      one.changes.filter(({ action }) => action !== 'none').map(({ name }) => `${service} ${name}`),
    ),
  );
  expect(new Set(changes.map((change) => change.split(' ')[0]))).toEqual(new Set(['forgotten']));
  const deployed = await (await client.deploy()).result();
  expect(deployed).toMatchObject({ outcome: 'done', orphans: [] });
  for (const service of ['lake', 'pair'])
    expect((await client.service(service))?.placements).toEqual(before[service]?.placements);
  expect((await client.service('forgotten'))?.placements).toMatchObject([{ generation: 2 }]);

  for (const service of Object.keys(services))
    expect(await (await client.remove({ service })).result()).toMatchObject({
      outcome: 'done',
      orphans: [],
      retained: [],
    });
  expect(await left()).toEqual([]);
  const checked = await client.check();
  expect([checked.orphans, checked.lost]).toEqual([[], []]);
}, 240_000);
