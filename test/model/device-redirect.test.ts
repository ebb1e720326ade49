/** What a redirect must be like for a device to follow it: whatever else comes is refused, with the reason. */
import { createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import fc from 'fast-check';
import { type DeviceEndpoint, deviceEndpoint, messageKey, parseMessageKey } from '../../model/device-endpoint.ts';
import { type Redirect, type RedirectRules, signRedirect, verifyRedirect } from '../../model/device-redirect.ts';

/** Keys that Node's own crypto has made. */
function keyPair(): { key: string; pin: string; node: KeyObject } {
  const { privateKey } = generateKeyPairSync('ed25519');
  const raw = (der: Buffer): string => der.subarray(-32).toString('base64');
  return {
    key: raw(privateKey.export({ format: 'der', type: 'pkcs8' })),
    pin: raw(createPublicKey(privateKey).export({ format: 'der', type: 'spki' })),
    node: privateKey,
  };
}
const [current, next, stranger] = [keyPair(), keyPair(), keyPair()];
const authority = 'ab'.repeat(32);
const rules: RedirectRules = {
  estate: 'acme',
  device: 'pump-1',
  cohorts: ['canaries'],
  pins: [current.pin, next.pin],
  suffixes: ['.iot.eu-west-1.amazonaws.com', '.azure-devices.net', '.broker.internal'],
  authorities: [authority],
};
const host = 'a1b2-ats.iot.eu-west-1.amazonaws.com';
const plain: Redirect = {
  v: 1,
  estate: 'acme',
  audience: { device: 'pump-1' },
  sequence: 5,
  endpoint: { dialect: 'aws', host, port: 8883, root: 'acme-0123abcd/iot_core' },
};
const { endpoint: _, ...withoutEndpoint } = plain;
const verdict = (message: string, lastSequence = 4) => verifyRedirect({ message, rules, lastSequence });
const signed = (change: object = {}, key = current.key): string =>
  signRedirect({ redirect: { ...plain, ...change }, key });
/** Signed by somebody who does not mind what he signs. */
function signedText(json: string): string {
  const head = `mc1.${Buffer.from(json).toString('base64url')}`;
  return `${head}.${sign(null, Buffer.from(`multi-cloud redirect ${head}`), current.node).toString('base64url')}`;
}
const at = (change: object): string =>
  signedText(JSON.stringify({ ...plain, endpoint: { ...plain.endpoint, ...change } }));

const endpoints: fc.Arbitrary<DeviceEndpoint> = fc.oneof(
  fc.record({
    dialect: fc.constant('aws' as const),
    host: fc.constant(host),
    port: fc.constantFrom(443, 8883),
    root: fc.constant('acme-0123abcd/iot_core'),
  }),
  fc.record({
    dialect: fc.constant('azure' as const),
    host: fc.constant('hub.azure-devices.net'),
    port: fc.constant(8883),
    authority: fc.constant({ sha256: authority }),
  }),
  fc.record({
    dialect: fc.constant('gcp' as const),
    host: fc.constant('core.broker.internal'),
    port: fc.constant(8883),
    address: fc.ipV4(),
    authority: fc.record({ pem: fc.string({ maxLength: 900 }) }),
  }),
);
const redirects: fc.Arbitrary<Redirect> = fc.record({
  v: fc.constant(1 as const),
  estate: fc.constant('acme'),
  audience: fc.constantFrom({ device: 'pump-1' }, { cohort: 'canaries' }),
  sequence: fc.integer({ min: 5, max: Number.MAX_SAFE_INTEGER }),
  endpoint: endpoints,
});

it('follows what the current or the next key has signed, exactly as it was meant', () => {
  fc.assert(
    fc.property(redirects, fc.constantFrom(current, next), (redirect, { key }) => {
      expect(verdict(signRedirect({ redirect, key }))).toEqual({ redirect });
    }),
  );
});

it('refuses it with any one bit changed, wherever that is', () => {
  const message = Buffer.from(signed());
  fc.assert(
    fc.property(fc.nat(message.length - 1), fc.nat(7), (byte, bit) => {
      const changed = Buffer.from(message);
      changed[byte] = (changed[byte] ?? 0) ^ (1 << bit);
      expect(verdict(changed.toString('latin1'))).toHaveProperty('refused');
    }),
    { numRuns: 300 },
  );
});

it('refuses whatever somebody makes up, without throwing', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.tuple(fc.string(), fc.string()).map(([a, b]) => `mc1.${a}.${b}`),
      ),
      (message) => {
        expect(verdict(message)).toHaveProperty('refused');
      },
    ),
  );
});

