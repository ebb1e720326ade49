/** The sample agent is asked for a certificate request: whose claims it obeys, what it sends, and that no power cut leaves it without a way in. */
import { hash, X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createIssuer, type Issuer } from '../../activities/devices/issuer.ts';
import { newKey, requestOf } from '../../client/device-agent/claim.ts';
import { authority, type KeyPair } from '../../emulators/certificates.ts';
import { signClaim } from '../../model/device-claim.ts';
import { Cloud, madeDevice, redirect, run } from './brokers.ts';
import { current, stranger, until } from './keys.ts';

const folder = mkdtempSync(join(tmpdir(), 'claims-'));
const at = new Date();
let ca: KeyPair;
let issuer: Issuer;
let old: Cloud;
let target: Cloud;
beforeAll(async () => {
  ca = await authority(folder);
  const fleet = await authority(join(folder, 'fleet'), 'claims', 'the fleet');
  issuer = createIssuer({ certificate: fleet.cert, key: fleet.key });
  [old, target] = [await Cloud.start('old.broker.internal', ca), await Cloud.start('target.broker.internal', ca)];
});
afterAll(async () => {
  await Promise.all([old?.close(), target?.close()]);
  rmSync(folder, { recursive: true });
});

const made = (device: string, times = {}) => madeDevice({ folder, ca, old, target }, device, times);
const claim = (device: string, sequence: number, key = current.key): string =>
  signClaim({ claim: { v: 1, estate: 'devices', audience: { device }, sequence }, key });
const program = 'client/device-agent/main.ts';

/** Requests that the old cloud has heard from this device, base64 of DER. */
const requests = (device: string): string[] =>
  old.events.flatMap(({ key, event, csr }) =>
    event === 'claim' && String(key).startsWith(`${device}/`) ? [String(csr)] : [],
  );
const answer = (device: string): Promise<void> => until('it answers', () => requests(device).length > 0);

async function certificateFor(device: string, csr = requests(device).at(-1) ?? ''): Promise<string> {
  const issued = await issuer.issue({ device, csr: Buffer.from(csr, 'base64'), at });
  if (typeof issued === 'string') throw new Error(issued);
  return issued.toString('base64');
}
const thumbprint = (der: string): string => hash('sha256', Buffer.from(der, 'base64'));
/** The target knows the new certificate and no other. */
const known = (device: string, certificate: string): void =>
  target.register(device, undefined, { thumbprints: [thumbprint(certificate)] });
const own = (device: string): string => {
  const { raw } = new X509Certificate(readFileSync(join(folder, device, 'cert.pem')));
  return hash('sha256', raw);
};

it('goes as who it is there, comes home as who it was, and goes again', async () => {
  const device = 'claimer';
  const agents = await made(device);
  const home = { thumbprints: [own(device)] };
  old.register(device, undefined, { ...home, claim: claim(device, 1) });
  await run(program, [agents], async (seen) => {
    const settled = (sequence: number) =>
      until(`it follows ${sequence}`, () => seen.some((one) => one.event === 'settled' && one.sequence === sequence));
    await answer(device);
    const certificate = await certificateFor(device);
    known(device, certificate);
    old.register(device, redirect(device, 2, target.endpoint, certificate), home);
    await settled(2);
    old.register(device, undefined, home);
    target.register(device, redirect(device, 3, old.endpoint), { thumbprints: [thumbprint(certificate)] });
    await settled(3);
    known(device, certificate);
    old.register(device, redirect(device, 4, target.endpoint, certificate), home);
    await settled(4);
    expect(seen.filter(({ event }) => event === 'refused')).toEqual([]);
  });
  expect(requests(device)).toHaveLength(1);
}, 30_000);

