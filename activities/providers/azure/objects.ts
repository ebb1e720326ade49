/** Small objects in the container of a `storage` or `data_lake` placement. */
import type { Placement } from '../../../model/service.ts';
import type { SmallObjects } from '../driver.ts';
import type { AzureClients } from './clients.ts';
import { found } from './errors.ts';
import { accountName, containerName } from './storage-account.ts';

export function smallObjects(clients: AzureClients): SmallObjects {
  const containerOf = (placement: Placement) => clients.container(accountName(placement), containerName(placement));
  return {
    async put(placement, key, bytes, condition, abortSignal) {
      const conditions =
        condition === undefined ? {} : 'absent' in condition ? { ifNoneMatch: '*' } : { ifMatch: condition.version };
      const blob = containerOf(placement).getBlockBlobClient(key);
      const { etag = '' } = await blob.uploadData(bytes, { conditions, abortSignal });
      return etag;
    },
    async get(placement, key, abortSignal) {
      const blob = containerOf(placement).getBlockBlobClient(key);
      const answer = await found(() => blob.download(0, undefined, { abortSignal }));
      if (!answer?.readableStreamBody) return undefined;
      const chunks: Uint8Array[] = [];
      for await (const chunk of answer.readableStreamBody) chunks.push(Buffer.from(chunk));
      return { bytes: Buffer.concat(chunks), version: answer.etag ?? '' };
    },
    async list(placement, prefix, abortSignal) {
      const keys: string[] = [];
      for await (const { name } of containerOf(placement).listBlobsFlat({ prefix, abortSignal })) keys.push(name);
      return keys;
    },
  };
}