it('refuses the parts of two redirects put together', () => {
  const [head] = [signed({ sequence: 6 }).split('.').slice(0, 2).join('.')];
  expect(verdict(`${head}.${signed({ sequence: 7 }).split('.')[2]}`)).toEqual({ refused: 'signature' });
});

it.each([
  ['of a key that is not pinned', signed({}, stranger.key), 'signature'],
  ['for another device', signed({ audience: { device: 'pump-2' } }), 'audience'],
  ['for a device whose name begins the same', signed({ audience: { device: 'pump-11' } }), 'audience'],
  ['for another cohort', signed({ audience: { cohort: 'others' } }), 'audience'],
  ['for a cohort that has the name of the device', signed({ audience: { cohort: 'pump-1' } }), 'audience'],
  ['of another estate', signed({ estate: 'acme2' }), 'estate'],
  ['with the same sequence', signed({ sequence: 4 }), 'sequence'],
  ['with a lower sequence', signed({ sequence: 1 }), 'sequence'],
  [
    'to a server whose authority is not built in',
    signed({ endpoint: { ...plain.endpoint, authority: { sha256: 'cd'.repeat(32) } } }),
    'authority',
  ],
  ['with a field more', signedText(JSON.stringify({ ...plain, expires: 0 })), 'malformed'],
  ['with a sequence that is no number', signedText(JSON.stringify({ ...plain, sequence: '9' })), 'malformed'],
  [
    'with a sequence beyond what is counted exactly',
    signedText(JSON.stringify({ ...plain, sequence: 2 ** 53 })),
    'malformed',
  ],
  [
    'for two audiences',
    signedText(JSON.stringify({ ...plain, audience: { device: 'pump-1', cohort: 'x' } })),
    'malformed',
  ],
  [
    'in another order of its fields',
    signedText(JSON.stringify({ endpoint: plain.endpoint, ...withoutEndpoint })),
    'malformed',
  ],
  ['to an address of its own choice for a host of a public cloud', at({ address: '198.51.100.7' }), 'malformed'],
  ['that brings an authority for a host of a public cloud', at({ authority: { pem: 'PEM' } }), 'malformed'],
  [
    'that takes a host of a public cloud for one of our brokers',
    signedText(JSON.stringify({ ...plain, endpoint: { dialect: 'gcp', host, port: 8883, address: '198.51.100.7' } })),
    'malformed',
  ],
  ['with spaces', signedText(JSON.stringify(plain, undefined, 1)), 'malformed'],
  ['that is no JSON', signedText('{'), 'malformed'],
  ['longer than a cloud keeps', signedText(JSON.stringify({ ...plain, pad: 'x'.repeat(4000) })), 'malformed'],
])('refuses one %s', (_, message, refused) => {
  expect(verdict(message)).toEqual({ refused });
});

