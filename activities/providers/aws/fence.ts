/**
 * The fence of a bucket: one statement of its policy that denies writes to everybody but this worker. A denial outweighs
 * whatever allows, in the account and outside of it, so no right is taken from anybody and none has to be given back.
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
 */
import { isDeepStrictEqual } from 'node:util';
import { ListRolesCommand, ListUsersCommand, SimulatePrincipalPolicyCommand } from '@aws-sdk/client-iam';
import {
  DeleteBucketPolicyCommand,
  GetBucketPolicyCommand,
  ListMultipartUploadsCommand,
  PutBucketPolicyCommand,
} from '@aws-sdk/client-s3';
import { z } from 'zod';
import type { Writer } from '../../../model/fence.ts';
import { resourceName } from '../../../model/names.ts';
import type { JsonObject, Placement } from '../../../model/service.ts';
import type { FenceDriver, FenceMark } from '../driver.ts';
import type { Clients } from './clients.ts';
import { isKind } from './errors.ts';
import { allPages, eachOf } from './tags.ts';

/** Who asks: the unique ID that `aws:userid` holds (of an assumed role: `AROA…:<session>`), and the IAM identity behind it. */
export interface Caller {
  userId: string;
  /** Undefined for the account's root user. */
  principal: string | undefined;
}

/** Every action that changes what objects hold or which there are; reading and listing are none of them. */
const writes = [
  's3:PutObject*',
  's3:DeleteObject*',
  's3:ReplicateObject',
  's3:ReplicateDelete',
  's3:ReplicateTags',
  's3:RestoreObject',
  's3:BypassGovernanceRetention',
];
const sidPrefix = 'MultiCloudFence';

const Statement = z.looseObject({
  Sid: z.string().optional(),
  Effect: z.string(),
  Principal: z.unknown().optional(),
  Action: z.union([z.string(), z.array(z.string())]).optional(),
});
const Policy = z.looseObject({ Statement: z.union([z.array(Statement), Statement.transform((one) => [one])]) });
type Statement = z.infer<typeof Statement>;
/** The policy's text as S3 gives it, or null where there is none. */
const Rights = z.object({ policy: z.string().nullable() });

const parse = (rights: JsonObject): z.infer<typeof Policy> => {
  const { policy } = Rights.parse(rights);
  return policy === null ? { Version: '2012-10-17', Statement: [] } : Policy.parse(JSON.parse(policy));
};
const isOurs = ({ Sid }: Statement): boolean => Sid?.startsWith(sidPrefix) ?? false;
const stated = (policy: object, Statement: readonly Statement[]): JsonObject => ({
  policy: Statement.length === 0 ? null : JSON.stringify({ ...policy, Statement }),
});

/** `Sid` takes letters and digits only. */
const sidOf = ({ owner, expiresAt }: FenceMark): string =>
  `${sidPrefix}Run${owner.runId}Until${expiresAt}`.replace(/[^A-Za-z0-9]/g, '');

/** Every session of a role, and not its name: a session's own ARN does not tell the role's path. */
export const fenceName = ({ userId }: Pick<Caller, 'userId'>): string => userId.replace(/:.*/, ':*');

/** `ours`: patterns of `aws:userid`, one at least. */
export function fencedPolicy(rights: JsonObject, mark: FenceMark, bucket: string, ours: readonly string[]): JsonObject {
  const { Statement, ...policy } = parse(rights);
  const wanted = {
    Sid: sidOf(mark),
    Effect: 'Deny',
    Principal: '*',
    Action: writes,
    Resource: `arn:aws:s3:::${bucket}/*`,
    // Of several it is none. S3 gives a list of one back as a text.
    Condition: { StringNotLike: { 'aws:userid': ours.length === 1 ? ours[0] : ours } },
  };
  if (isDeepStrictEqual(Statement.filter(isOurs), [wanted])) return rights;
  return stated(policy, [...Statement.filter((one) => !isOurs(one)), wanted]);
}

export function liftedPolicy(rights: JsonObject, before: JsonObject): JsonObject {
  const { Statement, ...policy } = parse(rights);
  const others = Statement.filter((one) => !isOurs(one));
  if (others.length === Statement.length) return rights;
  return isDeepStrictEqual(others, parse(before).Statement) ? before : stated(policy, others);
}

