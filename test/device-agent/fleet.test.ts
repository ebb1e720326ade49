/**
 * A fleet of the sample agent on the three local clouds, over MQTT and mutual TLS: it goes where it is told by whom it trusts,
 * and what a cloud has acknowledged arrives behind the streams, once.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { createServer } from 'node:tls';
import { type AgentEvent, type AgentTimes, DeviceAgent, usualTimes } from '../../client/device-agent/agent.ts';
import { Simulation } from '../../client/device-agent/simulation.ts';
import { Repeats } from '../../client/repeats.ts';
import { readTelemetry } from '../../client/telemetry.ts';
import { authority, issueCertificate } from '../../emulators/certificates.ts';
import type { DeviceEndpoint } from '../../model/device-endpoint.ts';
import { type Redirect, signRedirect } from '../../model/device-redirect.ts';
import type { ProviderType } from '../../model/service.ts';
import { whole } from '../faults/choice.ts';
import { current, next, stranger, until } from './keys.ts';
import { authoritiesFile, type Device, devices, estate, type Place, place, suffixes } from './places.ts';

const folder = mkdtempSync(join(tmpdir(), 'fleet-'));
let places: Record<ProviderType, Place>;
const reading = new AbortController();
let readers: Promise<unknown>[] = [];
/** What has come behind the streams, by key: the message, and how often it came. */
const delivered = new Map<string, { data: Record<string, unknown>; times: number; late: boolean }>();

const times: AgentTimes = { ...usualTimes, connectMs: 10_000, trialMs: 20_000, returnMs: 2000, retryMs: 300 };

class Run {
  readonly agent: DeviceAgent;
  readonly device: string;
  readonly events: (AgentEvent & { at: number })[] = [];
  readonly #running: Promise<void>;
  readonly #timer: NodeJS.Timeout;

  constructor({ id, pair }: Device, endpoint: DeviceEndpoint, own: Partial<AgentTimes> = {}) {
    this.device = id;
    this.agent = new DeviceAgent({
      estate,
      device: id,
      certificate: pair.cert,
      key: pair.key,
      cohorts: ['all'],
      pins: [current.pin, next.pin],
      suffixes,
      authorities: [readFileSync(authoritiesFile(), 'utf8')],
      endpoint,
      stateFile: join(folder, id, 'state.json'),
      outbox: { limit: 1000 },
      times: { ...times, ...own },
      onEvent: (event) => this.events.push({ at: Date.now(), ...event }),
    });
    this.#running = this.agent.run();
    this.#timer = setInterval(() => this.agent.send({ temperature: 21.5 }), 500);
  }

  has(event: AgentEvent['event'], more: object = {}): boolean {
    return this.events.some(
      (one) => one.event === event && Object.entries(more).every(([key, value]) => Reflect.get(one, key) === value),
    );
  }

  get acknowledged(): { key: string; at: number }[] {
    return this.events.flatMap((one) => (one.event === 'acknowledged' ? [{ key: one.key, at: one.at }] : []));
  }

  /** Longest time without an acknowledgement, milliseconds, from `since` on. */
  gap(since: number): number {
    const at = this.acknowledged.map((one) => one.at).filter((one) => one >= since - 1500);
    return Math.max(...at.map((one, index) => (index === 0 ? 0 : one - (at[index - 1] ?? one))));
  }

