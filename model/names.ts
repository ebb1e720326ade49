/** Names of cloud resources: readable, unique, and the same each time they are computed. */
import type { Placement } from './service.ts';
import { sha256Hex } from './sha256.ts';

export interface NameRule {
  /** Longest name that the cloud takes. */
  limit: number;
  /** Between the words; '' where the cloud allows letters and digits only. Default '-'. */
  separator?: string;
  /** Appended after the hash, with the separator: tells apart resources of one kind in one placement. */
  suffix?: string;
}

/**
 * `<estate>-<service>` cut to the limit, then 8 hex digits of sha256(account, UID, service, provider, generation).
 * Lower case letters, digits and the separator only; starts with a letter; underscores become the separator.
 */
export function resourceName(placement: Placement, rule: NameRule): string {
  const { owner, account, provider } = placement;
  const separator = rule.separator ?? '-';
  const hash = sha256Hex([account, owner.uid, owner.service, provider, String(owner.generation)].join('\n')).slice(
    0,
    8,
  );
  const tail = separator + hash + (rule.suffix ? separator + rule.suffix : '');
  const words = `${owner.estate}-${owner.service}`.toLowerCase().split(/[^a-z0-9]+/);
  const head = words
    .filter(Boolean)
    .join(separator)
    .slice(0, rule.limit - tail.length);
  return (separator ? trimEnd(head, separator) : head) + tail;
}

const trimEnd = (text: string, end: string): string =>
  text.endsWith(end) ? trimEnd(text.slice(0, -end.length), end) : text;

/** The tags or labels that mark a resource as the estate's own. Keys and values fit every cloud's rules. */
export const ownerTags = {
  estate: 'multi-cloud-estate',
  uid: 'multi-cloud-uid',
  service: 'multi-cloud-service',
  controller: 'multi-cloud-controller',
  generation: 'multi-cloud-generation',
} as const;

/** ISO date (`2026-12-01`) on a store that was kept when its placement ended. */
export const retainedUntilTag = 'retained-until';

export function toTags(owner: Placement['owner']): Record<string, string> {
  return {
    [ownerTags.estate]: owner.estate,
    [ownerTags.uid]: owner.uid,
    [ownerTags.service]: owner.service,
    [ownerTags.controller]: owner.controller,
    [ownerTags.generation]: String(owner.generation),
  };
}

/** Whether a listing looks for what this owner has: the estate of the sought UID, or where that is empty every one of that name. */
export const isSought = (
  owner: Placement['owner'] | undefined,
  sought: Placement['owner'],
): owner is Placement['owner'] =>
  owner !== undefined && (sought.uid === '' ? owner.estate === sought.estate : owner.uid === sought.uid);

/** The tag and its value that all of these carry, for the filters of listings. */
export const soughtTag = ({ uid, estate }: Placement['owner']): [tag: string, value: string] =>
  uid === '' ? [ownerTags.estate, estate] : [ownerTags.uid, uid];

/** The owner that a set of tags names, or undefined where one is missing or malformed. */
export function fromTags(
  tags: Readonly<Record<string, string | undefined>> | undefined,
): Placement['owner'] | undefined {
  const estate = tags?.[ownerTags.estate];
  const uid = tags?.[ownerTags.uid];
  const service = tags?.[ownerTags.service];
  const controller = tags?.[ownerTags.controller];
  const generation = Number(tags?.[ownerTags.generation]);
  if (!estate || !uid || !service || !controller || !Number.isInteger(generation) || generation < 1) return undefined;
  return { estate, uid, service, controller, generation };
}
