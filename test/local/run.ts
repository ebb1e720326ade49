/**
 * What `npm test` runs: starts Temporal, the local clouds and a worker in a state folder of the tests' own, runs Jest on
 * them, stops them. Jest and all its processes see the local clouds through the connection map, and nothing else: a test
 * that asks for another address is refused.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { baseEnvironment, localCredentials } from '../../emulators/environment.ts';
import { LocalStack, settingsFrom } from '../../emulators/stack.ts';

const root = resolve(import.meta.dirname, '../..');
const state = resolve(root, process.env.MULTI_CLOUD_TEST_STATE ?? '.local/test');
// Each run starts from clouds that hold nothing; what was compiled before stays.
for (const name of ['temporal', 'aws', 'azure', 'gcp', 'home', 'logs', 'run.json'])
  rmSync(join(state, name), { recursive: true, force: true });

const report = (text: string): void => void process.stderr.write(`  ${text}\n`);
const stack = new LocalStack({
  ...settingsFrom(
    {
      MULTI_CLOUD_PORT: process.env.MULTI_CLOUD_TEST_PORT ?? '18400',
      MULTI_CLOUD_CLOUDS: process.env.MULTI_CLOUD_CLOUDS,
      MULTI_CLOUD_CLOCKS: process.env.MULTI_CLOUD_CLOCKS,
    },
    report,
  ),
  state,
  operationMs: 150,
  // Longer than a run of the tests: a name that is used again too early must fail.
  nameHeldMs: 3_600_000,
  pollMs: 30,
  waits: { blockedMs: 1000 },
});

let jestProcess: ChildProcess | undefined;
let stopping = false;
async function finish(code: number): Promise<void> {
  if (stopping) return;
  stopping = true;
  jestProcess?.kill('SIGTERM');
  await stack.down();
  process.exit(code);
}
process.on('SIGINT', () => void finish(130));
process.on('SIGTERM', () => void finish(143));

try {
  process.stderr.write('Starting local clouds for the tests:\n');
  const run = await stack.up();
  const jest = join(root, 'node_modules/jest/bin/jest.js');
  const chromium = process.env.CHROMIUM ?? ['/usr/bin/chromium', '/usr/bin/chromium-browser'].find(existsSync);
  const haproxy = process.env.HAPROXY ?? ['/usr/sbin/haproxy', '/usr/local/sbin/haproxy'].find(existsSync);
  // What a test has left open is told by Jest, and must not hold whatever comes after.
  const child = spawn(process.execPath, [jest, '--forceExit', ...process.argv.slice(2)], {
    cwd: root,
    stdio: 'inherit',
    env: {
      ...baseEnvironment(state),
      ...localCredentials(state),
      ...(chromium ? { CHROMIUM: chromium } : {}),
      ...(haproxy ? { HAPROXY: haproxy } : {}),
      ...Object.fromEntries(
        Object.entries(process.env).filter(([name]) => /^MULTI_CLOUD_(FAULTS|RECORD|SCALE|TESTS)(_|$)/.test(name)),
      ),
      MULTI_CLOUD_RUN: join(state, 'run.json'),
      MULTI_CLOUD_NETWORK: run.network,
      NODE_OPTIONS: `--import ${pathToFileURL(join(root, 'workers/network.ts')).href} --disable-warning=ExperimentalWarning`,
    },
  });
  jestProcess = child;
  child.on('exit', (code) => void finish(code ?? 1));
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  await finish(1);
}
