/** Labels, as Google calls tags: what must be on a resource, and what is found there. */
import { fromTags, isSought, retainedUntilTag, toTags } from '../../../model/names.ts';
import type { JsonObject, Placement, ResourceSpec } from '../../../model/service.ts';
import type { Found, Observed } from '../driver.ts';

export type Labels = Record<string, string>;
type Given = Readonly<Record<string, string | null | undefined>> | null | undefined;

/** The property `tags` of `desired`: what must be there; what others add beside it is theirs. */
export const desiredLabels = (placement: Placement): JsonObject => toTags(placement.owner);

/** The wanted labels of a spec, for a request. */
export function labelsOf(spec: ResourceSpec): Labels {
  const { tags } = spec.desired;
  if (typeof tags !== 'object' || tags === null || Array.isArray(tags)) return {};
  return Object.fromEntries(Object.entries(tags).map(([key, value]) => [key, String(value)]));
}

export function cleanLabels(labels: Given): Labels {
  return Object.fromEntries(
    Object.entries(labels ?? {}).flatMap(([key, value]) => (typeof value === 'string' ? [[key, value]] : [])),
  );
}

/** Labels found on a resource as `Observed` wants them: the owner, and those that `desired` speaks of. */
export function ownership(
  labels: Given,
  spec: ResourceSpec,
): Pick<Observed, 'owner' | 'retainedUntil'> & { tags: JsonObject } {
  const found = cleanLabels(labels);
  const wanted = Object.keys(labelsOf(spec));
  return {
    owner: fromTags(found),
    retainedUntil: found[retainedUntilTag],
    tags: Object.fromEntries(wanted.flatMap((key) => (found[key] === undefined ? [] : [[key, found[key]]]))),
  };
}

/** One resource of a listing, if its labels say that it is this estate's. */
export function foundBy(placement: Placement, kind: string, name: string, id: string, labels: Given): Found[] {
  const found = cleanLabels(labels);
  const owner = fromTags(found);
  if (!isSought(owner, placement.owner)) return [];
  return [{ kind, name, id, owner, retainedUntil: found[retainedUntilTag] }];
}
