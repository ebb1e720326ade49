/** A blob container. It takes no tags: it belongs to whoever owns its account. */
import type { BlobContainer } from '@azure/arm-storage';
import { CloudError } from '../../../model/errors.ts';
import type { Call, ResourceDriver } from '../driver.ts';
import type { AzureClients } from './clients.ts';
import { found, isKind } from './errors.ts';
import { goesWithItsParent } from './event-hubs.ts';
import { ownerOfScope, resourceGroupName } from './resource-group.ts';

/** Metadata names are identifiers, so the tag's name does not fit. */
const retainedUntil = 'retained_until';

export const splitName = (name: string): [string, string] => {
  const [account = '', container = ''] = name.split('/');
  return [account, container];
};

export function containerDriver(clients: AzureClients): ResourceDriver {
  const operations = (call: Call) => clients.storage(call.placement.account).blobContainers;
  const read = (name: string, call: Call): Promise<BlobContainer | undefined> =>
    found(() =>
      operations(call).get(resourceGroupName(call.placement), ...splitName(name), { abortSignal: call.signal }),
    );
  const write = async (name: string, body: BlobContainer, call: Call): Promise<void> => {
    const group = resourceGroupName(call.placement);
    await operations(call).update(group, ...splitName(name), body, { abortSignal: call.signal });
  };

  return {
    kind: 'azure.storage.container',
    immutable: [],
    async observe(spec, call) {
      const seen = await read(spec.name, call);
      if (!seen?.id || seen.deleted) return undefined;
      return {
        id: seen.id,
        owner: await ownerOfScope(clients, seen.id, call),
        state: 'ready',
        properties: { publicAccess: seen.publicAccess ?? 'None' },
        outputs: { id: seen.id, name: splitName(spec.name)[1] },
        retainedUntil: seen.metadata?.[retainedUntil],
      };
    },
    async create(spec, call) {
      const group = resourceGroupName(call.placement);
      await operations(call).create(
        group,
        ...splitName(spec.name),
        { publicAccess: 'None' },
        { abortSignal: call.signal },
      );
    },
    update: (spec, _observed, _drift, call) => write(spec.name, { publicAccess: 'None' }, call),
    async remove(spec, _observed, call) {
      const group = resourceGroupName(call.placement);
      await found(() => operations(call).delete(group, ...splitName(spec.name), { abortSignal: call.signal }));
    },
    list: goesWithItsParent,
    store: {
      async isEmpty(spec, call) {
        const container = clients.container(...splitName(spec.name));
        try {
          const pages = container
            .listBlobsFlat({ includeVersions: true, includeSnapshots: true, abortSignal: call.signal })
            .byPage({ maxPageSize: 1 });
          for await (const page of pages) if (page.segment.blobItems.length > 0) return false;
          return true;
        } catch (error) {
          if (!isKind(error, 'PermissionDenied')) throw error;
          // The role went with an earlier removal that kept this store: what cannot be looked into is not taken for empty.
          if (!call.needs['worker-stores']?.principalId) return false;
          throw new CloudError(
            { kind: 'Unavailable', provider: 'azure', operation: 'List Blobs', resource: spec.name },
            "the worker's role has not reached the data plane yet, which takes some minutes",
          );
        }
      },
      // Deleting the container deletes all blobs and versions, in one call and at no cost for each of them.
      empty: async () => true,
      async retain(spec, until, call) {
        const metadata = { ...(await read(spec.name, call))?.metadata, [retainedUntil]: until };
        await write(spec.name, { metadata }, call);
      },
    },
  };
}
