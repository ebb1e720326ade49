/**
 * A fleet on its way, wave by wave: which devices a wave holds, what tells them where to go, and how it is judged whether they
 * have arrived. What the activities of `activities/devices/waves.ts` and `redirects.ts` are asked and answer.
 */
import { z } from 'zod';
import type { AskClaimsInput, AskedClaims, IssueCertificatesInput, IssuedCertificates } from './device-claim.ts';
import { DeviceEndpoint } from './device-endpoint.ts';
import { providerTypes } from './service.ts';
import { PlacementRef } from './transfer.ts';
import { Wave } from './wave-settings.ts';

/** Task queue of those who may tell devices where to go: they alone hold the key. */
export const senderQueue = 'multi-cloud.sender';

const Name = z.string().regex(/^[A-Za-z0-9_-]{1,64}$/, 'must match [A-Za-z0-9_-]{1,64}');
const Count = z.number().int().min(0);
const Prefixes = z.array(z.string().max(1024)).max(1000).default([]);
const Share = z.number().min(0).max(1);

/** The files of one move: they are kept in the records bucket of the target's place. */
const Files = z.strictObject({ keptAt: PlacementRef, name: Name });

/** One of each group that is awake: how that is known, and how long it is waited for. */
const Canary = z.strictObject({
  canary: z.strictObject({
    sightings: Name,
    from: z.string(),
    windowMs: Count,
    untilAt: z.iso.datetime(),
    everyMs: z.number().int().min(10),
  }),
});
export type Canary = z.infer<typeof Canary>;

export const PlanWaveInput = Files.extend({
  wave: Count,
  /** Those of the waves from this one on are not told again. */
  first: Count.default(0),
  /** Who goes of those that did not go before; `rest`: all of them. */
  who: z.union([Wave, z.literal('rest'), Canary]),
  /** Names of the censuses of both registries: who is enabled, and the same at both, can go. */
  source: Name,
  target: Name,
  to: z.enum(providerTypes),
  /** Where they are to connect, and until when their certificates have to be valid; left out: nobody is judged by that. */
  able: z.strictObject({ endpoint: DeviceEndpoint, untilAt: z.iso.datetime() }).optional(),
});
export type PlanWaveInput = z.input<typeof PlanWaveInput>;

export interface PlannedWave {
  devices: number;
  /** Files of at most `shardDevices` each. */
  shards: number;
  /** Devices of the fleet that can go at all, and those that cannot, by why. */
  able: number;
  cannot: Record<string, number>;
  /** Prefix of the files that name those, and why; '' for none. */
  cannotFiles?: string;
  /** Groups from which no canary goes, since nobody is awake. */
  silent?: string[];
}

export const SelectDevicesInput = z.strictObject({
  keptAt: PlacementRef,
  /** A census, and the one that it is compared with; without one all of it is new. */
  census: Name,
  before: Name.nullable(),
  /** Name of the census that is written: what is new. */
  into: Name,
  /** Leaves out what copies have made: who came in by itself. */
  born: z.literal(true).optional(),
  /** Also counts who needs another certificate for this cloud, valid so long, and may be able to claim it. */
  claims: z.strictObject({ to: z.enum(providerTypes), untilAt: z.iso.datetime() }).optional(),
});
export type SelectDevicesInput = z.infer<typeof SelectDevicesInput>;

export interface SelectedDevices {
  devices: number;
  shards: number;
  claims?: number;
}

export const SendRedirectsInput = Files.extend({
  wave: Count,
  shards: Count,
  /** Prefixes of files with devices that are left out. */
  without: Prefixes,
  /** Whose registry tells them: where they are; and whose forgets what it told them before: where they go. */
  on: PlacementRef,
  to: PlacementRef,
  estate: z.string(),
  endpoint: DeviceEndpoint,
  sequence: z.int().min(1),
  devicesPerSecond: z.number().gt(0).max(10_000),
  /** Whether those for whom a certificate was made get it. */
  certificates: z.boolean().default(false),
});
export type SendRedirectsInput = z.input<typeof SendRedirectsInput>;

export interface SentRedirects {
  told: number;
  /** Devices that are registered there no more. */
  gone: number;
  /** Devices whose state cannot take the text. */
  failed: number;
}

export const JudgeWaveInput = Files.extend({
  /** Waves that are judged together. */
  waves: z.array(z.strictObject({ wave: Count, shards: Count })),
  without: Prefixes,
  /** Names the files of what was seen of devices, as `followTelemetry` has it. */
  sightings: Name,
  /** Names of the providers that they come from, and go to. */
  from: z.string(),
  to: z.string(),
  /** `arrived`: a wave passes its gate. `left`: of those who were at `from`, each was seen at `to` since. */
  what: z.enum(['arrived', 'left']),
  toldAt: z.iso.datetime(),
  windowMs: Count,
  seen: Share.default(1),
  rate: Share.default(0),
  /** Connections of a device that may go wrong besides those that did before, on average; left out: any number. */
  errors: z.number().min(0).optional(),
  /** It waits no longer than this. */
  untilAt: z.iso.datetime(),
  /** Between two looks. */
  everyMs: z.number().int().min(10),
  /** Names the file of those that are missing. */
  report: Name,
});
export type JudgeWaveInput = z.input<typeof JudgeWaveInput>;

export interface JudgedWave {
  passed: boolean;
  devices: number;
  /** Seen where they came from in the window before they were told, or where they went since. */
  awake: number;
  arrived: number;
  /** Messages a device and minute: where they came from, before; where they went, since. */
  rateBefore: number;
  rateAfter: number;
  /** Connections that went wrong, as they say: since they were told, and in the window before. */
  errors?: number;
  errorsBefore?: number;
  /** Waiting longer would not help. */
  failed?: boolean;
  /** Prefix of the files that name those who have not arrived; '' for none. */
  missing: string;
  /** First of them. */
  first: string[];
}

/** On the queue of what follows. */
export interface WaveActivities {
  /** Writes down what is new in a census. */
  selectDevices(input: SelectDevicesInput): Promise<SelectedDevices>;
  /** Writes down who goes in a wave. */
  planWave(input: PlanWaveInput): Promise<PlannedWave>;
  /** Waits until a wave has arrived, or its time is over. */
  judgeWave(input: JudgeWaveInput): Promise<JudgedWave>;
}

/** On the queue of those who hold the key. */
export interface SenderActivities {
  /** Tells each device of a wave where to go, where it is. */
  sendRedirects(input: SendRedirectsInput): Promise<SentRedirects>;
  /** Asks those devices of a census for a certificate request that cannot go with what they have. */
  askClaims(input: AskClaimsInput): Promise<AskedClaims>;
  /** Makes certificates for those that have sent one. */
  issueCertificates(input: IssueCertificatesInput): Promise<IssuedCertificates>;
}
