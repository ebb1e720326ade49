/** What IoT's kinds of resources share: tags by ARN, and listings that know names but not owners. */
import { ListTagsForResourceCommand, type Tag, TagResourceCommand } from '@aws-sdk/client-iot';
import { retainedUntilTag } from '../../../model/names.ts';
import type { JsonObject, Outputs, Placement, ResourceSpec } from '../../../model/service.ts';
import type { Call, Observed, ResourceDriver, StoreDriver } from '../driver.ts';
import type { Clients } from './clients.ts';
import { ifFound } from './errors.ts';
import { allPages, eachOf, foundBy, fromList, ownership, type Tags, tagsOf, toList } from './tags.ts';

/** How one kind differs from the others. */
export interface IotKind {
  kind: string;
  immutable?: readonly string[];
  arnOf(spec: ResourceSpec, placement: Placement): string;
  /** Undefined when it does not exist; all properties but tags. */
  read(
    spec: ResourceSpec,
    call: Call,
  ): Promise<{ properties: JsonObject; outputs: Outputs; state?: Observed['state'] } | undefined>;
  create(spec: ResourceSpec, call: Call, tags: Tag[]): Promise<void>;
  /** All but tags. */
  update(spec: ResourceSpec, drift: readonly string[], call: Call): Promise<void>;
  remove(spec: ResourceSpec, call: Call): Promise<void>;
  /** One page of names with ARNs; those of other estates are sorted out by their tags. */
  page(call: Pick<Call, 'placement' | 'signal'>, token: string | undefined): Promise<Page>;
  store?: Omit<StoreDriver, 'retain'>;
}

interface Page {
  items: { name: string; arn: string }[];
  next: string | undefined;
}

export const iotArn = ({ region, account }: Placement, path: string): string =>
  `arn:aws:iot:${region}:${account}:${path}`;

export function iotDriver(clients: Clients, kind: IotKind): ResourceDriver {
  const client = ({ placement }: Pick<Call, 'placement'>) => clients.iot(placement.region);

  const tagsAt = async (resourceArn: string, call: Pick<Call, 'placement' | 'signal'>): Promise<Tags> => {
    const tags = await allPages<Tag>(async (nextToken) => {
      const command = new ListTagsForResourceCommand({ resourceArn, nextToken });
      const page = await ifFound(client(call).send(command, { abortSignal: call.signal }));
      return { items: page?.tags ?? [], next: page?.nextToken };
    });
    return fromList(tags);
  };
  const tag = async (resourceArn: string, tags: Tags, call: Call): Promise<void> => {
    const command = new TagResourceCommand({ resourceArn, tags: toList(tags) });
    await client(call).send(command, { abortSignal: call.signal });
  };
  const { store } = kind;

  return {
    kind: kind.kind,
    immutable: kind.immutable ?? [],

    async observe(spec, call) {
      const found = await kind.read(spec, call);
      if (!found) return undefined;
      const id = kind.arnOf(spec, call.placement);
      const { tags, ...owned } = ownership(await tagsAt(id, call), spec);
      const { state = 'ready', properties, outputs } = found;
      return { id, ...owned, state, properties: { tags, ...properties }, outputs };
    },
    create: (spec, call) => kind.create(spec, call, toList(tagsOf(spec))),
    async update(spec, observed, drift, call) {
      if (drift.includes('tags')) await tag(observed.id, tagsOf(spec), call);
      await kind.update(spec, drift, call);
    },
    remove: (spec, _observed, call) => kind.remove(spec, call),
    async list(call) {
      const items = await allPages((token) => kind.page(call, token));
      // What has another name is somebody else's, and may not be looked into.
      const { estate } = call.placement.owner;
      const own = [estate, estate.replaceAll('-', '_')];
      const ours = items.filter(({ name }) => own.some((prefix) => name.startsWith(prefix)));
      return eachOf(ours, async ({ name, arn }) => {
        return foundBy(call.placement, kind.kind, name, arn, await tagsAt(arn, call));
      });
    },
    ...(store
      ? {
          store: {
            ...store,
            retain: (spec, until, call) => tag(kind.arnOf(spec, call.placement), { [retainedUntilTag]: until }, call),
          },
        }
      : {}),
  };
}
