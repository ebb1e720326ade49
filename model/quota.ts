/** Quotas of a cloud account, and whether what is to be created fits into what is left of them. Pure. */
import type { ResourceSpec } from './service.ts';

/** What the creation of something takes of a quota. */
export interface Draw {
  /** The cloud's own name: `L-1216C47A`, `standardBsv2Family`, `CPUS`. */
  name: string;
  /** The same in words. */
  title: string;
  unit: string;
  /** Region, or whose it is as a whole: `the account`. */
  where: string;
  needs: number;
  /** How it is raised; `<value>` stands for the new limit. */
  raise: string;
}

export interface Quota extends Draw {
  limit: number;
  /** By everybody in the account, before this. */
  used: number;
}

/** What a cloud tells of the quotas that a placement draws on. */
export interface Headroom {
  quotas: Quota[];
  /** Those that could not be read, and why: a line each. They hold nothing. */
  unknown: string[];
}

/** A placement, and what it takes. */
export interface Drawing {
  service: string;
  provider: string;
  /** What its quotas belong to: two providers of one file may share an account. */
  account: string;
  headroom: Headroom | undefined;
}

/** A quota that what is planned does not fit into. `needs` is of all of it together. */
export interface Shortage extends Quota {
  provider: string;
  /** Who draws on it, in name order. */
  services: string[];
}

/** How many resources of a kind are to be created. */
export const created = (specs: readonly ResourceSpec[], present: Readonly<Record<string, unknown>>, kind: string) =>
  specs.filter((spec) => spec.kind === kind && present[spec.key] === undefined).length;

/**
 * How many machines come to a group. `present`: how many it has, undefined where there is no group yet. `start`: how many a
 * new one starts with. `least`: the fewest that it is to have, which is all where nothing scales it.
 */
export const growth = ({ present, start, least }: { present: number | undefined; start: number; least: number }) =>
  present === undefined ? start : Math.max(0, least - present);

/** Never negative: a quota may be lowered under what is used. */
export const left = ({ limit, used }: Pick<Quota, 'limit' | 'used'>): number => Math.max(0, limit - used);

/** Quotas that several placements draw on are judged for all of them together. */
export function shortages(drawings: readonly Drawing[]): Shortage[] {
  const totals = new Map<string, Shortage>();
  for (const { service, provider, account, headroom } of drawings)
    for (const quota of headroom?.quotas ?? []) {
      const key = JSON.stringify([account, quota.where, quota.name]);
      const before = totals.get(key);
      const services = [...new Set([...(before?.services ?? []), service])].sort();
      // The account was looked at for each of them, at about the same time: the last word counts.
      totals.set(key, { ...quota, provider, services, needs: (before?.needs ?? 0) + quota.needs });
    }
  return [...totals.values()].filter((quota) => quota.needs > left(quota));
}

/** `needs 8 vCPUs, 4 of 32 left`, with whose and which quota it is. */
export function shortageText(short: Shortage): string {
  const { services, provider, name, title, where, needs, unit, limit } = short;
  const what = title === name ? name : `${name} (${title})`;
  return `${services.join(', ')} on ${provider} needs ${needs} ${unit}, ${left(short)} of ${limit} left: quota ${what} of ${where}`;
}

/** How to make room for it. */
export const remedyOf = ({ raise, used, needs }: Shortage): string => raise.replace('<value>', String(used + needs));
