/**
 * Makes the keys that a comparison of all sides has named the same everywhere: what counts by the rule is copied to the others,
 * over exactly what was compared. Nothing is deleted: what stands anywhere is more than what is missing elsewhere.
 */
import { covers, isSame } from '../../model/conflict.ts';
import { writeCopyStamp } from '../../model/copy-stamp.ts';
import { DifferingKey, type RepairedSides } from '../../model/divergence.ts';
import type { Names, Transform } from '../../model/transformation.ts';
import { linesOf } from '../transfer/compare-sides.ts';
import { allOrFirstError, headOf, partBytes, Refusal } from '../transfer/copy-object.ts';
import type { Files } from '../transfer/files.ts';
import { changeOf, copyWith, editOf, logLoser, pairingOf, type Working } from './losers.ts';
import type { SideStore } from './stores.ts';

export interface SidesRepair extends Working {
  sides: readonly SideStore[];
  files: Files;
  /** Key prefix of the report in the records bucket. */
  report: string;
  source: string;
  transform: Transform;
  naming: Names;
  beat(): void;
}

export async function repairSides(repair: SidesRepair): Promise<RepairedSides> {
  const { sides, files, report } = repair;
  const result: RepairedSides = {
    ...{ logged: 0, changed: 0 },
    sides: sides.map(({ name }) => ({ side: name, copied: { objects: 0, bytes: 0 }, failed: 0, failedNames: [] })),
  };
  const large: DifferingKey[] = [];
  // What is in memory passes the gate where it is copied: whoever waited there already would wait for himself.
  for await (const lines of linesOf(files, { key: report }))
    await allOrFirstError(lines.map((line) => mend(repair, DifferingKey.parse(line), result, large)));
  // Their parts pass the gate one by one.
  for (const line of large) await mend(repair, line, result);
  return result;
}

async function mend(repair: SidesRepair, line: DifferingKey, result: RepairedSides, large?: DifferingKey[]) {
  const { sides, beat, naming, transform } = repair;
  const { key, counts, version } = line;
  // What only others have where one side counts: it may exist nowhere else.
  if (version === '') return;
  const sideOf = (name: string): SideStore | undefined => sides.find((one) => one.name === name);
  const source = sideOf(counts);
  const look = (side: SideStore, name: string) => repair.gate.run(0, () => headOf(repair, side, name));
  const object = source && (await look(source, naming.nameAt(counts, key)));
  beat();
  if (!source || object?.version !== version) return void result.changed++;
  if (large && object.size > partBytes) return void large.push(line);
  const change = await changeOf(source, object);
  const edit = counts === repair.source ? editOf(transform, key) : undefined;
  for (const { side: to, version: compared } of line.differs) {
    const target = sideOf(to);
    const done = result.sides.find(({ side }) => side === to);
    const name = naming.nameAt(to, key);
    const there = target && (await look(target, name));
    if (!target || !done || (there?.version ?? '') !== compared) {
      result.changed++;
      continue;
    }
    try {
      if (there) {
        const loser = { object: there, change: await changeOf(target, there), winner: change };
        const known = covers(change, loser.change) && !isSame(change, loser.change);
        if (!known) {
          if ((await logLoser(repair, target, loser)) === undefined) {
            result.changed++;
            continue;
          }
          result.logged++;
        }
      }
      const as = { key: name, stamp: writeCopyStamp(name, change), edit };
      const expected = there ? { version: there.version } : { absent: true as const };
      const pairing = { ...pairingOf(repair, source, target), as };
      const written = await copyWith(repair, pairing, object, expected);
      if (!written) result.changed++;
      else {
        done.copied.objects++;
        done.copied.bytes += object.size;
      }
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      done.failed++;
      if (done.failedNames.length < 5) done.failedNames.push(`${key} (${error.reason})`);
    }
    beat();
  }
}
