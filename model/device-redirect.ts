/**
 * "Go there": the signed text (`signed-text.ts`) that sends a device to another cloud. A device takes it only from one of two keys
 * that it has pinned, for itself, once, and for hosts that it was built for. Nothing in it depends on the device's clock.
 */
import { z } from 'zod';
import { DeviceEndpoint } from './device-endpoint.ts';
import { DeviceId } from './registered-device.ts';
import { maxBytes, openText, signText } from './signed-text.ts';

export const Redirect = z.strictObject({
  v: z.literal(1),
  estate: z.string().regex(/^[a-z][a-z0-9-]{0,23}$/),
  /** Whom it is for: one device, or all that were given this cohort at the factory. */
  audience: z.union([z.strictObject({ device: DeviceId }), z.strictObject({ cohort: DeviceId })]),
  /** Higher than that of every redirect before it in this estate. */
  sequence: z.int().min(1),
  endpoint: DeviceEndpoint,
  /** What it is to prove itself with there, for a key that it has made (`device-claim.ts`): base64 of DER. */
  certificate: z.base64().max(2048).optional(),
});
export type Redirect = z.infer<typeof Redirect>;

/** Properties of the desired state under which it stands, and what asks for a certificate request (`device-claim.ts`). */
export const redirectProperty = 'redirect';
export const claimProperty = 'claim';

/** `key` is the private one, 32 bytes in base64. Throws where the text would be longer than every cloud takes. */
export function signRedirect({ redirect, key }: { redirect: Redirect; key: string }): string {
  const message = signText({ kind: 'redirect', value: Redirect.parse(redirect), key });
  if (message.length > maxBytes)
    throw new RangeError(
      `redirect: ${message.length} bytes, at most ${maxBytes} are allowed: name the authority by its sha256`,
    );
  return message;
}

/** `certificate`: it is for no key that the device has made. */
export const refusals = [
  'malformed',
  'signature',
  'estate',
  'audience',
  'sequence',
  'host',
  'authority',
  'certificate',
] as const;
export type Refusal = (typeof refusals)[number];

/** What a device knows of itself, and was built with. */
export interface RedirectRules {
  estate: string;
  device: string;
  cohorts: readonly string[];
  /** Public keys, 32 bytes in base64: the one in use, and the one that follows it. */
  pins: readonly [current: string, next: string];
  /** Ends of the hosts that it may go to, each with its dot: `.iot.eu-west-1.amazonaws.com`. */
  suffixes: readonly string[];
  /** SHA-256 (hex) of the authorities built into it. */
  authorities: readonly string[];
}

/**
 * The redirect, or why it is refused. `lastSequence` is that of the last redirect that the device has taken. Nothing that is not
 * signed is looked into.
 */
export function verifyRedirect({
  message,
  rules,
  lastSequence,
}: {
  message: string;
  rules: RedirectRules;
  lastSequence: number;
}): { redirect: Redirect } | { refused: Refusal } {
  const opened = openText({ kind: 'redirect', message, pins: rules.pins, schema: Redirect });
  if ('refused' in opened) return opened;
  const redirect = opened.value;
  const { estate, audience, sequence, endpoint } = redirect;
  if (estate !== rules.estate) return { refused: 'estate' };
  const meant = 'device' in audience ? audience.device === rules.device : rules.cohorts.includes(audience.cohort);
  if (!meant) return { refused: 'audience' };
  if (sequence <= lastSequence) return { refused: 'sequence' };
  if (!rules.suffixes.some((suffix) => suffix.startsWith('.') && endpoint.host.endsWith(suffix)))
    return { refused: 'host' };
  const { authority } = endpoint;
  if (authority && 'sha256' in authority && !rules.authorities.includes(authority.sha256))
    return { refused: 'authority' };
  return { redirect };
}
