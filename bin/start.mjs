#!/usr/bin/env node
/**
 * `npm start [-- --once]`: sets up what is missing, starts Temporal, the local clouds and the worker, deploys the sample
 * estate, prints what runs where at what cost, and stays up until Ctrl-C; with `--once` it stops all and ends.
 */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { root, setUpOrExit } from './set-up.mjs';

const args = process.argv.slice(2);
const once = args.includes('--once');
const unknown = args.filter((argument) => argument !== '--once');
if (unknown.length > 0) {
  process.stderr.write(`unknown argument ${unknown.join(' ')}\nusage: npm start [-- --once]\n`);
  process.exit(2);
}
const say = (text) => process.stdout.write(`${text}\n`);
const started = Date.now();
const elapsed = () => `${((Date.now() - started) / 1000).toFixed(1)} s`;

const node = await setUpOrExit();
const state = resolve(root, process.env.MULTI_CLOUD_STATE ?? '.local');
// Compiled code is kept, so that a second start costs less.
const environment = { ...process.env, NODE_COMPILE_CACHE: join(state, 'compile-cache') };
const source = (file, ...rest) => ['--disable-warning=ExperimentalWarning', join(root, file), ...rest];

say('Starting Temporal, the local clouds and the worker:');
// In a group of its own: Ctrl-C comes here alone, and the order of stopping is decided here.
const supervisor = spawn(node, source('emulators/main.ts', 'up', '--foreground'), {
  cwd: root,
  env: environment,
  stdio: ['ignore', 'inherit', 'inherit'],
  detached: true,
});
let ended = false;
const supervisorEnd = new Promise((done) => {
  supervisor.on('error', (error) => {
    process.stderr.write(`${error.message}\n`);
    ended = true;
    done(1);
  });
  supervisor.on('exit', (code) => {
    ended = true;
    done(code ?? 1);
  });
});
let stopping = false;
const stop = () => {
  if (stopping) return;
  stopping = true;
  say('\nStopping …');
  supervisor.kill('SIGTERM');
};
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, stop);

function readRun() {
  const file = join(state, 'run.json');
  try {
    return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : undefined;
  } catch {
    return undefined;
  }
}

async function untilReady() {
  while (!ended && !stopping) {
    const run = readRun();
    if (run?.ready && run.supervisor.pid === supervisor.pid) return run;
    await new Promise((done) => setTimeout(done, 50));
  }
  return undefined;
}

/** Runs the command line as a user would; Ctrl-C ends it together with all else. */
function command(run, ...words) {
  return new Promise((done) => {
    const child = spawn(node, source('client/cli/main.ts', ...words), {
      cwd: root,
      stdio: 'inherit',
      env: {
        ...environment,
        MULTI_CLOUD_ADDRESS: run.temporal.address,
        MULTI_CLOUD_NAMESPACE: run.temporal.namespace,
      },
    });
    child.on('error', () => done(1));
    child.on('exit', (code) => done(code ?? 1));
  });
}

const run = await untilReady();
if (!run) process.exit(await supervisorEnd);
say(`All ready after ${elapsed()}. Deploying the sample estate (config/multi-cloud.yaml):`);
let code = await command(run, 'deploy', '--yes');
if (!stopping && code === 0) {
  code = await command(run, 'status');
  if (code === 0) code = await command(run, 'costs');
}
if (!stopping) {
  const servers = Object.entries(run.dns)
    .map(([cloud, address]) => `${cloud} ${address}`)
    .join(', ');
  say(code === 0 ? `\nDeployed after ${elapsed()}.` : `\nThe deployment did not succeed (exit code ${code}).`);
  if (once) stop();
  else say(`Name servers: ${servers}\nTemporal's UI: ${run.temporal.ui}   Everything stays up until Ctrl-C.`);
}
await supervisorEnd;
process.exit(once ? code : 0);
