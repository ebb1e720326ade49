/**
 * What lost a conflict, as it is kept in the records bucket of its side's place: a line (`.json`) that says what it was and what
 * stands instead, and beside it its bytes with their attributes (`.object`), an object of its own. Both are written before the
 * loser goes, and never over anything: a line may be of one that was spared after all.
 */
import { z } from 'zod';
import { Change, SideName, type Stamp } from './conflict.ts';
import { sha256Hex } from './sha256.ts';

export const ConflictLine = z.strictObject({
  v: z.literal(1),
  service: z.string(),
  /** The side that it stood on: the name of its provider. */
  side: SideName,
  key: z.string(),
  /** Its version on that side, as the cloud names it. */
  version: z.string(),
  change: Change,
  /** What stands instead, made by somebody who had not seen it. */
  winner: Change,
  /** ISO time, by the clock of the worker that logged it. */
  at: z.string(),
  /** Bytes. */
  size: z.int().min(0),
  /** Key of its bytes and attributes, in the same bucket. */
  object: z.string(),
});
export type ConflictLine = z.infer<typeof ConflictLine>;

export const conflictsPrefix = (service: string): string => `conflicts/${service}/`;

const keyHash = (key: string): string => sha256Hex(key).slice(0, 16);
const lineSuffix = '.json';

/**
 * The same loser has the same name, however often it is met. In the order of their stamps: what was written on one day stands
 * together (`conflicts/<service>/2026-11-28/…`).
 */
export function conflictKeys(service: string, key: string, stamp: Stamp): { line: string; object: string } {
  const day = new Date(stamp.time).toISOString().slice(0, 10);
  const change = sha256Hex(`${key}\n${stamp.origin}\n${stamp.sequence}`).slice(0, 8);
  const name = `${conflictsPrefix(service)}${day}/${stamp.time}-${stamp.origin}-${keyHash(key)}-${change}`;
  return { line: name + lineSuffix, object: `${name}.object` };
}

/** Whether a name in the bucket is that of a line; of this key, where one is given. */
export const isConflictLine = (name: string, key?: string): boolean =>
  name.endsWith(lineSuffix) && (key === undefined || name.includes(`-${keyHash(key)}-`));
