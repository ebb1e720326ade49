/** Transformations on real stores: what goes, under which name, without which fields, and that comparisons know of it. */
import { setTimeout as pause } from 'node:timers/promises';
import { MockActivityEnvironment } from '@temporalio/testing';
import { createSidesActivities } from '../../activities/replication/sides.ts';
import { fromLines } from '../../activities/transfer/files.ts';
import type { ComparedSides, RepairedSides } from '../../model/divergence.ts';
import type { Transformation } from '../../model/transformation.ts';
import { fill, pool, recordsUnder, signal, storeOf } from '../transfer/stores.ts';
import { type Cloud, Sides } from './sides.ts';

const activities = createSidesActivities({ pool, pollMs: 25, callDeadlineMs: 20_000 });
const textOf = async (sides: Sides, name: Cloud, key: string): Promise<string | undefined> => {
  const store = await storeOf(sides.side(name));
  const object = await store.head(key, signal);
  if (!object) return undefined;
  const { piece } = await store.read(object, { from: 0, bytes: object.size }, signal);
  return Buffer.concat(piece.chunks).toString();
};
const put = async (sides: Sides, name: Cloud, key: string, text: string): Promise<void> => {
  const store = await storeOf(sides.side(name));
  const now = await store.head(key, signal);
  if (now) await store.remove(now, signal);
  await fill(store, key, Buffer.from(text));
};
const keysOf = async (sides: Sides, name: Cloud): Promise<string[]> => [...(await sides.content(name)).keys()].sort();

describe('one side takes the writes', () => {
  const transformations: Transformation[] = [
    { type: 'filter', prefix: 'raw/', max_mb: 0.001 },
    { type: 'prefix', remove: 'raw/', add: 'clean/' },
    { type: 'redact_field', suffix: '.jsonl', field: 'user.email' },
  ];
  const edges = [{ from: 'aws', to: 'gcp' }];
  const passive = { edges, rule: 'source-wins' as const, source: 'aws', forMs: 0, feeds: [], transformations };
  const compared = { rule: 'source-wins' as const, source: 'aws', oneWay: true, transformations };
  let sides: Sides;
  let comparisons = 0;
  const compare = async (): Promise<ComparedSides & { name: string }> => {
    const name = `transformed-${++comparisons}`;
    const asked = { ...compared, sides: sides.placements, name, settleMs: 100 };
    return {
      name,
      ...((await new MockActivityEnvironment().run(() => activities.compareSides(asked))) as ComparedSides),
    };
  };
  beforeAll(async () => {
    sides = await Sides.of(['aws', 'gcp']);
    await put(sides, 'aws', 'raw/a.jsonl', '{"user":{"email":"a@example.com","id":12345678901234567890}}\n');
    await put(sides, 'aws', 'raw/plain.txt', 'as it is');
    await put(sides, 'aws', 'raw/broken.jsonl', '{"user":');
    await put(sides, 'aws', 'raw/large.txt', 'x'.repeat(1001));
    await put(sides, 'aws', 'other/b.jsonl', '{"user":{"email":"b@example.com"}}\n');
    await put(sides, 'gcp', 'of the other side', 'stays');
    await sides.pump(passive).ended;
  }, 60_000);

  it('what fits goes under its other name and without the field; what cannot be read stays, with the reason', async () => {
    expect(await keysOf(sides, 'gcp')).toEqual(['clean/a.jsonl', 'clean/plain.txt', 'of the other side']);
    expect(await textOf(sides, 'gcp', 'clean/a.jsonl')).toBe(
      '{"user":{"email":"[redacted]","id":12345678901234567890}}\n',
    );
    expect(await textOf(sides, 'gcp', 'clean/plain.txt')).toBe('as it is');
    const files = await recordsUnder(sides.side('aws'), `replication/${sides.side('aws').owner.service}/errors-aws`);
    expect([...files.values()].flatMap(fromLines)).toMatchObject([
      { key: 'raw/broken.jsonl', reason: 'content', detail: 'line 1 is no JSON' },
    ]);
  });

  it('overwrites and deletes follow, and a repeat does nothing', async () => {
    await put(sides, 'aws', 'raw/plain.txt', 'another');
    await put(sides, 'aws', 'raw/leaves.txt', 'soon');
    await sides.pump(passive).ended;
    expect(await textOf(sides, 'gcp', 'clean/plain.txt')).toBe('another');
    const store = await storeOf(sides.side('aws'));
    const leaving = await store.head('raw/leaves.txt', signal);
    if (leaving) await store.remove(leaving, signal);
    const { directions } = await sides.pump(passive).ended;
    expect(directions).toMatchObject([{ applied: 1 }]);
    expect(await keysOf(sides, 'gcp')).toEqual(['clean/a.jsonl', 'clean/plain.txt', 'of the other side']);
    expect((await sides.pump(passive).ended).directions).toMatchObject([{ applied: 0 }]);
  }, 60_000);

  it('a comparison finds what differs in spite of all that, and a repair mends it', async () => {
    const before = await compare();
    expect([before.objects, before.same]).toEqual([3, 2]);
    expect(before.sides.map(({ different }) => different)).toEqual([{}, { missing: 1 }]);
    await put(sides, 'gcp', 'clean/a.jsonl', '{"user":{"email":"a@example.com","id":12345678901234567890}}\n');
    await put(sides, 'gcp', 'clean/more.txt', 'nobody sent it');
    const found = await compare();
    expect(found.sides.map(({ different }) => different)).toEqual([{}, { missing: 1, content: 1, extra: 1 }]);
    const asked = { ...compared, sides: sides.placements, name: found.name, report: found.report };
    const repaired = (await new MockActivityEnvironment().run(() => activities.repairSides(asked))) as RepairedSides;
    expect(repaired.sides).toMatchObject([{ copied: { objects: 0 } }, { copied: { objects: 1 }, failed: 1 }]);
    expect(await textOf(sides, 'gcp', 'clean/a.jsonl')).toContain('[redacted]');
    expect(await textOf(sides, 'gcp', 'clean/more.txt')).toBe('nobody sent it');
    expect((await compare()).sides.map(({ different }) => different)).toEqual([{}, { missing: 1, extra: 1 }]);
  }, 60_000);
});

