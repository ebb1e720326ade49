/**
 * The processes of `replicate-lag` and `migrate-lag`: `lag-process.ts place|replicate|follow|write <JSON>` makes two sides, keeps them in step
 * as a worker does until SIGTERM, lets the second follow the first as one does in a migration, or writes to the first. Says on
 * stdout what it has seen (`Said`).
 */
import { setTimeout as pause } from 'node:timers/promises';
import { MockActivityEnvironment } from '@temporalio/testing';
import { createFeedActivities } from '../../activities/providers/feed.ts';
import type { ObjectStore } from '../../activities/providers/object-store.ts';
import { createFollowActivities } from '../../activities/replication/follow.ts';
import { createReplicateActivities } from '../../activities/replication/replicate.ts';
import { createTransferActivities } from '../../activities/transfer/activities.ts';
import { fill, placed, pool, signal, storeOf } from '../transfer/stores.ts';
import { LagTask, type Said } from './lag.ts';

const [verb = '', input = '{}'] = process.argv.slice(2);
const { from, to, sides, first, objects, rate } = LagTask.parse(JSON.parse(input));
const say = (what: Said): void => void process.stdout.write(`${JSON.stringify(what)}\n`);
const keyOf = (n: number): string => `devices/${String(n).padStart(7, '0')}`;
/** Writes at once where no rate is given. */
const mostOpen = 32;

async function place(): Promise<void> {
  const { ensureFeed } = createFeedActivities({
    atPlacement: async (placement, act) => act(await pool.get(placement.provider), signal),
    pace: () => ({ pollMs: 25, heartbeat: () => {} }),
  });
  const made = await Promise.all([placed(from), placed(to)]);
  for (const placement of made) await ensureFeed({ placement });
  say({ sides: made });
}

async function write(): Promise<void> {
  const [source] = sides;
  if (!source) throw new Error('no sides');
  const store = await storeOf(source);
  const written = new Map<number, number>();
  const open = new Set<Promise<void>>();
  say({ began: Date.now() });
  const began = performance.now();
  for (let n = 0; n < objects; n++) {
    const due = rate > 0 ? (n / rate) * 1000 - (performance.now() - began) : 0;
    if (due > 0) await pause(due);
    if (rate === 0 && open.size >= mostOpen) await Promise.race(open);
    const writing = fill(store, keyOf(first + n), Buffer.alloc(1024, n)).then(() => {
      written.set(first + n, Date.now());
      open.delete(writing);
    });
    open.add(writing);
  }
  await Promise.all(open);
  say({ times: [...written] });
}

const deps = { pool, pollMs: 25, callDeadlineMs: 20_000 };
/** Tells when what is told for the first time arrives at the target, and what the process holds, until SIGTERM. */
async function pump(act: () => Promise<unknown>): Promise<void> {
  const arrived = new Map<number, number>();
  const target = await pool.get(to);
  const stores = target.store;
  target.store = (placement) => {
    const store = stores(placement);
    const note: ObjectStore['write'] = async (object, ...rest) => {
      const answer = await store.write(object, ...rest);
      const n = /^devices\/(\d+)$/.exec(object.key)?.[1];
      if (n !== undefined && !arrived.has(Number(n))) arrived.set(Number(n), Date.now());
      return answer;
    };
    return { ...store, write: note };
  };
  const environment = new MockActivityEnvironment();
  process.once('SIGTERM', () => environment.cancel('CANCELLED'));
  const telling = setInterval(() => say({ arrived: arrived.size }), 200);
  const weighing = setInterval(() => {
    globalThis.gc?.();
    say({ heapMB: Math.round(process.memoryUsage().heapUsed / 1e6) });
  }, 5000);
  say({ began: Date.now() });
  await environment.run(act).catch((error: unknown) => {
    if (!environment.context.cancellationSignal.aborted) throw error;
  });
  clearInterval(telling);
  clearInterval(weighing);
  say({ times: [...arrived] });
}

/** Later than that of the pump before it. */
const epoch = Math.floor(Date.now() / 1000);

function replicate(): Promise<void> {
  let inStep = false;
  const { replicateSides } = createReplicateActivities({
    ...deps,
    report: async (_, { inStepAt }) => {
      if (inStepAt !== '' && !inStep) say({ inStep: true });
      inStep ||= inStepAt !== '';
    },
  });
  const edges = [
    { from, to },
    { from: to, to: from },
  ];
  return pump(() =>
    replicateSides({
      ...{ sides, edges, rule: 'last-write-wins', source: from, tombstoneMs: 3_600_000, feeds: [from, to] },
      ...{ epoch, forMs: 7_200_000, compareMs: 600_000 },
    }),
  );
}

function follow(): Promise<void> {
  const [source, target] = sides;
  if (!source || !target) throw new Error('no sides');
  const { copyDelta, nameWriter } = createTransferActivities(deps);
  // Its first pass is what a migration waits for as well.
  const told: typeof copyDelta = async (input) => {
    const delta = await copyDelta(input);
    say({ inStep: true });
    return delta;
  };
  const { followStore } = createFollowActivities({ ...deps, copyDelta: told, nameWriter });
  const input = { source, target, transfer: 'lag', pump: epoch, maxDeletes: 0, feed: true };
  return pump(() => followStore({ ...input, intervalMs: 10_000, forMs: 7_200_000 }));
}

const acts: Record<string, () => Promise<void>> = { place, write, replicate, follow };
await acts[verb]?.();
await pool.close();
// What was said last may be large, and on its way.
await new Promise<void>((resolve) => process.stdout.write('', () => resolve()));
process.exit(0);
