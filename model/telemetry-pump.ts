/** Following a telemetry stream: what the pumps of `activities/telemetry` are asked and answer, and what they have seen of devices. */
import { z } from 'zod';
import { mostTroubles } from './device-events.ts';
import { refusals } from './device-redirect.ts';
import type { Placement } from './service.ts';
import { PlacementRef } from './transfer.ts';

const Count = z.number().int().min(0);

export const FollowTelemetryInput = z.strictObject({
  /** Whose stream is read, by a follower of its own (`ensureTelemetryFollower`): other readers miss nothing. */
  from: PlacementRef,
  /** Into whose stream each message is written; null: it is only looked at. */
  to: PlacementRef.nullable(),
  /** Sightings and positions are kept in the records bucket of this one's place. */
  keptAt: PlacementRef,
  /** Names the files: the same in all pumps of one run, in both directions. */
  name: z.string().regex(/^[A-Za-z0-9_-]{1,64}$/, 'must match [A-Za-z0-9_-]{1,64}'),
  /** Rises whenever somebody else may still be pumping: who sees a higher one, or a later pump of the same one, stops. */
  epoch: Count,
  /** Counts the pumps of an epoch; each goes on where the one before it has left off. */
  pump: Count,
  /** After so long it returns, so that the history of who follows stays short; milliseconds. */
  forMs: Count,
  /**
   * Where reading begins while nothing is remembered. AWS and Google Cloud know nothing of what came before the follower was made,
   * so it should be made before that.
   */
  since: z.iso.datetime(),
  /** After so long it returns as well, where a device has refused to go where it was told. */
  alarmAfterMs: Count.optional(),
});
export type FollowTelemetryInput = z.input<typeof FollowTelemetryInput>;

export interface FollowedTelemetry {
  /** Messages that this pump has written at `to`, repeats included. */
  forwarded: number;
  /** All that were ever seen under this name, in this direction. */
  messages: number;
  /** Devices that were ever seen. */
  devices: number;
  /** When the last one reached its cloud, ISO; '' while there was none. */
  newestAt: string;
  /** How long the last ones took from their cloud to the other stream, or to us where there is none; the longest of the last minute or two. */
  lagMs: number;
  /** First of the devices that have refused a redirect, of which no pump before it has told. */
  refused?: RefusedRedirect[];
}

const RefusedRedirect = z.strictObject({ device: z.string(), reason: z.enum(refusals) });
export type RefusedRedirect = z.infer<typeof RefusedRedirect>;

/**
 * Bears the device of a message that a pump has written, where devices themselves can write nothing: an attribute of the message
 * in SQS and Pub/Sub, a property in Event Hubs. Who has it is not forwarded again.
 */
export const forwardMark = 'forwardedDevice';
/** Beside it in SQS, which takes text alone: `base64` where the message is none. */
export const forwardEncoding = 'forwardedEncoding';

/** What a pump has seen of one device; after a crash some messages are counted again. */
export const Sighting = z.strictObject({
  device: z.string(),
  /** When its last message reached the cloud, ISO. */
  at: z.iso.datetime(),
  messages: Count,
  /** When it told of connections that went wrong, milliseconds; the last ones. */
  troubles: z.array(Count).max(mostTroubles).optional(),
});
export type Sighting = z.infer<typeof Sighting>;

/** First line of a file of sightings. */
export const SightingsHead = z.strictObject({
  provider: z.string(),
  /** What the counts below it cover; ISO. */
  since: z.iso.datetime(),
  until: z.iso.datetime(),
  messages: Count,
  /** Redirects that were refused and that no pump has told of yet. */
  refused: z.array(RefusedRedirect).optional(),
});
export type SightingsHead = z.infer<typeof SightingsHead>;

export interface Sightings {
  head: SightingsHead;
  devices: Map<string, Omit<Sighting, 'device'>>;
}

/** Name of the file that tells whom the stream of the placement of this provider has shown. */
export const sightingsFile = (provider: string): string => `${provider}.jsonl.gz`;

/** Beside it: whose turn it is, and where the stream was left off. */
export const positionFile = (provider: string): string => `${provider}-position.json`;

/** More devices than these are counted and not named. */
export const mostSightings = 1_000_000;

/** Messages per device and minute, between two looks at the same file or since it was begun. */
export function messageRate(now: Sightings, before?: Sightings): number {
  const since = before?.head.until ?? now.head.since;
  const minutes = (Date.parse(now.head.until) - Date.parse(since)) / 60_000;
  const messages = now.head.messages - (before?.head.messages ?? 0);
  return minutes > 0 && now.devices.size > 0 ? messages / minutes / now.devices.size : 0;
}

/** On the queue of what follows. */
export interface TelemetryActivities {
  /**
   * Reads the stream of `from`, writes each message that came from a device there at `to`, and notes whom it has seen, every few
   * seconds and at the end. At least once: a message is done with once it was written. Returns after `forMs`, within two
   * seconds where it is cancelled. `PreconditionFailed` where another pump has taken over.
   */
  followTelemetry(input: FollowTelemetryInput): Promise<FollowedTelemetry>;
}

/** On the queues of the provider of an `iot_core` placement. */
export interface TelemetryFollowerActivities {
  /** Makes or repairs what a pump reads the placement's stream by, and writes to it with. Both ends of a pump need one. */
  ensureTelemetryFollower(input: { placement: Placement }): Promise<{ outcome: 'created' | 'updated' | 'unchanged' }>;
  /** Removes it, with what was not read of it. */
  removeTelemetryFollower(input: { placement: Placement }): Promise<'removed' | 'gone' | 'retained'>;
}
