/**
 * A storage account with one container, for `storage` and `data_lake`. Shared keys are off: the worker reads and writes by a
 * role on the account, given to it here.
 */
import type { BlobServiceProperties, StorageAccount } from '@azure/arm-storage';
import { resourceName, retainedUntilTag, toTags } from '../../../model/names.ts';
import type { JsonObject, Placement, ResourceSpec } from '../../../model/service.ts';
import type { Call, Found, ResourceDriver } from '../driver.ts';
import type { AzureClients } from './clients.ts';
import { found } from './errors.ts';
import { hasZones } from './regions.ts';
import { resourceGroupName, stateOf } from './resource-group.ts';
import { roleSpec, worker } from './role-assignment.ts';
import { containerDriver } from './storage-container.ts';
import { lifecycleDriver, lifecycleSpec } from './storage-lifecycle.ts';
import { ours, ownerOf, region, tagsOf } from './tags.ts';

/** Deleted blobs, versions and containers can be brought back for so long. */
const restorableDays = 14;

/** 3 to 24 lower case letters and digits, unique in all of Azure. */
export const accountName = (placement: Placement): string => resourceName(placement, { limit: 24, separator: '' });

/** The one container that a cell makes and reads. */
export const containerName = ({ type }: Placement): string => (type === 'data_lake' ? 'lake' : 'objects');

/** All but the resource group, which the cell makes for all that it has. */
export function storageSpecs(placement: Placement, retentionDays: number | undefined): ResourceSpec[] {
  const name = accountName(placement);
  return [
    {
      key: 'account',
      kind: 'azure.storage.account',
      name,
      needs: ['group'],
      desired: {
        location: placement.region,
        sku: hasZones(placement.region) ? 'Standard_ZRS' : 'Standard_LRS',
        kind: 'StorageV2',
        hierarchicalNamespace: false,
        infrastructureEncryption: true,
        httpsOnly: true,
        minimumTlsVersion: 'TLS1_2',
        publicBlobs: false,
        sharedKeys: false,
        crossTenantReplication: false,
        versioning: true,
        changeFeed: true,
        restorableDays,
        tags: toTags(placement.owner),
      },
      holdsData: true,
    },
    roleSpec(placement, 'worker-stores', 'Storage Blob Data Contributor', 'account', worker),
    {
      key: 'container',
      kind: 'azure.storage.container',
      name: `${name}/${containerName(placement)}`,
      // Looking into it takes the role, so the role leaves after it.
      needs: ['account', 'worker-stores'],
      desired: { publicAccess: 'None' },
      holdsData: true,
    },
    lifecycleSpec(name, retentionDays),
  ];
}

export function storageDrivers(clients: AzureClients): ResourceDriver[] {
  return [accountDriver(clients), containerDriver(clients), lifecycleDriver(clients)];
}

