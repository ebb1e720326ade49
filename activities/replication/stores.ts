/** The sides of a replicated service as a pump works on them: their stores, their records buckets, their books. */
import { createHash } from 'node:crypto';
import { bookPrefix } from '../../model/book.ts';
import type { KeyState, Look } from '../../model/capture.ts';
import { readCopyStamp } from '../../model/copy-stamp.ts';
import { recordsPlacement } from '../../model/records.ts';
import type { PlacementRef } from '../../model/transfer.ts';
import type { ToldChange } from '../providers/change-feed.ts';
import type { Provider } from '../providers/driver.ts';
import type { ObjectStore, StoredObject } from '../providers/object-store.ts';
import { guarded } from '../providers/provision.ts';
import type { EnsureBucket } from '../records/bucket.ts';
import { ask, type Side } from '../transfer/copy-object.ts';
import { copiesIn, type Files, filesOf } from '../transfer/files.ts';
import type { Gate } from '../transfer/gate.ts';
import { markOf, stampName, standsFor } from '../transfer/mark.ts';
import { Receipts } from '../transfer/receipts.ts';
import type { BookFiles } from './book.ts';
import { type DeviceStoreOptions, deviceStore } from './device-store.ts';

export interface SideStore extends Side {
  name: string;
  placement: PlacementRef;
  /** The age at which its cloud deletes objects by a rule of ours, ms; undefined where there is none. */
  expiresMs: number | undefined;
  /** So many may be deleted in ten minutes, however few there are. */
  leastDeletes: number;
  /** The records bucket of its place, as a store. */
  records: Side;
  files: BookFiles;
  /** Notes of uploads in parts to this side. */
  uploads: Files;
  /** Writes into the records bucket what must not be there yet. */
  create(key: string, bytes: Uint8Array): Promise<void>;
  /** Writes there over whatever it is. */
  put(key: string, bytes: Uint8Array): Promise<void>;
}

const dayMs = 86_400_000;

/** What is kept in step of a placement: its objects, or its devices. */
export const contentOf = (provider: Provider, placement: PlacementRef, options: DeviceStoreOptions): ObjectStore =>
  placement.type === 'iot_core' ? deviceStore(provider, placement, options) : provider.store(placement);

export async function openSide(
  provider: Provider,
  placement: PlacementRef,
  { gate, ensureBucket, ...options }: DeviceStoreOptions & { gate: Gate; ensureBucket: EnsureBucket },
): Promise<SideStore> {
  const { signal } = options;
  const bucket = recordsPlacement(placement.owner, placement);
  const resources = [...(await ensureBucket(provider, bucket, signal))];
  const sideOf = (store: ObjectStore): Side => {
    return { provider, store, receipts: new Receipts(copiesIn(provider, placement, signal), store) };
  };
  const records = sideOf(provider.store({ ...bucket, resources }));
  const prefix = bookPrefix(placement.owner.service, {
    provider: placement.provider,
    generation: placement.owner.generation,
  });
  const call = <T>(operation: string, name: string, step: () => Promise<T>): Promise<T> =>
    gate.call(() => guarded(provider, operation, prefix + name, step));
  const files: BookFiles = {
    async list(start) {
      const keys = await call('list', start, () => provider.objects.list(bucket, prefix + start, signal));
      return keys.map((key) => key.slice(prefix.length)).sort();
    },
    read: async (name) => (await call('read', name, () => provider.objects.get(bucket, prefix + name, signal)))?.bytes,
    async create(name, bytes) {
      await call('write', name, () => provider.objects.put(bucket, prefix + name, bytes, { absent: true }, signal));
    },
    async remove(start, before) {
      for (let token: string | undefined; ; ) {
        const page = await ask({ gate }, records, 'list', prefix + start, () =>
          records.store.page({ after: prefix + start, token }, signal),
        );
        const over = page.objects.filter(({ key }) => key.startsWith(prefix + start) && key < prefix + before);
        await Promise.all(
          over.map((object) =>
            gate.run(0, () => ask({ gate }, records, 'remove', object.key, () => records.store.remove(object, signal))),
          ),
        );
        if (over.length < page.objects.length || page.next === undefined) return;
        token = page.next;
      }
    },
  };
  const put = async (key: string, bytes: Uint8Array, condition?: { absent: true }): Promise<void> => {
    await gate.call(() =>
      guarded(provider, 'write', key, () => provider.objects.put(bucket, key, bytes, condition, signal)),
    );
  };
  return {
    ...sideOf(contentOf(provider, placement, options)),
    name: placement.provider,
    placement,
    expiresMs:
      placement.type === 'iot_core' ? undefined : Number(placement.configuration.retention_days) * dayMs || undefined,
    leastDeletes: placement.type === 'iot_core' ? 20 : 1000,
    records,
    files,
    uploads: filesOf(provider, { target: placement, transfer: 'replication' }, signal),
    create: (key, bytes) => put(key, bytes, { absent: true }),
    put,
  };
}

