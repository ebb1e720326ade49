/**
 * Following by what the clouds tell: each feed tells of what was written, overwritten and deleted, leaves what others have set up
 * as it is, and goes without a trace; the pump brings what it is told, and nothing twice.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { crc32 } from 'node:zlib';
import {
  GetBucketNotificationConfigurationCommand,
  PutBucketNotificationConfigurationCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import { EventGridManagementClient } from '@azure/arm-eventgrid';
import { StorageManagementClient } from '@azure/arm-storage';
import { ClientSecretCredential } from '@azure/identity';
import { Storage } from '@google-cloud/storage';
import { MockActivityEnvironment } from '@temporalio/testing';
import { cellOf } from '../../activities/providers/calls.ts';
import type { ChangeFeed, Notice } from '../../activities/providers/change-feed.ts';
import { createFeedActivities } from '../../activities/providers/feed.ts';
import { md5Of } from '../../activities/providers/object-store.ts';
import { scan } from '../../activities/providers/provision.ts';
import { findStrays, removeStrays } from '../../activities/providers/strays.ts';
import { drainFeed } from '../../activities/replication/drain.ts';
import { createFollowActivities } from '../../activities/replication/follow.ts';
import { createTransferActivities } from '../../activities/transfer/activities.ts';
import { callBytes } from '../../activities/transfer/copy-object.ts';
import { copiesIn, filesOf } from '../../activities/transfer/files.ts';
import { Gate } from '../../activities/transfer/gate.ts';
import { Receipts } from '../../activities/transfer/receipts.ts';
import type { FollowedStore, FollowStoreInput } from '../../model/replication.ts';
import type { PlacementRef } from '../../model/transfer.ts';
import { contents, fill, placed, plain, pool, signal, storeOf } from '../transfer/stores.ts';

const clouds = ['aws', 'gcp', 'azure'] as const;
const pace = () => ({ pollMs: 25, heartbeat: () => {} });
const dependencies = { pool, pollMs: 25, callDeadlineMs: 20_000 };
const { copyDelta, nameWriter } = createTransferActivities(dependencies);
const { followStore } = createFollowActivities({ ...dependencies, copyDelta, nameWriter });
const { ensureFeed, removeFeed } = createFeedActivities({
  atPlacement: async (placement, act) => act(await pool.get(placement.provider), signal),
  pace,
});
const feedOf = async (store: PlacementRef) => (await pool.get(store.provider)).feed.open(store);

/** Overwrites, or writes what is not there. */
async function put(store: PlacementRef, key: string, text: string): Promise<void> {
  const at = await storeOf(store);
  const now = await at.head(key, signal);
  if (!now) return fill(at, key, Buffer.from(text));
  const piece = { chunks: [Buffer.from(text)], bytes: Buffer.byteLength(text) };
  const object = { key, size: piece.bytes, attributes: plain, expected: { version: now.version }, md5: md5Of(piece) };
  await at.write(object, piece, crc32(text), signal);
}
async function remove(store: PlacementRef, key: string): Promise<void> {
  const at = await storeOf(store);
  const now = await at.head(key, signal);
  if (now) await at.remove(now, signal);
}

/** What a feed tells until it has told of all of these keys as often. */
async function told(feed: ChangeFeed, keys: readonly string[]): Promise<Notice[]> {
  const notices: Notice[] = [];
  const missing = () => {
    const seen = notices.flatMap(({ changes }) => changes.map(({ key }) => key));
    return keys.filter((key) => seen.filter((one) => one === key).length < keys.filter((one) => one === key).length);
  };
  for (const until = Date.now() + 20_000; missing().length > 0 && Date.now() < until; )
    notices.push(...(await feed.receive(1000, signal)));
  expect(missing()).toEqual([]);
  return notices;
}

const strange = [
  'with space+plus%percent%2Ftwice',
  'caf\u00e9',
  'cafe\u0301',
  'a//b',
  '日本語',
  'query?and#hash&amp;<xml>"quoted"\'',
];

