/** Objects that flow from socket to socket, and those in parts: what a break costs, and what tells a copy from what replaced it. */
import { createHash, randomBytes } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { type Attributes, md5Of, type ObjectStore } from '../../activities/providers/object-store.ts';
import { fromLines, unpackLines } from '../../activities/transfer/files.ts';
import type { ProviderType } from '../../model/service.ts';
import { armFault } from '../local/stack.ts';
import { contents, fill, placed, plain, recordsUnder, run, signal, storeOf } from './stores.ts';

// Long beyond need: the machine may be busy.

const MiB = 1024 * 1024;

let named = 0;
async function between(from: ProviderType, to: ProviderType) {
  const [source, target] = await Promise.all([placed(from), placed(to)]);
  const [here, there] = await Promise.all([storeOf(source), storeOf(target)]);
  const name = `l${++named}`;
  return {
    here,
    there,
    transfer: { source, target, transfer: name },
    reverse: { source: target, target: source, transfer: `${name}-back` },
  };
}

/** As a program does that knows of nothing but what it finds there. */
async function rewrite(store: ObjectStore, key: string, bytes: Buffer, attributes?: Attributes): Promise<void> {
  const now = await store.head(key, signal);
  const piece = { chunks: [bytes], bytes: bytes.length };
  const expected = { version: now?.version ?? '' };
  const object = { key, size: bytes.length, attributes: attributes ?? now?.attributes ?? plain, expected };
  await store.write({ ...object, md5: md5Of(piece) }, piece, crc32(bytes), signal);
}

it.each([
  ['aws', 'gcp'],
  ['gcp', 'azure'],
  ['azure', 'aws'],
] as const)(
  'from %s to %s a body that breaks off half-way is never taken for the whole, and comes again',
  async (from, to) => {
    const { here, there, transfer } = await between(from, to);
    await fill(here, 'large', randomBytes(9 * MiB + 1));
    await run('planTransfer', transfer);
    const disarm = await armFault({ match: { cloud: from, method: 'GET', path: '/large$/' }, effect: 'cut', times: 1 });
    expect(await run('copyShard', { ...transfer, shard: 0 })).toMatchObject({ copied: { objects: 1 }, failed: 0 });
    expect(await disarm()).toBe(1);
    expect(await contents(there)).toEqual(await contents(here));
  },
);

it.each(['aws', 'azure', 'gcp'] as const)(
  'a large object that is replaced on %s while it flows is copied as it is then',
  async (from) => {
    const { here, there, transfer } = await between(from, from === 'gcp' ? 'aws' : 'gcp');
    await fill(here, 'large', randomBytes(9 * MiB));
    await run('planTransfer', transfer);
    const disarm = await armFault({
      match: { cloud: from, method: 'GET', path: '/large$/' },
      effect: 'delay',
      delayMs: 4000,
      times: 1,
    });
    const copying = run('copyShard', { ...transfer, shard: 0 });
    await new Promise((resolve) => setTimeout(resolve, 700));
    await rewrite(here, 'large', randomBytes(10 * MiB));
    expect(await copying).toMatchObject({ changed: 1, failed: 0, copied: { objects: 1, bytes: 10 * MiB } });
    expect(await disarm()).toBe(1);
    expect(await contents(there)).toEqual(await contents(here));
  },
);

