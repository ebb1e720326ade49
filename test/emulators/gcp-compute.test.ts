/** The local Compute Engine keeps to Google's published definition, to the rules between resources, and to what it has answered. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { authority } from '../../emulators/certificates.ts';
import { loadDefinition } from '../../emulators/gcp/compute-definition.ts';
import { type ComputeService, startCompute } from '../../emulators/gcp/compute-service.ts';
import { setLimit } from '../../emulators/quota-limits.ts';
import type { JsonObject } from '../../model/service.ts';

const folder = mkdtempSync(join(tmpdir(), 'compute-'));
// Long enough for a busy machine to make the next call meanwhile.
const operationMs = 100;
const project = 'test-project';
const region = `projects/${project}/regions/us-central1`;
const globally = `projects/${project}/global`;
let compute: ComputeService;

const open = async (ms = operationMs): Promise<ComputeService> =>
  startCompute({
    settings: { state: join(folder, 'state'), certificates: join(folder, 'ca'), operationMs: ms, account: project },
    ports: { first: 23080, count: 1 },
    require: () => {},
    token: () => ({ access_token: 'token', expires_in: 3600 }),
    portOf: () => 1,
  });

async function call(method: string, path: string, body?: JsonObject): Promise<{ status: number; body: JsonObject }> {
  const answer = await compute.handle({
    method,
    url: new URL(`http://compute/compute/v1/${path}`),
    body,
    caller: 'somebody',
    headers: {},
    signal: AbortSignal.timeout(60_000),
  });
  return answer as { status: number; body: JsonObject };
}
async function done(method: string, path: string, body?: JsonObject): Promise<JsonObject> {
  const answer = await call(method, path, body);
  expect(answer).toMatchObject({ status: 200 });
  const operation = String(answer.body.selfLink).replace('https://www.googleapis.com/compute/v1/', '');
  return (await call('POST', `${operation}/wait`)).body;
}
const reason = ({ status, body }: { status: number; body: JsonObject }): unknown[] => [
  status,
  ((body.error as JsonObject).errors as JsonObject[])[0]?.reason,
];
async function until(condition: () => Promise<boolean>): Promise<void> {
  for (let i = 0; i < 200; i++) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error('did not happen in time');
}

/** In the order in which they need each other. */
const inserted: [schema: string, collection: string, body: JsonObject][] = [
  ['Network', `${globally}/networks`, { name: 'net', autoCreateSubnetworks: false }],
  [
    'Subnetwork',
    `${region}/subnetworks`,
    { name: 'sub', network: `${globally}/networks/net`, ipCidrRange: '10.0.0.0/20' },
  ],
  [
    'Firewall',
    `${globally}/firewalls`,
    { name: 'rule', network: 'global/networks/net', denied: [{ IPProtocol: 'all' }] },
  ],
  ['Router', `${region}/routers`, { name: 'router', network: `${globally}/networks/net` }],
  ['Address', `${region}/addresses`, { name: 'address' }],
  ['HealthCheck', `${region}/healthChecks`, { name: 'check', type: 'HTTP', httpHealthCheck: { port: 80 } }],
  [
    'InstanceTemplate',
    `${region}/instanceTemplates`,
    {
      name: 'template',
      properties: {
        machineType: 'e2-small',
        disks: [{ boot: true }],
        networkInterfaces: [{ subnetwork: `${region}/subnetworks/sub` }],
      },
    },
  ],
  [
    'InstanceGroupManager',
    `${region}/instanceGroupManagers`,
    { name: 'group', instanceTemplate: `${region}/instanceTemplates/template`, targetSize: 2 },
  ],
  [
    'Autoscaler',
    `${region}/autoscalers`,
    {
      name: 'scaler',
      target: `${region}/instanceGroupManagers/group`,
      autoscalingPolicy: { minNumReplicas: 3, maxNumReplicas: 5 },
    },
  ],
  [
    'BackendService',
    `${region}/backendServices`,
    {
      name: 'backend',
      loadBalancingScheme: 'EXTERNAL',
      healthChecks: [`${region}/healthChecks/check`],
      backends: [{ group: `${region}/instanceGroups/group` }],
    },
  ],
  [
    'ForwardingRule',
    `${region}/forwardingRules`,
    {
      name: 'front',
      IPAddress: `${region}/addresses/address`,
      ports: ['8883'],
      loadBalancingScheme: 'EXTERNAL',
      backendService: `${region}/backendServices/backend`,
    },
  ],
];

beforeAll(async () => {
  await authority(join(folder, 'ca'));
  compute = await open();
});
afterAll(async () => {
  await compute.stop();
  rmSync(folder, { recursive: true });
});

it('creates every kind, and each answer has the shape of its published schema', async () => {
  const definition = loadDefinition('compute.v1');
  for (const [schema, collection, body] of inserted) {
    const operation = await done('POST', collection, body);
    expect(operation).toMatchObject({ status: 'DONE', operationType: 'insert' });
    expect(definition.checkBody('Operation', operation)).toBeUndefined();
    const { body: seen } = await call('GET', `${collection}/${String(body.name)}`);
    expect(definition.checkBody(schema, seen)).toBeUndefined();
    expect(seen.kind).toBe(`compute#${schema.charAt(0).toLowerCase()}${schema.slice(1)}`);
    const { body: list } = await call('GET', collection);
    expect(definition.checkBody(`${schema}List`, list)).toBeUndefined();
    expect(list.items).toHaveLength(1);
  }
});

