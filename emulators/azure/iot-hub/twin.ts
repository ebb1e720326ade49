/** Changes to twins: a PATCH merges (null removes a key), a PUT replaces; `$metadata` and `$version` are the hub's own. */
import { z } from 'zod';
import { type Bag, type DeviceRecord, newEtag, type Section, type Value } from './device.ts';

const bag = z.record(z.string(), z.json());
/** Service side. What the client read before and sends back (etag, version, status) changes nothing. */
export const TwinRequest = z.looseObject({
  tags: bag.nullish(),
  properties: z.looseObject({ desired: bag.nullish() }).nullish(),
});
export type TwinRequest = z.infer<typeof TwinRequest>;

const isBag = (value: Value | undefined): value is Bag =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const own = (patch: Bag): [string, Value][] =>
  Object.entries(patch).filter(([name]) => name !== '$metadata' && name !== '$version' && name !== '__proto__');

export function merge(base: Bag, patch: Bag): Bag {
  const merged: Bag = { ...base };
  for (const [name, value] of own(patch)) {
    const before = merged[name];
    if (value === null) delete merged[name];
    else merged[name] = isBag(value) ? merge(isBag(before) ? before : {}, value) : value;
  }
  return merged;
}

const change = (section: Section, patch: Bag, replace: boolean): Section => ({
  version: section.version + 1,
  updated: new Date().toISOString(),
  values: merge(replace ? {} : section.values, patch),
});

export function changeTwin(record: DeviceRecord, wanted: TwinRequest, replace: boolean): DeviceRecord {
  const { twin } = record;
  const { tags } = wanted;
  const desired = wanted.properties?.desired;
  return {
    ...record,
    twin: {
      ...twin,
      etag: newEtag(),
      version: twin.version + 1,
      tags: tags ? merge(replace ? {} : twin.tags, tags) : replace ? {} : twin.tags,
      desired: desired
        ? change(twin.desired, desired, replace)
        : replace
          ? change(twin.desired, {}, true)
          : twin.desired,
    },
  };
}

export function report(record: DeviceRecord, patch: Bag): DeviceRecord {
  const { twin } = record;
  return {
    ...record,
    twin: { ...twin, version: twin.version + 1, reported: change(twin.reported, patch, false) },
  };
}

/** What `$iothub/twin/res` and desired-property notifications carry. */
export const withVersion = (values: Bag, version: number): string => JSON.stringify({ ...values, $version: version });
