/** Endpoint records of an estate through its life: deployed, repaired, undone, removed; and what is in the way of one. */
import { randomBytes } from 'node:crypto';
import { Resolver } from 'node:dns/promises';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ApplicationFailure } from '@temporalio/activity';
import { resolveEndpoint } from '../../client/endpoint.ts';
import { EstateClient } from '../../client/index.ts';
import { sampleZone } from '../../emulators/environment.ts';
import { endpointName } from '../../model/endpoint-record.ts';
import { testProviders } from '../conformance/providers.ts';
import { localRun } from '../local/stack.ts';
import { type OwnWorker, ownWorker, quietTemporal, writeEstate } from './own-worker.ts';

const suffix = randomBytes(3).toString('hex');
const namespace = `endpoints-${suffix}`;
const [first, second] = [`first_${suffix}`, `second_${suffix}`];
const folder = mkdtempSync(join(tmpdir(), 'endpoints-'));
const file = join(folder, 'estate.yaml');
const service = (provider: string) => ({
  type: 'storage',
  redundancy: 1,
  preferred_providers: [provider],
  protect: false,
});
/** Writes the file that the worker reads, with records on GCP. */
function estateWith(services: object, zone = sampleZone): void {
  writeEstate(file, 'endpoints', services, { traffic: { zone, dns: 'gcp', ttl: '15s' } });
}

let worker: OwnWorker;
let estate: EstateClient;
let failing = '';
const servers = () => [localRun().dns.gcp ?? ''];
const at = (of: string) => resolveEndpoint({ service: of, zone: sampleZone, servers: servers() });
const gone = async (of: string): Promise<void> =>
  expect(at(of)).rejects.toMatchObject({ code: 'ENOTFOUND' }) as Promise<void>;

beforeAll(async () => {
  quietTemporal();
  estateWith({ [first]: service('aws') });
  worker = await ownWorker({
    namespace,
    estateFile: file,
    wrap: (real) => ({
      ...real,
      async verifyPlacement(input) {
        if (input.placement.owner.service === failing)
          throw ApplicationFailure.nonRetryable('staged', 'VerificationFailed');
        return real.verifyPlacement(input);
      },
    }),
  });
  estate = new EstateClient(worker.client, 'endpoints', '');
}, 60_000);
afterAll(() => worker.close());

it('are written by a deployment, and tell what the record of the service tells', async () => {
  const deployment = await estate.deploy();
  expect(await deployment.result()).toMatchObject({ outcome: 'done' });
  const { aws: url } = await estate.endpoint(first);
  expect(await at(first)).toMatchObject({
    service: first,
    ttlSeconds: 15,
    endpoints: [{ provider: 'aws', region: 'us-west-2', url }],
  });
  const resolver = new Resolver();
  resolver.setServers(servers());
  expect(await resolver.resolveTxt(endpointName({ service: first, zone: sampleZone }))).toHaveLength(1);
}, 60_000);

it('that somebody has taken away or changed are drift: the plan tells it, a deployment repairs it', async () => {
  expect((await estate.plan()).services[0]?.endpoint).toBeUndefined();
  const { dns } = testProviders.gcp.provider();
  const name = {
    zone: sampleZone,
    account: testProviders.gcp.account,
    name: endpointName({ service: first, zone: sampleZone }),
  };
  const signal = AbortSignal.timeout(90_000);
  await dns.replace({ ...name, before: await dns.find(name, signal), after: undefined }, signal);
  await gone(first);
  expect((await estate.plan()).services[0]?.endpoint).toBe('create');
  expect(await (await estate.deploy()).result()).toMatchObject({ outcome: 'done' });
  expect((await at(first)).endpoints).toHaveLength(1);
}, 60_000);

it('of services that are undone go with them, and the others stay', async () => {
  const kept = await at(first);
  estateWith({ [first]: service('aws'), [second]: service('gcp'), [`zz_${suffix}`]: service('aws') });
  failing = `zz_${suffix}`;
  const deployment = await estate.deploy();
  await expect(deployment.result()).rejects.toThrow('staged');
  failing = '';
  await gone(second);
  await gone(`zz_${suffix}`);
  expect(await at(first)).toEqual(kept);
}, 120_000);

it('of others are left alone, and a zone that is not there is told: the services are deployed without a record', async () => {
  const { dns } = testProviders.gcp.provider();
  const name = {
    zone: sampleZone,
    account: testProviders.gcp.account,
    name: endpointName({ service: second, zone: sampleZone }),
  };
  const signal = AbortSignal.timeout(90_000);
  await dns.replace({ ...name, before: undefined, after: { ttlSeconds: 60, values: ['not ours'] } }, signal);
  estateWith({ [first]: service('aws'), [second]: service('gcp') });
  const { warnings } = await estate.plan();
  expect(warnings.filter((text) => text.includes('no endpoint record'))).toEqual([expect.stringContaining('NotOurs')]);
  expect(await (await estate.deploy()).result()).toMatchObject({ outcome: 'done' });
  expect((await dns.find(name, signal))?.values).toEqual(['not ours']);
  expect(await (await estate.remove({ service: second })).result()).toMatchObject({ outcome: 'done', orphans: [] });
  expect((await dns.find(name, signal))?.values).toEqual(['not ours']);
  await dns.replace({ ...name, before: await dns.find(name, signal), after: undefined }, signal);

  estateWith({ [first]: service('aws') }, 'nowhere.example.com');
  const plan = await estate.plan();
  expect(plan.warnings.join()).toMatch(/no endpoint record: .*NotFound.*gcloud dns managed-zones create/);
  expect(await (await estate.deploy()).result()).toMatchObject({ outcome: 'done' });
  estateWith({ [first]: service('aws') });
}, 120_000);

it('go with the service that is removed', async () => {
  await at(first);
  expect(await (await estate.remove({ service: first })).result()).toMatchObject({ outcome: 'done', orphans: [] });
  await gone(first);
}, 60_000);