it('fills a group to its size within the limits of its autoscaler, spread over zones', async () => {
  const group = `${region}/instanceGroupManagers/group`;
  await until(async () => {
    const { body } = await call('GET', group);
    return body.targetSize === 3 && (body.status as JsonObject).isStable === true;
  });
  const { body } = await call('POST', `${group}/listManagedInstances`);
  const instances = (body.managedInstances as JsonObject[]).map(({ instance }) => String(instance));
  expect(new Set(instances.map((link) => /zones\/([^/]+)/.exec(link)?.[1])).size).toBe(3);
});

it('refuses unknown fields, taken names, missing references, stale fingerprints, and to delete what is in use', async () => {
  const network = { name: 'other', autoCreateSubnetworks: false };
  expect(reason(await call('POST', `${globally}/networks`, { ...network, colour: 'red' }))).toEqual([400, 'invalid']);
  expect(reason(await call('POST', `${globally}/networks`, { ...network, name: 'net' }))).toEqual([
    409,
    'alreadyExists',
  ]);
  expect(reason(await call('GET', `${globally}/networks/other`))).toEqual([404, 'notFound']);
  const subnetwork = { name: 'lost', network: `${globally}/networks/none`, ipCidrRange: '10.0.0.0/20' };
  expect(reason(await call('POST', `${region}/subnetworks`, subnetwork))).toEqual([404, 'notFound']);
  expect(reason(await call('PATCH', `${region}/backendServices/backend`, { timeoutSec: 10 }))).toEqual([
    412,
    'conditionNotMet',
  ]);
  expect(reason(await call('DELETE', `${globally}/networks/net`))).toEqual([400, 'resourceInUseByAnotherResource']);
  expect(reason(await call('DELETE', `${region}/instanceGroupManagers/group`))).toEqual([
    400,
    'resourceInUseByAnotherResource',
  ]);
});

it('does not let a resource be used before its operation is done, nor be there after its deletion', async () => {
  await call('POST', `${globally}/networks`, { name: 'late', autoCreateSubnetworks: false });
  const subnetwork = { name: 'early', network: `${globally}/networks/late`, ipCidrRange: '10.0.0.0/20' };
  expect(reason(await call('POST', `${region}/subnetworks`, subnetwork))).toEqual([400, 'resourceNotReady']);
  await new Promise((resolve) => setTimeout(resolve, operationMs * 2));
  await call('DELETE', `${globally}/networks/late`);
  expect((await call('GET', `${globally}/networks/late`)).status).toBe(200);
  await until(async () => (await call('GET', `${globally}/networks/late`)).status === 404);
});

it('goes on after a restart: what was answered is there, what was being deleted goes', async () => {
  await done('POST', `${globally}/networks`, { name: 'going', autoCreateSubnetworks: false });
  const before = (await call('GET', `${region}/instanceGroupManagers/group`)).body;
  await call('DELETE', `${globally}/networks/going`);
  await compute.stop();
  compute = await open();
  await until(async () => (await call('GET', `${globally}/networks/going`)).status === 404);
  expect((await call('GET', `${region}/instanceGroupManagers/group`)).body.id).toBe(before.id);
  await until(async () => {
    const { body } = await call('GET', `${region}/instanceGroupManagers/group`);
    return (body.status as JsonObject).isStable === true;
  });
});

it('tells quotas, counted from what exists, and refuses or leaves out what goes beyond', async () => {
  const limit = (name: string, to: number | null): unknown =>
    setLimit(join(folder, 'state'), { cloud: 'gcp', name, limit: to });
  const told = async (path: string, metric: string): Promise<JsonObject | undefined> =>
    ((await call('GET', path)).body.quotas as JsonObject[]).find((quota) => quota.metric === metric);
  const group = `${region}/instanceGroupManagers/group`;
  const machines = async (): Promise<number> =>
    ((await call('POST', `${group}/listManagedInstances`)).body.managedInstances as JsonObject[]).length;
  await until(async () => (await machines()) === 3);
  limit('CPUS', 8);
  expect(await told(region, 'CPUS')).toEqual({ metric: 'CPUS', limit: 8, usage: 6 });
  expect(await told(`projects/${project}`, 'CPUS_ALL_REGIONS')).toMatchObject({ usage: 6 });
  const definition = loadDefinition('compute.v1');
  expect(definition.checkBody('Project', (await call('GET', `projects/${project}`)).body)).toBeUndefined();

  await done('POST', `${group}/resize?size=5`);
  await until(async () => (await machines()) === 4);
  await new Promise((resolve) => setTimeout(resolve, operationMs * 2));
  expect(await machines()).toBe(4);
  limit('CPUS', null);
  await until(async () => (await machines()) === 5);

  const { usage } = (await told(`projects/${project}`, 'NETWORKS')) ?? {};
  limit('NETWORKS', Number(usage));
  const network = { name: 'beyond', autoCreateSubnetworks: false };
  expect(reason(await call('POST', `${globally}/networks`, network))).toEqual([403, 'quotaExceeded']);
  limit('NETWORKS', null);
  await done('POST', `${globally}/networks`, network);
  await done('DELETE', `${globally}/networks/beyond`);
});

it('deletes all of it in reverse order, instances included', async () => {
  for (const [, collection, body] of inserted.toReversed()) await done('DELETE', `${collection}/${String(body.name)}`);
  for (const [, collection] of inserted) {
    const { body } = await call('GET', collection);
    expect(body.items).toEqual([]);
  }
  const { body } = await call('GET', `projects/${project}/aggregated/instances`);
  expect(body.items).toEqual({});
});
