/** The endpoint records in the zone of a cloud, as identities that may do what the sheets say and no more. */
import { randomBytes } from 'node:crypto';
import type { Provider } from '../../activities/providers/driver.ts';
import { createEndpointActivities, type EndpointActivities } from '../../activities/traffic/endpoint-records.ts';
import { createZoneWeightActivities, type WeightActivities } from '../../activities/traffic/weights.ts';
import { sampleZone } from '../../emulators/environment.ts';
import type { EndpointRecord } from '../../model/endpoint-record.ts';
import type { Identity } from '../../model/permissions.ts';
import type { ProviderType } from '../../model/service.ts';
import type { TrafficPlace, WeightedRecord } from '../../model/traffic.ts';
import { calledRights, limitedProvider, listedRights, record, recording } from './identities.ts';
import { testProviders } from './providers.ts';

const signal = () => AbortSignal.timeout(60_000);
/** Those that touch records: a deployment and a migration write, an undo and a removal put back and take away. */
const identities = ['control', 'undo'] as const;

/** Weighted answers in the zone: a run that steers sets them, what takes it back sets or removes them. */
export function trafficConformance(cloud: ProviderType): void {
  describe(`${cloud} traffic`, () => {
    const callers: Partial<Record<Identity, string>> = {};
    const providers: Provider[] = [];
    const weights: Partial<Record<Identity, WeightActivities>> = {};

    beforeAll(async () => {
      for (const identity of identities) {
        const { provider, caller } = await limitedProvider(cloud, 'traffic', identity, 'conformance');
        callers[identity] = caller;
        providers.push(provider);
        weights[identity] = createZoneWeightActivities({
          atAccount: (_, act: (at: Provider, within: AbortSignal) => Promise<never>) => act(provider, signal()),
          isRepeated: () => false,
        });
      }
    });
    afterAll(async () => {
      if (recording) await record(cloud, 'traffic', callers);
      await Promise.all(providers.map((provider) => provider.close()));
    });

    it('lets one set and change weights, the other one take them back and away', async () => {
      const { account } = testProviders[cloud];
      const at: TrafficPlace = { by: 'dns', provider: cloud, account, zone: sampleZone };
      for (const provider of providers) expect(await provider.account(signal())).toBe(account);
      const { control, undo } = weights;
      const service = `rights_${randomBytes(4).toString('hex')}`;
      const uid = randomBytes(16).toString('hex');
      const made: WeightedRecord = {
        uid,
        service,
        ttlSeconds: 30,
        targets: [
          { provider: 'aws', host: 'a.example.net', weight: 1 },
          { provider: 'gcp', host: 'b.example.net', weight: 0 },
        ],
      };
      const moved = {
        ...made,
        ttlSeconds: 5,
        targets: made.targets.map((one) => ({ ...one, weight: 1 - one.weight })),
      };
      expect(await control?.setWeights({ at, record: made, expected: null })).toMatchObject({ changed: true });
      expect(await control?.setWeights({ at, record: moved, expected: made })).toMatchObject({ changed: true });
      expect(await undo?.setWeights({ at, record: made })).toMatchObject({ changed: true });
      expect(await undo?.removeWeights({ at, service, uid })).toEqual({ changed: true });
      expect(await control?.readWeights({ at, service, uid })).toBeNull();
    }, 120_000);

    it('has called what the sheet lists for each identity, nothing less and nothing more', async () => {
      if (recording) return;
      for (const identity of identities)
        expect(await calledRights(cloud, identity, callers[identity] ?? '')).toEqual(
          listedRights(cloud, 'traffic', identity),
        );
    });
  });
}

export function dnsConformance(cloud: ProviderType): void {
  describe(`${cloud} dns`, () => {
    const callers: Partial<Record<Identity, string>> = {};
    const providers: Provider[] = [];
    const records: Partial<Record<Identity, EndpointActivities>> = {};

    beforeAll(async () => {
      for (const identity of identities) {
        const { provider, caller } = await limitedProvider(cloud, 'dns', identity, 'conformance');
        callers[identity] = caller;
        providers.push(provider);
        records[identity] = createEndpointActivities({
          atAccount: (_, act: (at: Provider, within: AbortSignal) => Promise<never>) => act(provider, signal()),
          isRepeated: () => false,
        });
      }
    });
    afterAll(async () => {
      if (recording) await record(cloud, 'dns', callers);
      await Promise.all(providers.map((provider) => provider.close()));
    });

    it('lets each write, switch and take away the record of a service, and tells the account', async () => {
      const { account } = testProviders[cloud];
      const at = { provider: cloud, account, zone: sampleZone };
      for (const provider of providers) expect(await provider.account(signal())).toBe(account);
      for (const identity of identities) {
        const own = records[identity];
        const service = `rights_${randomBytes(4).toString('hex')}`;
        const uid = randomBytes(16).toString('hex');
        const url = 'https://b.s3.us-west-2.amazonaws.com';
        const endpoints = [{ provider: 'aws', region: 'us-west-2', url }];
        const made: EndpointRecord = { uid, service, ttlSeconds: 30, endpoints };
        const moved = { ...made, ttlSeconds: 5 };
        expect(await own?.writeEndpointRecord({ at, record: made, expected: null })).toMatchObject({ changed: true });
        expect(await own?.writeEndpointRecord({ at, record: moved, expected: made })).toMatchObject({ changed: true });
        expect(await own?.removeEndpointRecord({ at, service, uid, expected: moved })).toMatchObject({ changed: true });
      }
    }, 120_000);

    it('has called what the sheet lists for each identity, nothing less and nothing more', async () => {
      if (recording) return;
      for (const identity of identities)
        expect(await calledRights(cloud, identity, callers[identity] ?? '')).toEqual(
          listedRights(cloud, 'dns', identity),
        );
    });
  });
}
