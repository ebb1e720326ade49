/** What the engine promises when things change, break off or go wrong while it works. */
import { randomBytes } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { PutObjectCommand } from '@aws-sdk/client-s3';
import { MockActivityEnvironment } from '@temporalio/testing';
import { Clients } from '../../activities/providers/aws/clients.ts';
import { type Attributes, md5Of, type ObjectStore } from '../../activities/providers/object-store.ts';
import { fromLines } from '../../activities/transfer/files.ts';
import { concurrencyBounds } from '../../model/concurrency.ts';
import type { ProviderType } from '../../model/service.ts';
import type { PlacementRef } from '../../model/transfer.ts';
import { armFault, calls } from '../local/stack.ts';
import { contents, fill, placed, plain, recordsUnder, run, signal, storeOf } from './stores.ts';

// Long beyond need: the machine may be busy.

let named = 0;
/** Two stores and a transfer of a name of its own. */
async function between(from: ProviderType, to: ProviderType, type: 'storage' | 'data_lake' = 'storage') {
  const [source, target] = await Promise.all([placed(from, type), placed(to, type)]);
  const [here, there] = await Promise.all([storeOf(source), storeOf(target)]);
  return { here, there, transfer: { source, target, transfer: `t${++named}` } };
}

const linesUnder = async (target: PlacementRef, prefix: string) =>
  [...(await recordsUnder(target, prefix)).values()].flatMap(fromLines);

/** Calls that wrote into a store since then, or may have before their connection was cut, by what they wrote. */
async function writes(store: ObjectStore, since: number): Promise<Map<string, number>> {
  const name = store.id.split(':')[1]?.split('/')[0] ?? '';
  const found = new Map<string, number>();
  for (const { path, host, method, status, query } of await calls({ since, mutating: true }))
    if (`${host}${path}`.includes(name) && ['PUT', 'POST'].includes(method) && (status ?? 200) < 300) {
      const what = `${path} ${query.partNumber ?? query.blockid ?? query.comp ?? ''}`.trim();
      found.set(what, (found.get(what) ?? 0) + 1);
    }
  return found;
}
const lastCall = async (): Promise<number> => (await calls()).at(-1)?.id ?? 0;

it('metadata, tags and content headers arrive; what has no place there is counted, and comes back on the way back', async () => {
  const { here, there, transfer } = await between('aws', 'azure');
  const attributes: Attributes = {
    headers: {
      'content-type': 'application/json',
      'cache-control': 'max-age=60',
      'content-language': 'de',
      'content-disposition': 'attachment; filename="x.json"',
    },
    metadata: { plain: 'native', 'device-id': 'hyphens are no identifiers' },
    tags: { class: 'telemetry', 'with space': 'a=b' },
  };
  await fill(here, 'object', Buffer.from('{}'), attributes);
  await run('planTransfer', transfer);
  const copied = await run('copyShard', { ...transfer, shard: 0 });
  expect(copied.unnative).toEqual({ metadata: 1, tags: 1 });
  const copy = await there.head('object', signal);
  expect(copy?.attributes?.headers).toEqual(attributes.headers);
  expect(copy?.attributes?.metadata).toMatchObject({ plain: 'native' });

  const back = await placed('aws');
  const reverse = { source: transfer.target, target: back, transfer: 'back' };
  await run('copyDelta', { ...reverse, round: 0, maxDeletes: 0 });
  const returned = await (await storeOf(back)).head('object', signal);
  expect(returned?.attributes).toMatchObject({ headers: attributes.headers, metadata: attributes.metadata });
  const { object } = await (await storeOf(back)).read(returned as never, { from: 0, bytes: 2 }, signal);
  expect(object.attributes?.tags).toEqual(attributes.tags);
});

