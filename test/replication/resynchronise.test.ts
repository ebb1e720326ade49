/** What is doubtful about a side that was out of sight for too long is named, and its book forgets what it lacks. */
import { Book } from '../../activities/replication/book.ts';
import { type DoubtedSide, resynchronise } from '../../activities/replication/resynchronise.ts';
import { fromLines } from '../../activities/transfer/files.ts';
import { Gate } from '../../activities/transfer/gate.ts';
import type { Entry } from '../../model/capture.ts';
import { namesOf, transformOf } from '../../model/transformation.ts';
import { Bucket } from './bucket.ts';

const { signal } = new AbortController();
const change = { stamp: { time: 1, origin: 'aws', sequence: '' }, seen: { aws: 1 } };
const object: Entry = { state: { kind: 'object', version: '1', change }, announced: [] };
const deleted: Entry = { state: { kind: 'deleted', change, cause: 'user', recordedAt: 1 }, announced: [] };

/** A side whose book has these entries, and whose store holds these keys. */
async function sideOf(name: string, listedAt: number, entries: Record<string, Entry>, keys: readonly string[]) {
  const book = await Book.open(name, new Bucket(), { epoch: 1, pump: 'p' });
  for (const [key, entry] of Object.entries(entries)) book.write(key, entry, undefined);
  book.listed(listedAt);
  const objects = keys.map((key) => ({ key, version: '1', modified: '2026-01-01T00:00:00Z', size: 1, checksums: {} }));
  const files = new Map<string, unknown[]>();
  const store: DoubtedSide['store'] = {
    provider: { type: 'aws', classify: () => ({ kind: 'Unavailable', message: '' }) },
    placement: { owner: { service: 'lake' } },
    store: { id: name, page: async () => ({ objects, next: undefined }) },
    put: async (key, bytes) => void files.set(key, fromLines(bytes)),
  };
  return { side: { store, book }, book, files };
}

const found = (sides: ReadonlyMap<string, DoubtedSide>, transformations: Parameters<typeof transformOf>[0] = []) =>
  resynchronise(sides, {
    naming: namesOf(transformOf(transformations), 'aws'),
    ...{ longestMs: 60_000, epoch: 7, gate: new Gate(signal), signal },
  });

test('keys that are gone there, and keys that no other side knows, are named; of the others nothing changes', async () => {
  const [long, now] = [Date.now() - 120_000, Date.now()];
  const aws = await sideOf('aws', long, { a: object, b: object, c: object, d: deleted, e: object }, [
    'a',
    'c',
    'e',
    'new',
  ]);
  const gcp = await sideOf('gcp', now, { a: object, b: object, c: deleted }, ['a', 'b']);
  const report = 'replication/lake/resynchronised-aws-7-';
  const sides = new Map([
    ['aws', aws.side],
    ['gcp', gcp.side],
  ]);
  expect(await found(sides)).toEqual({ aws: { missing: 1, forgotten: 1, report } });
  expect([...aws.files]).toEqual([
    [
      `${report}0.jsonl`,
      [
        { key: 'e', is: 'unknown elsewhere' },
        { key: 'b', is: 'missing here' },
      ],
    ],
  ]);
  expect(aws.book.state('b')).toEqual({ kind: 'nothing' });
  expect([aws.book.state('a'), aws.book.state('c'), aws.book.state('d')]).toMatchObject([
    object.state,
    object.state,
    deleted.state,
  ]);
  expect(gcp.files.size).toBe(0);
});

test('of two sides each is judged by what the other knew, whichever comes first', async () => {
  const long = Date.now() - 120_000;
  const aws = await sideOf('aws', long, { a: object, b: object }, ['b']);
  const gcp = await sideOf('gcp', long, { a: object, b: object }, ['a']);
  const sides = new Map([
    ['aws', aws.side],
    ['gcp', gcp.side],
  ]);
  expect(await found(sides)).toMatchObject({ aws: { missing: 1, forgotten: 0 }, gcp: { missing: 1, forgotten: 0 } });
  expect([aws.book.state('a').kind, gcp.book.state('b').kind]).toEqual(['nothing', 'nothing']);
});

test('under other names a key is the same key, and a side that was never listed is only new', async () => {
  const aws = await sideOf('aws', Date.now() - 120_000, { 'raw/a': object, other: object }, ['raw/a', 'other']);
  const gcp = await sideOf('gcp', Date.now(), { 'clean/a': object }, ['clean/a']);
  const azure = await Book.open('azure', new Bucket(), { epoch: 1, pump: 'p' });
  const sides = new Map([
    ['aws', aws.side],
    ['gcp', gcp.side],
  ]).set('azure', { ...gcp.side, book: azure });
  expect(await found(sides, [{ type: 'prefix', remove: 'raw/', add: 'clean/' }])).toMatchObject({
    aws: { missing: 0, forgotten: 0 },
  });
});
