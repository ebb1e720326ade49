/** A side that cannot be reached: the others go on, nothing is forgotten meanwhile, and after too long nothing is deleted for it. */
import { setTimeout as pause } from 'node:timers/promises';
import { fromLines } from '../../activities/transfer/files.ts';
import { armFault, calls } from '../local/stack.ts';
import { recordsUnder } from '../transfer/stores.ts';
import { type Cloud, Sides } from './sides.ts';

const keysOf = async (sides: Sides, name: Cloud): Promise<string[]> => [...(await sides.content(name)).keys()].sort();
const allKeys = (sides: Sides) => Promise.all(sides.names.map((name) => keysOf(sides, name)));
const once = { forMs: 0, feeds: [] };

it('a mesh of three goes on without the one that is away, and it catches up when it is back', async () => {
  const sides = await Sides.of(['aws', 'gcp', 'azure']);
  for (const key of ['a', 'b', 'c']) await sides.change('aws', key, 'write');
  await sides.pump(once).ended;
  const heal = await armFault({ match: { cloud: 'azure' }, effect: 'refuse', cause: 'denied' });
  try {
    await sides.change('gcp', 'a', 'delete');
    await sides.change('aws', 'b', 'write');
    await sides.change('gcp', 'd', 'write');
    // By then the delete would be forgotten.
    for (let n = 0; n < 2; n++) {
      const { away } = await sides.pump({ ...once, tombstoneMs: 1 }).ended;
      expect(Object.keys(away)).toEqual(['azure']);
    }
    expect(await keysOf(sides, 'aws')).toEqual(['b', 'c', 'd']);
    const since = (await calls()).at(-1)?.id ?? 0;
    const waiting = sides.pump({ feeds: [] });
    while ((await calls({ since, cloud: 'azure' })).length === 0) await pause(50);
    await heal();
    // It ends by itself, so that the next one begins with all of them.
    await waiting.ended;
  } finally {
    await heal().catch(() => {});
  }
  // As after longer than the partition: what is still remembered counts, however old.
  await sides.pump({ ...once, tombstoneMs: 1, partitionMs: 100, compareMs: 10 }).ended;
  expect(await allKeys(sides)).toEqual([
    ['b', 'c', 'd'],
    ['b', 'c', 'd'],
    ['b', 'c', 'd'],
  ]);
  await sides.equal(0);
}, 60_000);

it('sides that were out of sight for longer than the partition give each other what they lack; it is named, and nothing is deleted', async () => {
  const sides = await Sides.of(['aws', 'gcp']);
  for (const key of ['a', 'b', 'c', 'd']) await sides.change('aws', key, 'write');
  await sides.pump(once).ended;
  await sides.change('aws', 'a', 'delete');
  await sides.change('gcp', 'b', 'delete');
  await sides.change('gcp', 'c', 'write');
  await pause(1000);
  const late = { partitionMs: 500, compareMs: 100 };
  // What the clouds tell of the deletes comes as well, and late.
  const pump = sides.pump({ ...late, forMs: 3000 });
  const { resynchronised = {} } = await pump.ended;
  expect(resynchronised).toMatchObject({ aws: { missing: 1, forgotten: 0 }, gcp: { missing: 1, forgotten: 0 } });
  expect(await allKeys(sides)).toEqual([
    ['a', 'b', 'c', 'd'],
    ['a', 'b', 'c', 'd'],
  ]);
  await sides.equal(0);
  const report = await recordsUnder(sides.side('gcp'), resynchronised.gcp?.report ?? '');
  expect([...report.values()].flatMap(fromLines)).toEqual([{ key: 'b', is: 'missing here' }]);
  // Seen again, it is believed again.
  await sides.change('gcp', 'd', 'delete');
  const next = await sides.pump({ ...once, partitionMs: 60_000 }).ended;
  expect([next.resynchronised, await keysOf(sides, 'aws')]).toEqual([{}, ['a', 'b', 'c']]);
}, 60_000);

it('of two writes that did not know of each other both stay, on all sides of a mesh', async () => {
  const sides = await Sides.of(['aws', 'gcp', 'azure']);
  const both = { ...once, rule: 'keep-both' as const };
  await sides.change('aws', 'dir/one.txt', 'write');
  await pause(1100);
  await sides.change('gcp', 'dir/one.txt', 'write');
  await sides.pump(both).ended;
  await sides.pump(both).ended;
  const [aws = [], ...others] = await allKeys(sides);
  expect(aws).toEqual([expect.stringMatching(/^dir\/one\.conflict-aws-\d+\.txt$/), 'dir/one.txt']);
  for (const other of others) expect(other).toEqual(aws);
  await sides.equal(0);
  expect(await sides.silentlyLost()).toEqual([]);
}, 60_000);
