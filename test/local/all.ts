/**
 * All tests, in two lanes side by side, each on a Temporal server and local clouds of its own: the matrix of faults
 * and the long lives of all cells would make the others wait, and mostly wait themselves. With arguments of its own, `npm test`
 * runs what they say in one lane.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

/** Tests of the second lane. */
const slow = ['test/faults', 'test/e2e/undo', 'test/e2e/recover', 'test/e2e/locks', 'test/e2e/deploy-rules'];
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
const second = args.map((argument) => argument.replace(/^(--outputFile=.*)(\.json)$/, '$1.2$2'));
const chosen = args.some((argument) => !argument.startsWith('-'));
const codes = chosen
  ? [await lane(args, firstPort, state)]
  : await Promise.all([
      lane([...args, '--testPathIgnorePatterns', '/node_modules/', ...slow], firstPort, state),
      lane([...second, ...slow], firstPort + 200, `${state}-2`),
    ]);
process.exit(Math.max(...codes));
