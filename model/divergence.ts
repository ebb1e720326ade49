/** Whether the sides of a replicated service have the same: what the activities that compare them are asked and answer. */
import { z } from 'zod';
import { conflictRuleNames, SideName } from './conflict.ts';
import { RegistryCalls } from './replication-wish.ts';
import { type Amount, type Difference, differences, PlacementRef } from './transfer.ts';
import { Transformations } from './transformation.ts';

const Sides = z.strictObject({
  sides: z.array(PlacementRef).min(2).max(16),
  /** Names the files of a comparison, in the records bucket of the first side's place. */
  name: z.string().regex(/^[A-Za-z0-9_-]{1,64}$/, 'must match [A-Za-z0-9_-]{1,64}'),
  rule: z.enum(conflictRuleNames),
  /** Whose changes stand against all others where the rule is `source-wins`. */
  source: SideName,
  /** The source's objects alone count: what only others have is `extra`. */
  oneWay: z.boolean().default(false),
  transformations: Transformations.default([]),
  callsPerSecond: RegistryCalls,
});

export const CompareSidesInput = Sides.extend({
  /** What differs is looked at again after so long, ms: it may be a change on its way. */
  settleMs: z.int().min(0).max(600_000),
});
export type CompareSidesInput = z.input<typeof CompareSidesInput>;

/** A line of the report: a key that is not the same everywhere. */
export const DifferingKey = z.strictObject({
  /** As the source names it. */
  key: z.string(),
  /** The side whose object counts by the rule, in which version; empty where none should be. */
  counts: SideName,
  version: z.string(),
  differs: z.array(
    z.strictObject({
      side: SideName,
      what: z.enum(differences),
      detail: z.string(),
      /** What stands there; empty where nothing does. */
      version: z.string(),
    }),
  ),
});
export type DifferingKey = z.infer<typeof DifferingKey>;

/** How one side differs from what counts, key by key. */
export interface ComparedSide {
  side: string;
  listed: Amount;
  different: Partial<Record<Difference, number>>;
  /** First names of what differs, at most 5. */
  differentNames: string[];
}

export interface ComparedSides {
  /** Keys that stand on one side at least. */
  objects: number;
  /** Of them, those that are the same on all sides. */
  same: number;
  /** Those that changed each time they were looked at: they are on their way. */
  changing: number;
  sides: ComparedSide[];
  bodiesRead: Amount;
  /** Key prefix of the report: JSON lines, one for each key that differs; '' where there are none. */
  report: string;
}

export const RepairSidesInput = Sides.extend({ report: z.string().min(1) });
export type RepairSidesInput = z.input<typeof RepairSidesInput>;

/** By side, what was done about it. */
export interface RepairedSides {
  sides: { side: string; copied: Amount; failed: number; failedNames: string[] }[];
  /** Objects that were logged before they were replaced, as losers of a conflict. */
  logged: number;
  /** Keys that had changed since they were compared: left to whoever carries them. */
  changed: number;
}

/** ID of the Schedule that compares the sides of a service. */
export const divergenceSchedule = (estate: string, service: string): string => `divergence/${estate}/${service}`;