it.each([
  ['host', 'a.iot.eu-west-1.evil-amazonaws.com'],
  ['host', 'iot.eu-west-1.amazonaws.com'],
  ['host', 'x-iot.eu-west-1.amazonaws.com'],
  ['host', 'a.iot.eu-west-1.amazonaws.com.evil.com'],
  ['host', 'a.iot.us-east-1.amazonaws.com'],
  ['malformed', `${host}.`],
  ['malformed', `evil.com/${host}`],
  ['malformed', `evil.com#.${host}`],
  ['malformed', `evil.com@${host}`],
  ['malformed', `evil.com:1883\\@${host}`],
  ['malformed', host.toUpperCase()],
  ['malformed', host.replace('amazonaws', 'amazonаws')],
  ['malformed', 'xn--80ak6aa92e.iot.eu-west-1.amazonaws.com'],
  ['malformed', `a..iot.eu-west-1.amazonaws.com`],
  ['malformed', `.iot.eu-west-1.amazonaws.com`],
  ['malformed', `-a.iot.eu-west-1.amazonaws.com`],
  ['malformed', `a\n.iot.eu-west-1.amazonaws.com`],
  ['malformed', `${host}\n`],
  ['malformed', '127.0.0.1'],
  ['malformed', ''],
])('refuses, as %s, the host %j, whoever has signed it', (refused, hostile) => {
  expect(verdict(at({ host: hostile }))).toEqual({ refused });
});

it('goes nowhere by a suffix without its dot', () => {
  const loose = { ...rules, suffixes: ['amazonaws.com'] };
  expect(verifyRedirect({ message: signed(), rules: loose, lastSequence: 4 })).toEqual({ refused: 'host' });
});

it('refuses to sign what would be too long for IoT Hub, and names the way out', () => {
  const authority = { pem: 'x'.repeat(3000) };
  const endpoint = { dialect: 'gcp' as const, host: 'core.broker.internal', port: 8883, authority };
  expect(() => signed({ endpoint })).toThrow(/at most 4096.*sha256/);
});

it('is independent of the clock', () => {
  jest.useFakeTimers({ now: 0 });
  try {
    expect(verdict(signed())).toEqual({ redirect: plain });
  } finally {
    jest.useRealTimers();
  }
});

describe('where the devices of a placement go', () => {
  const where = (providerType: 'aws' | 'azure' | 'gcp', outputs: Record<string, Record<string, string>>) =>
    deviceEndpoint({
      placement: { providerType, resources: Object.entries(outputs).map(([key, value]) => ({ key, outputs: value })) },
      estate: 'acme',
      uid: '0123abcd'.repeat(4),
      service: 'iot_core',
    });

  it('is found in what the placement recorded', () => {
    expect(where('aws', { group: { group: 'g', endpoint: host } })).toEqual(plain.endpoint);
    expect(where('azure', { hub: { host: 'hub.azure-devices.net' } })).toEqual({
      dialect: 'azure',
      host: 'hub.azure-devices.net',
      port: 8883,
    });
    const gcp = {
      'server-key-pair': { certificate: 'PEM', serverName: 'core.broker.internal' },
      'forwarding-rule': { address: '198.51.100.7' },
    };
    expect(where('gcp', gcp)).toEqual({
      dialect: 'gcp',
      host: 'core.broker.internal',
      port: 8883,
      address: '198.51.100.7',
      authority: { pem: 'PEM' },
    });
  });

  it('is nowhere while the placement is not there', () => {
    for (const type of ['aws', 'azure', 'gcp'] as const) expect(where(type, {})).toBeUndefined();
  });
});

it('reads back the key of a message, and takes nothing else for one', () => {
  const keys = fc.record({
    device: fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._:-]{0,20}$/),
    boot: fc.integer({ min: 1 }),
    sequence: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
  });
  fc.assert(fc.property(keys, (key) => expect(parseMessageKey(messageKey(key))).toEqual(key)));
  for (const text of ['', 'a', 'a/1', 'a/1/0', 'a/0/1', 'a/01/1', 'a/1/1/1', 'a/b/1/1', 'a/1/1e3', ' a/1/1', 'a/-1/1'])
    expect(parseMessageKey(text)).toBeUndefined();
});
