/**
 * Whether a device can follow to a target at all, as far as it is known without trying: by its certificate, and by what it says of
 * itself in its reported state, as property `agent`. A device that says nothing is taken to be able; the canary tries.
 */
import { z } from 'zod';
import type { DeviceEndpoint } from './device-endpoint.ts';
import type { Device } from './fleet.ts';
import type { ProviderType } from './service.ts';

/** Built into the firmware: ways to speak MQTT, ends of hosts that it may go to, SHA-256 (hex) of the authorities that it trusts. */
export const Agent = z.object({
  dialects: z.array(z.string()).optional(),
  suffixes: z.array(z.string()).optional(),
  roots: z.array(z.string()).optional(),
  /** Of itself. */
  version: z.string().optional(),
  /** What it can that not every firmware can: `claim`. */
  can: z.array(z.string()).optional(),
});

export const inabilities = ['certificate-expires', 'topics', 'host', 'root'] as const;
export type Inability = (typeof inabilities)[number];

/**
 * One of these vouches for a cloud's broker; ours comes with its own certificate. AWS: Amazon Root CA 1 and 3
 * (https://docs.aws.amazon.com/iot/latest/developerguide/server-authentication.html). Azure: DigiCert Global Root G2, Microsoft RSA
 * Root Certificate Authority 2017 (https://learn.microsoft.com/azure/iot-hub/migrate-tls-certificate). 2026-11-28; digests as in Node.js's own list.
 */
export const brokerRoots: Record<ProviderType, readonly string[]> = {
  aws: [
    '8ecde6884f3d87b1125ba31ac3fcb13d7016de7f57cc904fe1cb97c6ae98196e',
    '18ce6cfe7bf14e60b2e347b8dfe868cb31d02ebb3ada271569f50343b46db3a4',
  ],
  azure: [
    'cb3ccbb76031e5e0138f8dd39a23f9de47ffc35e43c1144cea27d46a5ab1cb5f',
    'c741f70f4b2a8d88bf2e71c14122ef53ef10eba0cfa5e64cfa20f418853073e0',
  ],
  gcp: [],
};

/** For people. */
export const inabilityText: Record<Inability, string> = {
  'certificate-expires': 'its certificate ends before the soak does: give it another one first',
  topics: 'its firmware does not speak as that cloud does',
  host: 'its firmware goes to no host of that name',
  root: 'its firmware trusts no authority that vouches for that cloud',
};

/** Whether all certificates of a device that are known end before then. */
export function expiresEarly(
  { credential }: Pick<Device, 'credential'>,
  { untilMs, expiryOf }: { untilMs: number; expiryOf: (der: string) => number },
): boolean {
  const known = credential.type === 'certificates' ? credential.certificates.flatMap(({ der }) => der ?? []) : [];
  return known.length > 0 && known.every((der) => expiryOf(der) < untilMs);
}

/** `expiryOf`: when a certificate, base64 of DER, is valid no more, milliseconds. Without `host` it is not asked where it may go. */
export function inabilityOf(
  { credential, reported }: Pick<Device, 'credential' | 'reported'>,
  { dialect, host, authority }: Pick<DeviceEndpoint, 'dialect' | 'authority'> & { host?: string },
  { untilMs, expiryOf }: { untilMs: number; expiryOf: (der: string) => number },
): Inability | undefined {
  if (expiresEarly({ credential }, { untilMs, expiryOf })) return 'certificate-expires';
  const { dialects, suffixes, roots } = Agent.safeParse(reported.agent).data ?? {};
  if (dialects && !dialects.includes(dialect)) return 'topics';
  if (suffixes && host !== undefined && !suffixes.some((suffix) => suffix.startsWith('.') && host.endsWith(suffix)))
    return 'host';
  const wanted = authority && 'sha256' in authority ? [authority.sha256] : brokerRoots[dialect];
  if (roots && wanted.length > 0 && !wanted.some((root) => roots.includes(root))) return 'root';
  return undefined;
}
