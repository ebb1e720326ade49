/** Who needs another certificate, what a claim must be like, and for which requests a certificate is made. */
import 'reflect-metadata';
import { createPrivateKey, createPublicKey, generateKeyPairSync, webcrypto, X509Certificate } from 'node:crypto';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as x509 from '@peculiar/x509';
import { createIssuer } from '../../activities/devices/issuer.ts';
import { readClaims, Seen } from '../../activities/telemetry/sightings.ts';
import { newKey, requestOf } from '../../client/device-agent/claim.ts';
import { authority } from '../../emulators/certificates.ts';
import { canClaim, claimReason, signClaim, verifyClaim } from '../../model/device-claim.ts';
import { signRedirect, verifyRedirect } from '../../model/device-redirect.ts';
import type { Credential, Device } from '../../model/fleet.ts';
import type { ProviderType } from '../../model/service.ts';
import { fleetWarnings } from '../../workflows/fleet-text.ts';
import { current, next, stranger } from '../device-agent/keys.ts';
import { filesInMemory } from '../telemetry/memory-files.ts';

const folder = mkdtempSync(join(tmpdir(), 'claims-'));
const rules = { estate: 'acme', device: 'pump-1', pins: [current.pin, next.pin] as const };
const claim = { v: 1 as const, estate: 'acme', audience: { device: 'pump-1' }, sequence: 5 };

describe('a claim', () => {
  const verdict = (message: string, lastSequence = 4) => verifyClaim({ message, rules, lastSequence });
  it.each([
    ['by the key in use', signClaim({ claim, key: current.key }), { claim }],
    ['by the key that follows', signClaim({ claim, key: next.key }), { claim }],
    ['by a stranger', signClaim({ claim, key: stranger.key }), { refused: 'signature' }],
    ['of another estate', signClaim({ claim: { ...claim, estate: 'other' }, key: current.key }), { refused: 'estate' }],
    [
      'of another device',
      signClaim({ claim: { ...claim, audience: { device: 'pump-2' } }, key: current.key }),
      { refused: 'audience' },
    ],
    ['of before', signClaim({ claim: { ...claim, sequence: 4 }, key: current.key }), { refused: 'sequence' }],
    ['no text at all', 'claim', { refused: 'malformed' }],
  ])('%s', (_, message, expected) => {
    expect(verdict(message)).toEqual(expected);
  });

  it('is no redirect, nor the other way round', () => {
    const endpoint = { dialect: 'azure' as const, host: 'hub.azure-devices.net', port: 8883 };
    const redirect = signRedirect({ redirect: { ...claim, endpoint }, key: current.key });
    expect(verdict(redirect)).toEqual({ refused: 'signature' });
    const more = { ...rules, cohorts: [], suffixes: ['.azure-devices.net'], authorities: [] };
    const message = signClaim({ claim, key: current.key });
    expect(verifyRedirect({ message, rules: more, lastSequence: 4 })).toEqual({ refused: 'signature' });
  });
});

const print = (n: number): string => String(n).repeat(64);
const device = (credential: Credential, more: Partial<Device> = {}): Device => ({
  ...{ id: 'pump-1', status: 'enabled', credential, groups: [], attributes: {}, desired: {}, reported: {} },
  ...{ permissions: [], extras: [], lastSeen: '', copiedBy: '' },
  ...more,
});
const certificates = (...all: { thumbprint: string; der?: string }[]): Credential => ({
  type: 'certificates',
  certificates: all,
});
const whole = certificates({ thumbprint: print(1), der: 'late' });

