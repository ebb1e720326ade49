/**
 * The IAM actions that a call to AWS needs: named after its operation, but where AWS names them otherwise, and with what the
 * operation does besides. Operations that one path does not tell are found by the routes in the SDKs' own models.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as iot from '@aws-sdk/client-iot';
import * as iotData from '@aws-sdk/client-iot-data-plane';
import * as route53 from '@aws-sdk/client-route-53';
import * as s3 from '@aws-sdk/client-s3';
import { z } from 'zod';
import type { Call } from './calls.ts';

/** An extract of the vendor's list of actions; `dependent`: actions that another one needs besides. */
export const awsActions = z
  .object({
    actions: z.record(z.string(), z.array(z.string())),
    withoutResource: z.array(z.string()),
    dependent: z.record(z.string(), z.array(z.string())),
  })
  .parse(JSON.parse(readFileSync(join(import.meta.dirname, 'definitions/aws-actions.json'), 'utf8')));

const services = [
  'autoscaling',
  'ec2',
  'glue',
  'iam',
  'iot',
  'kinesis',
  'route53',
  's3',
  'servicequotas',
  'sqs',
  'sts',
];

/** Operations whose actions have other names, or more than one. */
const named: Readonly<Record<string, readonly string[]>> = {
  // https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sts.html: needs no permission.
  'sts:GetCallerIdentity': [],
  // https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
  's3:AbortMultipartUpload': ['s3:AbortMultipartUpload'],
  's3:CompleteMultipartUpload': ['s3:PutObject'],
  's3:CopyObject': ['s3:GetObject', 's3:PutObject'],
  's3:CreateMultipartUpload': ['s3:PutObject'],
  's3:DeleteBucketLifecycle': ['s3:PutLifecycleConfiguration'],
  's3:DeleteBucketTagging': ['s3:PutBucketTagging'],
  's3:DeleteObjects': ['s3:DeleteObject', 's3:DeleteObjectVersion'],
  's3:GetBucketNotificationConfiguration': ['s3:GetBucketNotification'],
  's3:PutBucketNotificationConfiguration': ['s3:PutBucketNotification'],
  's3:GetBucketEncryption': ['s3:GetEncryptionConfiguration'],
  's3:GetBucketLifecycleConfiguration': ['s3:GetLifecycleConfiguration'],
  // Who may not list is told 403 of an object that is not there, where a reader must be told 404.
  's3:GetObject': ['s3:GetObject', 's3:ListBucket'],
  's3:GetPublicAccessBlock': ['s3:GetBucketPublicAccessBlock'],
  's3:HeadBucket': ['s3:ListBucket'],
  's3:HeadObject': ['s3:GetObject', 's3:ListBucket'],
  's3:ListBuckets': ['s3:ListAllMyBuckets'],
  's3:ListMultipartUploads': ['s3:ListBucketMultipartUploads'],
  's3:ListObjects': ['s3:ListBucket'],
  's3:ListObjectsV2': ['s3:ListBucket'],
  's3:ListObjectVersions': ['s3:ListBucketVersions'],
  's3:ListParts': ['s3:ListMultipartUploadParts'],
  's3:PutBucketEncryption': ['s3:PutEncryptionConfiguration'],
  's3:PutBucketLifecycleConfiguration': ['s3:PutLifecycleConfiguration'],
  's3:PutPublicAccessBlock': ['s3:PutBucketPublicAccessBlock'],
  's3:UploadPart': ['s3:PutObject'],
  // https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-api-permissions-reference.html
  'sqs:DeleteMessageBatch': ['sqs:DeleteMessage'],
  'sqs:SendMessageBatch': ['sqs:SendMessage'],
};

/** What takes the place of an action where one version is asked for. https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html */
const ofVersions: Readonly<Record<string, string>> = {
  's3:GetObject': 's3:GetObjectVersion',
  's3:GetObjectTagging': 's3:GetObjectVersionTagging',
  's3:DeleteObject': 's3:DeleteObjectVersion',
};

