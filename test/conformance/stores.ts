/** What workers do with a store besides making and removing it: a fence around it, copies of what is in it. */
import { setTimeout } from 'node:timers/promises';
import { crc32 } from 'node:zlib';
import { MockActivityEnvironment } from '@temporalio/testing';
import type { Provider } from '../../activities/providers/driver.ts';
import { createFenceActivities } from '../../activities/providers/fence.ts';
import { md5Of } from '../../activities/providers/object-store.ts';
import type { ProviderPool, Providers } from '../../activities/providers/pool.ts';
import { driverOf, Resource } from '../../activities/providers/provision.ts';
import { recordsBuckets } from '../../activities/records/bucket.ts';
import { Book } from '../../activities/replication/book.ts';
import { createReplicateActivities } from '../../activities/replication/replicate.ts';
import { createSidesActivities } from '../../activities/replication/sides.ts';
import { openSide } from '../../activities/replication/stores.ts';
import { Gate } from '../../activities/transfer/gate.ts';
import { recordsPlacement } from '../../model/records.ts';
import { edgesOf } from '../../model/replicate.ts';
import type { Outputs, Placement } from '../../model/service.ts';
import { type Made, visitors } from '../fence/visitors.ts';
import { fill, madeBy, plain, runner } from '../transfer/stores.ts';
import { askedRights, recording } from './identities.ts';

const pace = { pollMs: 25, heartbeat: () => {} };
const signal = () => AbortSignal.timeout(60_000);
const run = { workflowId: 'migrate/conformance/store', runId: '6f0b7a44-6a1c-4a53-9c59-2d0f4a6c9a01' };
const expiresAt = '2099-01-01T00:00:00Z';
const MiB = 1024 * 1024;

function cellOf(provider: Provider, { type }: Placement) {
  const cell = provider.cells.find((one) => one.type === type);
  if (!cell) throw new Error(`no cell for ${type}`);
  return cell;
}

/** With a records bucket beside the store, as a deployment leaves one there. */
export async function withRecords(
  { control, undo }: { control: Provider; undo: Provider },
  placement: Placement,
  act: () => Promise<void>,
): Promise<void> {
  const records = recordsPlacement(placement.owner, placement);
  await recordsBuckets({ cellOf, pace: () => pace, retentionDays: 1, repair: true })(control, records, signal());
  try {
    await act();
  } finally {
    const cell = cellOf(undo, records);
    const specs = cell.design(records);
    const outputs: Record<string, Outputs> = {};
    const resourceOf = (spec: (typeof specs)[number]) => {
      const needs = Object.fromEntries(spec.needs.map((key) => [key, outputs[key] ?? {}]));
      return new Resource(undo, cell, spec, { placement: records, needs, signal: signal() });
    };
    for (const spec of specs) outputs[spec.key] = (await resourceOf(spec).observe())?.outputs ?? {};
    for (const spec of specs.toReversed())
      await resourceOf(spec).remove(pace, { deleteData: true, retainUntil: '2099-01-01' });
  }
}

/** Who takes back fences a store that another program writes to, and lets go; who creates sees whether a fence stands. */
export async function isFenced(
  workers: { control: Provider; undo: Provider },
  placement: Placement,
  made: Made,
  /** Takes the rights away that stand on the store itself. */
  bare: (() => Promise<void>) | undefined,
): Promise<void> {
  const fencesOf = (provider: Provider) =>
    createFenceActivities({
      atPlacement: (_, act) => act(provider, signal()),
      ensureBucket: recordsBuckets({ cellOf, pace: () => pace, retentionDays: 1, repair: false }),
      needed: (cloud, type) => (recording ? [] : askedRights(cloud, type, 'undo')),
    });
  const [seen, own] = [fencesOf(workers.control), fencesOf(workers.undo)];
  await withRecords(workers, placement, async () => {
    const visitor = await visitors[placement.providerType](placement, made);
    const fenced = async (): Promise<void> => {
      const before = await visitor.rights();
      expect(await own.proveFence({ placement })).toMatchObject({ missing: [] });
      expect(await own.fenceStore({ placement, owner: run, expiresAt })).toMatchObject({ inForce: true });
      expect(await seen.fenceState({ placement })).toMatchObject({ fence: { owner: run, expiresAt } });
      // As whoever goes the same way again asks.
      expect(await own.proveFence({ placement })).toMatchObject({ missing: [] });
      expect(await visitor.rights()).not.toBe(before);
      expect(await own.liftFence({ placement, owner: run })).toEqual({ outcome: 'lifted' });
      expect(await seen.fenceState({ placement })).toMatchObject({ fence: null });
      expect(await visitor.rights()).toBe(before);
    };
    try {
      await fenced();
      if (!bare) return;
      await bare();
      await fenced();
    } finally {
      await visitor.leave();
    }
  });
}

