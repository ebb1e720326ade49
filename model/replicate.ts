/** Keeping the sides of a service in step: what its run is asked, and what its pumps are asked and answer. */
import { z } from 'zod';
import { HandedIncidents } from './alert.ts';
import { SideName } from './conflict.ts';
import { Duration } from './duration.ts';
import { Holder } from './record.ts';
import { RegistryCalls, Replication } from './replication-wish.ts';
import type { Edge } from './routes.ts';
import type { ServiceType } from './service.ts';
import { PlacementRef } from './transfer.ts';
import { Transformations } from './transformation.ts';

export const topologies = ['mesh', 'ring'] as const;

/** What of the estate file's wish a run may be asked otherwise. */
const Wish = Replication.pick({
  mode: true,
  source: true,
  conflict_resolution: true,
  latency_threshold_ms: true,
  max_deletes: true,
  partition: true,
  tombstones: true,
});
export type Wish = z.infer<typeof Wish>;

const Length = Duration.default('10m');

/** How far behind one direction is, and what it has done. */
export const DirectionLag = z.strictObject({
  from: SideName,
  to: SideName,
  /** Age of the oldest change that is known and not there yet. */
  seconds: z.number().min(0),
  /** Changes that are known and not there yet. */
  behind: z.int().min(0),
  /** At least so many: a pump that was given up tells no more than it had told. */
  applied: z.int().min(0),
  conflicts: z.int().min(0),
  /** Keys that cannot be there as they are; the file in the records bucket names them. */
  errors: z.int().min(0),
  /** ISO time; empty before the first. */
  lastAppliedAt: z.string(),
  held: z.boolean(),
});
export type DirectionLag = z.infer<typeof DirectionLag>;

/** A direction that the brake holds, and what it was that was too much. */
const Held = z.strictObject({
  direction: z.strictObject({ from: SideName, to: SideName }),
  /** Where what it holds was changed. */
  origin: SideName,
  does: z.enum(['delete', 'overwrite']),
  limit: z.int(),
});
export type Held = z.infer<typeof Held>;

/** Handed on from run to run. */
const Carried = z.strictObject({
  epoch: z.int().min(0),
  failures: z.int().min(0),
  /** Until when an answer has released the brake, by side; ms since 1970. */
  released: z.record(SideName, z.number()),
  held: z.array(Held),
  directions: z.array(DirectionLag),
  incidents: HandedIncidents.optional(),
});

/** What may be asked otherwise than the estate file wishes. */
const Asked = z.strictObject({
  mode: Wish.shape.mode.optional(),
  source: SideName.optional(),
  conflict_resolution: Wish.shape.conflict_resolution.unwrap().optional(),
  latency_threshold_ms: Wish.shape.latency_threshold_ms.unwrap().optional(),
  max_deletes: Wish.shape.max_deletes,
  callsPerSecond: RegistryCalls,
});
export type Asked = z.infer<typeof Asked>;

const Topology = z.enum(topologies);

/** Of a run that goes on: what is left out stays as it was asked, and what was never asked is as the file wishes by now. */
export const Reconfiguration = Asked.extend({ topology: Topology.optional(), by: z.string().max(200).default('') });
export type Reconfiguration = z.input<typeof Reconfiguration>;

/** What is in force from then on. */
export type Reconfigured = Replication & { topology: (typeof topologies)[number] };

/** Of the operation that has the service's lock. */
export const StandAside = z.strictObject({ holder: Holder });
export type StandAside = z.infer<typeof StandAside>;

export const ReplicateServiceInput = Asked.extend({
  v: z.literal(1).default(1),
  estate: z.string().optional(),
  service: z.string(),
  /** How three sides and more are connected: each with all others, or each with the next one. */
  topology: Topology.default('mesh'),
  /** How long one pump runs before the next one takes over. */
  pump: Length,
  /**
   * From the begin of one comparison of all sides to that of the next; between them the clouds tell of changes. Left out: `compareEvery`.
   */
  compare: Duration.optional(),
  /** Pumps of one history: far below what it may hold. */
  rotate: z.int().min(1).max(1000).default(300),
  by: z.string().max(200).default(''),
  carried: Carried.optional(),
});
export type ReplicateServiceInput = z.infer<typeof ReplicateServiceInput>;

/** Of registries nobody tells: what is changed there waits for the next comparison. */
export const compareEvery = (type: ServiceType): string => (type === 'iot_core' ? '10s' : '10m');