it.each([
  ['aws', 'gcp'],
  ['gcp', 'azure'],
  ['azure', 'aws'],
] as const)(
  'a data lake with a large object goes from %s to %s, and its bytes are what they were',
  async (from, to) => {
    const { here, there, transfer } = await between(from, to, 'data_lake');
    const bytes = randomBytes(20 * 1024 * 1024 + 12_345);
    await fillLarge(here, 'large', bytes);
    await fill(here, 'small', Buffer.from('small'));
    await run('planTransfer', transfer);
    expect(await run('copyShard', { ...transfer, shard: 0 })).toMatchObject({ copied: { objects: 2 }, failed: 0 });
    expect(await contents(there)).toEqual(await contents(here));
    const verified = await run('verifyTransfer', { ...transfer, what: { kind: 'shard', shard: 0 } });
    expect(verified).toMatchObject({ same: 2, different: {}, bodiesRead: { objects: 0 } });
    expect(
      await run('verifyTransfer', { ...transfer, what: { kind: 'shard', shard: 0 }, bodies: 'all' }),
    ).toMatchObject({ same: 2, bodiesRead: { objects: 2, bytes: bytes.length + 5 } });
    expect(await run('measureStore', { placement: transfer.target })).toEqual({
      objects: 2,
      bytes: bytes.length + 5,
      largest: bytes.length,
    });
  },
);

/** As another program would have written it: without an MD5 of the whole. */
async function fillLarge(store: ObjectStore, key: string, bytes: Buffer, attributes = plain): Promise<void> {
  const object = { key, size: bytes.length, attributes, expected: { absent: true as const } };
  const partBytes = 8 * 1024 * 1024;
  const upload = await store.uploads.begin(object, partBytes, signal);
  const parts = [];
  for (let number = 0; number * partBytes < bytes.length; number++) {
    const piece = bytes.subarray(number * partBytes, (number + 1) * partBytes);
    const part = {
      number,
      from: number * partBytes,
      piece: { chunks: [piece], bytes: piece.length },
      crc32: crc32(piece),
    };
    parts.push(await store.uploads.put(object, upload, part, signal));
  }
  await store.uploads.complete(object, upload, { parts, crc32: crc32(bytes) }, signal);
}

const uploadsInOrder = ({ uploads }: ObjectStore): boolean => uploads.order === 'in order';

it.each([
  ['gcp', 'aws'],
  ['aws', 'gcp'],
  ['aws', 'azure'],
] as const)('from %s to %s a large object that was cut off half-way goes on where it was', async (from, to) => {
  const { here, there, transfer } = await between(from, to);
  const bytes = randomBytes(8 * 8 * 1024 * 1024 + 1);
  await fillLarge(here, 'large', bytes);
  await run('planTransfer', transfer);
  const since = await lastCall();
  /** Parts that the cloud has taken since then; Cloud Storage's answer to how much it has looks the same. */
  const taken = async (after: number): Promise<number> =>
    (await calls({ since: after, cloud: to })).filter(
      ({ method, query, status }) =>
        method === 'PUT' &&
        (query.partNumber ?? query.blockid ?? query.upload_id) !== undefined &&
        (status === 308 || status === 200 || status === 201),
    ).length;
  // After four parts none gets through, and the worker is lost.
  const environment = new MockActivityEnvironment();
  const match = { cloud: to, path: '/large$|^.upload.storage/', method: 'PUT' };
  const disarm = await armFault({ match, effect: 'delay', delayMs: 60_000, skip: 4 });
  const first = run('copyShard', { ...transfer, shard: 0 }, environment);
  while ((await taken(since)) < 4) await new Promise((resolve) => setTimeout(resolve, 200));
  environment.cancel('WORKER_SHUTDOWN');
  await expect(first).rejects.toThrow();
  await disarm();

  const again = await lastCall();
  expect(await run('copyShard', { ...transfer, shard: 0 })).toMatchObject({
    copied: { objects: 1, bytes: bytes.length },
  });
  const parts = 9;
  const question = uploadsInOrder(there) ? 1 : 0;
  expect(await taken(again)).toBe(parts - 4 + question);
  expect(await contents(there)).toEqual(await contents(here));
});