it('where all sides are written a filter keeps on each what does not fit, also what has outgrown it', async () => {
  const transformations: Transformation[] = [{ type: 'filter', suffix: '.txt', max_mb: 0.001 }];
  const sides = await Sides.of(['aws', 'gcp']);
  const active = { forMs: 0, feeds: [], transformations };
  await put(sides, 'aws', 'a.txt', 'one');
  await put(sides, 'aws', 'a.csv', 'one');
  await put(sides, 'gcp', 'b.txt', 'two');
  await put(sides, 'gcp', 'b.csv', 'two');
  await sides.pump(active).ended;
  expect(await keysOf(sides, 'aws')).toEqual(['a.csv', 'a.txt', 'b.txt']);
  expect(await keysOf(sides, 'gcp')).toEqual(['a.txt', 'b.csv', 'b.txt']);
  const store = await storeOf(sides.side('aws'));
  const old = await store.head('a.csv', signal);
  if (old) await store.remove(old, signal);
  // S3 tells whole seconds: earlier, this one would not be the last write.
  await pause(1100);
  await put(sides, 'aws', 'b.txt', 'x'.repeat(2000));
  await sides.pump(active).ended;
  expect(await textOf(sides, 'gcp', 'b.txt')).toBe('two');
  const asked = { rule: 'last-write-wins' as const, source: 'aws', transformations };
  const input = { ...asked, sides: sides.placements, name: 'filtered', settleMs: 100 };
  const found = (await new MockActivityEnvironment().run(() => activities.compareSides(input))) as ComparedSides;
  expect([found.objects, found.same, found.report]).toEqual([1, 1, '']);
}, 60_000);

it('a repair mends any number of keys at once', async () => {
  const sides = await Sides.of(['aws', 'gcp']);
  for (let n = 0; n < 40; n++) await put(sides, 'aws', `k${n}`, 'x');
  const asked = { rule: 'last-write-wins' as const, source: 'aws', sides: sides.placements, name: 'many' };
  const input = { ...asked, settleMs: 0 };
  const found = (await new MockActivityEnvironment().run(() => activities.compareSides(input))) as ComparedSides;
  const repair = { ...asked, report: found.report };
  const repaired = (await new MockActivityEnvironment().run(() => activities.repairSides(repair))) as RepairedSides;
  expect(repaired.sides[1]?.copied.objects).toBe(40);
}, 60_000);