/** What the user has set up on a store besides, as the cloud shows it. */
const others = {
  async aws({ resources, account, region }: PlacementRef) {
    const s3 = new S3Client({ region });
    const bucket = { Bucket: resources[0]?.outputs.bucket ?? '', ExpectedBucketOwner: account };
    const read = async () => {
      const { $metadata: _, ...all } = await s3.send(new GetBucketNotificationConfigurationCommand(bucket));
      return all;
    };
    const own = { EventBridgeConfiguration: {} };
    await s3.send(new PutBucketNotificationConfigurationCommand({ ...bucket, NotificationConfiguration: own }));
    return async () => {
      const { QueueConfigurations, ...rest } = await read();
      return { ...rest, queues: (QueueConfigurations ?? []).filter(({ Id }) => !Id?.endsWith('-feed')) };
    };
  },
  async gcp({ resources, account }: PlacementRef) {
    const storage = new Storage({ keyFilename: process.env.GCP_KEY_FILE ?? '', projectId: account });
    const bucket = storage.bucket(resources[0]?.outputs.bucket ?? '');
    const provider = await pool.get('gcp');
    const other = await placed('gcp');
    await ensureFeed({ placement: other });
    const topic = `projects/${account}/topics/${provider.feed.design(other).name}`;
    const [made] = await bucket.createNotification(topic, { eventTypes: ['OBJECT_DELETE'], payloadFormat: 'NONE' });
    return async () =>
      (await bucket.getNotifications())[0].map(({ metadata }) => metadata).filter((one) => one?.id === made.id);
  },
  async azure({ resources, account }: PlacementRef) {
    const { AZURE_TENANT_ID = '', AZURE_CLIENT_ID = '', AZURE_CLIENT_SECRET = '' } = process.env;
    const credential = new ClientSecretCredential(AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET);
    const { eventSubscriptions } = new EventGridManagementClient(credential, account);
    const scope = resources.find(({ key }) => key === 'account')?.id ?? '';
    const [name = '', group = ''] = [scope.split('/').at(-1), scope.split('/')[4]];
    await new StorageManagementClient(credential, account).queue.create(group, name, 'of-the-user', {});
    const destination = { endpointType: 'StorageQueue' as const, resourceId: scope, queueName: 'of-the-user' };
    await eventSubscriptions.beginCreateOrUpdateAndWait(scope, 'of-the-user', { destination });
    return () => eventSubscriptions.get(scope, 'of-the-user');
  },
};

describe.each(clouds)('on %s', (cloud) => {
  let store: PlacementRef;
  let feed: ChangeFeed;
  beforeAll(async () => {
    store = await placed(cloud);
    feed = await feedOf(store);
  }, 60_000);

  it('is made once, found by the tags of the estate, and not there before', async () => {
    const provider = await pool.get(cloud);
    await expect(feed.receive(0, signal)).rejects.toThrow();
    expect(await ensureFeed({ placement: store })).toEqual({ outcome: 'created' });
    expect(await ensureFeed({ placement: store })).toEqual({ outcome: 'unchanged' });
    const [found, ...more] = (await scan(provider, store, signal)).filter(({ kind }) => kind.endsWith('.feed'));
    expect(found).toMatchObject({ owner: store.owner, name: provider.feed.design(store).name });
    expect(more).toEqual([]);
    const parts = (await scan(provider, store, signal)).filter(({ name }) => name.endsWith('-feed'));
    expect(parts).toHaveLength(1);
  });

  it('tells of what is written, overwritten and deleted, under any name', async () => {
    const began = Date.now() - 1000;
    for (const key of strange) await put(store, key, 'one');
    await put(store, 'again', 'one');
    await put(store, 'again', 'two');
    await put(store, 'leaves', 'one');
    await remove(store, 'leaves');
    const notices = await told(feed, [...strange, 'again', 'again', 'leaves', 'leaves']);
    for (const { changes } of notices)
      for (const { at } of changes)
        expect([Date.parse(at) >= began, Date.parse(at) <= Date.now() + 1000]).toEqual([true, true]);
    await feed.acknowledge(
      notices.map(({ receipt }) => receipt),
      signal,
    );
    await feed.acknowledge(
      notices.map(({ receipt }) => receipt),
      signal,
    );
    expect(await feed.receive(1000, signal)).toEqual([]);
  });

  it('leaves alone what others have set up there, and goes without a trace', async () => {
    const other = await placed(cloud);
    const shown = await others[cloud](other);
    const before = JSON.stringify(await shown());
    const provider = await pool.get(cloud);
    expect(await ensureFeed({ placement: other })).toEqual({ outcome: 'created' });
    expect(JSON.stringify(await shown())).toBe(before);
    const present = await scan(provider, other, signal);
    expect(await removeFeed({ placement: other })).toBe('removed');
    expect(JSON.stringify(await shown())).toBe(before);
    const left = await scan(provider, other, signal);
    expect(left).toEqual(present.filter(({ kind }) => !kind.endsWith('.feed')));
    expect(await removeFeed({ placement: other })).toBe('gone');
  });

  it('that was left behind is found as a stray, and removed as one', async () => {
    const other = await placed(cloud);
    const provider = await pool.get(cloud);
    await ensureFeed({ placement: other });
    const strays = await findStrays(provider, other, other.resources, signal);
    const { kind, name } = provider.feed.design(other);
    expect(strays).toEqual([expect.objectContaining({ kind, name, service: other.owner.service })]);
    await removeStrays(provider, cellOf(provider, other), other, strays, '', { signal, pace: pace() });
    expect(await findStrays(provider, other, other.resources, signal)).toEqual([]);
    expect(await removeFeed({ placement: other })).toBe('gone');
  });

  it('is not taken from whom it belongs to', async () => {
    const stranger = { ...store, owner: { ...store.owner, controller: 'another-installation' } };
    await expect(ensureFeed({ placement: stranger })).rejects.toMatchObject({ fields: { kind: 'NotOurs' } });
    expect(await removeFeed({ placement: stranger })).toBe('gone');
    expect(await ensureFeed({ placement: store })).toEqual({ outcome: 'unchanged' });
  });
});

