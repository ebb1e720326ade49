/**
 * Devices that nobody has registered come in by the certificate of their factory: at the target of a migration, from where they are
 * taken home when it is given up; and at a placement as long as its configuration names their factory.
 */
import { randomBytes, X509Certificate } from 'node:crypto';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { EstateClient, OperationFailed } from '../../client/index.ts';
import { authority, issueCertificate, type KeyPair } from '../../emulators/certificates.ts';
import { sampleZone } from '../../emulators/environment.ts';
import { until } from '../device-agent/keys.ts';
import type { Identity } from '../fleet/fleets.ts';
import { signal } from '../transfer/stores.ts';
import { type OwnWorker, ownWorker, quietTemporal, writeEstate } from './own-worker.ts';
import { Device, expectAll, placesOf, serviceOn, TalkingFleets } from './talking-fleet.ts';

const name = 'newborns';
const namespace = `newborns-${randomBytes(3).toString('hex')}`;
const folder = mkdtempSync(join(tmpdir(), 'newborns-'));
const [factory, another] = (await Promise.all(
  ['one', 'another'].map((which) => authority(join(folder, which), 'ca', `factory ${which} ${process.pid}`)),
)) as [KeyPair, KeyPair];
const openTo = (preferred: string[], by?: KeyPair) => ({
  ...serviceOn(preferred),
  configuration: by ? { just_in_time_authority: by.cert } : {},
});

async function made(id: string, by: KeyPair): Promise<Identity> {
  const { cert, key } = await issueCertificate(by, [id], true);
  const { raw, fingerprint256, fingerprint } = new X509Certificate(cert);
  const [thumbprint = '', sha1 = ''] = [fingerprint256, fingerprint].map((text) =>
    text.replaceAll(':', '').toLowerCase(),
  );
  return { pem: cert, key, der: raw.toString('base64'), thumbprint, sha1 };
}

/** Of each device, as long as it lives. */
const identities = new Map<string, Identity>();
let worker: OwnWorker;
let estate: EstateClient;
let fleets: TalkingFleets;
beforeAll(async () => {
  quietTemporal();
  const file = join(folder, 'estate.yaml');
  const services = { moving: openTo(['gcp', 'aws'], factory), standing: openTo(['aws']) };
  writeEstate(file, name, services, { traffic: { zone: sampleZone, dns: 'gcp', ttl: '2s' } });
  const waits = { callDeadlineMs: 10_000, settleMs: 1000, blockedMs: 500, followMs: 300, fenceMs: 300 };
  worker = await ownWorker({ namespace, estateFile: file, waits, moves: (real) => real });
  estate = new EstateClient(worker.client, name, '');
  fleets = new TalkingFleets({ client: worker.client, estate, namespace, folder });
}, 120_000);
afterAll(async () => {
  await fleets.stop();
  await worker.close();
}, 60_000);

async function born(id: string, by: KeyPair, service: string, provider: string): Promise<Device> {
  const own = identities.get(id) ?? (await made(id, by));
  identities.set(id, own);
  const device = new Device(id, own, await fleets.placed(service, provider));
  fleets.open.push(device);
  return device;
}
const talks = (device: Device) => until(`${device.id} talks`, () => device.acknowledged.length > 1, 30_000);
/** It tries several times a second. */
async function staysOut(device: Device): Promise<void> {
  await setTimeout(4000);
  expect(device.events.map(({ event }) => event)).toEqual(['started']);
}

it('one that came in at the target goes home with the others', async () => {
  const run = await fleets.running('moving', 'gcp', 3);
  const migration = await estate.migrate({
    ...{ service: 'moving', from: 'gcp', to: 'aws', soak: '1h', by: 'ann' },
    ...{ waves: [100], wave_window: '60s', wave_seen: 1, wave_rate: 0, wave_errors: 10, canary: false },
  });
  const cutover = await fleets.asked(migration, 'cutover');
  expect(cutover.text).toMatch(/the factory's new door is mqtts:\S+-ats\.iot\.\S+ on aws, open from now on/);
  const newborn = await born('newborn', factory, 'moving', 'aws');
  await talks(newborn);
  expect(newborn.dialect).toBe('aws');
  await migration.decide({ question: 'cutover', answer: 'reject', by: 'ann', plan: cutover.plan });
  const ended = await migration.result().catch((error: unknown) => error);
  expect(ended instanceof OperationFailed && [ended.type, ended.result?.orphans]).toEqual(['ApprovalRejected', []]);
  run.fleet.push(newborn);
  expect(placesOf(run.fleet)).toEqual(['gcp']);
  const registry = (await worker.pool.get('gcp')).devices(run.source.ref, (_, __, request) => request(), signal);
  expect((await registry.standing.find('newborn'))?.device.status).toBe('enabled');
  await expectAll(run);
  await fleets.remove('moving');
}, 200_000);

it('a placement lets in whom the factory that it names has made, and nobody any more once it names none', async () => {
  const deploy = async (by?: KeyPair) => {
    const run = await estate.deployService('standing', { file: { services: { standing: openTo(['aws'], by) } } });
    expect(await run.result()).toMatchObject({ outcome: 'done', orphans: [] });
    const record = await estate.service('standing');
    return record?.placements[0]?.resources.filter(({ key }) => key.startsWith('just-in-time')).length;
  };
  expect(await deploy()).toBe(0);
  expect(await deploy(factory)).toBe(2);
  const first = await born('first', factory, 'standing', 'aws');
  await talks(first);
  // Its messages would stand before the one by which a deployment is proven: nobody reads here.
  await first.stop();
  expect(await deploy(another)).toBe(2);
  const [late, second] = [
    await born('late', factory, 'standing', 'aws'),
    await born('second', another, 'standing', 'aws'),
  ];
  await talks(second);
  await Promise.all([second.stop(), staysOut(late)]);
  await late.stop();
  expect(await deploy()).toBe(0);
  const last = await born('last', another, 'standing', 'aws');
  const again = await born('first', factory, 'standing', 'aws');
  await Promise.all([staysOut(last), talks(again)]);
  await Promise.all([last, again].map((device) => device.stop()));
  await fleets.remove('standing');
}, 120_000);
