/** GCP's `compute`: a regional managed instance group in a VPC of its own, without external addresses. */
import { type NameRule, resourceName } from '../../../model/names.ts';
import type { JsonObject, Placement, ResourceSpec } from '../../../model/service.ts';
import type { Cell, Check, Health, Observed, ResourceDriver } from '../driver.ts';
import type { ComputeScope } from './compute-resource.ts';
import { instanceGroupDrivers } from './instance-group.ts';
import { machineType } from './machine-types.ts';
import { healthCheckRanges, networkDrivers } from './network.ts';
import { accountName } from './service-account.ts';

/** Names in Compute Engine: 63 characters, lower case letters, digits and hyphens. */
export const computeName = (placement: Placement, suffix: string): string => {
  const rule: NameRule = { limit: 63, suffix };
  return resourceName(placement, rule);
};

/** Where administrators come from, through Identity-Aware Proxy: https://cloud.google.com/iap/docs/using-tcp-forwarding. */
const proxyRange = '35.235.240.0/20';

type Draft = Omit<ResourceSpec, 'holdsData'>;

/** VPC, subnetwork, an explicit and logged denial of everything, and NAT: the ground of every placement with machines. */
export function ground(placement: Placement): Draft[] {
  const name = (suffix: string): string => computeName(placement, suffix);
  return [
    {
      key: 'network',
      kind: 'gcp.compute.network',
      name: name('net'),
      needs: [],
      desired: { automaticSubnetworks: false, routing: 'REGIONAL' },
    },
    {
      key: 'subnetwork',
      kind: 'gcp.compute.subnetwork',
      name: name('subnet'),
      needs: ['network'],
      desired: { range: '10.128.0.0/20', privateGoogleAccess: true, flowLogs: true },
    },
    firewall(placement, 'deny', { action: 'deny', ports: [], sources: ['0.0.0.0/0'], priority: 65_000, logged: true }),
    {
      key: 'router',
      kind: 'gcp.compute.router',
      name: name('router'),
      needs: ['network', 'subnetwork'],
      desired: { nat: true, errorsLogged: true },
    },
  ];
}

export function firewall(placement: Placement, suffix: string, desired: JsonObject): Draft {
  return {
    key: `firewall-${suffix}`,
    kind: 'gcp.compute.firewall',
    name: computeName(placement, suffix),
    needs: ['network'],
    desired,
  };
}

/** The identity of the machines; it may do nothing until something is granted to it. */
export function account(placement: Placement): Draft {
  return {
    key: 'account',
    kind: 'gcp.iam.service-account',
    name: accountName(placement),
    needs: [],
    desired: { displayName: `${placement.owner.estate} ${placement.owner.service}`, disabled: false },
  };
}

export function template(placement: Placement, desired: JsonObject): Draft {
  return {
    key: 'template',
    kind: 'gcp.compute.template',
    name: computeName(placement, 'template'),
    needs: ['network', 'subnetwork', 'account'],
    desired: { diskGb: 20, shielded: true, externalAddress: false, ...desired },
  };
}

/** Keys are those of people in OS Login, never of a project or an instance. */
export const loginMetadata = { 'enable-oslogin': 'TRUE', 'block-project-ssh-keys': 'TRUE' };

const plain = (draft: Draft): ResourceSpec => ({ ...draft, holdsData: false });

function design(placement: Placement): ResourceSpec[] {
  const { configuration } = placement;
  const count = Number(configuration.instance_count ?? 2);
  const scaled = configuration.auto_scaling === true;
  const drafts: Draft[] = [
    ...ground(placement),
    firewall(placement, 'admin', {
      action: 'allow',
      ports: ['22'],
      sources: [proxyRange],
      priority: 1000,
      logged: true,
    }),
    firewall(placement, 'health', {
      action: 'allow',
      ports: ['80', '8080'],
      sources: healthCheckRanges,
      priority: 1000,
      logged: false,
    }),
    account(placement),
    template(placement, {
      machineType: machineType(configuration.instance_type),
      metadata: loginMetadata,
    }),
    {
      key: 'group',
      kind: 'gcp.compute.instance-group',
      name: computeName(placement, 'group'),
      needs: ['template', 'router'],
      desired: {
        template: computeName(placement, 'template'),
        metadata: {},
        updates: 'PROACTIVE',
        ...(scaled ? {} : { size: count }),
      },
    },
  ];
  if (scaled)
    drafts.push({
      key: 'autoscaler',
      kind: 'gcp.compute.autoscaler',
      name: computeName(placement, 'scaler'),
      needs: ['group'],
      desired: {
        min: Number(configuration.min_instances ?? Math.min(1, count)),
        max: Number(configuration.max_instances ?? count * 2),
        cpuPercent: 60,
      },
    });
  return drafts.map(plain);
}

/** What is judged alike on every placement with machines. */
export function verifyMachines(observed: Record<string, Observed>): Check[] {
  const seen = (key: string): JsonObject => observed[key]?.properties ?? {};
  const id = (key: string): string => observed[key]?.id ?? key;
  const denied = seen('firewall-deny');
  return [
    {
      name: 'no public access',
      resource: id('template'),
      ok: seen('template').externalAddress === false,
      found: seen('template').externalAddress === false ? 'no external address' : 'an external address',
    },
    {
      name: 'network isolation',
      resource: id('firewall-deny'),
      ok: denied.action === 'deny' && seen('network').automaticSubnetworks === false,
      found: denied.action === 'deny' ? 'own VPC; what no rule allows is denied' : 'no rule that denies',
    },
    {
      name: 'encryption at rest',
      resource: id('template'),
      ok: observed.template !== undefined && seen('template').shielded === true,
      found: 'persistent disks are always encrypted by Compute Engine; verified boot',
    },
  ];
}

/** Of a group: whether as many instances run as are asked for. */
export function groupHealth(observed: Record<string, Observed>): Health {
  const group = observed.group;
  if (!group) return { healthy: false, detail: 'the instance group does not exist' };
  const size = String(group.properties.size);
  return group.outputs.stable === 'true'
    ? { healthy: true, detail: `${size} instances run` }
    : { healthy: false, detail: `${group.id.split('/').at(-1)}: not all of its ${size} instances run yet` };
}

export function computeCell(scope: ComputeScope, serviceAccounts: ResourceDriver): Cell {
  return {
    provider: 'gcp',
    type: 'compute',
    design,
    resources: [...networkDrivers(scope), serviceAccounts, ...instanceGroupDrivers(scope)],
    verify: (_placement, observed) => [
      ...verifyMachines(observed),
      {
        name: 'least privilege',
        resource: observed.account?.id ?? 'account',
        ok: observed.account !== undefined,
        found: 'a service account of its own that no role is granted to',
      },
    ],
    health: async (_placement, observed) => groupHealth(observed),
    endpoint: (_placement, observed) => observed.group?.outputs.group ?? '',
  };
}
