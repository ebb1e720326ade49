/**
 * What the source keeps besides its current objects: copied oldest first, before what is current, so that the target keeps the
 * same history. A key whose history cannot go on waits for a decision; what was not put there then can never be.
 */
import { progressOf, stepsBefore } from '../../model/history.ts';
import { mergeListings } from '../../model/object-keys.ts';
import type { Expected, StoredObject } from '../providers/object-store.ts';
import { ask, copiedExactly, headOf, type Pairing, partBytes, Refusal } from './copy-object.ts';
import { type History, historiesIn } from './histories.ts';
import type { Manifest, ManifestLine, Totals } from './manifest.ts';
import { markOf } from './mark.ts';

/** Keys that are under way or wait for one before them. */
const mostPending = 64;

type Line = Extract<ManifestLine, { how: 'version' | 'deleted' | 'vanished' | 'failed' }>;
interface Brought {
  lines: Line[];
  missed: number;
}

/** With `passOver` a history goes on without what cannot be copied. */
export async function copyVersionsIn(
  pairing: Pairing,
  range: { after: string; to: string },
  manifest: Manifest,
  { passOver, beat }: { passOver: boolean; beat: () => void },
): Promise<void> {
  const { source, target, signal } = pairing;
  const from = { after: manifest.cursor || range.after, to: range.to };
  const pending: { key: string; brought: Promise<Brought> }[] = [];
  const take = async (): Promise<void> => {
    const [first] = pending;
    if (!first) return;
    const { lines, missed } = await first.brought;
    pending.shift();
    manifest.totals.missed += missed;
    for (const line of lines) {
      count(manifest.totals, line);
      // The key is done with when its last line is there: a break between them looks at it again.
      await manifest.add(manifest.cursor, line);
    }
    await manifest.add(first.key, undefined);
    beat();
  };
  try {
    for await (const pair of mergeListings(historiesIn(pairing, source, from), historiesIn(pairing, target, from))) {
      signal.throwIfAborted();
      if (!pair.source) continue;
      while (pending.length >= mostPending) await take();
      const brought = bring(pairing, pair.source, pair.target, passOver);
      brought.catch(() => {}); // thrown when its turn comes
      pending.push({ key: pair.key, brought });
    }
    while (pending.length > 0) await take();
  } finally {
    await Promise.allSettled(pending.map(({ brought }) => brought));
  }
}

function count(totals: Totals, line: Line): void {
  if (line.how === 'deleted') totals.deletions++;
  else if (line.how === 'vanished') totals.vanished++;
  else if (line.how === 'failed') {
    totals.failed++;
    if (totals.failedNames.length < 5) totals.failedNames.push(line.key);
  } else {
    for (const amount of [totals.seen, line.target ? totals.copied : totals.inStep]) {
      amount.objects++;
      amount.bytes += line.size;
    }
  }
}

async function bring(
  pairing: Pairing,
  { key, kept }: History,
  there: History | undefined,
  passOver: boolean,
): Promise<Brought> {
  const { target, gate, signal } = pairing;
  const steps = stepsBefore(kept);
  const lines: Line[] = [];
  if (steps.length === 0) return { lines, missed: 0 };
  const failed = (size: number, reason: string, detail: string): Line => ({ how: 'failed', key, size, reason, detail });
  const progress = progressOf(steps, await copiedFrom(pairing, there));
  if (!progress)
    return {
      lines: [failed(0, 'history', 'the target already keeps something newer of it, before which nothing can be put')],
      missed: 0,
    };
  for (const step of steps.slice(0, progress.next))
    if (step !== 'deleted') lines.push({ how: 'version', ...placeOf(step.object) });

  const now = there?.kept.find(({ current }) => current)?.object;
  let expected: Expected = now ? { version: now.version } : { absent: true };
  for (const step of steps.slice(progress.next)) {
    if (step === 'deleted') {
      if ('absent' in expected) continue;
      const { version } = expected;
      await ask(pairing, target, 'remove', key, () => target.store.remove({ key, version }, signal));
      expected = { absent: true };
      lines.push({ how: 'deleted', key });
      continue;
    }
    const { object } = step;
    const before = expected;
    const copy = () => copyOne(pairing, object, before);
    const line = await (object.size <= partBytes ? gate.run(object.size, copy) : copy());
    lines.push(line);
    if (line.how === 'version' && line.target) expected = { version: line.target.version };
    else if (line.how === 'failed' && !passOver) break;
  }
  return { lines, missed: progress.missed };
}

const placeOf = ({ key, size, version, at }: StoredObject & { at: string }) => ({ key, size, version, at });

/** Of which versions of the source the target keeps copies. */
function copiedFrom(pairing: Pairing, there: History | undefined): Promise<(string | undefined)[]> {
  const { source, target, gate } = pairing;
  const objects = (there?.kept ?? []).flatMap(({ object }) => object ?? []);
  return Promise.all(
    objects.map(async (object) => {
      const whole = object.attributes
        ? object
        : await gate.run(0, () => headOf(pairing, target, object.key, object.at));
      const mark = whole && markOf(whole);
      return mark?.from === source.store.id ? mark.version : undefined;
    }),
  );
}

async function copyOne(pairing: Pairing, object: StoredObject & { at: string }, expected: Expected): Promise<Line> {
  const { source, target } = pairing;
  const { key, size, version } = object;
  const place = placeOf(object);
  try {
    const copied = await copiedExactly(pairing, object, expected);
    if (copied) {
      const { crc32, sha256, written } = copied;
      return { how: 'version', ...place, crc32, sha256, target: written };
    }
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return { how: 'failed', key, size, reason: error.reason, detail: error.message };
  }
  // Its answer was lost, or one of the two is no longer what it was.
  const there = await headOf(pairing, target, key);
  const mark = there && markOf(there);
  if (there && mark?.from === source.store.id && mark.version === version && there.size === size)
    return { how: 'version', ...place, target: { version: there.version, checksums: there.checksums } };
  if (!(await headOf(pairing, source, key, object.at))) return { how: 'vanished', key };
  return {
    ...{ how: 'failed', key, size },
    ...{ reason: 'PreconditionFailed', detail: 'the target changed while its versions were copied' },
  };
}
