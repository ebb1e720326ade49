/**
 * All tests, in two lanes side by side, each on a Temporal server and local clouds of its own. Of the suites of faults `npm test`
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
/** Others that the second lane has time for when it does not go through all of these. */
const besides = ['test/e2e/deploy-rules', 'test/workflows/migration', 'test/transfer'];
const whole = process.env.MULTI_CLOUD_TEST_FAULTS === 'all';
const second = whole
  ? faults.map(({ id }) => id)
  : [...chosen(faults, ({ kind }) => kind).map(({ id }) => id), ...besides];
const notFirst = [...faults.map(({ id }) => id), ...second];
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
/** `--outputFile=x.json` of the second lane is `x.2.json`. */
const secondArgs = args.map((argument) => argument.replace(/^(--outputFile=.*)(\.json)$/, '$1.2$2'));
const some = args.some((argument) => !argument.startsWith('-'));
const codes = some
  ? [await lane(args, firstPort, state)]
  : await Promise.all([
      lane([...args, '--testPathIgnorePatterns', '/node_modules/', ...notFirst], firstPort, state),
      lane([...secondArgs, ...second], firstPort + 200, `${state}-2`),
    ]);
process.exit(Math.max(...codes));
