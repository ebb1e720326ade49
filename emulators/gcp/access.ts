/**
 * Who may do what: the IAM policies of the project and of single resources, and the permissions of the predefined roles as far
 * as our cells use them. https://cloud.google.com/iam/docs/roles-permissions, read 2026-11.
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { z } from 'zod';
import type { Json, JsonObject } from '../../model/service.ts';
import { isObject } from './compute-definition.ts';
import { GoogleError } from './google-error.ts';
import { JsonStore } from './json-store.ts';

/** Permissions of each role; `*` is any run of characters. */
const roles: Readonly<Record<string, readonly string[]>> = {
  'roles/owner': ['*'],
  'roles/editor': [
    'compute.*',
    'pubsub.*',
    'bigquery.*',
    'storage.buckets.*',
    'iam.serviceAccounts.*',
    '*.get',
    '*.list',
  ],
  'roles/viewer': ['*.get', '*.list'],
  'roles/storage.admin': ['storage.*'],
  'roles/storage.objectAdmin': ['storage.objects.*'],
  'roles/storage.objectUser': ['storage.objects.*'],
  'roles/storage.objectViewer': ['storage.objects.get', 'storage.objects.list'],
  'roles/storage.objectCreator': ['storage.objects.create'],
  'roles/storage.legacyBucketReader': ['storage.buckets.get', 'storage.objects.list'],
  'roles/storage.legacyBucketWriter': [
    'storage.buckets.get',
    'storage.objects.create',
    'storage.objects.delete',
    'storage.objects.list',
  ],
  'roles/storage.bucketViewer': ['storage.buckets.get', 'storage.buckets.list'],
  'roles/pubsub.admin': ['pubsub.*'],
  'roles/pubsub.editor': ['pubsub.*'],
  'roles/pubsub.viewer': ['pubsub.*.get', 'pubsub.*.list'],
  'roles/pubsub.publisher': ['pubsub.topics.publish'],
  'roles/pubsub.subscriber': ['pubsub.subscriptions.consume', 'pubsub.topics.attachSubscription'],
  'roles/bigquery.admin': ['bigquery.*'],
  'roles/bigquery.dataOwner': ['bigquery.datasets.*', 'bigquery.tables.*'],
  'roles/bigquery.dataEditor': ['bigquery.datasets.create', 'bigquery.datasets.get', 'bigquery.tables.*'],
  'roles/bigquery.dataViewer': ['bigquery.datasets.get', 'bigquery.tables.get', 'bigquery.tables.list'],
  'roles/compute.admin': ['compute.*'],
  'roles/dns.admin': ['dns.*'],
  'roles/iam.serviceAccountAdmin': ['iam.serviceAccounts.*'],
  'roles/iam.serviceAccountUser': ['iam.serviceAccounts.actAs', 'iam.serviceAccounts.get', 'iam.serviceAccounts.list'],
  'roles/secretmanager.admin': ['secretmanager.*'],
  'roles/secretmanager.secretAccessor': ['secretmanager.versions.access'],
  'roles/resourcemanager.projectIamAdmin': ['resourcemanager.projects.get*', 'resourcemanager.projects.setIamPolicy'],
};

const patterns = new Map(
  Object.entries(roles).map(([role, permissions]) => [
    role,
    permissions.map((text) => new RegExp(`^${text.replaceAll('.', '\\.').replaceAll('*', '.*')}$`)),
  ]),
);

/** Of Cloud Storage, as `*` of a role stands for them. https://cloud.google.com/storage/docs/access-control/iam-permissions, read 2026-11. */
const storagePermissions = [
  ...['create', 'delete', 'get', 'getIamPolicy', 'list', 'setIamPolicy', 'update'].map(
    (verb) => `storage.buckets.${verb}`,
  ),
  ...['create', 'delete', 'get', 'getIamPolicy', 'list', 'setIamPolicy', 'update'].map(
    (verb) => `storage.objects.${verb}`,
  ),
  ...['restore', 'move', 'setRetention', 'overrideUnlockedRetention'].map((verb) => `storage.objects.${verb}`),
  ...['abort', 'create', 'list', 'listParts'].map((verb) => `storage.multipartUploads.${verb}`),
];

/** What a predefined role holds, as `roles.get` answers it: what it spells out, and of `*` the permissions of Cloud Storage. */
export function permissionsOf(role: string): string[] | undefined {
  const held = patterns.get(role);
  const spelled = roles[role]?.filter((permission) => !permission.includes('*')) ?? [];
  const storage = storagePermissions.filter((permission) => held?.some((pattern) => pattern.test(permission)));
  return held && [...new Set([...spelled, ...storage])].sort();
}

