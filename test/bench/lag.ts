/**
 * One measurement of `replicate-lag`, on the local clouds that `replicate-lag.ts` has started: a writer at a steady rate, the pump as a
 * worker runs it, and of each object the time from the answer to its writer until the target's cloud has answered the copy.
 * `node test/bench/lag.ts '{"from":"aws","to":"gcp","rate":200,"seconds":60,"feed":true}'` answers one JSON line.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { MockActivityEnvironment } from '@temporalio/testing';
import type { z } from 'zod';
import { createFeedActivities } from '../../activities/providers/feed.ts';
import type { ObjectStore } from '../../activities/providers/object-store.ts';
import { createFollowActivities } from '../../activities/replication/follow.ts';
import { createTransferActivities } from '../../activities/transfer/activities.ts';
import type { ProviderType } from '../../model/service.ts';
import { fill, placed, pool, signal, storeOf } from '../transfer/stores.ts';
import { type Lags, LagTask } from './replicate-lag.ts';

/** Notes when writes to the stores of a provider were answered. */
async function watched(type: ProviderType, arrived: Map<string, number>): Promise<void> {
  const provider = await pool.get(type);
  const open = provider.store;
  provider.store = (placement) => {
    const store = open(placement);
    const write: ObjectStore['write'] = async (object, ...rest) => {
      const answer = await store.write(object, ...rest);
      if (!arrived.has(object.key)) arrived.set(object.key, Date.now());
      return answer;
    };
    return { ...store, write };
  };
}

const { from, to, rate, seconds, feed } = LagTask.parse(JSON.parse(process.argv[2] ?? '{}'));
const dependencies = { pool, pollMs: 25, callDeadlineMs: 20_000 };
const [source, target] = await Promise.all([placed(from), placed(to)]);
const here = await storeOf(source);
const arrived = new Map<string, number>();
await watched(to, arrived);
const { ensureFeed } = createFeedActivities({
  atPlacement: async (placement, act) => act(await pool.get(placement.provider), signal),
  pace: () => ({ pollMs: 25, heartbeat: () => {} }),
});
if (feed) await ensureFeed({ placement: source });
const { copyDelta, nameWriter } = createTransferActivities(dependencies);
const { followStore } = createFollowActivities({ ...dependencies, copyDelta, nameWriter });
const pump = new MockActivityEnvironment();
const task = { source, target, transfer: 'lag', pump: 0, maxDeletes: 0, intervalMs: 1000, forMs: 600_000, feed };
const following = pump.run(async () => followStore(task)) as Promise<unknown>;
following.catch(() => {}); // it is told to stop
await pause(2000);

const written = new Map<string, number>();
const writes: Promise<void>[] = [];
const began = performance.now();
for (let n = 0; n < rate * seconds; n++) {
  const due = (n / rate) * 1000 - (performance.now() - began);
  if (due > 0) await pause(due);
  const key = `devices/${String(n).padStart(6, '0')}`;
  writes.push(fill(here, key, Buffer.alloc(1024, n)).then(() => void written.set(key, Date.now())));
}
await Promise.all(writes);
for (const until = Date.now() + 30_000; arrived.size < written.size && Date.now() < until; ) await pause(50);
pump.cancel();
await following.catch(() => {});
const lags = [...written]
  .flatMap(([key, at]) => (arrived.has(key) ? [Math.max(0, (arrived.get(key) ?? 0) - at)] : []))
  .sort((a, b) => a - b);
const at = (share: number): number => lags[Math.min(lags.length - 1, Math.floor(lags.length * share))] ?? 0;
const missing = written.size - lags.length;
const answer: z.infer<typeof Lags> = { written: written.size, missing, p50: at(0.5), p99: at(0.99), longest: at(1) };
process.stdout.write(`${JSON.stringify(answer)}\n`);
await pool.close();
process.exit(0);
