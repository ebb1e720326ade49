/** IoT Hub: the hub itself, the authority of its devices' certificates, readers of its built-in endpoint, and its routes. */
import { X509Certificate } from 'node:crypto';
import type { IotHubClient, IotHubDescription, IotHubProperties } from '@azure/arm-iothub';
import { retainedUntilTag, toTags } from '../../../model/names.ts';
import type { Call, Found, Observed, ResourceDriver } from '../driver.ts';
import type { AzureClients } from './clients.ts';
import { found } from './errors.ts';
import { goesWithItsParent } from './event-hubs.ts';
import { resourceGroupName } from './resource-group.ts';
import { ours, ownerOf, region, tagsOf } from './tags.ts';

/** Name of the custom endpoint and of the route to it. */
const telemetry = 'telemetry';
/** The built-in endpoint, by the names that ARM and routes have for it. */
const builtIn = { arm: 'events', route: 'events' };

export function iotHubDrivers(clients: AzureClients, deviceCa: string | undefined): ResourceDriver[] {
  const client = (call: Pick<Call, 'placement'>): IotHubClient => clients.iotHub(call.placement.account);
  const groupOf = (call: Call): string => resourceGroupName(call.placement);
  const hubOf = (name: string): string => name.split('/')[0] ?? '';
  const read = (name: string, call: Call): Promise<IotHubDescription | undefined> =>
    found(() => client(call).iotHubResource.get(groupOf(call), hubOf(name), { abortSignal: call.signal }));
  /** A PUT replaces the whole hub, so what is there is taken over, under the etag that was read. */
  const change = async (
    name: string,
    call: Call,
    edit: (hub: IotHubDescription, properties: IotHubProperties) => IotHubDescription,
  ): Promise<void> => {
    const hub = await read(name, call);
    if (!hub) return;
    const body = edit(hub, hub.properties ?? {});
    await client(call).iotHubResource.beginCreateOrUpdate(groupOf(call), hubOf(name), body, {
      ...(hub.etag === undefined ? {} : { ifMatch: hub.etag }),
      abortSignal: call.signal,
    });
  };

  const hub: ResourceDriver = {
    kind: 'azure.iothub.hub',
    immutable: ['location', 'partitions', 'minimumTlsVersion'],
    async observe(spec, call) {
      const seen = await read(spec.name, call);
      if (!seen?.id) return undefined;
      const { properties = {} } = seen;
      const events = properties.eventHubEndpoints?.[builtIn.arm];
      return {
        id: seen.id,
        owner: ownerOf(seen.tags),
        state: hubState(properties),
        properties: {
          location: region(seen.location),
          sku: seen.sku.name,
          units: seen.sku.capacity ?? 0,
          minimumTlsVersion: properties.minTlsVersion ?? '',
          localAuth: !(properties.disableLocalAuth ?? false),
          deviceKeys: !(properties.disableDeviceSAS ?? false),
          identity: seen.identity?.type ?? 'None',
          partitions: events?.partitionCount ?? 0,
          retentionDays: events?.retentionTimeInDays ?? 0,
          tags: tagsOf(seen.tags),
        },
        outputs: {
          id: seen.id,
          host: properties.hostName ?? `${spec.name}.azure-devices.net`,
          principalId: seen.identity?.principalId ?? '',
          eventsEndpoint: events?.endpoint ?? '',
          eventsPath: events?.path ?? '',
        },
        retainedUntil: seen.tags?.[retainedUntilTag],
      };
    },
    async create(spec, call) {
      const body = toHub(spec.desired, call);
      // No hub may exist yet: an update would need the etag, so a PUT without one is refused for an existing hub.
      await client(call).iotHubResource.beginCreateOrUpdate(groupOf(call), spec.name, body, {
        abortSignal: call.signal,
      });
    },
    async update(spec, _observed, drift, call) {
      if (drift.length === 1 && drift[0] === 'tags') {
        const tags = { ...(await read(spec.name, call))?.tags, ...toTags(call.placement.owner) };
        await client(call).iotHubResource.beginUpdate(groupOf(call), spec.name, { tags }, { abortSignal: call.signal });
        return;
      }
      const wanted = toHub(spec.desired, call);
      await change(spec.name, call, (seen, properties) => ({
        ...seen,
        sku: wanted.sku,
        ...(wanted.identity === undefined ? {} : { identity: wanted.identity }),
        tags: { ...seen.tags, ...wanted.tags },
        properties: {
          ...properties,
          ...wanted.properties,
          eventHubEndpoints: {
            ...properties.eventHubEndpoints,
            [builtIn.arm]: {
              ...properties.eventHubEndpoints?.[builtIn.arm],
              ...wanted.properties?.eventHubEndpoints?.[builtIn.arm],
            },
          },
        },
      }));
    },
    async remove(spec, _observed, call) {
      await found(() =>
        client(call).iotHubResource.beginDelete(groupOf(call), spec.name, { abortSignal: call.signal }),
      );
    },
    async list(call) {
      const all: Found[] = [];
      for await (const seen of client(call).iotHubResource.listBySubscription({ abortSignal: call.signal })) {
        const owner = ours(seen.tags, call.placement);
        if (owner && seen.id && seen.name && region(seen.location) === call.placement.region)
          all.push({
            kind: this.kind,
            name: seen.name,
            id: seen.id,
            owner,
            retainedUntil: seen.tags?.[retainedUntilTag],
          });
      }
      return all;
    },
    // The identities of devices exist nowhere else.
    store: {
      async isEmpty(spec, call) {
        const statistics = await client(call).iotHubResource.getStats(groupOf(call), spec.name, {
          abortSignal: call.signal,
        });
        return (statistics.totalDeviceCount ?? 0) === 0;
      },
      // Deleting the hub deletes its registry, in one call.
      empty: async () => true,
      async retain(spec, until, call) {
        const tags = { ...(await read(spec.name, call))?.tags, [retainedUntilTag]: until };
        await client(call).iotHubResource.beginUpdate(groupOf(call), spec.name, { tags }, { abortSignal: call.signal });
      },
    },
  };

  const certificate: ResourceDriver = {
    kind: 'azure.iothub.certificate',
    immutable: [],
    async observe(spec, call) {
      const [parent = '', name = ''] = spec.name.split('/');
      const seen = await found(() =>
        client(call).certificates.get(groupOf(call), parent, name, { abortSignal: call.signal }),
      );
      if (!seen?.id) return undefined;
      return {
        id: seen.id,
        owner: ownerOf((await read(spec.name, call))?.tags),
        state: 'ready',
        properties: {
          thumbprint: (seen.properties?.thumbprint ?? '').toUpperCase(),
          verified: seen.properties?.isVerified ?? false,
        },
        outputs: {},
      };
    },
    async create(spec, call) {
      const [parent = '', name = ''] = spec.name.split('/');
      const before = await found(() =>
        client(call).certificates.get(groupOf(call), parent, name, { abortSignal: call.signal }),
      );
      // Verified by this call: whoever may write the hub vouches for the authority, no proof of possession is asked.
      const content = Buffer.from(deviceCa ?? '').toString('base64');
      await client(call).certificates.createOrUpdate(
        groupOf(call),
        parent,
        name,
        { properties: { certificate: content, isVerified: true } },
        { ...(before?.etag === undefined ? {} : { ifMatch: before.etag }), abortSignal: call.signal },
      );
    },
    update: (spec, _observed, _drift, call) => certificate.create(spec, call),
    async remove(spec, _observed, call) {
      const [parent = '', name = ''] = spec.name.split('/');
      const seen = await found(() =>
        client(call).certificates.get(groupOf(call), parent, name, { abortSignal: call.signal }),
      );
      if (!seen?.etag) return;
      const { etag } = seen;
      await found(() =>
        client(call).certificates.delete(groupOf(call), parent, name, etag, { abortSignal: call.signal }),
      );
    },
    list: goesWithItsParent,
  };

  const readers: ResourceDriver = {
    kind: 'azure.iothub.consumer-group',
    immutable: [],
    async observe(spec, call) {
      const [parent = '', name = ''] = spec.name.split('/');
      const seen = await found(() =>
        client(call).iotHubResource.getEventHubConsumerGroup(groupOf(call), parent, builtIn.arm, name, {
          abortSignal: call.signal,
        }),
      );
      if (!seen?.id) return undefined;
      const owner = ownerOf((await read(spec.name, call))?.tags);
      return { id: seen.id, owner, state: 'ready', properties: {}, outputs: { group: name } };
    },
    async create(spec, call) {
      const [parent = '', name = ''] = spec.name.split('/');
      const body = { properties: { name } };
      await client(call).iotHubResource.createEventHubConsumerGroup(groupOf(call), parent, builtIn.arm, name, body, {
        abortSignal: call.signal,
      });
    },
    update: async () => {},
    async remove(spec, _observed, call) {
      const [parent = '', name = ''] = spec.name.split('/');
      await found(() =>
        client(call).iotHubResource.deleteEventHubConsumerGroup(groupOf(call), parent, builtIn.arm, name, {
          abortSignal: call.signal,
        }),
      );
    },
    list: goesWithItsParent,
  };

  /**
   * A part of the hub's own document, but a resource of its own here: an identity-based endpoint can only be made once the
   * hub has its identity and that identity its role, and must be gone before either is taken away.
   */
  const route: ResourceDriver = {
    kind: 'azure.iothub.route',
    immutable: [],
    async observe(spec, call) {
      const seen = await read(spec.name, call);
      const properties = seen?.properties ?? {};
      const { endpoints, routes = [], fallbackRoute } = properties.routing ?? {};
      const endpoint = endpoints?.eventHubs?.find(({ name }) => name === telemetry);
      if (!seen?.id || !endpoint) return undefined;
      return {
        id: `${seen.id}/routing/${telemetry}`,
        owner: ownerOf(seen.tags),
        state: hubState(properties),
        properties: {
          // ARM writes a trailing slash and the port in some versions.
          namespace: (endpoint.endpointUri ?? '').replace(/^sb:\/\//, '').replace(/[:/].*$/, ''),
          hub: endpoint.entityPath ?? '',
          authentication: endpoint.authenticationType ?? '',
          routes: routes
            .filter(({ isEnabled, source }) => isEnabled && source === 'DeviceMessages')
            .map(({ name, condition, endpointNames }) => `${name}: ${condition ?? 'true'} -> ${endpointNames.join()}`)
            .toSorted(),
          fallback: fallbackRoute?.isEnabled ?? false,
        },
        outputs: {},
      };
    },
    create: (spec, call) =>
      change(spec.name, call, (seen, properties) => ({
        ...seen,
        properties: {
          ...properties,
          routing: {
            ...properties.routing,
            endpoints: {
              ...properties.routing?.endpoints,
              eventHubs: [
                {
                  name: telemetry,
                  authenticationType: 'identityBased',
                  endpointUri: `sb://${String(spec.desired.namespace)}`,
                  entityPath: String(spec.desired.hub),
                  subscriptionId: call.placement.account,
                  resourceGroup: groupOf(call),
                },
              ],
            },
            routes: [deviceMessages(telemetry, telemetry), deviceMessages('built-in', builtIn.route)],
            fallbackRoute: { ...deviceMessages('$fallback', builtIn.route) },
          },
        },
      })),
    update: (spec, _observed, _drift, call) => route.create(spec, call),
    remove: (spec, _observed, call) =>
      change(spec.name, call, (seen, properties) => ({
        ...seen,
        properties: {
          ...properties,
          routing: {
            ...properties.routing,
            endpoints: { ...properties.routing?.endpoints, eventHubs: [] },
            routes: [],
          },
        },
      })),
    list: goesWithItsParent,
  };
  return [hub, certificate, readers, route];
}

const deviceMessages = (name: string, endpoint: string) => ({
  name,
  source: 'DeviceMessages',
  condition: 'true',
  endpointNames: [endpoint],
  isEnabled: true,
});

/** What the route must look like; the names of namespace and event hub are known before either exists. */
export const routeDesired = (namespace: string, hub: string) => ({
  namespace: `${namespace}.servicebus.windows.net`,
  hub,
  authentication: 'identityBased',
  routes: [`built-in: true -> ${builtIn.route}`, `${telemetry}: true -> ${telemetry}`],
  fallback: true,
});

/** SHA-1 over the DER encoding, as IoT Hub shows it. */
export const thumbprintOf = (pem: string): string => new X509Certificate(pem).fingerprint.replaceAll(':', '');

function hubState({ provisioningState, state }: IotHubProperties): Observed['state'] {
  if (state === 'Deleting' || provisioningState === 'Deleting') return 'deleting';
  if (provisioningState === 'Failed') return 'failed';
  return provisioningState === 'Succeeded' && state === 'Active' ? 'ready' : 'creating';
}

function toHub(desired: Record<string, unknown>, call: Call): IotHubDescription {
  return {
    location: call.placement.region,
    tags: toTags(call.placement.owner),
    sku: { name: String(desired.sku), capacity: Number(desired.units) },
    identity: { type: 'SystemAssigned' },
    properties: {
      minTlsVersion: '1.2',
      disableLocalAuth: true,
      disableDeviceSAS: true,
      disableModuleSAS: true,
      publicNetworkAccess: 'Enabled',
      eventHubEndpoints: {
        [builtIn.arm]: {
          retentionTimeInDays: Number(desired.retentionDays),
          partitionCount: Number(desired.partitions),
        },
      },
    },
  };
}
