/** A side's book outlives its pump at any point, and belongs to one pump alone. */
import { Book, Superseded } from '../../activities/replication/book.ts';
import type { Entry } from '../../model/capture.ts';
import { Bucket } from './bucket.ts';

const object = (n: number): Entry => ({
  state: {
    kind: 'object',
    version: `v${n}`,
    change: { stamp: { time: n, origin: 'aws', sequence: '' }, seen: { aws: n } },
  },
  announced: [],
});
const open = (bucket: Bucket, epoch: number, pump = `p${epoch}`) => Book.open('aws', bucket, { epoch, pump });
const write = (book: Book, key: string, n: number) => book.write(key, object(n), book.read(key).revision);

it('is read back as it was left, over snapshots and journals', async () => {
  const bucket = new Bucket();
  const first = await open(bucket, 1);
  for (let n = 0; n < 50; n++) write(first, `k${n % 7}`, n);
  await first.durable('k1');
  await first.snapshot();
  for (let n = 50; n < 60; n++) write(first, `k${n % 7}`, n);
  expect(first.admit('k1', 'delete', 1)).toBe(true);
  first.listed(77);
  await first.flush();
  expect((await bucket.list('snapshots/')).length).toBe(2);
  const second = await open(bucket, 2);
  for (let n = 53; n < 60; n++) expect(second.read(`k${n % 7}`).entry).toEqual(object(n));
  expect([second.objects, second.listedAt, second.admit('k2', 'delete', 1)]).toEqual([7, 77, false]);
});

it('has what was durable after a worker that went at any write, also in the middle of a snapshot', async () => {
  for (let last = 1; last < 12; last++) {
    const bucket = new Bucket();
    let left = last;
    bucket.breaks = () => left-- <= 0;
    const durable = new Map<string, number>();
    try {
      const book = await open(bucket, 1);
      for (let n = 0; n < 8; n++) {
        write(book, `k${n % 3}`, n);
        await book.durable(`k${n % 3}`);
        durable.set(`k${n % 3}`, n);
        if (n === 4) await book.snapshot();
      }
    } catch (error) {
      expect(error).toEqual(new Error('the worker is gone'));
    }
    bucket.breaks = () => false;
    const next = await open(bucket, 2);
    for (const [key, n] of durable) expect(next.read(key).entry).toEqual(object(n));
  }
});

it('is written by one pump alone: the one before hears of it at its next write, and an earlier epoch gets nothing', async () => {
  const bucket = new Bucket();
  const old = await open(bucket, 1);
  write(old, 'k', 1);
  await old.flush();
  const young = await open(bucket, 2);
  write(old, 'k', 2);
  await expect(old.durable('k')).rejects.toThrow(Superseded);
  write(young, 'k', 3);
  await young.flush();
  await expect(open(bucket, 1)).rejects.toThrow(Superseded);
  expect((await open(bucket, 3)).read('k').entry).toEqual(object(3));
});

it('takes its own file for its own where the answer to the write was lost', async () => {
  const bucket = new Bucket();
  const book = await open(bucket, 1);
  const create = bucket.create.bind(bucket);
  let lost = false;
  bucket.create = async (name, bytes) => {
    await create(name, bytes);
    if (lost) return;
    lost = true;
    await create(name, bytes); // sent once more by whoever lost the answer
  };
  write(book, 'k', 1);
  await book.flush();
  write(book, 'k', 2);
  await book.flush();
  expect((await open(bucket, 2)).read('k').entry).toEqual(object(2));
});

it('is changed over the revision that was read and no other', async () => {
  const book = await open(new Bucket(), 1);
  const { revision } = book.read('k');
  const next = book.write('k', object(1), revision);
  expect(next).toBeDefined();
  expect(book.write('k', object(2), revision)).toBeUndefined();
  expect(book.read('k')).toEqual({ entry: object(1), revision: next });
});
