/** All sides of a service compared: exactly what differs is named, from one listing a side, and made the same by the rule. */
import { setTimeout as pause } from 'node:timers/promises';
import { crc32 } from 'node:zlib';
import { MockActivityEnvironment } from '@temporalio/testing';
import { md5Of, type ObjectStore } from '../../activities/providers/object-store.ts';
import { createSidesActivities, type SidesActivities } from '../../activities/replication/sides.ts';
import { fromLines } from '../../activities/transfer/files.ts';
import type { ComparedSides, DifferingKey, RepairedSides } from '../../model/divergence.ts';
import type { PlacementRef } from '../../model/transfer.ts';
import { quietTemporal } from '../e2e/own-worker.ts';
import { calls } from '../local/stack.ts';
import {
  contents,
  run as copies,
  fill,
  placed,
  plain,
  pool,
  recordsUnder,
  signal,
  storeOf,
} from '../transfer/stores.ts';

const activities = createSidesActivities({ pool, pollMs: 25, callDeadlineMs: 20_000 });
type Name = 'aws' | 'gcp' | 'azure';

async function run<K extends keyof SidesActivities>(
  name: K,
  input: Parameters<SidesActivities[K]>[0],
): Promise<Awaited<ReturnType<SidesActivities[K]>>> {
  const act = activities[name] as (input: unknown) => Promise<unknown>;
  const answer: unknown = await new MockActivityEnvironment().run(async () => act(input));
  return answer as Awaited<ReturnType<SidesActivities[K]>>;
}

const keyOf = (n: number): string => `folder ${n % 7}/object ${String(n).padStart(5, '0')}`;

/** The sides of one service, and users who write on each. */
class World {
  readonly sides: PlacementRef[];
  readonly stores: ObjectStore[];
  #comparisons = 0;

  private constructor(sides: PlacementRef[], stores: ObjectStore[]) {
    this.sides = sides;
    this.stores = stores;
  }

  static async of(names: readonly Name[]): Promise<World> {
    const sides = await Promise.all(names.map((name) => placed(name)));
    return new World(sides, await Promise.all(sides.map(storeOf)));
  }

  at(name: Name): PlacementRef {
    const side = this.sides.find(({ provider }) => provider === name);
    if (!side) throw new Error(`no side ${name}`);
    return side;
  }

  store(name: Name): ObjectStore {
    const store = this.stores[this.sides.indexOf(this.at(name))];
    if (!store) throw new Error(`no store ${name}`);
    return store;
  }

  /** Most was written on the first side, some on the second; the others have copies of the engine's. */
  async fill(objects: number): Promise<void> {
    const [first, second, ...others] = this.sides;
    const [one, other] = this.stores;
    if (!first || !second || !one || !other) throw new Error('it takes two sides');
    for (let n = 0; n < objects; n += 100)
      await Promise.all(
        Array.from({ length: Math.min(100, objects - n) }, (_, more) =>
          fill(more % 4 === 0 ? other : one, keyOf(n + more), Buffer.from(`content ${n + more}`)),
        ),
      );
    for (const [source, target] of [[first, second], [second, first], ...others.map((side) => [first, side])])
      if (source && target)
        await copies('copyDelta', {
          ...{ source, target, transfer: `${source.provider}-${target.provider}`, round: 0 },
          ...{ maxDeletes: 0, gone: 'keep' },
        });
  }

  async put(name: Name, key: string, body: string): Promise<void> {
    const bytes = Buffer.from(body);
    const now = await this.store(name).head(key, signal);
    const expected = now ? { version: now.version } : { absent: true as const };
    const piece = { chunks: [bytes], bytes: bytes.length };
    const object = { key, size: bytes.length, attributes: plain, expected, md5: md5Of(piece) };
    await this.store(name).write(object, piece, crc32(bytes), signal);
  }

  async drop(name: Name, key: string): Promise<void> {
    const now = await this.store(name).head(key, signal);
    if (now) await this.store(name).remove(now, signal);
  }