it('a shard that was broken off goes on; nothing is written twice, and a repeat or another run writes nothing', async () => {
  const { here, there, transfer } = await between('gcp', 'aws');
  const keys = Array.from({ length: 1200 }, (_, n) => `devices/${String(n).padStart(4, '0')}.json`);
  for (let at = 0; at < keys.length; at += 50)
    await Promise.all(keys.slice(at, at + 50).map((key) => fill(here, key, Buffer.from(`{"key":"${key}"}`))));
  expect(await run('planTransfer', transfer)).toMatchObject({ objects: 1200, shards: 1 });
  const since = await lastCall();
  const environment = new MockActivityEnvironment();
  const first = run('copyShard', { ...transfer, shard: 0 }, environment);
  while ((await writes(there, since)).size < 500) await new Promise((resolve) => setTimeout(resolve, 200));
  environment.cancel('WORKER_SHUTDOWN');
  await expect(first).rejects.toThrow();
  const finished = (await writes(there, since)).size;
  expect(finished).toBeLessThan(1200);

  const copied = await run('copyShard', { ...transfer, shard: 0 });
  expect(copied.copied.objects + copied.inStep.objects).toBe(1200);
  const all = await writes(there, since);
  expect(all.size).toBe(1200);
  // What was under way when it was broken off may be sent again; nothing else is.
  expect([...all.values()].reduce((sum, times) => sum + times, 0)).toBeLessThanOrEqual(1200 + concurrencyBounds.most);
  expect(copied.inStep.objects).toBeGreaterThan(0);

  const before = await lastCall();
  expect(await run('copyShard', { ...transfer, shard: 0 })).toEqual(copied);
  await run('planTransfer', { ...transfer, transfer: 'another' });
  expect(await run('copyShard', { ...transfer, transfer: 'another', shard: 0 })).toMatchObject({
    copied: { objects: 0 },
    inStep: { objects: 1200 },
  });
  expect((await writes(there, before)).size).toBe(0);
  expect(await run('verifyTransfer', { ...transfer, what: { kind: 'everything' } })).toMatchObject({
    same: 1200,
    different: {},
  });
});

it.each(['aws', 'azure', 'gcp'] as const)('a byte that was flipped on %s is found and named', async (to) => {
  const { here, there, transfer } = await between(to === 'aws' ? 'gcp' : 'aws', to);
  for (const key of ['one', 'two', 'three']) await fill(here, key, Buffer.from(`content of ${key}`));
  await run('planTransfer', transfer);
  await run('copyShard', { ...transfer, shard: 0 });
  const copy = await there.head('two', signal);
  const flipped = Buffer.from('content of twO');
  const piece = { chunks: [flipped], bytes: flipped.length };
  await there.write(
    {
      key: 'two',
      size: flipped.length,
      attributes: copy?.attributes ?? plain,
      expected: { version: copy?.version ?? '' },
      md5: md5Of(piece),
    },
    piece,
    crc32(flipped),
    signal,
  );
  for (const what of [{ kind: 'shard', shard: 0 }, { kind: 'everything' }] as const)
    for (const bodies of ['needed', 'all'] as const) {
      const verified = await run('verifyTransfer', { ...transfer, what, bodies });
      expect(verified).toMatchObject({ same: 2, different: { content: 1 }, differentNames: ['two'] });
      expect(await linesUnder(transfer.target, verified.report)).toContainEqual(
        expect.objectContaining({ key: 'two', what: 'content' }),
      );
    }
  // The next delta mends it.
  expect(await run('copyDelta', { ...transfer, round: 0, maxDeletes: 0 })).toMatchObject({
    copied: { objects: 1 },
    left: 0,
  });
  expect(await run('verifyTransfer', { ...transfer, what: { kind: 'delta', round: 0 } })).toMatchObject({
    same: 1,
    different: {},
  });
});

it.each(['aws', 'azure', 'gcp'] as const)(
  'a repair on %s makes equal what a comparison has named, and nothing else',
  async (to) => {
    const { here, there, transfer } = await between(to === 'aws' ? 'gcp' : 'aws', to);
    const large = randomBytes(9 * 1024 * 1024);
    await fillLarge(here, 'large', large);
    for (const key of ['missing', 'rewritten', 'untouched']) await fill(here, key, Buffer.from(`content of ${key}`));
    await run('planTransfer', transfer);
    await run('copyShard', { ...transfer, shard: 0 });
    const untouched = await there.head('untouched', signal);
    const copy = await there.head('large', signal);
    const flipped = Buffer.from(large);
    flipped.writeUInt8(flipped.readUInt8(5) ^ 1, 5);
    await there.remove(copy as never, signal);
    await fillLarge(there, 'large', flipped, copy?.attributes);
    for (const key of ['missing', 'rewritten']) await there.remove((await there.head(key, signal)) as never, signal);
    await fill(there, 'rewritten', Buffer.from('by somebody else'));
    await fill(there, 'extra', Buffer.from('extra'));
    const compare = () => run('verifyTransfer', { ...transfer, what: { kind: 'everything' } });
    const { report, different } = await compare();
    // The large one has the size and the marks of a copy.
    expect(different).toEqual({ content: 1, stale: 1, missing: 1, extra: 1 });
    expect(await run('repairTransfer', { ...transfer, report, gone: 'keep' })).toMatchObject({
      copied: { objects: 3 },
      deleted: 0,
      kept: 1,
      failed: 0,
    });
    expect(await compare()).toMatchObject({ same: 4, different: { extra: 1 }, differentNames: ['extra'] });
    expect(await run('repairTransfer', { ...transfer, report, gone: 'delete' })).toMatchObject({ deleted: 1 });
    expect(await compare()).toMatchObject({ same: 4, different: {} });
    expect(await contents(there)).toEqual(await contents(here));
    expect((await there.head('untouched', signal))?.version).toBe(untouched?.version);
    await expect(run('repairTransfer', { ...transfer, report: 'transfers/another/', gone: 'keep' })).rejects.toThrow(
      /must be of this transfer/,
    );
  },
);

