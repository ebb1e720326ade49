/**
 * The resource group of a placement: its first resource and its last. Deleting one deletes whatever is in it, so it is
 * only ever removed empty; every other resource is removed by itself before.
 */
import type { ResourceGroup } from '@azure/arm-resources';
import { CloudError } from '../../../model/errors.ts';
import { resourceName, retainedUntilTag, soughtTag, toTags } from '../../../model/names.ts';
import type { Owner, Placement, ResourceSpec } from '../../../model/service.ts';
import type { Call, Found, Observed, ResourceDriver } from '../driver.ts';
import type { AzureClients } from './clients.ts';
import { found } from './errors.ts';
import { ours, ownerOf, region, tagsOf } from './tags.ts';

const kind = 'azure.resources.group';

export const resourceGroupName = (placement: Placement): string => resourceName(placement, { limit: 90 });

export const resourceGroupSpec = (placement: Placement): ResourceSpec => ({
  key: 'group',
  kind,
  name: resourceGroupName(placement),
  needs: [],
  desired: { location: placement.region, tags: toTags(placement.owner) },
  // It holds what a kept store of the placement is in.
  holdsData: true,
});

export function resourceGroupDriver(clients: AzureClients): ResourceDriver {
  const client = (call: Pick<Call, 'placement'>) => clients.resources(call.placement.account);
  const read = (name: string, call: Call): Promise<ResourceGroup | undefined> =>
    found(() => client(call).resourceGroups.get(name, { abortSignal: call.signal }));
  const contents = async (name: string, call: Call): Promise<string[]> => {
    const names: string[] = [];
    for await (const one of client(call).resources.listByResourceGroup(name, { abortSignal: call.signal }))
      names.push(`${one.type ?? ''} ${one.name ?? ''}`);
    return names;
  };

  return {
    kind,
    immutable: ['location'],
    async observe(spec, call) {
      const seen = await read(spec.name, call);
      if (!seen?.id) return undefined;
      return {
        id: seen.id,
        owner: ownerOf(seen.tags),
        state: stateOf(seen.properties?.provisioningState),
        properties: { location: region(seen.location), tags: tagsOf(seen.tags) },
        outputs: { id: seen.id, name: spec.name },
        retainedUntil: seen.tags?.[retainedUntilTag],
      };
    },
    async create(spec, call) {
      const group = { location: call.placement.region, tags: toTags(call.placement.owner) };
      await client(call).resourceGroups.createOrUpdate(spec.name, group, { abortSignal: call.signal });
    },
    async update(spec, _observed, _drift, call) {
      const tags = { ...(await read(spec.name, call))?.tags, ...toTags(call.placement.owner) };
      await client(call).resourceGroups.update(spec.name, { tags }, { abortSignal: call.signal });
    },
    async remove(spec, _observed, call) {
      const names = await contents(spec.name, call);
      if (names.length > 0) throw notEmpty(spec, names);
      await found(() => client(call).resourceGroups.beginDelete(spec.name, { abortSignal: call.signal }));
    },
    async list(call) {
      const all: Found[] = [];
      const [tag, value] = soughtTag(call.placement.owner);
      const filter = `tagName eq '${tag}' and tagValue eq '${value}'`;
      for await (const seen of client(call).resourceGroups.list({ filter, abortSignal: call.signal })) {
        const owner = ours(seen.tags, call.placement);
        if (owner && seen.id && seen.name && region(seen.location) === call.placement.region)
          all.push({ kind, name: seen.name, id: seen.id, owner, retainedUntil: seen.tags?.[retainedUntilTag] });
      }
      return all;
    },
    store: {
      isEmpty: async (spec, call) => (await contents(spec.name, call)).length === 0,
      // What is still in it when all of ours is gone belongs to somebody else, or is on its way out: look again later.
      async empty(spec, call) {
        const names = await contents(spec.name, call);
        if (names.length > 0) throw notEmpty(spec, names);
        return true;
      },
      async retain(spec, until, call) {
        const tags = { ...(await read(spec.name, call))?.tags, [retainedUntilTag]: until };
        await client(call).resourceGroups.update(spec.name, { tags }, { abortSignal: call.signal });
      },
    },
  };
}

function notEmpty(spec: ResourceSpec, names: readonly string[]): CloudError {
  return new CloudError(
    { kind: 'PreconditionFailed', provider: 'azure', operation: `${kind} remove`, resource: spec.name },
    `still holds ${names.slice(0, 5).join(', ')}`,
  );
}

export function stateOf(provisioning: string | undefined): Observed['state'] {
  switch (provisioning) {
    case 'Succeeded':
      return 'ready';
    case 'Deleting':
    case 'Deprovisioning':
      return 'deleting';
    case 'Failed':
    case 'Canceled':
      return 'failed';
    default:
      return 'creating';
  }
}

/** Top-level resource of an ARM ID: what carries the tags for all below it. */
const tagged = /^\/subscriptions\/[^/]+\/resourceGroups\/[^/]+(?:\/providers\/[^/]+\/[^/]+\/[^/]+)?/i;

/** The owner in the tags of the nearest resource that takes any, for parts and extensions that take none. */
export async function ownerOfScope(clients: AzureClients, id: string, call: Call): Promise<Owner | undefined> {
  const scope = tagged.exec(id)?.[0];
  if (!scope) return undefined;
  const { tagsOperations } = clients.resources(call.placement.account);
  const seen = await found(() => tagsOperations.getAtScope(scope.slice(1), { abortSignal: call.signal }));
  return ownerOf(seen?.properties?.tags);
}
