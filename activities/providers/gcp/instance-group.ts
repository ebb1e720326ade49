/** The machines of a placement: an instance template, a regional managed group that spreads them over zones, an autoscaler. */
import { toTags } from '../../../model/names.ts';
import type { Configuration, JsonObject, ResourceSpec } from '../../../model/service.ts';
import type { ResourceDriver } from '../driver.ts';
import type { IAutoscaler, IInstanceGroupManager, IInstanceTemplate } from './compute-clients.ts';
import { type ComputeKind, type ComputeScope, computeDriver, need } from './compute-resource.ts';

/** Debian's stable image; Google keeps the family's newest build patched. */
const image = 'projects/debian-cloud/global/images/family/debian-13';

const record = (value: JsonObject[string] | undefined): Record<string, string> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
    ? Object.fromEntries(Object.entries(value).map(([key, item]) => [key, String(item)]))
    : {};

interface Item {
  key?: string | null;
  value?: string | null;
}
const items = (metadata: Record<string, string>): Item[] =>
  Object.entries(metadata).map(([key, value]) => ({ key, value }));
const fromItems = (metadata: readonly Item[] | null | undefined): Record<string, string> =>
  Object.fromEntries((metadata ?? []).map(({ key, value }) => [key ?? '', value ?? '']));

/** A template cannot be changed; another one has to take its place, which the plan proposes. */
const template: ComputeKind<IInstanceTemplate> = {
  kind: 'gcp.compute.template',
  scope: 'region',
  immutable: ['machineType', 'diskGb', 'shielded', 'externalAddress', 'metadata'],
  get: (clients, { project, region, name }) => clients.templates.get({ project, region, instanceTemplate: name }),
  insert: (clients, { project, region }, instanceTemplateResource) =>
    clients.templates.insert({ project, region, instanceTemplateResource }),
  delete: (clients, { project, region, name }) => clients.templates.delete({ project, region, instanceTemplate: name }),
  list: (clients, { project, region }, filter) => clients.templates.list({ project, region, filter }),
  body: ({ desired }, call) => ({
    properties: {
      machineType: String(desired.machineType),
      labels: toTags(call.placement.owner),
      disks: [
        {
          boot: true,
          autoDelete: true,
          initializeParams: { sourceImage: image, diskSizeGb: Number(desired.diskGb), diskType: 'pd-balanced' },
        },
      ],
      // No access configuration: no external address.
      networkInterfaces: [{ network: need(call, 'network'), subnetwork: need(call, 'subnetwork') }],
      serviceAccounts: [
        { email: need(call, 'account', 'email'), scopes: ['https://www.googleapis.com/auth/cloud-platform'] },
      ],
      shieldedInstanceConfig: {
        enableSecureBoot: desired.shielded === true,
        enableVtpm: desired.shielded === true,
        enableIntegrityMonitoring: desired.shielded === true,
      },
      metadata: { items: items(record(desired.metadata)) },
    },
  }),
  properties: ({ properties }) => {
    const shielded = properties?.shieldedInstanceConfig;
    return {
      machineType: properties?.machineType ?? '',
      diskGb: Number(properties?.disks?.[0]?.initializeParams?.diskSizeGb ?? 0),
      shielded: [shielded?.enableSecureBoot, shielded?.enableVtpm, shielded?.enableIntegrityMonitoring].every(Boolean),
      externalAddress: (properties?.networkInterfaces?.[0]?.accessConfigs?.length ?? 0) > 0,
      metadata: fromItems(properties?.metadata?.items),
    };
  },
};

/** Instances that are still coming up make a group "being created", but not for ever: a group that cannot come up must stay removable, and its health says why. */
const settlingMs = 5 * 60 * 1000;

const groupSettings = ({ desired }: { desired: JsonObject }): IInstanceGroupManager => ({
  allInstancesConfig: { properties: { metadata: record(desired.metadata) } },
  updatePolicy: {
    type: String(desired.updates),
    // What instances read at start-up only needs no new machine.
    minimalAction: 'RESTART',
    mostDisruptiveAllowedAction: 'REPLACE',
  },
});

