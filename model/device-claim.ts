/**
 * "Make a key": the signed text that asks a device for a certificate request, where the cloud that it is to go to cannot take the
 * certificate that it has. The key is made on the device and stays there; the request comes back as one of its messages, so by the
 * old cloud's word it is that device's. The certificate travels with the redirect. What the activities are asked and answer.
 */
import { z } from 'zod';
import { Agent, expiresEarly } from './device-abilities.ts';
import type { RedirectRules, Refusal } from './device-redirect.ts';
import type { Credential, Device } from './fleet.ts';
import { type FleetRefusal, judgeDevice } from './fleet-mapping.ts';
import { DeviceId } from './registered-device.ts';
import { type ProviderType, providerTypes } from './service.ts';
import { openText, signText } from './signed-text.ts';
import { PlacementRef } from './transfer.ts';

const Claim = z.strictObject({
  v: z.literal(1),
  estate: z.string().regex(/^[a-z][a-z0-9-]{0,23}$/),
  audience: z.strictObject({ device: DeviceId }),
  /** Counts together with that of redirects. */
  sequence: z.int().min(1),
});
export type Claim = z.infer<typeof Claim>;

/** What firmware says that it can, as `can` of its reported property `agent`. */
export const claimAbility = 'claim';

export const signClaim = ({ claim, key }: { claim: Claim; key: string }): string =>
  signText({ kind: 'claim', value: Claim.parse(claim), key });

/** The claim, or why it is refused. `lastSequence` is that of the last text that the device has taken. */
export function verifyClaim({
  message,
  rules,
  lastSequence,
}: {
  message: string;
  rules: Pick<RedirectRules, 'estate' | 'device' | 'pins'>;
  lastSequence: number;
}): { claim: Claim } | { refused: Refusal } {
  const opened = openText({ kind: 'claim', message, pins: rules.pins, schema: Claim });
  if ('refused' in opened) return opened;
  const { value: claim } = opened;
  if (claim.estate !== rules.estate) return { refused: 'estate' };
  if (claim.audience.device !== rules.device) return { refused: 'audience' };
  return claim.sequence <= lastSequence ? { refused: 'sequence' } : { claim };
}

/** Why a cloud cannot hold a device that another certificate would mend. A device without any credential cannot be asked. */
const mended: readonly FleetRefusal[] = ['no-certificate', 'sha1', 'key', 'certificates'];

/** What a new certificate stands in for. */
export const claimReasons = ['no-certificate', 'sha1', 'key', 'certificates', 'certificate-expires'] as const;
export type ClaimReason = (typeof claimReasons)[number];

export interface Needs {
  to: ProviderType;
  /** Until when a certificate has to be valid, milliseconds. */
  untilMs: number;
  /** When one is valid no more, milliseconds. */
  expiryOf: (der: string) => number;
}

/** Why an enabled device needs a new certificate, and no more than that, to be on this cloud. */
export function claimReason(device: Device, { to, ...needs }: Needs): ClaimReason | undefined {
  if (device.status === 'disabled') return undefined;
  const { refusal } = judgeDevice(device, to);
  if (refusal === undefined) return expiresEarly(device, needs) ? 'certificate-expires' : undefined;
  const { refusal: other } = judgeDevice({ ...device, credential: claimedCredential(some) }, to);
  return mended.includes(refusal) && other === undefined ? (refusal as ClaimReason) : undefined;
}
/** As long as one gets. */
const some = { thumbprint: '0'.repeat(64), der: 'A'.repeat(1024) };

/** Firmware that tells what it can, and that not, needs an update first. Who tells nothing is asked. */
export function canClaim({ reported }: Pick<Device, 'reported'>): boolean {
  const { can } = Agent.safeParse(reported.agent).data ?? {};
  return can === undefined || can.includes(claimAbility);
}

/** A certificate that was made for a device. */
export const Issued = z.strictObject({
  id: z.string(),
  /** SHA-256 of the certificate, hex. */
  thumbprint: z.string().regex(/^[0-9a-f]{64}$/),
  der: z.base64(),
});
export type Issued = z.infer<typeof Issued>;

export const claimedCredential = ({ thumbprint, der }: Pick<Issued, 'thumbprint' | 'der'>): Credential => ({
  type: 'certificates',
  certificates: [{ thumbprint, der }],
});

/** A request as a pump has noted it. */
export const NotedClaim = z.strictObject({ device: z.string(), sequence: z.int().min(1), csr: z.base64().max(1024) });
export type NotedClaim = z.infer<typeof NotedClaim>;

/** Beside the sightings of a direction: the last request of each device. */
export const claimsFile = (provider: string): string => `${provider}-claims.jsonl`;

const Name = z.string().regex(/^[A-Za-z0-9_-]{1,64}$/, 'must match [A-Za-z0-9_-]{1,64}');
const Names = z.array(Name).max(1000);

const Claims = z.strictObject({
  keptAt: PlacementRef,
  /** Of the move; also names the files of its sightings. */
  name: Name,
  to: z.enum(providerTypes),
  untilAt: z.iso.datetime(),
});

export const AskClaimsInput = Claims.extend({
  /** Of these devices those that need a new certificate are asked. */
  census: Name,
  /** Where they are. */
  on: PlacementRef,
  estate: z.string(),
  sequence: z.int().min(1),
  devicesPerSecond: z.number().gt(0).max(10_000),
  /** Takes back what they were asked. */
  retract: z.boolean().default(false),
});
export type AskClaimsInput = z.input<typeof AskClaimsInput>;

export interface AskedClaims {
  asked: number;
  gone: number;
  failed: number;
  /** Nobody can make certificates: the sender holds no authority. */
  unable?: true;
}

export const IssueCertificatesInput = Claims.extend({
  /** Of whose devices those are taken that need a new certificate and have sent a request. */
  censuses: Names,
  /** Names what earlier ones have written in this run: their devices are done with. */
  before: Names,
  /** Name of the census that is written: these devices with their new certificates. */
  into: Name,
  /** The provider that they send from. */
  from: z.string(),
  /** From when on what is made is valid; the same in each repeat. */
  issuedAt: z.iso.datetime(),
  /** It waits until all have sent one, or until then. */
  waitUntil: z.iso.datetime(),
  everyMs: z.number().int().min(10),
});
export type IssueCertificatesInput = z.infer<typeof IssueCertificatesInput>;

export interface IssuedCertificates {
  devices: number;
  shards: number;
  /** Devices that were asked and have sent nothing yet. */
  open: number;
  /** Requests for which no certificate was made, by why. */
  refused: Record<string, number>;
}