/** What an operation needs besides and the list of actions does not say: tags given at its creation, what it hands on. */
const besides: Readonly<Record<string, readonly string[]>> = {
  // https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-launch-template-permissions.html
  'autoscaling:CreateAutoScalingGroup': ['autoscaling:CreateOrUpdateTags', 'ec2:RunInstances', 'ec2:CreateTags'],
  'autoscaling:UpdateAutoScalingGroup': ['ec2:RunInstances', 'ec2:CreateTags'],
  'glue:CreateDatabase': ['glue:TagResource'],
  'iam:CreateInstanceProfile': ['iam:TagInstanceProfile'],
  'iam:CreateRole': ['iam:TagRole'],
  'iot:CreatePolicy': ['iot:TagResource'],
  'iot:CreateThingGroup': ['iot:TagResource'],
  'iot:CreateThingType': ['iot:TagResource'],
  // https://docs.aws.amazon.com/iot/latest/developerguide/pass-role.html
  'iot:CreateTopicRule': ['iot:TagResource', 'iam:PassRole'],
  'iot:ReplaceTopicRule': ['iam:PassRole'],
  'iot:RegisterCACertificate': ['iot:TagResource'],
  // https://docs.aws.amazon.com/kinesis/latest/APIReference/API_CreateStream.html: TagResource is not enough.
  'kinesis:CreateStream': ['kinesis:AddTagsToStream'],
  's3:CreateBucket': ['s3:TagResource'],
  'sqs:CreateQueue': ['sqs:TagQueue'],
};

/** Dependent actions that come with an option alone: a role for just-in-time provisioning, aliases to be resolved, tags for rules. */
const optional: Readonly<Record<string, readonly string[]>> = {
  'ec2:AuthorizeSecurityGroupEgress': ['ec2:CreateTags'],
  'ec2:DescribeLaunchTemplateVersions': ['ssm:GetParameters'],
  'iot:RegisterCACertificate': ['iam:PassRole'],
  'iot:UpdateCACertificate': ['iam:PassRole'],
};

interface Operation {
  name: string;
  method: string;
  path: RegExp;
  /** Query that tells it from others on the same path, but for `x-id`, which names the operation itself. */
  query: [name: string, value: string][];
}

/** A schema of kind 9 is an operation: [9, namespace, name, traits, input, output]. */
const OperationSchema = z.tuple(
  [z.literal(9), z.string(), z.string(), z.object({ http: z.tuple([z.string(), z.string(), z.number()]) })],
  z.unknown(),
);

/** Those that are told by more of the query come first, then the plainest name. */
function operationsOf(model: object): Operation[] {
  const found = Object.values(model).flatMap((value): Operation[] => {
    const parsed = OperationSchema.safeParse(value);
    if (!parsed.success) return [];
    const [, , name, { http }] = parsed.data;
    const [method, route] = http;
    const [path = '/', search = ''] = route.split('?');
    const pattern = path
      .split(/(\{\w+\+?\})/)
      .map((part) => (/^\{\w+\+\}$/.test(part) ? '.+' : /^\{\w+\}$/.test(part) ? '[^/]+' : part))
      .join('');
    const query = [...new URLSearchParams(search)].filter(([key]) => key !== 'x-id');
    return [{ name, method, path: new RegExp(`^${pattern}$`), query }];
  });
  return found.sort(
    (a, b) => b.query.length - a.query.length || a.name.length - b.name.length || (a.name < b.name ? -1 : 1),
  );
}

const models: Readonly<Record<string, readonly Operation[]>> = {
  iot: [...operationsOf(iotData), ...operationsOf(iot)],
  route53: operationsOf(route53),
  s3: operationsOf(s3),
};

const serviceOf = (host: string): string | undefined => host.split('.').find((word) => services.includes(word));

/** `GetBucketPolicy`, `CreateVpc`; undefined for what no model knows. */
function operationOf({ host, path, query, method, action }: Call, service: string): string | undefined {
  if (action) return action.split('.').at(-1);
  const addressed = service !== 's3' || !host.startsWith('s3.');
  const fits = (operation: Operation): boolean =>
    operation.method === method &&
    operation.path.test(path) &&
    operation.query.every(([key, value]) => key in query && (value === '' || query[key] === value)) &&
    (query['x-id'] === undefined || query['x-id'] === operation.name) &&
    (addressed || operation.name === 'ListBuckets');
  return models[service]?.find(fits)?.name;
}

/** `['ec2:CreateVpc', 'ec2:CreateTags']`; what cannot be named is a right that nobody has. */
export function awsRights(call: Call): string[] {
  const service = serviceOf(call.host);
  if (!service) return [];
  const operation = `${service}:${operationOf(call, service) ?? `${call.method} ${call.path}`}`;
  const versioned = service === 's3' && call.query.versionId !== undefined;
  const own = (named[operation] ?? [operation]).map((action) => (versioned && ofVersions[action]) || action);
  const dependent = own
    .flatMap((action) => awsActions.dependent[action] ?? [])
    .filter((action) => !optional[operation]?.includes(action));
  const tagging = service === 's3' && call.tagging ? ['s3:PutObjectTagging'] : [];
  return [...new Set([...own, ...dependent, ...(besides[operation] ?? []), ...tagging])];
}
