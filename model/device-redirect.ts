/**
 * "Go there": the message that sends a device to another cloud. Whoever can write one owns the fleet, so a cloud is only its
 * postman: it is signed by a key that one role of the workers holds, and a device takes it only from one of two keys that it
 * has pinned, for itself, once, and for hosts that it was built for. Nothing in it depends on the device's clock.
 *
 *     mc1.<base64url of the JSON>.<base64url of the signature over `multi-cloud redirect mc1.<base64url of the JSON>`>
 *
 * The JSON is that of `JSON.stringify` over the fields in the order of `Redirect`: one redirect has one text.
 */
import { ed25519 } from '@noble/curves/ed25519.js';
import { base64, base64urlnopad } from '@scure/base';
import { z } from 'zod';
import { DeviceEndpoint } from './device-endpoint.ts';
import { DeviceId } from './registered-device.ts';
import { isSignature } from './signature.ts';

export const Redirect = z.strictObject({
  v: z.literal(1),
  estate: z.string().regex(/^[a-z][a-z0-9-]{0,23}$/),
  /** Whom it is for: one device, or all that were given this cohort at the factory. */
  audience: z.union([z.strictObject({ device: DeviceId }), z.strictObject({ cohort: DeviceId })]),
  /** Higher than that of every redirect before it in this estate. */
  sequence: z.int().min(1),
  endpoint: DeviceEndpoint,
});
export type Redirect = z.infer<typeof Redirect>;

/** Property of the desired state under which it stands. */
export const redirectProperty = 'redirect';

/** IoT Hub keeps no longer text as one value (https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-device-twins, 2026-11-24). */
const maxBytes = 4096;
const mark = 'mc1';

const signedBytes = (head: string): Uint8Array => new TextEncoder().encode(`multi-cloud redirect ${head}`);

/** `key` is the private one, 32 bytes in base64. Throws where the text would be longer than every cloud takes. */
export function signRedirect({ redirect, key }: { redirect: Redirect; key: string }): string {
  const head = `${mark}.${base64urlnopad.encode(new TextEncoder().encode(JSON.stringify(Redirect.parse(redirect))))}`;
  const message = `${head}.${base64urlnopad.encode(ed25519.sign(signedBytes(head), base64.decode(key)))}`;
  if (message.length > maxBytes)
    throw new RangeError(
      `redirect: ${message.length} bytes, at most ${maxBytes} are allowed: name the authority by its sha256`,
    );
  return message;
}

export const refusals = ['malformed', 'signature', 'estate', 'audience', 'sequence', 'host', 'authority'] as const;
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
  const parts = message.split('.');
  const [version, payload = '', signature = ''] = parts;
  if (message.length > maxBytes || parts.length !== 3 || version !== mark) return { refused: 'malformed' };
  const head = `${version}.${payload}`;
  const signed = rules.pins.some((key) =>
    isSignature({ signature: () => base64urlnopad.decode(signature), key, bytes: signedBytes(head) }),
  );
  if (!signed) return { refused: 'signature' };
  const redirect = decode(payload);
  if (!redirect) return { refused: 'malformed' };
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

function decode(payload: string): Redirect | undefined {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(base64urlnopad.decode(payload));
    const redirect = Redirect.safeParse(JSON.parse(text)).data;
    return redirect && JSON.stringify(redirect) === text ? redirect : undefined;
  } catch {
    return undefined; // no base64, no UTF-8, no JSON
  }
}
