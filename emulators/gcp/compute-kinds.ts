/** What Compute Engine adds to and demands of each kind of resource beyond its schema. */
import { createHash } from 'node:crypto';
import type { Json, JsonObject } from '../../model/service.ts';
import { isObject } from './compute-definition.ts';

export const base = 'https://www.googleapis.com/compute/v1/';

/** An error as Compute Engine answers it: https://cloud.google.com/compute/docs/reference/rest/v1/errors. */
export class ComputeError extends Error {
  readonly code: number;
  readonly reason: string;
  constructor(code: number, reason: string, message: string) {
    super(message);
    this.code = code;
    this.reason = reason;
  }
}
export const invalid = (message: string): ComputeError => new ComputeError(400, 'invalid', message);
export const notFound = (path: string): ComputeError =>
  new ComputeError(404, 'notFound', `The resource '${path}' was not found`);

const regionNames = [
  'africa-south1',
  'asia-east1',
  'asia-east2',
  'asia-northeast1',
  'asia-northeast2',
  'asia-northeast3',
  'asia-south1',
  'asia-south2',
  'asia-southeast1',
  'asia-southeast2',
  'australia-southeast1',
  'australia-southeast2',
  'europe-central2',
  'europe-north1',
  'europe-southwest1',
  'europe-west1',
  'europe-west2',
  'europe-west3',
  'europe-west4',
  'europe-west6',
  'europe-west8',
  'europe-west9',
  'europe-west10',
  'europe-west12',
  'me-central1',
  'me-central2',
  'me-west1',
  'northamerica-northeast1',
  'northamerica-northeast2',
  'southamerica-east1',
  'southamerica-west1',
  'us-central1',
  'us-east1',
  'us-east4',
  'us-east5',
  'us-south1',
  'us-west1',
  'us-west2',
  'us-west3',
  'us-west4',
];
const zoneLetters: Record<string, string[]> = {
  'europe-west1': ['b', 'c', 'd'],
  'us-east1': ['b', 'c', 'd'],
  'us-central1': ['a', 'b', 'c', 'f'],
};
/** Regions and their zones; https://cloud.google.com/compute/docs/regions-zones, read 2026-11. */
export const regions: ReadonlyMap<string, string[]> = new Map(
  regionNames.map((name) => [name, (zoneLetters[name] ?? ['a', 'b', 'c']).map((letter) => `${name}-${letter}`)]),
);

/** Fields that hold a reference to another resource, stored as full URL whatever form the caller used. */
const referenceKeys = new Set([
  'network',
  'subnetwork',
  'instanceTemplate',
  'healthCheck',
  'healthChecks',
  'group',
  'target',
  'backendService',
  'backends',
  'versions',
  'autoHealingPolicies',
  'nats',
  'subnetworks',
  'networkInterfaces',
  'properties',
  'name',
]);
/** Collections whose members must exist when they are referred to. */
const keptCollections = new Set([
  'networks',
  'subnetworks',
  'instanceTemplates',
  'healthChecks',
  'instanceGroups',
  'instanceGroupManagers',
  'backendServices',
]);
const urlForm =
  /^(?:https:\/\/(?:www|compute)\.googleapis\.com\/compute\/(?:v1|beta)\/)?((?:projects\/[^/]+\/)?(?:global|regions\/[^/]+|zones\/[^/]+)\/[A-Za-z]+\/[^/]+)$/;

/** Calls `visit` with the path of each reference in a resource; what it returns takes the reference's place. */
export function mapReferences(value: Json, project: string, visit: (path: string) => string): Json {
  if (typeof value === 'string') {
    const found = urlForm.exec(value)?.[1];
    if (!found) return value;
    const path = found.startsWith('projects/') ? found : `projects/${project}/${found}`;
    return keptCollections.has(path.split('/').at(-2) ?? '') ? visit(path) : value;
  }
  if (Array.isArray(value)) return value.map((item) => mapReferences(item, project, visit));
  if (!isObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [
      key,
      referenceKeys.has(key) ? mapReferences(item, project, visit) : item,
    ]),
  );
}

export function references(resource: JsonObject, project: string): string[] {
  const found: string[] = [];
  mapReferences(resource, project, (path) => {
    found.push(path);
    return path;
  });
  return found;
}

/** Changes whenever the resource does. */
export const fingerprint = (content: Json): string =>
  createHash('sha256').update(JSON.stringify(content)).digest().subarray(0, 8).toString('base64');

const text = (value: Json | undefined): string => (typeof value === 'string' ? value : '');
const list = (value: Json | undefined): Json[] => (Array.isArray(value) ? value : []);

