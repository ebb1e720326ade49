/**
 * Telemetry that is pumped from cloud to cloud, in every direction: what devices have sent arrives downstream, each message counted
 * once, whatever becomes of a pump; nothing comes back; who was seen is noted.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { ApplicationFailure, CancelledFailure } from '@temporalio/activity';
import { MockActivityEnvironment } from '@temporalio/testing';
import { cellOf } from '../../activities/providers/calls.ts';
import type { Provider } from '../../activities/providers/driver.ts';
import type { ProviderPool } from '../../activities/providers/pool.ts';
import { scan } from '../../activities/providers/provision.ts';
import { createTelemetryFollowerActivities, followerName } from '../../activities/providers/telemetry.ts';
import { recordsBuckets } from '../../activities/records/bucket.ts';
import { createTelemetryActivities } from '../../activities/telemetry/follow.ts';
import { readSightings } from '../../activities/telemetry/sightings.ts';
import { telemetryFiles } from '../../activities/transfer/files.ts';
import { Repeats } from '../../client/repeats.ts';
import { type Arrived, readTelemetry } from '../../client/telemetry.ts';
import { CloudError } from '../../model/errors.ts';
import { recordsPlacement } from '../../model/records.ts';
import type { ProviderType } from '../../model/service.ts';
import {
  type FollowedTelemetry,
  type FollowTelemetryInput,
  forwardMark,
  messageRate,
} from '../../model/telemetry-pump.ts';
import { chosen, whole } from '../faults/choice.ts';
import { pairs, pool, signal } from '../transfer/stores.ts';
import { type TelemetryPlace, telemetryPlace } from './places.ts';

const clouds = ['aws', 'azure', 'gcp'] as const;
const pace = () => ({ pollMs: 25, heartbeat: () => {} });
const activitiesOf = (of: ProviderPool) => createTelemetryActivities({ pool: of, pollMs: 25, callDeadlineMs: 20_000 });
const activities = activitiesOf(pool);
const { ensureTelemetryFollower, removeTelemetryFollower } = createTelemetryFollowerActivities({
  atPlacement: async (placement, act) => act(await pool.get(placement.provider), signal),
  pace,
});

let places: Record<ProviderType, TelemetryPlace>;
const run = Date.now().toString(36);
let runs = 0;
const nextName = (): string => `${run}-${++runs}`;

beforeAll(async () => {
  const made = await Promise.all(clouds.map(async (cloud) => [cloud, await telemetryPlace(cloud)] as const));
  places = Object.fromEntries(made) as typeof places;
  const ensureBucket = recordsBuckets({ cellOf, pace, retentionDays: 1, repair: true });
  for (const { placement } of Object.values(places)) {
    await ensureBucket(await pool.get(placement.provider), recordsPlacement(placement.owner, placement), signal);
    expect(await ensureTelemetryFollower({ placement })).toEqual({ outcome: 'created' });
    expect(await ensureTelemetryFollower({ placement })).toEqual({ outcome: 'unchanged' });
  }
}, 120_000);
afterAll(() => Promise.all(Object.values(places ?? {}).map((place) => place.close())));

interface Direction {
  from: ProviderType;
  to: ProviderType | null;
  kept?: ProviderType;
  of?: typeof activities;
}

function pumping(
  { from, to, kept = to ?? from, of = activities }: Direction,
  input: Pick<FollowTelemetryInput, 'name' | 'since' | 'forMs'> & Partial<FollowTelemetryInput>,
): { answer: Promise<FollowedTelemetry>; cancel(): void } {
  const environment = new MockActivityEnvironment();
  const ends = { from: places[from].placement, to: to && places[to].placement, keptAt: places[kept].placement };
  const answer: Promise<FollowedTelemetry> = environment.run(async () =>
    of.followTelemetry({ ...ends, epoch: 1, pump: 0, ...input }),
  );
  answer.catch(() => {});
  return { answer, cancel: () => environment.cancel() };
}

/** What a request that was given up has taken with it comes again after half a minute. */
const againMs = 45_000;

/** Until a pump has noted so many messages; else for so long. */
async function noted({ from, to, kept = to ?? from }: Direction, name: string, messages: number): Promise<void> {
  const files = telemetryFiles(await pool.get(kept), places[kept].placement, name, signal);
  for (const until = Date.now() + againMs; Date.now() < until; await pause(200))
    if ((await readSightings(files)).get(from)?.head.messages === messages) return;
}

const noJson = '\u0001 no JSON';
let lives = 0;
/** Messages of all devices of a cloud, in a life that no other test reads; each claims to be somebody else's, as far as it can. */
function messagesOf(cloud: ProviderType, each: number) {
  const life = ++lives;
  const lies = { mqtt_client: 'another', [forwardMark]: 'another' };
  const texts = (device: string) =>
    Array.from({ length: each }, (_, n) =>
      JSON.stringify({ key: `${device}/${life}/${n + 1}`, value: n / 7, ...lies }),
    );
  return { life, messages: new Map(places[cloud].devices.map((device) => [device, texts(device)])) };
}