function accountDriver(clients: AzureClients): ResourceDriver {
  const client = (call: Pick<Call, 'placement'>) => clients.storage(call.placement.account);
  const read = (name: string, call: Call): Promise<StorageAccount | undefined> =>
    found(() =>
      client(call).storageAccounts.getProperties(resourceGroupName(call.placement), name, { abortSignal: call.signal }),
    );
  const containers = async (name: string, call: Call): Promise<string[]> => {
    const names: string[] = [];
    const group = resourceGroupName(call.placement);
    for await (const one of client(call).blobContainers.list(group, name, { abortSignal: call.signal }))
      if (one.name) names.push(one.name);
    return names;
  };

  return {
    kind: 'azure.storage.account',
    immutable: ['location', 'kind', 'hierarchicalNamespace', 'infrastructureEncryption'],
    async observe(spec, call) {
      const seen = await read(spec.name, call);
      if (!seen?.id) return undefined;
      const state = stateOf(seen.provisioningState);
      const service =
        state === 'ready'
          ? await found(() =>
              client(call).blobServices.getServiceProperties(resourceGroupName(call.placement), spec.name, {
                abortSignal: call.signal,
              }),
            )
          : undefined;
      return {
        id: seen.id,
        owner: ownerOf(seen.tags),
        state,
        properties: { ...accountProperties(seen), ...serviceProperties(service), tags: tagsOf(seen.tags) },
        outputs: { id: seen.id, name: spec.name, url: `https://${spec.name}.blob.core.windows.net/` },
        retainedUntil: seen.tags?.[retainedUntilTag],
      };
    },
    // What protects blobs is set by the update that follows as soon as the account is ready: it has a document of its own.
    async create(spec, call) {
      await client(call).storageAccounts.beginCreate(
        resourceGroupName(call.placement),
        spec.name,
        {
          location: call.placement.region,
          kind: 'StorageV2',
          sku: { name: String(spec.desired.sku) },
          tags: toTags(call.placement.owner),
          ...protection,
          encryption: {
            keySource: 'Microsoft.Storage',
            requireInfrastructureEncryption: true,
            services: { blob: { enabled: true, keyType: 'Account' }, file: { enabled: true, keyType: 'Account' } },
          },
        },
        { abortSignal: call.signal },
      );
    },
    async update(spec, _observed, drift, call) {
      const group = resourceGroupName(call.placement);
      if (drift.some((property) => property in serviceDesired))
        await client(call).blobServices.setServiceProperties(group, spec.name, blobProtection, {
          abortSignal: call.signal,
        });
      if (drift.every((property) => property in serviceDesired)) return;
      await client(call).storageAccounts.update(
        group,
        spec.name,
        {
          sku: { name: String(spec.desired.sku) },
          ...protection,
          tags: { ...(await read(spec.name, call))?.tags, ...toTags(call.placement.owner) },
        },
        { abortSignal: call.signal },
      );
    },
    async remove(spec, _observed, call) {
      const group = resourceGroupName(call.placement);
      await found(() => client(call).storageAccounts.delete(group, spec.name, { abortSignal: call.signal }));
    },
    async list(call) {
      const all: Found[] = [];
      for await (const seen of client(call).storageAccounts.list({ abortSignal: call.signal })) {
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
    store: {
      // Asked of ARM, which needs no right on the content.
      isEmpty: async (spec, call) => (await containers(spec.name, call)).length === 0,
      async empty(spec, call) {
        const group = resourceGroupName(call.placement);
        for (const name of await containers(spec.name, call))
          await found(() => client(call).blobContainers.delete(group, spec.name, name, { abortSignal: call.signal }));
        return true;
      },
      async retain(spec, until, call) {
        const tags = { ...(await read(spec.name, call))?.tags, [retainedUntilTag]: until };
        const group = resourceGroupName(call.placement);
        await client(call).storageAccounts.update(group, spec.name, { tags }, { abortSignal: call.signal });
      },
    },
  };
}

/**
 * Who may come in. The network stays open to workers and devices anywhere: without shared keys and public blobs, nothing
 * is answered to whoever has no Entra identity with a role on it.
 */
const protection = {
  enableHttpsTrafficOnly: true,
  minimumTlsVersion: 'TLS1_2',
  allowBlobPublicAccess: false,
  allowSharedKeyAccess: false,
  allowCrossTenantReplication: false,
  publicNetworkAccess: 'Enabled',
  networkRuleSet: { defaultAction: 'Allow', bypass: 'AzureServices' },
} as const;

const restorable = { enabled: true, days: restorableDays };
const blobProtection: BlobServiceProperties = {
  isVersioningEnabled: true,
  changeFeed: { enabled: true },
  deleteRetentionPolicy: restorable,
  containerDeleteRetentionPolicy: restorable,
};
const serviceDesired = { versioning: true, changeFeed: true, restorableDays };

const accountProperties = (seen: StorageAccount): JsonObject => ({
  location: region(seen.location),
  sku: seen.sku?.name ?? '',
  kind: seen.kind ?? '',
  hierarchicalNamespace: seen.isHnsEnabled ?? false,
  infrastructureEncryption: seen.encryption?.requireInfrastructureEncryption ?? false,
  httpsOnly: seen.enableHttpsTrafficOnly ?? false,
  minimumTlsVersion: seen.minimumTlsVersion ?? '',
  // Both are allowed unless it says otherwise.
  publicBlobs: seen.allowBlobPublicAccess ?? true,
  sharedKeys: seen.allowSharedKeyAccess ?? true,
  crossTenantReplication: seen.allowCrossTenantReplication ?? true,
});

const serviceProperties = (service: BlobServiceProperties | undefined): JsonObject => {
  const days = [service?.deleteRetentionPolicy, service?.containerDeleteRetentionPolicy].map((policy) =>
    policy?.enabled ? (policy.days ?? 0) : 0,
  );
  return {
    versioning: service?.isVersioningEnabled ?? false,
    changeFeed: service?.changeFeed?.enabled ?? false,
    restorableDays: Math.min(...days),
  };
};
