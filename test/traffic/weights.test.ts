/** Weighted answers in each cloud's DNS: set, changed and taken away, and what a thousand look-ups of a resolver then come to. */
import { randomBytes } from 'node:crypto';
import { Resolver } from 'node:dns/promises';
import type { Provider } from '../../activities/providers/driver.ts';
import { createZoneWeightActivities } from '../../activities/traffic/weights.ts';
import { sampleZone } from '../../emulators/environment.ts';
import { providerTypes } from '../../model/service.ts';
import { frontName, type TrafficPlace, type WeightedRecord } from '../../model/traffic.ts';
import { testProviders } from '../conformance/providers.ts';
import { armFault, calls, localRun } from '../local/stack.ts';

const signal = () => AbortSignal.timeout(60_000);
const lookups = 1000;
/** Five standard deviations of so many independent answers: one in 1.7 million right ones is outside. */
const tolerance = (share: number): number => 5 * Math.sqrt((share * (1 - share)) / lookups);

describe.each(providerTypes)('weights on %s', (type) => {
  const { account, provider: makeProvider } = testProviders[type];
  const provider = makeProvider();
  const at: TrafficPlace = { by: 'dns', provider: type, account, zone: sampleZone };
  const uid = randomBytes(16).toString('hex');
  const service = `web_${randomBytes(4).toString('hex')}`;
  const name = frontName({ service, zone: sampleZone });
  const host = (of: string) => `${of}.fronts.example.net`;
  const record: WeightedRecord = {
    uid,
    service,
    ttlSeconds: 30,
    targets: [
      { provider: 'aws', host: host('aws'), weight: 6 },
      { provider: 'azure', host: host('azure'), weight: 3 },
      { provider: 'gcp', host: host('gcp'), weight: 1 },
    ],
  };
  const moved: WeightedRecord = {
    ...record,
    ttlSeconds: 10,
    targets: record.targets.map((one) => ({ ...one, weight: one.provider === 'azure' ? 0 : 100 })),
  };
  let repeated = false;
  const weights = createZoneWeightActivities({
    atAccount: (_, act: (at: Provider, signal: AbortSignal) => Promise<never>) => act(provider, signal()),
    isRepeated: () => repeated,
  });
  const resolver = new Resolver({ timeout: 5000, tries: 3 });
  /** As a recursive resolver does: from alias to alias, until a name is one of the targets. */
  async function resolved(): Promise<string> {
    let [alias = ''] = await resolver.resolveCname(name);
    if (alias.endsWith('.trafficmanager.net')) [alias = ''] = await resolver.resolveCname(alias);
    return alias;
  }
  async function shares(): Promise<Record<string, number>> {
    const seen: Record<string, number> = {};
    for (let done = 0; done < lookups; done += 20)
      for (const target of await Promise.all(Array.from({ length: 20 }, resolved)))
        seen[target] = (seen[target] ?? 0) + 1 / lookups;
    return seen;
  }
  const changes = async (since: number) => (await calls({ since, mutating: true, cloud: type })).length;
  const lastCall = async () => (await calls({ cloud: type })).at(-1)?.id ?? 0;

  beforeAll(() => resolver.setServers([localRun().dns[type] ?? '']));
  afterAll(() => provider.close());

  it('are not there before, and taking away what is not there is nothing', async () => {
    expect(await weights.readWeights({ at, service, uid })).toBeNull();
    expect(await weights.removeWeights({ at, service, uid })).toEqual({ changed: false });
  });

  it('are what a thousand look-ups come to; the same again changes nothing', async () => {
    expect(await weights.setWeights({ at, record, expected: null })).toEqual({ before: null, changed: true });
    const seen = await shares();
    for (const { host: target, weight } of record.targets) {
      expect(Math.abs((seen[target] ?? 0) - weight / 10)).toBeLessThan(tolerance(weight / 10));
    }
    const since = await lastCall();
    expect(await weights.setWeights({ at, record, expected: null })).toEqual({ before: null, changed: false });
    expect(await changes(since)).toBe(0);
    expect(await weights.readWeights({ at, service, uid })).toEqual(record);
  }, 120_000);

  it('are set again, and waited for, where an earlier attempt may have lost its answer', async () => {
    repeated = true;
    expect(await weights.setWeights({ at, record })).toEqual({ before: record, changed: false });
    repeated = false;
    expect(await weights.readWeights({ at, service, uid })).toEqual(record);
  });

  it('change over what was read only; a target of weight 0 is answered no more', async () => {
    await expect(weights.setWeights({ at, record: moved, expected: null })).rejects.toMatchObject({
      type: 'TrafficSwitchFailed',
      message: expect.stringContaining('aws 60 %, azure 30 %, gcp 10 %'),
    });
    expect(await weights.setWeights({ at, record: moved, expected: record })).toEqual({
      before: record,
      changed: true,
    });
    expect(await weights.readWeights({ at, service, uid })).toEqual(moved);
    const seen = new Set(await Promise.all(Array.from({ length: 60 }, resolved)));
    expect([...seen].sort()).toEqual([host('aws'), host('gcp')]);
  });

  it('may name addresses instead of host names, and one target alone', async () => {
    const single = { ...moved, targets: [{ provider: 'gcp', host: '192.0.2.7', weight: 1 }] };
    await weights.setWeights({ at, record: single, expected: moved });
    expect(await resolver.resolve4(name)).toEqual(['192.0.2.7']);
    expect(await weights.setWeights({ at, record: moved, expected: single })).toMatchObject({ changed: true });
  });

  it('come to be, change and go although any call of theirs, or its answer, is lost', async () => {
    const other = { ...record, service: `${service}_lost` };
    const later = { ...moved, service: other.service };
    const of = { at, service: other.service, uid };
    /** As Temporal does: again, and told that it is not the first time. */
    async function persistently(act: () => Promise<unknown>, fault: Parameters<typeof armFault>[0]): Promise<void> {
      const heal = await armFault({ ...fault, match: { cloud: type, mutating: true }, times: 1 });
      try {
        await act().catch(async (error: { kind?: string }) => {
          expect(error.kind).toBe('Unavailable');
          repeated = true;
          await act();
        });
      } finally {
        repeated = false;
        await heal();
      }
    }
    for (const effect of ['lose-request', 'lose-answer'] as const)
      for (const skip of [0, 1]) {
        await persistently(() => weights.setWeights({ at, record: other, expected: null }), { effect, skip });
        expect(await weights.readWeights(of)).toEqual(other);
        await persistently(() => weights.setWeights({ at, record: later, expected: other }), { effect, skip });
        expect(await weights.readWeights(of)).toEqual(later);
        await persistently(() => weights.removeWeights(of), { effect, skip });
        expect(await weights.readWeights(of)).toBeNull();
      }
  }, 120_000);

  it('of another estate, and what others have made under the name, are never touched', async () => {
    const stranger = '0'.repeat(32);
    const theirs = { ...moved, uid: stranger };
    const of = { at, service, uid: stranger };
    for (const attempt of [
      () => weights.readWeights(of),
      () => weights.removeWeights(of),
      () => weights.setWeights({ at, record: theirs }),
    ])
      await expect(attempt()).rejects.toMatchObject({ kind: 'NotOurs' });
    expect(await weights.readWeights({ at, service, uid })).toEqual(moved);
  });

  it('need a zone, and say how to make it', async () => {
    const nowhere = weights.readWeights({ at: { ...at, zone: 'nowhere.example.com' }, service, uid });
    await expect(nowhere).rejects.toMatchObject({ kind: 'NotFound', message: expect.stringContaining('Make it with') });
  });

  it('refuse what is no weight and no host', async () => {
    const wrong = (change: object) => async () =>
      weights.setWeights({ at, record: { ...moved, targets: moved.targets.map((one) => ({ ...one, ...change })) } });
    await expect(wrong({ weight: 1.5 })()).rejects.toMatchObject({ type: 'InvalidInput' });
    await expect(wrong({ host: 'a b' })()).rejects.toMatchObject({ type: 'InvalidInput' });
    await expect(wrong({ provider: 'aws' })()).rejects.toMatchObject({ message: expect.stringContaining('twice') });
  });

  it('are gone from the name servers once they are taken away', async () => {
    expect(await weights.removeWeights({ at, service, uid })).toEqual({ changed: true });
    await expect(resolver.resolveCname(name)).rejects.toMatchObject({ code: 'ENOTFOUND' });
    expect(await weights.readWeights({ at, service, uid })).toBeNull();
    expect(await weights.removeWeights({ at, service, uid })).toEqual({ changed: false });
  });
});
