/** Autoscale settings: how many machines a scale set has, by the load of their processors. */
import type { AutoscaleSettingResource, ScaleRule } from '@azure/arm-monitor';
import { toTags } from '../../../model/names.ts';
import type { Placement, ResourceSpec } from '../../../model/service.ts';
import type { Call, Found, ResourceDriver } from '../driver.ts';
import type { AzureClients } from './clients.ts';
import { found } from './errors.ts';
import { networkName } from './network.ts';
import { resourceGroupName } from './resource-group.ts';
import { scaleSetName } from './scale-set.ts';
import { ours, ownerOf, region, tagsOf } from './tags.ts';

/** One machine more above, one less below, in percent of all processors over five minutes. */
const cpu = { above: 70, below: 30 };

export interface Bounds {
  min: number;
  max: number;
  start: number;
}

export const autoscaleSpec = (placement: Placement, { min, max, start }: Bounds): ResourceSpec => ({
  key: 'scaling',
  kind: 'azure.monitor.autoscale',
  name: networkName(placement, 'scale'),
  needs: ['machines'],
  desired: {
    location: placement.region,
    enabled: true,
    target: scaleSetName(placement),
    min,
    max,
    start,
    rules: [`Percentage CPU GreaterThan ${cpu.above}: Increase 1`, `Percentage CPU LessThan ${cpu.below}: Decrease 1`],
    tags: toTags(placement.owner),
  },
  holdsData: false,
});

const rule = (metricResourceUri: string, more: boolean): ScaleRule => ({
  metricTrigger: {
    metricName: 'Percentage CPU',
    metricResourceUri,
    timeGrain: 'PT1M',
    statistic: 'Average',
    timeWindow: 'PT5M',
    timeAggregation: 'Average',
    operator: more ? 'GreaterThan' : 'LessThan',
    threshold: more ? cpu.above : cpu.below,
  },
  scaleAction: { direction: more ? 'Increase' : 'Decrease', type: 'ChangeCount', value: '1', cooldown: 'PT5M' },
});

export function autoscaleDriver(clients: AzureClients): ResourceDriver {
  const operations = (call: Pick<Call, 'placement'>) => clients.monitor(call.placement.account).autoscaleSettings;
  const read = (name: string, call: Call): Promise<AutoscaleSettingResource | undefined> =>
    found(() => operations(call).get(resourceGroupName(call.placement), name, { abortSignal: call.signal }));
  const write = async (spec: ResourceSpec, call: Call, others: AutoscaleSettingResource['tags']): Promise<void> => {
    const target = call.needs.machines?.id ?? '';
    const { min, max, start } = spec.desired;
    await operations(call).createOrUpdate(
      resourceGroupName(call.placement),
      spec.name,
      {
        location: call.placement.region,
        tags: { ...others, ...toTags(call.placement.owner) },
        namePropertiesName: spec.name,
        enabled: true,
        targetResourceUri: target,
        profiles: [
          {
            name: 'load',
            capacity: { minimum: String(min), maximum: String(max), default: String(start) },
            rules: [rule(target, true), rule(target, false)],
          },
        ],
      },
      { abortSignal: call.signal },
    );
  };

  return {
    kind: 'azure.monitor.autoscale',
    immutable: ['location'],
    async observe(spec, call) {
      const seen = await read(spec.name, call);
      if (!seen?.id) return undefined;
      const [profile, ...more] = seen.profiles;
      return {
        id: seen.id,
        owner: ownerOf(seen.tags),
        state: 'ready',
        properties: {
          location: region(seen.location),
          enabled: seen.enabled ?? false,
          target: seen.targetResourceUri?.split('/').at(-1) ?? '',
          min: Number(profile?.capacity.minimum),
          max: Number(profile?.capacity.maximum),
          start: Number(profile?.capacity.default),
          rules: [profile, ...more]
            .flatMap((one) => one?.rules ?? [])
            .map(
              ({ metricTrigger: on, scaleAction: act }) =>
                `${on.metricName} ${on.operator} ${on.threshold}: ${act.direction} ${act.value}`,
            )
            .sort(),
          tags: tagsOf(seen.tags),
        },
        outputs: { id: seen.id },
      };
    },
    create: (spec, call) => write(spec, call, {}),
    update: async (spec, _observed, _drift, call) => write(spec, call, (await read(spec.name, call))?.tags),
    async remove(spec, _observed, call) {
      const group = resourceGroupName(call.placement);
      await found(() => operations(call).delete(group, spec.name, { abortSignal: call.signal }));
    },
    async list(call) {
      const all: Found[] = [];
      for await (const seen of operations(call).listBySubscription({ abortSignal: call.signal })) {
        const owner = ours(seen.tags, call.placement);
        if (owner && seen.id && seen.name && region(seen.location) === call.placement.region)
          all.push({ kind: this.kind, name: seen.name, id: seen.id, owner });
      }
      return all;
    },
  };
}
