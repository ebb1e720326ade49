/**
 * Quotas of the subscription: what each allows, what is used of it, and the refusal of what goes beyond. Usages are counted
 * from what exists. https://learn.microsoft.com/azure/azure-resource-manager/management/azure-subscription-service-limits (2026-11)
 */
import { limitOf } from '../../quota-limits.ts';
import { asObject, type Properties, Refusal } from './accept.ts';
import { place } from './envelope.ts';
import type { Stored } from './kind.ts';

interface Quota {
  namespace: string;
  name: string;
  localized: string;
  /** Of all regions together. */
  global?: boolean;
  /** As in a subscription that has grown. */
  limit: number;
  type: string;
  amount(resource: Pick<Stored, 'sku'>): number;
  refusal(used: Used): Refusal;
}

interface Used {
  where: string;
  limit: number;
  current: number;
  more: number;
}

const vcpus =
  (family: RegExp) =>
  ({ sku }: Pick<Stored, 'sku'>): number => {
    const { name, capacity } = asObject(sku);
    const size = String(name);
    return family.test(size) ? Number(/^Standard_[A-Z]+(\d+)/.exec(size)?.[1] ?? 0) * Number(capacity ?? 0) : 0;
  };
const one = (): number => 1;

/** https://learn.microsoft.com/azure/virtual-machine-scale-sets/virtual-machine-scale-sets-quotaexceeded-error */
const cores =
  (what: string) =>
  ({ where, limit, current, more }: Used): Refusal =>
    new Refusal(
      409,
      'QuotaExceeded',
      `Operation could not be completed as it results in exceeding approved ${what} Cores quota. Additional details - Deployment Model: Resource Manager, Location: ${where}, Current Limit: ${limit}, Current Usage: ${current}, Additional Required: ${more}, (Minimum) New Limit Required: ${current + more}.`,
    );

const machines = { namespace: 'Microsoft.Compute', type: 'Microsoft.Compute/virtualMachineScaleSets' };
const quotas: readonly Quota[] = [
  {
    ...machines,
    name: 'cores',
    localized: 'Total Regional vCPUs',
    limit: 2000,
    amount: vcpus(/./),
    refusal: cores('Total Regional'),
  },
  {
    ...machines,
    name: 'standardBsv2Family',
    localized: 'Standard Bsv2 Family vCPUs',
    limit: 1000,
    amount: vcpus(/^Standard_B\d+[lt]?s_v2$/),
    refusal: cores('standardBsv2Family'),
  },
  {
    ...machines,
    name: 'standardDSv5Family',
    localized: 'Standard DSv5 Family vCPUs',
    limit: 1000,
    amount: vcpus(/^Standard_D\d+l?s_v5$/),
    refusal: cores('standardDSv5Family'),
  },
  {
    namespace: 'Microsoft.Network',
    name: 'IPv4StandardSkuPublicIpAddresses',
    localized: 'Public IPv4 Addresses - Standard',
    limit: 1000,
    type: 'Microsoft.Network/publicIPAddresses',
    amount: one,
    refusal: ({ limit }) =>
      new Refusal(
        400,
        'IPv4StandardSkuPublicIpCountLimitReached',
        `Cannot create more than ${limit} IPv4 Standard SKU public IP addresses for this subscription in this region.`,
      ),
  },
  {
    namespace: 'Microsoft.Storage',
    name: 'StorageAccounts',
    localized: 'Storage Accounts',
    limit: 250,
    type: 'Microsoft.Storage/storageAccounts',
    amount: one,
    refusal: ({ where, limit, current }) =>
      new Refusal(
        409,
        'MaxStorageAccountsCountPerSubscriptionExceeded',
        `Subscription already contains ${current} storage accounts in location ${where} and the maximum allowed is ${limit}.`,
      ),
  },
  {
    namespace: 'Microsoft.Devices',
    name: 'paidIotHubCount',
    localized: 'Paid IotHub Count',
    global: true,
    limit: 50,
    type: 'Microsoft.Devices/IotHubs',
    amount: one,
    refusal: ({ limit, current }) =>
      new Refusal(403, 'IotHubQuotaExceeded', `Max number of IoT hubs exceeded. Max = ${limit}, Current = ${current}.`),
  },
];

/** `state`: folder of the local Azure. `list`: all resources of a type. */
export class Usages {
  readonly #state: string;
  readonly #list: (type: string) => Iterable<Stored>;

  constructor(state: string, list: (type: string) => Iterable<Stored>) {
    this.#state = state;
    this.#list = list;
  }

  /** What a resource provider answers of its usages; `asked`: a region, left out where it has one answer for all. */
  of(namespace: string, asked: string | undefined): Properties[] {
    const region = asked && place(asked);
    return quotas
      .filter((quota) => quota.namespace.toLowerCase() === namespace.toLowerCase())
      .map((quota) => ({
        name: { value: quota.name, localizedValue: quota.localized },
        unit: 'Count',
        currentValue: this.#used(quota, region),
        limit: limitOf(this.#state, quota.name, region ?? '', quota.limit),
      }));
  }

  /** Refuses a resource that goes beyond a quota; `before`: how it stands already. */
  check(resource: Stored, before: Stored | undefined): void {
    for (const quota of quotas) {
      if (quota.type !== resource.type) continue;
      const more = quota.amount(resource) - (before ? quota.amount(before) : 0);
      const region = quota.global ? undefined : place(resource.location);
      const limit = limitOf(this.#state, quota.name, region ?? '', quota.limit);
      const current = this.#used(quota, region);
      if (more > 0 && current + more > limit) throw quota.refusal({ where: region ?? '', limit, current, more });
    }
  }

  #used({ type, amount }: Quota, region: string | undefined): number {
    let used = 0;
    for (const stored of this.#list(type))
      if (region === undefined || place(stored.location) === region) used += amount(stored);
    return used;
  }
}
