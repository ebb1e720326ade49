/** The IoT hub: registry of the devices, their connections, and the built-in endpoint that keeps what they last said. */
import type { IotHubDescription } from '@azure/arm-iothub';
import { retainedUntilTag, toTags } from '../../../model/names.ts';
import type { Call, Found, ResourceDriver } from '../driver.ts';
import type { AzureClients } from './clients.ts';
import { found } from './errors.ts';
import { builtIn, hubState, IotHubs } from './iot-hub-document.ts';
import { ours, ownerOf, region, tagsOf } from './tags.ts';

export function iotHubDriver(clients: AzureClients): ResourceDriver {
  const hubs = new IotHubs(clients);
  return {
    kind: 'azure.iothub.hub',
    immutable: ['location', 'partitions', 'minimumTlsVersion'],
    async observe(spec, call) {
      const seen = await hubs.read(spec.name, call);
      if (!seen?.id) return undefined;
      const { properties = {} } = seen;
      const events = properties.eventHubEndpoints?.[builtIn];
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
      await hubs.client(call).iotHubResource.beginCreateOrUpdate(hubs.group(call), spec.name, body, {
        abortSignal: call.signal,
      });
    },
    async update(spec, _observed, drift, call) {
      if (drift.length === 1 && drift[0] === 'tags') {
        const tags = { ...(await hubs.read(spec.name, call))?.tags, ...toTags(call.placement.owner) };
        await hubs
          .client(call)
          .iotHubResource.beginUpdate(hubs.group(call), spec.name, { tags }, { abortSignal: call.signal });
        return;
      }
      const wanted = toHub(spec.desired, call);
      await hubs.change(spec.name, call, (seen, properties) => ({
        ...seen,
        sku: wanted.sku,
        ...(wanted.identity === undefined ? {} : { identity: wanted.identity }),
        tags: { ...seen.tags, ...wanted.tags },
        properties: {
          ...properties,
          ...wanted.properties,
          eventHubEndpoints: {
            ...properties.eventHubEndpoints,
            [builtIn]: {
              ...properties.eventHubEndpoints?.[builtIn],
              ...wanted.properties?.eventHubEndpoints?.[builtIn],
            },
          },
        },
      }));
    },
    async remove(spec, _observed, call) {
      await found(() =>
        hubs.client(call).iotHubResource.beginDelete(hubs.group(call), spec.name, { abortSignal: call.signal }),
      );
    },
    async list(call) {
      const all: Found[] = [];
      for await (const seen of hubs.client(call).iotHubResource.listBySubscription({ abortSignal: call.signal })) {
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
        const statistics = await hubs.client(call).iotHubResource.getStats(hubs.group(call), spec.name, {
          abortSignal: call.signal,
        });
        return (statistics.totalDeviceCount ?? 0) === 0;
      },
      // Deleting the hub deletes its registry, in one call.
      empty: async () => true,
      async retain(spec, until, call) {
        const tags = { ...(await hubs.read(spec.name, call))?.tags, [retainedUntilTag]: until };
        await hubs
          .client(call)
          .iotHubResource.beginUpdate(hubs.group(call), spec.name, { tags }, { abortSignal: call.signal });
      },
    },
  };
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
        [builtIn]: {
          retentionTimeInDays: Number(desired.retentionDays),
          partitionCount: Number(desired.partitions),
        },
      },
    },
  };
}
