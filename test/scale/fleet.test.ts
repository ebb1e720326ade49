/**
 * A fleet of thousands moves to another cloud and home again, over MQTT and mutual TLS, while each device talks once a second:
 * every acknowledged message arrives, each once; nobody is silent for long, and no more connect in a second than may.
 */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { EstateClient, OperationFailed } from '../../client/index.ts';
import { sampleZone } from '../../emulators/environment.ts';
import { devicesPerSecond } from '../../model/wave-settings.ts';
import { type OwnWorker, ownWorker, quietTemporal, writeEstate } from '../e2e/own-worker.ts';
import { type Device, expectAll, placesOf, serviceOn, TalkingFleets } from '../e2e/talking-fleet.ts';
import { loadNow } from './processes.ts';
import { scale } from './scale.ts';

const { devices, from, to } = scale;
const service = 'fleet';
const suffix = randomBytes(3).toString('hex');
const folder = mkdtempSync(join(tmpdir(), 'fleet-'));

let worker: OwnWorker;
let estate: EstateClient;
let fleets: TalkingFleets;

beforeAll(async () => {
  quietTemporal();
  const file = join(folder, 'estate.yaml');
  writeEstate(file, 'fleets', { [service]: serviceOn([from, to]) });
  const written = JSON.parse(readFileSync(file, 'utf8'));
  writeFileSync(file, JSON.stringify({ ...written, traffic: { zone: sampleZone, dns: 'gcp', ttl: '2s' } }));
  const waits = { callDeadlineMs: 20_000, settleMs: 1000, blockedMs: 500, followMs: 300, fenceMs: 300 };
  worker = await ownWorker(`fleets-${suffix}`, file, undefined, undefined, waits, undefined, (real) => real);
  estate = new EstateClient(worker.client, 'fleets', '');
  fleets = new TalkingFleets({ client: worker.client, estate, namespace: `fleets-${suffix}`, folder });
}, 120_000);
afterAll(async () => {
  await fleets.stop();
  await worker.close();
}, 120_000);

const share = (sorted: readonly number[], at: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * at))] ?? 0;

/** The longest time of each device, since then, in which nothing of it was acknowledged. */
function silences(fleet: readonly Device[], since: number): { p50: number; p99: number; most: number } {
  const sorted = fleet
    .map(({ events }) => {
      const times = events.flatMap((one) => (one.event === 'acknowledged' && one.at >= since ? [one.at] : []));
      return Math.max(...times.map((time, n) => time - (times[n - 1] ?? since)));
    })
    .sort((a, b) => a - b);
  return { p50: share(sorted, 0.5), p99: share(sorted, 0.99), most: sorted.at(-1) ?? 0 };
}

/** How many have connected in the second in which most did. */
function mostConnects(fleet: readonly Device[], since: number): number {
  const seconds = new Map<number, number>();
  for (const { events } of fleet)
    for (const { event, at } of events)
      if (event === 'connected' && at >= since) {
        const second = Math.floor(at / 1000);
        seconds.set(second, (seconds.get(second) ?? 0) + 1);
      }
  return Math.max(0, ...seconds.values());
}

const measured = (fleet: readonly Device[], since: number) => ({
  seconds: Math.round((Date.now() - since) / 1000),
  silentMs: silences(fleet, since),
  mostConnects: mostConnects(fleet, since),
  load: loadNow(),
});

(scale.on ? it : it.skip)(
  `${devices} devices move from ${from} to ${to} and home again: what was acknowledged arrives, once`,
  async () => {
    const run = await fleets.running(service, from, devices);
    const { fleet } = run;
    const migration = await estate.migrate({ service, from, to, soak: '4h', by: 'ann', wave_errors: 10 });
    const cutover = await fleets.asked(migration, 'cutover');
    const began = Date.now();
    await migration.approve({ by: 'ann', plan: cutover.plan });
    const back = await fleets.asked(migration, 'undo');
    const there = measured(fleet, began);
    expect(placesOf(fleet)).toEqual([to]);
    await setTimeout(3000);
    const undone = Date.now();
    await migration.approve({ by: 'ann', plan: back.plan });
    const ended = await migration.result().catch((error: unknown) => error);
    const home = measured(fleet, undone);
    expect(ended instanceof OperationFailed && [ended.type, ended.result?.orphans]).toEqual(['UndoRequested', []]);
    expect(placesOf(fleet)).toEqual([from]);
    await expectAll(run);
    const { historyLength } = await worker.client.workflow.getHandle(migration.workflowId).describe();
    const messages = fleet.reduce((sum, { acknowledged }) => sum + acknowledged.length, 0);
    process.stdout.write(`${JSON.stringify({ devices, there, home, messages, historyLength }, null, 1)}\n`);
    for (const { silentMs } of [there, home]) {
      expect(silentMs.p50).toBeLessThanOrEqual(2000);
      expect(silentMs.p99).toBeLessThanOrEqual(15_000);
    }
    // Told evenly, they connect as soon as each has heard of it.
    expect(there.mostConnects).toBeLessThanOrEqual(devicesPerSecond[to] * 1.5);
    await fleets.remove(service);
  },
  14_400_000,
);
