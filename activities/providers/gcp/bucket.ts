/** A private, versioned bucket in the placement's region: rights by IAM alone, public access prevented, lifecycle for what is old. */
import type { BucketMetadata, CreateBucketRequest, File, Storage } from '@google-cloud/storage';
import { CloudError } from '../../../model/errors.ts';
import { resourceName, retainedUntilTag } from '../../../model/names.ts';
import type { JsonObject, Placement, ResourceSpec } from '../../../model/service.ts';
import type { Check, Observed, ResourceDriver } from '../driver.ts';
import { lifecycleOf, lifecycleRules } from './bucket-lifecycle.ts';
import { abortable } from './compute-resource.ts';
import { ifFound, isKind } from './errors.ts';
import { desiredLabels, foundBy, labelsOf, ownership } from './labels.ts';

export const bucketKind = 'gcp.storage.bucket';

/** How long an overwritten or deleted version can be brought back. */
const noncurrentDays = 90;
/** How long even what was deleted for good can be restored: the shortest that can be had, and the default. */
const softDeleteDays = 7;
const daySeconds = 24 * 3600;

export const bucketName = (placement: Placement): string => resourceName(placement, { limit: 63 });

/** `expireDays`: age at which objects are deleted; never where it is left out. */
export function bucketSpec(placement: Placement, expireDays?: number): Pick<ResourceSpec, 'kind' | 'name' | 'desired'> {
  return {
    kind: bucketKind,
    name: bucketName(placement),
    desired: {
      tags: desiredLabels(placement),
      region: placement.region,
      storageClass: 'STANDARD',
      versioning: true,
      uniformAccess: true,
      publicAccess: 'enforced',
      softDeleteDays,
      lifecycle: { noncurrentDays, abortUploadsDays: 7, ...(expireDays === undefined ? {} : { expireDays }) },
    },
  };
}

/** What stays true of a bucket, for `verify` of each type that has one. */
export function bucketChecks(resource: string, observed: Observed | undefined): Check[] {
  const { encryption, publicAccess, uniformAccess, versioning, lifecycle } = observed?.properties ?? {};
  const isPrivate = publicAccess === 'enforced' && uniformAccess === true;
  const exists = observed !== undefined;
  return [
    { name: 'encryption at rest', resource, ok: exists, found: exists ? `AES-256 with ${encryption}` : 'nothing' },
    // https://cloud.google.com/storage/docs/troubleshooting: plain HTTP with a token is answered with 403 SSLRequired.
    {
      name: 'TLS only',
      resource,
      ok: isPrivate,
      found: isPrivate ? 'authenticated requests need TLS, others are refused' : 'anonymous requests may be possible',
    },
    { name: 'no public access', resource, ok: isPrivate, found: `public access prevention ${publicAccess}` },
    { name: 'versioning', resource, ok: versioning === true, found: versioning === true ? 'enabled' : 'off' },
    { name: 'retention', resource, ok: lifecycle !== undefined, found: JSON.stringify(lifecycle ?? 'nothing') },
  ];
}

/** The configuration that exists, in the shape of `desired`. */
function propertiesOf(metadata: BucketMetadata): JsonObject {
  const { iamConfiguration, softDeletePolicy, encryption } = metadata;
  return {
    region: (metadata.location ?? '').toLowerCase(),
    storageClass: metadata.storageClass ?? 'STANDARD',
    versioning: metadata.versioning?.enabled ?? false,
    uniformAccess: iamConfiguration?.uniformBucketLevelAccess?.enabled ?? false,
    publicAccess: iamConfiguration?.publicAccessPrevention ?? 'inherited',
    softDeleteDays: Number(softDeletePolicy?.retentionDurationSeconds ?? 0) / daySeconds,
    lifecycle: lifecycleOf(metadata.lifecycle?.rule ?? []),
    encryption: encryption?.defaultKmsKeyName ?? 'keys that Google manages',
  };
}

type Settings = Pick<
  CreateBucketRequest,
  'labels' | 'storageClass' | 'versioning' | 'iamConfiguration' | 'softDeletePolicy' | 'lifecycle'
>;

