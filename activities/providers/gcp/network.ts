/** The network of a placement: its own VPC without default rules, one subnetwork, firewall rules, and NAT for what must reach out. */
import type { JsonObject } from '../../../model/service.ts';
import type { ResourceDriver } from '../driver.ts';
import type { IFirewall, INetwork, IRouter, ISubnetwork } from './compute-clients.ts';
import { type ComputeKind, type ComputeScope, computeDriver, need } from './compute-resource.ts';

const network: ComputeKind<INetwork> = {
  kind: 'gcp.compute.network',
  scope: 'global',
  immutable: ['automaticSubnetworks'],
  get: (clients, { project, name }) => clients.networks.get({ project, network: name }),
  insert: (clients, { project }, networkResource) => clients.networks.insert({ project, networkResource }),
  delete: (clients, { project, name }) => clients.networks.delete({ project, network: name }),
  list: (clients, { project }, filter) => clients.networks.list({ project, filter }),
  body: ({ desired }) => ({
    autoCreateSubnetworks: desired.automaticSubnetworks === true,
    routingConfig: { routingMode: String(desired.routing) },
  }),
  properties: ({ autoCreateSubnetworks, routingConfig }) => ({
    automaticSubnetworks: autoCreateSubnetworks ?? false,
    routing: String(routingConfig?.routingMode ?? ''),
  }),
  change: (clients, { project, name }, { desired }) =>
    clients.networks.patch({
      project,
      network: name,
      networkResource: { routingConfig: { routingMode: String(desired.routing) } },
    }),
};

const subnetwork: ComputeKind<ISubnetwork> = {
  kind: 'gcp.compute.subnetwork',
  scope: 'region',
  immutable: ['range', 'privateGoogleAccess'],
  get: (clients, { project, region, name }) => clients.subnetworks.get({ project, region, subnetwork: name }),
  insert: (clients, { project, region }, subnetworkResource) =>
    clients.subnetworks.insert({ project, region, subnetworkResource }),
  delete: (clients, { project, region, name }) => clients.subnetworks.delete({ project, region, subnetwork: name }),
  list: (clients, { project, region }, filter) => clients.subnetworks.list({ project, region, filter }),
  body: ({ desired }, call) => ({
    network: need(call, 'network'),
    ipCidrRange: String(desired.range),
    privateIpGoogleAccess: desired.privateGoogleAccess === true,
    logConfig: { enable: desired.flowLogs === true },
  }),
  properties: ({ ipCidrRange, privateIpGoogleAccess, logConfig }) => ({
    range: ipCidrRange ?? '',
    privateGoogleAccess: privateIpGoogleAccess ?? false,
    flowLogs: logConfig?.enable ?? false,
  }),
  change: (clients, { project, region, name }, { desired }, { fingerprint }) =>
    clients.subnetworks.patch({
      project,
      region,
      subnetwork: name,
      subnetworkResource: {
        ...(fingerprint ? { fingerprint } : {}),
        logConfig: { enable: desired.flowLogs === true },
      },
    }),
};

const strings = (value: JsonObject[string] | undefined): string[] => (Array.isArray(value) ? value.map(String) : []);
const sorted = (values: readonly string[] | null | undefined): string[] => [...(values ?? [])].sort();

const rule = ({ desired }: { desired: JsonObject }): IFirewall => {
  const ports = strings(desired.ports);
  const protocols = [{ IPProtocol: ports.length > 0 ? 'tcp' : 'all', ...(ports.length > 0 ? { ports } : {}) }];
  return {
    direction: 'INGRESS',
    priority: Number(desired.priority),
    sourceRanges: strings(desired.sources),
    logConfig: { enable: desired.logged === true },
    ...(desired.action === 'allow' ? { allowed: protocols } : { denied: protocols }),
  };
};

/** `desired`: action allow | deny, ports (empty: all protocols), sources, priority, logged. */
const firewall: ComputeKind<IFirewall> = {
  kind: 'gcp.compute.firewall',
  scope: 'global',
  immutable: ['action'],
  get: (clients, { project, name }) => clients.firewalls.get({ project, firewall: name }),
  insert: (clients, { project }, firewallResource) => clients.firewalls.insert({ project, firewallResource }),
  delete: (clients, { project, name }) => clients.firewalls.delete({ project, firewall: name }),
  list: (clients, { project }, filter) => clients.firewalls.list({ project, filter }),
  body: (spec, call) => ({ ...rule(spec), network: need(call, 'network') }),
  properties: ({ allowed, denied, sourceRanges, priority, logConfig }) => {
    const action = (allowed?.length ?? 0) > 0 ? 'allow' : 'deny';
    const [entry] = (action === 'allow' ? allowed : denied) ?? [];
    return {
      action,
      ports: sorted(entry?.ports),
      sources: sorted(sourceRanges),
      priority: priority ?? 1000,
      logged: logConfig?.enable ?? false,
    };
  },
  change: (clients, { project, name }, spec) =>
    clients.firewalls.patch({ project, firewall: name, firewallResource: { ...rule(spec), name } }),
};

/** Outgoing traffic only: nothing reaches an instance through it. */
const nat = (): IRouter['nats'] => [
  {
    name: 'nat',
    natIpAllocateOption: 'AUTO_ONLY',
    sourceSubnetworkIpRangesToNat: 'ALL_SUBNETWORKS_ALL_IP_RANGES',
    logConfig: { enable: true, filter: 'ERRORS_ONLY' },
  },
];

const router: ComputeKind<IRouter> = {
  kind: 'gcp.compute.router',
  scope: 'region',
  immutable: [],
  get: (clients, { project, region, name }) => clients.routers.get({ project, region, router: name }),
  insert: (clients, { project, region }, routerResource) => clients.routers.insert({ project, region, routerResource }),
  delete: (clients, { project, region, name }) => clients.routers.delete({ project, region, router: name }),
  list: (clients, { project, region }, filter) => clients.routers.list({ project, region, filter }),
  body: (_spec, call) => ({ network: need(call, 'network'), nats: nat() ?? [] }),
  properties: ({ nats }) => ({
    nat: nats?.[0]?.natIpAllocateOption === 'AUTO_ONLY',
    errorsLogged: nats?.[0]?.logConfig?.enable ?? false,
  }),
  change: (clients, { project, region, name }) =>
    clients.routers.patch({ project, region, router: name, routerResource: { nats: nat() ?? [] } }),
};

export const networkDrivers = (scope: ComputeScope): ResourceDriver[] => [
  computeDriver(network, scope),
  computeDriver(subnetwork, scope),
  computeDriver(firewall, scope),
  computeDriver(router, scope),
];

/** Where Google's health checks come from: https://cloud.google.com/load-balancing/docs/health-check-concepts#ip-ranges. */
export const healthCheckRanges = ['130.211.0.0/22', '35.191.0.0/16'];
