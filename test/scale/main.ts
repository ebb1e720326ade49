/** `npm run test:scale`: replication and fleets at full size, on local clouds whose clocks disagree. */
import { spawnSync } from 'node:child_process';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { providerTypes } from '../../model/service.ts';

const root = resolve(import.meta.dirname, '../..');
const suites: Record<string, string> = {
  writers: 'test/scale/writers.scale.ts',
  rotations: 'test/workflows/replicate.test.ts',
  divergence: 'test/scale/divergence.test.ts',
  fleet: 'test/scale/fleet.scale.ts',
  registry: 'test/scale/registry.scale.ts',
};
const help = `npm run test:scale [-- NAME ...] [OPTIONS]

  writers      writers on two and three sides, a worker that is killed, cut off and parted from a cloud
  rotations    pumps one after the other, as many as in a week
  divergence   a comparison of two sides
  fleet        devices that talk, there and home again
  registry     devices that say nothing: their registry is copied there, and back into an empty one

  --changes N     writes and deletes of the writers (default: 100000)
  --rate N        of them a second (default: 40)
  --keys N        that they are on (default: 1000)
  --partition S   seconds for which a cloud is parted from the worker (default: 60)
  --rotations N   pumps (default: 1000)
  --objects N     on each side of a comparison (default: 100000)
  --devices N     of a fleet that moves, or of a registry that is copied (default: 2000, 100000)
  --from CLOUD    where it moves from (default: azure)
  --to CLOUD      where it moves to (default: gcp)
  --ways LIST     fleets that move at the same time, in place of --from and --to: azure-gcp,gcp-aws
  --told N        devices that are told to go in a second (default: what each cloud takes)
  --window S      seconds that a wave has to arrive (default: 600)
  --calls N       requests that a registry takes in a second (default: 500)
  --clocks LIST   how far the clocks of the clouds are ahead, milliseconds (default: aws=-1000,azure=500,gcp=1000)
  -t NAME         tests of this name alone
`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    changes: { type: 'string', default: '100000' },
    rate: { type: 'string', default: '40' },
    keys: { type: 'string', default: '1000' },
    partition: { type: 'string', default: '60' },
    rotations: { type: 'string', default: '1000' },
    objects: { type: 'string', default: '100000' },
    devices: { type: 'string' },
    ways: { type: 'string' },
    told: { type: 'string' },
    window: { type: 'string', default: '600' },
    calls: { type: 'string', default: '500' },
    from: { type: 'string', default: 'azure' },
    to: { type: 'string', default: 'gcp' },
    clocks: { type: 'string', default: 'aws=-1000,azure=500,gcp=1000' },
    only: { type: 'string', short: 't' },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) {
  process.stdout.write(help);
  process.exit(0);
}
const unknown = positionals.filter((name) => suites[name] === undefined);
if (unknown.length > 0) {
  process.stderr.write(`no such suite: ${unknown.join(', ')}; there are ${Object.keys(suites).join(', ')}\n`);
  process.exit(2);
}
const { clocks, from, to, ways, only, help: _, ...counts } = values;
for (const [name, value] of Object.entries(counts))
  if (value !== undefined && !/^\d+$/.test(value)) {
    process.stderr.write(`--${name}: found ${value}; it takes a whole number\n`);
    process.exit(2);
  }
for (const [name, value] of Object.entries({ from, to }))
  if (!providerTypes.some((cloud) => cloud === value)) {
    process.stderr.write(`--${name}: found ${value}; it takes one of ${providerTypes.join(', ')}\n`);
    process.exit(2);
  }
const cloud = `(${providerTypes.join('|')})`;
if (ways !== undefined && !new RegExp(`^${cloud}-${cloud}(,${cloud}-${cloud})*$`).test(ways)) {
  process.stderr.write(`--ways: found ${ways}; it takes a list as azure-gcp,gcp-aws\n`);
  process.exit(2);
}
const chosen = positionals.length > 0 ? positionals : Object.keys(suites);
const { status } = spawnSync(
  process.execPath,
  [
    join(root, 'test/local/run.ts'),
    ...chosen.flatMap((suite) => suites[suite] ?? []),
    '--testMatch',
    '**/*.{test,scale}.ts',
    ...(only === undefined ? [] : ['-t', only]),
  ],
  {
    cwd: root,
    stdio: 'inherit',
    env: {
      ...process.env,
      MULTI_CLOUD_TEST_STATE: process.env.MULTI_CLOUD_TEST_STATE ?? join(root, '.local/test-scale'),
      MULTI_CLOUD_SCALE: 'true',
      MULTI_CLOUD_CLOCKS: clocks,
      ...Object.fromEntries(
        Object.entries({ ...counts, from, to, ways }).flatMap(([name, value]) =>
          value === undefined ? [] : [[`MULTI_CLOUD_SCALE_${name.toUpperCase()}`, value]],
        ),
      ),
    },
  },
);
process.exit(status ?? 1);
