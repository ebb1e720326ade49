/** `replicate-lag`: how soon a change is at the other cloud, told by notifications and, as the peer, found by passes alone. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { pathToFileURL } from 'node:url';
import { z } from 'zod';
import { baseEnvironment, localCredentials } from '../../emulators/environment.ts';
import { LocalStack, settingsFrom } from '../../emulators/stack.ts';
import { type ProviderType, providerTypes } from '../../model/service.ts';

export const LagTask = z.strictObject({
  from: z.enum(providerTypes),
  to: z.enum(providerTypes),
  /** Objects of 1 KB a second. */
  rate: z.number(),
  seconds: z.number(),
  /** Or by passes alone. */
  feed: z.boolean(),
});

/** Of all writes that were answered, milliseconds; `missing` had not arrived half a minute after the last. */
export const Lags = z.strictObject({
  written: z.number(),
  missing: z.number(),
  p50: z.number(),
  p99: z.number(),
  longest: z.number(),
});

const root = resolve(import.meta.dirname, '../..');
const directions = [
  ['aws', 'gcp'],
  ['gcp', 'azure'],
  ['azure', 'aws'],
] as const;
const rate = 200;
const seconds = 60;

interface Lag {
  from: ProviderType;
  to: ProviderType;
  /** 99th percentile of each round, seconds. */
  told: number[];
  passes: number[];
}

/** The local clouds keep the disk and both cores busy: the figures are theirs as well. */
export async function replicationLag(rounds: number, port: number, say: (what: string) => void): Promise<Lag[]> {
  const state = mkdtempSync(join(tmpdir(), 'lag-'));
  const stack = new LocalStack({ ...settingsFrom({ MULTI_CLOUD_PORT: String(port) }, say), state });
  try {
    const { network } = await stack.up();
    const measure = async (task: z.infer<typeof LagTask>): Promise<number> => {
      const loader = ['--import', pathToFileURL(join(root, 'workers/network.ts')).href];
      const flags = ['--disable-warning=ExperimentalWarning', ...loader];
      const child = spawn(process.execPath, [...flags, 'test/bench/lag.ts', JSON.stringify(task)], {
        cwd: root,
        stdio: ['ignore', 'pipe', 'inherit'],
        env: {
          ...baseEnvironment(state),
          ...localCredentials(state),
          MULTI_CLOUD_RUN: join(state, 'run.json'),
          MULTI_CLOUD_NETWORK: network,
        },
      });
      const [said, [code]] = await Promise.all([text(child.stdout), once(child, 'exit')]);
      if (code !== 0) throw new Error(`replicate-lag: the measurement failed (${code})`);
      const { written, missing, p50, p99, longest } = Lags.parse(JSON.parse(said.trim().split('\n').at(-1) ?? '{}'));
      say(`${JSON.stringify(task)}: p50 ${p50} ms, p99 ${p99} ms, longest ${longest} ms of ${written}`);
      if (missing > 0) throw new Error(`replicate-lag: ${missing} of ${written} objects did not arrive`);
      return p99 / 1000;
    };
    const lags: Lag[] = directions.map(([from, to]) => ({ from, to, told: [], passes: [] }));
    for (let round = 0; round < rounds; round++)
      for (const { from, to, told, passes } of lags) {
        told.push(await measure({ from, to, rate, seconds, feed: true }));
        passes.push(await measure({ from, to, rate, seconds, feed: false }));
      }
    return lags;
  } finally {
    await stack.down();
    rmSync(state, { recursive: true, force: true });
  }
}
