/** The sample agent between two brokers of ours, over MQTT and mutual TLS, as programs that are killed at every step. */
import { once } from 'node:events';
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readSightings, Seen } from '../../activities/telemetry/sightings.ts';
import { Outbox } from '../../client/device-agent/outbox.ts';
import type { AgentsFile } from '../../client/device-agent/run.ts';
import { Simulation } from '../../client/device-agent/simulation.ts';
import { authority, type KeyPair } from '../../emulators/certificates.ts';
import { signRedirect } from '../../model/device-redirect.ts';
import { judgeArrival } from '../../model/wave-gate.ts';
import { filesInMemory } from '../telemetry/memory-files.ts';
import { Cloud, madeDevice, redirect, run } from './brokers.ts';
import { stranger, until } from './keys.ts';

const folder = mkdtempSync(join(tmpdir(), 'agent-'));
const file = (...names: string[]): string => join(folder, ...names);
let ca: KeyPair;

let old: Cloud;
let target: Cloud;
beforeAll(async () => {
  ca = await authority(folder);
  old = await Cloud.start('old.broker.internal', ca);
  target = await Cloud.start('target.broker.internal', ca);
});
afterAll(async () => {
  await Promise.all([old?.close(), target?.close()]);
  rmSync(folder, { recursive: true });
});

const made = (device: string, times?: Parameters<typeof madeDevice>[2]): Promise<string> =>
  madeDevice({ folder, ca, old, target }, device, times);

const numbers = (device: string, boot: number): number[] =>
  [...old.came, ...target.came]
    .filter((key) => key.startsWith(`${device}/${boot}/`))
    .map((key) => Number(key.split('/')[2]));

describe('a power cut', () => {
  it.each(['verified', 'taken', 'left', 'arrived', 'proved', 'settled'])(
    'at the step "%s" leaves it on its way: it arrives, and nothing that it had said is lost',
    async (step) => {
      const device = `cut-${step}`;
      const agents = await made(device);
      old.register(device, redirect(device, 1, target.endpoint));
      await run('test/device-agent/cut-off.ts', [agents, step], () => new Promise(() => {}));
      const events = await run('client/device-agent/main.ts', [agents], (seen) =>
        until('it talks there', () =>
          seen.some(
            (one, at) =>
              one.event === 'acknowledged' &&
              seen.slice(0, at).some((before) => before.event === 'connected' && before.host === target.endpoint.host),
          ),
        ),
      );
      expect(events[0]).toMatchObject({ event: 'started', boot: 2 });
      expect(JSON.parse(readFileSync(file(device, 'state.json'), 'utf8'))).toMatchObject({
        good: { host: 'target.broker.internal' },
        sequence: 1,
      });
      // All of its first life up to the last that anybody has heard.
      const said = new Set(numbers(device, 1));
      expect([...said].sort((a, b) => a - b)).toEqual(Array.from(said, (_, n) => n + 1));
    },
    30_000,
  );
});

it('goes back from a target that lets nobody in, tells why, and follows the next redirect', async () => {
  const device = 'unwanted';
  const agents = await made(device, { trialMs: 1500 });
  let knocked = 0;
  const deaf: Server = createServer((socket) => {
    knocked++;
    socket.destroy();
  });
  const port = await new Promise<number>((resolve) =>
    deaf.listen(0, '127.0.0.1', () => {
      const address = deaf.address();
      resolve(typeof address === 'object' && address ? address.port : 0);
    }),
  );
  old.register(device, redirect(device, 1, { ...target.endpoint, port }));
  const events = await run('client/device-agent/main.ts', [agents], async (seen) => {
    await until('it is back', () =>
      old.events.some(({ key, event }) => String(key).startsWith(device) && event === 'returned'),
    );
    old.register(device, redirect(device, 2, target.endpoint));
    await until('it has moved', () => seen.some((one) => one.event === 'settled' && one.sequence === 2));
  });
  deaf.close();
  expect(knocked).toBeGreaterThan(0);
  expect(events.filter(({ event }) => event === 'taken')).toHaveLength(2);
  const all = numbers(device, 1);
  expect([...new Set(all)].sort((a, b) => a - b)).toEqual(Array.from(new Set(all), (_, n) => n + 1));
}, 30_000);