/** Those properties of `desired` in the API's words. */
function metadataOf(spec: ResourceSpec, properties: readonly string[]): Settings {
  const { desired } = spec;
  const has = (property: string): boolean => properties.includes(property);
  const access = has('uniformAccess') || has('publicAccess');
  return {
    ...(has('tags') ? { labels: labelsOf(spec) } : {}),
    ...(has('storageClass') ? { storageClass: String(desired.storageClass) } : {}),
    ...(has('versioning') ? { versioning: { enabled: desired.versioning === true } } : {}),
    ...(access
      ? {
          iamConfiguration: {
            uniformBucketLevelAccess: { enabled: desired.uniformAccess === true },
            publicAccessPrevention: String(desired.publicAccess),
          },
        }
      : {}),
    ...(has('softDeleteDays')
      ? { softDeletePolicy: { retentionDurationSeconds: Number(desired.softDeleteDays) * daySeconds } }
      : {}),
    ...(has('lifecycle') ? { lifecycle: { rule: lifecycleRules(desired.lifecycle) } } : {}),
  };
}

export function bucketDriver(storage: () => Storage): ResourceDriver {
  /** All versions, live or not. */
  const versions = async (name: string, maxResults: number, signal: AbortSignal): Promise<File[]> => {
    const query = { versions: true, autoPaginate: false, maxResults };
    const [files] = await abortable(signal, storage().bucket(name).getFiles(query));
    return files;
  };

  /** Changes what was read: a change by somebody else in between is answered with an error, and tried again. */
  const change = async (name: string, metadata: BucketMetadata, signal: AbortSignal): Promise<void> => {
    const bucket = storage().bucket(name);
    const [{ metageneration }] = await abortable(signal, bucket.getMetadata());
    await abortable(signal, bucket.setMetadata(metadata, { ifMetagenerationMatch: Number(metageneration) }));
  };

  return {
    kind: bucketKind,
    immutable: ['region'],

    async observe(spec, { signal }) {
      const found = await ifFound(abortable(signal, storage().bucket(spec.name).getMetadata()));
      if (!found) return undefined;
      const [metadata] = found;
      const { tags, ...owned } = ownership(metadata.labels, spec);
      return {
        id: `//storage.googleapis.com/projects/_/buckets/${spec.name}`,
        ...owned,
        state: 'ready',
        properties: { tags, ...propertiesOf(metadata) },
        outputs: { bucket: spec.name, url: `gs://${spec.name}` },
      };
    },

    async create(spec, { placement, signal }) {
      const metadata = { ...metadataOf(spec, Object.keys(spec.desired)), location: placement.region.toUpperCase() };
      await abortable(signal, storage().createBucket(spec.name, metadata));
    },

    update: (spec, _observed, drift, { signal }) => change(spec.name, metadataOf(spec, drift), signal),

    async remove({ name }, _observed, { signal }) {
      try {
        await ifFound(abortable(signal, storage().bucket(name).delete()));
      } catch (error) {
        // 409 means that it is not empty, and everywhere else that the name is taken.
        if (!isKind(error, 'AlreadyExists')) throw error;
        const fields = { provider: 'gcp', operation: 'storage.buckets.delete', resource: name };
        throw new CloudError({ ...fields, kind: 'PreconditionFailed' }, 'the bucket is not empty');
      }
    },

    async list({ placement, signal }) {
      // Names start with the estate's; projects may hold thousands of others.
      const [buckets] = await abortable(signal, storage().getBuckets({ prefix: placement.owner.estate }));
      return buckets
        .filter(({ metadata }) => metadata.location?.toLowerCase() === placement.region)
        .flatMap(({ name, metadata }) => {
          const id = `//storage.googleapis.com/projects/_/buckets/${name}`;
          return foundBy(placement, bucketKind, name, id, metadata.labels);
        });
    },

    store: {
      isEmpty: async ({ name }, { signal }) => (await versions(name, 1, signal)).length === 0,

      async empty({ name }, { signal }) {
        const files = await versions(name, 500, signal);
        for (let start = 0; start < files.length; start += 25)
          await Promise.all(
            files.slice(start, start + 25).map((file) => {
              const generation = Number(file.metadata.generation);
              const version = storage().bucket(name).file(file.name, { generation });
              return abortable(signal, version.delete({ ignoreNotFound: true }));
            }),
          );
        return files.length === 0;
      },

      retain: ({ name }, until, { signal }) => change(name, { labels: { [retainedUntilTag]: until } }, signal),
    },
  };
}
