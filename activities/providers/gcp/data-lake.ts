/** `data_lake` on Google Cloud: a bucket for what is stored, a BigQuery dataset for what it means, Pub/Sub for what comes in. */
import type { Placement, ResourceSpec } from '../../../model/service.ts';
import type { Cell, Check } from '../driver.ts';
import { bucketChecks, bucketDriver, bucketSpec } from './bucket.ts';
import { feedDriver } from './change-feed.ts';
import type { Clients } from './clients.ts';
import { abortable } from './compute-resource.ts';
import { datasetDriver, datasetSpec } from './dataset.ts';
import { retentionDays } from './storage.ts';
import { subscriptionDriver, subscriptionSpec } from './subscription.ts';
import { topicDriver, topicSpec } from './topic.ts';

/** How long what came in waits to be read, where the configuration does not say less. Pub/Sub sizes itself: there is nothing to set for a rate. */
const streamDays = 7;

function design(placement: Placement): ResourceSpec[] {
  const kept = retentionDays(placement);
  const waiting = Math.min(streamDays, kept ?? streamDays);
  return [
    { key: 'bucket', needs: [], holdsData: true, ...bucketSpec(placement, kept) },
    { needs: [], ...datasetSpec(placement, kept) },
    { key: 'stream', needs: [], holdsData: false, ...topicSpec(placement, waiting) },
    { key: 'reader', needs: ['stream'], holdsData: false, ...subscriptionSpec(placement, waiting) },
  ];
}

export function dataLakeCell(clients: Clients): Cell {
  return {
    provider: 'gcp',
    type: 'data_lake',
    design,
    resources: [
      bucketDriver(clients.storage),
      datasetDriver(clients),
      topicDriver(clients),
      subscriptionDriver(clients),
      feedDriver(clients),
    ],
    verify(_placement, observed): Check[] {
      const { publicReaders, encryption } = observed.catalogue?.properties ?? {};
      const { retentionDays: days, encryption: streamEncryption } = observed.stream?.properties ?? {};
      return [
        ...bucketChecks('bucket', observed.bucket),
        {
          name: 'no public access',
          resource: 'catalogue',
          ok: publicReaders === 0,
          found: `${publicReaders ?? 'unknown'} public readers`,
        },
        {
          name: 'encryption at rest',
          resource: 'catalogue',
          ok: encryption !== undefined,
          found: `AES-256 with ${encryption}`,
        },
        {
          name: 'encryption at rest',
          resource: 'stream',
          ok: streamEncryption !== undefined,
          found: `AES-256 with ${streamEncryption}`,
        },
        { name: 'retention', resource: 'stream', ok: Number(days) >= 1, found: `${days} days` },
      ];
    },
    async health(_placement, observed, signal) {
      const { bucket, catalogue, stream, reader } = observed;
      if (!bucket || !catalogue || !stream || !reader)
        return { healthy: false, detail: 'the bucket, the catalogue, the stream or its reader does not exist' };
      const { topics } = await clients.pubsub();
      const { topic = '' } = stream.outputs;
      const [names] = await abortable(signal, topics.listTopicSubscriptions({ topic }));
      const attached = names.includes(reader.outputs.subscription ?? '');
      return {
        healthy: attached,
        detail: attached ? `${topic} takes messages and is read` : `${topic} is not read: its subscription is detached`,
      };
    },
    // Objects are what a migration carries, and what its readers and writers look for.
    endpoint: (_placement, observed) => observed.bucket?.outputs.url ?? '',
  };
}
