/**
 * `multi-cloud local`: the Temporal server, the local clouds and the workers of this machine.
 *
 *     up [--foreground]   starts them and returns when all are ready; with --foreground stays until Ctrl-C
 *     down                stops them, and nothing else
 *     reset               stops them and forgets all that they hold
 *     fault, quota, calls makes the local clouds misbehave; sets what their quotas allow; shows what was asked of them
 */
import { spawn } from 'node:child_process';
import { mkdirSync, openSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { callsCommand, faultCommand, faultUsage, quotaCommand } from './fault-command.ts';
import { endAll, isAlive } from './process-identity.ts';
import { dropRunFile, type RunFile, readRunFile } from './run-file.ts';
import { LocalStack, settingsFrom } from './stack.ts';

const usage = `usage: multi-cloud local up [--foreground] | down | reset | fault KIND … | quota NAME … | calls\n`;
const { values, positionals } = parseArgs({
  allowPositionals: true,
  strict: false, // `fault`, `quota` and `calls` read their own options
  options: { foreground: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } },
});
const say = (text: string): void => void process.stdout.write(`  ${text}\n`);
const settings = settingsFrom(process.env, say);
const { state } = settings;

/** The parts of the state folder that a reset forgets. Downloads and the set-up's own notes stay. */
const forgotten = ['temporal', 'aws', 'azure', 'gcp', 'certificates', 'device-ca', 'logs', 'home', 'gcp-key.json'];

/** What an earlier start left: running, or killed so that only some of its processes are left. */
async function takeDown(run: RunFile): Promise<void> {
  const grace = 15_000;
  // The supervisor ends its children in order; what it can't, because it was killed, is ended here.
  await endAll([run.supervisor], grace);
  await endAll(Object.values(run.children), grace);
  dropRunFile(state);
}

function summary(run: RunFile): string {
  return `Temporal ${run.temporal.address}, UI ${run.temporal.ui}, logs ${run.logs}\n`;
}

async function foreground(): Promise<void> {
  const before = readRunFile(state);
  if (before && isAlive(before.supervisor)) throw new Error(`Already up (process ${before.supervisor.pid}).`);
  if (before) await takeDown(before);
  const stack = new LocalStack(settings);
  const stopped = new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
      process.on(signal, () => {
        stack.down().then(resolve);
      });
  });
  const run = await stack.up();
  process.stdout.write(summary(run));
  await stopped;
}

/** Starts a supervisor that outlives this command, and shows what it says until all is ready. */
async function background(): Promise<number> {
  const before = readRunFile(state);
  if (before?.ready && isAlive(before.supervisor)) {
    process.stdout.write(`Already up. ${summary(before)}`);
    return 0;
  }
  mkdirSync(join(state, 'logs'), { recursive: true });
  const log = join(state, 'logs', 'supervisor.log');
  const file = openSync(log, 'w');
  const child = spawn(process.execPath, [...process.execArgv, import.meta.filename, 'up', '--foreground'], {
    cwd: settings.root,
    env: process.env,
    stdio: ['ignore', file, file],
    detached: true,
  });
  let code: number | null = null;
  child.once('exit', (status) => {
    code = status ?? 1;
  });
  let shown = 0;
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    const text = readFileSync(log, 'utf8');
    process.stdout.write(text.slice(shown));
    shown = text.length;
    if (code !== null) return code;
    const run = readRunFile(state);
    if (run?.ready && run.supervisor.pid === child.pid && text.includes(run.temporal.ui)) break;
  }
  child.unref();
  return 0;
}

async function down(): Promise<void> {
  const run = readRunFile(state);
  if (!run) {
    process.stdout.write('Nothing is up.\n');
    return;
  }
  await takeDown(run);
  process.stdout.write('Stopped.\n');
}

/** What runs now, for commands that ask its gateway. */
function running(): RunFile {
  const run = readRunFile(state);
  if (run?.ready && isAlive(run.supervisor)) return run;
  throw new Error('Nothing is up. Start it: npx multi-cloud local up');
}

async function main(): Promise<number> {
  const [command] = positionals;
  const rest = process.argv.slice(3);
  const asking =
    command === undefined ? undefined : { fault: faultCommand, quota: quotaCommand, calls: callsCommand }[command];
  if (asking) {
    if (values.help) process.stdout.write(faultUsage);
    else await asking(running(), rest);
    return 0;
  }
  if (values.help || command === undefined) {
    (values.help ? process.stdout : process.stderr).write(usage);
    return values.help ? 0 : 2;
  }
  switch (command) {
    case 'up':
      if (!values.foreground) return background();
      await foreground();
      return 0;
    case 'down':
      await down();
      return 0;
    case 'reset':
      await down();
      for (const name of forgotten) rmSync(join(state, name), { recursive: true, force: true });
      process.stdout.write(`Forgot all that the local clouds and Temporal held in ${state}.\n`);
      return 0;
    default:
      process.stderr.write(`unknown command ${command}\n${usage}`);
      return 2;
  }
}

try {
  process.exit(await main());
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exit(1);
}
