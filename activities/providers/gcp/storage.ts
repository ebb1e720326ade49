/** `storage` on Google Cloud: one bucket. */
import type { Placement } from '../../../model/service.ts';
import type { Cell } from '../driver.ts';
import { bucketChecks, bucketDriver, bucketSpec } from './bucket.ts';
import { feedDriver } from './change-feed.ts';
import type { Clients } from './clients.ts';
import { abortable } from './compute-resource.ts';

/** The validated configuration's `retention_days`: undefined means that nothing is ever deleted for its age. */
export function retentionDays({ configuration }: Placement): number | undefined {
  const days = Number(configuration.retention_days);
  return days >= 1 ? Math.ceil(days) : undefined;
}

export function storageCell(clients: Clients): Cell {
  return {
    provider: 'gcp',
    type: 'storage',
    design: (placement) => [
      { key: 'bucket', needs: [], holdsData: true, ...bucketSpec(placement, retentionDays(placement)) },
    ],
    resources: [bucketDriver(clients.storage), feedDriver(clients)],
    verify: (_placement, observed) => bucketChecks('bucket', observed.bucket),
    async health(_placement, observed, signal) {
      const name = observed.bucket?.outputs.bucket;
      if (!name) return { healthy: false, detail: 'the bucket does not exist' };
      await abortable(signal, clients.storage().bucket(name).getMetadata());
      return { healthy: true, detail: `bucket ${name} answers` };
    },
    endpoint: (_placement, observed) => observed.bucket?.outputs.url ?? '',
  };
}
