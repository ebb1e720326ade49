/**
 * `replicate-lag`, and `migrate-lag`: how soon a change is at the other cloud, told by notifications, and how fast a pump catches up
 * after a stop, where sides replicate each other, and where one follows the other as in a migration. The local clouds, the writer and the pump share the machine: what each of them costs is told with the figures.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { z } from 'zod';
import { baseEnvironment, localCredentials } from '../../emulators/environment.ts';
import { LocalStack, settingsFrom } from '../../emulators/stack.ts';
import { type ProviderType, providerTypes } from '../../model/service.ts';
import { PlacementRef } from '../../model/transfer.ts';
import { cpuOf, loadNow } from '../scale/processes.ts';

export const LagTask = z.strictObject({
  from: z.enum(providerTypes),
  to: z.enum(providerTypes),
  /** Empty until they are made. */
  sides: z.array(PlacementRef),
  /** Objects of 1 KB: the first, how many, and how many of them a second; 0: as fast as they are taken. */
  first: z.number(),
  objects: z.number(),
  rate: z.number(),
});
export type LagTask = z.infer<typeof LagTask>;

/** What the measuring processes say, a line of JSON each. */
export const Said = z.union([
  z.strictObject({ sides: z.array(PlacementRef) }),
  /** Milliseconds since 1970. */
  z.strictObject({ began: z.number() }),
  z.strictObject({ inStep: z.literal(true) }),
  z.strictObject({ arrived: z.number() }),
  /** What is in use once what is not has been collected. */
  z.strictObject({ heapMB: z.number() }),
  /** By the number of the object, when it was written or arrived. */
  z.strictObject({ times: z.array(z.tuple([z.number(), z.number()])) }),
]);
export type Said = z.infer<typeof Said>;

/** Who keeps the sides in step. */
export type Follower = 'replicate' | 'follow';
type Verb = 'place' | 'write' | Follower;

export interface LagOptions {
  who: Follower;
  directions: readonly (readonly [ProviderType, ProviderType])[];
  /** Objects a second, and for how long. */
  rate: number;
  seconds: number;
  /** For how long no pump runs, while as many are written. */
  stopSeconds: number;
  port: number;
}

export interface Lag {
  from: string;
  to: string;
  /** Objects a second that the source has taken. */
  written: number;
  /** Milliseconds. */
  p50: number;
  p99: number;
  longest: number;
  /** What the pump holds, from time to time while it is live. */
  heapMB: number[];
  /** Objects a second after the stop. */
  catchUp: number;
  /** Cores that each process has kept busy. */
  busy: { live: Record<string, number>; catchUp: Record<string, number> };
  load: number;
}

const root = resolve(import.meta.dirname, '../..');

class Measured {
  readonly child: ChildProcess;
  readonly #heard: Said[] = [];
  readonly ended: Promise<unknown>;

