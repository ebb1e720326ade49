/** Who goes in a wave, and that each cloud tells its devices so and forgets what it told them before. */
import { MockActivityEnvironment } from '@temporalio/testing';
import { createSenderActivities } from '../../activities/devices/sender.ts';
import { createWaveActivities } from '../../activities/devices/waves.ts';
import { filesOf, fromLines } from '../../activities/transfer/files.ts';
import { redirectProperty, verifyRedirect } from '../../model/device-redirect.ts';
import type { ProviderType } from '../../model/service.ts';
import type { PlacementRef } from '../../model/transfer.ts';
import type { Wave } from '../../model/wave-settings.ts';
import type { PlannedWave, SenderActivities, WaveActivities } from '../../model/waves.ts';
import { current, next } from '../device-agent/keys.ts';
import { chosen } from '../faults/choice.ts';
import { pool, signal } from '../transfer/stores.ts';
import { fill, identity, registryOf, run, type Wanted } from './fleets.ts';

const dependencies = { pool, pollMs: 25, callDeadlineMs: 20_000 };
const activities = {
  ...createWaveActivities(dependencies),
  ...createSenderActivities({ ...dependencies, key: current.key }),
};
type All = WaveActivities & SenderActivities;
async function act<K extends keyof All>(name: K, input: Parameters<All[K]>[0]): Promise<Awaited<ReturnType<All[K]>>> {
  const activity = activities[name] as (input: unknown) => Promise<unknown>;
  const answer: unknown = await new MockActivityEnvironment().run(() => activity(input));
  return answer as Awaited<ReturnType<All[K]>>;
}
const callsPerSecond = 2000;
const startedAt = new Date().toISOString();
const clouds: ProviderType[] = ['aws', 'azure', 'gcp'];
const mine = chosen(
  clouds.flatMap((from) => clouds.filter((to) => to !== from).map((to) => ({ id: `${from} to ${to}`, from, to }))),
  () => 'direction',
);

async function desiredOf(placement: PlacementRef, id: string): Promise<unknown> {
  const registry = (await pool.get(placement.provider)).devices(placement, (_, __, request) => request(), signal);
  const { devices } = await registry.page(undefined);
  return devices.find((one) => one.id === id)?.desired[redirectProperty];
}

it.each(mine)(
  'from $id: shares, cohorts, the rest; each is told once, and once more on the way back',
  async ({ from, to }) => {
    const [source, target] = await Promise.all([registryOf(from), registryOf(to)]);
    const wanted = Array.from(
      { length: 20 },
      (_, n): Wanted => ({
        ...{
          id: `${from}-${to}-${n}`,
          groups: n % 4 === 0 ? ['pumps'] : [],
          attributes: { site: n % 2 === 0 ? 'north' : 'south' },
        },
        ...{ status: n === 19 ? 'disabled' : 'enabled', desired: { interval: n } },
      }),
    );
    await fill[from](source, wanted);
    const census = (placement: PlacementRef, name: string) =>
      run('censusDevices', { placement, keptAt: target, census: name, to: null, callsPerSecond });
    await census(source, 'here');
    const select = { keptAt: target, census: 'here', before: null, into: 'new' };
    expect(await act('selectDevices', select)).toEqual({ devices: 20, shards: 1 });
    expect(await act('selectDevices', { ...select, before: 'here', into: 'none' })).toEqual({ devices: 0, shards: 0 });
    const copy = { target, transfer: 'new', mark: 'move', startedAt, shard: 0, callsPerSecond };
    expect(await run('copyDevices', copy)).toMatchObject({ moved: 20 });
    await census(target, 'there');

    const files = { keptAt: target, name: 'move' };
    const waves: (Wave | 'rest')[] = [
      10,
      { devices: [`${from}-${to}-1`, 'unknown'] },
      50,
      { attribute: 'site=north' },
      { group: 'pumps' },
      'rest',
    ];
    const planned: PlannedWave[] = [];
    for (const [wave, who] of waves.entries())
      planned.push(await act('planWave', { ...files, wave, who, source: 'here', target: 'there', to }));
    const [first, named, half, north, pumps] = planned.map((one) => one.devices);
    expect(planned[0]).toMatchObject({ devices: 2, shards: 1, able: 19, cannot: { disabled: 1 } });
    expect(named).toBeLessThanOrEqual(1);
    // A share counts who went before.
    expect((first ?? 0) + (named ?? 0) + (half ?? 0)).toBe(10);
    expect(north).toBeLessThanOrEqual(10);
    // All of them are in the north.
    expect(pumps).toBe(0);
    const endpoint = { dialect: 'azure', host: 'hub.azure-devices.net', port: 8883 } as const;
    const send = async (on: PlacementRef, going: PlacementRef, sequence: number): Promise<number> => {
      let told = 0;
      for (const [wave, { shards }] of planned.entries()) {
        const place = { ...files, wave, shards, on, to: going };
        const what = { estate: 'fleets', endpoint, sequence, devicesPerSecond: 1000 };
        told += (await act('sendRedirects', { ...place, ...what })).told;
      }
      return told;
    };
    expect(await send(source, target, 7)).toBe(19);

    const id = `${from}-${to}-3`;
    const rules = {
      ...{ estate: 'fleets', device: id, cohorts: [], suffixes: ['.azure-devices.net'], authorities: [] },
      pins: [current.pin, next.pin] as const,
    };
    const message = String(await desiredOf(source, id));
    expect(verifyRedirect({ message, rules, lastSequence: 6 })).toMatchObject({ redirect: { sequence: 7, endpoint } });
    // What a cloud tells its devices is no difference, and does not go along.
    await census(source, 'after');
    expect(await run('diffDevices', { keptAt: target, left: 'after', right: 'there' })).toMatchObject({
      same: 20,
      different: {},
    });
    expect(await send(target, source, 8)).toBe(19);
    expect(await desiredOf(source, id)).toBeUndefined();
    expect(verifyRedirect({ message: String(await desiredOf(target, id)), rules, lastSequence: 7 })).toMatchObject({
      redirect: { sequence: 8 },
    });
    expect(await run('removeCopiedDevices', { ...copy })).toEqual({ removed: 20 });
  },
  60_000,
);