/** Who moves content copies it from one store to another, keeps the copy in step, compares, and gives an upload up. */
export async function isCopied(
  { bulk, ...workers }: { control: Provider; undo: Provider; bulk: ProviderPool },
  { from, to }: { from: Placement; to: Placement },
): Promise<void> {
  const [source, target] = [await madeBy(workers.control, from), await madeBy(workers.control, to)];
  const { store } = await bulk.get(from.provider);
  const [here, there] = [store(source), store(target)];
  const transfer = { source, target, transfer: 'conformance' };
  const move = runner(bulk);
  const measure = () => move('measureStore', { placement: source, versions: true });
  // What others wrote before has its older versions too.
  const before = (await measure()).versions ?? { objects: 0, bytes: 0 };
  const tagged = { ...plain, tags: { kind: 'image' } };
  await fill(here, 'small', Buffer.from('zero'), tagged);
  const older = await here.head('small', signal());
  if (older) await here.remove(older, signal());
  await fill(here, 'small', Buffer.from('one'), tagged);
  await fill(here, 'gone', Buffer.from('two'));
  await fill(here, 'large', Buffer.alloc(9 * MiB, 7), tagged);
  await withRecords(workers, to, async () => {
    const { objects, largest, versions } = await measure();
    const older = { objects: before.objects + 1, bytes: before.bytes + 4 };
    expect({ largest, versions }).toMatchObject({ largest: 9 * MiB, versions: older });
    expect(await move('planTransfer', transfer)).toMatchObject({ objects, shards: 1, refused: {} });
    const history = await move('copyVersions', { ...transfer, shard: 0 });
    expect(history).toMatchObject({ copied: older, failed: 0 });
    const what = { kind: 'versions', shard: 0, attempt: 0 } as const;
    expect(await move('verifyTransfer', { ...transfer, what, bodies: 'all' })).toMatchObject({
      different: {},
      same: older.objects,
    });
    expect(await move('copyShard', { ...transfer, shard: 0 })).toMatchObject({ copied: { objects }, failed: 0 });

    const gone = await here.head('gone', signal());
    const small = await here.head('small', signal());
    if (!gone || !small) throw new Error('the source is not as it was filled');
    await here.remove(gone, signal());
    const piece = { chunks: [Buffer.from('three')], bytes: 5 };
    const changed = { ...small, size: 5, attributes: tagged, expected: { version: small.version }, md5: md5Of(piece) };
    await here.write(changed, piece, crc32('three'), signal());
    const delta = await move('copyDelta', { ...transfer, round: 0, maxDeletes: 10 });
    expect(delta).toMatchObject({ copied: { objects: 1 }, deleted: 1, failed: 0 });
    const verified = await move('verifyTransfer', { ...transfer, what: { kind: 'everything' }, bodies: 'all' });
    expect(verified).toMatchObject({ different: {}, same: objects - 1 });

    const part = { chunks: [Buffer.alloc(8 * MiB, 1)], bytes: 8 * MiB };
    const { uploads } = there;
    const object = { key: 'begun', size: 9 * MiB, attributes: plain, expected: { absent: true as const } };
    const begun = await uploads.begin(object, part.bytes, signal());
    const sent = { number: 0, from: 0, piece: part, crc32: crc32(part.chunks[0] ?? '') };
    await uploads.put(object, begun, sent, signal());
    const { parts, bytes } = (await uploads.received(object, begun, signal())) ?? { parts: new Map(), bytes: 0 };
    expect(bytes + parts.size * part.bytes).toBe(part.bytes);
    await uploads.abandon(object, begun, signal());
    expect(await there.head('begun', signal())).toBeUndefined();
  });
}

