/** The program that a placement's machines run, as an object in the placement's own bucket: what is running can be read there, byte for byte. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Storage } from '@google-cloud/storage';
import { CloudError } from '../../../model/errors.ts';
import { fromTags, toTags } from '../../../model/names.ts';
import type { Call, ResourceDriver } from '../driver.ts';
import { isMissing } from './compute-errors.ts';
import { abortable } from './compute-resource.ts';

/** SHA-256 of the tarball that is to be deployed, hex; empty where none is configured. */
export function artifactSha256(tarball: string | undefined): string {
  if (tarball === undefined) return '';
  return createHash('sha256').update(readFileSync(tarball)).digest('hex');
}

/** `desired`: sha256. `name`: the object's name is `<bucket>/<object>`. */
export function artifactDriver(storage: () => Storage, tarball: string | undefined): ResourceDriver {
  const file = (name: string) => {
    const [bucket = '', ...path] = name.split('/');
    return storage().bucket(bucket).file(path.join('/'));
  };
  const upload = async (name: string, sha256: unknown, call: Call): Promise<void> => {
    if (tarball === undefined || sha256 !== artifactSha256(tarball))
      throw new CloudError(
        { kind: 'InvalidInput', provider: 'gcp', operation: 'storage:upload', resource: name },
        'the broker is not packed, or was packed anew since the plan: run `node broker/pack.ts`',
      );
    const metadata = { ...toTags(call.placement.owner), sha256 };
    const options = { resumable: false, contentType: 'application/gzip', metadata: { metadata } };
    await abortable(call.signal, file(name).save(readFileSync(tarball), options));
  };
  return {
    kind: 'gcp.storage.artifact',
    immutable: [],
    async observe({ name }, { signal }) {
      try {
        const [metadata] = await abortable(signal, file(name).getMetadata());
        const own = Object.fromEntries(
          Object.entries(metadata.metadata ?? {}).map(([key, value]) => [key, String(value ?? '')]),
        );
        return {
          id: `gs://${name}#${metadata.generation}`,
          owner: fromTags(own),
          state: 'ready',
          properties: { sha256: own.sha256 ?? '' },
          outputs: { source: `gs://${name}`, sha256: own.sha256 ?? '' },
        };
      } catch (error) {
        if (isMissing(error)) return undefined;
        throw error;
      }
    },
    create: ({ name, desired }, call) => upload(name, desired.sha256, call),
    update: ({ name, desired }, _observed, _drift, call) => upload(name, desired.sha256, call),
    /** With all its versions: the bucket is versioned, and what is left in it counts as data. */
    async remove({ name }, _observed, { signal }) {
      const { bucket, name: prefix } = file(name);
      const [versions] = await abortable(signal, bucket.getFiles({ prefix, versions: true }));
      for (const version of versions) {
        const generation = Number(version.metadata.generation);
        const options = { ignoreNotFound: true };
        await abortable(signal, bucket.file(version.name, { generation }).delete(options));
      }
    },
    // Found, and deleted, with its bucket.
    list: async () => [],
  };
}