  /** Says nothing more, and ends when all was acknowledged. */
  async end(): Promise<void> {
    clearInterval(this.#timer);
    await until(`${this.device} has nothing left to say`, () => this.agent.waiting.messages === 0);
    this.agent.stop();
    await this.#running;
  }
}

const redirect = (device: string, sequence: number, endpoint: DeviceEndpoint, change: Partial<Redirect> = {}) =>
  signRedirect({ redirect: { v: 1, estate, audience: { device }, sequence, endpoint, ...change }, key: current.key });

async function inTwenties(fleet: readonly Device[], act: (device: Device) => Promise<void>): Promise<void> {
  for (let at = 0; at < fleet.length; at += 20) await Promise.all(fleet.slice(at, at + 20).map(act));
}

const told = (device: string): unknown[] =>
  [...delivered.values()].flatMap(({ data }) =>
    String(data.key).startsWith(`${device}/`) && data.event !== undefined ? [data] : [],
  );

beforeAll(async () => {
  const [aws, azure, gcp] = await Promise.all((['aws', 'azure', 'gcp'] as const).map((type) => place(type)));
  if (!aws || !azure || !gcp) throw new Error('a cloud is missing');
  places = { aws, azure, gcp };
  const repeats = new Repeats();
  readers = [aws, azure, gcp].map(({ stream }) =>
    readTelemetry({
      stream,
      repeats,
      onMessage({ key, data, late }) {
        delivered.set(key, { data, late, times: (delivered.get(key)?.times ?? 0) + 1 });
      },
      signal: reading.signal,
    }),
  );
}, 240_000);
afterAll(async () => {
  reading.abort();
  await Promise.all(readers);
  await Promise.all(Object.values(places ?? {}).map((one) => one.close()));
  rmSync(folder, { recursive: true });
}, 60_000);

it('moves round the clouds while it talks: what was acknowledged arrives, once', async () => {
  const fleet = await devices(20, 'ring');
  for (const one of Object.values(places)) await Promise.all(fleet.map((device) => one.register(device)));
  const runs = fleet.map((device) => new Run(device, places.aws.endpoint));
  const route = [places.azure, places.gcp, places.aws];
  let at: Place = places.aws;
  const gaps: Record<string, { p50: number; p99: number }> = {};
  for (const [index, target] of route.entries()) {
    await setTimeout(1500);
    const since = Date.now();
    const sequence = index + 1;
    // Where it comes back to, what sent it away is taken away.
    if (sequence > 1) await Promise.all(runs.map(({ device }) => target.tell(device, null)));
    await Promise.all(runs.map(({ device }) => at.tell(device, redirect(device, sequence, target.endpoint))));
    await until(`all are on ${target.type}`, () => runs.every((run) => run.has('settled', { sequence })));
    await setTimeout(1000);
    const sorted = runs.map((run) => run.gap(since)).sort((a, b) => a - b);
    gaps[`${at.type} to ${target.type}`] = { p50: sorted[9] ?? 0, p99: sorted[19] ?? 0 };
    at = target;
  }
  await Promise.all(runs.map((run) => run.end()));
  process.stdout.write(`longest silence of a device, ms: ${JSON.stringify(gaps)}\n`);
  const keys = runs.flatMap((run) => run.acknowledged.map(({ key }) => key));
  expect(new Set(keys).size).toBe(keys.length);
  await until('all has arrived', () => keys.every((key) => delivered.has(key)));
  expect(keys.filter((key) => delivered.get(key)?.times !== 1 || delivered.get(key)?.late)).toEqual([]);
  for (const { agent, events } of runs) {
    expect(agent.waiting).toEqual({ messages: 0, dropped: 0 });
    // One cloud at a time: it has left the one before it connects to the next.
    const moves = events.flatMap(({ event }) => (event === 'connected' || event === 'closed' ? [event] : []));
    expect(moves).toEqual(moves.map((_, n) => (n % 2 === 0 ? 'connected' : 'closed')));
    expect(events.filter(({ event }) => event === 'refused')).toEqual([]);
  }
  for (const { p50, p99 } of Object.values(gaps)) {
    expect(p50).toBeLessThan(3000);
    expect(p99).toBeLessThan(15_000);
  }
}, 180_000);

/** All, as `npm run test:faults` has them, or as many as `npm test` has time for. */
const [many, startsPerSecond] = whole ? [200, 40] : [40, 20];
it(`runs ${many} devices as programs, at the pace that was asked for, and all of them move`, async () => {
  const fleet = await devices(many, 'many');
  const own = join(folder, 'many');
  mkdirSync(own);
  for (const { id, pair } of fleet) {
    writeFileSync(join(own, `${id}.pem`), pair.cert);
    writeFileSync(join(own, `${id}.key`), pair.key);
  }
  for (const one of [places.azure, places.gcp]) await inTwenties(fleet, (device) => one.register(device));
  const started = Date.now();
  const simulation = new Simulation({
    file: {
      estate,
      agents: fleet.map(({ id }) => ({
        device: id,
        certificateFile: join(own, `${id}.pem`),
        keyFile: join(own, `${id}.key`),
        stateFile: join(own, `${id}.json`),
      })),
      pins: [current.pin, next.pin],
      suffixes,
      authoritiesFile: authoritiesFile(),
      endpoint: places.azure.endpoint,
      everyMs: 1000,
      startsPerSecond,
      times: { ...times, trialMs: 60_000 },
    },
    folder: own,
    flags: [],
    env: process.env,
  });
  await until('all talk', () => simulation.heard === fleet.length);
  expect(Date.now() - started).toBeGreaterThan(((many - 2) * 1000) / startsPerSecond);
  await inTwenties(fleet, ({ id }) => places.azure.tell(id, redirect(id, 1, places.gcp.endpoint)));
  await until('all have moved', () => simulation.counts().moved === fleet.length);
  await setTimeout(2000);
  simulation.stop();
  expect(await simulation.ended()).toBe(0);
  const counts = simulation.counts();
  process.stdout.write(`${many} devices: ${JSON.stringify(counts)}\n`);
  expect(counts).toMatchObject({ devices: many, connected: {}, moved: many, returned: 0, refused: {} });
  expect(counts.silence.p99).toBeLessThan(15_000);
  const arrived = (): number[] =>
    [...delivered].flatMap(([key, { times: often }]) => (key.startsWith('many-') ? [often] : []));
  await until('all has arrived', () => arrived().length >= counts.acknowledged);
  expect(new Set(arrived())).toEqual(new Set([1]));
}, 150_000);

it.each(['aws', 'azure', 'gcp'] as const)(
  'ignores and reports what is forged, on %s',
  async (type) => {
    const [device, other] = await devices(2, `forged-${type}`);
    if (!device || !other) throw new Error('no devices');
    const { endpoint, register, tell } = places[type];
    await register(device);
    const target = places[type === 'gcp' ? 'azure' : 'gcp'].endpoint;
    // It has followed a redirect before.
    mkdirSync(join(folder, device.id), { recursive: true });
    const state = { v: 1, boots: 0, good: endpoint, sequence: 9, taken: '' };
    writeFileSync(join(folder, device.id, 'state.json'), JSON.stringify(state));
    const runs = [new Run(device, endpoint)];
    const last = (): Run => runs.at(-1) as Run;
    await until('it is connected', () => last().has('acknowledged'));
    const redirected = { v: 1 as const, estate, audience: { device: device.id }, sequence: 10, endpoint: target };
    const own = redirect(device.id, 10, target);
    const refused = () => runs.flatMap(({ events }) => events.filter((one) => one.event === 'refused'));
    const hostile: [string, string][] = [
      ['signature', signRedirect({ redirect: redirected, key: stranger.key })],
      ['signature', own.slice(0, -2) + (own.endsWith('AA') ? 'BB' : 'AA')],
      ['audience', redirect(other.id, 10, target)],
      ['sequence', redirect(device.id, 9, target)],
      ['sequence', redirect(device.id, 8, target)],
      ['host', redirect(device.id, 10, { ...places.azure.endpoint, host: 'hub.evil-azure-devices.net' })],
      ['malformed', 'go there'],
    ];
    for (const [index, [reason, message]] of hostile.entries()) {
      await tell(device.id, message);
      if (type === 'gcp') {
        // Its broker tells it when it connects, and else half a minute later.
        await last().end();
        runs.push(new Run(device, endpoint));
      }
      await until(`the ${reason} is noticed`, () => refused().length > index);
    }
    await until('all are reported', () => told(device.id).length === hostile.length);
    expect(told(device.id)).toMatchObject(hostile.map(([reason]) => ({ event: 'redirect-refused', reason })));
    for (const run of runs) {
      expect(run.has('taken')).toBe(false);
      expect(run.events.filter((one) => one.event === 'connected')).toHaveLength(1);
    }
    await last().end();
  },
  90_000,
);

it('ignores and reports, on gcp, a redirect that comes a second time after a later one', async () => {
  const [device] = await devices(1, 'replayed');
  if (!device) throw new Error('no device');
  for (const one of [places.gcp, places.azure]) await one.register(device);
  const first = redirect(device.id, 1, places.gcp.endpoint);
  await places.azure.tell(device.id, first);
  await places.gcp.tell(device.id, redirect(device.id, 2, places.azure.endpoint));
  // It goes to gcp, back to azure, and finds there what has sent it away.
  const run = new Run(device, places.azure.endpoint);
  await until('it is back', () => run.has('settled', { sequence: 2 }));
  await until('the old one is noticed', () => run.has('refused', { reason: 'sequence' }));
  await until('it is reported', () =>
    told(device.id).some((one) => Reflect.get(one as object, 'reason') === 'sequence'),
  );
  await run.end();
}, 90_000);

it('comes back from a target that lets nobody in, and goes on where it was; what it said meanwhile is kept', async () => {
  const [device] = await devices(1, 'unwanted');
  if (!device) throw new Error('no device');
  await places.azure.register(device);
  const ca = await authority(folder);
  let knocked = 0;
  const server = createServer({ ...(await issueCertificate(ca, ['core.broker.internal'])) }, (socket) => {
    knocked++;
    socket.destroy();
  });
  const port = await new Promise<number>((resolve) =>
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      resolve(typeof address === 'object' && address ? address.port : 0);
    }),
  );
  const run = new Run(device, places.azure.endpoint, { trialMs: 3000 });
  await until('it is connected', () => run.has('acknowledged'));
  const endpoint: DeviceEndpoint = {
    dialect: 'gcp',
    host: 'core.broker.internal',
    port,
    address: '127.0.0.1',
    authority: { pem: ca.cert },
  };
  await places.azure.tell(device.id, redirect(device.id, 1, endpoint));
  await until('it gives up', () => run.has('returning', { sequence: 1 }));
  const since = Date.now();
  await until('it is back', () => run.events.some((one) => one.event === 'acknowledged' && one.at > since));
  await run.end();
  server.close();
  expect(knocked).toBeGreaterThan(1);
  const keys = run.acknowledged.map(({ key }) => key);
  // Nothing is missing between the first and the last.
  expect(keys.map((key) => Number(key.split('/')[2])).sort((a, b) => a - b)).toEqual(keys.map((_, n) => n + 1));
  await until('it is reported', () =>
    told(device.id).some((one) => Reflect.get(one as object, 'event') === 'returned'),
  );
  await until('all has arrived', () => keys.every((key) => delivered.get(key)?.times === 1));
}, 90_000);
