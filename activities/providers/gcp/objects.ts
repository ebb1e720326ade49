/** Small objects in the bucket of a `storage` placement. */
import type { Placement } from '../../../model/service.ts';
import type { SmallObjects } from '../driver.ts';
import { bucketSpec } from './bucket.ts';
import type { Clients } from './clients.ts';
import { abortable } from './compute-resource.ts';
import { ifFound } from './errors.ts';

export function smallObjects(clients: Clients): SmallObjects {
  const bucketOf = (placement: Placement) => clients.storage().bucket(bucketSpec(placement, undefined).name);
  return {
    async put(placement, key, bytes, condition, signal) {
      const ifGenerationMatch = condition && ('absent' in condition ? 0 : Number(condition.version));
      const file = bucketOf(placement).file(key);
      const options = {
        resumable: false,
        ...(ifGenerationMatch !== undefined && { preconditionOpts: { ifGenerationMatch } }),
      };
      await abortable(signal, file.save(Buffer.from(bytes), options));
      return String(file.metadata.generation ?? '');
    },
    async get(placement, key, signal) {
      const file = bucketOf(placement).file(key);
      const known = await ifFound(abortable(signal, file.getMetadata()));
      if (!known) return undefined;
      const version = String(known[0].generation);
      // That very generation: what is read and what its version names must be the same.
      const exact = bucketOf(placement).file(key, { generation: version });
      const content = await ifFound(abortable(signal, exact.download()));
      return content && { bytes: content[0], version };
    },
    async list(placement, prefix, signal) {
      const [files] = await abortable(signal, bucketOf(placement).getFiles({ prefix }));
      return files.map(({ name }) => name);
    },
  };
}
