/** `data_lake` on AWS: a bucket for what is stored, a Glue database for what it means, a Kinesis stream for what comes in. */
import { DescribeStreamSummaryCommand } from '@aws-sdk/client-kinesis';
import type { Cell } from '../driver.ts';
import { feedDriver } from './change-feed.ts';
import type { Clients } from './clients.ts';
import { numberIn } from './configuration.ts';
import { databaseDriver, databaseSpec } from './glue-database.ts';
import { streamDriver, streamSpec } from './kinesis-stream.ts';
import { bucketChecks, bucketDriver, bucketSpec } from './s3-bucket.ts';

export function dataLake(clients: Clients): Cell {
  return {
    provider: 'aws',
    type: 'data_lake',
    design(placement) {
      const bucket = bucketSpec(placement, numberIn(placement.configuration, 'retention_days'));
      return [bucket, databaseSpec(placement, bucket.name), streamSpec(placement)];
    },
    resources: [bucketDriver(clients), databaseDriver(clients), streamDriver(clients), feedDriver(clients)],
    verify(_placement, observed) {
      const { encryption, retentionHours } = observed.stream?.properties ?? {};
      return [
        ...bucketChecks('bucket', observed.bucket),
        { name: 'encryption at rest', resource: 'stream', ok: encryption === 'KMS', found: String(encryption) },
        { name: 'retention', resource: 'stream', ok: Number(retentionHours) >= 24, found: `${retentionHours} h` },
      ];
    },
    async health(placement, observed, signal) {
      const StreamName = observed.stream?.outputs.stream;
      if (!StreamName || !observed.bucket || !observed.catalogue)
        return { healthy: false, detail: 'the bucket, the catalogue or the stream does not exist' };
      const summary = await clients
        .kinesis(placement.region)
        .send(new DescribeStreamSummaryCommand({ StreamName }), { abortSignal: signal });
      const status = summary.StreamDescriptionSummary?.StreamStatus;
      const shards = summary.StreamDescriptionSummary?.OpenShardCount;
      return { healthy: status === 'ACTIVE', detail: `stream ${StreamName} is ${status} with ${shards} shards` };
    },
    // Objects are what a migration carries, and what its readers and writers look for.
    endpoint: (_placement, observed) => observed.bucket?.outputs.url ?? '',
  };
}
