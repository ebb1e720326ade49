/**
 * Devices whose certificates the target cannot take claim others, and move with the rest: the key is made on the device, and it goes home
 * with the one that it was built with.
 */
import { randomBytes, X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EstateClient, OperationFailed } from '../../client/index.ts';
import { sampleZone } from '../../emulators/environment.ts';
import { type Device, noTexts } from '../../model/fleet.ts';
import type { ProviderType } from '../../model/service.ts';
import { placementRef } from '../../model/transfer.ts';
import { chosen } from '../faults/choice.ts';
import type { Wanted } from '../fleet/fleets.ts';
import { localRun } from '../local/stack.ts';
import { signal } from '../transfer/stores.ts';
import { type OwnWorker, ownWorker, quietTemporal, writeEstate } from './own-worker.ts';
import { expectAll, placesOf, serviceOn, TalkingFleets } from './talking-fleet.ts';

/** AWS must be given the certificate itself; our registry trusts no SHA-1. */
const all: { id: string; from: ProviderType; to: ProviderType; wanted: Partial<Wanted> }[] = [
  { id: 'azure to aws', from: 'azure', to: 'aws', wanted: { credential: 'thumbprint' } },
  { id: 'gcp to aws', from: 'gcp', to: 'aws', wanted: { credential: 'thumbprint' } },
  { id: 'azure to gcp', from: 'azure', to: 'gcp', wanted: { credential: 'sha1' } },
];
const mine = chosen(all, () => 'claims').map((one) => ({ ...one, service: `c_${one.from}_${one.to}` }));
const name = 'claims';
const namespace = `claims-${randomBytes(3).toString('hex')}`;
const folder = mkdtempSync(join(tmpdir(), 'claims-'));

let worker: OwnWorker;
let estate: EstateClient;
let fleets: TalkingFleets;
beforeAll(async () => {
  quietTemporal();
  const file = join(folder, 'estate.yaml');
  writeEstate(file, name, Object.fromEntries(mine.map((one) => [one.service, serviceOn([one.from, one.to])])), {
    traffic: { zone: sampleZone, dns: 'gcp', ttl: '2s' },
  });
  const waits = { callDeadlineMs: 10_000, settleMs: 1000, blockedMs: 500, followMs: 300, fenceMs: 300 };
  worker = await ownWorker({ namespace, estateFile: file, waits, moves: (real) => real });
  estate = new EstateClient(worker.client, name, '');
  fleets = new TalkingFleets({ client: worker.client, estate, namespace, folder });
}, 120_000);
afterAll(async () => {
  await fleets.stop();
  await worker.close();
}, 60_000);

it.each(mine)(
  'from $id: two of six need another certificate, and go with it',
  async ({ service, from, to, wanted }) => {
    const run = await fleets.running(service, from, 6, (n) => (n < 2 ? wanted : {}));
    const { fleet } = run;
    const claimers = fleet.slice(0, 2).map(({ id }) => id);
    const migration = await estate.migrate({
      ...{ service, from, to, soak: '1h', by: 'ann' },
      ...{ waves: [100], wave_window: '60s', wave_seen: 1, wave_rate: 0, wave_errors: 10, canary: false },
    });
    const cutover = await fleets.asked(migration, 'cutover');
    // One more is disabled.
    expect(cutover.text).toContain('7 devices are registered there; 0 cannot go');
    const { steps } = await migration.progress();
    expect(steps.find((one) => one.name === 'claim')?.detail).toBe(
      '2 were asked for a certificate request, 2 have a new certificate, 0 have not answered yet',
    );
    expect(placesOf(fleet)).toEqual([from]);
    await migration.approve({ by: 'ann', plan: cutover.plan });
    const back = await fleets.asked(migration, 'undo');
    expect(placesOf(fleet)).toEqual([to]);

    const authority = new X509Certificate(
      readFileSync(JSON.parse(readFileSync(localRun().settings, 'utf8')).claimAuthority.certificateFile),
    );
    const before = new Map((await registry(from, service)).map((one) => [one.id, one]));
    // Our broker keeps no reported state.
    if (from !== 'gcp')
      for (const { reported } of before.values()) expect(reported.agent).toMatchObject({ can: ['claim'] });
    for (const device of await registry(to, service)) {
      const [{ thumbprint, der = '' } = { thumbprint: '' }] =
        device.credential.type === 'certificates' ? device.credential.certificates : [];
      const claimed = claimers.includes(device.id);
      const certificate = new X509Certificate(Buffer.from(der, 'base64'));
      expect([device.id, certificate.checkIssued(authority)]).toEqual([device.id, claimed]);
      const own = before.get(device.id)?.credential;
      expect(own?.type === 'certificates' && own.certificates[0]?.thumbprint === thumbprint).toBe(!claimed);
    }

    await migration.approve({ by: 'ann', plan: back.plan });
    const ended = await migration.result().catch((error: unknown) => error);
    expect(ended instanceof OperationFailed && [ended.type, ended.result?.orphans]).toEqual(['UndoRequested', []]);
    expect(placesOf(fleet)).toEqual([from]);
    const [home] = (await registry(from, service)).filter(({ id }) => id === claimers[0]);
    // Nothing is left of what it was told but where it is.
    expect(Object.keys(home?.desired ?? {}).filter((property) => property in noTexts)).toEqual([]);
    await expectAll(run);
    await fleets.remove(service);
  },
  400_000,
);

async function registry(provider: ProviderType, service: string): Promise<Device[]> {
  const [record, { uid = '' } = {}] = await Promise.all([estate.service(service), estate.estate()]);
  const found = record?.placements.find((one) => one.provider === provider);
  if (!found) throw new Error(`${service} is not on ${provider}`);
  const { namespaceInfo } = await worker.client.workflowService.describeNamespace({ namespace });
  const ref = placementRef({ estate: name, service, uid, controller: namespaceInfo?.id ?? '' }, found);
  const of = (await worker.pool.get(provider)).devices(ref, (_, __, request) => request(), signal);
  const { devices } = await of.page(undefined);
  return devices.filter(({ id }) => !id.endsWith('-off'));
}
