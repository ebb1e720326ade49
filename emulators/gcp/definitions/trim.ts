/**
 * Cuts Google's discovery documents (PyPI google-api-python-client, googleapiclient/discovery_cache/documents) down to
 * the methods that the local cloud serves, with the schemas those need:
 * `node emulators/gcp/definitions/trim.ts <folder with the documents>`.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

const crud = ['insert', 'get', 'list', 'delete'];
const policies = ['getIamPolicy', 'setIamPolicy', 'testIamPermissions'];
const served: Record<string, Record<string, string[]>> = {
  'storage.v1': {
    buckets: [...crud, 'patch', 'update', 'lockRetentionPolicy', ...policies],
    objects: [...crud, 'patch', 'update', 'compose', 'copy', 'rewrite'],
    notifications: crud,
    'projects.serviceAccount': ['get'],
  },
  'pubsub.v1': {
    'projects.topics': ['create', 'get', 'list', 'patch', 'delete', 'publish', ...policies],
    'projects.topics.subscriptions': ['list'],
    'projects.subscriptions': [
      ...['create', 'get', 'list', 'patch', 'delete', 'pull', 'acknowledge', 'modifyAckDeadline', 'detach'],
      ...policies,
    ],
  },
  'bigquery.v2': { datasets: [...crud, 'patch', 'update'], tables: [...crud, 'patch', 'update'] },
  'iam.v1': {
    roles: ['get'],
    'projects.serviceAccounts': ['create', 'get', 'list', 'patch', 'delete', 'enable', 'disable', ...policies],
    'projects.roles': ['create', 'get', 'list', 'patch', 'delete'],
  },
  'cloudresourcemanager.v3': { projects: ['get', ...policies] },
  'dns.v1': {
    managedZones: ['create', 'get', 'list', 'delete'],
    resourceRecordSets: ['get', 'list'],
    changes: ['create', 'get', 'list'],
  },
  'compute.v1': {
    networks: [...crud, 'patch'],
    subnetworks: [...crud, 'patch'],
    firewalls: [...crud, 'patch', 'update'],
    routers: [...crud, 'patch', 'update'],
    addresses: [...crud, 'setLabels'],
    forwardingRules: [...crud, 'patch', 'setLabels', 'setTarget'],
    instanceTemplates: crud,
    regionInstanceTemplates: crud,
    healthChecks: [...crud, 'patch', 'update'],
    regionHealthChecks: [...crud, 'patch', 'update'],
    regionBackendServices: [...crud, 'patch', 'update', 'getHealth'],
    regionInstanceGroupManagers: [
      ...crud,
      'patch',
      'resize',
      'setInstanceTemplate',
      'listManagedInstances',
      'recreateInstances',
      'listErrors',
    ],
    regionInstanceGroups: ['get', 'list', 'listInstances'],
    regionAutoscalers: [...crud, 'patch', 'update'],
    instances: ['get', 'list', 'delete', 'aggregatedList'],
    projects: ['get'],
    zones: ['get', 'list'],
    regions: ['get', 'list'],
    machineTypes: ['get', 'list'],
    globalOperations: ['get', 'list', 'wait'],
    regionOperations: ['get', 'list', 'wait'],
    zoneOperations: ['get', 'list', 'wait'],
  },
  'secretmanager.v1': {
    'projects.secrets': ['create', 'get', 'list', 'delete', 'patch', 'addVersion', 'getIamPolicy', 'setIamPolicy'],
    'projects.secrets.versions': ['get', 'list', 'access', 'destroy', 'disable', 'enable'],
  },
};

interface Node {
  [key: string]: Node | Node[] | string | number | boolean | undefined;
}

/** Prose and what only generators of clients read. */
const dropped = new Set(['description', 'enumDescriptions', 'icons', 'documentationLink', 'annotations', 'id']);

function bare(node: unknown, inProperties = false): unknown {
  if (Array.isArray(node)) return node.map((item) => bare(item));
  if (typeof node !== 'object' || node === null) return node;
  return Object.fromEntries(
    Object.entries(node)
      .filter(([key, value]) => inProperties || !dropped.has(key) || (key === 'id' && String(value).includes('.')))
      .map(([key, value]) => [key, bare(value, key === 'properties' || key === 'parameters' || key === 'schemas')]),
  );
}

const references = (node: unknown): string[] =>
  typeof node !== 'object' || node === null
    ? []
    : Object.entries(node).flatMap(([key, value]) =>
        key === '$ref' && typeof value === 'string' ? [value] : references(value),
      );

const [folder = '.'] = process.argv.slice(2);
for (const [source, resources] of Object.entries(served)) {
  const document = JSON.parse(readFileSync(join(folder, `${source}.json`), 'utf8')) as Node;
  const methods: Node[] = [];
  for (const [path, names] of Object.entries(resources)) {
    const resource = path.split('.').reduce((node, name) => (node.resources as Node)[name] as Node, document);
    for (const name of names) {
      const method = (resource.methods as Node)[name] as Node;
      // Older APIs give the one form of a path only.
      methods.push({ flatPath: method.path, ...method });
    }
  }
  const schemas: Node = {};
  const queue = references(methods);
  for (let name = queue.pop(); name !== undefined; name = queue.pop()) {
    if (schemas[name]) continue;
    schemas[name] = (document.schemas as Node)[name];
    queue.push(...references(schemas[name]));
  }
  const { revision, servicePath, parameters } = document;
  const trimmed = bare({ revision, servicePath, parameters, methods, schemas });
  writeFileSync(join(import.meta.dirname, `${source}.json.gz`), gzipSync(JSON.stringify(trimmed), { level: 9 }));
}