it('tries who else it is where its new certificate is not known', async () => {
  const device = 'elsewhere';
  const agents = await made(device);
  const third = await Cloud.start('third.broker.internal', ca);
  old.register(device, undefined, { claim: claim(device, 1) });
  await run(program, [agents], async (seen) => {
    await answer(device);
    const certificate = await certificateFor(device);
    known(device, certificate);
    old.register(device, redirect(device, 2, target.endpoint, certificate));
    await until('it is there', () => seen.some((one) => one.event === 'settled' && one.sequence === 2));
    third.register(device, undefined, { thumbprints: [own(device)] });
    target.register(device, redirect(device, 3, third.endpoint), { thumbprints: [thumbprint(certificate)] });
    await until('it is at the third', () => seen.some((one) => one.event === 'settled' && one.sequence === 3));
  });
  await third.close();
}, 30_000);

it.each(['claiming', 'claimed', 'taken', 'arrived', 'settled'])(
  'a power cut at the step "%s" leaves it with a way in, and with the key that it has asked for',
  async (step) => {
    const device = `cut-${step}`;
    const agents = await made(device, { returnMs: 100 });
    old.register(device, undefined, { claim: claim(device, 1) });
    const cut = run('test/device-agent/cut-off.ts', [agents, step], () => new Promise(() => {}));
    let certificate = '';
    const issue = async (): Promise<void> => {
      certificate = await certificateFor(device);
      known(device, certificate);
      old.register(device, redirect(device, 2, target.endpoint, certificate));
    };
    if (step !== 'claiming' && step !== 'claimed') await answer(device).then(issue);
    await cut;
    await run(program, [agents], async (seen) => {
      if (!certificate) await answer(device).then(issue);
      await until('it talks there', () =>
        seen.some(
          (one, n) =>
            one.event === 'acknowledged' &&
            seen.slice(0, n).some((before) => before.event === 'connected' && before.host === target.endpoint.host),
        ),
      );
      expect(seen.filter(({ event }) => event === 'refused')).toEqual([]);
    });
    expect(JSON.parse(readFileSync(join(folder, device, 'state.json'), 'utf8'))).toMatchObject({
      ...{ good: { host: 'target.broker.internal' }, goodAs: thumbprint(certificate) },
    });
  },
  30_000,
);

it('asks nobody whom it does not trust, and takes a certificate for no other key and no other name', async () => {
  const device = 'careful';
  const agents = await made(device);
  const other = await certificateFor('other', await requestOf({ device: 'other', key: newKey() }));
  const strange = await certificateFor(device, await requestOf({ device, key: newKey() }));
  const refused = await run(program, [agents], async (seen) => {
    const reasons = (): string[] => seen.flatMap((one) => (one.event === 'refused' ? [one.reason] : []));
    const told = async (text: string, as: 'claim' | 'redirect', count: number): Promise<void> => {
      if (as === 'claim') old.register(device, undefined, { claim: text });
      else old.register(device, text);
      await until(`it refuses ${count}`, () => reasons().length === count);
    };
    await until('it talks', () => seen.some(({ event }) => event === 'acknowledged'));
    await told(claim(device, 5, stranger.key), 'claim', 1);
    await told(claim('other', 5), 'claim', 2);
    // A redirect is no claim, whoever has signed it.
    await told(redirect(device, 5, target.endpoint), 'claim', 3);
    await told(claim(device, 5), 'redirect', 4);
    expect(requests(device)).toEqual([]);
    old.register(device, undefined, { claim: claim(device, 5) });
    await answer(device);
    await told(claim(device, 4), 'claim', 5);
    await told(redirect(device, 6, target.endpoint, other), 'redirect', 6);
    await told(redirect(device, 6, target.endpoint, strange), 'redirect', 7);
  });
  const reasons = refused.flatMap((one) => (one.event === 'refused' ? [one.reason] : []));
  expect(reasons).toEqual([
    'signature',
    'audience',
    'signature',
    'signature',
    'sequence',
    'certificate',
    'certificate',
  ]);
  expect(refused.filter(({ event }) => event === 'taken')).toEqual([]);
}, 30_000);