it('S3: where somebody else is told of the same changes, the store has no feed, and nothing is changed', async () => {
  const [taken, free] = await Promise.all([placed('aws'), placed('aws')]);
  const provider = await pool.get('aws');
  await ensureFeed({ placement: free });
  const s3 = new S3Client({ region: taken.region });
  const bucket = { Bucket: taken.resources[0]?.outputs.bucket ?? '' };
  const own = { Events: ['s3:ObjectCreated:*' as const], Id: 'theirs' };
  const QueueArn = `arn:aws:sqs:${taken.region}:${taken.account}:${provider.feed.design(free).name}`;
  const theirs = { NotificationConfiguration: { QueueConfigurations: [{ ...own, QueueArn }] } };
  // The queue takes messages of its own bucket alone.
  await expect(s3.send(new PutBucketNotificationConfigurationCommand({ ...bucket, ...theirs }))).rejects.toThrow();
  const skipping = { ...bucket, ...theirs, SkipDestinationValidation: true };
  await s3.send(new PutBucketNotificationConfigurationCommand(skipping));
  await expect(ensureFeed({ placement: taken })).rejects.toMatchObject({ fields: { kind: 'NotSupported' } });
  const { QueueConfigurations = [] } = await s3.send(new GetBucketNotificationConfigurationCommand(bucket));
  expect(QueueConfigurations.map(({ Id }) => Id)).toEqual(['theirs']);
  expect(await removeFeed({ placement: taken })).toBe('removed');
});