/** Permissions of the project's own roles, by `projects/<project>/roles/<role>`; undefined for one that does not exist. */
export type CustomRoles = (role: string) => readonly string[] | undefined;

const Binding = z.object({
  role: z.string(),
  members: z.array(z.string()).default([]),
  condition: z.record(z.string(), z.json()).optional(),
});
export const Policy = z.object({
  version: z.number().default(1),
  etag: z.string().default('ACAB'),
  bindings: z.array(Binding).default([]),
});
export type Policy = z.infer<typeof Policy>;

export const emptyPolicy: Policy = { version: 1, etag: 'ACAB', bindings: [] };

/** What `setIamPolicy` makes of a policy. A policy without etag overwrites; with one, it must be the present one. */
export function changedPolicy(before: Policy, given: Json | undefined): Policy {
  const wanted = isObject(given) ? given : {};
  if (wanted.etag !== undefined && wanted.etag !== before.etag)
    throw new GoogleError(
      'aborted',
      'There were concurrent policy changes. Please retry the whole read-modify-write with exponential backoff.',
    );
  const parsed = z.array(Binding).safeParse(wanted.bindings ?? []);
  if (!parsed.success) throw new GoogleError('invalid', 'Invalid bindings');
  for (const { role, members } of parsed.data) {
    if (!/^(roles|projects\/[^/]+\/roles)\/[\w.]+$/.test(role))
      throw new GoogleError('invalid', `Role ${role} is not supported for this resource.`);
    for (const member of members)
      if (
        !/^(allUsers|allAuthenticatedUsers|(user|serviceAccount|group|domain|deleted|principal|principalSet|projectOwner|projectEditor|projectViewer):.+)$/.test(
          member,
        )
      )
        throw new GoogleError('invalid', `Invalid member: ${member}`);
  }
  const bindings = parsed.data.filter(({ members }) => members.length > 0);
  const etag = createHash('sha256')
    .update(JSON.stringify([before.etag, bindings]))
    .digest('base64')
    .slice(0, 10);
  return { version: 1, etag: `${etag}==`, bindings };
}

export function asJson({ version, etag, bindings }: Policy): JsonObject {
  return {
    version,
    etag,
    bindings: bindings.map(({ role, members, condition }) => ({ role, members, ...(condition ? { condition } : {}) })),
  };
}

export class Access {
  readonly #store: JsonStore<Policy>;
  readonly #project: string;
  readonly #owners: () => string[];
  readonly #customRoles: CustomRoles;

  /** `owners`: accounts that own the project until somebody sets its policy. */
  constructor(state: string, project: string, owners: () => string[], customRoles: CustomRoles = () => undefined) {
    this.#store = new JsonStore(join(state, 'project-policy.json'), Policy);
    this.#project = project;
    this.#owners = owners;
    this.#customRoles = customRoles;
  }

  get project(): Policy {
    const members = this.#owners().map((email) => `serviceAccount:${email}`);
    return this.#store.items.get(this.#project) ?? { ...emptyPolicy, bindings: [{ role: 'roles/owner', members }] };
  }

  setProject(given: Json | undefined): Policy {
    const policy = changedPolicy(this.project, given);
    this.#store.set(this.#project, policy);
    return policy;
  }

  allows(caller: string, permission: string, resource: Policy = emptyPolicy): boolean {
    const owners = this.#store.items.get(this.#project)?.bindings ?? this.project.bindings;
    return this.#grants(owners, caller, permission) || this.#grants(resource.bindings, caller, permission);
  }

  require(caller: string, permission: string, resource?: Policy): void {
    if (!this.allows(caller, permission, resource))
      throw new GoogleError(
        'forbidden',
        `${caller} does not have ${permission} access to the resource. Permission '${permission}' denied on resource (or it may not exist).`,
      );
  }

  /** Those of the asked permissions that the caller has. */
  held(caller: string, permissions: readonly string[], resource?: Policy): string[] {
    return permissions.filter((permission) => this.allows(caller, permission, resource));
  }

  #grants(bindings: Policy['bindings'], caller: string, permission: string): boolean {
    return bindings.some(
      ({ role, members, condition }) =>
        !condition &&
        members.some(
          (member) =>
            member === `serviceAccount:${caller}` || member === 'allUsers' || member === 'allAuthenticatedUsers',
        ) &&
        (patterns.get(role)?.some((pattern) => pattern.test(permission)) ||
          this.#customRoles(role)?.includes(permission)),
    );
  }
}
