/**
 * A fleet of thousands moves to another cloud and home again, over MQTT and mutual TLS, while each device talks once a second: the
 * registries are equal, every acknowledged message arrives, each once; nobody is silent for long, and no more connect in a second than may.
 */
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import type { ProviderPool } from '../../activities/providers/pool.ts';
import { EstateClient, OperationFailed } from '../../client/index.ts';
import { sampleZone } from '../../emulators/environment.ts';
import type { ProviderType } from '../../model/service.ts';
import { devicesPerSecond } from '../../model/wave-settings.ts';
import { createNamespace, quietTemporal, writeEstate } from '../e2e/own-worker.ts';
import { type Device, expectAll, placesOf, serviceOn, TalkingFleets } from '../e2e/talking-fleet.ts';
import { startWorker, testPool, writeSettings } from '../e2e/worker-process.ts';
import type { Identity, Wanted } from '../fleet/fleets.ts';
import { localRun } from '../local/stack.ts';
import { loadNow } from './processes.ts';
import { thumbprintsAt } from './registered.ts';
import { scale } from './scale.ts';

const { devices, ways } = scale;
const name = 'fleets';
const serviceOf = (from: ProviderType, to: ProviderType): string => `fleet_${from}_${to}`;
const namespace = `fleets-${randomBytes(3).toString('hex')}`;
const folder = mkdtempSync(join(tmpdir(), 'fleet-'));
const allowedAt = (cloud: ProviderType): number => scale.told || devicesPerSecond[cloud];

let worker: ChildProcess;
let connection: Connection;
let client: Client;
let pool: ProviderPool;
let estate: EstateClient;
let fleets: TalkingFleets;

beforeAll(async () => {
  quietTemporal();
  const file = join(folder, 'estate.yaml');
  writeEstate(file, name, Object.fromEntries(ways.map(([from, to]) => [serviceOf(from, to), serviceOn([from, to])])), {
    traffic: { zone: sampleZone, dns: 'gcp', ttl: '2s' },
  });
  const waits = { callDeadlineMs: 20_000, settleMs: 1000, blockedMs: 500, followMs: 300, fenceMs: 300 };
  const { address } = localRun().temporal;
  connection = await Connection.connect({ address });
  await createNamespace(connection, namespace);
  client = new Client({ connection, namespace });
  worker = await startWorker(writeSettings(folder, { estateFile: file, temporal: { address, namespace }, waits }));
  pool = testPool(file);
  estate = new EstateClient(client, name, '');
  fleets = new TalkingFleets({ client, estate, namespace, folder });
}, 120_000);
afterAll(async () => {
  await fleets.stop();
  const exit = once(worker, 'exit');
  worker.kill('SIGKILL');
  await exit;
  await pool.close();
  await connection.close();
}, 120_000);

/** What there is to know of a device besides its key. */
const like = (n: number): Partial<Wanted> => ({
  groups: n % 3 === 0 ? ['pumps'] : ['pumps', 'north'],
  attributes: { model: `m-${n % 7}`, serial: `S/${n}` },
  desired: { interval: n },
});

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

/** How many have connected within so many seconds, where most did. */
function mostConnects(fleet: readonly Device[], since: number, seconds: number): number {
  const times = fleet
    .flatMap(({ events }) => events.flatMap(({ event, at }) => (event === 'connected' && at >= since ? [at] : [])))
    .sort((a, b) => a - b);
  let [most, first] = [0, 0];
  for (const [n, at] of times.entries()) {
    while (at - (times[first] ?? at) >= 1000 * seconds) first++;
    most = Math.max(most, n - first + 1);
  }
  return most;
}

/** Seconds in which an even rate shows, whatever a handshake takes. */
const evenSeconds = 10;

const measured = (fleet: readonly Device[], since: number, perSecond: number) => ({
  seconds: Math.round((Date.now() - since) / 1000),
  silentMs: silences(fleet, since),
  connects: fleet.flatMap(({ events }) => events).filter(({ event, at }) => event === 'connected' && at >= since)
    .length,
  perSecond: { allowed: perSecond, second: mostConnects(fleet, since, 1) },
  in10s: { allowed: perSecond * evenSeconds, most: mostConnects(fleet, since, evenSeconds) },
  load: loadNow(),
});

const byId = (service: string, identities: readonly Identity[]): Record<string, string> =>
  Object.fromEntries(identities.map(({ thumbprint }, n) => [`${service}-${n}`, thumbprint]));

async function thereAndHome([from, to]: [ProviderType, ProviderType]): Promise<void> {
  const service = serviceOf(from, to);
  const run = await fleets.running(service, from, devices, like);
  const { fleet, identities } = run;
  const paced = { wave_window: `${scale.window}s`, ...(scale.told > 0 && { devices_per_second: scale.told }) };
  const migration = await estate.migrate({ service, from, to, soak: '4h', by: 'ann', wave_errors: 10, ...paced });
  const cutover = await fleets.asked(migration, 'cutover');
  const began = Date.now();
  await migration.approve({ by: 'ann', plan: cutover.plan });
  const back = await fleets.asked(migration, 'undo');
  const there = measured(fleet, began, allowedAt(to));
  expect(placesOf(fleet)).toEqual([to]);
  const { steps } = await migration.progress();
  const waves = steps.filter((step) => /^(canary|wave)/.test(step.name)).map((step) => `${step.name}: ${step.detail}`);
  const found = await estate.devices({ v: 1, estate: name, service, what: 'diff', from, to });
  expect(found).toMatchObject({ diff: { same: devices + 1, different: {} } });
  const target = await fleets.placed(service, to);
  expect(await thumbprintsAt(pool, target.ref)).toMatchObject(byId(service, identities));
  await setTimeout(3000);
  const undone = Date.now();
  await migration.approve({ by: 'ann', plan: back.plan });
  const ended = await migration.result().catch((error: unknown) => error);
  const home = measured(fleet, undone, allowedAt(from));
  expect(ended instanceof OperationFailed && [ended.type, ended.result?.orphans]).toEqual(['UndoRequested', []]);
  expect(placesOf(fleet)).toEqual([from]);
  const messages = (): number => fleet.reduce((sum, { acknowledged }) => sum + acknowledged.length, 0);
  const { historyLength } = await client.workflow.getHandle(migration.workflowId).describe();
  process.stdout.write(
    `${JSON.stringify({ from, to, devices, there, home, waves, messages: messages(), historyLength }, null, 1)}\n`,
  );
  await expectAll(run);
  process.stdout.write(`${from} to ${to}: each of ${messages()} acknowledged messages came once\n`);
  await fleets.remove(service);
  for (const { silentMs, in10s } of [there, home]) {
    expect(silentMs.p50).toBeLessThanOrEqual(2000);
    expect(silentMs.p99).toBeLessThanOrEqual(15_000);
    expect(in10s.most).toBeLessThanOrEqual(in10s.allowed);
  }
}

it(`${devices} devices move ${ways.map(([from, to]) => `from ${from} to ${to}`).join(', ')}, and home again: what was acknowledged arrives, once`, async () => {
  const ended = await Promise.allSettled(ways.map(thereAndHome));
  expect(ended.filter(({ status }) => status === 'rejected')).toEqual([]);
}, 14_400_000);