describe.each([
  ['aws', 'gcp'],
  ['gcp', 'azure'],
  ['azure', 'aws'],
] as const)('the pump from %s to %s', (from, to) => {
  let source: PlacementRef;
  let target: PlacementRef;
  let pump = 0;
  beforeAll(async () => {
    [source, target] = await Promise.all([placed(from), placed(to)]);
    await ensureFeed({ placement: source });
  }, 60_000);

  const running: (() => Promise<void>)[] = [];
  afterEach(async () => {
    for (const stop of running.splice(0)) await stop();
  });

  /** Follows until told to stop; what it answers where it ends by itself. */
  function follow(input: Partial<FollowStoreInput> = {}) {
    const environment = new MockActivityEnvironment();
    const ended = environment.run(async () =>
      followStore({
        source,
        target,
        transfer: 'feeds',
        pump: pump++,
        maxDeletes: 100,
        intervalMs: 100,
        forMs: 60_000,
        feed: true,
        ...input,
      }),
    ) as Promise<FollowedStore>;
    const stop = async (): Promise<void> => {
      environment.cancel();
      await ended.catch(() => {});
    };
    running.push(stop);
    return { ended, stop };
  }
  const same = async () => {
    const both = Promise.all([contents(await storeOf(source)), contents(await storeOf(target))]);
    // What is listed may be replaced before it is read.
    const [here, there] = await both.catch(() => [new Map<string, string>(), new Map([['', 'changing']])] as const);
    return [...here].every(([key, sum]) => there.get(key) === sum) && here.size === there.size;
  };
  async function inStep(): Promise<void> {
    for (const until = Date.now() + 20_000; Date.now() < until; await pause(100)) if (await same()) return;
    expect([...(await contents(await storeOf(target)))]).toEqual([...(await contents(await storeOf(source)))]);
  }

  it('begins with a pass, brings what is told, and stops within seconds', async () => {
    await put(source, 'before', 'the pump');
    const pumping = follow();
    await inStep();
    await Promise.all(Array.from({ length: 20 }, (_, n) => put(source, `key/${n}`, `text ${n}`)));
    await inStep();
    await Promise.all(Array.from({ length: 5 }, (_, n) => remove(source, `key/${n}`)));
    await put(source, 'key/7', 'another text');
    await inStep();
    const began = Date.now();
    await pumping.stop();
    expect(Date.now() - began).toBeLessThan(3000);
  });

  it('says how soon changes arrive once it has caught up', async () => {
    const pumping = follow({ untilBehind: 0 });
    await put(source, 'late', 'one');
    const { last, feed, inStepAt } = await pumping.ended;
    expect(last.failed).toBe(0);
    expect(Date.parse(inStepAt)).toBeLessThan(Date.now());
    if (feed) expect(feed).toMatchObject({ caughtUp: true, behind: 0, problem: '' });
    await follow({ forMs: 1000 }).ended;
    expect(await same()).toBe(true);
  });

  it('copies nothing twice, however often it is told', async () => {
    await put(source, 'repeated', 'once');
    await follow({ forMs: 2000 }).ended;
    const before = await (await storeOf(target)).head('repeated', signal);
    const provider = await pool.get(from);
    const at = new Date().toISOString();
    const notice = (n: number): Notice => ({ changes: [{ key: 'repeated', at }], receipt: String(n) });
    const acknowledged: string[] = [];
    let rounds = 0;
    const feed: ChangeFeed = {
      receive: async () => (rounds++ < 5 ? [notice(2 * rounds), notice(2 * rounds + 1)] : []),
      acknowledge: async (receipts) => void acknowledged.push(...receipts),
    };
    const side = async (store: PlacementRef) => {
      const of = await pool.get(store.provider);
      const held = of.store(store);
      return { provider: of, store: held, receipts: new Receipts(copiesIn(of, store, signal), held) };
    };
    const there = await side(target);
    const pairing = {
      source: await side(source),
      target: there,
      gate: new Gate(signal),
      files: filesOf(there.provider, { target, transfer: 'feeds' }, signal),
      callBytes,
      sha256: false,
      signal,
    };
    const options = { until: Date.now() + 2000, untilBehind: 0, mayDelete: 0, gone: 'delete' as const };
    const first = await drainFeed(pairing, feed, options);
    await drainFeed(pairing, feed, { ...options, until: Date.now() + 500, untilBehind: undefined });
    expect(first.told.applied).toBe(0);
    expect(acknowledged).toHaveLength(10);
    expect((await (await storeOf(target)).head('repeated', signal))?.version).toBe(before?.version);
    // Nor does what the engine has written echo on the way back.
    const back = { ...pairing, source: pairing.target, target: pairing.source };
    rounds = 0;
    expect((await drainFeed(back, feed, { ...options, until: Date.now() + 2000 })).told.applied).toBe(0);
    expect(provider.type).toBe(from);
  });

  it('holds many deletions as a pass does, and goes on once it may', async () => {
    await Promise.all(Array.from({ length: 12 }, (_, n) => put(source, `many/${n}`, 'x')));
    const pumping = follow({ maxDeletes: 5 });
    await inStep();
    await Promise.all(Array.from({ length: 12 }, (_, n) => remove(source, `many/${n}`)));
    const { last } = await pumping.ended;
    expect(last).toMatchObject({ deletes: 'held', gone: 12, deleted: 5 });
    const keys = [...(await contents(await storeOf(target))).keys()].filter((key) => key.startsWith('many/'));
    expect(keys).toHaveLength(7);
    const again = await follow({ maxDeletes: 5 }).ended;
    expect(again.last).toMatchObject({ deletes: 'held', gone: 7 });
    await follow({ maxDeletes: 12, forMs: 1000 }).ended;
    expect(await same()).toBe(true);
  });

  it('follows by passes where the feed is gone, and says so', async () => {
    await removeFeed({ placement: source });
    await put(source, 'without', 'a feed');
    const { feed } = await follow({ forMs: 1500 }).ended;
    expect(feed?.problem).toContain('receive changes');
    expect(await same()).toBe(true);
  });
});
