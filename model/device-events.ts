/**
 * What a device tells of itself among its messages, as the sample agent does and firmware should: the one word about refused
 * connects that all three clouds pass on. A cloud's own events tell of who was connected, and not of who was not let in.
 */
import { z } from 'zod';
import { refusals } from './device-redirect.ts';

const DeviceEvent = z.discriminatedUnion('event', [
  /** It was told to go somewhere, by whom it does not trust or where it may not go. */
  z.object({ event: z.literal('redirect-refused'), reason: z.enum(refusals) }),
  /** It has come back from where it was told to go. */
  z.object({ event: z.literal('returned') }),
  /** It is connected again, after so many connections that were refused or cut off. */
  z.object({ event: z.literal('reconnected'), failed: z.int().min(1) }),
  /** What it was asked for by a claim (`device-claim.ts`): a certificate request, base64 of DER. */
  z.object({ event: z.literal('claim'), sequence: z.int().min(1), csr: z.base64().max(700) }),
]);
type DeviceEvent = z.infer<typeof DeviceEvent>;

/** Longer than any of them. */
const mostBytes = 1024;
const text = new TextDecoder();

/** Undefined for any other message. */
export function deviceEvent(body: Uint8Array): DeviceEvent | undefined {
  if (body.length > mostBytes) return undefined;
  const found = text.decode(body);
  if (!found.includes('"event"')) return undefined;
  try {
    return DeviceEvent.safeParse(JSON.parse(found)).data;
  } catch {
    return undefined; // no JSON
  }
}

/** Of one device: more tell no more. */
export const mostTroubles = 20;

/** How often something went wrong with a connection, by what one message says. */
export function troublesOf(event: DeviceEvent): number {
  if (event.event === 'reconnected') return Math.min(event.failed, mostTroubles);
  return event.event === 'returned' ? 1 : 0;
}