it('follows whom it trusts, and nobody else, with a clock that stands in 1970', async () => {
  const device = 'clockless';
  const agents = await made(device);
  const redirected = { v: 1 as const, estate: 'devices', audience: { device }, sequence: 1, endpoint: target.endpoint };
  old.register(device, signRedirect({ redirect: redirected, key: stranger.key }));
  const events = await run('test/device-agent/in-1970.ts', [agents], async (seen) => {
    await until('it refuses', () => seen.some((one) => one.event === 'refused'));
    old.register(device, redirect(device, 1, target.endpoint));
    await until('it has moved', () => seen.some((one) => one.event === 'settled'));
  });
  expect(events.flatMap((one) => (one.event === 'refused' ? [one.reason] : []))).toEqual(['signature']);
  expect(Math.max(...events.map(({ at }) => at))).toBeLessThan(3_600_000);
}, 30_000);

it('tells, once it is connected, how often it was not let in, or cut off', async () => {
  const device = 'unlucky';
  const agents = await made(device);
  let refuses = 2;
  const open = new Set<Socket>();
  const proxy = createServer((socket) => {
    if (refuses-- > 0) return void socket.destroy();
    const through = connect(target.endpoint.port, '127.0.0.1');
    open.add(socket);
    for (const [one, other] of [
      [socket, through],
      [through, socket],
    ] as const)
      one.pipe(other).on('error', () => one.destroy());
  });
  await once(proxy.listen(0, '127.0.0.1'), 'listening');
  const { port } = proxy.address() as AddressInfo;
  old.register(device, redirect(device, 1, { ...target.endpoint, port }));
  const told = (): number[] =>
    target.events.flatMap(({ key, event, failed }) =>
      String(key).startsWith(`${device}/`) && event === 'reconnected' ? [Number(failed)] : [],
    );
  await run('client/device-agent/main.ts', [agents], async (seen) => {
    await until('it has moved', () => seen.some((one) => one.event === 'settled'));
    await until('it has told', () => told().length === 1);
    for (const socket of open) socket.destroy();
    await until('it has told again', () => told().length === 2);
  });
  proxy.close();
  expect(told()).toEqual([2, 1]);
}, 30_000);

it('gives up a target where it never gets further than to start, after three starts', async () => {
  const device = 'restarting';
  const agents = await made(device);
  // Nobody listens there.
  old.register(device, redirect(device, 1, { ...target.endpoint, port: 1 }));
  await run('test/device-agent/cut-off.ts', [agents, 'left'], () => new Promise(() => {}));
  for (let start = 1; start < 3; start++)
    await run('test/device-agent/cut-off.ts', [agents, 'started'], () => new Promise(() => {}));
  const events = await run('client/device-agent/main.ts', [agents], (seen) =>
    until('it is back', () => seen.some(({ event }) => event === 'acknowledged')),
  );
  expect(events.map(({ event }) => event)).toEqual(expect.arrayContaining(['returning', 'connected']));
}, 30_000);

it('runs many as one simulation, at the pace that was asked for, and counts what becomes of them', async () => {
  const names = Array.from({ length: 12 }, (_, n) => `many-${n}`);
  const files: AgentsFile[] = [];
  for (const name of names) files.push(JSON.parse(readFileSync(await made(name), 'utf8')));
  const [first] = files;
  if (!first) throw new Error('no files');
  const started = Date.now();
  const simulation = new Simulation({
    file: { ...first, agents: files.flatMap(({ agents }) => agents), startsPerSecond: 5 },
    folder,
    flags: [],
    env: process.env,
  });
  await until('all talk', () => simulation.heard === names.length);
  expect(Date.now() - started).toBeGreaterThan(2000);
  expect(simulation.counts()).toMatchObject({ devices: 12, connected: { 'old.broker.internal': 12 }, moved: 0 });
  for (const name of names) old.register(name, redirect(name, 1, target.endpoint));
  old.register('many-0', 'go there');
  await until('they move', () => simulation.counts().moved === names.length - 1);
  await until('one is refused', () => simulation.counts().refused.malformed === 1);
  expect(simulation.counts().connected).toEqual({ 'old.broker.internal': 1, 'target.broker.internal': 11 });
  simulation.stop();
  expect(await simulation.ended()).toBe(0);
  const { acknowledged, silence, connected } = simulation.counts();
  expect(connected).toEqual({});
  expect(silence.p99).toBeGreaterThan(99);
  const came = new Set([...old.came, ...target.came].filter((key) => key.startsWith('many-')));
  expect(came.size).toBeGreaterThanOrEqual(acknowledged);
}, 30_000);