it.each<[string, ProviderType, Device, string | undefined]>([
  ['a certificate that AWS can be given', 'aws', device(whole), undefined],
  ['a thumbprint alone', 'aws', device(certificates({ thumbprint: print(1) })), 'no-certificate'],
  ['a thumbprint alone, to Azure', 'azure', device(certificates({ thumbprint: print(1) })), undefined],
  ['a CA', 'aws', device({ type: 'authority' }), 'no-certificate'],
  ['SHA-1', 'gcp', device(certificates({ thumbprint: '1'.repeat(40) })), 'sha1'],
  ['a symmetric key', 'gcp', device({ type: 'key' }), 'key'],
  ['three of them', 'azure', device(certificates(...[1, 2, 3].map((n) => ({ thumbprint: print(n) })))), 'certificates'],
  ['nothing to connect with', 'gcp', device({ type: 'none' }), undefined],
  ['one that ends early', 'gcp', device(certificates({ thumbprint: print(1), der: 'soon' })), 'certificate-expires'],
  ['an ID that AWS does not take', 'aws', device({ type: 'authority' }, { id: 'pump.1' }), undefined],
  ['too many groups besides', 'aws', device({ type: 'key' }, { groups: Array(11).fill('g') }), undefined],
  ['disabled', 'aws', device({ type: 'authority' }, { status: 'disabled' }), undefined],
])('%s: whether another certificate mends it', (_, to, one, expected) => {
  expect(claimReason(one, { to, untilMs: 10, expiryOf: (der) => (der === 'soon' ? 5 : 15) })).toBe(expected);
});

it('asks who can, and who tells nothing of itself', () => {
  expect([{ agent: { can: ['claim'] } }, {}, { agent: 'odd' }].map((reported) => canClaim({ reported }))).toEqual([
    true,
    true,
    true,
  ]);
  expect(canClaim({ reported: { agent: { version: '1.0', can: [] } } })).toBe(false);
});

describe('the issuer', () => {
  const at = new Date('2026-11-28T12:00:00.500Z');
  const make = async (name: string) => {
    const { cert, key } = await authority(folder, name, name);
    return { cert, issuer: createIssuer({ certificate: cert, key }) };
  };
  const der = (base64: string): Buffer => Buffer.from(base64, 'base64');

  it('makes one certificate for one request, wherever it does, that its authority vouches for', async () => {
    const [{ cert, issuer }, again] = [await make('fleet'), await make('fleet')];
    const key = newKey();
    const csr = der(await requestOf({ device: 'pump-1', key }));
    const [one, same] = [
      await issuer.issue({ device: 'pump-1', csr, at }),
      await again.issuer.issue({ device: 'pump-1', csr, at }),
    ];
    expect(Buffer.isBuffer(one) && one.equals(same as Buffer)).toBe(true);
    const made = new X509Certificate(one as Buffer);
    expect(made.verify(new X509Certificate(cert).publicKey)).toBe(true);
    expect(made.checkIssued(new X509Certificate(cert))).toBe(true);
    expect(made.checkPrivateKey(createPrivateKey(key))).toBe(true);
    expect([made.subject, made.ca, made.keyUsage]).toEqual(['CN=pump-1', false, ['1.3.6.1.5.5.7.3.2']]);
    expect(made.validFromDate.toISOString()).toBe('2026-11-27T12:00:00.000Z');
    expect(made.validToDate.getTime()).toBeLessThanOrEqual(new X509Certificate(cert).validToDate.getTime());
    // Another request for the same key is the same wish; another key, another one.
    const repeated = await issuer.issue({ device: 'pump-1', csr: der(await requestOf({ device: 'pump-1', key })), at });
    expect((repeated as Buffer).equals(one as Buffer)).toBe(true);
    const other = der(await requestOf({ device: 'pump-1', key: newKey() }));
    const made2 = new X509Certificate((await issuer.issue({ device: 'pump-1', csr: other, at })) as Buffer);
    expect(made2.serialNumber).not.toBe(made.serialNumber);
  });

  it('makes none for what proves nothing', async () => {
    const { issuer } = await make('fleet');
    const issue = (csr: Uint8Array) => issuer.issue({ device: 'pump-1', csr, at });
    expect(await issue(Buffer.from('no request'))).toBe('no request');
    expect(await issue(der(await requestOf({ device: 'pump-2', key: newKey() })))).toBe('not for this device');
    const forged = der(await requestOf({ device: 'pump-1', key: newKey() }));
    const stolen = createPublicKey(createPrivateKey(newKey())).export({ type: 'spki', format: 'der' });
    const start = forged.indexOf(stolen.subarray(0, 26));
    stolen.copy(forged, start);
    expect(await issue(forged)).toBe('not signed by its key');
    const named = await request([{ CN: ['pump-1'] }, { CN: ['pump-2'] }], 'P-256');
    expect(await issue(named)).toBe('not for this device');
    expect(await issue(await request([{ CN: ['pump-1'] }], 'P-384'))).toBe('another kind of key');
  });

  it('starts with no key of somebody else, and no certificate that is no authority', async () => {
    const [one, other] = [await authority(folder, 'one', 'one'), await authority(folder, 'two', 'two')];
    expect(() => createIssuer({ certificate: one.cert, key: other.key })).toThrow(/not that of its certificate/);
    const { privateKey } = generateKeyPairSync('ed25519');
    const key = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    expect(() => createIssuer({ certificate: one.cert, key })).toThrow(/P-256/);
  });

  async function request(name: { CN: string[] }[], namedCurve: string): Promise<Buffer> {
    const algorithm = { name: 'ECDSA', namedCurve, hash: 'SHA-256' };
    const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
    const made = await x509.Pkcs10CertificateRequestGenerator.create({ name, signingAlgorithm: algorithm, keys });
    return Buffer.from(made.rawData);
  }
});

