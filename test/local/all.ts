/**
 * All tests, in three lanes side by side, each on a Temporal server and local clouds of its own. Of the long suites `npm test`
 * goes through one of each kind, chosen by the commit; `MULTI_CLOUD_TESTS=all`, as in CI, through all. A few suites that failed
 * run once more, alone; the last line counts, `N passed, N failed`. With paths among its arguments, it runs these in one lane.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { chosen } from '../faults/choice.ts';
import { failedOf, type Results, readResults, sumOf } from './results.ts';

/** Long suites by what they are about, with the seconds that each takes about: lanes are filled by them. */
const long: Record<string, Record<string, number>> = {
  calls: { 'test/faults/matrix': 900, 'test/faults/runs': 130, 'test/faults/migrations': 70 },
  processes: { 'test/faults/activities': 140, 'test/e2e/lost-database': 50 },
  lives: {
    'test/e2e/undo': 110,
    'test/e2e/recover': 110,
    'test/e2e/locks': 80,
    'test/e2e/blocked': 50,
    'test/faults/locks': 50,
  },
  guards: {
    'test/hostile/runs': 120,
    'test/e2e/planted-secrets': 30,
    'test/e2e/real-worker': 60,
    'test/e2e/codec': 25,
  },
  estates: {
    'test/e2e/deploy-rules': 130,
    'test/e2e/records': 50,
    'test/client/estate': 40,
    'test/e2e/worker-killed': 40,
  },
  moves: { 'test/e2e/migrate': 100, 'test/e2e/rehearse': 30, 'test/workflows/migration': 110, 'test/e2e/verify': 20 },
  fleets: {
    'test/e2e/migrate-fleet': 140,
    'test/e2e/claims': 100,
    'test/workflows/migrate-fleet': 110,
    'test/faults/fleets': 120,
    'test/e2e/newborns': 90,
  },
  objects: { 'test/transfer/engine': 90, 'test/transfer/large': 45 },
  sides: {
    'test/replication/replicate': 70,
    'test/replication/away': 40,
    'test/replication/transform': 20,
    'test/replication/expiry': 15,
    'test/replication/feeds': 100,
    'test/replication/divergence': 50,
    'test/e2e/replicate': 40,
    'test/e2e/sides': 25,
    'test/workflows/replicate': 45,
    'test/faults/keeping': 60,
    'test/replication/registries': 45,
    'test/e2e/replicate-fleet': 45,
  },
  devices: {
    'test/device-agent/agent': 35,
    'test/device-agent/claims': 25,
    'test/device-agent/fleet': 50,
    'test/telemetry': 60,
    'test/fleet': 25,
    'test/e2e/devices': 20,
  },
  traffic: { 'test/e2e/traffic': 50, 'test/e2e/endpoints': 35, 'test/fence': 15 },
};
/** Each on clouds that hold nothing of other tests: which rights a scan needs depends on what it meets. */
const alone: Record<string, number> = { 'test/conformance': 110, 'test/e2e/rights': 20 };
/** What all the other suites take. */
const othersSeconds = 250;

const root = resolve(import.meta.dirname, '../..');
const results = join(root, '.local/test-results');
const firstPort = Number(process.env.MULTI_CLOUD_TEST_PORT ?? '18400');
const state = process.env.MULTI_CLOUD_TEST_STATE ?? '.local/test';
const args = process.argv.slice(2);

interface Suite {
  id: string;
  kind: string;
  seconds: number;
}
/** The suite itself, and no other that begins with the same name. */
function pathOf(id: string): string {
  const path = [`${id}.test.ts`, `${id}/`].find((one) => existsSync(join(root, one)));
  if (!path) throw new Error(`${import.meta.filename}: there is no ${id}`);
  return path;
}
const suites: Suite[] = Object.entries(long).flatMap(([kind, some]) =>
  Object.entries(some).map(([id, seconds]) => ({ id: pathOf(id), kind, seconds })),
);
const apart = Object.keys(alone).map(pathOf);

/** The first lane has all other suites, the third begins with those that run alone; a long one goes to the lane that ends first. */
function lanes(): string[][] {
  const sum = (some: Record<string, number>): number => Object.values(some).reduce((total, one) => total + one, 0);
  const all = ['others', 'long', 'alone'].map((_, at) => ({
    ends: [othersSeconds, 0, sum(alone)][at] ?? 0,
    tests: [] as string[],
  }));
  const some = process.env.MULTI_CLOUD_TESTS === 'all' ? suites : chosen(suites, ({ kind }) => kind);
  for (const { id, seconds } of some.toSorted((a, b) => b.seconds - a.seconds)) {
    const lane = all.reduce((first, one) => (one.ends < first.ends ? one : first));
    lane.ends += seconds;
    lane.tests.push(id);
  }
  return all.map(({ tests }) => tests);
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => {}); // what is started stops what it started

async function run(jest: readonly string[], port: number, folder: string): Promise<number> {
  const child = spawn(process.execPath, [...process.execArgv, join(import.meta.dirname, 'run.ts'), ...jest], {
    // The last line, on standard output, is ours.
    stdio: ['inherit', 2, 2],
    env: { ...process.env, MULTI_CLOUD_TEST_PORT: String(port), MULTI_CLOUD_TEST_STATE: folder },
  });
  process.on('SIGTERM', () => child.kill('SIGTERM'));
  const [code] = await once(child, 'exit');
  return Number(code ?? 1);
}

let started = 0;
/** Runs Jest on a stack of its own, the n-th of this program. */
async function next(jest: readonly string[]): Promise<Results> {
  const n = ++started;
  const file = join(results, `${n}.json`);
  const port = firstPort + 200 * (n - 1);
  await run([...args, '--json', `--outputFile=${file}`, ...jest], port, n === 1 ? state : `${state}-${n}`);
  return readResults(file, root);
}
async function inTurn(...turns: string[][]): Promise<Results[]> {
  const all: Results[] = [];
  for (const jest of turns) if (jest.length > 0) all.push(await next(jest));
  return all;
}

/** More suites than these were not made late by one another. */
const mostAgain = 3;

async function everything(): Promise<number> {
  rmSync(results, { recursive: true, force: true });
  mkdirSync(results, { recursive: true });
  const [first = [], second = [], third = []] = lanes();
  const elsewhere = [...suites.map(({ id }) => id).filter((id) => !first.includes(id)), ...apart];
  const ended = await Promise.all([
    inTurn(['--testPathIgnorePatterns', '/node_modules/', ...elsewhere]),
    inTurn(second),
    inTurn(...apart.map((one) => [one]), third),
  ]);
  const runs = ended.flat();
  // Three lanes on two cores: what came too late passes alone, and is told; what is wrong fails again.
  const failed = failedOf(runs).map(({ id }) => id);
  const again = failed.length > 0 && failed.length <= mostAgain ? await next(['--runTestsByPath', ...failed]) : [];
  const sum = sumOf(runs, again);
  for (const id of sum.flaky) process.stderr.write(`${id} failed beside the others, and passed alone\n`);
  process.stdout.write(`${sum.passed} passed, ${sum.failed} failed\n`);
  return sum.failed === 0 ? 0 : 1;
}

const some = args.some((argument) => !argument.startsWith('-'));
process.exit(some ? await run(args, firstPort, state) : await everything());
