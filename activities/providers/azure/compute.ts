/** `compute` on Azure: a virtual machine scale set in a network of its own. */
import { ComputeConfiguration } from '../../../model/configuration.ts';
import { CloudError } from '../../../model/errors.ts';
import type { Placement, ResourceSpec } from '../../../model/service.ts';
import type { Cell } from '../driver.ts';
import { autoscaleDriver, autoscaleSpec, type Bounds } from './autoscale.ts';
import type { AzureClients } from './clients.ts';
import { networkDrivers, networkSpecs } from './network.ts';
import { resourceGroupDriver, resourceGroupName, resourceGroupSpec } from './resource-group.ts';
import { scaleSetDriver, scaleSetSpec } from './scale-set.ts';
import { vmSize } from './vm-sizes.ts';

/** Without auto scaling all bounds are the count. */
export function boundsOf({ configuration }: Placement): Bounds & { scales: boolean } {
  const { instance_count, auto_scaling, min_instances, max_instances } = ComputeConfiguration.parse(configuration);
  if (!auto_scaling) return { min: instance_count, max: instance_count, start: instance_count, scales: false };
  const min = min_instances ?? Math.min(instance_count, 2);
  const max = Math.max(max_instances ?? instance_count * 2, min);
  return { min, max, start: Math.min(Math.max(instance_count, min), max), scales: true };
}

function design(placement: Placement): ResourceSpec[] {
  const { instance_type } = ComputeConfiguration.parse(placement.configuration);
  const size = vmSize(instance_type);
  if (!size)
    throw new CloudError(
      { kind: 'NotSupported', provider: 'azure', operation: 'choose a size', resource: instance_type },
      'no size of Azure is known for this instance type',
    );
  const bounds = boundsOf(placement);
  return [
    resourceGroupSpec(placement),
    ...networkSpecs(placement),
    scaleSetSpec(placement, size, bounds.scales ? undefined : bounds.start),
    ...(bounds.scales ? [autoscaleSpec(placement, bounds)] : []),
  ];
}

export function computeCell(clients: AzureClients): Cell {
  return {
    provider: 'azure',
    type: 'compute',
    design,
    resources: [
      resourceGroupDriver(clients),
      ...networkDrivers(clients),
      scaleSetDriver(clients, (placement) => boundsOf(placement).start),
      autoscaleDriver(clients),
    ],

    verify(_placement, observed) {
      const machines = observed.machines?.properties ?? {};
      const ingress = observed.firewall?.properties.ingress;
      const subnets = JSON.stringify(observed.network?.properties.subnets ?? []);
      const firewall = observed.firewall?.outputs.name ?? '';
      const guarded = firewall !== '' && subnets.includes(` ${firewall} `) && subnets.includes('private');
      const closed = Array.isArray(ingress) && ingress.length === 0 && machines.publicAddress === false;
      return [
        {
          name: 'encryption at rest',
          resource: 'machines',
          ok: machines.encryptionAtHost === true,
          found: machines.encryptionAtHost === true ? 'disks and caches, at the host' : 'disks only',
        },
        {
          name: 'no public access',
          resource: 'firewall',
          ok: closed,
          found: closed ? 'nothing may come in, no public addresses' : `open for ${JSON.stringify(ingress)}`,
        },
        {
          name: 'network isolation',
          resource: 'network',
          ok: guarded && machines.subnet !== '',
          found: guarded ? 'a network of its own; the only way out is its NAT gateway' : subnets,
        },
        {
          name: 'least privilege',
          resource: 'machines',
          ok: machines.passwords === false && machines.identity === 'SystemAssigned',
          found: `${machines.passwords === false ? 'no passwords' : 'passwords'}; an identity without roles; ${String(machines.security)}`,
        },
      ];
    },

    async health(placement, observed, signal) {
      const name = observed.machines?.outputs.name;
      if (!name) return { healthy: false, detail: 'the scale set does not exist' };
      const view = await clients
        .compute(placement.account)
        .virtualMachineScaleSets.getInstanceView(resourceGroupName(placement), name, { abortSignal: signal });
      const ready = (view.virtualMachine?.statusesSummary ?? []).find(
        ({ code }) => code?.toLowerCase() === 'provisioningstate/succeeded',
      );
      const running = ready?.count ?? 0;
      const least = boundsOf(placement).min;
      return { healthy: running >= least, detail: `${running} machines run, at least ${least} wanted` };
    },

    endpoint: (_placement, observed) => observed.machines?.id ?? '',
  };
}
