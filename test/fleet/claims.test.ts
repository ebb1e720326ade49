/** Devices of one cloud whose certificates another one cannot take: they are asked, answer, and are registered there with new ones. */
import { X509Certificate } from 'node:crypto';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MockActivityEnvironment } from '@temporalio/testing';
import { createSenderActivities } from '../../activities/devices/sender.ts';
import { createWaveActivities } from '../../activities/devices/waves.ts';
import { Seen } from '../../activities/telemetry/sightings.ts';
import { telemetryFiles } from '../../activities/transfer/files.ts';
import { newKey, requestOf } from '../../client/device-agent/claim.ts';
import { authority } from '../../emulators/certificates.ts';
import { type IssueCertificatesInput, verifyClaim } from '../../model/device-claim.ts';
import { verifyRedirect } from '../../model/device-redirect.ts';
import type { Device } from '../../model/fleet.ts';
import type { PlacementRef } from '../../model/transfer.ts';
import type { SenderActivities, WaveActivities } from '../../model/waves.ts';
import { current, next } from '../device-agent/keys.ts';
import { pool, signal } from '../transfer/stores.ts';
import { fill, identity, registryOf, run, type Wanted } from './fleets.ts';

const dependencies = { pool, pollMs: 25, callDeadlineMs: 20_000 };
const fleetAuthority = async () => {
  const { cert: certificate, key } = await authority(mkdtempSync(join(tmpdir(), 'fleet-')), 'claims', 'the fleet');
  return { certificate, key };
};
type All = WaveActivities & SenderActivities;
const acting =
  (activities: All) =>
  async <K extends keyof All>(name: K, input: Parameters<All[K]>[0]): Promise<Awaited<ReturnType<All[K]>>> => {
    const activity = activities[name] as (input: unknown) => Promise<unknown>;
    const answer: unknown = await new MockActivityEnvironment().run(() => activity(input));
    return answer as Awaited<ReturnType<All[K]>>;
  };
const withAuthority = (own: { certificate: string; key: string } | undefined) =>
  acting({
    ...createWaveActivities(dependencies),
    ...createSenderActivities({ ...dependencies, key: current.key, authority: own }),
  });

const callsPerSecond = 2000;
const hour = 3_600_000;
const untilAt = new Date(Date.now() + 24 * hour).toISOString();
const startedAt = new Date().toISOString();
const rules = { estate: 'fleets', pins: [current.pin, next.pin] as const };

const wanted = async (): Promise<Wanted[]> => [
  { id: 'whole' },
  { id: 'printed', credential: 'thumbprint' },
  { id: 'vouched', credential: 'authority' },
  { id: 'asleep', credential: 'thumbprint' },
  { id: 'another', credential: 'thumbprint' },
  { id: 'ending', identity: await identity('ending', hour) },
  { id: 'outdated', credential: 'thumbprint', reported: { agent: { version: '1.0', can: [] } } },
  { id: 'off', credential: 'thumbprint', status: 'disabled' },
];

const all = async (placement: PlacementRef): Promise<Map<string, Device>> => {
  const registry = (await pool.get(placement.provider)).devices(placement, (_, __, request) => request(), signal);
  return new Map((await registry.page(undefined)).devices.map((one) => [one.id, one]));
};

