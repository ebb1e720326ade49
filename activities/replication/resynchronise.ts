/**
 * A side that was out of sight for longer than deletes are surely remembered for: what it lacks may have been deleted there or
 * lost, and what only it has may have been deleted everywhere else. Nothing is deleted for it: its book forgets what it lacks,
 * which then comes from the other sides, and what is doubtful is named in a file.
 */
import { blank } from '../../model/capture.ts';
import type { Resynchronised } from '../../model/replicate.ts';
import type { Names } from '../../model/transformation.ts';
import { toLines } from '../transfer/files.ts';
import type { Gate } from '../transfer/gate.ts';
import { type Listed, objectsIn } from '../transfer/listing.ts';
import type { Book } from './book.ts';
import type { SideStore } from './stores.ts';

const fileLines = 20_000;

/** What is needed of a side for it. */
export interface DoubtedSide {
  store: Listed & { placement: { owner: { service: string } }; put: SideStore['put'] };
  book: Book;
}

interface Resynchronising {
  naming: Names;
  /** Sides whose last whole listing is older are out of step, ms. */
  longestMs: number;
  epoch: number;
  gate: Gate;
  signal: AbortSignal;
}

/** Answers by side what was found, for those that were out of sight for too long. */
export async function resynchronise(
  sides: ReadonlyMap<string, DoubtedSide>,
  { naming, longestMs, epoch, gate, signal }: Resynchronising,
): Promise<Record<string, Resynchronised>> {
  const now = Date.now();
  const found: Record<string, Resynchronised> = {};
  const missing: { book: Book; keys: string[] }[] = [];
  for (const [name, side] of sides) {
    const { listedAt = now } = side.book;
    if (now - listedAt <= longestMs) continue;
    const others = [...sides].filter(([other]) => other !== name);
    const isKnownElsewhere = (at: string): boolean => {
      const key = naming.keyOf(name, at);
      if (key === undefined) return true;
      return others.some(([other, { book }]) => book.state(naming.nameAt(other, key)).kind !== 'nothing');
    };
    const report = `replication/${side.store.placement.owner.service}/resynchronised-${name}-${epoch}-`;
    const { keys, forgotten } = await nameDoubtful(side, isKnownElsewhere, { gate, signal, report });
    found[name] = { missing: keys.length, forgotten, report };
    missing.push({ book: side.book, keys });
  }
  // Of all sides after all were looked at, and named first: whoever comes after this worker would not find it any more.
  for (const { book, keys } of missing) {
    for (const key of keys) book.write(key, blank, book.read(key).revision);
    await book.flush();
  }
  return found;
}

async function nameDoubtful(
  { store, book }: DoubtedSide,
  isKnownElsewhere: (name: string) => boolean,
  { gate, signal, report }: { gate: Gate; signal: AbortSignal; report: string },
): Promise<{ keys: string[]; forgotten: number }> {
  let lines: { key: string; is: 'missing here' | 'unknown elsewhere' }[] = [];
  let part = 0;
  const write = async (): Promise<void> => {
    if (lines.length > 0) await store.put(`${report}${part++}.jsonl`, toLines(lines));
    lines = [];
  };
  const name = async (line: (typeof lines)[number]): Promise<void> => {
    lines.push(line);
    if (lines.length >= fileLines) await write();
  };

  let forgotten = 0;
  book.beginListing();
  for await (const { key, version, modified } of objectsIn({ gate, signal }, store, { after: '', to: '' })) {
    if (!book.shows(key, version, modified) || isKnownElsewhere(key)) continue;
    forgotten++;
    await name({ key, is: 'unknown elsewhere' });
  }
  const keys = [...book.keys()].filter((key) => book.isMissing(key));
  for (const key of keys) await name({ key, is: 'missing here' });
  await write();
  return { keys, forgotten };
}
