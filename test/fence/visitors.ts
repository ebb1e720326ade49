/** A program that is not ours, on each cloud: an identity of its own that may write to one store, and the cloud's own client. */
import { randomUUID } from 'node:crypto';
import { dirname } from 'node:path';
import {
  CreateAccessKeyCommand,
  CreateUserCommand,
  DeleteAccessKeyCommand,
  DeleteUserCommand,
  DeleteUserPolicyCommand,
  IAMClient,
  PutUserPolicyCommand,
} from '@aws-sdk/client-iam';
import {
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  GetBucketPolicyCommand,
  GetObjectCommand,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { AuthorizationManagementClient } from '@azure/arm-authorization';
import { ClientSecretCredential } from '@azure/identity';
import { ContainerClient } from '@azure/storage-blob';
import { Storage } from '@google-cloud/storage';
import { azureVisitor, gcpVisitorKeyFile } from '../../emulators/environment.ts';
import type { Outputs, Placement, ProviderType } from '../../model/service.ts';
import { localRun } from '../local/stack.ts';

export interface Visitor {
  /** In the words of a fence. */
  readonly name: string;
  write(key: string, text: string): Promise<unknown>;
  read(key: string): Promise<string>;
  /** Begins an upload in parts and puts one; the answer completes it. Only where the cloud lists those in progress. */
  beginUpload?(key: string): Promise<() => Promise<unknown>>;
  /** Who may do what on the store, byte for byte as the cloud tells its owner. */
  rights(): Promise<string>;
  leave(): Promise<unknown>;
}

/** Resources of a placement that hold what their outputs say. */
export type Made = Readonly<Record<string, Outputs>>;

/** HTTP status of what one of the clients threw. */
export function statusOf(error: unknown): number | undefined {
  const { $metadata, statusCode, code, status } = error as Record<string, unknown> & {
    $metadata?: { httpStatusCode?: number };
  };
  return [$metadata?.httpStatusCode, statusCode, code, status].map(Number).find((one) => one > 0);
}

const env = (name: string): string => process.env[name] ?? '';

async function onAws({ region }: Placement, made: Made): Promise<Visitor> {
  const credentials = { accessKeyId: env('AWS_ACCESS_KEY_ID'), secretAccessKey: env('AWS_SECRET_ACCESS_KEY') };
  const iam = new IAMClient({ region: 'us-east-1', credentials });
  const owner = new S3Client({ region, credentials });
  const Bucket = made.bucket?.bucket ?? '';
  const UserName = `visitor-${randomUUID()}`;
  const { User } = await iam.send(new CreateUserCommand({ UserName }));
  const PolicyDocument = JSON.stringify({
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Action: 's3:*', Resource: [`arn:aws:s3:::${Bucket}`, `arn:aws:s3:::${Bucket}/*`] }],
  });
  await iam.send(new PutUserPolicyCommand({ UserName, PolicyName: 'writes', PolicyDocument }));
  const { AccessKey } = await iam.send(new CreateAccessKeyCommand({ UserName }));
  const { AccessKeyId: accessKeyId = '', SecretAccessKey: secretAccessKey = '' } = AccessKey ?? {};
  const s3 = new S3Client({ region, credentials: { accessKeyId, secretAccessKey }, maxAttempts: 1 });
  return {
    name: User?.UserId ?? '',
    write: (Key, Body) => s3.send(new PutObjectCommand({ Bucket, Key, Body })),
    read: async (Key) => (await s3.send(new GetObjectCommand({ Bucket, Key }))).Body?.transformToString() ?? '',
    async beginUpload(Key) {
      const { UploadId } = await s3.send(new CreateMultipartUploadCommand({ Bucket, Key }));
      const part = { Bucket, Key, UploadId, PartNumber: 1 };
      const { ETag } = await s3.send(new UploadPartCommand({ ...part, Body: Key }));
      const MultipartUpload = { Parts: [{ ETag, PartNumber: 1 }] };
      return () => s3.send(new CompleteMultipartUploadCommand({ Bucket, Key, UploadId, MultipartUpload }));
    },
    rights: () =>
      owner.send(new GetBucketPolicyCommand({ Bucket })).then(
        ({ Policy = '' }) => Policy,
        (error: Error) => (error.name === 'NoSuchBucketPolicy' ? '' : Promise.reject(error)),
      ),
    async leave() {
      await iam.send(new DeleteAccessKeyCommand({ UserName, AccessKeyId: accessKeyId }));
      await iam.send(new DeleteUserPolicyCommand({ UserName, PolicyName: 'writes' }));
      await iam.send(new DeleteUserCommand({ UserName }));
    },
  };
}

