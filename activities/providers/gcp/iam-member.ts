/**
 * One right: a role for one member on one resource, and nowhere else. Bindings carry no labels, so they belong to whom the
 * resource belongs. `desired`: on (bucket | topic | secret), target, role, member.
 */
import { z } from 'zod';
import { fromTags } from '../../../model/names.ts';
import type { ResourceSpec } from '../../../model/service.ts';
import type { Call, ResourceDriver } from '../driver.ts';
import type { Rest } from './rest.ts';

const Binding = z.looseObject({ role: z.string(), members: z.array(z.string()).default([]) });
const Policy = z.looseObject({ etag: z.string().optional(), bindings: z.array(Binding).default([]) });
type Policy = z.infer<typeof Policy>;
const Labelled = z.looseObject({ labels: z.record(z.string(), z.string()).default({}) });
const Desired = z.object({
  on: z.enum(['bucket', 'topic', 'secret']),
  target: z.string(),
  role: z.string(),
  member: z.string(),
});

export function iamMemberDriver(project: string, rest: Rest): ResourceDriver {
  const urls = {
    bucket: 'https://storage.googleapis.com/storage/v1/b',
    topic: `https://pubsub.googleapis.com/v1/projects/${project}/topics`,
    secret: `https://secretmanager.googleapis.com/v1/projects/${project}/secrets`,
  };

  const read = async (spec: ResourceSpec, { signal }: Pick<Call, 'signal'>) => {
    const desired = Desired.parse(spec.desired);
    const resource = `${urls[desired.on]}/${desired.target}`;
    const labelled = await rest.find(resource, { schema: Labelled, signal });
    if (!labelled) return undefined;
    const policyUrl = desired.on === 'bucket' ? `${resource}/iam` : `${resource}:getIamPolicy`;
    const policy = await rest.find(policyUrl, { schema: Policy, signal });
    return policy && { desired, resource, owner: fromTags(labelled.labels), policy };
  };

  /** Writes the policy with the etag that it was read with: a change in between is answered with an error, and tried again. */
  const write = async (on: string, resource: string, policy: Policy, signal: AbortSignal): Promise<void> => {
    if (on === 'bucket') await rest.call('PUT', `${resource}/iam`, { body: policy, schema: Policy, signal });
    else await rest.call('POST', `${resource}:setIamPolicy`, { body: { policy }, schema: Policy, signal });
  };

  const holds = (policy: Policy, { role, member }: z.infer<typeof Desired>): boolean =>
    policy.bindings.some((binding) => binding.role === role && binding.members.includes(member) && !binding.condition);

  return {
    kind: 'gcp.iam.member',
    immutable: [],
    async observe(spec, call) {
      const found = await read(spec, call);
      if (!found || !holds(found.policy, found.desired)) return undefined;
      return {
        id: `${found.resource} ${found.desired.role} ${found.desired.member}`,
        owner: found.owner,
        state: 'ready',
        properties: { ...found.desired },
        outputs: {},
      };
    },
    async create(spec, call) {
      const found = await read(spec, call);
      if (!found) throw new Error(`${spec.name}: the resource must be ready first`);
      const { desired, policy, resource } = found;
      if (holds(policy, desired)) return;
      const same = policy.bindings.find(({ role, condition }) => role === desired.role && !condition);
      const bindings = same
        ? policy.bindings.map((one) => (one === same ? { ...one, members: [...one.members, desired.member] } : one))
        : [...policy.bindings, { role: desired.role, members: [desired.member] }];
      await write(desired.on, resource, { ...policy, bindings }, call.signal);
    },
    async update() {
      // A binding is there or it is not.
    },
    async remove(spec, _observed, call) {
      const found = await read(spec, call);
      if (!found || !holds(found.policy, found.desired)) return;
      const { desired, policy, resource } = found;
      const bindings = policy.bindings
        .map((one) =>
          one.role === desired.role && !one.condition
            ? { ...one, members: one.members.filter((member) => member !== desired.member) }
            : one,
        )
        .filter(({ members }) => members.length > 0);
      await write(desired.on, resource, { ...policy, bindings }, call.signal);
    },
    // Found, and deleted, with the resource it is on.
    list: async () => [],
  };
}
