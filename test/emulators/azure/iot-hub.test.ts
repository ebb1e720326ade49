import { appendFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as mappers from '@azure/arm-iothub/dist-esm/src/models/mappers.js';
import { applyBulk } from '../../../emulators/azure/iot-hub/bulk.ts';
import { makeRecord } from '../../../emulators/azure/iot-hub/device.ts';
import type { IotHub } from '../../../emulators/azure/iot-hub/entities.ts';
import { parseQuery, QueryError } from '../../../emulators/azure/iot-hub/query.ts';
import { Registry } from '../../../emulators/azure/iot-hub/registry.ts';
import { allowed, roleAssignment } from '../../../emulators/azure/iot-hub/role-assignments.ts';
import { HubProperties, hub, shown } from '../../../emulators/azure/iot-hub/rules.ts';
import { changeTwin } from '../../../emulators/azure/iot-hub/twin.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'iot-hub-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const device = (id: string) => makeRecord(id, { status: 'enabled' });

describe('the registry', () => {
  it('holds every acknowledged device after a kill in the middle of a write', () => {
    const file = join(folder, 'devices.jsonl');
    const registry = new Registry(file);
    registry.write(['a', 'b', 'c'].map((id) => ({ deviceId: id, after: device(id) })));
    registry.write([{ deviceId: 'b', after: undefined }]);
    appendFileSync(file, '{"put":{"deviceId":"to');
    const again = new Registry(file);
    again.write([{ deviceId: 'd', after: device('d') }]);
    expect(new Registry(file).page(0, 10, () => true).records.map(({ deviceId }) => deviceId)).toEqual(['a', 'c', 'd']);
  });

  it('loses and repeats nothing between pages while devices come and go', () => {
    const registry = new Registry(join(folder, 'devices.jsonl'));
    const ids = Array.from({ length: 50 }, (_, index) => `d${index}`);
    registry.write(ids.map((id) => ({ deviceId: id, after: device(id) })));
    const seen: string[] = [];
    let from: number | undefined = 0;
    while (from !== undefined) {
      const page = registry.page(from, 7, () => true);
      seen.push(...page.records.map(({ deviceId }) => deviceId));
      registry.write([{ deviceId: `d${seen.length - 1}`, after: undefined }]);
      from = page.next;
    }
    expect(seen).toEqual(ids);
  });

  it('answers each change of a bulk request on its own', () => {
    const registry = new Registry(join(folder, 'devices.jsonl'));
    registry.write([{ deviceId: 'old', after: device('old') }]);
    const target = { maxDevices: 3 } as IotHub;
    const body = [
      { id: 'old', importMode: 'create' },
      { id: 'new', importMode: 'create' },
      { id: 'gone', importMode: 'Delete' },
      { id: 'old', importMode: 'UpdateIfMatchETag', etag: 'stale' },
    ];
    const answer = applyBulk({ hub: target, registry, body });
    expect(answer).toMatchObject({
      status: 400,
      body: {
        isSuccessful: false,
        errors: [
          { deviceId: 'old', errorCode: 409001 },
          { deviceId: 'gone', errorCode: 404001 },
          { deviceId: 'old', errorCode: 412001 },
        ],
      },
    });
    expect(registry.size).toBe(2);
  });
});

it('a twin merges patches, removes by null and counts versions', () => {
  const first = changeTwin(device('a'), { properties: { desired: { rate: 5, net: { apn: 'x', pin: '1' } } } }, false);
  const second = changeTwin(first, { properties: { desired: { rate: null, net: { pin: null } } } }, false);
  expect(second.twin.desired).toMatchObject({ version: 3, values: { net: { apn: 'x' } } });
});

it('the query language selects by tags, reported properties and lists, and refuses what it cannot read', () => {
  const row = { deviceId: 'a1', tags: { site: 'x' }, properties: { reported: { fw: 2 } } };
  const match = (where: string): boolean => parseQuery(`SELECT * FROM devices WHERE ${where}`).matches(row);
  expect(match("tags.site = 'x' AND properties.reported.fw >= 2")).toBe(true);
  expect(match("NOT (tags.site IN ['y', 'z']) AND STARTSWITH(deviceId, 'a')")).toBe(true);
  expect(match("IS_DEFINED(tags.floor) OR properties.reported.fw < 'x'")).toBe(false);
  expect(parseQuery('SELECT COUNT() AS n FROM devices').count).toBe('n');
  expect(() => parseQuery('SELECT * FROM devices WHERE tags.site ~ 1')).toThrow(QueryError);
});

describe('ARM', () => {
  it('knows exactly the properties that the published definition knows', () => {
    const properties: Record<string, { readOnly?: boolean; serializedName?: string }> =
      mappers.IotHubProperties.type.modelProperties ?? {};
    const published = Object.values(properties)
      .filter(({ readOnly }) => !readOnly)
      .map(({ serializedName }) => serializedName);
    expect(Object.keys(HubProperties.shape).toSorted()).toEqual(published.toSorted());
  });

  it('keeps keys and addresses over a PUT, never shows a key, and refuses a route to nowhere', () => {
    const body = { sku: { name: 'S1', capacity: 1 }, identity: { type: 'SystemAssigned' }, properties: {} };
    const made = hub('mc-hub-1', 'tenant', body);
    const again = hub('mc-hub-1', 'tenant', { ...body, properties: { comments: 'x' } }, made);
    for (const key of ['authorizationPolicies', 'registryId', 'eventHubEndpoints'])
      expect(again.properties[key]).toEqual(made.properties[key]);
    expect(again.identity).toEqual(made.identity);
    expect(JSON.stringify(shown(made))).not.toMatch(/primaryKey|registryId|streamId/);
    const route = { name: 'r', source: 'DeviceMessages', endpointNames: ['nowhere'], isEnabled: true };
    expect(() => hub('mc-hub-1', 'tenant', { ...body, properties: { routing: { routes: [route] } } })).toThrow(
      'no endpoint',
    );
    expect(() => hub('mc-hub-1', 'tenant', { ...body, properties: { bogus: 1 } })).toThrow('Unrecognized key');
  });

  it('a data role allows its own actions on its own scope, and only to its holder', () => {
    const scope = '/subscriptions/s/resourceGroups/g/providers/Microsoft.EventHub/namespaces/n/eventhubs/h';
    const principalId = '5f0e5d0a-0000-4000-8000-000000000001';
    const name = '5f0e5d0a-0000-4000-8000-000000000002';
    const receiver =
      '/subscriptions/s/providers/Microsoft.Authorization/roleDefinitions/a638d3c7-ab3a-418d-83e6-5f17a39d4fde';
    const body = { properties: { roleDefinitionId: receiver, principalId, principalType: 'ServicePrincipal' } };
    const properties = roleAssignment(scope, name, body, []);
    const again = roleAssignment(scope, name, body, [{ name, properties }]);
    expect(again).toEqual({ ...properties, updatedOn: again.updatedOn });
    const other = '5f0e5d0a-0000-4000-8000-000000000003';
    expect(() => roleAssignment(scope, other, body, [{ name, properties }])).toThrow('already exists');
    const all = [{ scope, roleId: 'a638d3c7-ab3a-418d-83e6-5f17a39d4fde', principalId }];
    const receive = 'Microsoft.EventHub/namespaces/messages/receive/action';
    expect(allowed(all, principalId, receive, scope)).toBe(true);
    expect(allowed(all, principalId, 'Microsoft.EventHub/namespaces/messages/send/action', scope)).toBe(false);
    expect(allowed(all, principalId, receive, scope.replace('/h', '/other'))).toBe(false);
    expect(allowed(all, name, receive, scope)).toBe(false);
  });
});
