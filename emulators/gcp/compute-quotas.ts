/**
 * Quotas of the project: what each allows, what is used of it, and the refusal of what goes beyond. Usages are counted from
 * what exists. https://cloud.google.com/compute/resource-usage (2026-11)
 */
import type { JsonObject } from '../../model/service.ts';
import { limitOf } from '../quota-limits.ts';
import { isObject } from './compute-definition.ts';
import { ComputeError } from './compute-kinds.ts';

interface Quota {
  metric: string;
  scope: 'region' | 'project';
  /** As in a project that has grown. */
  limit: number;
  collection: string;
  amount(resource: JsonObject): number;
}

/** `e2-standard-4` has four; the small ones share two. */
const vcpus = ({ machineType }: JsonObject): number => Number(/-(\d+)$/.exec(String(machineType))?.[1] ?? 2);
const diskGb = ({ disks }: JsonObject): number =>
  (Array.isArray(disks) ? disks : []).reduce((sum: number, disk) => {
    const asked = isObject(disk) && isObject(disk.initializeParams) ? disk.initializeParams : {};
    return /balanced|ssd/.test(String(asked.diskType)) ? sum + Number(asked.diskSizeGb ?? 10) : sum;
  }, 0);
const one = (): number => 1;

const quotas: readonly Quota[] = [
  { metric: 'CPUS', scope: 'region', limit: 1000, collection: 'instances', amount: vcpus },
  { metric: 'INSTANCES', scope: 'region', limit: 1000, collection: 'instances', amount: one },
  { metric: 'SSD_TOTAL_GB', scope: 'region', limit: 40_960, collection: 'instances', amount: diskGb },
  { metric: 'STATIC_ADDRESSES', scope: 'region', limit: 100, collection: 'addresses', amount: one },
  { metric: 'CPUS_ALL_REGIONS', scope: 'project', limit: 4000, collection: 'instances', amount: vcpus },
  { metric: 'NETWORKS', scope: 'project', limit: 100, collection: 'networks', amount: one },
  { metric: 'FIREWALLS', scope: 'project', limit: 1000, collection: 'firewalls', amount: one },
  { metric: 'ROUTERS', scope: 'project', limit: 100, collection: 'routers', amount: one },
];

const regionOf = (path: string): string =>
  /\/regions\/([^/]+)\//.exec(path)?.[1] ?? /\/zones\/([^/]+)-[a-z]\//.exec(path)?.[1] ?? '';
const collectionOf = (path: string): string | undefined => path.split('/').at(-2);

export class Quotas {
  readonly #state: string;
  readonly #resources: ReadonlyMap<string, JsonObject>;

  /** `state`: folder of the local Google Cloud. */
  constructor(state: string, resources: ReadonlyMap<string, JsonObject>) {
    this.#state = state;
    this.#resources = resources;
  }

  /** As `regions.get` tells them, or without a region `projects.get`. */
  of(region: string | undefined): JsonObject[] {
    return quotas
      .filter(({ scope }) => (scope === 'region') === (region !== undefined))
      .map((quota) => ({
        metric: quota.metric,
        limit: this.#limit(quota, region ?? ''),
        usage: this.#used(quota, region ?? ''),
      }));
  }

  /** Refuses a resource that goes beyond a quota. */
  check(path: string, resource: JsonObject): void {
    const region = regionOf(path);
    for (const quota of quotas) {
      if (quota.collection !== collectionOf(path)) continue;
      const limit = this.#limit(quota, region);
      if (this.#used(quota, region) + quota.amount(resource) <= limit) continue;
      const where = quota.scope === 'region' ? `in region ${region}` : 'globally';
      throw new ComputeError(
        403,
        'quotaExceeded',
        `Quota '${quota.metric}' exceeded.  Limit: ${limit.toFixed(1)} ${where}.`,
      );
    }
  }

  /** How many machines of a template may still be made in a region. */
  room(region: string, template: JsonObject): number {
    const rooms = quotas
      .filter(({ collection, amount }) => collection === 'instances' && amount(template) > 0)
      .map((quota) => Math.floor((this.#limit(quota, region) - this.#used(quota, region)) / quota.amount(template)));
    return Math.max(0, Math.min(...rooms));
  }

  #limit({ metric, scope, limit }: Quota, region: string): number {
    return limitOf(this.#state, metric, scope === 'region' ? region : '', limit);
  }

  #used({ collection, scope, amount }: Quota, region: string): number {
    let used = 0;
    for (const [path, resource] of this.#resources)
      if (collectionOf(path) === collection && (scope === 'project' || regionOf(path) === region))
        used += amount(resource);
    return used;
  }
}
