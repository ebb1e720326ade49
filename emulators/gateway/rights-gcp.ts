/**
 * The permissions that a call to Google Cloud needs. Which method it calls is told by Google's discovery documents, and what
 * the method needs by an extract of Google's reference pages, which name the permissions of each.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { type Definition, loadDefinition } from '../gcp/compute-definition.ts';
import type { Call } from './calls.ts';

/** An extract of the vendor's list: verbs by resource, and what each method needs. */
export const gcpPermissions = z
  .object({
    permissions: z.record(z.string(), z.array(z.string())),
    methods: z.record(z.string(), z.array(z.string())),
  })
  .parse(JSON.parse(readFileSync(join(import.meta.dirname, 'definitions/gcp-permissions.json'), 'utf8')));

const documents: Readonly<Record<string, string>> = {
  'bigquery.googleapis.com': 'bigquery.v2',
  'cloudresourcemanager.googleapis.com': 'cloudresourcemanager.v3',
  'compute.googleapis.com': 'compute.v1',
  'dns.googleapis.com': 'dns.v1',
  'iam.googleapis.com': 'iam.v1',
  'pubsub.googleapis.com': 'pubsub.v1',
  'secretmanager.googleapis.com': 'secretmanager.v1',
  'storage.googleapis.com': 'storage.v1',
};
const loaded = new Map<string, Definition>();
function definitionOf(name: string): Definition {
  const known = loaded.get(name) ?? loadDefinition(name);
  loaded.set(name, known);
  return known;
}

/** To hand a group a template whose instances have labels, network tags and a service account. */
const handing = (method: string): string[] => [
  ...(gcpPermissions.methods[method] ?? []),
  ...['setLabels', 'setServiceAccount', 'setTags'].map((verb) => `compute.instances.${verb}`),
  'compute.instanceTemplates.useReadOnly',
  'compute.regionHealthChecks.useReadOnly',
];

/**
 * Where the reference names more than our requests need, or nothing: access control lists in a bucket's or an object's
 * answer come with `projection=full` alone, internal addresses and Private Service Connect with their own fields.
 */
const needs: Readonly<Record<string, readonly string[]>> = {
  'bigquery.datasets.list': ['bigquery.datasets.get'],
  'compute.addresses.delete': ['compute.addresses.delete'],
  'compute.addresses.insert': ['compute.addresses.create'],
  // https://cloud.google.com/compute/docs/reference/rest/v1/firewalls/insert
  'compute.firewalls.insert': ['compute.firewalls.create', 'compute.networks.updatePolicy'],
  'compute.forwardingRules.delete': ['compute.forwardingRules.delete'],
  'compute.forwardingRules.insert': [
    'compute.forwardingRules.create',
    'compute.addresses.use',
    'compute.regionBackendServices.use',
  ],
  'compute.forwardingRules.setLabels': ['compute.forwardingRules.setLabels'],
  // https://cloud.google.com/compute/docs/reference/rest/v1/regionAutoscalers/insert
  'compute.regionAutoscalers.insert': ['compute.autoscalers.create', 'compute.instanceGroupManagers.use'],
  'compute.regionBackendServices.insert': [
    'compute.regionBackendServices.create',
    'compute.instanceGroups.use',
    'compute.regionHealthChecks.useReadOnly',
  ],
  'compute.regionInstanceGroupManagers.insert': handing('compute.regionInstanceGroupManagers.insert'),
  'compute.regionInstanceGroupManagers.patch': handing('compute.regionInstanceGroupManagers.patch'),
  'compute.routers.insert': ['compute.routers.create', 'compute.networks.updatePolicy'],
  'compute.subnetworks.insert': ['compute.subnetworks.create', 'compute.networks.updatePolicy'],
  // https://cloud.google.com/dns/docs/access-control (2026-11): a change is one of record sets.
  'dns.changes.create': ['dns.changes.create', 'dns.resourceRecordSets.create', 'dns.resourceRecordSets.delete'],
  'pubsub.projects.subscriptions.acknowledge': ['pubsub.subscriptions.consume'],
  // https://cloud.google.com/pubsub/docs/access-control: on the topic as well.
  'pubsub.projects.subscriptions.create': ['pubsub.subscriptions.create', 'pubsub.topics.attachSubscription'],
  'pubsub.projects.subscriptions.detach': ['pubsub.topics.detachSubscription'],
  'pubsub.projects.subscriptions.modifyAckDeadline': ['pubsub.subscriptions.consume'],
  'pubsub.projects.subscriptions.pull': ['pubsub.subscriptions.consume'],
  'pubsub.projects.topics.subscriptions.list': ['pubsub.topics.get'],
  'storage.buckets.get': ['storage.buckets.get'],
  'storage.buckets.list': ['storage.buckets.list'],
  'storage.buckets.patch': ['storage.buckets.update'],
  // https://cloud.google.com/storage/docs/json_api/v1/projects/serviceAccount/get
  'storage.projects.serviceAccount.get': ['resourcemanager.projects.get'],
  'storage.objects.get': ['storage.objects.get'],
  'storage.objects.list': ['storage.objects.list'],
  'storage.objects.patch': ['storage.objects.get', 'storage.objects.update'],
};

/** `['compute.networks.create']`; what cannot be named is a right that nobody has. Who asks for a token needs none. */
export function gcpRights({ host, method, path, query }: Call): string[] {
  const document = documents[host];
  if (!document) return [];
  // Content goes up and down under paths of its own.
  const plain = path.replace(/^\/(resumable\/)?(upload|download)\/storage\//, '/storage/');
  // Each part of an upload needs what its beginning needed: https://cloud.google.com/storage/docs/resumable-uploads
  const id = definitionOf(document).match('upload_id' in query ? 'POST' : method, plain)?.id;
  if (id === undefined) return [`${host} ${method} ${path}`];
  return [...(needs[id] ?? gcpPermissions.methods[id] ?? [id])];
}
