/** Who may call the hub's service API: a shared access policy by signature, or an Entra identity by role assignment. */
import type { EntraTokens } from '../event-hubs/entities.ts';
import { covers, parseSignature } from '../event-hubs/sas.ts';
import { failures, HubError } from './answers.ts';
import type { IotHub, PolicyRight } from './entities.ts';

/** Audience of the tokens; the role "IoT Hub Data Contributor" carries all of the data actions. */
const audience = 'https://iothubs.azure.net';

export interface Need {
  /** Any of these policy rights will do. */
  policy: readonly PolicyRight[];
  /** Below `Microsoft.Devices/`. */
  action: string;
}

export const needs = {
  readDevices: { policy: ['RegistryRead', 'RegistryWrite'], action: 'IotHubs/devices/read' },
  writeDevices: { policy: ['RegistryWrite'], action: 'IotHubs/devices/write' },
  deleteDevices: { policy: ['RegistryWrite'], action: 'IotHubs/devices/delete' },
  readTwins: { policy: ['ServiceConnect'], action: 'IotHubs/twins/read' },
  writeTwins: { policy: ['ServiceConnect'], action: 'IotHubs/twins/write' },
  query: { policy: ['RegistryRead', 'RegistryWrite', 'ServiceConnect'], action: 'IotHubs/twins/read' },
  methods: { policy: ['ServiceConnect'], action: 'IotHubs/directMethods/invoke/action' },
} as const satisfies Record<string, Need>;

/** Throws unless the Authorization header allows it. */
export function authorize(hub: IotHub, header: string | undefined, need: Need, entra: EntraTokens): void {
  const [, bearer] = /^Bearer (.+)$/i.exec(header ?? '') ?? [];
  const why = bearer ? tokenRefusal(hub, bearer, need, entra) : signatureRefusal(hub, header ?? '', need);
  if (why) throw new HubError(failures.unauthorized, `Unauthorized: ${why}`);
}

function tokenRefusal(hub: IotHub, token: string, need: Need, entra: EntraTokens): string | undefined {
  const known = entra(token, audience);
  if (!known || known.expiresMs <= Date.now()) return 'the token is not valid';
  return hub.allows(known.principal, need.action) ? undefined : `the principal lacks the data action ${need.action}`;
}

function signatureRefusal(hub: IotHub, header: string, need: Need): string | undefined {
  const signature = parseSignature(header);
  if (!signature) return 'no authorization';
  if (!hub.localAuth) return 'shared access policies are disabled on this hub';
  if (signature.expiresMs <= Date.now()) return 'the signature has expired';
  const policy = hub.policies.find(({ name }) => name === signature.policy);
  const valid =
    policy && covers(signature.resource, hub.host) && signature.signedBy([policy.primary, policy.secondary], 'base64');
  if (!valid) return 'the signature is not valid';
  return need.policy.some((right) => policy.rights.includes(right))
    ? undefined
    : `the policy ${policy.name} lacks ${need.policy.join(' or ')}`;
}