it.each([
  ['gcp', 'aws', 9],
  ['aws', 'azure', 9],
  ['azure', 'gcp', 9],
  ['gcp', 'aws', 33],
  ['gcp', 'azure', 33],
  ['azure', 'gcp', 33],
] as const)(
  'from %s to %s a copy of %d MiB is in step, until it is rewritten with as many bytes and all its metadata: that is brought back',
  async (from, to, size) => {
    const { here, there, transfer, reverse } = await between(from, to);
    await fill(here, 'large', randomBytes(size * MiB));
    await run('copyDelta', { ...transfer, round: 0, maxDeletes: 0 });
    for (const [way, round] of [
      [transfer, 1],
      [reverse, 0],
    ] as const)
      expect(await run('copyDelta', { ...way, round, maxDeletes: 0 })).toMatchObject({
        inStep: { objects: 1 },
        behind: 0,
      });

    await rewrite(there, 'large', randomBytes(size * MiB));
    expect(await run('copyDelta', { ...reverse, round: 1, maxDeletes: 0 })).toMatchObject({ copied: { objects: 1 } });
    expect(await contents(here)).toEqual(await contents(there));
    expect(await run('copyDelta', { ...reverse, round: 2, maxDeletes: 0 })).toMatchObject({ behind: 0 });
  },
);

it('a SHA-256 of each object stands in the manifest where it is asked for, and is compared with what the target has', async () => {
  const { here, there, transfer } = await between('azure', 'aws');
  const bytes = [100, 9 * MiB, 33 * MiB].map((size) => randomBytes(size));
  for (const [at, body] of bytes.entries()) await fill(here, `object-${at}`, body);
  const asked = { ...transfer, digest: 'sha256' as const };
  await run('planTransfer', asked);
  const { manifest } = await run('copyShard', { ...asked, shard: 0 });
  const segments = [...(await recordsUnder(transfer.target, manifest)).values()];
  const lines = segments.flatMap((segment) => unpackLines(segment).slice(1));
  expect(lines).toEqual(
    bytes.map((body, at) =>
      expect.objectContaining({
        key: `object-${at}`,
        sha256: createHash('sha256').update(body).digest('hex'),
      }),
    ),
  );
  const compare = { ...asked, what: { kind: 'shard', shard: 0 }, bodies: 'all' } as const;
  expect(await run('verifyTransfer', compare)).toMatchObject({ same: 3, bodiesRead: { objects: 3 } });
  await rewrite(there, 'object-1', randomBytes(9 * MiB));
  const { report, ...verified } = await run('verifyTransfer', compare);
  expect(verified).toMatchObject({ same: 2, different: { content: 1 }, differentNames: ['object-1'] });
  const named = [...(await recordsUnder(transfer.target, report)).values()].flatMap(fromLines);
  expect(named).toEqual([expect.objectContaining({ key: 'object-1', detail: expect.stringContaining('sha256') })]);
});

it.each(['aws', 'azure'] as const)(
  'parts that are too large for memory flow to %s, are compared as they arrive, and are known again by their receipts',
  async (to) => {
    const [here, there] = await Promise.all([storeOf(await placed('gcp')), storeOf(await placed(to))]);
    const bytes = randomBytes(13 * MiB + 5);
    await fill(here, 'large', bytes);
    const listed = await here.head('large', signal);
    if (!listed) throw new Error('the source is not as it was filled');
    const object = { key: 'in parts', size: bytes.length, attributes: plain, expected: { absent: true as const } };
    const { uploads } = there;
    const upload = await uploads.begin(object, 6 * MiB, signal);
    const flowed = async (number: number) => {
      const from = number * upload.partBytes;
      const range = { from, bytes: Math.min(upload.partBytes, bytes.length - from) };
      const { flow } = await here.open(listed, range, signal);
      return uploads.stream(object, upload, number, flow, signal);
    };
    const parts = [await flowed(0), await flowed(1)];
    const received = await uploads.received(object, upload, signal);
    expect([...(received?.receipts ?? [])].sort()).toEqual(parts.map(({ receipt }) => receipt).sort());
    parts.push(await flowed(2));
    const sums = parts.map(({ crc32 }) => crc32);
    const cut = (number: number) => bytes.subarray(number * 6 * MiB, (number + 1) * 6 * MiB);
    expect(sums).toEqual([0, 1, 2].map((number) => crc32(cut(number))));
    await uploads.complete(object, upload, { parts, crc32: crc32(bytes) }, signal);
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    expect(await contents(there)).toEqual(new Map([['in parts', sha256]]));
  },
);
