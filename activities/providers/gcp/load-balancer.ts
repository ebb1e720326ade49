/** A regional passthrough load balancer before a group: health check, backend service, reserved address, forwarding rule. */
import type { ResourceDriver } from '../driver.ts';
import type { IAddress, IBackendService, IForwardingRule, IHealthCheck } from './compute-clients.ts';
import { type ComputeKind, type ComputeScope, computeDriver, need } from './compute-resource.ts';

const probe = ({ desired }: { desired: Record<string, unknown> }): IHealthCheck => ({
  type: 'HTTP',
  checkIntervalSec: Number(desired.intervalSeconds),
  timeoutSec: 5,
  healthyThreshold: 2,
  unhealthyThreshold: 3,
  httpHealthCheck: { port: Number(desired.port), requestPath: String(desired.path) },
});

const healthCheck: ComputeKind<IHealthCheck> = {
  kind: 'gcp.compute.health-check',
  scope: 'region',
  immutable: [],
  get: (clients, { project, region, name }) => clients.healthChecks.get({ project, region, healthCheck: name }),
  insert: (clients, { project, region }, healthCheckResource) =>
    clients.healthChecks.insert({ project, region, healthCheckResource }),
  delete: (clients, { project, region, name }) => clients.healthChecks.delete({ project, region, healthCheck: name }),
  list: (clients, { project, region }, filter) => clients.healthChecks.list({ project, region, filter }),
  body: (spec) => probe(spec),
  properties: ({ httpHealthCheck, checkIntervalSec }) => ({
    port: httpHealthCheck?.port ?? 0,
    path: httpHealthCheck?.requestPath ?? '',
    intervalSeconds: checkIntervalSec ?? 0,
  }),
  change: (clients, { project, region, name }, spec) =>
    clients.healthChecks.patch({ project, region, healthCheck: name, healthCheckResource: { ...probe(spec), name } }),
};

const backend: ComputeKind<IBackendService> = {
  kind: 'gcp.compute.backend-service',
  scope: 'region',
  immutable: ['scheme', 'protocol'],
  get: (clients, { project, region, name }) => clients.backendServices.get({ project, region, backendService: name }),
  insert: (clients, { project, region }, backendServiceResource) =>
    clients.backendServices.insert({ project, region, backendServiceResource }),
  delete: (clients, { project, region, name }) =>
    clients.backendServices.delete({ project, region, backendService: name }),
  list: (clients, { project, region }, filter) => clients.backendServices.list({ project, region, filter }),
  body: ({ desired }, call) => ({
    loadBalancingScheme: String(desired.scheme),
    protocol: String(desired.protocol),
    healthChecks: [need(call, 'health')],
    backends: [{ group: need(call, 'group', 'group'), balancingMode: 'CONNECTION' }],
    connectionDraining: { drainingTimeoutSec: Number(desired.drainSeconds) },
  }),
  properties: ({ loadBalancingScheme, protocol, connectionDraining, backends }) => ({
    scheme: String(loadBalancingScheme ?? ''),
    protocol: String(protocol ?? ''),
    drainSeconds: connectionDraining?.drainingTimeoutSec ?? 0,
    groups: backends?.length ?? 0,
  }),
  change: (clients, { project, region, name }, { desired }, { fingerprint }, call) =>
    clients.backendServices.patch({
      project,
      region,
      backendService: name,
      backendServiceResource: {
        ...(fingerprint ? { fingerprint } : {}),
        backends: [{ group: need(call, 'group', 'group'), balancingMode: 'CONNECTION' }],
        connectionDraining: { drainingTimeoutSec: Number(desired.drainSeconds) },
      },
    }),
};

const address: ComputeKind<IAddress> = {
  kind: 'gcp.compute.address',
  scope: 'region',
  immutable: ['tier'],
  get: (clients, { project, region, name }) => clients.addresses.get({ project, region, address: name }),
  insert: (clients, { project, region }, addressResource) =>
    clients.addresses.insert({ project, region, addressResource }),
  delete: (clients, { project, region, name }) => clients.addresses.delete({ project, region, address: name }),
  list: (clients, { project, region }, filter) => clients.addresses.list({ project, region, filter }),
  body: ({ desired }) => ({ networkTier: String(desired.tier), addressType: 'EXTERNAL' }),
  properties: ({ networkTier }) => ({ tier: String(networkTier ?? '') }),
  outputs: (resource) => ({ address: resource.address ?? '' }),
};

const forwardingRule: ComputeKind<IForwardingRule> = {
  kind: 'gcp.compute.forwarding-rule',
  scope: 'region',
  immutable: ['ports', 'scheme'],
  get: (clients, { project, region, name }) => clients.forwardingRules.get({ project, region, forwardingRule: name }),
  insert: (clients, { project, region }, forwardingRuleResource) =>
    clients.forwardingRules.insert({ project, region, forwardingRuleResource }),
  delete: (clients, { project, region, name }) =>
    clients.forwardingRules.delete({ project, region, forwardingRule: name }),
  list: (clients, { project, region }, filter) => clients.forwardingRules.list({ project, region, filter }),
  body: ({ desired }, call) => ({
    IPAddress: need(call, 'address', 'address'),
    IPProtocol: 'TCP',
    ports: [String(desired.ports)],
    loadBalancingScheme: String(desired.scheme),
    backendService: need(call, 'backend'),
  }),
  properties: ({ ports, loadBalancingScheme }) => ({
    ports: (ports ?? []).join(','),
    scheme: String(loadBalancingScheme ?? ''),
  }),
  outputs: ({ IPAddress }) => ({ address: IPAddress ?? '' }),
};

export const loadBalancerDrivers = (scope: ComputeScope): ResourceDriver[] => [
  computeDriver(healthCheck, scope),
  computeDriver(backend, scope),
  computeDriver(address, scope),
  computeDriver(forwardingRule, scope),
];
