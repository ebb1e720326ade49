/** Sides that are written at once, with pumps that are cut off at any time: in the end all are equal, and nothing is lost unseen. */
import { setTimeout as pause } from 'node:timers/promises';
import { calls } from '../local/stack.ts';
import { type Cloud, Sides } from './sides.ts';

const lastCall = async (): Promise<number> => (await calls()).at(-1)?.id ?? 0;

describe.each([
  { names: ['aws', 'gcp'] as Cloud[], topology: 'mesh' as const, changes: 600, keys: 40 },
  { names: ['aws', 'gcp', 'azure'] as Cloud[], topology: 'ring' as const, changes: 600, keys: 40 },
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
