/** Drivers of Event Hubs: namespace, event hub, consumer group. */
import type { EHNamespace, EventHubManagementClient } from '@azure/arm-eventhub';
import { CloudError } from '../../../model/errors.ts';
import { toTags } from '../../../model/names.ts';
import type { Placement } from '../../../model/service.ts';
import type { Call, Found, Observed, ResourceDriver } from '../driver.ts';
import type { AzureClients } from './clients.ts';
import { found } from './errors.ts';
import { goesWithItsParent, type StreamLoad, streamSize } from './event-hubs.ts';
import { resourceGroupName, stateOf } from './resource-group.ts';
import { ours, ownerOf, region, tagsOf } from './tags.ts';

type LoadOf = (placement: Placement) => StreamLoad;
const split = (name: string): [string, string, string] => {
  const [namespace = '', hub = '', group = ''] = name.split('/');
  return [namespace, hub, group];
};
export function eventHubDrivers(clients: AzureClients, loadOf: LoadOf): ResourceDriver[] {
  const client = (call: Pick<Call, 'placement'>): EventHubManagementClient => clients.eventHub(call.placement.account);
  const groupOf = (call: Call): string => resourceGroupName(call.placement);
  const readNamespace = (name: string, call: Call): Promise<EHNamespace | undefined> =>
    found(() => client(call).namespaces.get(groupOf(call), name, { abortSignal: call.signal }));
  /** Children carry no tags: they belong to whoever owns the namespace. */
  const parentOwner = async (name: string, call: Call): Promise<Observed['owner']> =>
    ownerOf((await readNamespace(split(name)[0], call))?.tags);

  const namespace: ResourceDriver = {
    kind: 'azure.eventhub.namespace',
    immutable: ['location'],
    async observe(spec, call) {
      const seen = await readNamespace(spec.name, call);
      if (!seen?.id) return undefined;
      return {
        id: seen.id,
        owner: ownerOf(seen.tags),
        state: stateOf(seen.provisioningState),
        properties: {
          location: region(seen.location),
          sku: seen.sku?.name ?? '',
          autoInflate: seen.isAutoInflateEnabled ?? false,
          maxUnits: seen.maximumThroughputUnits ?? 0,
          minimumTlsVersion: seen.minimumTlsVersion ?? '',
          localAuth: !(seen.disableLocalAuth ?? false),
          tags: tagsOf(seen.tags),
          // Grown by auto-inflate: reported, never compared.
          units: seen.sku?.capacity ?? 0,
        },
        outputs: { id: seen.id, host: `${spec.name}.servicebus.windows.net` },
      };
    },
    async create(spec, call) {
      // A PUT would take over what is there, whoever made it; the service knows no "only if there is none".
      if (await readNamespace(spec.name, call)) throw alreadyExists(this.kind, spec.name);
      const { units, maxUnits } = streamSize(loadOf(call.placement));
      await client(call).namespaces.beginCreateOrUpdate(
        groupOf(call),
        spec.name,
        {
          location: call.placement.region,
          tags: toTags(call.placement.owner),
          sku: { name: 'Standard', tier: 'Standard', capacity: units },
          isAutoInflateEnabled: true,
          maximumThroughputUnits: maxUnits,
          minimumTlsVersion: '1.2',
          disableLocalAuth: true,
          publicNetworkAccess: 'Enabled',
        },
        { abortSignal: call.signal },
      );
    },
    async update(spec, observed, _drift, call) {
      const { maxUnits, units } = streamSize(loadOf(call.placement));
      const seen = await readNamespace(spec.name, call);
      // PATCH merges; the capacity is kept as it has grown, but lies within the new bound.
      const capacity = Math.min(maxUnits, Math.max(units, seen?.sku?.capacity ?? units));
      await client(call).namespaces.update(
        groupOf(call),
        spec.name,
        {
          location: String(observed.properties.location),
          tags: { ...seen?.tags, ...toTags(call.placement.owner) },
          sku: { name: 'Standard', tier: 'Standard', capacity },
          isAutoInflateEnabled: true,
          maximumThroughputUnits: maxUnits,
          minimumTlsVersion: '1.2',
          disableLocalAuth: true,
        },
        { abortSignal: call.signal },
      );
    },
    async remove(spec, _observed, call) {
      await found(() => client(call).namespaces.beginDelete(groupOf(call), spec.name, { abortSignal: call.signal }));
    },
    async list(call) {
      const all: Found[] = [];
      for await (const seen of client(call).namespaces.list({ abortSignal: call.signal })) {
        const owner = ours(seen.tags, call.placement);
        if (owner && seen.id && seen.name && region(seen.location) === call.placement.region)
          all.push({ kind: this.kind, name: seen.name, id: seen.id, owner });
      }
      return all;
    },
  };

  const hub: ResourceDriver = {
    kind: 'azure.eventhub.hub',
    // The standard tier takes the number of partitions once.
    immutable: ['partitions'],
    async observe(spec, call) {
      const [parent, name] = split(spec.name);
      const seen = await found(() =>
        client(call).eventHubs.get(groupOf(call), parent, name, { abortSignal: call.signal }),
      );
      if (!seen?.id) return undefined;
      return {
        id: seen.id,
        owner: await parentOwner(spec.name, call),
        state: seen.status === 'Active' ? 'ready' : seen.status === 'Deleting' ? 'deleting' : 'creating',
        properties: {
          partitions: seen.partitionCount ?? 0,
          retentionHours: seen.retentionDescription?.retentionTimeInHours ?? (seen.messageRetentionInDays ?? 0) * 24,
        },
        outputs: { id: seen.id, namespace: `${parent}.servicebus.windows.net`, hub: name },
      };
    },
    async create(spec, call) {
      const [parent, name] = split(spec.name);
      const body = toHub(spec.desired.partitions, spec.desired.retentionHours);
      await client(call).eventHubs.createOrUpdate(groupOf(call), parent, name, body, { abortSignal: call.signal });
    },
    async update(spec, observed, _drift, call) {
      const [parent, name] = split(spec.name);
      const body = toHub(observed.properties.partitions, spec.desired.retentionHours);
      await client(call).eventHubs.createOrUpdate(groupOf(call), parent, name, body, { abortSignal: call.signal });
    },
    async remove(spec, _observed, call) {
      const [parent, name] = split(spec.name);
      await found(() => client(call).eventHubs.delete(groupOf(call), parent, name, { abortSignal: call.signal }));
    },
    list: goesWithItsParent,
  };

  const readers: ResourceDriver = {
    kind: 'azure.eventhub.consumer-group',
    immutable: [],
    async observe(spec, call) {
      const [parent, name, group] = split(spec.name);
      const seen = await found(() =>
        client(call).consumerGroups.get(groupOf(call), parent, name, group, { abortSignal: call.signal }),
      );
      if (!seen?.id) return undefined;
      return {
        id: seen.id,
        owner: await parentOwner(spec.name, call),
        state: 'ready',
        properties: { metadata: seen.userMetadata ?? '' },
        outputs: { group },
      };
    },
    async create(spec, call) {
      const [parent, name, group] = split(spec.name);
      const body = { userMetadata: String(spec.desired.metadata) };
      await client(call).consumerGroups.createOrUpdate(groupOf(call), parent, name, group, body, {
        abortSignal: call.signal,
      });
    },
    update: (spec, _observed, _drift, call) => readers.create(spec, call),
    async remove(spec, _observed, call) {
      const [parent, name, group] = split(spec.name);
      await found(() =>
        client(call).consumerGroups.delete(groupOf(call), parent, name, group, { abortSignal: call.signal }),
      );
    },
    list: goesWithItsParent,
  };
  return [namespace, hub, readers];
}

const alreadyExists = (kind: string, resource: string): CloudError =>
  new CloudError({ kind: 'AlreadyExists', provider: 'azure', operation: `${kind} create`, resource });

const toHub = (partitions: unknown, retentionHours: unknown) => ({
  partitionCount: Number(partitions),
  retentionDescription: { cleanupPolicy: 'Delete', retentionTimeInHours: Number(retentionHours) },
});
