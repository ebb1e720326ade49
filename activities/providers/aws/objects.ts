/** Small objects in the bucket of a `storage` placement. */
import { GetObjectCommand, ListObjectsV2Command, PutObjectCommand } from '@aws-sdk/client-s3';
import { resourceName } from '../../../model/names.ts';
import type { Placement } from '../../../model/service.ts';
import type { SmallObjects } from '../driver.ts';
import type { Clients } from './clients.ts';
import { ifFound } from './errors.ts';

export function smallObjects(clients: Clients): SmallObjects {
  const bucketOf = (placement: Placement) => ({
    Bucket: resourceName(placement, { limit: 63 }),
    ExpectedBucketOwner: placement.account,
  });
  return {
    async put(placement, Key, Body, condition, abortSignal) {
      const only =
        condition === undefined ? {} : 'absent' in condition ? { IfNoneMatch: '*' } : { IfMatch: condition.version };
      const command = new PutObjectCommand({ ...bucketOf(placement), Key, Body, ...only });
      const { ETag = '' } = await clients.s3(placement.region).send(command, { abortSignal });
      return ETag;
    },
    async get(placement, Key, abortSignal) {
      const command = new GetObjectCommand({ ...bucketOf(placement), Key });
      const found = await ifFound(clients.s3(placement.region).send(command, { abortSignal }));
      const bytes = await found?.Body?.transformToByteArray();
      return bytes && { bytes, version: found?.ETag ?? '' };
    },
    async list(placement, Prefix, abortSignal) {
      const keys: string[] = [];
      for (let ContinuationToken: string | undefined; ; ) {
        const command = new ListObjectsV2Command({ ...bucketOf(placement), Prefix, ContinuationToken });
        const page = await clients.s3(placement.region).send(command, { abortSignal });
        keys.push(...(page.Contents ?? []).flatMap(({ Key }) => (Key === undefined ? [] : [Key])));
        if (!page.NextContinuationToken) return keys;
        ContinuationToken = page.NextContinuationToken;
      }
    },
  };
}