  async compare(settleMs = 200): Promise<ComparedSides & { name: string; lines: DifferingKey[] }> {
    const name = `comparison-${++this.#comparisons}`;
    const found = await run('compareSides', { ...this.#asked(name), settleMs });
    const [first] = this.sides;
    const files = first && found.report ? [...(await recordsUnder(first, found.report)).values()] : [];
    return { ...found, name, lines: files.flatMap((bytes) => fromLines(bytes) as DifferingKey[]) };
  }

  repair({ name, report }: { name: string; report: string }): Promise<RepairedSides> {
    return run('repairSides', { ...this.#asked(name), report });
  }

  #asked(name: string) {
    return { sides: this.sides, name, rule: 'last-write-wins' as const, source: 'aws' };
  }

  async areEqual(): Promise<void> {
    const [first, ...others] = await Promise.all(this.stores.map(contents));
    for (const other of others) expect(other).toEqual(first);
  }
}

/** Pages that the stores on AWS and Google Cloud were listed in. */
async function pagesSince(since: number, world: World): Promise<number[]> {
  const all = (await calls({ since })).filter(({ method }) => method === 'GET');
  const bucketOf = (name: Name): string => world.store(name).id.replace(/^[^:]*:/, '');
  return [
    all.filter(({ host, query }) => host.startsWith(`${bucketOf('aws')}.s3.`) && query['list-type'] === '2').length,
    all.filter(({ path }) => path.endsWith(`/b/${bucketOf('gcp')}/o`)).length,
  ];
}

beforeAll(quietTemporal);

it('of 2,000 objects exactly the ten that differ are named, from one listing a side, and no body is read', async () => {
  const world = await World.of(['aws', 'gcp']);
  const objects = 2000;
  await world.fill(objects);
  const since = (await calls()).at(-1)?.id ?? 0;
  expect(await world.compare()).toMatchObject({
    ...{ objects, same: objects, changing: 0, report: '', bodiesRead: { objects: 0, bytes: 0 } },
    sides: [{ listed: { objects } }, { listed: { objects } }],
  });
  expect(await pagesSince(since, world)).toEqual([objects / 1000, objects / 1000]);

  for (const n of [1, 2, 3]) await world.drop('gcp', keyOf(n));
  for (const n of [4, 5]) await world.drop('aws', keyOf(n));
  await world.put('aws', 'only on aws', 'x');
  await pause(1100); // S3 tells when an object was written to the second
  for (const n of [8, 12]) await world.put('gcp', keyOf(n), `CONTENT ${n}`);
  for (const n of [9, 13]) await world.put('aws', keyOf(n), 'longer than before');
  const found = await world.compare();
  expect(found.lines.map(({ key }) => key).sort()).toEqual(
    [...[1, 2, 3, 4, 5, 8, 9, 12, 13].map(keyOf), 'only on aws'].sort(),
  );
  expect(found).toMatchObject({ objects: objects + 1, same: objects - 9, bodiesRead: { objects: 2 } });
  expect(found.sides.map(({ different }) => different)).toEqual([
    { missing: 2, content: 2 },
    { missing: 4, size: 2 },
  ]);
}, 120_000);

describe('three sides', () => {
  let world: World;
  beforeAll(async () => {
    world = await World.of(['aws', 'gcp', 'azure']);
    await world.fill(20);
  }, 60_000);

  it('are made the same by the rule, over what was compared and nothing newer', async () => {
    expect((await world.compare()).report).toBe('');
    await world.drop('gcp', keyOf(1));
    await world.drop('azure', keyOf(4));
    await world.put('azure', 'emoji 😀 ～', 'y');
    await world.put('gcp', 'emoji ～', 'z');
    await pause(1100);
    await world.put('gcp', keyOf(10), 'CONTENT 10');
    await world.put('aws', keyOf(12), 'longer than before');
    await world.put('azure', keyOf(13), 'written last');
    const found = await world.compare();
    const differs = Object.fromEntries(
      found.lines.map(({ key, counts, differs: all }) => [
        key,
        [counts, ...all.map(({ side, what }) => `${side} ${what}`)],
      ]),
    );
    expect(differs).toEqual({
      [keyOf(1)]: [expect.any(String), 'gcp missing'],
      [keyOf(4)]: [expect.any(String), 'azure missing'],
      'emoji 😀 ～': ['azure', 'aws missing', 'gcp missing'],
      'emoji ～': ['gcp', 'aws missing', 'azure missing'],
      [keyOf(10)]: ['gcp', 'aws content', 'azure content'],
      [keyOf(12)]: ['aws', 'gcp size', 'azure size'],
      [keyOf(13)]: ['azure', 'aws size', 'gcp size'],
    });

    // Somebody writes after the comparison: that is not what was compared.
    await world.put('gcp', keyOf(13), 'later still');
    const repaired = await world.repair(found);
    expect(repaired).toMatchObject({ logged: 5, changed: 1 });
    expect(repaired.sides.map(({ copied, failed }) => [copied.objects, failed])).toEqual([
      [4, 0],
      [3, 0],
      [4, 0],
    ]);
    const again = await world.compare();
    expect(again.lines.map(({ key, counts }) => [key, counts])).toEqual([[keyOf(13), 'gcp']]);
    await world.repair(again);
    expect((await world.compare()).report).toBe('');
    await world.areEqual();
  }, 60_000);

  it('have what a repair replaces in the log of conflicts, page by page, and it can be given back', async () => {
    const gcp = world.at('gcp');
    const { provider, providerType, region, account, owner } = gcp;
    const place = { provider, providerType, region, account };
    const during = { since: Date.now() - 3_600_000, until: Date.now() + 60_000 };
    const { conflicts, more } = await run('readConflicts', { owner, place, ...during });
    expect(more).toBe(false);
    const lost = conflicts.find(({ key }) => key === keyOf(12));
    expect(lost).toMatchObject({ sides: ['gcp'], winner: { on: 'aws' }, size: 'content 12'.length });
    const id = lost?.id ?? '';
    const after = await run('readConflicts', { owner, place, ...during, after: id });
    expect(after.conflicts.map((one) => one.id)).toEqual(conflicts.map((one) => one.id).filter((one) => one > id));
    const past = { since: 0, until: during.since };
    expect((await run('readConflicts', { owner, place, ...past })).conflicts).toEqual([]);

    const back = { id, places: [place], sides: [gcp] };
    const restored = await run('writeConflictBack', back);
    expect(restored).toMatchObject({ side: 'gcp', key: keyOf(12), size: 'content 12'.length });
    const there = await world.store('gcp').head(keyOf(12), signal);
    expect(there).toMatchObject({
      size: 'content 12'.length,
      attributes: { headers: { 'content-type': 'text/plain' } },
    });
    // A user's write: nothing that a pump would take for a copy of its own.
    expect(Object.keys(there?.attributes?.metadata ?? {})).not.toContain('multicloudchange');
    expect(await run('writeConflictBack', back)).toEqual({ side: 'gcp', key: keyOf(12), size: 'content 12'.length });
    expect((await world.store('gcp').head(keyOf(12), signal))?.version).toBe(there?.version);

    // What it replaced can be given back in turn, under another key as well.
    const other = await run('writeConflictBack', { ...back, id: restored.replaced ?? '', as: 'beside' });
    expect(other).toMatchObject({ key: 'beside', size: 'longer than before'.length });
    await expect(run('writeConflictBack', { ...back, to: 'azure' })).rejects.toMatchObject({ type: 'InvalidInput' });
    const unknown = `${id.slice(0, -8)}00000000`;
    await expect(run('writeConflictBack', { ...back, id: unknown })).rejects.toMatchObject({ type: 'NotFound' });
  }, 60_000);

  it('are not different in keys that change while they are compared', async () => {
    await world.put('aws', 'busy', 'a');
    await world.put('gcp', 'busy', 'b');
    let over = false;
    const writing = (async () => {
      for (let n = 0; !over; n++) {
        await world.put('gcp', 'busy', `written ${n}`);
        await pause(20);
      }
    })();
    const found = await world.compare(300);
    over = true;
    await writing;
    expect(found.lines.map(({ key }) => key)).not.toContain('busy');
    expect(found.changing).toBe(1);
  }, 60_000);
});