it('tells none to go that cannot arrive, and lists each with the reason', async () => {
  const [source, target] = await Promise.all([registryOf('azure'), registryOf('gcp')]);
  const [own, foreign] = [{ dialects: ['azure', 'gcp'] }, { dialects: ['azure'] }];
  const hour = 3_600_000;
  const wanted = await Promise.all(
    Array.from({ length: 20 }, async (_, n): Promise<Wanted> => {
      const id = `trouble-${n}`;
      const reported = { agent: n === 1 ? { roots: ['0'.repeat(64)] } : n === 2 ? foreign : own };
      return { id, reported, identity: await identity(id, n === 3 ? hour : undefined) };
    }),
  );
  await fill.gcp(target, wanted);
  await fill.azure(source, wanted);
  for (const [placement, census] of [
    [source, 'here'],
    [target, 'there'],
  ] as const)
    await run('censusDevices', { placement, keptAt: target, census, to: null, callsPerSecond });
  // Before anything exists it is known of all but hosts.
  const validUntil = new Date(Date.now() + 24 * hour).toISOString();
  const preflight = { placement: source, keptAt: target, census: 'preflight', to: 'gcp' as const, validUntil };
  const counted = await run('censusDevices', { ...preflight, callsPerSecond });
  expect(counted).toMatchObject({ refused: {}, unable: { topics: 1, 'certificate-expires': 1 } });
  const sha256 = 'f'.repeat(64);
  const endpoint = { dialect: 'gcp', host: 'core.broker.internal', port: 8883, authority: { sha256 } } as const;
  const untilAt = new Date(Date.now() + 24 * hour).toISOString();
  const planned = await act('planWave', {
    ...{ keptAt: target, name: 'trouble', wave: 0, who: 'rest', source: 'here', target: 'there' },
    ...{ to: 'gcp', able: { endpoint, untilAt } },
  });
  expect(planned).toMatchObject({ devices: 17, cannot: { root: 1, topics: 1, 'certificate-expires': 1 } });
  const kept = await pool.get('gcp');
  const files = filesOf(kept, { target, transfer: 'trouble' }, signal);
  const named = fromLines((await files.read('cannot-0-000000.jsonl')) ?? Buffer.alloc(0));
  expect(named.toSorted((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1))).toEqual([
    { id: 'trouble-1', why: 'root' },
    { id: 'trouble-2', why: 'topics' },
    { id: 'trouble-3', why: 'certificate-expires' },
  ]);
  const told = fromLines((await files.read('waves/000000/000000.jsonl')) ?? Buffer.alloc(0));
  for (const { id } of named as { id: string }[]) expect(told).not.toContainEqual({ id });
}, 60_000);
