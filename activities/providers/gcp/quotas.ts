/** The quotas of a Google Cloud project that placements draw on, as Compute Engine tells them: of the region, of the project. */
import { created, type Draw, growth } from '../../../model/quota.ts';
import type { Provider } from '../driver.ts';
import { headroomOf, type Look, matched, nameOf } from '../headroom.ts';
import type { ComputeClients } from './compute-clients.ts';
import { abortable, type ComputeScope } from './compute-resource.ts';
import { classify } from './errors.ts';
import { startOf } from './instance-group.ts';
import { vcpusOf } from './machine-types.ts';

/** As the API gives them. */
interface Told {
  metric?: string | null;
  limit?: number | null;
  usage?: number | null;
}

/**
 * Metrics: the enumeration `Quota.metric` of https://cloud.google.com/compute/docs/reference/rest/v1/regions (2026-11-06); E2
 * machines draw on CPUS, balanced disks on SSD_TOTAL_GB: https://cloud.google.com/compute/resource-usage (2026-11).
 */
export const gcpQuotas =
  (scope: ComputeScope): Provider['quotas'] =>
  ({ placement, specs, observed }, signal) => {
    const { project, deadlineMs } = scope;
    const { region, configuration } = placement;
    const count = (kind: string): number => created(specs, observed, `gcp.compute.${kind}`);
    const spec = (key: string) => specs.find((one) => one.key === key)?.desired;
    const group = specs.find(({ kind }) => kind === 'gcp.compute.instance-group');
    const present = observed[group?.key ?? ''];
    const machines = group
      ? growth({
          present: present && Number(present.properties.size),
          start: startOf(group, configuration),
          least: Number(group.desired.size ?? spec('autoscaler')?.min ?? 0),
        })
      : 0;
    const vcpus = machines > 0 ? machines * vcpusOf(String(spec('template')?.machineType)) : 0;

    const draw =
      (where: string) =>
      (name: string, unit: string, needs: number): Draw => ({
        name,
        title: name,
        unit,
        where,
        needs,
        raise: `https://console.cloud.google.com/iam-admin/quotas?project=${project}, quota ${name}, new value <value>`,
      });
    const [inRegion, inProject] = [draw(region), draw('the account')];

    const look = (
      draws: readonly Draw[],
      quotas: (clients: ComputeClients) => Promise<readonly Told[] | null | undefined>,
    ): Look[] => {
      const drawn = draws.filter(({ needs }) => needs > 0);
      if (drawn.length === 0) return [];
      const read = async () => {
        const clients = await scope.clients();
        const deadline = AbortSignal.any([signal, AbortSignal.timeout(deadlineMs)]);
        const told = (await abortable(deadline, quotas(clients))) ?? [];
        return matched(drawn, ({ name }) => {
          const quota = told.find(({ metric }) => metric === name);
          if (typeof quota?.limit !== 'number' || typeof quota.usage !== 'number') return undefined;
          return { limit: quota.limit, used: quota.usage };
        });
      };
      return [{ of: drawn.map(nameOf).join(', '), read }];
    };
    const looks = [
      ...look(
        [
          inRegion('CPUS', 'vCPUs', vcpus),
          inRegion('INSTANCES', 'machines', machines),
          inRegion('SSD_TOTAL_GB', 'GB', machines * Number(spec('template')?.diskGb ?? 0)),
          inRegion('STATIC_ADDRESSES', 'addresses', count('address')),
        ],
        async ({ regions }) => (await regions.get({ project, region }))[0].quotas,
      ),
      ...look(
        [
          inProject('CPUS_ALL_REGIONS', 'vCPUs', vcpus),
          inProject('NETWORKS', 'networks', count('network')),
          inProject('FIREWALLS', 'firewall rules', count('firewall')),
          inProject('ROUTERS', 'routers', count('router')),
        ],
        async ({ projects }) => (await projects.get({ project }))[0].quotas,
      ),
    ];
    return headroomOf(looks, classify);
  };