it('each is asked once that needs it and can, and registered with what was made for its own key', async () => {
  const own = await fleetAuthority();
  const act = withAuthority(own);
  const [source, target] = await Promise.all([registryOf('gcp'), registryOf('aws')]);
  await fill.gcp(source, await wanted());
  const census = (placement: PlacementRef, name: string) =>
    run('censusDevices', { placement, keptAt: target, census: name, to: 'aws', validUntil: untilAt, callsPerSecond });
  const counted = await census(source, 'here');
  expect(counted).toMatchObject({ claims: { 'no-certificate': 4, 'certificate-expires': 1 } });
  expect(counted.refused).toEqual({ 'no-certificate': 6 });
  const page = async (n: number) =>
    (await run('readDevices', { keptAt: target, name: 'here', report: 'refused', page: n })).rows;
  expect((await page(0)).map(({ id }) => id).sort()).toEqual(['another', 'asleep', 'ending', 'printed', 'vouched']);
  expect(await page(1)).toContainEqual({
    ...{ id: 'outdated', why: 'no-certificate', detail: 'its firmware has to be updated to claim one' },
  });
  const select = { keptAt: target, census: 'here', before: null, into: 'new', claims: { to: 'aws' as const, untilAt } };
  expect(await act('selectDevices', select)).toEqual({ devices: 8, shards: 1, claims: 5 });
  const copy = { target, mark: 'move', startedAt, shard: 0, callsPerSecond };
  const first = { ...copy, transfer: 'new', validUntil: untilAt };
  expect(await run('copyDevices', first)).toMatchObject({ moved: 1, refused: 7 });

  const common = { keptAt: target, name: 'move', to: 'aws' as const, untilAt };
  const asking = { ...common, census: 'new', on: source, estate: 'fleets', sequence: 7, devicesPerSecond: 1000 };
  expect(await withAuthority(undefined)('askClaims', asking)).toMatchObject({ asked: 0, unable: true });
  for (const _ of ['once', 'and once more, whose answer was lost'])
    expect(await act('askClaims', asking)).toEqual({ asked: 5, gone: 0, failed: 0 });
  const asked = await all(source);
  expect([...asked.values()].filter(({ desired }) => desired.claim).map(({ id }) => id)).toEqual(
    ['another', 'asleep', 'ending', 'printed', 'vouched'].sort(),
  );
  const text = String(asked.get('printed')?.desired.claim);
  const verdict = (device: string) => verifyClaim({ message: text, rules: { ...rules, device }, lastSequence: 6 });
  expect([verdict('printed'), verdict('another')]).toMatchObject([{ claim: { sequence: 7 } }, { refused: 'audience' }]);

  const keys = new Map(['printed', 'vouched', 'ending', 'another'].map((id) => [id, newKey()]));
  const kept = await pool.get('aws');
  const seenFiles = telemetryFiles(kept, target, 'move', signal);
  const seen = await Seen.open(seenFiles, 'gcp');
  for (const [device, key] of keys) {
    // One sends what another device has asked for.
    const csr = await requestOf({ device: device === 'another' ? 'printed' : device, key });
    seen.add({ device, at: Date.now(), body: Buffer.from(JSON.stringify({ event: 'claim', sequence: 7, csr })) });
  }
  await seen.save(seenFiles);
  const issuing: IssueCertificatesInput = {
    ...common,
    ...{ censuses: ['new'], before: [], into: 'claimed', from: 'gcp', issuedAt: startedAt },
    ...{ waitUntil: startedAt, everyMs: 100 },
  };
  const issued = { devices: 3, shards: 1, open: 1, refused: { 'not for this device': 1 } };
  // Another worker that does it again finds the same.
  for (const one of [act, withAuthority(own)]) expect(await one('issueCertificates', issuing)).toEqual(issued);
  expect(await act('issueCertificates', { ...issuing, before: ['claimed'], into: 'none' })).toMatchObject({
    ...{ devices: 0, open: 1 },
  });
  for (const how of ['moved', 'moved'])
    expect(await run('copyDevices', { ...copy, transfer: 'claimed' })).toMatchObject({ [how]: 3 });

  const there = await all(target);
  expect([...there.keys()].sort()).toEqual(['ending', 'printed', 'vouched', 'whole']);
  const certificates = new Map<string, string>();
  for (const [id, { credential }] of there) {
    const [{ der = '' } = {}] = credential.type === 'certificates' ? credential.certificates : [];
    certificates.set(id, der);
    const certificate = new X509Certificate(Buffer.from(der, 'base64'));
    expect([id, certificate.checkIssued(new X509Certificate(own.certificate))]).toEqual([id, id !== 'whole']);
  }

  // Both registries agree, but for those that cannot go.
  await census(target, 'there');
  const comparing = { keptAt: target, left: 'here', right: 'there' };
  expect(await run('diffDevices', { ...comparing, claimed: 'move' })).toMatchObject({
    ...{ same: 4, different: { missing: 4 } },
  });
  expect((await run('diffDevices', comparing)).different).toMatchObject({ credential: 3 });
  const endpoint = { dialect: 'azure', host: 'hub.azure-devices.net', port: 8883 } as const;
  const wave = { ...{ keptAt: target, name: 'move', wave: 0 }, source: 'here', target: 'there' };
  const planned = await act('planWave', { ...wave, who: 'rest', to: 'aws', able: { endpoint, untilAt } });
  expect(planned).toMatchObject({ devices: 4, cannot: { 'no-certificate': 4 } });

  // Who goes there is handed its certificate, and nobody who comes home.
  const send = {
    ...{ keptAt: target, name: 'move', wave: 0, shards: 1, estate: 'fleets', endpoint },
    devicesPerSecond: 1000,
  };
  await act('sendRedirects', { ...send, on: source, to: target, sequence: 8, certificates: true });
  const told = await all(source);
  expect(told.get('printed')?.desired.claim).toBeUndefined();
  const redirect = (of: Map<string, Device>, device: string) => {
    const whole = { ...rules, device, cohorts: [], suffixes: ['.azure-devices.net'], authorities: [] };
    const message = String(of.get(device)?.desired.redirect);
    const opened = verifyRedirect({ message, rules: whole, lastSequence: 7 });
    if ('refused' in opened) throw new Error(opened.refused);
    return opened.redirect.certificate;
  };
  expect(redirect(told, 'printed')).toBe(certificates.get('printed'));
  expect(redirect(told, 'whole')).toBeUndefined();
  await act('sendRedirects', { ...send, on: target, to: source, sequence: 9 });
  expect(redirect(await all(target), 'printed')).toBeUndefined();

  const askedStill = async (): Promise<string[]> =>
    [...(await all(source)).values()].flatMap(({ id, desired }) => (desired.claim ? [id] : [])).sort();
  expect(await askedStill()).toEqual(['another', 'asleep']);
  expect(await act('askClaims', { ...asking, retract: true })).toMatchObject({ asked: 5 });
  expect(await askedStill()).toEqual([]);

  // The last ones first: their own certificates stand in the earlier census.
  expect(await run('removeCopiedDevices', { ...copy, transfer: 'claimed' })).toEqual({ removed: 3 });
  expect(await run('removeCopiedDevices', { ...copy, transfer: 'new' })).toEqual({ removed: 1 });
  expect((await all(target)).size).toBe(0);
}, 60_000);
