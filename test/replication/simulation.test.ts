/**
 * What replication promises, on simulated sides: each scenario with as many seeds as `MULTI_CLOUD_TEST_SEEDS` says. The same
 * scenarios show designs wrong that look right.
 */
import { type ConflictRule, conflictRule } from '../../model/conflict.ts';
import type { Calls, Direction } from '../../model/in-step.ts';
import { mesh, type Report, ring, type Scenario, simulate, type World } from './simulation.ts';

const seeds = Number(process.env.MULTI_CLOUD_TEST_SEEDS ?? '20');
const two: Scenario['sides'] = ['aws', 'gcp'];
const three: Scenario['sides'] = ['aws', 'azure', 'gcp'];
const faults = { lost: 0.1, twice: 0.1, dies: 0.01, scanMs: 7000 };

const pair: Omit<Scenario, 'seed'> = {
  sides: two,
  edges: mesh(two),
  rule: conflictRule('last-write-wins', 'aws'),
  tombstoneMs: 10 * 60_000,
  keys: 5,
  changes: 60,
  overMs: 20_000,
  skewMs: 4000,
  lost: 0,
  twice: 0,
  dies: 0,
  scanMs: 0,
  partitionMs: 0,
};
const ofThree = { ...pair, sides: three, edges: mesh(three) };
const cutOff = { ...ofThree, ...faults, overMs: 120_000, partitionMs: 60_000, changes: 150 };
const dense = { ...pair, skewMs: 0, overMs: 300 };
/** Many changes of the same keys at once. */
const busy = { ...ofThree, overMs: 4000 };
/** A partition in little: of two sides, each writes for 15 s what the other cannot see. */
const cut = { ...pair, overMs: 30_000, partitionMs: 15_000, scanMs: 5000 };

const lists = ['diverged', 'silentlyLost', 'outranked', 'undead', 'invented'] as const;
const counts = ['behind', 'writes', 'copies', 'conflicts', 'echoes', 'deaths'] as const;
/** Of all seeds; `rounds`: the most that one took. */
type Sum = Omit<Report, 'outcomes' | 'left'>;

async function all(scenario: Omit<Scenario, 'seed'>, runs = seeds): Promise<Sum> {
  const sum: Sum = {
    ...{ diverged: [], silentlyLost: [], outranked: [], undead: [], invented: [] },
    ...{ behind: 0, writes: 0, copies: 0, conflicts: 0, echoes: 0, deaths: 0, rounds: 0 },
  };
  const unfailing = scenario.lost === 0 && scenario.partitionMs === 0;
  for (let seed = 1; seed <= runs; seed++) {
    const report = await simulate({ ...scenario, seed });
    for (const list of lists) sum[list].push(...report[list].map((one) => `seed ${seed}: ${one}`));
    for (const count of counts) sum[count] += count === 'behind' && !unfailing ? 0 : report[count];
    sum.rounds = Math.max(sum.rounds, report.rounds);
  }
  return sum;
}

const nothingWrong = { diverged: [], silentlyLost: [], outranked: [] };

test('two writers, clocks 2 s off either way, no faults: notifications alone bring both sides in step, without an echo', async () => {
  const sum = await all(pair);
  expect(sum).toMatchObject({ ...nothingWrong, undead: [], invented: [], behind: 0, echoes: 0 });
  expect(sum.conflicts).toBeGreaterThan(0);
});

test.each<[string, Omit<Scenario, 'seed'>]>([
  ['a pair', { ...pair, ...faults }],
  ['a mesh of three', { ...ofThree, ...faults }],
  ['a ring of three, each sending to the next alone', { ...pair, sides: three, edges: ring(three), ...faults }],
  ['a mesh of three, one of them cut off for 60 s', cutOff],
  ['a pair whose clocks are hours apart', { ...pair, ...faults, skewMs: 4 * 3_600_000 }],
  ['a pair where all is written in the same moments', { ...dense, ...faults }],
  ['a pair that keeps both', { ...pair, ...faults, rule: conflictRule('keep-both', 'aws') }],
  [
    'a ring that keeps both',
    { ...pair, sides: three, edges: ring(three), ...faults, rule: conflictRule('keep-both', 'aws') },
  ],
])(
  'notifications lost, doubled, late, workers that die at any call: %s ends equal, and nothing is lost unseen',
  async (_, scenario) => {
    const sum = await all(scenario);
    expect(sum).toMatchObject(nothingWrong);
    expect(sum.deaths).toBeGreaterThan(0);
    // A user who replaces a copy in the moment between its arrival and its entry in the book, while its worker dies.
    expect(sum.undead.length).toBeLessThanOrEqual(1 + sum.deaths / 100);
    expect(sum.invented.length).toBeLessThanOrEqual(1 + sum.deaths / 100);
    expect(sum.echoes).toBeLessThanOrEqual(1 + sum.deaths / 100);
  },
);

