/**
 * All tests, in three lanes side by side, each on a Temporal server and local clouds of its own. Of the suites of faults `npm test`
 * goes through one of each kind, chosen by the commit; `MULTI_CLOUD_TEST_FAULTS=all`, as in CI, through all. With arguments of
 * its own, it runs what they say in one lane.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { chosen } from '../faults/choice.ts';

/** Long lives under faults, which would make the others wait, and mostly wait themselves. */
const faults = [
  { id: 'test/faults/matrix', kind: 'calls' },
  { id: 'test/faults/runs', kind: 'calls' },
  { id: 'test/faults/activities', kind: 'processes' },
  { id: 'test/e2e/lost-database', kind: 'processes' },
  { id: 'test/e2e/undo', kind: 'lives' },
  { id: 'test/e2e/recover', kind: 'lives' },
  { id: 'test/e2e/locks', kind: 'lives' },
  { id: 'test/e2e/blocked', kind: 'lives' },
];
/** Others that the second lane has time for when it does not go through all of these, and else the third. */
const besides = ['test/e2e/deploy-rules', 'test/e2e/migrate', 'test/e2e/traffic', 'test/workflows/migration'];
/** What moves objects and devices, without runs. */
const engines = ['test/device-agent', 'test/fleet', 'test/replication', 'test/transfer'];
/** Each on clouds that hold nothing of other tests: which rights a scan needs depends on what it meets. */
const alone = ['test/conformance', 'test/e2e/rights'];
const whole = process.env.MULTI_CLOUD_TEST_FAULTS === 'all';
const second = whole
  ? faults.map(({ id }) => id)
  : [...chosen(faults, ({ kind }) => kind).map(({ id }) => id), ...besides];
const third = [...engines, ...(whole ? besides : [])];
const notFirst = [...faults.map(({ id }) => id), ...second, ...third, ...alone];
const firstPort = Number(process.env.MULTI_CLOUD_TEST_PORT ?? '18400');
const state = process.env.MULTI_CLOUD_TEST_STATE ?? '.local/test';
const args = process.argv.slice(2);

async function lane(jest: readonly string[], port: number, folder: string): Promise<number> {
  const child = spawn(process.execPath, [...process.execArgv, join(import.meta.dirname, 'run.ts'), ...jest], {
    stdio: 'inherit',
    env: { ...process.env, MULTI_CLOUD_TEST_PORT: String(port), MULTI_CLOUD_TEST_STATE: folder },
  });
  process.on('SIGTERM', () => child.kill('SIGTERM'));
  const [code] = await once(child, 'exit');
  return Number(code ?? 1);
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => {}); // the lanes stop what they started
/** Runs Jest on a stack of its own, the n-th of this run; `--outputFile=x.json` of the second is `x.2.json`. */
const nth = (n: number, jest: readonly string[]): Promise<number> => {
  const own = n === 1 ? args : args.map((argument) => argument.replace(/^(--outputFile=.*)(\.json)$/, `$1.${n}$2`));
  return lane([...own, ...jest], firstPort + 200 * (n - 1), n === 1 ? state : `${state}-${n}`);
};
async function thirdLane(): Promise<number> {
  let code = 0;
  for (const [at, suites] of [...alone.map((one) => [one]), third].entries())
    code = Math.max(code, await nth(3 + at, suites));
  return code;
}

const some = args.some((argument) => !argument.startsWith('-'));
const codes = some
  ? [await lane(args, firstPort, state)]
  : await Promise.all([
      nth(1, ['--testPathIgnorePatterns', '/node_modules/', ...notFirst]),
      nth(2, second),
      thirdLane(),
    ]);
process.exit(Math.max(...codes));