export function bucketFence(clients: Clients, identity: (signal: AbortSignal) => Promise<Caller>): FenceDriver {
  const bucketOf = (placement: Placement) => ({
    Bucket: resourceName(placement, { limit: 63 }),
    ExpectedBucketOwner: placement.account,
  });
  /** Identities looked at one by one; an account may have thousands. */
  const mostIdentities = 200;

  /** Those of the account's users and roles that their own policies let write. */
  async function identitiesThatWrite(bucket: string, us: Caller, abortSignal: AbortSignal) {
    const page = { MaxItems: mostIdentities };
    const [users, roles] = await Promise.all([
      clients.iam().send(new ListUsersCommand(page), { abortSignal }),
      clients.iam().send(new ListRolesCommand(page), { abortSignal }),
    ]);
    const arns = [...(users.Users ?? []), ...(roles.Roles ?? [])].flatMap(({ Arn = '', Path = '' }) =>
      Path.startsWith('/aws-service-role/') || Arn === us.principal ? [] : [Arn],
    );
    const writers = await eachOf<string, Writer>(arns.slice(0, mostIdentities), async (PolicySourceArn) => {
      const query = {
        PolicySourceArn,
        ActionNames: ['s3:PutObject', 's3:DeleteObject'],
        ResourceArns: [`arn:aws:s3:::${bucket}/*`],
      };
      const { EvaluationResults = [] } = await clients
        .iam()
        .send(new SimulatePrincipalPolicyCommand(query), { abortSignal });
      const allowed = EvaluationResults.filter(({ EvalDecision }) => EvalDecision === 'allowed');
      const by = allowed.map(({ EvalActionName = '' }) => EvalActionName).join(', ');
      return by ? [{ identity: PolicySourceArn, by: `its own policies: ${by}` }] : [];
    });
    const more = (users.IsTruncated ?? false) || (roles.IsTruncated ?? false) || arns.length > mostIdentities;
    return { writers, unknown: more ? [`identities of the account beyond the first ${mostIdentities}`] : [] };
  }

  return {
    settles: {
      source:
        'https://docs.aws.amazon.com/AmazonS3/latest/userguide/Welcome.html#ConsistencyModel, 2026-11-28: bucket configurations are eventually consistent, no figure is published',
    },

    identity: async (abortSignal) => fenceName(await identity(abortSignal)),

    async read(placement, exempt, abortSignal) {
      const s3 = clients.s3(placement.region);
      const bucket = bucketOf(placement);
      const [us, found] = await Promise.all([
        identity(abortSignal),
        s3.send(new GetBucketPolicyCommand(bucket), { abortSignal }).catch(unlessNone),
      ]);
      const now = { policy: found?.Policy ?? null };
      const ours = [...new Set([fenceName(us), ...exempt])].sort();
      return {
        now,
        marked: parse(now).Statement.some(isOurs),
        writers: allowedBy(parse(now).Statement),
        // No allowance, whoever gives it, outweighs the denial; who may change the policy is not stopped from that.
        escapes: [],
        fenced: (rights, mark) => fencedPolicy(rights, mark, bucket.Bucket, ours),
        lifted: liftedPolicy,
        async apply(wanted) {
          const { policy } = Rights.parse(wanted);
          if (policy === null) await s3.send(new DeleteBucketPolicyCommand(bucket), { abortSignal });
          else await s3.send(new PutBucketPolicyCommand({ ...bucket, Policy: policy }), { abortSignal });
        },
      };
    },

    async survey(placement, abortSignal) {
      const s3 = clients.s3(placement.region);
      const bucket = bucketOf(placement);
      const uploads = await allPages<string>(async (token) => {
        const [KeyMarker, UploadIdMarker] = token === undefined ? [] : (JSON.parse(token) as [string, string]);
        const page = await s3.send(new ListMultipartUploadsCommand({ ...bucket, KeyMarker, UploadIdMarker }), {
          abortSignal,
        });
        const next = page.IsTruncated ? JSON.stringify([page.NextKeyMarker, page.NextUploadIdMarker]) : undefined;
        return { items: (page.Uploads ?? []).map(({ Key = '' }) => Key), next };
      });
      const us = await identity(abortSignal);
      const found = await identitiesThatWrite(bucket.Bucket, us, abortSignal).catch((error: unknown) => {
        // Asking about each identity is what IAM throttles first; a large account is not worth a preflight that fails.
        const why = isKind(error, 'Throttled') ? 'IAM throttles the question' : 'the worker may not list them';
        if (!isKind(error, 'Throttled') && !isKind(error, 'PermissionDenied')) throw error;
        return { writers: [], unknown: [`which identities of the account can write: ${why}`] };
      });
      return {
        writers: found.writers,
        uploads: { count: uploads.length, first: uploads.slice(0, 10) },
        unknown: [
          ...found.unknown,
          'presigned URLs: S3 keeps no list of them; those of other identities are refused with the fence',
        ],
      };
    },
  };
}

/** A missing policy is nothing, and unlike a missing bucket no error. */
const unlessNone = (error: unknown): undefined => {
  if (error instanceof Error && error.name === 'NoSuchBucketPolicy') return undefined;
  throw error;
};

const writesObjects = (action: string): boolean => {
  const [, name = ''] = /^s3:(.*)$/i.exec(action) ?? (action === '*' ? ['', '*'] : []);
  const pattern = new RegExp(
    `^${name
      .replace(/[.+^${}()|[\]\\]/g, '\\$&')
      .replaceAll('*', '.*')
      .replaceAll('?', '.')}$`,
    'i',
  );
  return name !== '' && ['PutObject', 'DeleteObject'].some((one) => pattern.test(one));
};

/** Whom statements of the policy itself let write. */
const allowedBy = (statements: readonly Statement[]): Writer[] =>
  statements
    .filter(({ Effect, Action }) => Effect === 'Allow' && [Action ?? []].flat().some(writesObjects))
    .map(({ Principal, Sid = 'without a Sid' }) => ({
      identity: typeof Principal === 'string' ? Principal : JSON.stringify(Principal),
      by: `bucket policy, statement ${Sid}`,
    }));
