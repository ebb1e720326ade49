/** Sides that are written at once, with pumps that are cut off at any time: in the end all are equal, and nothing is lost unseen. */
import { setTimeout as pause } from 'node:timers/promises';
import { calls } from '../local/stack.ts';
import { type Cloud, Sides } from './sides.ts';

/** Ten at a time. */
async function inLanes(count: number, act: (at: number) => Promise<void>): Promise<void> {
  let next = 0;
  const lane = async () => {
    while (next < count) await act(next++);
  };
  await Promise.all(Array.from({ length: 10 }, lane));
}

const lastCall = async (): Promise<number> => (await calls()).at(-1)?.id ?? 0;

describe.each([
  { names: ['aws', 'gcp'] as Cloud[], topology: 'mesh' as const, changes: 400, keys: 30 },
  { names: ['aws', 'gcp', 'azure'] as Cloud[], topology: 'ring' as const, changes: 300, keys: 30 },
])('$names.length writers, connected as a $topology', ({ names, topology, changes, keys }) => {
  let sides: Sides;
  beforeAll(async () => {
    sides = await Sides.of(names);
  }, 60_000);

  it('are equal soon after the last write, and no write is lost unseen', async () => {
    const since = await lastCall();
    const pumps: { stop(): Promise<void>; kill(): void }[] = [];
    const start = () => pumps.push(sides.pump({ topology }));
    start();
    let made = 0;
    const writer = async (name: Cloud): Promise<void> => {
      while (made < changes) {
        made++;
        const key = `k${Math.floor(Math.random() * keys)}`;
        await sides.change(name, key, Math.random() < 0.25 ? 'delete' : 'write');
      }
    };
    const writing = Promise.all(names.flatMap((name) => [writer(name), writer(name)]));
    for (let at = 1; at <= 4; at++) {
      while (made < (at * changes) / 5) await pause(20);
      // The next one begins while calls of this one are still under way.
      pumps.at(-1)?.kill();
      start();
    }
    await writing;
    const took = await sides.equal(10_000);
    await pause(500);
    const settled = await lastCall();
    await pause(1500);
    const later = await sides.mutations(settled);
    await pumps.at(-1)?.stop();
    expect(later).toEqual(Object.fromEntries(names.map((name) => [name, 0])));
    expect(await sides.silentlyLost()).toEqual([]);
    const all = await sides.mutations(since);
    process.stderr.write(
      `    equal ${took} ms after the last write; calls ${JSON.stringify(all)} for ${sides.writes.size} writes\n`,
    );
  }, 60_000);
});

describe('the brake', () => {
  const objects = 60;
  let sides: Sides;
  const counts = () => Promise.all(sides.names.map(async (name) => (await sides.content(name)).size));
  beforeEach(async () => {
    sides = await Sides.of(['aws', 'gcp']);
    await inLanes(objects, (at) => sides.change('gcp', `k${at}`, 'write'));
    const pump = sides.pump({ feeds: [], forMs: 0 });
    expect(await pump.ended).toMatchObject({ held: [], away: {}, unheard: {} });
    expect(await counts()).toEqual([objects, objects]);
  }, 60_000);

  it('holds before a side that was emptied by mistake takes the others along, and brings it back where that is asked', async () => {
    await inLanes(objects, (at) => sides.change('aws', `k${at}`, 'delete'));
    const { held } = await sides.pump({ maxDeletes: 3 }).ended;
    expect(held).toEqual([{ direction: { from: 'aws', to: 'gcp' }, origin: 'aws', does: 'delete', limit: 3 }]);
    expect(await counts()).toEqual([0, objects - 3]);
    // A new worker knows what the one before has let through, and a held direction does nothing.
    const again = await sides.pump({ maxDeletes: 3, forMs: 0 }).ended;
    expect(again.held).toHaveLength(1);
    const waiting = await sides.pump({ maxDeletes: 3, held: ['aws>gcp'], forMs: 0 }).ended;
    expect(waiting.held).toEqual([]);
    expect(await counts()).toEqual([0, objects - 3]);
    await sides.pump({ maxDeletes: 3, restore: ['aws'], forMs: 0 }).ended;
    expect(await counts()).toEqual([objects - 3, objects - 3]);
    expect(await sides.silentlyLost()).toEqual([]);
  }, 60_000);

  it('lets all through for a while once it is told to', async () => {
    await inLanes(10, (at) => sides.change('aws', `k${at}`, 'delete'));
    await sides.pump({ maxDeletes: 3, released: { gcp: Date.now() + 60_000 }, forMs: 0 }).ended;
    expect(await counts()).toEqual([objects - 10, objects - 10]);
  }, 60_000);
});

it('brings nothing that is older, and nothing back, where one side alone takes the writes', async () => {
  const sides = await Sides.of(['aws', 'gcp']);
  const edges = [{ from: 'aws', to: 'gcp' }];
  const passive = { edges, rule: 'source-wins' as const, source: 'aws', feeds: [], forMs: 0 };
  await sides.change('aws', 'ours', 'write');
  await sides.change('gcp', 'both', 'write');
  await pause(1100);
  await sides.change('aws', 'both', 'write');
  await sides.change('gcp', 'theirs', 'write');
  await sides.pump(passive).ended;
  const [aws, gcp] = [await sides.content('aws'), await sides.content('gcp')];
  expect([...aws.keys()].sort()).toEqual(['both', 'ours']);
  expect([...gcp.keys()].sort()).toEqual(['both', 'ours', 'theirs']);
  expect(gcp.get('both')).toBe(aws.get('both'));
}, 60_000);