test('where the source wins, all sides end at what it wrote or deleted last', async () => {
  expect(await all({ ...ofThree, ...faults, rule: conflictRule('source-wins', 'aws') })).toMatchObject(nothingWrong);
});

test('one side emptied by a mistake: the brake holds, and the others keep what they have but for its limit', async () => {
  const emptied = { ...ofThree, keys: 200, changes: 500, overMs: 600_000, emptied: { limit: 1 } };
  const { left, outcomes } = await simulate({ ...emptied, seed: 1 });
  expect(left).toBeGreaterThanOrEqual(0.99);
  expect(left).toBeLessThan(1);
  expect(outcomes.held).toBeGreaterThan(100);
  expect((await simulate({ ...emptied, emptied: { limit: 200 }, seed: 1 })).left).toBe(0);
});

/** Some of the calls made otherwise. */
const instead =
  (change: (calls: Calls, world: World, direction: Direction) => Partial<Calls>): NonNullable<Scenario['mutant']> =>
  (calls, world, direction) => ({ ...calls, ...change(calls, world, direction) });
const ruled = (outranks: ConflictRule['outranks']): ConflictRule => ({ outranks, loser: 'logged' });

describe('a design that looks right is shown wrong:', () => {
  test.each<[string, Omit<Scenario, 'seed'>, Partial<Scenario>]>([
    ['whatever comes is applied, in the order it comes', busy, { rule: ruled(() => true) }],
    [
      'the later time wins, and of two at the same time neither',
      pair,
      { overMs: 300, skewMs: 0, rule: ruled((a, b) => a.stamp.time > b.stamp.time) },
    ],
    [
      'the applier stamps a copy with its own time',
      pair,
      {
        mutant: instead((calls) => ({
          copy: (copy) => {
            const { stamp, seen } = copy.change;
            return calls.copy({ ...copy, change: { stamp: { ...stamp, time: calls.now() }, seen } });
          },
        })),
      },
    ],
    ['deletes leave no tombstone', cut, { tombstoneMs: -1 }],
    ['tombstones expire during a partition', cut, { tombstoneMs: 3000 }],
    [
      'an update of what the target does not have is dropped',
      cut,
      {
        mutant: instead((calls) => ({
          copy: async (copy) =>
            copy.over === undefined && Object.keys(copy.change.seen).length > 1
              ? { version: 'none' }
              : calls.copy(copy),
        })),
      },
    ],
    [
      'a copy is written whatever stands there by now',
      pair,
      {
        mutant: instead((calls, world, { to }) => ({
          copy: async (copy) => {
            for (;;) {
              const over = world.sides.get(to)?.objects.get(copy.to.key)?.version;
              const written = await calls.copy({ ...copy, over });
              if (written || world.sides.get(copy.from.side)?.objects.get(copy.from.key)?.version !== copy.from.version)
                return written;
            }
          },
        })),
      },
    ],
    [
      'what is copied is not told from what users write',
      busy,
      {
        mutant: instead((calls) => ({
          look: async (side, key) => {
            const look = await calls.look(side, key);
            return look.object ? { object: { ...look.object, copyOf: undefined } } : look;
          },
        })),
      },
    ],
    [
      'a stamp is made anew at each look',
      cut,
      {
        mutant: instead((calls) => ({
          writeBook: async () => 'forgotten',
          readBook: async (...of) => ({ ...(await calls.readBook(...of)), revision: undefined }),
        })),
      },
    ],
    [
      'the cloud is asked before the book is read',
      busy,
      {
        mutant: instead((calls) => {
          let seen: ReturnType<Calls['look']>;
          return {
            readBook: async (side, key) => {
              seen = calls.look(side, key);
              await seen;
              return calls.readBook(side, key);
            },
            look: () => seen,
          };
        }),
      },
    ],
    [
      'a delete is not announced',
      busy,
      {
        mutant: instead((calls) => ({
          writeBook: (side, key, entry, revision) => calls.writeBook(side, key, { ...entry, announced: [] }, revision),
        })),
      },
    ],
    ['losers are not logged', pair, { mutant: instead(() => ({ log: async () => true })) }],
  ])('%s', async (_, scenario, differently) => {
    const runs = 20;
    const right = rights.get(scenario) ?? wrongs(await all(scenario, runs));
    rights.set(scenario, right);
    expect(wrongs(await all({ ...scenario, ...differently }, runs))).toBeGreaterThan(2 + 3 * right);
  });
});

/** Keys and writes with which something is wrong; where nothing fails, also what notifications alone do not bring about. */
const wrongs = (sum: Sum): number => lists.reduce((total, list) => total + sum[list].length, 0) + sum.behind;
/** Of the right design. */
const rights = new Map<object, number>();
