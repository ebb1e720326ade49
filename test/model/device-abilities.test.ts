/** Who cannot follow to a target, by what is known without trying. */
import { brokerRoots, inabilityOf } from '../../model/device-abilities.ts';
import type { DeviceEndpoint } from '../../model/device-endpoint.ts';
import type { Device } from '../../model/fleet.ts';

const aws: DeviceEndpoint = {
  ...{ dialect: 'aws', host: 'a1b2-ats.iot.us-west-2.amazonaws.com', port: 8883, root: 'fleets-00000000/core' },
};
const gcp: DeviceEndpoint = { dialect: 'gcp', host: 'core.broker.internal', port: 8883, authority: { pem: 'PEM' } };
const day = 86_400_000;
const expiries: Record<string, number> = { soon: day, later: 90 * day };
const rules = { untilMs: 7 * day, expiryOf: (der: string) => expiries[der] ?? 0 };
const device = (agent: unknown, ders: (string | undefined)[] = ['later']): Pick<Device, 'credential' | 'reported'> => ({
  reported: agent === undefined ? {} : { agent: agent as Device['reported'] },
  credential: {
    type: 'certificates',
    certificates: ders.map((der) => ({ thumbprint: '0'.repeat(64), ...(der !== undefined && { der }) })),
  },
});

it.each([
  ['says nothing', device(undefined), aws, undefined],
  ['says something else', device({ roots: 'many' }), aws, undefined],
  ['knows its root', device({ roots: [brokerRoots.aws[0]] }), aws, undefined],
  ['knows no root of it', device({ roots: [brokerRoots.azure[0]] }), aws, 'root'],
  ['is told the authority', device({ roots: [] }), gcp, undefined],
  ['knows the one that is named', device({ roots: ['a'] }), { ...aws, authority: { sha256: 'a' } }, undefined],
  ['does not know the one that is named', device({ roots: ['b'] }), { ...aws, authority: { sha256: 'a' } }, 'root'],
  ['has its topics', device({ dialects: ['aws', 'azure'] }), aws, undefined],
  ['has other topics', device({ dialects: ['azure'] }), aws, 'topics'],
  ['may go there', device({ suffixes: ['.amazonaws.com'] }), aws, undefined],
  ['may not go there', device({ suffixes: ['.azure-devices.net', 'amazonaws.com'] }), aws, 'host'],
  ['has a certificate that ends too soon', device(undefined, ['soon']), aws, 'certificate-expires'],
  ['has another one besides', device(undefined, ['soon', 'later']), aws, undefined],
  ['has one of which only the thumbprint is known', device(undefined, [undefined]), aws, undefined],
] as const)('a device that %s', (_, one, endpoint, expected) => {
  expect(inabilityOf(one, endpoint, rules)).toBe(expected);
});