it.each(['aws', 'azure', 'gcp'] as const)(
  'what changes or vanishes on %s while it is copied is copied as it is then, or counted',
  async (from) => {
    const { here, there, transfer } = await between(from, from === 'gcp' ? 'aws' : 'gcp');
    for (const key of ['changes', 'stays', 'vanishes']) await fill(here, key, Buffer.from(`old ${key}`));
    await run('planTransfer', transfer);
    const disarm = await armFault({
      match: { cloud: from, method: 'GET', path: '/(changes|vanishes)$/' },
      effect: 'delay',
      delayMs: 1500,
      times: 2,
    });
    const copying = run('copyShard', { ...transfer, shard: 0 });
    await new Promise((resolve) => setTimeout(resolve, 700));
    const [old, gone] = await Promise.all([here.head('changes', signal), here.head('vanishes', signal)]);
    const fresh = Buffer.from('new and longer');
    await here.write(
      {
        key: 'changes',
        size: fresh.length,
        attributes: plain,
        expected: { version: old?.version ?? '' },
        md5: md5Of({ chunks: [fresh], bytes: fresh.length }),
      },
      { chunks: [fresh], bytes: fresh.length },
      crc32(fresh),
      signal,
    );
    await here.remove(gone as never, signal);
    expect(await copying).toMatchObject({ changed: 1, vanished: 1, failed: 0, copied: { objects: 2 } });
    expect(await disarm()).toBe(2);
    expect(await contents(there)).toEqual(await contents(here));
  },
);

it('what cannot be copied is in the failure file, each with its reason; the rest is copied', async () => {
  const { here, there, transfer } = await between('aws', 'azure');
  await fill(here, 'fine', Buffer.from('fine'));
  await fill(here, 'ends with a dot.', Buffer.from('x'));
  const { region } = transfer.source;
  const clients = new Clients({
    name: 'aws',
    region,
    credentials: {
      access_key_id: process.env.AWS_ACCESS_KEY_ID ?? '',
      secret_access_key: process.env.AWS_SECRET_ACCESS_KEY ?? '',
    },
    pollMs: 25,
    callDeadlineMs: 20_000,
  });
  await clients
    .s3(region)
    .send(new PutObjectCommand({ Bucket: here.id.split(':')[1], Key: 'frozen', Body: 'x', StorageClass: 'GLACIER' }));
  clients.close();
  expect(await run('planTransfer', transfer)).toMatchObject({ objects: 3, refused: { key: 1, archived: 1 } });
  const copied = await run('copyShard', { ...transfer, shard: 0 });
  expect(copied).toMatchObject({ copied: { objects: 1 }, failed: 2, failedNames: ['ends with a dot.', 'frozen'] });
  expect(await linesUnder(transfer.target, copied.failures)).toEqual([
    { key: 'ends with a dot.', size: 1, reason: 'key', detail: expect.stringContaining('azure') },
    { key: 'frozen', size: 1, reason: 'archived', detail: expect.stringContaining('restored') },
  ]);
  expect([...(await contents(there)).keys()]).toEqual(['fine']);
});

