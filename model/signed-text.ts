/**
 * The texts that devices obey. Whoever can write one owns the fleet, so a cloud is only their postman: they are signed by a key that
 * one role of the workers holds, over what they are for, so that none can pass for one of another kind.
 *
 *     mc1.<base64url of the JSON>.<base64url of the signature over `multi-cloud <kind> mc1.<base64url of the JSON>`>
 *
 * The JSON is that of `JSON.stringify` over the fields in the order of their schema: one message has one text.
 */
import { ed25519 } from '@noble/curves/ed25519.js';
import { base64, base64urlnopad } from '@scure/base';
import type { z } from 'zod';
import { isSignature } from './signature.ts';

/** IoT Hub keeps no longer text as one value (https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-device-twins, 2026-11-24). */
export const maxBytes = 4096;
const mark = 'mc1';

export type TextKind = 'redirect' | 'claim';

const signedBytes = (kind: TextKind, head: string): Uint8Array =>
  new TextEncoder().encode(`multi-cloud ${kind} ${head}`);

/** `key` is the private one, 32 bytes in base64. */
export function signText({ kind, value, key }: { kind: TextKind; value: unknown; key: string }): string {
  const head = `${mark}.${base64urlnopad.encode(new TextEncoder().encode(JSON.stringify(value)))}`;
  return `${head}.${base64urlnopad.encode(ed25519.sign(signedBytes(kind, head), base64.decode(key)))}`;
}

/** What the text says, or why it is not looked into: nothing that is not signed is. */
export function openText<S extends z.ZodType>({
  kind,
  message,
  pins,
  schema,
}: {
  kind: TextKind;
  message: string;
  pins: readonly string[];
  schema: S;
}): { value: z.output<S> } | { refused: 'malformed' | 'signature' } {
  const parts = message.split('.');
  const [version, payload = '', signature = ''] = parts;
  if (message.length > maxBytes || parts.length !== 3 || version !== mark) return { refused: 'malformed' };
  const bytes = signedBytes(kind, `${version}.${payload}`);
  const signed = pins.some((key) => isSignature({ signature: () => base64urlnopad.decode(signature), key, bytes }));
  if (!signed) return { refused: 'signature' };
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(base64urlnopad.decode(payload));
    const { data } = schema.safeParse(JSON.parse(text));
    if (data !== undefined && JSON.stringify(data) === text) return { value: data };
  } catch {} // no base64, no UTF-8, no JSON
  return { refused: 'malformed' };
}
