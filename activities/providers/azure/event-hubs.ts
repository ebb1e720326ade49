/**
 * Event Hubs: namespace, event hub, consumer group. A stream is a buffer between producers and the lake or the rules that
 * read it, bounded by its retention; what must be kept is written to a store, so none of these kinds holds data.
 */
import type { EHNamespace, EventHubManagementClient } from '@azure/arm-eventhub';
import { resourceName, toTags } from '../../../model/names.ts';
import type { Placement, ResourceSpec } from '../../../model/service.ts';
import type { Call, Check, Found, Observed, ResourceDriver } from '../driver.ts';
import type { AzureClients } from './clients.ts';
import { found } from './errors.ts';
import { resourceGroupName, stateOf } from './resource-group.ts';
import { ours, ownerOf, region, tagsOf } from './tags.ts';

/**
 * Standard tier, https://learn.microsoft.com/azure/event-hubs/event-hubs-quotas (2026-11-24): one throughput unit takes
 * 1 MB/s or 1000 events/s in; 40 units a namespace; 32 partitions and 7 days of retention an event hub.
 */
export const standardTier = {
  mbytesPerUnit: 1,
  eventsPerUnit: 1000,
  maxUnits: 40,
  maxPartitions: 32,
  maxRetentionDays: 7,
};

/** Load on a stream: at its peak, and what it carries on average, from which it starts. */
export interface StreamLoad {
  peakMbytesPerSecond: number;
  peakEventsPerSecond: number;
  averageMbytesPerSecond: number;
  retentionDays: number;
}

const unitsFor = (mbytes: number, events: number): number =>
  Math.min(
    standardTier.maxUnits,
    Math.max(1, Math.ceil(mbytes / standardTier.mbytesPerUnit), Math.ceil(events / standardTier.eventsPerUnit)),
  );

/** Units to start with and to grow to; auto-inflate never shrinks again. */
export function streamSize(load: StreamLoad): { units: number; maxUnits: number } {
  const maxUnits = Math.max(2, unitsFor(load.peakMbytesPerSecond, load.peakEventsPerSecond));
  return { units: Math.min(maxUnits, unitsFor(load.averageMbytesPerSecond, 0)), maxUnits };
}

export const streamRetentionDays = (days: number): number => Math.min(days, standardTier.maxRetentionDays);

const namespaceName = (placement: Placement): string => resourceName(placement, { limit: 50 });

/**
 * The specs of a namespace with one event hub that the consumer group `multi-cloud` reads. Nested names are
 * `<namespace>/<hub>`, as in ARM. Partitions cost nothing and can never change, so they do not follow the load.
 */
export function streamSpecs(
  placement: Placement,
  hub: { name: string; partitions: number },
  load: StreamLoad,
): ResourceSpec[] {
  const namespace = namespaceName(placement);
  return [
    {
      key: 'namespace',
      kind: 'azure.eventhub.namespace',
      name: namespace,
      needs: ['group'],
      desired: {
        location: placement.region,
        sku: 'Standard',
        autoInflate: true,
        maxUnits: streamSize(load).maxUnits,
        minimumTlsVersion: '1.2',
        localAuth: false,
        tags: toTags(placement.owner),
      },
      holdsData: false,
    },
    {
      key: 'stream',
      kind: 'azure.eventhub.hub',
      name: `${namespace}/${hub.name}`,
      needs: ['namespace'],
      desired: { partitions: hub.partitions, retentionHours: streamRetentionDays(load.retentionDays) * 24 },
      holdsData: false,
    },
    {
      key: 'stream-readers',
      kind: 'azure.eventhub.consumer-group',
      name: `${namespace}/${hub.name}/multi-cloud`,
      needs: ['stream'],
      desired: { metadata: 'readers of multi-cloud' },
      holdsData: false,
    },
  ];
}

export function namespaceChecks(namespace: Observed | undefined): Check[] {
  const resource = `Event Hubs ${namespace?.id.split('/').at(-1) ?? ''}`;
  const { minimumTlsVersion, localAuth } = namespace?.properties ?? {};
  const encrypted = { ok: namespace !== undefined, found: 'Microsoft-managed keys, always on' };
  const keyless = {
    ok: localAuth === false,
    found: localAuth === false ? 'Entra identities only' : 'takes shared keys',
  };
  return [
    { name: 'encryption at rest', resource, ...encrypted },
    { name: 'TLS only', resource, ok: minimumTlsVersion === '1.2', found: `at least TLS ${String(minimumTlsVersion)}` },
    { name: 'no public access', resource, ...keyless },
  ];
}

export const streamPermissions = {
  do: [
    'Microsoft.EventHub/namespaces/write',
    'Microsoft.EventHub/namespaces/eventhubs/write',
    'Microsoft.EventHub/namespaces/eventhubs/consumergroups/write',
    'Microsoft.Authorization/roleAssignments/write',
  ],
  undo: [
    'Microsoft.EventHub/namespaces/delete',
    'Microsoft.EventHub/namespaces/eventhubs/delete',
    'Microsoft.EventHub/namespaces/eventhubs/consumergroups/delete',
    'Microsoft.Authorization/roleAssignments/delete',
  ],
};

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

/** Untagged children cannot outlive the tagged resource that they are part of: finding that one finds them. */
export const goesWithItsParent = async (): Promise<Found[]> => [];

const toHub = (partitions: unknown, retentionHours: unknown) => ({
  partitionCount: Number(partitions),
  retentionDescription: { cleanupPolicy: 'Delete', retentionTimeInHours: Number(retentionHours) },
});