/** Each side's changes go to the next one in a ring, which is told by their names; else to all. */
export function edgesOf(
  sides: readonly string[],
  { mode, source, topology }: { mode: Wish['mode']; source: string; topology: (typeof topologies)[number] },
): Edge[] {
  const [names, next] = [[...sides].sort(), (at: number) => (at + 1) % sides.length];
  if (mode === 'active-passive') return names.filter((to) => to !== source).map((to) => ({ from: source, to }));
  if (topology === 'ring') return names.map((from, at) => ({ from, to: names[next(at)] ?? from }));
  return names.flatMap((from) => names.filter((to) => to !== from).map((to) => ({ from, to })));
}

export const directionName = ({ from, to }: Edge): string => `${from}>${to}`;

export const ReplicateSidesInput = z.strictObject({
  sides: z.array(PlacementRef).min(2).max(8),
  edges: z.array(z.strictObject({ from: SideName, to: SideName })).min(1),
  rule: Wish.shape.conflict_resolution.unwrap(),
  source: SideName,
  tombstoneMs: z.number().min(0),
  maxDeletes: z.int().min(1).optional(),
  /** Until when the brake of a side lets everything through, ms since 1970. */
  released: z.record(SideName, z.number()).default({}),
  /** Directions that the brake holds until somebody answers. */
  held: z.array(z.string()).default([]),
  /** Sides whose recent deletes are taken back: what others still have stands against them. */
  restore: z.array(SideName).default([]),
  /** Sides whose cloud tells of changes. */
  feeds: z.array(SideName).default([]),
  epoch: z.int().min(0),
  forMs: z.int().min(0),
  compareMs: z.int().min(10),
  reportMs: z.int().min(10).default(10_000),
  /** A side that no comparison has listed for longer than this is resynchronised first, ms. */
  partitionMs: z
    .number()
    .min(0)
    .default(24 * 3_600_000),
  transformations: Transformations.default([]),
  callsPerSecond: RegistryCalls,
});
export type ReplicateSidesInput = z.input<typeof ReplicateSidesInput>;

export const PumpReport = z.strictObject({
  epoch: z.int().min(0),
  directions: z.array(DirectionLag),
  /** When the last comparison of all sides began, ISO: what was written before is everywhere. Empty before the first has ended. */
  inStepAt: z.string(),
});
export type PumpReport = z.infer<typeof PumpReport>;

/** A side that was out of sight for too long: what of it is doubtful, and where that is named. */
export interface Resynchronised {
  /** Keys that were known there and are gone: they come back from the other sides. */
  missing: number;
  /** Keys that stand there and that no other side knows any more: they go to the other sides. */
  forgotten: number;
  /** Key prefix of JSON lines in the records bucket of the side's place. */
  report: string;
}

export interface PumpedSides extends PumpReport {
  held: Held[];
  /** Sides that could not be reached, and why. */
  away: Record<string, string>;
  /** Stamps that were held to this worker's clock: side and by how far its cloud's clock is ahead, ms. */
  clamped: Record<string, number>;
  /** Sides that are in step by comparisons alone, and why. */
  unheard: Record<string, string>;
  /** By side; absent in what earlier releases have answered. */
  resynchronised?: Record<string, Resynchronised>;
}

const bands = [1, 5, 30, 120, 600, 3600];
/** The lag as it is shown in lists: the upper end of its band, so that it is written when it matters. */
export const lagBand = (seconds: number): number => bands.find((band) => seconds <= band) ?? 86_400;

export const worstLag = (directions: readonly DirectionLag[]): number =>
  directions.reduce((worst, { seconds }) => Math.max(worst, seconds), 0);

/** What the query `lag` answers. */
export interface ReplicationLag {
  epoch: number;
  /** Pumps that failed. */
  failures: number;
  /** Why it does not go on, or what is missing; empty where all is well. */
  problem: string;
  inStepAt: string;
  directions: DirectionLag[];
}

/** What pumps have done in all: the counts add up, the rest is what the later one says. */
export const addedLag = (before: readonly DirectionLag[], now: readonly DirectionLag[]): DirectionLag[] => {
  const last = (one: DirectionLag) => before.find(({ from, to }) => from === one.from && to === one.to);
  const later = now.map((one) => ({
    ...one,
    applied: one.applied + (last(one)?.applied ?? 0),
    conflicts: one.conflicts + (last(one)?.conflicts ?? 0),
    lastAppliedAt: one.lastAppliedAt || (last(one)?.lastAppliedAt ?? ''),
  }));
  return [...before.filter((one) => !now.some(({ from, to }) => from === one.from && to === one.to)), ...later];
};