/** What stands under a key, and what the cloud shows of it. `told`: by an event of this side; `known`: by its book. */
export async function lookAt(
  side: SideStore,
  object: StoredObject | undefined,
  told: ToldChange | undefined,
  known: { state: KeyState; listedAt: number | undefined },
): Promise<Look> {
  if (!object) {
    const deletion = told?.deleted ? told : undefined;
    return {
      object: undefined,
      // The time of the listing before the look: what it does not show any more went after that.
      time: deletion ? Date.parse(deletion.at) : known.state.kind === 'object' ? known.listedAt : undefined,
      sequence: sequenceOf(deletion?.sequence),
      cause: deletion?.cause ?? causeOf(side, known.state, deletion ? Date.parse(deletion.at) : Date.now()),
    };
  }
  const { version, modified } = object;
  const ofThis = told?.version === version ? told : undefined;
  return {
    object: {
      version,
      time: ofThis ? Date.parse(ofThis.at) : timeOf(side, object, known),
      since: Date.parse(modified),
      sequence: sequenceOf(ofThis?.sequence),
      copyOf: await copyOf(side, object),
    },
  };
}

/** Where the cloud keeps no time of some changes, one that a listing did not show yet is not older than that. */
function timeOf(
  { store }: Side,
  { version, modified }: StoredObject,
  { state, listedAt = 0 }: { state: KeyState; listedAt: number | undefined },
): number {
  const isNew = state.kind !== 'object' || state.version !== version;
  return store.dated === false && isNew ? Math.max(Date.parse(modified), listedAt) : Date.parse(modified);
}

/** Where the cloud does not tell: what was as old as its rule says has gone by that. */
function causeOf({ expiresMs }: Pick<SideStore, 'expiresMs'>, state: KeyState, gone: number): 'user' | 'lifecycle' {
  const since = state.kind === 'object' ? state.since : undefined;
  return expiresMs !== undefined && since !== undefined && gone - since >= expiresMs ? 'lifecycle' : 'user';
}

/** As a stamp takes it; what does not fit there is told by a hash that keeps no order. */
const sequenceOf = (sequence = ''): string =>
  /^[0-9A-Za-z._:-]{0,128}$/.test(sequence)
    ? sequence
    : createHash('sha256').update(sequence).digest('hex').slice(0, 32);

/** The change that an object is a copy of: only while its bytes are those that were copied. */
export async function copyOf({ store, receipts }: Side, object: StoredObject) {
  const text = object.attributes?.metadata[stampName];
  const mark = markOf(object);
  if (text === undefined || !mark) return undefined;
  const change = readCopyStamp(object.key, text);
  if (!change) return undefined;
  const { digest } = mark;
  const now = digest && standsFor(store, digest, object.size) ? object.checksums[digest.kind] : undefined;
  const same = now ? now === digest?.value : await receipts.tells(object.key, object.version, mark.version);
  return same ? change : undefined;
}
