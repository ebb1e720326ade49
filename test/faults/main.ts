/**
 * `npm run test:faults [-- --shard i/n] [--clouds aws,gcp] [--only calls|runs|activities|migrations|lives|moves|fleets] [--again]`: the whole matrix, for as long
 * as it takes. What is done is noted in a file, so that a run that was stopped goes on where it was.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { z } from 'zod';

const root = resolve(import.meta.dirname, '../..');
const help = `npm run test:faults [-- OPTIONS]

  --shard i/n      the i-th of n equal parts
  --clouds LIST    cells of these clouds only: aws, azure, gcp
  --only WHAT      calls: every changing call lost or late; runs: every step cancelled, terminated, reset, throttled, away;
                   activities: those of deployments and migrations killed, timed out, cancelled, or their Temporal server killed; of replication, killed;
                   migrations: every changing call of a migration lost or late, and every moment of it cancelled, undone, paused,
                   terminated, its worker killed, a cloud gone;
                   lives: every cell failing for good or terminated, causes of blocking, many operations at once;
                   moves: migrations in all directions, failing or terminated at every step; 200 devices at once;
                   fleets: the worker killed in every wave of a fleet that moves, in all directions
  --case REGEXP    cases whose names match it
  --file FILE      where what is done is noted (default: .local/faults.jsonl)
  --again          forgets what is noted and begins anew
`;

const { values } = parseArgs({
  options: {
    shard: { type: 'string', default: '1/1' },
    clouds: { type: 'string', default: 'aws,azure,gcp' },
    file: { type: 'string', default: join(root, '.local/faults.jsonl') },
    only: { type: 'string' },
    case: { type: 'string', default: '' },
    again: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) {
  process.stdout.write(help);
  process.exit(0);
}
if (!/^[1-9]\d*\/[1-9]\d*$/.test(values.shard)) {
  process.stderr.write(`--shard: found ${values.shard}; it takes i/n, as 1/4\n`);
  process.exit(2);
}
const lives = ['test/e2e/undo', 'test/e2e/recover', 'test/e2e/locks', 'test/e2e/blocked', 'test/faults/locks'];
const moves = ['test/e2e/migrate', 'test/workflows/migration', 'test/device-agent/fleet'];
const files: Record<string, string[]> = {
  calls: ['test/faults/matrix'],
  runs: ['test/faults/runs'],
  activities: ['test/faults/activities', 'test/faults/keeping'],
  migrations: ['test/faults/migrations'],
  fleets: ['test/faults/fleets'],
  lives,
  moves,
  '': ['test/faults', ...lives.filter((one) => !one.startsWith('test/faults')), ...moves],
};
const tests = files[values.only ?? ''];
if (!tests) {
  process.stderr.write(
    `--only: found ${values.only}; it takes calls, runs, activities, migrations, lives, moves or fleets\n`,
  );
  process.exit(2);
}
const file = resolve(values.file);
mkdirSync(dirname(file), { recursive: true });
if (values.again) rmSync(file, { force: true });

const { status } = spawnSync(process.execPath, [join(root, 'test/local/run.ts'), ...tests], {
  cwd: root,
  stdio: 'inherit',
  env: {
    ...process.env,
    MULTI_CLOUD_TEST_STATE: process.env.MULTI_CLOUD_TEST_STATE ?? join(root, '.local/test-faults'),
    MULTI_CLOUD_FAULTS_FILE: file,
    MULTI_CLOUD_FAULTS_SHARD: values.shard,
    MULTI_CLOUD_FAULTS_CLOUDS: values.clouds,
    MULTI_CLOUD_FAULTS_CASE: values.case,
  },
});

const Noted = z.object({ id: z.string(), ok: z.boolean(), broken: z.array(z.string()) });
const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n').filter(Boolean) : [];
// The last word on each case: one that failed once may have passed since.
const cases = new Map(lines.map((line) => Noted.parse(JSON.parse(line))).map((one) => [one.id, one]));
const failed = [...cases.values()].filter(({ ok }) => !ok);
for (const { id, broken } of failed) process.stdout.write(`✘ ${id}\n    ${broken.join('\n    ')}\n`);
process.stdout.write(`${cases.size - failed.length} cases passed, ${failed.length} failed; noted in ${file}\n`);
process.exit(status !== 0 || (cases.size === 0 && !['lives', 'moves'].includes(values.only ?? '')) ? 1 : 0);
