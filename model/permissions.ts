/** The least rights that each identity of the workers needs, and the policy that grants them in each cloud's own form. Pure. */
import { z } from 'zod';
import { type ProviderType, type ServiceType, serviceTypes } from './service.ts';

/**
 * Whom a worker is to a cloud, by the queues it serves. `control` creates, repairs and verifies; `undo` takes back, removes and
 * fences; `watch` looks only; `bulk` copies content.
 */
export const identities = ['control', 'undo', 'watch', 'bulk'] as const;
export type Identity = (typeof identities)[number];

/** What rights are for: a service type; where the cloud holds the zone, `dns` for endpoint records and `traffic` for weighted answers. */
export const parts = [...serviceTypes, 'dns', 'traffic'] as const;
export type Part = (typeof parts)[number];

/** Rights in the cloud's own names, sorted: `s3:CreateBucket`, `Microsoft.Storage/storageAccounts/write`, `storage.buckets.create`. */
export const PermissionSheet = z.strictObject({
  /** Day of the recording. */
  recorded: z.iso.date(),
  how: z.string(),
  /** What each identity called while the conformance suite ran; an identity that makes no calls yet has no entry. */
  rights: z.partialRecord(z.enum(parts), z.partialRecord(z.enum(identities), z.array(z.string()))),
  /** Those of AWS that cannot be confined to a resource. */
  withoutResource: z.array(z.string()).optional(),
});
export type PermissionSheet = z.infer<typeof PermissionSheet>;
export type Permissions = Readonly<Record<ProviderType, PermissionSheet>>;

export interface Wanted {
  identity: Identity;
  /** Left out: all. */
  parts?: readonly Part[] | undefined;
}

/** What an identity needs for some parts, each right once, sorted. */
export function rightsFor({ rights }: PermissionSheet, { identity, parts: wanted = parts }: Wanted): string[] {
  return [...new Set(wanted.flatMap((part) => rights[part]?.[identity] ?? []))].sort();
}

/** Rights that `control` takes for its look at quotas alone. Who lacks them is told that the headroom is unknown. */
const isQuotaRead = (right: string): boolean =>
  /^servicequotas:Get|^ec2:DescribeInstance(s|Types)$|^s3:ListAllMyBuckets$|\/usages\/read$|^compute\.(projects|regions)\.get$/i.test(
    right,
  );

/**
 * What the identities of one worker need for a service type. Rights on content are left out: where a cloud lists them apart,
 * whoever creates a resource gives itself a role on its content. So are those on quotas: a run can do without.
 */
export const neededRights = (sheet: PermissionSheet, held: readonly Identity[], type: ServiceType): string[] => [
  ...new Set(
    held
      .flatMap((identity) =>
        rightsFor(sheet, { identity, parts: [type] }).filter((right) => identity !== 'control' || !isQuotaRead(right)),
      )
      .filter((right) => !isDataAction(right)),
  ),
];

export interface Scope {
  /** Its resources' names begin with it. */
  estate: string;
  /** AWS account, Azure subscription, GCP project; `*` where AWS may be told none. */
  account: string;
}

/** A document to be handed to the cloud, by the file name that fits it. */
export type Policies = Readonly<Record<string, unknown>>;

/** Empty where the identity makes no calls on this cloud. */
export function policiesFor(provider: ProviderType, sheet: PermissionSheet, wanted: Wanted, scope: Scope): Policies {
  const rights = rightsFor(sheet, wanted);
  const name = `${scope.estate}-${wanted.identity}`;
  if (rights.length === 0) return {};
  switch (provider) {
    case 'aws':
      return numbered(name, iamPolicies(rights, sheet.withoutResource ?? [], scope));
    case 'azure':
      return { [`${name}.json`]: azureRole(name, rights, scope) };
    case 'gcp':
      return { [`${name}.yaml`]: gcpRole(name, rights) };
  }
}

const numbered = (name: string, documents: readonly unknown[]): Policies =>
  Object.fromEntries(
    documents.map((document, at) => [`${name}${documents.length > 1 ? `-${at + 1}` : ''}.json`, document]),
  );

interface Statement {
  Sid: string;
  Effect: 'Allow';
  Action: string[];
  Resource: string[];
}
export interface IamPolicy {
  Version: '2012-10-17';
  Statement: Statement[];
}