/** Who moves content keeps two stores in step, logs and gives back what loses, and rolls the books in the records buckets. */
export async function isReplicated(
  { bulk, ...workers }: { control: Provider; undo: Provider; bulk: ProviderPool },
  [one, other]: readonly [Placement, Placement],
): Promise<void> {
  const sides = [await madeBy(workers.control, one), await madeBy(workers.control, other)] as const;
  const provider = await bulk.get(one.providerType);
  const [here, there] = [provider.store(sides[0]), provider.store(sides[1])];
  const pool: Providers = { get: async () => provider, account: async () => one.account, forget: async () => {} };
  const dependencies = { pool, pollMs: 25, callDeadlineMs: 20_000 };
  const activities = { ...createReplicateActivities(dependencies), ...createSidesActivities(dependencies) };
  const run = <T>(act: () => Promise<T>): Promise<T> => new MockActivityEnvironment().run(act) as Promise<T>;
  const names = [one.provider, other.provider] as const;
  let epoch = 0;
  const pump = () =>
    run(() =>
      activities.replicateSides({
        ...{ sides: [...sides], rule: 'last-write-wins', source: names[0], tombstoneMs: 60_000, forMs: 0 },
        edges: edgesOf(names, { mode: 'active-active', source: '', topology: 'mesh' }),
        ...{ epoch: ++epoch, compareMs: 60_000 },
      }),
    );
  await withRecords(workers, one, () =>
    withRecords(workers, other, async () => {
      await fill(here, 'replicated', Buffer.from('one'));
      await fill(here, 'both', Buffer.from('first'));
      await setTimeout(1100); // S3 tells the time to the second
      await fill(there, 'both', Buffer.from('second'));
      expect((await pump()).directions.map(({ applied }) => applied).toSorted()).toEqual(expect.arrayContaining([1]));
      const [first, second] = await Promise.all([here.head('both', signal()), there.head('both', signal())]);
      expect([first?.size, second?.size]).toEqual([6, 6]);
      const gone = await there.head('replicated', signal());
      if (!gone) throw new Error('it did not go to the other side');
      await there.remove(gone, signal());
      await pump();
      expect(await here.head('replicated', signal())).toBeUndefined();

      // A book is rolled after a thousand files.
      const gate = new Gate(signal());
      const ensureBucket = recordsBuckets({ cellOf, pace: () => pace, retentionDays: 1, repair: false });
      const side = await openSide(provider, sides[0], { gate, signal: signal(), ensureBucket, callDeadlineMs: 20_000 });
      const book = await Book.open(side.name, side.files, { epoch: ++epoch, pump: 'conformance' });
      await book.snapshot();
      expect((await side.files.list('journal/')).length).toBeLessThan(3);

      const { owner, provider: name, providerType, region, account } = sides[0];
      const place = { provider: name, providerType, region, account };
      const lately = { since: Date.now() - 60_000, until: Date.now() + 60_000 };
      const { conflicts } = await run(() => activities.readConflicts({ owner, place, ...lately }));
      const id = conflicts.find(({ key }) => key === 'both')?.id ?? '';
      const back = { id, places: [place], sides: [...sides] };
      await setTimeout(1100);
      expect(await run(() => activities.writeConflictBack(back))).toMatchObject({ side: name, key: 'both', size: 5 });
      const asked = { sides: [...sides], rule: 'last-write-wins' as const, source: name, name: 'conformance' };
      const { report } = await run(() => activities.compareSides({ ...asked, settleMs: 0 }));
      const repaired = await run(() => activities.repairSides({ ...asked, report }));
      expect(repaired.sides[1]?.copied.objects).toBe(1);
    }),
  );
}

/** Who creates makes and repairs the feed of a store, who moves content is told by it of a change, who takes back removes it. */
export async function isTold(
  { control, undo, bulk }: { control: Provider; undo: Provider; bulk: ProviderPool },
  placement: Placement,
): Promise<void> {
  const source = await madeBy(control, placement);
  const mover = await bulk.get(placement.provider);
  const spec = control.feed.design(placement);
  const call = () => ({ placement, needs: {}, signal: signal() });
  const feedOf = (provider: Provider) => new Resource(provider, cellOf(provider, placement), spec, call());
  try {
    expect(await feedOf(control).ensure(pace)).toMatchObject({ outcome: 'created' });
    const seen = await feedOf(control).observe();
    if (!seen) throw new Error('the feed is not there');
    await driverOf(cellOf(control, placement), spec.kind).update(spec, seen, Object.keys(spec.desired), call());
    expect((await feedOf(control).ensure(pace)).drift).toEqual([]);

    const feed = mover.feed.open(placement);
    await fill(mover.store(source), 'told of', Buffer.from('one'));
    const told: string[] = [];
    for (const until = Date.now() + 20_000; !told.includes('told of') && Date.now() < until; ) {
      const notices = await feed.receive(1000, signal());
      told.push(...notices.flatMap(({ changes }) => changes.map(({ key }) => key)));
      if (notices.length > 0)
        await feed.acknowledge(
          notices.map(({ receipt }) => receipt),
          signal(),
        );
    }
    expect(told).toEqual(['told of']);
  } finally {
    await feedOf(undo).remove(pace, { deleteData: true, retainUntil: '' });
  }
  expect(await feedOf(control).observe()).toBeUndefined();
}