/** Reads what programs read until all messages of that life were counted, or for so long. */
async function downstream(
  at: ProviderType,
  {
    life,
    total,
    odd = 0,
    speaker,
    forMs,
  }: { life: number; total: number; odd?: number; speaker?: string; forMs: number },
) {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), forMs);
  const counted = new Map<string, number>();
  const others: Arrived[] = [];
  let left = total;
  const stopOnce = (): void => {
    if (left <= 0 && others.length >= odd) stop.abort();
  };
  await readTelemetry({
    stream: places[at].stream,
    repeats: new Repeats(),
    onMessage({ device, key }) {
      if (key.split('/')[1] !== String(life)) return;
      counted.set(device, (counted.get(device) ?? 0) + 1);
      left--;
      stopOnce();
    },
    onOther(other) {
      // A stream may still hold what was said in it before.
      if (other.device !== speaker) return;
      others.push(other);
      stopOnce();
    },
    signal: stop.signal,
  });
  clearTimeout(timer);
  return { counted: Object.fromEntries(counted), others };
}

const eachOf = <T>(cloud: ProviderType, value: T): Record<string, T> =>
  Object.fromEntries(places[cloud].devices.map((device) => [device, value]));
/** The local AWS writes its whole queue at each request. */
const countOf = (...ends: (ProviderType | null)[]): number => (ends.includes('aws') ? 25 : 250);

it.each(pairs)(
  'from %s to %s: each message arrives, nothing comes back, who was seen is noted',
  async (from, to) => {
    const count = countOf(from, to);
    const since = new Date().toISOString();
    const { life, messages } = messagesOf(from, count);
    const total = count * messages.size;
    const [speaker = ''] = messages.keys();
    // AWS IoT has no rule for it.
    const odd = from === 'aws' ? [] : [noJson];
    await places[from].publish(messages);
    await places[from].publish(new Map([[speaker, odd]]));
    const name = nextName();
    const began = Date.now();
    const [there, back] = [
      { from, to, kept: to },
      { from: to, to: from, kept: to },
    ];
    const pumps = [there, back].map((direction) => pumping(direction, { name, since, forMs: 110_000 }));
    const { counted, others } = await downstream(to, { life, total, odd: odd.length, speaker, forMs: againMs });
    process.stderr.write(
      `  ${from} to ${to}: ${Math.round((total * 1000) / (Date.now() - began))} messages/s downstream\n`,
    );
    expect(counted).toEqual(eachOf(from, count));
    await pause(500);
    for (const pump of pumps) pump.cancel();
    await Promise.allSettled(pumps.map(({ answer }) => answer));
    const all = total + odd.length;
    const told = (direction: Direction) => pumping(direction, { name, since, pump: 1, forMs: 0 }).answer;
    expect(await told(there)).toMatchObject({ messages: all, devices: messages.size });
    expect(await told(back)).toMatchObject({ messages: 0, devices: 0, newestAt: '' });
    if (odd.length > 0) expect(others).toContainEqual({ device: speaker, data: noJson });

    const files = telemetryFiles(await pool.get(to), places[to].placement, name, signal);
    const sightings = (await readSightings(files)).get(from);
    if (!sightings) throw new Error('nobody was seen');
    expect(sightings.head.messages).toBe(all);
    for (const [device, { at, messages: seen }] of sightings.devices) {
      expect([device, seen]).toEqual([device, device === speaker ? count + odd.length : count]);
      expect(at >= since && at <= new Date().toISOString()).toBe(true);
    }
    expect(Object.keys(eachOf(from, 0)).toSorted()).toEqual([...sightings.devices.keys()].toSorted());
    expect(messageRate(sightings)).toBeGreaterThan(0);
  },
  120_000,
);

it('ends before its time where a device has refused to go where it was told, and says which', async () => {
  const [from, to] = ['gcp', 'azure'] as const;
  const since = new Date().toISOString();
  const [device = ''] = places[from].devices;
  const refused = JSON.stringify({ event: 'redirect-refused', reason: 'host', digest: 'd', key: `${device}/9999/1` });
  const pump = pumping({ from, to }, { name: nextName(), since, forMs: 100_000, alarmAfterMs: 0 });
  await places[from].publish(new Map([[device, [refused]]]));
  expect(await pump.answer).toMatchObject({ messages: 1, refused: [{ device, reason: 'host' }] });
}, 60_000);

