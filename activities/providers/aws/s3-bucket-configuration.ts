/** What is set on a bucket besides its existence: read in the shape of `desired`, and brought to it. */
import {
  GetBucketEncryptionCommand,
  GetBucketLifecycleConfigurationCommand,
  GetBucketOwnershipControlsCommand,
  GetBucketPolicyCommand,
  GetBucketTaggingCommand,
  GetBucketVersioningCommand,
  GetPublicAccessBlockCommand,
  PutBucketEncryptionCommand,
  PutBucketLifecycleConfigurationCommand,
  PutBucketOwnershipControlsCommand,
  PutBucketPolicyCommand,
  PutBucketTaggingCommand,
  PutBucketVersioningCommand,
  PutPublicAccessBlockCommand,
  type S3Client,
} from '@aws-sdk/client-s3';
import type { JsonObject, ResourceSpec } from '../../../model/service.ts';
import { ifFound } from './errors.ts';
import { lifecycleOf, lifecycleRules } from './s3-lifecycle.ts';
import { fromList, type Tags, tagsOf, toList } from './tags.ts';
import { isTlsOnly, withTlsOnly } from './tls-only.ts';

/** A bucket, and the account that must own it. */
export interface Target {
  s3: S3Client;
  bucket: { Bucket: string; ExpectedBucketOwner: string };
  abortSignal: AbortSignal;
}

/** NotFound where the bucket itself is gone: without that, one that goes meanwhile would look like a stranger's. */
export async function tagsOfBucket({ s3, bucket, abortSignal }: Target): Promise<Tags> {
  try {
    return fromList((await s3.send(new GetBucketTaggingCommand(bucket), { abortSignal })).TagSet);
  } catch (error) {
    if (error instanceof Error && error.name === 'NoSuchTagSet') return {};
    throw error;
  }
}

export async function putTags({ s3, bucket, abortSignal }: Target, tags: Tags): Promise<void> {
  await s3.send(new PutBucketTaggingCommand({ ...bucket, Tagging: { TagSet: toList(tags) } }), { abortSignal });
}

/** The configuration that exists, in the shape of `desired`; what is absent has no key. */
export async function configuration({ s3, bucket, abortSignal }: Target): Promise<JsonObject> {
  const options = { abortSignal };
  const [versioning, encryption, block, controls, policy, lifecycle] = await Promise.all([
    s3.send(new GetBucketVersioningCommand(bucket), options),
    ifFound(s3.send(new GetBucketEncryptionCommand(bucket), options)),
    ifFound(s3.send(new GetPublicAccessBlockCommand(bucket), options)),
    ifFound(s3.send(new GetBucketOwnershipControlsCommand(bucket), options)),
    ifFound(s3.send(new GetBucketPolicyCommand(bucket), options)),
    ifFound(s3.send(new GetBucketLifecycleConfigurationCommand(bucket), options)),
  ]);
  const rule = encryption?.ServerSideEncryptionConfiguration?.Rules?.[0];
  const algorithm = rule?.ApplyServerSideEncryptionByDefault?.SSEAlgorithm;
  const blocked = block?.PublicAccessBlockConfiguration;
  const isBlocked =
    blocked?.BlockPublicAcls && blocked.IgnorePublicAcls && blocked.BlockPublicPolicy && blocked.RestrictPublicBuckets;
  const objectOwnership = controls?.OwnershipControls?.Rules?.[0]?.ObjectOwnership;
  return {
    versioning: versioning.Status ?? 'Off',
    ...(algorithm ? { encryption: { algorithm, bucketKey: rule?.BucketKeyEnabled ?? false } } : {}),
    publicAccess: isBlocked ? 'blocked' : 'possible',
    ...(objectOwnership ? { objectOwnership } : {}),
    tlsOnly: isTlsOnly(policy?.Policy),
    ...(lifecycle ? { lifecycle: lifecycleOf(lifecycle.Rules) } : {}),
  };
}

/** Brings the named properties to what the spec says. They are independent of each other, but for the policy, which a public access block judges. */
export async function configure(place: Target, spec: ResourceSpec, properties: readonly string[]): Promise<void> {
  const { s3, bucket, abortSignal } = place;
  const options = { abortSignal };
  const changes: Record<string, () => Promise<unknown>> = {
    tags: async () => putTags(place, { ...(await tagsOfBucket(place)), ...tagsOf(spec) }),
    versioning: () =>
      s3.send(new PutBucketVersioningCommand({ ...bucket, VersioningConfiguration: { Status: 'Enabled' } }), options),
    encryption: () =>
      s3.send(
        new PutBucketEncryptionCommand({
          ...bucket,
          ServerSideEncryptionConfiguration: {
            Rules: [
              // The account's own key for S3 (`aws/s3`): no key to lose when the bucket goes.
              { ApplyServerSideEncryptionByDefault: { SSEAlgorithm: 'aws:kms' }, BucketKeyEnabled: true },
            ],
          },
        }),
        options,
      ),
    publicAccess: () =>
      s3.send(
        new PutPublicAccessBlockCommand({
          ...bucket,
          PublicAccessBlockConfiguration: {
            BlockPublicAcls: true,
            IgnorePublicAcls: true,
            BlockPublicPolicy: true,
            RestrictPublicBuckets: true,
          },
        }),
        options,
      ),
    objectOwnership: () =>
      s3.send(
        new PutBucketOwnershipControlsCommand({
          ...bucket,
          OwnershipControls: { Rules: [{ ObjectOwnership: 'BucketOwnerEnforced' }] },
        }),
        options,
      ),
    tlsOnly: async () => {
      const policy = await ifFound(s3.send(new GetBucketPolicyCommand(bucket), options));
      const Policy = withTlsOnly('s3', [`arn:aws:s3:::${spec.name}`, `arn:aws:s3:::${spec.name}/*`], policy?.Policy);
      await s3.send(new PutBucketPolicyCommand({ ...bucket, Policy }), options);
    },
    lifecycle: () =>
      s3.send(
        new PutBucketLifecycleConfigurationCommand({
          ...bucket,
          LifecycleConfiguration: { Rules: lifecycleRules(spec.desired.lifecycle) },
        }),
        options,
      ),
  };
  await Promise.all(properties.map((property) => changes[property]?.()));
}
