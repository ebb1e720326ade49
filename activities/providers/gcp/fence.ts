/**
 * The fence of a bucket: whoever has a role on it that writes objects has roles that read them instead. Changed with the etag
 * that the policy was read with. Roles that come from the project are above the bucket: they are told, and not touched.
 */
import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import type { Writer } from '../../../model/fence.ts';
import type { JsonObject, Placement } from '../../../model/service.ts';
import type { FenceDriver, FenceMark } from '../driver.ts';
import { bucketSpec } from './bucket.ts';
import type { Clients } from './clients.ts';
import { isKind } from './errors.ts';

const Condition = z.looseObject({ expression: z.string() });
const Binding = z.object({
  role: z.string(),
  members: z.array(z.string()).default([]),
  condition: Condition.optional(),
  /** Of a role that writes objects: the roles that stand in for it under a fence. */
  instead: z.array(z.string()).optional(),
});
const Policy = z.object({ etag: z.string().optional(), bindings: z.array(Binding).default([]) });
type Binding = z.infer<typeof Binding>;
const Role = z.object({ includedPermissions: z.array(z.string()).default([]) });
const Labels = z.record(z.string(), z.string());
const Bucket = z.object({ labels: Labels.default({}) });
/** Bindings in an order of their own, and those labels that are the fence's. */
const Rights = z.object({ bindings: z.array(Binding), labels: Labels });

/** https://cloud.google.com/storage/docs/access-control/iam-permissions, 2026-11-28. */
const writes = ['create', 'delete', 'update', 'restore', 'move', 'setRetention', 'overrideUnlockedRetention'].map(
  (verb) => `storage.objects.${verb}`,
);
/** What stands in for a role that writes: objects, and the bucket where the role showed that. */
const readers = [
  { role: 'roles/storage.objectViewer', permission: 'storage.objects.get' },
  { role: 'roles/storage.legacyBucketReader', permission: 'storage.buckets.get' },
] as const;

/** A member in a role under a condition: what can be given and taken alone. */
interface Grant extends Omit<Binding, 'members'> {
  member: string;
}

const grantsOf = (bindings: readonly Binding[]): Grant[] =>
  bindings.flatMap(({ members, ...binding }) => members.map((member) => ({ ...binding, member })));
const bindingKey = ({ role, condition }: Omit<Binding, 'members'>): string => JSON.stringify([role, condition ?? null]);
const keyOf = (grant: Grant): string => `${bindingKey(grant)} ${grant.member}`;

/** Each grant once, bindings and members sorted: the same rights always look the same. */
function bindingsOf(grants: readonly Grant[]): Binding[] {
  const unique = [...new Map(grants.map((grant) => [keyOf(grant), grant]))].toSorted(([a], [b]) => (a < b ? -1 : 1));
  const bindings = Map.groupBy(unique, ([, grant]) => bindingKey(grant));
  return [...bindings.values()].flatMap((same) => {
    const [first] = same;
    if (!first) return [];
    const { member: _member, ...binding } = first[1];
    return [{ ...binding, members: same.map(([, { member }]) => member) }];
  });
}

/** Everybody but us (IAM members) has what stands in for a role that writes. */
const fencedGrants = (grants: readonly Grant[], ours: readonly string[]): Grant[] =>
  grants.flatMap(({ instead, ...grant }) => {
    if (!instead || ours.includes(grant.member)) return [{ ...grant, ...(instead && { instead }) }];
    return instead.map((role) => ({ ...grant, role }));
  });

const labels = { run: 'multi-cloud-fence', until: 'multi-cloud-fence-until' } as const;
const labelled = ({ owner, expiresAt }: FenceMark): Record<string, string> => ({
  [labels.run]: owner.runId
    .toLowerCase()
    .replace(/[^a-z0-9_-]/g, '-')
    .slice(0, 63),
  [labels.until]: expiresAt
    .toLowerCase()
    .replace(/[^a-z0-9]/g, '')
    .slice(0, 63),
});

export function fencedBindings(rights: JsonObject, mark: FenceMark, ours: readonly string[]): JsonObject {
  const { bindings } = Rights.parse(rights);
  return asJson({ bindings: bindingsOf(fencedGrants(grantsOf(bindings), ours)), labels: labelled(mark) });
}

export function liftedBindings(rights: JsonObject, before: JsonObject, ours: readonly string[]): JsonObject {
  const was = grantsOf(Rights.parse(before).bindings);
  const fence = new Set(fencedGrants(was, ours).map(keyOf));
  const had = new Set(was.map(keyOf));
  const isOthers = (grant: Grant): boolean => had.has(keyOf(grant)) || !fence.has(keyOf(grant));
  const kept = grantsOf(Rights.parse(rights).bindings).filter(isOthers);
  const taken = was.filter((grant) => !fence.has(keyOf(grant)));
  return asJson({ bindings: bindingsOf([...kept, ...taken]), labels: {} });
}

