/** Finds event hubs for the data plane among what was made through ARM. */

import { asObject } from '../arm/accept.ts';
import type { ArmReader, Stored } from '../arm/kind.ts';
import type { AccessKey, EventHub, Right } from './entities.ts';

const actions: Record<Right, string> = {
  Listen: 'Microsoft.EventHub/namespaces/messages/receive/action',
  Send: 'Microsoft.EventHub/namespaces/messages/send/action',
  Manage: 'Microsoft.EventHub/namespaces/messages/manage/action',
};
const under = (parent: string, id: string): boolean => id.toLowerCase().startsWith(`${parent.toLowerCase()}/`);
const hostOf = (namespace: string): string => `${namespace.toLowerCase()}.servicebus.windows.net`;

export function eventHubByHost(arm: ArmReader, host: string, name: string): EventHub | undefined {
  for (const namespace of arm.list('Microsoft.EventHub/namespaces'))
    if (hostOf(namespace.name) === host)
      for (const hub of arm.list('Microsoft.EventHub/namespaces/eventhubs'))
        if (under(namespace.id, hub.id) && hub.name.toLowerCase() === name.toLowerCase())
          return toEventHub(arm, namespace, hub);
  return undefined;
}

function toEventHub(arm: ArmReader, namespace: Stored, hub: Stored): EventHub {
  const { properties } = hub;
  const groups = [...arm.list('Microsoft.EventHub/namespaces/eventhubs/consumergroups')];
  return {
    id: String(properties.streamId),
    host: hostOf(namespace.name),
    name: hub.name,
    partitions: Number(properties.partitionCount),
    retentionMs: Number(asObject(properties.retentionDescription).retentionTimeInHours) * 3_600_000,
    createdMs: Date.parse(String(properties.createdAt)),
    consumerGroups: ['$Default', ...groups.filter(({ id }) => under(hub.id, id)).map(({ name }) => name)],
    keys: [
      ...keysOf(arm, 'Microsoft.EventHub/namespaces/authorizationRules', namespace.id, undefined),
      ...keysOf(arm, 'Microsoft.EventHub/namespaces/eventhubs/authorizationRules', hub.id, hub.name),
    ],
    localAuth: namespace.properties.disableLocalAuth !== true,
    allows: (principal, right) => arm.allows(principal, actions[right], hub.id),
  };
}

function keysOf(arm: ArmReader, type: string, parent: string, entity: string | undefined): AccessKey[] {
  return [...arm.list(type)]
    .filter(({ id }) => under(parent, id))
    .map(({ name, properties }) => ({
      name,
      primary: String(properties.primaryKey),
      secondary: String(properties.secondaryKey),
      rights: properties.rights as AccessKey['rights'],
      entity,
    }));
}
