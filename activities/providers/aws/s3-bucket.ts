/** A private, versioned, encrypted bucket. Every call names the account that must own it, so that a stranger's bucket is never read or written. */
import {
  type BucketLocationConstraint,
  CreateBucketCommand,
  DeleteBucketCommand,
  DeleteObjectsCommand,
  HeadBucketCommand,
  ListBucketsCommand,
  ListObjectVersionsCommand,
} from '@aws-sdk/client-s3';
import { resourceName, retainedUntilTag } from '../../../model/names.ts';
import type { Placement, ResourceSpec } from '../../../model/service.ts';
import type { Call, Check, Observed, ResourceDriver } from '../driver.ts';
import type { Clients } from './clients.ts';
import { ifFound } from './errors.ts';
import { configuration, configure, putTags, type Target, tagsOfBucket } from './s3-bucket-configuration.ts';
import { allPages, desiredTags, eachOf, foundBy, ownership, tagsOf, toList } from './tags.ts';

const bucketKind = 'aws.s3.bucket';

/** How long an overwritten or deleted version can be brought back. */
const noncurrentDays = 90;

export const bucketName = (placement: Placement): string => resourceName(placement, { limit: 63 });

export function bucketSpec(placement: Placement, expireDays: number | undefined): ResourceSpec {
  return {
    key: 'bucket',
    kind: bucketKind,
    name: bucketName(placement),
    needs: [],
    holdsData: true,
    desired: {
      tags: desiredTags(placement),
      versioning: 'Enabled',
      encryption: { algorithm: 'aws:kms', bucketKey: true },
      publicAccess: 'blocked',
      objectOwnership: 'BucketOwnerEnforced',
      tlsOnly: true,
      lifecycle: { noncurrentDays, abortUploadsDays: 7, ...(expireDays ? { expireDays } : {}) },
    },
  };
}

/** What stays true of a bucket, for `verify` of each type that has one. */
export function bucketChecks(resource: string, observed: Observed | undefined): Check[] {
  const { encryption, tlsOnly, publicAccess, versioning, lifecycle } = observed?.properties ?? {};
  const check = (name: Check['name'], ok: boolean, found: unknown): Check => ({
    name,
    resource,
    ok,
    found: typeof found === 'string' ? found : JSON.stringify(found ?? 'nothing'),
  });
  return [
    check('encryption at rest', encryption !== undefined, encryption),
    check('TLS only', tlsOnly === true, tlsOnly === true ? 'other requests are denied' : 'plain HTTP is not denied'),
    check('no public access', publicAccess === 'blocked', publicAccess),
    check('versioning', versioning === 'Enabled', versioning),
    check('retention', lifecycle !== undefined, lifecycle),
  ];
}

export function bucketDriver(clients: Clients): ResourceDriver {
  const target = (spec: ResourceSpec, { placement, signal }: Call): Target => ({
    s3: clients.s3(placement.region),
    bucket: { Bucket: spec.name, ExpectedBucketOwner: placement.account },
    abortSignal: signal,
  });

  return {
    kind: bucketKind,
    immutable: [],

    async observe(spec, call) {
      const { s3, bucket, abortSignal } = target(spec, call);
      if (!(await ifFound(s3.send(new HeadBucketCommand(bucket), { abortSignal })))) return undefined;
      const seen = await ifFound(Promise.all([tagsOfBucket(target(spec, call)), configuration(target(spec, call))]));
      if (!seen) return undefined;
      const [tags, properties] = seen;
      const { tags: known, ...owned } = ownership(tags, spec);
      return {
        id: `arn:aws:s3:::${spec.name}`,
        ...owned,
        state: 'ready',
        properties: { tags: known, ...properties },
        outputs: { bucket: spec.name, url: `https://${spec.name}.s3.${call.placement.region}.amazonaws.com` },
      };
    },

    async create(spec, call) {
      const { s3, abortSignal } = target(spec, call);
      const { region } = call.placement;
      await s3.send(
        new CreateBucketCommand({
          Bucket: spec.name,
          ObjectOwnership: 'BucketOwnerEnforced',
          CreateBucketConfiguration: {
            Tags: toList(tagsOf(spec)),
            // us-east-1 is the default and may not be named: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucketConfiguration.html
            ...(region === 'us-east-1' ? {} : { LocationConstraint: region as BucketLocationConstraint }),
          },
        }),
        { abortSignal },
      );
      // `ensure` would find all of this as drift; done here, a bucket is never seen half made by a quick reader.
      const fresh = Object.keys(spec.desired).filter((property) => property !== 'tags');
      await configure(target(spec, call), spec, fresh);
    },

    async update(spec, _observed, drift, call) {
      await configure(target(spec, call), spec, drift);
    },

    async remove(spec, _observed, call) {
      const { s3, bucket, abortSignal } = target(spec, call);
      await ifFound(s3.send(new DeleteBucketCommand(bucket), { abortSignal }));
    },

    async list({ placement, signal }) {
      const s3 = clients.s3(placement.region);
      const buckets = await allPages(async (ContinuationToken) => {
        // Names start with the estate's; accounts may hold thousands of others.
        const query = { BucketRegion: placement.region, Prefix: placement.owner.estate, ContinuationToken };
        const page = await s3.send(new ListBucketsCommand(query), { abortSignal: signal });
        return { items: page.Buckets ?? [], next: page.ContinuationToken };
      });
      return eachOf(buckets, async ({ Name = '' }) => {
        const bucket = { Bucket: Name, ExpectedBucketOwner: placement.account };
        const tags = (await ifFound(tagsOfBucket({ s3, bucket, abortSignal: signal }))) ?? {};
        return foundBy(placement, bucketKind, Name, `arn:aws:s3:::${Name}`, tags);
      });
    },

    store: {
      async isEmpty(spec, call) {
        const { s3, bucket, abortSignal } = target(spec, call);
        const command = new ListObjectVersionsCommand({ ...bucket, MaxKeys: 1 });
        const page = await ifFound(s3.send(command, { abortSignal }));
        return !page?.Versions?.length && !page?.DeleteMarkers?.length;
      },
      async empty(spec, call) {
        const { s3, bucket, abortSignal } = target(spec, call);
        const command = new ListObjectVersionsCommand({ ...bucket, MaxKeys: 1000 });
        const page = await ifFound(s3.send(command, { abortSignal }));
        const Objects = [...(page?.Versions ?? []), ...(page?.DeleteMarkers ?? [])].map(({ Key, VersionId }) => ({
          Key,
          VersionId,
        }));
        if (Objects.length === 0) return true;
        const done = await s3.send(new DeleteObjectsCommand({ ...bucket, Delete: { Objects, Quiet: true } }), {
          abortSignal,
        });
        const refused = done.Errors?.[0];
        if (refused) throw Object.assign(new Error('an object could not be deleted'), { name: refused.Code });
        return !page?.IsTruncated;
      },
      async retain(spec, until, call) {
        const place = target(spec, call);
        await putTags(place, { ...(await tagsOfBucket(place)), [retainedUntilTag]: until });
      },
    },
  };
}
