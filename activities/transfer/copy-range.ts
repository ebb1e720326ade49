/** Brings the target's objects in a range of keys to what the source has, many at once, recorded in the order of keys. */
import { mergeListings, type Pair } from '../../model/object-keys.ts';
import type { StoredObject } from '../providers/object-store.ts';
import { copyObject, headOf, inStep, type Outcome, type Pairing, partBytes } from './copy-object.ts';
import { objectsIn } from './listing.ts';
import type { Manifest, ManifestLine, Totals } from './manifest.ts';

/** Objects in parts at once; their parts share the gate with all others. */
const mostLarge = 8;
/** Objects that are under way or wait for one before them. */
const mostPending = 500;

interface Pending {
  pair: Pair<StoredObject>;
  outcome: Promise<Outcome | { how: 'gone' }>;
}

/**
 * `after` the manifest's cursor. With `gone`, what only the target has is recorded as gone; without, it is passed over. With
 * `changesOnly`, what is in step is counted and not recorded: a scan of what is mostly in step says what it has changed.
 * What is under way when one of them ends the run is waited for, and what comes before it in the order is recorded.
 */
export async function copyRange(
  pairing: Pairing,
  range: { after: string; to: string },
  manifest: Manifest,
  options: { gone: boolean; changesOnly: boolean; beat: () => void },
): Promise<void> {
  const { gate, source, target, signal } = pairing;
  const from = { after: manifest.cursor || range.after, to: range.to };
  const pending: Pending[] = [];
  const large = new Set<Promise<unknown>>();

  const take = async (): Promise<void> => {
    const [first] = pending;
    if (!first) return;
    const outcome = await first.outcome;
    pending.shift();
    const line = lineOf(first.pair, outcome, manifest.totals);
    await manifest.add(first.pair.key, line.how === 'in step' && options.changesOnly ? undefined : line);
    options.beat();
  };

  try {
    for await (const pair of mergeListings(objectsIn(pairing, source, from), objectsIn(pairing, target, from))) {
      signal.throwIfAborted();
      if (!pair.source && !options.gone) continue;
      while (pending.length >= mostPending) await take();
      const { source: object } = pair;
      let outcome: Pending['outcome'];
      if (!object) outcome = Promise.resolve({ how: 'gone' });
      else if (object.size <= partBytes) outcome = gate.run(object.size, () => bring(pairing, object, pair.target));
      else {
        while (large.size >= mostLarge) await Promise.race(large);
        outcome = bring(pairing, object, pair.target);
        const ends = outcome.catch(() => {}).finally(() => large.delete(ends));
        large.add(ends);
      }
      outcome.catch(() => {}); // thrown when its turn comes
      pending.push({ pair, outcome });
    }
    while (pending.length > 0) await take();
  } catch (error) {
    await Promise.allSettled(pending.map(({ outcome }) => outcome));
    if (!signal.aborted) await recordRest(take, pending, manifest);
    throw error;
  }
}

/** Up to the first that failed. */
async function recordRest(take: () => Promise<void>, pending: readonly Pending[], manifest: Manifest): Promise<void> {
  try {
    while (pending.length > 0) await take();
  } catch {
    // its error is the one that ends the run
  }
  await manifest.flush().catch(() => {});
}

/** What stands there is looked at with as few calls as tell whether it is in step. */
export async function bring(pairing: Pairing, listed: StoredObject, known: StoredObject | undefined): Promise<Outcome> {
  const { source, target } = pairing;
  let here = listed;
  let there = known;
  if (there && there.size === listed.size) {
    const step = async (): Promise<Outcome | undefined> =>
      there && (await inStep(pairing, here, there)) ? { how: 'in step', object: here, target: there } : undefined;
    const already = await step();
    if (already) return already;
    // S3 lists no metadata.
    if (!there.attributes) {
      there = await headOf(pairing, target, listed.key);
      const found = await step();
      if (found) return found;
    }
    if (!here.attributes) {
      const now = await headOf(pairing, source, listed.key);
      if (!now) return { how: 'vanished' };
      here = now;
      const found = await step();
      if (found) return found;
    }
  }
  return copyObject(pairing, here, there);
}

function lineOf(
  { key, source, target }: Pair<StoredObject>,
  outcome: Outcome | { how: 'gone' },
  totals: Totals,
): ManifestLine {
  const add = (amount: { objects: number; bytes: number }, bytes: number): void => {
    amount.objects++;
    amount.bytes += bytes;
  };
  if (outcome.how === 'gone') {
    totals.gone++;
    return { how: 'gone', key, version: target?.version ?? '' };
  }
  const listed = source?.size ?? 0;
  add(totals.seen, listed);
  switch (outcome.how) {
    case 'copied': {
      const { object, crc32, sha256, written, unnative, changed } = outcome;
      add(totals.copied, object.size);
      if (changed) totals.changed++;
      for (const what of unnative) totals.unnative[what] = (totals.unnative[what] ?? 0) + 1;
      return { how: 'copied', key, size: object.size, version: object.version, crc32, sha256, target: written };
    }
    case 'in step':
      add(totals.inStep, outcome.object.size);
      return { how: 'in step', key, size: outcome.object.size, version: outcome.object.version };
    case 'vanished':
      totals.vanished++;
      return { how: 'vanished', key };
    case 'failed':
      totals.failed++;
      if (totals.failedNames.length < 5) totals.failedNames.push(key);
      return { how: 'failed', key, size: listed, reason: outcome.reason, detail: outcome.detail };
  }
}
