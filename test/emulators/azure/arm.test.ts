/** The core of the local Resource Manager keeps ARM's promises: what was accepted is remembered, what is in use stays. */
import { appendFileSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { type Answer, ArmApi } from '../../../emulators/azure/arm/api.ts';
import { ArmCore } from '../../../emulators/azure/arm/core.ts';
import { networkKinds, networkSchemas } from '../../../emulators/azure/arm/network.ts';
import { storageKinds } from '../../../emulators/azure/arm/storage.ts';
import { ArmStore } from '../../../emulators/azure/arm/store.ts';
import { Usages } from '../../../emulators/azure/arm/usages.ts';
import { roleAssignmentKind } from '../../../emulators/azure/iot-hub/arm-kinds.ts';
import { Queues } from '../../../emulators/azure/queue/messages.ts';
import { setLimit } from '../../../emulators/quota-limits.ts';
import { publishedProperties } from './published.ts';

const subscription = '00000000-0000-4000-8000-000000000001';
const operationMs = 120;
const group = `/subscriptions/${subscription}/resourceGroups/g`;
const provider = (path: string): string => `${group}/providers/${path}`;

const containers = new Set<string>();
const blobs = {
  addAccount: async () => {},
  addContainer: async (account: string, name: string) => void containers.add(`${account}/${name}`),
  removeContainer: async (account: string, name: string) => void containers.delete(`${account}/${name}`),
  keys: () => ['one', 'two'],
};

function start(folder: string): (method: string, path: string, body?: object) => Promise<Answer> {
  const store = new ArmStore(folder);
  const api = new ArmApi(
    new ArmCore({
      store,
      usages: new Usages(folder, (type) => store.list(type)),
      kinds: [...storageKinds(blobs, new Queues(folder)), ...networkKinds, roleAssignmentKind],
      subscription,
      tenant: 'tenant',
      operationMs,
      nameHeldMs: 60_000,
    }),
    () => [],
  );
  return (method, path, body = {}) => {
    const query = new URLSearchParams({ 'api-version': '2025-01-01' });
    return api.answer({ method, path, query, conditions: {}, body: { ...body }, principal: 'owner' });
  };
}

const state = (answer: Answer): unknown => JSON.parse(JSON.stringify(answer.body)).properties.provisioningState;
const location = 'westus2';
const account = {
  location,
  kind: 'StorageV2',
  sku: { name: 'Standard_LRS' },
  properties: { minimumTlsVersion: 'TLS1_2' },
};

describe('the local Resource Manager', () => {
  let folder: string;
  let ask: ReturnType<typeof start>;
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'arm-'));
    ask = start(folder);
    expect((await ask('PUT', group, { location })).status).toBe(201);
    await setTimeout(2 * operationMs);
  });

  it('tells what is used of a quota, counted from what exists, and refuses what goes beyond', async () => {
    setLimit(folder, { cloud: 'azure', name: 'StorageAccounts', region: location, limit: 1 });
    const usages = `/subscriptions/${subscription}/providers/Microsoft.Storage/locations/West US 2/usages`;
    const told = async () => (await ask('GET', usages)).body;
    const usage = (currentValue: number) => ({
      value: [
        expect.objectContaining({
          name: expect.objectContaining({ value: 'StorageAccounts' }),
          currentValue,
          limit: 1,
        }),
      ],
    });
    expect(await told()).toEqual(usage(0));
    const accounts = provider('Microsoft.Storage/storageAccounts');
    expect((await ask('PUT', `${accounts}/first`, account)).status).toBe(202);
    expect(await told()).toEqual(usage(1));
    await expect(ask('PUT', `${accounts}/second`, account)).rejects.toMatchObject({
      status: 409,
      code: 'MaxStorageAccountsCountPerSubscriptionExceeded',
    });
    expect((await ask('PUT', `${accounts}/second`, { ...account, location: 'eastus2' })).status).toBe(202);
    setLimit(folder, { cloud: 'azure', name: 'StorageAccounts', region: location, limit: null });
    expect((await ask('PUT', `${accounts}/third`, account)).status).toBe(202);
  });

  it('finishes an operation that a kill interrupted, and loses nothing but a torn line', async () => {
    const path = provider('Microsoft.Network/networkSecurityGroups/nsg');
    const made = await ask('PUT', path, { location, properties: {} });
    expect([made.status, state(made)]).toEqual([201, 'Creating']);
    const operation = new URL(made.headers?.['azure-asyncoperation'] ?? '').pathname;
    appendFileSync(join(folder, 'arm.jsonl'), '{"put":{"id":"/subscr');
    ask = start(folder);
    expect((await ask('GET', operation)).body).toMatchObject({ status: 'InProgress' });
    await expect(ask('PUT', path, { location, properties: {} })).rejects.toMatchObject({ status: 409 });
    await setTimeout(2 * operationMs);
    expect((await ask('GET', operation)).body).toMatchObject({ status: 'Succeeded' });
    expect(state(await ask('GET', path.toUpperCase().replace('/SUBSCRIPTIONS', '/subscriptions')))).toBe('Succeeded');
  });

  it('refuses what is unknown, missing, in another place, or without its group', async () => {
    const path = provider('Microsoft.Storage/storageAccounts/store1');
    const refused = (body: object) => expect(ask('PUT', path, body)).rejects;
    await refused({ ...account, properties: { noSuchThing: true } }).toMatchObject({ status: 400 });
    await refused({ ...account, sku: undefined }).toMatchObject({ status: 400 });
    await refused({ ...account, location: undefined }).toMatchObject({ code: 'LocationRequired' });
    await refused({ ...account, tags: { a: 'x'.repeat(257) } }).toMatchObject({ status: 400 });
    await expect(ask('PUT', path.replace('/g/', '/other/'), account)).rejects.toMatchObject({
      code: 'ResourceGroupNotFound',
    });
    await ask('PUT', path, account);
    await setTimeout(2 * operationMs);
    await refused({ ...account, location: 'eastus' }).toMatchObject({ code: 'InvalidResourceLocation' });
    await expect(ask('GET', provider('Microsoft.Storage/storageAccounts/none'))).rejects.toMatchObject({
      code: 'ResourceNotFound',
    });
  });

  it('deletes a group with all that is in it, and holds names that all of Azure shares', async () => {
    const path = provider('Microsoft.Storage/storageAccounts/store1');
    expect((await ask('PUT', path, account)).status).toBe(202);
    await setTimeout(2 * operationMs);
    await ask('PUT', `${path}/blobServices/default/containers/objects`);
    expect([...containers]).toEqual(['store1/objects']);
    expect((await ask('DELETE', group)).status).toBe(202);
    await expect(ask('PUT', path, account)).rejects.toMatchObject({ code: 'ResourceGroupBeingDeleted' });
    await setTimeout(2 * operationMs);
    await expect(ask('GET', group)).rejects.toMatchObject({ code: 'ResourceGroupNotFound' });
    expect([...containers]).toEqual([]);
    ask = start(folder);
    await ask('PUT', group, { location });
    await setTimeout(2 * operationMs);
    await expect(ask('PUT', path, account)).rejects.toMatchObject({ code: 'StorageAccountAlreadyTaken' });
    const check = `/subscriptions/${subscription}/providers/Microsoft.Storage/checkNameAvailability`;
    expect((await ask('POST', check, { name: 'store1' })).body).toMatchObject({ nameAvailable: false });
  });

  it('does not delete what something else uses', async () => {
    const nsg = provider('Microsoft.Network/networkSecurityGroups/nsg');
    const network = provider('Microsoft.Network/virtualNetworks/net');
    const subnet = { addressPrefix: '10.0.0.0/24', networkSecurityGroup: { id: nsg } };
    const properties = {
      addressSpace: { addressPrefixes: ['10.0.0.0/16'] },
      subnets: [{ name: 'a', properties: subnet }],
    };
    await expect(ask('PUT', network, { location, properties })).rejects.toMatchObject({
      code: 'InvalidResourceReference',
    });
    await ask('PUT', nsg, { location, properties: {} });
    await setTimeout(2 * operationMs);
    await ask('PUT', network, { location, properties });
    await setTimeout(2 * operationMs);
    await expect(ask('DELETE', nsg)).rejects.toMatchObject({ code: 'InUseNetworkSecurityGroupCannotBeDeleted' });
    await ask('DELETE', network);
    await setTimeout(2 * operationMs);
    expect((await ask('DELETE', nsg)).status).toBe(202);
  });

  it('pages through long lists', async () => {
    for (let n = 0; n < 120; n++)
      await ask('PUT', provider(`Microsoft.Network/networkSecurityGroups/n${n}`), { location, properties: {} });
    const first = JSON.parse(JSON.stringify((await ask('GET', `${group}/resources`)).body));
    expect(first.value).toHaveLength(100);
    expect(first.nextLink).toContain('skiptoken=100');
  });
});

it.each(Object.entries(networkSchemas))(
  'takes no property of a %s that the published client does not have',
  async (type, schema) => {
    const published = await publishedProperties('arm-network', 'models/common', type, 'Deserializer');
    expect(published).toEqual(expect.arrayContaining(Object.keys(schema.shape)));
  },
);