/** Adds what the cloud fills in where the caller was silent, and refuses what it would refuse. By collection. */
export const defaults: Record<string, (body: JsonObject) => JsonObject> = {
  networks(body) {
    if (body.autoCreateSubnetworks === undefined) throw invalid('networks need autoCreateSubnetworks');
    const routing = isObject(body.routingConfig) ? body.routingConfig : {};
    return {
      mtu: 1460,
      networkFirewallPolicyEnforcementOrder: 'AFTER_CLASSIC_FIREWALL',
      ...body,
      routingConfig: { routingMode: 'REGIONAL', bgpBestPathSelectionMode: 'LEGACY', ...routing },
    };
  },
  subnetworks(body) {
    if (!/^\d+\.\d+\.\d+\.\d+\/\d+$/.test(text(body.ipCidrRange))) throw invalid('ipCidrRange is no IPv4 range');
    if (!body.network) throw invalid("Required field 'resource.network' not specified");
    const [address = ''] = text(body.ipCidrRange).split('/');
    return {
      purpose: 'PRIVATE',
      stackType: 'IPV4_ONLY',
      privateIpGoogleAccess: false,
      privateIpv6GoogleAccess: 'DISABLE_GOOGLE_ACCESS',
      enableFlowLogs: isObject(body.logConfig) && body.logConfig.enable === true,
      ...body,
      gatewayAddress: address.replace(/\d+$/, (last) => String(Number(last) + 1)),
    };
  },
  firewalls(body) {
    if (!body.allowed === !body.denied) throw invalid('exactly one of allowed and denied must be specified');
    const ingress = body.direction !== 'EGRESS';
    const anySource = ingress && !body.sourceRanges && !body.sourceTags && !body.sourceServiceAccounts;
    return {
      direction: 'INGRESS',
      priority: 1000,
      disabled: false,
      logConfig: { enable: false },
      ...(anySource ? { sourceRanges: ['0.0.0.0/0'] } : {}),
      ...body,
    };
  },
  routers: (body) => ({
    ...body,
    nats: list(body.nats).map((nat) =>
      isObject(nat) ? { type: 'PUBLIC', enableEndpointIndependentMapping: false, ...nat } : nat,
    ),
  }),
  addresses: (body) => ({
    addressType: 'EXTERNAL',
    networkTier: 'PREMIUM',
    ipVersion: 'IPV4',
    status: 'RESERVED',
    ...body,
  }),
  healthChecks(body) {
    if (!body.type) throw invalid("Required field 'resource.type' not specified");
    return { checkIntervalSec: 5, timeoutSec: 5, healthyThreshold: 2, unhealthyThreshold: 2, ...body };
  },
  backendServices(body) {
    const draining = isObject(body.connectionDraining) ? body.connectionDraining : {};
    return {
      protocol: 'TCP',
      timeoutSec: 30,
      sessionAffinity: 'NONE',
      ...body,
      connectionDraining: { drainingTimeoutSec: 0, ...draining },
      backends: list(body.backends).map((backend) =>
        isObject(backend) ? { balancingMode: 'CONNECTION', ...backend } : backend,
      ),
    };
  },
  forwardingRules: (body) => ({ IPProtocol: 'TCP', networkTier: 'PREMIUM', ...body }),
  instanceTemplates(body) {
    if (!isObject(body.properties) || !body.properties.machineType) throw invalid('properties.machineType is required');
    if (list(body.properties.disks).length === 0) throw invalid('At least one disk is required');
    return body;
  },
  instanceGroupManagers(body) {
    const policy = isObject(body.updatePolicy) ? body.updatePolicy : {};
    if (body.targetSize === undefined) throw invalid("Required field 'resource.targetSize' not specified");
    if (!body.instanceTemplate && list(body.versions).length === 0) throw invalid('a template is required');
    return {
      baseInstanceName: text(body.name).slice(0, 54),
      listManagedInstancesResults: 'PAGELESS',
      ...body,
      updatePolicy: { type: 'OPPORTUNISTIC', minimalAction: 'REPLACE', replacementMethod: 'SUBSTITUTE', ...policy },
    };
  },
  autoscalers(body) {
    const policy = isObject(body.autoscalingPolicy) ? body.autoscalingPolicy : {};
    if (policy.maxNumReplicas === undefined) throw invalid('autoscalingPolicy.maxNumReplicas is required');
    if (!body.target) throw invalid("Required field 'resource.target' not specified");
    return {
      status: 'ACTIVE',
      ...body,
      autoscalingPolicy: { minNumReplicas: 2, coolDownPeriodSec: 60, mode: 'ON', ...policy },
    };
  },
};

/** Kinds with a `fingerprint` that a change must carry. */
export const needsFingerprint = new Set(['subnetworks', 'backendServices']);
/** Collections whose members carry labels of their own. */
export const labelled = new Set(['addresses', 'forwardingRules']);
