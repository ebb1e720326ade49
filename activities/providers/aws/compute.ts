/** `compute` on AWS: an Auto Scaling group in a network of its own. */
import { DescribeAutoScalingGroupsCommand } from '@aws-sdk/client-auto-scaling';
import type { Configuration, Placement } from '../../../model/service.ts';
import type { Cell } from '../driver.ts';
import { groupDriver, groupSpec, policyDriver, policySpec, type Size } from './auto-scaling-group.ts';
import type { Clients } from './clients.ts';
import { numberIn, textIn } from './configuration.ts';
import { defaultRouteDriver, defaultRouteSpec } from './ec2-default-route.ts';
import { launchTemplateDriver, launchTemplateSpec } from './ec2-launch-template.ts';
import { internetGatewayDriver, networkSpecs, subnetDriver, vpcDriver } from './ec2-network.ts';
import { securityGroupDriver, securityGroupSpec } from './ec2-security-group.ts';
import { instanceProfileDriver, instanceProfileSpec } from './iam-instance-profile.ts';
import { roleDriver, roleSpec, type Statement } from './iam-role.ts';

/** Session Manager, so that nobody needs SSH: https://docs.aws.amazon.com/systems-manager/latest/userguide/getting-started-create-iam-instance-profile.html */
const sessionManager: Statement = {
  Sid: 'SessionManager',
  Effect: 'Allow',
  Action: [
    'ssm:UpdateInstanceInformation',
    'ssmmessages:CreateControlChannel',
    'ssmmessages:CreateDataChannel',
    'ssmmessages:OpenControlChannel',
    'ssmmessages:OpenDataChannel',
  ],
  // These actions take no resource.
  Resource: ['*'],
};

/** Left out, a group has two instances in two zones; without auto scaling all bounds are the count. */
function sizeOf(configuration: Configuration): Size {
  const start = numberIn(configuration, 'instance_count') ?? 2;
  if (configuration.auto_scaling !== true) return { min: start, max: start, start, scales: false };
  const min = numberIn(configuration, 'min_instances') ?? Math.min(start, 2);
  const max = Math.max(numberIn(configuration, 'max_instances') ?? start * 2, min);
  return { min, max, start, scales: true };
}

function design(placement: Placement) {
  const role = roleSpec(placement, 'ec2.amazonaws.com', [sessionManager]);
  const profile = instanceProfileSpec(placement, role.name);
  const instanceType = textIn(placement.configuration, 'instance_type') ?? 't3.large';
  const size = sizeOf(placement.configuration);
  const group = groupSpec(placement, size);
  return [
    ...networkSpecs(placement),
    defaultRouteSpec(placement),
    securityGroupSpec(placement),
    role,
    profile,
    launchTemplateSpec(placement, instanceType, profile.name),
    group,
    ...(size.scales ? [policySpec(placement, group.name)] : []),
  ];
}

export function compute(clients: Clients): Cell {
  return {
    provider: 'aws',
    type: 'compute',
    design,
    resources: [
      vpcDriver(clients),
      internetGatewayDriver(clients),
      subnetDriver(clients),
      defaultRouteDriver(clients),
      securityGroupDriver(clients),
      roleDriver(clients),
      instanceProfileDriver(clients),
      launchTemplateDriver(clients),
      groupDriver(clients),
      policyDriver(clients),
    ],

    verify(_placement, observed) {
      const { volume, metadata } = observed.template?.properties ?? {};
      const ingress = observed.firewall?.properties.ingress;
      const encrypted = typeof volume === 'object' && JSON.stringify(volume).includes('"encrypted":true');
      const imdsv2 = JSON.stringify(metadata ?? {}).includes('"tokens":"required"');
      const permissions = JSON.stringify(observed.role?.properties.permissions ?? {});
      const own = observed.network !== undefined && observed.group?.properties.subnets === true;
      return [
        { name: 'encryption at rest', resource: 'template', ok: encrypted, found: JSON.stringify(volume ?? 'nothing') },
        {
          name: 'no public access',
          resource: 'firewall',
          ok: Array.isArray(ingress) && ingress.length === 0,
          found: Array.isArray(ingress) && ingress.length > 0 ? ingress.join(', ') : 'nothing may come in',
        },
        {
          name: 'network isolation',
          resource: 'network',
          ok: own,
          found: own ? 'a network of its own' : 'instances lie in other subnets',
        },
        {
          name: 'least privilege',
          resource: 'role',
          ok: imdsv2 && permissions.includes('ssm:') && !/"Action":(\[)?"\*"/.test(permissions),
          found: `${imdsv2 ? 'IMDSv2 only' : 'IMDSv1 possible'}; Session Manager only`,
        },
      ];
    },

    async health(placement, observed, signal) {
      const name = observed.group?.outputs.group;
      if (!name) return { healthy: false, detail: 'the Auto Scaling group does not exist' };
      const command = new DescribeAutoScalingGroupsCommand({ AutoScalingGroupNames: [name] });
      const page = await clients.autoScaling(placement.region).send(command, { abortSignal: signal });
      const group = page.AutoScalingGroups?.[0];
      const running = (group?.Instances ?? []).filter(
        ({ LifecycleState, HealthStatus }) => LifecycleState === 'InService' && HealthStatus === 'Healthy',
      ).length;
      const least = group?.MinSize ?? 1;
      return {
        healthy: running >= least,
        detail: `${running} of ${group?.DesiredCapacity ?? 0} instances in service, at least ${least} wanted`,
      };
    },

    endpoint: (_placement, observed) => observed.group?.outputs.arn ?? '',
  };
}
