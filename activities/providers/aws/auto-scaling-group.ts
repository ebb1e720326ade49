/** The instances of a `compute` placement, and the policy that sizes them. */
import {
  type AutoScalingGroup,
  CreateAutoScalingGroupCommand,
  CreateOrUpdateTagsCommand,
  DeleteAutoScalingGroupCommand,
  DeletePolicyCommand,
  DescribeAutoScalingGroupsCommand,
  DescribePoliciesCommand,
  PutScalingPolicyCommand,
  UpdateAutoScalingGroupCommand,
} from '@aws-sdk/client-auto-scaling';
import { resourceName } from '../../../model/names.ts';
import type { Configuration, JsonObject, Placement, ResourceSpec } from '../../../model/service.ts';
import type { Call, Observed, ResourceDriver } from '../driver.ts';
import type { Clients } from './clients.ts';
import { subnetKeys } from './ec2-network.ts';
import { gone, ifFound } from './errors.ts';
import { allPages, desiredTags, foundBy, fromList, ownerFilter, ownership, tagsOf } from './tags.ts';

export const groupKind = 'aws.autoscaling.group';
const policyKind = 'aws.autoscaling.policy';
/** A group without any instance for this long is not "being created", it has no capacity: health says so. */
const patienceMs = 300_000;

export interface Size {
  min: number;
  max: number;
  start: number;
  scales: boolean;
}

export const groupSpec = (placement: Placement, size: Size): ResourceSpec => ({
  key: 'group',
  kind: groupKind,
  name: resourceName(placement, { limit: 255 }),
  needs: ['template', 'route', ...subnetKeys],
  holdsData: false,
  desired: {
    tags: desiredTags(placement),
    min: size.min,
    max: size.max,
    // Where a policy sizes the group, its present size is the policy's business.
    ...(size.scales ? {} : { count: size.start }),
    subnets: true,
    template: '$Default',
  },
});

export function policySpec(placement: Placement, group: string): ResourceSpec {
  return {
    key: 'scaling',
    kind: policyKind,
    name: resourceName(placement, { limit: 255, suffix: 'cpu' }),
    needs: ['group'],
    holdsData: false,
    desired: { group, metric: 'ASGAverageCPUUtilization', target: 60 },
  };
}

/** How many a new group starts with: where a policy sizes it, the configured count, as far as its bounds let it. */
export function startOf({ desired: { min, max, count } }: ResourceSpec, configuration: Configuration): number {
  const wanted = Number(count ?? configuration.instance_count ?? min);
  return Math.min(Math.max(wanted, Number(min)), Number(max));
}

const find = async (clients: Clients, name: string, call: Call): Promise<AutoScalingGroup | undefined> => {
  const command = new DescribeAutoScalingGroupsCommand({ AutoScalingGroupNames: [name] });
  const page = await clients.autoScaling(call.placement.region).send(command, { abortSignal: call.signal });
  return page.AutoScalingGroups?.[0];
};

function stateOf({ Status, Instances, DesiredCapacity, CreatedTime }: AutoScalingGroup): Observed['state'] {
  if (Status) return 'deleting';
  const starting = (Instances ?? []).some(({ LifecycleState }) => LifecycleState?.startsWith('Pending'));
  const age = Date.now() - (CreatedTime?.getTime() ?? 0);
  const empty = (DesiredCapacity ?? 0) > 0 && (Instances ?? []).length === 0;
  return starting || (empty && age < patienceMs) ? 'creating' : 'ready';
}