it('lets a wave be stopped whose target refuses one connect in ten, though all of it arrives', async () => {
  const names = Array.from({ length: 30 }, (_, n) => `tenth-${n}`);
  const files: AgentsFile[] = [];
  for (const name of names) files.push(JSON.parse(readFileSync(await made(name), 'utf8')));
  const [first] = files;
  if (!first) throw new Error('no files');
  let connects = 0;
  const proxy = createServer((socket) => {
    if (++connects % 10 === 0) return void socket.destroy();
    const through = connect(target.endpoint.port, '127.0.0.1');
    socket.pipe(through).on('error', () => socket.destroy());
    through.pipe(socket).on('error', () => through.destroy());
  });
  await once(proxy.listen(0, '127.0.0.1'), 'listening');
  const { port } = proxy.address() as AddressInfo;
  const simulation = new Simulation({
    file: { ...first, agents: files.flatMap(({ agents }) => agents), startsPerSecond: 20 },
    folder,
    flags: [],
    env: process.env,
  });
  await until('all talk', () => simulation.heard === names.length);
  const toldAt = new Date().toISOString();
  for (const name of names) old.register(name, redirect(name, 1, { ...target.endpoint, port }));
  await until('all have moved', () => simulation.counts().moved === names.length);
  await until('they have told', () => target.events.filter(({ event }) => event === 'reconnected').length >= 3);
  simulation.stop();
  await simulation.ended();
  proxy.close();
  const seenAt = async (provider: string, { passing }: Cloud) => {
    const kept = filesInMemory();
    const seen = await Seen.open(kept, provider);
    for (const one of passing) seen.add(one);
    await seen.save(kept);
    return (await readSightings(kept)).get(provider);
  };
  const at = { from: await seenAt('old', old), to: await seenAt('target', target) };
  const rules = { what: 'arrived' as const, toldAt, windowMs: 60_000, seen: 0.95, rate: 0, now: Date.now() };
  expect(judgeArrival(names, at, at.to, rules)).toMatchObject({ passed: true, arrived: 30 });
  const judged = judgeArrival(names, at, at.to, { ...rules, errors: 0.05 });
  expect(judged).toMatchObject({ passed: false, failed: true, arrived: 30 });
  expect(judged.errors).toBeGreaterThanOrEqual(3);
}, 60_000);

describe('the outbox', () => {
  const open = (limit = 3, name = 'box') => new Outbox({ limit, file: file(name) });
  const held = (box: Outbox): string[] => {
    const keys = new Map<string, true>();
    for (let message = box.next(keys); message; message = box.next(keys)) keys.set(message.key, true);
    return [...keys.keys()];
  };

  it('has after a restart what was added and not removed, in its order', () => {
    const box = open();
    for (const key of ['a', 'b', 'c']) box.add(key, `{"key":"${key} \\n"}`);
    box.remove('b');
    expect(held(open())).toEqual(['a', 'c']);
    expect(open().next(new Map())).toEqual({ key: 'a', text: '{"key":"a \\n"}' });
  });

  it('lets the oldest make room, and counts it', () => {
    const box = open(2, 'small');
    for (const key of ['a', 'b', 'c']) box.add(key, '{}');
    expect([held(box), box.dropped]).toEqual([['b', 'c'], 1]);
    expect(held(open(2, 'small'))).toEqual(['b', 'c']);
  });

  it('forgets the line in whose middle the power was cut, and no other', () => {
    open(9, 'torn').add('a', '{}');
    appendFileSync(file('torn'), '+b {"ke');
    const box = open(9, 'torn');
    box.add('c', '{}');
    expect(held(open(9, 'torn'))).toEqual(['a', 'c']);
  });

  it('keeps its file small', () => {
    const box = open(10, 'long');
    for (let n = 0; n < 700; n++) {
      box.add(String(n), '{}');
      box.remove(String(n));
    }
    expect(readFileSync(file('long'), 'utf8').split('\n').length).toBeLessThan(1100);
    expect(existsSync(file('long.new'))).toBe(false);
  });
});
