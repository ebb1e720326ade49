/** The resource types of IoT Hub and role assignments, as data for the ARM core. */

import { asObject, type Properties, Refusal } from '../arm/accept.ts';
import type { ArmKind, Asked, Stored } from '../arm/kind.ts';
import { roleAssignment } from './role-assignments.ts';
import { certificate, hub, shown } from './rules.ts';

export interface HubData {
  devices(registryId: string): { total: number; disabled: number };
  dropStream(streamId: string): void;
  dropHub(registryId: string): Promise<void>;
}

const parentHub = ({ parents, id }: Asked): Stored => {
  const [parent] = parents;
  if (!parent) throw new Refusal(404, 'ResourceNotFound', `The IoT hub of ${id} was not found.`);
  return parent;
};
const keysOf = ({ properties }: Stored): Record<string, unknown>[] => properties.authorizationPolicies as Properties[];

export const iotHubKinds = (data: HubData): ArmKind[] => [
  {
    type: 'Microsoft.Devices/IotHubs',
    tracked: true,
    statuses: { created: 201, updated: 201, deleted: 202 },
    longRunning: true,
    ifMatch: true,
    global: true,
    make: ({ name, tenant, body, before }) => hub(name, tenant, body, before),
    show: (made, provisioningState) => shown(made, provisioningState),
    actions: {
      listkeys: (stored) => ({ value: keysOf(stored) }),
      // GET IotHubStats
      iothubstats: (stored) => {
        const { total, disabled } = data.devices(String(stored.properties.registryId));
        return { totalDeviceCount: total, enabledDeviceCount: total - disabled, disabledDeviceCount: disabled };
      },
    },
    removed: async ({ properties }) => {
      data.dropStream(String(asObject(asObject(properties.eventHubEndpoints).events).streamId));
      await data.dropHub(String(properties.registryId));
    },
  },
  {
    type: 'Microsoft.Devices/IotHubs/certificates',
    tracked: false,
    statuses: { created: 201, updated: 200, deleted: 200 },
    longRunning: false,
    ifMatch: true,
    global: false,
    make: (asked) => {
      parentHub(asked);
      return certificate(asked.body, asked.before);
    },
  },
  {
    type: 'Microsoft.Devices/IotHubs/eventHubEndpoints/ConsumerGroups',
    tracked: false,
    statuses: { created: 200, updated: 200, deleted: 200 },
    longRunning: false,
    ifMatch: false,
    global: false,
    make: (asked) => {
      parentHub(asked);
      if (!/\/eventHubEndpoints\/events\//i.test(asked.id))
        throw new Refusal(400, '400001', 'The only built-in endpoint is "events".');
      const given = asObject(asked.body.properties);
      if (given.name !== asked.name) throw new Refusal(400, '400001', 'properties.name differs from the path.');
      return { properties: { created: new Date().toUTCString() } };
    },
  },
];

export const roleAssignmentKind: ArmKind = {
  type: 'Microsoft.Authorization/roleAssignments',
  tracked: false,
  statuses: { created: 201, updated: 201, deleted: 200 },
  longRunning: false,
  ifMatch: false,
  global: false,
  inherited: true,
  make: ({ id, name, body, list }) => {
    const scope = id.replace(/\/providers\/Microsoft\.Authorization\/roleAssignments\/[^/]+$/i, '');
    return { properties: roleAssignment(scope, name, body, list('Microsoft.Authorization/roleAssignments')) };
  },
};
