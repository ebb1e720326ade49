/**
 * Makes the target's objects that a verification has named what they are at the source: these and no others, by their names,
 * since what differs may look like a copy that is in step (of a large object no listing tells a checksum of the whole).
 */
import { ApplicationFailure } from '@temporalio/activity';
import { z } from 'zod';
import { differences, type RepairedTransfer } from '../../model/transfer.ts';
import type { StoredObject } from '../providers/object-store.ts';
import { allOrFirstError, ask, copyObject, headOf, type Pairing, partBytes } from './copy-object.ts';
import { fromLines } from './files.ts';

const Line = z.object({ key: z.string(), what: z.enum(differences) });

export interface Repair {
  /** Key prefix of the report in the records bucket. */
  report: string;
  gone: 'delete' | 'keep';
  beat: () => void;
}

/** A repeat does the same again: what is equal by now is copied once more, what is gone is gone. */
export async function repair(pairing: Pairing, { report, gone, beat }: Repair): Promise<RepairedTransfer> {
  const { files, gate, source, target, signal } = pairing;
  const folder = files.key('');
  if (!report.startsWith(folder))
    throw ApplicationFailure.nonRetryable(
      `report: found ${report}; it must be of this transfer, ${folder}`,
      'InvalidInput',
    );
  const result: RepairedTransfer = {
    copied: { objects: 0, bytes: 0 },
    deleted: 0,
    kept: 0,
    failed: 0,
    failedNames: [],
  };
  const copy = async (here: StoredObject, there: StoredObject | undefined): Promise<void> => {
    const outcome = await copyObject(pairing, here, there);
    beat();
    if (outcome.how === 'copied') {
      result.copied.objects++;
      result.copied.bytes += outcome.object.size;
    } else if (outcome.how === 'failed') {
      result.failed++;
      if (result.failedNames.length < 5) result.failedNames.push(`${here.key} (${outcome.reason})`);
    }
  };

  for (const name of await files.list(report.slice(folder.length))) {
    const lines = z.array(Line).parse(fromLines((await files.read(name)) ?? Buffer.alloc(0)));
    /** Their parts pass the gate one by one. */
    const large: (() => Promise<void>)[] = [];
    const mend = async (key: string): Promise<void> => {
      const [here, there] = await Promise.all([headOf(pairing, source, key), headOf(pairing, target, key)]);
      beat();
      if (here && here.size > partBytes) large.push(() => copy(here, there));
      else if (here) await copy(here, there);
      else if (there && gone === 'keep') result.kept++;
      else if (there) {
        await ask(pairing, target, 'remove', key, () => target.store.remove(there, signal));
        result.deleted++;
      }
    };
    await allOrFirstError(lines.map(({ key }) => gate.run(partBytes, () => mend(key))));
    for (const act of large) await act();
  }
  return result;
}
