/** What is replaced is logged first, with its bytes (`model/conflict-log.ts`): by whoever replaces it on a side. */
import type { Change } from '../../model/conflict.ts';
import { ConflictLine, conflictKeys } from '../../model/conflict-log.ts';
import { conflictId } from '../../model/conflict-view.ts';
import { CloudError } from '../../model/errors.ts';
import { editLines, NoLines, type Transform } from '../../model/transformation.ts';
import type { Expected, StoredObject, Written } from '../providers/object-store.ts';
import {
  callBytes,
  copyExactly,
  editedBytes,
  headOf,
  type Pairing,
  partBytes,
  Refusal,
} from '../transfer/copy-object.ts';
import { copyOf, type SideStore } from './stores.ts';

export type Working = Pick<Pairing, 'gate' | 'signal'>;

/** The change that an object is a copy of; of a user's, by when and where it was made. */
export async function changeOf(side: SideStore, object: StoredObject): Promise<Change> {
  const copied = await copyOf(side, object);
  if (copied) return copied;
  const time = Date.parse(object.modified);
  return { stamp: { time, origin: side.name, sequence: '' }, seen: { [side.name]: time } };
}

export const pairingOf = ({ gate, signal }: Working, source: Pairing['source'], target: SideStore): Pairing => ({
  ...{ source, target, gate, signal, callBytes, sha256: false },
  files: target.uploads,
});

/** Large ones pass the gate in parts. */
export const inMemory = <T>({ gate }: Working, bytes: number, act: () => Promise<T>): Promise<T> =>
  bytes <= partBytes ? gate.run(bytes, act) : act();

/** What becomes of the contents of the source's object on its way; undefined: nothing. */
export function editOf({ editsOf }: Transform, key: string): ((bytes: Uint8Array) => Uint8Array) | undefined {
  const edits = editsOf(key);
  if (edits.length === 0) return undefined;
  return (bytes) => {
    try {
      return editLines(bytes, edits);
    } catch (error) {
      throw error instanceof NoLines ? new Refusal('content', error.message) : error;
    }
  };
}

/**
 * This version of a side's object, as a copy with this change; the original, its edited form and what is read of it are in memory
 * at once where it is edited.
 */
export const copyWith = (
  working: Working,
  pairing: Pairing,
  object: StoredObject,
  expected: Expected,
): Promise<Written | undefined> => {
  const act = () => copyExactly(pairing, object, expected);
  return pairing.as?.edit
    ? working.gate.run(3 * Math.min(object.size, editedBytes), act)
    : inMemory(working, object.size, act);
};

/** Answers the ID of the line; undefined where this version is gone. */
export async function logLoser(
  working: Working,
  side: SideStore,
  { object, change, winner }: { object: StoredObject; change: Change; winner: Change },
): Promise<string | undefined> {
  const { service } = side.placement.owner;
  const { key, version, size } = object;
  const keys = conflictKeys(service, key, change.stamp);
  const pairing = {
    ...pairingOf(working, side, side),
    target: side.records,
    as: { key: keys.object, stamp: undefined },
  };
  const kept = await inMemory(working, size, () => copyExactly(pairing, object, { absent: true }));
  // Nothing was written where it was kept before, or where it has changed.
  if (!kept && (await headOf(working, side, key))?.version !== version) return undefined;
  const line: ConflictLine = {
    ...{ v: 1, service, side: side.name, key, version, change, winner },
    ...{ at: new Date().toISOString(), size, object: keys.object },
  };
  try {
    await side.create(keys.line, Buffer.from(`${JSON.stringify(ConflictLine.parse(line))}\n`));
  } catch (error) {
    if (!(error instanceof CloudError) || !['PreconditionFailed', 'AlreadyExists'].includes(error.kind)) throw error;
  }
  return conflictId(service, keys.line);
}
