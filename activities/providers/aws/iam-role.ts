/** A role that one AWS service takes on, with exactly the rights in its one inline policy. */
import {
  CreateRoleCommand,
  DeleteRoleCommand,
  DeleteRolePolicyCommand,
  DetachRolePolicyCommand,
  GetRoleCommand,
  GetRolePolicyCommand,
  ListAttachedRolePoliciesCommand,
  ListRolePoliciesCommand,
  ListRolesCommand,
  ListRoleTagsCommand,
  PutRolePolicyCommand,
  TagRoleCommand,
  UpdateAssumeRolePolicyCommand,
} from '@aws-sdk/client-iam';
import { resourceName } from '../../../model/names.ts';
import type { Json, Placement, ResourceSpec } from '../../../model/service.ts';
import type { ResourceDriver } from '../driver.ts';
import type { Clients } from './clients.ts';
import { gone, ifFound } from './errors.ts';
import { allPages, desiredTags, eachOf, foundBy, fromList, ownership, tagsOf, toList } from './tags.ts';

const roleKind = 'aws.iam.role';

/** Roles and profiles of an estate lie under one path: they can be listed, and a worker's own rights end there. */
export const pathOf = ({ owner }: Placement): string => `/multi-cloud/${owner.estate}/`;

export interface Statement {
  Sid: string;
  Effect: 'Allow' | 'Deny';
  Action: string[];
  Resource: string[];
}

/** `service` is who takes the role on: `ec2.amazonaws.com`. A second role of a placement has a suffix, which is its key as well. */
export function roleSpec(
  placement: Placement,
  service: string,
  statements: Statement[],
  suffix?: string,
): ResourceSpec {
  return {
    key: suffix ?? 'role',
    kind: roleKind,
    name: roleName(placement, suffix),
    needs: [],
    holdsData: false,
    desired: {
      tags: desiredTags(placement),
      trust: trustOf(placement, service),
      permissions: { Version: '2012-10-17', Statement: statements.map((statement) => ({ ...statement })) },
    },
  };
}

export const roleName = (placement: Placement, suffix?: string): string =>
  resourceName(placement, { limit: 64, ...(suffix !== undefined && { suffix }) });
export const roleArn = (placement: Placement, name: string): string =>
  `arn:aws:iam::${placement.account}:role${pathOf(placement)}${name}`;

/** Only this account's own resources may make the service take the role on ("confused deputy"); EC2 sends no such context. */
const trustOf = ({ account }: Placement, service: string): Json => ({
  Version: '2012-10-17',
  Statement: [
    {
      Effect: 'Allow',
      Principal: { Service: service },
      Action: 'sts:AssumeRole',
      ...(service === 'ec2.amazonaws.com' ? {} : { Condition: { StringEquals: { 'aws:SourceAccount': account } } }),
    },
  ],
});

const policyName = 'access';
/** IAM returns documents URL-encoded, character for character as they were put. */
const document = (encoded: string | undefined): Json => (encoded ? JSON.parse(decodeURIComponent(encoded)) : {});

export function roleDriver(clients: Clients): ResourceDriver {
  const putPolicy = (spec: ResourceSpec, signal: AbortSignal) =>
    clients.iam().send(
      new PutRolePolicyCommand({
        RoleName: spec.name,
        PolicyName: policyName,
        PolicyDocument: JSON.stringify(spec.desired.permissions),
      }),
      { abortSignal: signal },
    );

  return {
    kind: roleKind,
    immutable: [],

    async observe(spec, { signal }) {
      const options = { abortSignal: signal };
      const RoleName = spec.name;
      const [found, policy] = await Promise.all([
        ifFound(clients.iam().send(new GetRoleCommand({ RoleName }), options)),
        ifFound(clients.iam().send(new GetRolePolicyCommand({ RoleName, PolicyName: policyName }), options)),
      ]);
      if (!found?.Role) return undefined;
      const { tags, ...owned } = ownership(fromList(found.Role.Tags), spec);
      const arn = found.Role.Arn ?? '';
      return {
        id: arn,
        ...owned,
        state: 'ready',
        properties: {
          tags,
          trust: document(found.Role.AssumeRolePolicyDocument),
          permissions: document(policy?.PolicyDocument),
        },
        outputs: { arn, role: spec.name },
      };
    },

    async create(spec, { placement, signal }) {
      await clients.iam().send(
        new CreateRoleCommand({
          RoleName: spec.name,
          Path: pathOf(placement),
          AssumeRolePolicyDocument: JSON.stringify(spec.desired.trust),
          Tags: toList(tagsOf(spec)),
        }),
        { abortSignal: signal },
      );
      await putPolicy(spec, signal);
    },

    async update(spec, _observed, drift, { signal }) {
      const options = { abortSignal: signal };
      const RoleName = spec.name;
      if (drift.includes('tags'))
        await clients.iam().send(new TagRoleCommand({ RoleName, Tags: toList(tagsOf(spec)) }), options);
      if (drift.includes('trust')) {
        const PolicyDocument = JSON.stringify(spec.desired.trust);
        await clients.iam().send(new UpdateAssumeRolePolicyCommand({ RoleName, PolicyDocument }), options);
      }
      if (drift.includes('permissions')) await putPolicy(spec, signal);
    },

    async remove(spec, _observed, { signal }) {
      const options = { abortSignal: signal };
      const RoleName = spec.name;
      const iam = clients.iam();
      const [inline, attached] = await Promise.all([
        ifFound(iam.send(new ListRolePoliciesCommand({ RoleName }), options)),
        ifFound(iam.send(new ListAttachedRolePoliciesCommand({ RoleName }), options)),
      ]);
      for (const PolicyName of inline?.PolicyNames ?? [])
        await gone(iam.send(new DeleteRolePolicyCommand({ RoleName, PolicyName }), options));
      for (const { PolicyArn } of attached?.AttachedPolicies ?? [])
        await gone(iam.send(new DetachRolePolicyCommand({ RoleName, PolicyArn }), options));
      await gone(iam.send(new DeleteRoleCommand({ RoleName }), options));
    },

    async list({ placement, signal }) {
      const iam = clients.iam();
      const roles = await allPages(async (Marker) => {
        const page = await iam.send(new ListRolesCommand({ PathPrefix: pathOf(placement), Marker }), {
          abortSignal: signal,
        });
        return { items: page.Roles ?? [], next: page.Marker };
      });
      return eachOf(roles, async ({ RoleName = '', Arn = '' }) => {
        const tagged = await ifFound(iam.send(new ListRoleTagsCommand({ RoleName }), { abortSignal: signal }));
        return foundBy(placement, roleKind, RoleName, Arn, fromList(tagged?.Tags));
      });
    },
  };
}