/** ARNs that the actions of a service are confined to. EC2 names its resources itself, so there they cannot be told by name. */
function confinedTo({ estate, account }: Scope): Record<string, readonly string[]> {
  const own = `${estate}-*`;
  const word = `${estate.replaceAll('-', '_')}_*`;
  return {
    autoscaling: [`arn:aws:autoscaling:*:${account}:autoScalingGroup:*:autoScalingGroupName/${own}`],
    glue: [
      `arn:aws:glue:*:${account}:catalog`,
      `arn:aws:glue:*:${account}:database/${word}`,
      `arn:aws:glue:*:${account}:table/${word}/*`,
      `arn:aws:glue:*:${account}:userDefinedFunction/${word}/*`,
    ],
    iam: [
      `arn:aws:iam::${account}:role/multi-cloud/${estate}/*`,
      `arn:aws:iam::${account}:instance-profile/multi-cloud/${estate}/*`,
    ],
    iot: [
      ...['thinggroup', 'thingtype', 'policy'].map((type) => `arn:aws:iot:*:${account}:${type}/${own}`),
      `arn:aws:iot:*:${account}:rule/${word}`,
      // Devices have names of their own, certificates are named after their content.
      `arn:aws:iot:*:${account}:thing/*`,
      `arn:aws:iot:*:${account}:cert/*`,
      `arn:aws:iot:*:${account}:cacert/*`,
    ],
    // Zones and changes have IDs of the cloud's own.
    route53: ['arn:aws:route53:::hostedzone/*', 'arn:aws:route53:::change/*'],
    kinesis: [`arn:aws:kinesis:*:${account}:stream/${own}`],
    s3: [`arn:aws:s3:::${own}`, `arn:aws:s3:::${own}/*`],
    sqs: [`arn:aws:sqs:*:${account}:${own}`],
    // Public parameters: the newest images.
    ssm: ['arn:aws:ssm:*::parameter/aws/service/*'],
  };
}

/** Actions of a service that are about other resources than the rest of it. */
const apart: Readonly<Record<string, readonly string[]>> = {
  // A listing is about all of them; only the estate's own are looked into.
  'glue:GetDatabases': ['arn:aws:glue:*:*:catalog', 'arn:aws:glue:*:*:database/*'],
  'iam:CreateServiceLinkedRole': ['arn:aws:iam::*:role/aws-service-role/*'],
  // About whoever asks.
  'iam:SimulatePrincipalPolicy': ['*'],
  // Its resource is optional in AWS's list; it tells a number.
  'servicequotas:GetServiceQuota': ['*'],
};

/** Longest managed policy, white space left out: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html (2026-11). */
const longestPolicy = 6144;

function iamPolicies(rights: readonly string[], withoutResource: readonly string[], scope: Scope): IamPolicy[] {
  const confined = confinedTo(scope);
  const resourcesOf = (action: string): readonly string[] =>
    apart[action] ??
    (withoutResource.includes(action) ? ['*'] : (confined[action.slice(0, action.indexOf(':'))] ?? ['*']));
  const groups = Map.groupBy(rights, (action) => JSON.stringify(resourcesOf(action)));
  const documents: IamPolicy[] = [];
  for (const [resources, actions] of groups) {
    const statement: Statement = {
      Sid: `Part${[...groups.keys()].indexOf(resources) + 1}`,
      Effect: 'Allow',
      Action: actions,
      Resource: JSON.parse(resources) as string[],
    };
    const last = documents.at(-1);
    if (last && JSON.stringify(last).length + JSON.stringify(statement).length < longestPolicy)
      last.Statement.push(statement);
    else documents.push({ Version: '2012-10-17', Statement: [statement] });
  }
  return documents;
}

/** Rights on content, which a role lists apart: https://learn.microsoft.com/azure/role-based-access-control/role-definitions#control-and-data-actions. */
export const isDataAction = (right: string): boolean =>
  /^Microsoft\.Storage\/.*\/blobs\/|^Microsoft\.Devices\/IotHubs\/(devices|twins|directMethods)\/|^Microsoft\.EventHub\/.*\/(send|receive)\//i.test(
    right,
  );

export interface AzureRole {
  Name: string;
  IsCustom: true;
  Description: string;
  Actions: string[];
  NotActions: string[];
  DataActions: string[];
  NotDataActions: string[];
  AssignableScopes: string[];
}

/** As `az role definition create --role-definition` takes it. */
const azureRole = (name: string, rights: readonly string[], { account }: Scope): AzureRole => ({
  Name: name,
  IsCustom: true,
  Description: 'The least rights of an identity of multi-cloud',
  Actions: rights.filter((right) => !isDataAction(right)),
  NotActions: [],
  DataActions: rights.filter(isDataAction),
  NotDataActions: [],
  AssignableScopes: [`/subscriptions/${account}`],
});

export interface GcpRole {
  title: string;
  description: string;
  stage: 'GA';
  includedPermissions: string[];
}

/** As `gcloud iam roles create --file` takes it. */
const gcpRole = (name: string, rights: readonly string[]): GcpRole => ({
  title: name,
  description: 'The least rights of an identity of multi-cloud',
  stage: 'GA',
  includedPermissions: [...rights],
});
