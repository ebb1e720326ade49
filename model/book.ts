/**
 * A side's book as it is kept in the records bucket of the side's place: snapshots, and a journal of what has changed since. All
 * entries are absolute, so a line may be read twice.
 */
import { z } from 'zod';
import { Entry } from './capture.ts';

const Time = z.int().min(0);

export const BookLine = z.union([
  /** What is known of a key now. */
  z.strictObject({ key: z.string(), entry: Entry }),
  /** What the brake has let through. */
  z.strictObject({ key: z.string(), brake: z.enum(['delete', 'overwrite']), at: Time }),
  /** When the last whole listing of the side began, by the clock of the worker. */
  z.strictObject({ listedAt: Time }),
]);
export type BookLine = z.infer<typeof BookLine>;

/**
 * The first line of a journal's file. Files are numbered from 1 without a gap and written create-only: of two pumps only one
 * writes the next one, and the other knows by it that it is no longer the owner.
 */
export const BatchHead = z.strictObject({
  v: z.literal(1),
  /** Of the pump that has written it; never falls. */
  epoch: z.int().min(0),
  /** Names the writer: another one for each attempt. */
  pump: z.string(),
});
export type BatchHead = z.infer<typeof BatchHead>;

/** Of one generation of a side: a placement that is made anew has a new book. */
export const bookPrefix = (
  service: string,
  { provider, generation }: { provider: string; generation: number },
): string => `books/${service}/${provider}-${generation}/`;

const numbered = (n: number): string => String(n).padStart(12, '0');

export const journalPrefix = 'journal/';
export const journalFile = (n: number): string => `${journalPrefix}${numbered(n)}.jsonl`;
/** A snapshot holds what the journal says up to the file `n`; the file `end` is written last. */
export const snapshotsPrefix = 'snapshots/';
export const snapshotPrefix = (n: number): string => `${snapshotsPrefix}${numbered(n)}/`;
export const snapshotEnd = 'end';
/** Number of a file of the journal or of a snapshot. */
export const numberOf = (name: string): number => Number(/(\d{12})/.exec(name)?.[1] ?? Number.NaN);
