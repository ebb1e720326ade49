/** Finds IoT hubs and their built-in endpoints for the data planes among what was made through ARM. */

import { asObject } from '../arm/accept.ts';
import type { ArmReader, Stored } from '../arm/kind.ts';
import { eventHubByHost } from '../event-hubs/directory.ts';
import type { Directory, EventHub } from '../event-hubs/entities.ts';
import type { HubDirectory, IotHub, Policy, PolicyRight } from './entities.ts';
import type { Routing } from './rules.ts';

const type = 'Microsoft.Devices/IotHubs';
const day = 24 * 3_600_000;
const under = (parent: string, id: string): boolean => id.toLowerCase().startsWith(`${parent.toLowerCase()}/`);

export const hubDirectory = (arm: ArmReader): HubDirectory => ({
  find(host) {
    for (const hub of arm.list(type)) if (hub.properties.hostName === host.toLowerCase()) return toHub(arm, hub);
    return undefined;
  },
});

/** Every event hub: those of namespaces, and the built-in endpoint of each IoT hub. */
export const eventHubDirectory = (arm: ArmReader): Directory => ({
  find(host, name) {
    const own = eventHubByHost(arm, host, name);
    if (own) return own;
    for (const hub of arm.list(type)) {
      const builtIn = builtInOf(arm, hub);
      if (builtIn.host === host && builtIn.name.toLowerCase() === name.toLowerCase()) return builtIn;
    }
    return undefined;
  },
});

function builtInOf(arm: ArmReader, hub: Stored): EventHub {
  const events = asObject(asObject(hub.properties.eventHubEndpoints).events);
  const groups = [...arm.list(`${type}/eventHubEndpoints/ConsumerGroups`)];
  return {
    id: String(events.streamId),
    host: String(events.endpoint)
      .replace(/^sb:\/\//, '')
      .replace(/\/$/, ''),
    name: String(events.path),
    partitions: Number(events.partitionCount),
    retentionMs: Number(events.retentionTimeInDays) * day,
    createdMs: Date.parse(String(hub.properties.createdAt)),
    consumerGroups: ['$Default', ...groups.filter(({ id }) => under(hub.id, id)).map(({ name }) => name)],
    keys: policiesOf(hub)
      .filter(({ rights }) => rights.includes('ServiceConnect'))
      .map(({ name, primary, secondary }) => ({ name, primary, secondary, rights: ['Listen'] })),
    localAuth: hub.properties.disableLocalAuth !== true,
    allows: () => false,
  };
}

function policiesOf(hub: Stored): Policy[] {
  const all = hub.properties.authorizationPolicies as {
    keyName: string;
    primaryKey: string;
    secondaryKey: string;
    rights: string;
  }[];
  return all.map(({ keyName, primaryKey, secondaryKey, rights }) => ({
    name: keyName,
    primary: primaryKey,
    secondary: secondaryKey,
    rights: rights.split(', ') as PolicyRight[],
  }));
}

function toHub(arm: ArmReader, hub: Stored): IotHub {
  const { properties } = hub;
  const routing = properties.routing as Routing;
  const identity = String(asObject(asObject(arm.get(hub.id)).identity).principalId ?? '');
  const certificates = [...arm.list(`${type}/certificates`)].filter(({ id }) => under(hub.id, id));
  return {
    id: String(properties.registryId),
    host: String(properties.hostName),
    name: hub.name,
    policies: policiesOf(hub),
    localAuth: properties.disableLocalAuth !== true,
    deviceKeys: properties.disableDeviceSAS !== true,
    maxDevices: asObject(asObject(arm.get(hub.id)).sku).name === 'F1' ? 500 : 1_000_000,
    authorities: certificates
      .filter((one) => one.properties.isVerified === true)
      .map((one) => pemOf(String(one.properties.certificate))),
    routes: routing.routes
      .filter(({ source }) => source === 'DeviceMessages')
      .map(({ name, isEnabled, endpointNames }) => ({ name, enabled: isEnabled, endpoints: endpointNames })),
    fallback: routing.fallbackRoute?.isEnabled ?? false,
    builtIn: builtInOf(arm, hub),
    endpoint(name) {
      const found = routing.endpoints.eventHubs.find((one) => one.name === name);
      if (!found) return undefined;
      const address = found.endpointUri ?? /Endpoint=([^;]+)/.exec(found.connectionString ?? '')?.[1] ?? '';
      const path = found.entityPath ?? /EntityPath=([^;]+)/.exec(found.connectionString ?? '')?.[1] ?? '';
      const target = eventHubByHost(
        arm,
        address
          .replace(/^sb:\/\//, '')
          .replace(/\/$/, '')
          .toLowerCase(),
        path,
      );
      if (!target || found.authenticationType === 'keyBased') return target;
      return target.allows(identity, 'Send') ? target : undefined;
    },
    allows: (principal, action) => arm.allows(principal, `Microsoft.Devices/${action}`, hub.id),
  };
}

/** Base64 of the PEM or of the DER encoding, or the PEM itself. */
function pemOf(certificate: string): string {
  if (certificate.includes('-----BEGIN')) return certificate;
  const bytes = Buffer.from(certificate, 'base64');
  if (bytes.includes('-----BEGIN')) return bytes.toString();
  return `-----BEGIN CERTIFICATE-----\n${bytes.toString('base64').replace(/.{64}/g, '$&\n')}\n-----END CERTIFICATE-----\n`;
}
