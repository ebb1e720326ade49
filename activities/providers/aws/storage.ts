/** `storage` on AWS: one S3 bucket. */
import { HeadBucketCommand } from '@aws-sdk/client-s3';
import type { Cell } from '../driver.ts';
import { feedDriver } from './change-feed.ts';
import type { Clients } from './clients.ts';
import { numberIn } from './configuration.ts';
import { bucketChecks, bucketDriver, bucketSpec } from './s3-bucket.ts';

export function storage(clients: Clients): Cell {
  return {
    provider: 'aws',
    type: 'storage',
    design: (placement) => [bucketSpec(placement, numberIn(placement.configuration, 'retention_days'))],
    resources: [bucketDriver(clients), feedDriver(clients)],
    verify: (_placement, observed) => bucketChecks('bucket', observed.bucket),
    async health(placement, observed, signal) {
      const Bucket = observed.bucket?.outputs.bucket;
      if (!Bucket) return { healthy: false, detail: 'the bucket does not exist' };
      const head = new HeadBucketCommand({ Bucket, ExpectedBucketOwner: placement.account });
      await clients.s3(placement.region).send(head, { abortSignal: signal });
      return { healthy: true, detail: `bucket ${Bucket} answers` };
    },
    endpoint: (_placement, observed) => observed.bucket?.outputs.url ?? '',
  };
}