  constructor(verb: Verb, task: LagTask, env: Record<string, string>) {
    const loader = ['--import', pathToFileURL(join(root, 'workers/network.ts')).href];
    const flags = ['--disable-warning=ExperimentalWarning', '--expose-gc', ...loader];
    this.child = spawn(process.execPath, [...flags, 'test/bench/lag-process.ts', verb, JSON.stringify(task)], {
      cwd: root,
      stdio: ['ignore', 'pipe', 'inherit'],
      env,
    });
    if (!this.child.stdout) throw new Error('no stdout');
    const lines = createInterface(this.child.stdout);
    lines.on('line', (line) => this.#heard.push(Said.parse(JSON.parse(line))));
    this.ended = Promise.all([once(this.child, 'exit'), once(lines, 'close')]).then(([[code]]) => {
      if (code !== 0) throw new Error(`lag: ${verb} failed (${code})`);
    });
    this.ended.catch(() => {}); // thrown where it is waited for
  }

  /** The last word of this kind. */
  said<K extends string>(kind: K): Extract<Said, Record<K, unknown>> | undefined {
    return this.#heard.findLast((one): one is Extract<Said, Record<K, unknown>> => kind in one);
  }

  async hear<K extends string>(kind: K): Promise<Extract<Said, Record<K, unknown>>> {
    for (;;) {
      const found = this.said(kind);
      if (found) return found;
      await Promise.race([this.ended, pause(50)]);
      if (this.child.exitCode !== null && !this.said(kind)) throw new Error(`lag: it ended without ${kind}`);
    }
  }

  /** The last that it has to say. Node may wait for ever for its own threads when it ends: nothing is left to wait for. */
  async last<K extends string>(kind: K): Promise<Extract<Said, Record<K, unknown>>> {
    const said = await this.hear(kind);
    this.child.kill('SIGKILL');
    return said;
  }

  async times(): Promise<Map<number, number>> {
    return new Map((await this.last('times')).times);
  }
}

export async function measureLag(options: LagOptions, say: (what: string) => void): Promise<Lag[]> {
  const state = mkdtempSync(join(tmpdir(), 'lag-'));
  const stack = new LocalStack({ ...settingsFrom({ MULTI_CLOUD_PORT: String(options.port) }, say), state });
  try {
    const { network, children } = await stack.up();
    const env = {
      ...baseEnvironment(state),
      ...localCredentials(state),
      MULTI_CLOUD_RUN: join(state, 'run.json'),
      MULTI_CLOUD_NETWORK: network,
    };
    const clouds = Object.fromEntries(Object.entries(children).map(([name, { pid }]) => [name, pid]));
    const lags: Lag[] = [];
    for (const [from, to] of options.directions) lags.push(await measure(from, to, { ...options, env, clouds, say }));
    return lags;
  } finally {
    await stack.down();
    rmSync(state, { recursive: true, force: true });
  }
}

interface Measuring extends LagOptions {
  env: Record<string, string>;
  clouds: Record<string, number>;
  say: (what: string) => void;
}

async function measure(from: ProviderType, to: ProviderType, measuring: Measuring): Promise<Lag> {
  const { who, rate, seconds, stopSeconds, env, clouds, say } = measuring;
  const start = (verb: Verb, task: Partial<LagTask>) =>
    new Measured(verb, { from, to, sides: [], first: 0, objects: 0, rate: 0, ...task }, env);
  const { sides } = await start('place', {}).last('sides');

  // Live.
  const pump = start(who, { sides });
  await pump.hear('inStep');
  const objects = rate * seconds;
  const live = new Busy({ ...clouds, pump: pump.child.pid ?? 0 });
  const writer = start('write', { sides, objects, rate });
  const began = Date.now();
  const heapMB: number[] = [];
  const loads: number[] = [];
  let over = false;
  const watching = (async () => {
    while (!over) {
      await pause(Math.max(5000, (seconds * 1000) / 10));
      heapMB.push(pump.said('heapMB')?.heapMB ?? 0);
      loads.push(loadNow());
    }
  })();
  const written = await writer.times();
  const lastedMs = Math.max(...written.values()) - (writer.said('began')?.began ?? began);
  const busy = { live: live.cores, catchUp: {} };
  await allArrive(pump, written.size, say);
  over = true;
  await watching;
  pump.child.kill('SIGTERM');
  const arrived = await pump.times();
  const all = [...written].map(([n, at]) => Math.max(0, (arrived.get(n) ?? Number.POSITIVE_INFINITY) - at));
  const sorted = all.sort((a, b) => a - b);
  const share = (part: number): number => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0;

  // After a stop.
  const missed = rate * stopSeconds;
  const backlog = await start('write', { sides, first: objects, objects: missed }).times();
  const next = start(who, { sides });
  const { began: pumping } = await next.hear('began');
  const catching = new Busy({ ...clouds, pump: next.child.pid ?? 0 });
  await allArrive(next, backlog.size, say);
  busy.catchUp = catching.cores;
  next.child.kill('SIGTERM');
  const caught = Math.max(...(await next.times()).values()) - pumping;
  const lag: Lag = {
    ...{ from, to, busy, heapMB },
    written: written.size / (lastedMs / 1000),
    ...{ p50: share(0.5), p99: share(0.99), longest: share(1) },
    catchUp: missed / (caught / 1000),
    load: loads.reduce((sum, one) => sum + one, 0) / Math.max(1, loads.length),
  };
  say(`${from} to ${to}, asked for ${rate}/s on ${availableParallelism()} cores: ${JSON.stringify(lag)}`);
  return lag;
}

/** How many cores each process keeps busy, from now on. */
class Busy {
  readonly #pids: Record<string, number>;
  readonly #before: Record<string, number>;
  readonly #began = Date.now();

  constructor(pids: Record<string, number>) {
    this.#pids = pids;
    this.#before = cpuOf(pids);
  }

  get cores(): Record<string, number> {
    const seconds = (Date.now() - this.#began) / 1000;
    return Object.fromEntries(
      Object.entries(cpuOf(this.#pids)).map(([name, cpu]) => [
        name,
        Number(((cpu - (this.#before[name] ?? 0)) / seconds).toFixed(2)),
      ]),
    );
  }
}

async function allArrive(pump: Measured, objects: number, say: (what: string) => void): Promise<void> {
  let [last, at] = [0, Date.now()];
  for (;;) {
    const arrived = pump.said('arrived')?.arrived ?? 0;
    if (arrived >= objects) return;
    if (arrived > last) [last, at] = [arrived, Date.now()];
    if (Date.now() - at > 60_000) throw new Error(`lag: ${objects - arrived} of ${objects} did not arrive`);
    if (pump.child.exitCode !== null) throw new Error(`lag: the pump has ended (${pump.child.exitCode})`);
    await pause(100);
    if (Date.now() - at > 10_000) say(`${arrived} of ${objects} have arrived`);
  }
}