async function onAzure({ account }: Placement, made: Made): Promise<Visitor> {
  const owner = new ClientSecretCredential(env('AZURE_TENANT_ID'), env('AZURE_CLIENT_ID'), env('AZURE_CLIENT_SECRET'));
  const { roleAssignments } = new AuthorizationManagementClient(owner, account);
  const scope = made.account?.id ?? '';
  const contributor = 'ba92f5b4-2d11-453d-a403-e96b0029c9fe';
  const name = randomUUID();
  await roleAssignments.create(scope, name, {
    roleDefinitionId: `/subscriptions/${account}/providers/Microsoft.Authorization/roleDefinitions/${contributor}`,
    principalId: azureVisitor.object,
    principalType: 'ServicePrincipal',
    description: 'uploads of another program',
  });
  const container = new ContainerClient(
    `${made.account?.url}${made.container?.name}`,
    new ClientSecretCredential(azureVisitor.tenant, azureVisitor.client, azureVisitor.secret),
    { retryOptions: { maxTries: 1 } },
  );
  return {
    name: azureVisitor.object,
    write: (key, text) => container.getBlockBlobClient(key).upload(text, Buffer.byteLength(text)),
    read: async (key) => (await container.getBlockBlobClient(key).downloadToBuffer()).toString(),
    async rights() {
      const all: unknown[] = [];
      for await (const one of roleAssignments.listForScope(scope)) {
        const { scope, name, roleDefinitionId, principalId, principalType, description, condition } = one;
        all.push({ scope, name, roleDefinitionId, principalId, principalType, description, condition });
      }
      return JSON.stringify(all.map((one) => JSON.stringify(one)).sort());
    },
    leave: () => roleAssignments.delete(scope, name),
  };
}

async function onGcp(_placement: Placement, made: Made): Promise<Visitor> {
  const bucket = new Storage({ keyFilename: env('GCP_KEY_FILE'), projectId: env('GCP_PROJECT_ID') }).bucket(
    made.bucket?.bucket ?? '',
  );
  const keyFilename = gcpVisitorKeyFile(dirname(localRun().network));
  const visitor = new Storage({ keyFilename, projectId: env('GCP_PROJECT_ID'), retryOptions: { autoRetry: false } });
  const { client_email } = await visitor.authClient.getCredentials();
  const [policy] = await bucket.iam.getPolicy();
  const member = `serviceAccount:${client_email}`;
  await bucket.iam.setPolicy({
    ...policy,
    bindings: [...(policy.bindings ?? []), { role: 'roles/storage.objectAdmin', members: [member] }],
  });
  const store = visitor.bucket(bucket.name);
  return {
    name: member,
    write: (key, text) => store.file(key).save(text, { resumable: false }),
    read: async (key) => (await store.file(key).download())[0].toString(),
    rights: async () => JSON.stringify((await bucket.iam.getPolicy())[0].bindings),
    leave: async () => bucket.iam.setPolicy({ ...(await bucket.iam.getPolicy())[0], bindings: [] }),
  };
}

export const visitors: Record<ProviderType, (placement: Placement, made: Made) => Promise<Visitor>> = {
  aws: onAws,
  azure: onAzure,
  gcp: onGcp,
};