/** How many a new group starts with. */
export const startOf = ({ desired }: ResourceSpec, configuration: Configuration): number =>
  Number(desired.size ?? configuration.instance_count ?? 2);

/**
 * `size` is left out of `desired` where an autoscaler decides it. `metadata` is what may change with a release of what runs
 * on the machines: set for the whole group, it needs no new template.
 */
const group: ComputeKind<IInstanceGroupManager> = {
  kind: 'gcp.compute.instance-group',
  scope: 'region',
  immutable: ['template'],
  get: (clients, { project, region, name }) => clients.groups.get({ project, region, instanceGroupManager: name }),
  insert: (clients, { project, region }, instanceGroupManagerResource) =>
    clients.groups.insert({ project, region, instanceGroupManagerResource }),
  delete: (clients, { project, region, name }) =>
    clients.groups.delete({ project, region, instanceGroupManager: name }),
  list: (clients, { project, region }, filter) => clients.groups.list({ project, region, filter }),
  body: (spec, call) => ({
    ...groupSettings(spec),
    baseInstanceName: spec.name.slice(0, 54).replace(/-$/, ''),
    instanceTemplate: need(call, 'template'),
    targetSize: startOf(spec, call.placement.configuration),
    ...(call.needs.health
      ? { autoHealingPolicies: [{ healthCheck: need(call, 'health'), initialDelaySec: 300 }] }
      : {}),
  }),
  properties: ({ instanceTemplate, targetSize, allInstancesConfig, updatePolicy }) => ({
    template: instanceTemplate?.split('/').at(-1) ?? '',
    size: targetSize ?? 0,
    metadata: { ...allInstancesConfig?.properties?.metadata },
    updates: updatePolicy?.type ?? '',
  }),
  outputs: ({ instanceGroup, status }) => ({ group: instanceGroup ?? '', stable: String(status?.isStable ?? false) }),
  settled: ({ status, creationTimestamp }) =>
    status?.isStable === true || Date.now() - Date.parse(creationTimestamp ?? '') > settlingMs,
  change: (clients, { project, region, name }, spec) =>
    clients.groups.patch({
      project,
      region,
      instanceGroupManager: name,
      instanceGroupManagerResource: {
        ...groupSettings(spec),
        ...(spec.desired.size === undefined ? {} : { targetSize: Number(spec.desired.size) }),
      },
    }),
};

const policy = ({ desired }: { desired: JsonObject }): NonNullable<IAutoscaler['autoscalingPolicy']> => ({
  mode: 'ON',
  minNumReplicas: Number(desired.min),
  maxNumReplicas: Number(desired.max),
  coolDownPeriodSec: 90,
  cpuUtilization: { utilizationTarget: Number(desired.cpuPercent) / 100 },
});

const autoscaler: ComputeKind<IAutoscaler> = {
  kind: 'gcp.compute.autoscaler',
  scope: 'region',
  immutable: [],
  get: (clients, { project, region, name }) => clients.autoscalers.get({ project, region, autoscaler: name }),
  insert: (clients, { project, region }, autoscalerResource) =>
    clients.autoscalers.insert({ project, region, autoscalerResource }),
  delete: (clients, { project, region, name }) => clients.autoscalers.delete({ project, region, autoscaler: name }),
  list: (clients, { project, region }, filter) => clients.autoscalers.list({ project, region, filter }),
  body: (spec, call) => ({ target: need(call, 'group'), autoscalingPolicy: policy(spec) }),
  properties: ({ autoscalingPolicy }) => ({
    min: autoscalingPolicy?.minNumReplicas ?? 0,
    max: autoscalingPolicy?.maxNumReplicas ?? 0,
    cpuPercent: Math.round((autoscalingPolicy?.cpuUtilization?.utilizationTarget ?? 0) * 100),
  }),
  change: (clients, { project, region, name }, spec) =>
    clients.autoscalers.patch({
      project,
      region,
      autoscaler: name,
      autoscalerResource: { name, autoscalingPolicy: policy(spec) },
    }),
};

export const instanceGroupDrivers = (scope: ComputeScope): ResourceDriver[] => [
  computeDriver(template, scope),
  computeDriver(group, scope),
  computeDriver(autoscaler, scope),
];
