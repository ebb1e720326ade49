/** Looking at what has lost conflicts, and giving it back: what the workflows and the activities behind the command are asked. */
import { z } from 'zod';
import { SideName } from './conflict.ts';
import { conflictsPrefix, isConflictLine } from './conflict-log.ts';
import type { OperationResult } from './operations.ts';
import { Place } from './record.ts';
import { PlacementRef } from './transfer.ts';

/** Conflicts in one page: what passes through a history at once. */
export const conflictsPerPage = 100;

/** What a conflict is named by: the day and the name of its line in the log. */
export const ConflictId = z
  .string()
  .max(200)
  .regex(
    /^\d{4}-\d\d-\d\d\/\d+-[a-z][a-z0-9_-]*-[0-9a-f]{16}-[0-9a-f]{8}$/,
    'must be an ID that `conflicts` has shown',
  );

const lineEnd = '.json';
export const conflictId = (service: string, line: string): string =>
  line.slice(conflictsPrefix(service).length, -lineEnd.length);
export const lineOf = (service: string, id: string): string => `${conflictsPrefix(service)}${id}${lineEnd}`;
export const isId = (service: string, line: string): boolean =>
  isConflictLine(line) && ConflictId.safeParse(conflictId(service, line)).success;

/** A change as people see it. */
const Made = z.strictObject({ /** ISO time. */ at: z.string(), on: SideName });

export const Conflict = z.strictObject({
  id: ConflictId,
  key: z.string(),
  /** Where it stood and was replaced; its bytes are in the records buckets of these places. */
  sides: z.array(SideName),
  lost: Made,
  winner: Made,
  /** When it was logged, ISO. */
  loggedAt: z.string(),
  size: z.number(),
});
export type Conflict = z.infer<typeof Conflict>;

const Name = z.string().regex(/^[a-z][a-z0-9_-]{0,30}$/, 'must match [a-z][a-z0-9_-]{0,30}');
const Estate = z
  .string()
  .regex(/^[a-z][a-z0-9-]{0,23}$/, 'must match [a-z][a-z0-9-]{0,23}')
  .optional();

export const CheckConflictsInput = z.strictObject({
  v: z.literal(1).default(1),
  estate: Estate,
  service: Name,
  /** Only what was changed after this; default: a week ago. */
  since: z.iso.datetime({ offset: true }).optional(),
  /** The next page: the last ID of the one before. */
  after: ConflictId.optional(),
});
export type CheckConflictsInput = z.input<typeof CheckConflictsInput>;

export interface ConflictPage {
  service: string;
  conflicts: Conflict[];
  /** What the next page comes after; absent on the last one. */
  next?: string | undefined;
  /** Records buckets that could not be read, and why. */
  problems: { bucket: string; problem: string }[];
}

export const RestoreConflictInput = z.strictObject({
  v: z.literal(1).default(1),
  estate: Estate,
  service: Name,
  id: ConflictId,
  /** The side that it is written on; default: the one that it was lost on. */
  to: Name.optional(),
  /** Another key than its own. */
  as: z.string().min(1).max(1024).optional(),
  by: z.string().max(200).default(''),
});
export type RestoreConflictInput = z.input<typeof RestoreConflictInput>;

export interface RestoredConflict {
  side: string;
  key: string;
  size: number;
  /** ID of what stood there, which was logged before; absent where nothing did. */
  replaced?: string | undefined;
}

/** `restored` is absent only where the run had nothing to say. */
export type RestoreResult = OperationResult & { restored?: RestoredConflict | undefined };

const Owner = PlacementRef.shape.owner;

/** Of the activities. */
export const ReadConflictsInput = z.strictObject({
  owner: Owner,
  place: Place,
  /** ms since 1970. */
  since: z.number().min(0),
  until: z.number().min(0),
  after: ConflictId.optional(),
});
export type ReadConflictsInput = z.input<typeof ReadConflictsInput>;

export const WriteConflictBackInput = z.strictObject({
  id: ConflictId,
  /** Places whose records buckets may have it. */
  places: z.array(Place).min(1),
  sides: z.array(PlacementRef).min(1),
  to: SideName.optional(),
  as: z.string().min(1).max(1024).optional(),
});
export type WriteConflictBackInput = z.input<typeof WriteConflictBackInput>;