/** A worker that is killed once it has written so many messages: nothing is noted, nothing acknowledged. */
const killed = new CloudError({ kind: 'InvalidInput', provider: 'aws', operation: 'killed', resource: 'pump' });
function mortal(most: number): ProviderPool {
  const get = async (name: string): Promise<Provider> => {
    const provider = await pool.get(name);
    const { telemetry } = provider;
    const read: typeof telemetry.read = (...place) =>
      Object.assign(telemetry.read(...place), { done: () => Promise.reject(killed) });
    const write: typeof telemetry.write = (place) => {
      const writer = telemetry.write(place);
      let left = most;
      return {
        ...writer,
        async write(messages, within) {
          left -= messages.length;
          if (left < 0) throw killed;
          await writer.write(messages, within);
        },
      };
    };
    return { ...provider, telemetry: { ...telemetry, read, write } };
  };
  return new Proxy(pool, {
    get(target, property) {
      if (property === 'get') return get;
      const value: unknown = Reflect.get(target, property, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** Where the cloud remembers what was acknowledged it comes again after half a minute, for which `npm test` has no time. */
const deaths = pairs
  .filter(([from]) => whole || from === 'azure')
  .map(([from, to]) => ({ id: `pump killed ${from} ${to}`, from, to }));
it.each(chosen(deaths, () => 'killed'))(
  '$id: the next one leaves nothing out',
  async ({ from, to }) => {
    const count = countOf(from, to);
    const since = new Date().toISOString();
    const { life, messages } = messagesOf(from, count);
    const total = count * messages.size;
    const name = nextName();
    const dying = pumping({ from, to, of: activitiesOf(mortal(total / 2)) }, { name, since, forMs: 20_000 });
    await places[from].publish(messages);
    await expect(dying.answer).rejects.toThrow('killed');
    const next = pumping({ from, to }, { name, since, epoch: 2, forMs: 100_000 });
    const { counted } = await downstream(to, { life, total, forMs: againMs });
    next.cancel();
    await expect(next.answer).rejects.toBeInstanceOf(CancelledFailure);
    expect(counted).toEqual(eachOf(from, count));
    const files = telemetryFiles(await pool.get(to), places[to].placement, name, signal);
    const { head } = (await readSightings(files)).get(from) ?? {};
    expect(head?.messages).toBeGreaterThanOrEqual(total);
  },
  120_000,
);

async function obeys(from: ProviderType): Promise<void> {
  const name = nextName();
  const since = new Date().toISOString();
  const only = { from, to: null };
  const old = pumping(only, { name, since, forMs: 30_000 });
  await pause(500);
  const next = pumping(only, { name, since, forMs: 110_000, epoch: 2 });
  const refusal = (answer: Promise<unknown>) =>
    answer.then(
      () => 'went on',
      (error: unknown) => (error instanceof ApplicationFailure && error.nonRetryable ? error.type : String(error)),
    );
  expect(await refusal(old.answer)).toBe('PreconditionFailed');
  expect(await refusal(pumping(only, { name, since, forMs: 0, pump: 7 }).answer)).toBe('PreconditionFailed');

  const { messages } = messagesOf(from, 5);
  await places[from].publish(messages);
  await noted(only, name, 5 * messages.size);
  const told = Date.now();
  next.cancel();
  await expect(next.answer).rejects.toBeInstanceOf(CancelledFailure);
  expect(Date.now() - told).toBeLessThan(3000);
  const again = pumping(only, { name, since, epoch: 2, pump: 1, forMs: 1000 });
  expect(await again.answer).toMatchObject({ forwarded: 0, messages: 5 * messages.size, devices: messages.size });
}

it('stops for one of a higher epoch, and soon where it is told to', async () => {
  await Promise.all(clouds.map(obeys));
}, 120_000);

it('a reader of a subscription that was told to stop ends at once, and takes nothing with it', async () => {
  const { life, messages } = messagesOf('gcp', 1);
  const began = Date.now();
  await downstream('gcp', { life, total: 1, forMs: 500 });
  expect(Date.now() - began).toBeLessThan(2500);
  await places.gcp.publish(messages);
  const { counted } = await downstream('gcp', { life, total: messages.size, forMs: againMs });
  expect(counted).toEqual(eachOf('gcp', 1));
}, 60_000);

async function goes(cloud: ProviderType): Promise<void> {
  const { placement } = places[cloud];
  const provider = await pool.get(cloud);
  const followers = async () =>
    (await scan(provider, placement, signal)).filter(({ name }) => followerName.is(name)).map(({ kind }) => kind);
  // On Azure it is a part of the event hub.
  expect(await followers()).toEqual(cloud === 'azure' ? [] : [provider.telemetry.design(placement).kind]);
  expect(await removeTelemetryFollower({ placement })).toBe('removed');
  expect(await removeTelemetryFollower({ placement })).toBe('gone');
  expect(await followers()).toEqual([]);
}

it('reads by followers that are found by their owner, and go without a trace', async () => {
  await Promise.all(clouds.map(goes));
}, 60_000);
