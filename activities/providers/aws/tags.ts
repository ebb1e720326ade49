/** Tags in the shapes that AWS's services have, and resources that are found by them. */
import { fromTags, isSought, retainedUntilTag, soughtTag, toTags } from '../../../model/names.ts';
import type { JsonObject, Placement, ResourceSpec } from '../../../model/service.ts';
import type { Found, Observed } from '../driver.ts';

export type Tags = Record<string, string>;

/** `{ Key, Value }`: all but SQS, Kinesis and Glue. */
export const toList = (tags: Tags): { Key: string; Value: string }[] =>
  Object.entries(tags).map(([Key, Value]) => ({ Key, Value }));

export const fromList = (list: readonly { Key?: string | undefined; Value?: string | undefined }[] | undefined): Tags =>
  Object.fromEntries((list ?? []).map(({ Key = '', Value = '' }) => [Key, Value]));

/** The property `tags` of `desired`: what must be on the resource; what others add beside it is theirs. */
export const desiredTags = (placement: Placement): JsonObject => toTags(placement.owner);

/** The wanted tags of a spec, for a request. */
export function tagsOf(spec: ResourceSpec): Tags {
  const { tags } = spec.desired;
  if (typeof tags !== 'object' || tags === null || Array.isArray(tags)) return {};
  return Object.fromEntries(Object.entries(tags).map(([key, value]) => [key, String(value)]));
}

/** Tags found on a resource as `Observed` wants them: the owner, and those that `desired` speaks of. */
export function ownership(
  tags: Tags,
  spec: ResourceSpec,
): Pick<Observed, 'owner' | 'retainedUntil'> & { tags: JsonObject } {
  const wanted = Object.keys(tagsOf(spec));
  return {
    owner: fromTags(tags),
    retainedUntil: tags[retainedUntilTag],
    tags: Object.fromEntries(wanted.filter((key) => key in tags).map((key) => [key, tags[key] ?? ''])),
  };
}

/** One resource of a listing, if its tags say that it is this estate's. */
export function foundBy(placement: Placement, kind: string, name: string, id: string, tags: Tags): Found[] {
  const owner = fromTags(tags);
  if (!isSought(owner, placement.owner)) return [];
  return [{ kind, name, id, owner, retainedUntil: tags[retainedUntilTag] }];
}

/** Filters of EC2 for what the listing of a placement looks for. */
export function ownerFilter({ owner }: Placement): { Name: string; Values: string[] } {
  const [tag, value] = soughtTag(owner);
  return { Name: `tag:${tag}`, Values: [value] };
}

/** Runs `look` on each item, a few at a time: listings whose items must be asked for their tags one by one. */
export async function eachOf<T, R>(items: readonly T[], look: (item: T) => Promise<R[]>): Promise<R[]> {
  const found: R[] = [];
  for (let start = 0; start < items.length; start += 8)
    found.push(...(await Promise.all(items.slice(start, start + 8).map(look))).flat());
  return found;
}

/** All items of a paged listing. */
export async function allPages<T>(
  page: (token: string | undefined) => Promise<{ items: readonly T[]; next: string | undefined }>,
): Promise<T[]> {
  const all: T[] = [];
  let token: string | undefined;
  do {
    const { items, next } = await page(token);
    all.push(...items);
    token = next;
  } while (token);
  return all;
}
