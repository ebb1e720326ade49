/** The quotas of an Azure subscription that placements draw on: each resource provider tells limit and usage of its own. */
import { created, type Draw, growth } from '../../../model/quota.ts';
import type { Provider } from '../driver.ts';
import { headroomOf, type Look, matched, nameOf } from '../headroom.ts';
import type { AzureClients } from './clients.ts';
import { boundsOf } from './compute.ts';
import { classify } from './errors.ts';
import { familyOf, vcpusOf } from './vm-sizes.ts';

/** What all resource providers answer alike. */
interface Usage {
  name?: { value?: string };
  currentValue?: number;
  limit?: number;
}

async function all(pages: AsyncIterable<Usage>): Promise<Usage[]> {
  const usages: Usage[] = [];
  for await (const usage of pages) usages.push(usage);
  return usages;
}

const same = (a: string, b: string | undefined): boolean => a.toLowerCase() === b?.toLowerCase();

/**
 * Names: https://learn.microsoft.com/azure/quotas/ and the answers of `az vm list-usage`, `az network list-usages`, `az storage
 * account show-usage`, `az iot hub list-usage` (2026-11). Virtual networks and security groups have limits that no estate meets.
 */
export const azureQuotas =
  (clients: AzureClients): Provider['quotas'] =>
  ({ placement, specs, observed }, signal) => {
    const { account, region } = placement;
    const options = { abortSignal: signal };
    const scope = (namespace: string): string => `/subscriptions/${account}/providers/${namespace}/locations/${region}`;
    const update = (namespace: string, name: string): string =>
      `az quota update --resource-name ${name} --scope ${scope(namespace)} --limit-object value=<value>`;
    const ask = 'https://portal.azure.com/#view/Microsoft_Azure_Capacity/QuotaMenuBlade, new limit <value>';

    const machines = specs.find(({ kind }) => kind === 'azure.compute.scale-set');
    const { start, min } = machines ? boundsOf(placement) : { start: 0, min: 0 };
    const present = observed[machines?.key ?? ''];
    const more = growth({ present: present && Number(present.properties.capacity), start, least: min });
    const size = String(machines?.desired.size ?? '');
    const vcpus = more * vcpusOf(size);
    const family = familyOf(size);

    const compute: Draw[] = [
      { name: 'cores', title: 'Total Regional vCPUs', needs: vcpus },
      { name: family, title: 'vCPUs of the family', needs: vcpus },
    ].map((draw) => ({ ...draw, unit: 'vCPUs', where: region, raise: update('Microsoft.Compute', draw.name) }));
    const addresses: Draw = {
      name: 'IPv4StandardSkuPublicIpAddresses',
      title: 'Public IPv4 addresses, Standard',
      unit: 'addresses',
      where: region,
      needs: created(specs, observed, 'azure.network.public-ip'),
      raise: update('Microsoft.Network', 'IPv4StandardSkuPublicIpAddresses'),
    };
    const accounts: Draw = {
      name: 'StorageAccounts',
      title: 'Storage accounts',
      unit: 'storage accounts',
      where: region,
      needs: created(specs, observed, 'azure.storage.account'),
      raise: update('Microsoft.Storage', 'StorageAccounts'),
    };
    // Its free edition is never chosen.
    const hubs: Draw = {
      name: 'paidIotHubCount',
      title: 'Paid IoT hubs',
      unit: 'IoT hubs',
      where: 'the account',
      needs: created(specs, observed, 'azure.iothub.hub'),
      raise: ask,
    };

    const look = (draws: readonly Draw[], usages: () => Promise<Usage[]>): Look[] => {
      const drawn = draws.filter(({ needs }) => needs > 0);
      if (drawn.length === 0) return [];
      const read = async () => {
        const told = await usages();
        return matched(drawn, ({ name }) => {
          const usage = told.find((one) => same(name, one.name?.value));
          if (usage?.limit === undefined || usage.currentValue === undefined) return undefined;
          return { limit: usage.limit, used: usage.currentValue };
        });
      };
      return [{ of: drawn.map(nameOf).join(', '), read }];
    };
    const looks = [
      ...look(compute, () => all(clients.compute(account).usage.list(region, options))),
      ...look([addresses], () => all(clients.network(account).usages.list(region, options))),
      ...look([accounts], () => all(clients.storage(account).usages.listByLocation(region, options))),
      ...look(
        [hubs],
        async () => (await clients.iotHub(account).resourceProviderCommon.getSubscriptionQuota(options)).value ?? [],
      ),
    ];
    return headroomOf(looks, classify);
  };