export function groupDriver(clients: Clients): ResourceDriver {
  const client = ({ placement }: Pick<Call, 'placement'>) => clients.autoScaling(placement.region);
  const subnetsOf = ({ needs }: Call): string => subnetKeys.map((key) => needs[key]?.subnetId ?? '').join(',');
  const shape = (spec: ResourceSpec, call: Call) => ({
    AutoScalingGroupName: spec.name,
    MinSize: Number(spec.desired.min),
    MaxSize: Number(spec.desired.max),
    VPCZoneIdentifier: subnetsOf(call),
    LaunchTemplate: { LaunchTemplateId: call.needs.template?.templateId, Version: '$Default' },
  });
  const tagList = (spec: ResourceSpec) =>
    Object.entries(tagsOf(spec)).map(([Key, Value]) => ({
      ResourceId: spec.name,
      ResourceType: 'auto-scaling-group',
      Key,
      Value,
      // The launch template tags what it starts, volumes included.
      PropagateAtLaunch: false,
    }));

  return {
    kind: groupKind,
    immutable: [],

    async observe(spec, call) {
      const group = await find(clients, spec.name, call);
      if (!group) return undefined;
      const { tags, ...owned } = ownership(fromList(group.Tags), spec);
      const sorted = (ids: string | undefined) => (ids ?? '').split(',').sort().join();
      const properties: JsonObject = {
        tags,
        min: group.MinSize ?? 0,
        max: group.MaxSize ?? 0,
        count: group.DesiredCapacity ?? 0,
        subnets: sorted(group.VPCZoneIdentifier) === sorted(subnetsOf(call)),
        template: group.LaunchTemplate?.Version ?? '',
      };
      return {
        id: group.AutoScalingGroupARN ?? spec.name,
        ...owned,
        state: stateOf(group),
        properties,
        outputs: { group: spec.name, arn: group.AutoScalingGroupARN ?? '' },
      };
    },

    async create(spec, call) {
      const command = new CreateAutoScalingGroupCommand({
        ...shape(spec, call),
        DesiredCapacity: startOf(spec, call.placement.configuration),
        HealthCheckType: 'EC2',
        HealthCheckGracePeriod: 300,
        Tags: tagList(spec),
      });
      await client(call).send(command, { abortSignal: call.signal });
    },

    async update(spec, _observed, drift, call) {
      const options = { abortSignal: call.signal };
      if (drift.includes('tags'))
        await client(call).send(new CreateOrUpdateTagsCommand({ Tags: tagList(spec) }), options);
      if (drift.every((property) => property === 'tags')) return;
      const { count } = spec.desired;
      const size = count === undefined ? {} : { DesiredCapacity: Number(count) };
      await client(call).send(new UpdateAutoScalingGroupCommand({ ...shape(spec, call), ...size }), options);
    },

    async remove(spec, _observed, call) {
      const command = new DeleteAutoScalingGroupCommand({ AutoScalingGroupName: spec.name, ForceDelete: true });
      await gone(client(call).send(command, { abortSignal: call.signal }));
    },

    async list(call) {
      const groups = await allPages(async (NextToken) => {
        const query = { Filters: [ownerFilter(call.placement)], NextToken };
        const page = await client(call).send(new DescribeAutoScalingGroupsCommand(query), {
          abortSignal: call.signal,
        });
        return { items: page.AutoScalingGroups ?? [], next: page.NextToken };
      });
      return groups.flatMap(({ AutoScalingGroupName = '', AutoScalingGroupARN = '', Tags }) =>
        foundBy(call.placement, groupKind, AutoScalingGroupName, AutoScalingGroupARN, fromList(Tags)),
      );
    },
  };
}

/** Target tracking on average CPU. It takes no tags: it belongs to its group, is owned by who owns that, and goes with it. */
export function policyDriver(clients: Clients): ResourceDriver {
  const client = ({ placement }: Pick<Call, 'placement'>) => clients.autoScaling(placement.region);
  const nameOf = (spec: ResourceSpec) => ({
    AutoScalingGroupName: String(spec.desired.group),
    PolicyName: spec.name,
  });
  const put = async (spec: ResourceSpec, call: Call): Promise<void> => {
    const command = new PutScalingPolicyCommand({
      ...nameOf(spec),
      PolicyType: 'TargetTrackingScaling',
      TargetTrackingConfiguration: {
        PredefinedMetricSpecification: { PredefinedMetricType: 'ASGAverageCPUUtilization' },
        TargetValue: Number(spec.desired.target),
      },
    });
    await client(call).send(command, { abortSignal: call.signal });
  };

  return {
    kind: policyKind,
    immutable: ['group'],

    async observe(spec, call) {
      const { AutoScalingGroupName, PolicyName } = nameOf(spec);
      const command = new DescribePoliciesCommand({ AutoScalingGroupName, PolicyNames: [PolicyName] });
      const page = await ifFound(client(call).send(command, { abortSignal: call.signal }));
      const policy = page?.ScalingPolicies?.[0];
      if (!policy) return undefined;
      const group = await find(clients, AutoScalingGroupName, call);
      const tracking = policy.TargetTrackingConfiguration;
      return {
        id: policy.PolicyARN ?? PolicyName,
        owner: ownership(fromList(group?.Tags), spec).owner,
        state: 'ready',
        properties: {
          group: policy.AutoScalingGroupName ?? '',
          metric: tracking?.PredefinedMetricSpecification?.PredefinedMetricType ?? '',
          target: tracking?.TargetValue ?? 0,
        },
        outputs: {},
      };
    },
    create: put,
    update: (spec, _observed, _drift, call) => put(spec, call),
    async remove(spec, _observed, call) {
      await gone(client(call).send(new DeletePolicyCommand(nameOf(spec)), { abortSignal: call.signal }));
    },
    list: async () => [],
  };
}