it('a cloud that throttles is given the time that it asks for, and loses nothing', async () => {
  const { here, there, transfer } = await between('gcp', 'aws');
  for (let n = 0; n < 40; n++) await fill(here, `o${n}`, Buffer.from(String(n)));
  await run('planTransfer', transfer);
  const disarm = await armFault({
    match: { cloud: 'aws', method: 'PUT', path: '/^.o[0-9]+$/' },
    effect: 'refuse',
    cause: 'throttled',
    retryAfterSeconds: 1,
    times: 5,
  });
  const started = performance.now();
  expect(await run('copyShard', { ...transfer, shard: 0 })).toMatchObject({ copied: { objects: 40 }, failed: 0 });
  expect(await disarm()).toBe(5);
  expect(performance.now() - started).toBeGreaterThan(1000);
  expect(await contents(there)).toEqual(await contents(here));
});

it('an answer that got lost is no second copy and no failure', async () => {
  const { here, there, transfer } = await between('gcp', 'aws');
  await fill(here, 'only', Buffer.from('once'));
  await run('planTransfer', transfer);
  const since = await lastCall();
  const disarm = await armFault({
    match: { cloud: 'aws', method: 'PUT', path: '/^.only$/' },
    effect: 'lose-answer',
    times: 1,
  });
  expect(await run('copyShard', { ...transfer, shard: 0 })).toMatchObject({ failed: 0, seen: { objects: 1 } });
  expect(await disarm()).toBe(1);
  expect((await writes(there, since)).get('/only')).toBe(1);
  expect(await contents(there)).toEqual(await contents(here));
});

it('a delta copies what is new and changed, deletes what is gone unless that is too much, and runs back without an echo', async () => {
  const { here, there, transfer } = await between('aws', 'gcp');
  for (const key of ['a', 'b', 'c', 'd']) await fill(here, key, Buffer.from(`old ${key}`));
  expect(await run('copyDelta', { ...transfer, round: 0, maxDeletes: 0 })).toMatchObject({
    copied: { objects: 4 },
    behind: 4,
    left: 0,
    deletes: 'applied',
  });

  const put = async (store: ObjectStore, key: string, text: string): Promise<void> => {
    const known = await store.head(key, signal);
    const bytes = Buffer.from(text);
    const piece = { chunks: [bytes], bytes: bytes.length };
    const expected = known ? { version: known.version } : { absent: true as const };
    await store.write(
      { key, size: bytes.length, attributes: plain, expected, md5: md5Of(piece) },
      piece,
      crc32(bytes),
      signal,
    );
  };
  await put(here, 'a', 'new a');
  await put(here, 'e', 'new e');
  for (const key of ['b', 'c']) await here.remove((await here.head(key, signal)) as never, signal);
  const held = await run('copyDelta', { ...transfer, round: 1, maxDeletes: 1 });
  expect(held).toMatchObject({
    copied: { objects: 2 },
    inStep: { objects: 1 },
    gone: 2,
    deleted: 0,
    deletes: 'held',
    behind: 4,
    left: 2,
  });
  expect([...(await contents(there)).keys()]).toEqual(['a', 'b', 'c', 'd', 'e']);
  const applied = await run('copyDelta', { ...transfer, round: 2, maxDeletes: 2 });
  expect(applied).toMatchObject({ copied: { objects: 0 }, gone: 2, deleted: 2, deletes: 'applied', left: 0 });
  expect(await contents(there)).toEqual(await contents(here));

  const reverse = { source: transfer.target, target: transfer.source, transfer: 'reverse' };
  expect(await run('copyDelta', { ...reverse, round: 0, maxDeletes: 0 })).toMatchObject({
    copied: { objects: 0 },
    inStep: { objects: 3 },
    gone: 0,
    behind: 0,
  });
  await put(there, 'd', 'written after the switch');
  await put(there, 'f', 'and this');
  expect(await run('copyDelta', { ...reverse, round: 1, maxDeletes: 0 })).toMatchObject({ copied: { objects: 2 } });
  expect(await contents(here)).toEqual(await contents(there));
  expect(await run('copyDelta', { ...transfer, round: 3, maxDeletes: 0 })).toMatchObject({
    copied: { objects: 0 },
    inStep: { objects: 4 },
    behind: 0,
  });
});

it('an input that is none is refused, naming the field', async () => {
  await expect(run('copyShard', { shard: -1 } as never)).rejects.toThrow(/shard/);
});
