/**
 * What the parts of a network share: EC2 gives them IDs of its own, so they are found by their `Name` tag, which is unique
 * (it carries the placement's hash), and their creation takes no client token.
 */
import { CreateTagsCommand, type Filter, type TagSpecification } from '@aws-sdk/client-ec2';
import type { JsonObject, Outputs, Placement, ResourceSpec } from '../../../model/service.ts';
import type { Call, Observed, ResourceDriver } from '../driver.ts';
import type { Clients } from './clients.ts';
import { desiredTags, foundBy, fromList, ownerFilter, ownership, tagsOf, toList } from './tags.ts';

interface Tagged {
  Tags?: { Key?: string | undefined; Value?: string | undefined }[] | undefined;
}

/** How one kind of network part differs from the others. */
export interface Ec2Kind<T extends Tagged> {
  kind: string;
  immutable: readonly string[];
  idOf: (item: T) => string | undefined;
  find(filters: Filter[], call: Pick<Call, 'placement' | 'signal'>): Promise<T[]>;
  properties(item: T, call: Call): Promise<JsonObject> | JsonObject;
  outputs(item: T): Outputs;
  create(spec: ResourceSpec, call: Call): Promise<void>;
  /** All but tags. */
  update(spec: ResourceSpec, id: string, drift: readonly string[], call: Call): Promise<void>;
  remove(id: string, call: Call): Promise<void>;
  state?(item: T): Observed['state'];
}

/** Owner tags and the name to find it by. */
export const namedTags = (placement: Placement, name: string): JsonObject => ({
  ...desiredTags(placement),
  Name: name,
});

export const tagSpecification = (
  ResourceType: TagSpecification['ResourceType'],
  spec: ResourceSpec,
): TagSpecification[] => [{ ResourceType, Tags: toList(tagsOf(spec)) }];

export const createTags = async (clients: Clients, id: string, spec: ResourceSpec, call: Call): Promise<void> => {
  const command = new CreateTagsCommand({ Resources: [id], Tags: toList(tagsOf(spec)) });
  await clients.ec2(call.placement.region).send(command, { abortSignal: call.signal });
};

export function ec2Driver<T extends Tagged>(clients: Clients, kind: Ec2Kind<T>): ResourceDriver {
  /** Of several with our name, which only two creates at once can leave behind, the one with the lowest ID counts. */
  const named = async (spec: ResourceSpec, call: Call): Promise<[string, T][]> => {
    const items = await kind.find([{ Name: 'tag:Name', Values: [spec.name] }], call);
    return items.map((item): [string, T] => [kind.idOf(item) ?? '', item]).sort(([a], [b]) => (a < b ? -1 : 1));
  };

  return {
    kind: kind.kind,
    identity: 'from the cloud',
    immutable: kind.immutable,

    async observe(spec, call) {
      const first = (await named(spec, call))[0];
      if (!first) return undefined;
      const [id, item] = first;
      const { tags, ...owned } = ownership(fromList(item.Tags), spec);
      return {
        id,
        ...owned,
        state: kind.state?.(item) ?? 'ready',
        properties: { tags, ...(await kind.properties(item, call)) },
        outputs: kind.outputs(item),
      };
    },

    async create(spec, call) {
      const before = await named(spec, call);
      if (before.length > 0) throw Object.assign(new Error(`${spec.name} exists`), { name: 'AlreadyExists' });
      await kind.create(spec, call);
      const [first, ...others] = await named(spec, call);
      // Whoever comes second sees both and clears away all but the first; at worst both do, which is the same.
      for (const [id] of others) if (id !== first?.[0]) await kind.remove(id, call);
    },

    async update(spec, observed, drift, call) {
      if (drift.includes('tags')) await createTags(clients, observed.id, spec, call);
      await kind.update(spec, observed.id, drift, call);
    },

    async remove(_spec, observed, call) {
      await kind.remove(observed.id, call);
    },

    async list(call) {
      const items = await kind.find([ownerFilter(call.placement)], call);
      return items.flatMap((item) => {
        const tags = fromList(item.Tags);
        return foundBy(call.placement, kind.kind, tags.Name ?? '', kind.idOf(item) ?? '', tags);
      });
    },
  };
}