const asJson = (rights: z.infer<typeof Rights>): JsonObject => z.record(z.string(), z.json()).parse(rights);

export function bucketFence(clients: Clients): FenceDriver {
  const { rest, project } = clients;
  const urlOf = (placement: Placement) => `https://storage.googleapis.com/storage/v1/b/${bucketSpec(placement).name}`;
  const projectUrl = `https://cloudresourcemanager.googleapis.com/v3/projects/${project}`;

  /** Bindings with what stands in for their roles, predefined or custom ones. */
  async function judged(bindings: readonly Binding[], signal: AbortSignal): Promise<Binding[]> {
    return Promise.all(
      bindings.map(async (binding) => {
        const url = `https://iam.googleapis.com/v1/${binding.role}`;
        const { includedPermissions = [] } = (await rest.find(url, { schema: Role, signal })) ?? {};
        if (!writes.some((permission) => includedPermissions.includes(permission))) return binding;
        const standIns = readers.filter(
          // Legacy roles take no conditions.
          ({ role, permission }) =>
            includedPermissions.includes(permission) && !(binding.condition && /legacy/.test(role)),
        );
        return { ...binding, instead: standIns.map(({ role }) => role) };
      }),
    );
  }

  /** Bindings of the project; undefined where the worker may not see them. */
  async function projectBindings(signal: AbortSignal): Promise<Binding[] | undefined> {
    try {
      const policy = await rest.call('POST', `${projectUrl}:getIamPolicy`, {
        body: { options: { requestedPolicyVersion: 3 } },
        schema: Policy,
        signal,
      });
      return policy.bindings;
    } catch (error) {
      if (isKind(error, 'PermissionDenied')) return undefined;
      throw error;
    }
  }

  return {
    settles: {
      longestMs: 7 * 60_000,
      source:
        'https://cloud.google.com/iam/docs/access-change-propagation, 2026-11-28: typically 2 minutes, possibly 7 and more',
    },

    identity: () => clients.member(),

    async read(placement, exempt, signal) {
      const url = urlOf(placement);
      const policyUrl = `${url}/iam`;
      const [us, bucket, policy, above] = await Promise.all([
        clients.member(),
        rest.call('GET', url, { schema: Bucket, signal }),
        rest.call('GET', `${policyUrl}?optionsRequestedPolicyVersion=3`, { schema: Policy, signal }),
        projectBindings(signal),
      ]);
      const ours = [us, ...exempt];
      const [own, projects] = await Promise.all([judged(policy.bindings, signal), above && judged(above, signal)]);
      const marks = Object.entries(bucket.labels).filter(([key]) => key === labels.run || key === labels.until);
      const now = asJson({ bindings: bindingsOf(grantsOf(own)), labels: Object.fromEntries(marks) });
      const writers = (bindings: readonly Binding[], on: string): Writer[] =>
        grantsOf(bindings)
          .filter(({ instead, member }) => instead && !ours.includes(member))
          .map(({ role, member }) => ({ identity: member, by: `${role} on the ${on}` }));

      return {
        now,
        marked: marks.length > 0,
        writers: writers(own, 'bucket'),
        escapes: projects
          ? writers(projects, 'project')
          : [{ identity: 'unknown', by: 'the project: the worker lacks resourcemanager.projects.getIamPolicy' }],
        fenced: (rights, mark) => fencedBindings(rights, mark, ours),
        lifted: (rights, before) => liftedBindings(rights, before, ours),
        async apply(wanted) {
          const target = Rights.parse(wanted);
          const { bindings, labels: had } = Rights.parse(now);
          if (!isDeepStrictEqual(target.bindings, bindings))
            await rest.call('PUT', policyUrl, {
              // Conditions need version 3: https://cloud.google.com/iam/docs/policies#versions
              body: {
                version: 3,
                etag: policy.etag,
                bindings: target.bindings.map(({ instead: _, ...binding }) => binding),
              },
              schema: Policy,
              signal,
            });
          if (isDeepStrictEqual(target.labels, had)) return;
          const gone = Object.fromEntries(Object.keys(had).map((key) => [key, null]));
          await rest.call('PATCH', url, { body: { labels: { ...gone, ...target.labels } }, schema: Bucket, signal });
        },
      };
    },

    survey: async () => ({
      writers: [],
      uploads: { count: 0, first: [] },
      unknown: [
        'resumable uploads in progress: Cloud Storage does not list them; the right to write is asked for again with each part',
        'signed URLs: Cloud Storage keeps no list of them; they lose the right to write with whoever signed them',
      ],
    }),
  };
}
