/** What stores keep behind their current objects: it arrives in the same order with the same bytes, and a break changes nothing. */
import { createHash, randomBytes } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { MockActivityEnvironment } from '@temporalio/testing';
import { md5Of, type ObjectStore, type StoredVersion } from '../../activities/providers/object-store.ts';
import { Gate } from '../../activities/transfer/gate.ts';
import { historiesIn } from '../../activities/transfer/histories.ts';
import type { ProviderType } from '../../model/service.ts';
import { contents, placed, plain, pool, run, signal, storeOf } from './stores.ts';

const MiB = 1024 * 1024;
let named = 0;
async function between(from: ProviderType, to: ProviderType) {
  const [source, target] = await Promise.all([placed(from), placed(to)]);
  const [here, there] = await Promise.all([storeOf(source), storeOf(target)]);
  return { here, there, transfer: { source, target, transfer: `v${++named}` } };
}

/** Writes over what is there, as a program does. */
async function put(store: ObjectStore, key: string, bytes: Buffer): Promise<void> {
  const now = await store.head(key, signal);
  const piece = { chunks: bytes.length > 0 ? [bytes] : [], bytes: bytes.length };
  const expected = now ? { version: now.version } : { absent: true as const };
  await store.write(
    { key, size: bytes.length, attributes: plain, expected, md5: md5Of(piece) },
    piece,
    crc32(bytes),
    signal,
  );
}
async function remove(store: ObjectStore, key: string): Promise<void> {
  const now = await store.head(key, signal);
  if (now) await store.remove(now, signal);
}

/** SHA-256 of all that is kept under each key, oldest first, and where it was deleted. */
async function kept(store: ObjectStore): Promise<Map<string, string[]>> {
  const provider = await pool.get(store.id.split(':')[0] ?? '');
  const found = new Map<string, string[]>();
  const told = async ({ object }: StoredVersion): Promise<string> => {
    if (!object) return 'deleted';
    const { size } = object;
    const chunks = size > 0 ? (await store.read(object, { from: 0, bytes: size }, signal)).piece.chunks : [];
    return createHash('sha256').update(Buffer.concat(chunks)).digest('hex');
  };
  const working = { gate: new Gate(signal), signal };
  for await (const history of historiesIn(working, { provider, store }, { after: '', to: '' }))
    found.set(history.key, await Promise.all(history.kept.map(told)));
  return found;
}
const unmarked = (histories: Map<string, string[]>) =>
  new Map([...histories].map(([key, row]) => [key, row.filter((one) => one !== 'deleted')]));

async function lived(store: ObjectStore): Promise<void> {
  for (const text of ['one', 'two', 'three']) await put(store, 'rewritten', Buffer.from(text));
  await put(store, 'a+b %2F/ü', Buffer.from('strange'));
  await put(store, 'a+b %2F/ü', Buffer.alloc(0));
  await put(store, 'a+b %2F/ü', Buffer.from('again'));
  await put(store, 'deleted', Buffer.from('gone'));
  await remove(store, 'deleted');
  await put(store, 'back', Buffer.from('before'));
  await remove(store, 'back');
  await put(store, 'back', Buffer.from('after'));
  await put(store, 'single', Buffer.from('once'));
  await put(store, 'large', randomBytes(9 * MiB));
  await put(store, 'large', randomBytes(33 * MiB));
  await put(store, 'large', Buffer.from('small by now'));
}

it.each([
  ['aws', 'azure'],
  ['azure', 'gcp'],
  ['gcp', 'aws'],
] as const)('from %s to %s histories arrive whole, are compared, and are not copied twice', async (from, to) => {
  const { here, there, transfer } = await between(from, to);
  await lived(here);
  const before = await kept(here);
  expect(unmarked(before).get('rewritten')).toHaveLength(3);

  const versions = 2 + 2 + 1 + 1 + 2;
  const measured = await run('measureStore', { placement: transfer.source, versions: true });
  expect(measured).toMatchObject({ objects: 5, versions: { objects: versions } });
  await run('planTransfer', transfer);
  const copied = await run('copyVersions', { ...transfer, shard: 0 });
  expect(copied).toMatchObject({ copied: { objects: versions }, failed: 0, missed: 0 });
  await run('copyShard', { ...transfer, shard: 0 });

  const after = await kept(there);
  expect(unmarked(after)).toEqual(unmarked(before));
  if (from === 'aws') expect(before.get('back')).toContain('deleted');
  expect(await contents(there)).toEqual(await contents(here));
  const compare = { ...transfer, what: { kind: 'versions', shard: 0, attempt: 0 } } as const;
  for (const bodies of ['needed', 'all'] as const)
    expect(await run('verifyTransfer', { ...compare, bodies })).toMatchObject({ same: versions, different: {} });

  // Another transfer, as of a run that takes this one up.
  const again = { ...transfer, transfer: `${transfer.transfer}-again` };
  await run('planTransfer', again);
  expect(await run('copyVersions', { ...again, shard: 0 })).toMatchObject({
    copied: { objects: 0 },
    inStep: { objects: versions },
    failed: 0,
  });
  expect(await kept(there)).toEqual(after);
});

it('what was deleted at the end is deleted at the end, with a marker where the target keeps them', async () => {
  const { here, there, transfer } = await between('aws', 'gcp');
  await lived(here);
  await run('planTransfer', transfer);
  expect(await run('copyVersions', { ...transfer, shard: 0 })).toMatchObject({ deletions: 2 });
  expect(await there.head('deleted', signal)).toBeUndefined();
  await run('copyShard', { ...transfer, shard: 0 });
  const back = await placed('aws');
  const reverse = { source: transfer.target, target: back, transfer: `v${++named}` };
  await run('planTransfer', reverse);
  await run('copyVersions', { ...reverse, shard: 0 });
  expect((await kept(await storeOf(back))).get('deleted')?.at(-1)).toBe('deleted');
});

it('a history that broke off goes on where it was; before what came later nothing is put, and a lost version is found', async () => {
  const { here, there, transfer } = await between('gcp', 'aws');
  for (let n = 0; n < 12; n++) for (const key of ['a', 'b', 'c']) await put(here, key, Buffer.from(`${key} ${n}`));
  await run('planTransfer', transfer);
  const environment = new MockActivityEnvironment();
  const first = run('copyVersions', { ...transfer, shard: 0 }, environment);
  while (!(await there.head('a', signal))) await new Promise((resolve) => setTimeout(resolve, 20));
  environment.cancel('WORKER_SHUTDOWN');
  await expect(first).rejects.toThrow();
  const copied = await run('copyVersions', { ...transfer, shard: 0 });
  expect(copied.copied.objects + copied.inStep.objects).toBe(33);
  expect(copied.inStep.objects).toBeGreaterThan(0);
  await run('copyShard', { ...transfer, shard: 0 });
  expect(unmarked(await kept(there))).toEqual(unmarked(await kept(here)));

  const compare = { ...transfer, what: { kind: 'versions', shard: 0, attempt: 0 } } as const;
  expect(await run('verifyTransfer', compare)).toMatchObject({ same: 33, different: {} });

  await put(there, 'd', Buffer.from('by somebody else'));
  for (const text of ['x', 'y']) await put(here, 'd', Buffer.from(text));
  const later = { ...transfer, transfer: `${transfer.transfer}-later` };
  await run('planTransfer', later);
  expect(await run('copyVersions', { ...later, shard: 0 })).toMatchObject({ failed: 1, failedNames: ['d'] });
});