it('a pump notes the request that was asked for last, by the word of the cloud for who has sent it', async () => {
  const files = filesInMemory();
  const body = (sequence: number, csr: string) =>
    Buffer.from(JSON.stringify({ event: 'claim', sequence, csr, key: 'other/1/1' }));
  const seen = await Seen.open(files, 'old');
  seen.add({ device: 'a', at: 1, body: body(7, 'aaaa') });
  seen.add({ device: 'a', at: 2, body: body(3, 'bbbb') });
  seen.add({ device: 'b', at: 3, body: body(3, 'cccc') });
  seen.add({ device: 'c', at: 4, body: Buffer.from('{"event":"claim","sequence":3,"csr":"no base64!"}') });
  await seen.save(files);
  const again = await Seen.open(files, 'old');
  again.add({ device: 'b', at: 5, body: body(8, 'dddd') });
  await again.save(files);
  expect(Object.fromEntries([...(await readClaims(files, 'old'))].map(([id, { csr }]) => [id, csr]))).toEqual({
    a: 'aaaa',
    b: 'dddd',
  });
  expect((await readClaims(files, 'new')).size).toBe(0);
});

it('the plan tells first who needs another certificate, and of the others why they stay', () => {
  const census = {
    ...{
      devices: 9,
      disabled: 0,
      credentials: {},
      partly: {},
      shards: 1,
      files: '',
      refusedFiles: 'refused-',
      first: [],
    },
    ...{ refused: { 'no-certificate': 4, id: 1 }, unable: { 'certificate-expires': 1 } },
    claims: { 'no-certificate': 3, 'certificate-expires': 1 },
  };
  const [first, second, third, fourth, ...others] = fleetWarnings(census, 'azure', 'aws');
  expect(first).toMatch(/^3 of 9 devices need a new certificate \(no-certificate\)/);
  expect(second).toMatch(/^1 of 9 devices need a new certificate \(certificate-expires\)/);
  expect([third, fourth].map((text) => text?.slice(0, 48))).toEqual([
    '1 of 9 devices cannot go (no-certificate): AWS m',
    '1 of 9 devices cannot go (id): AWS takes letters',
  ]);
  expect(others.join()).not.toContain('certificate-expires');
});
