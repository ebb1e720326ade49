/** Copies a sample of a store, spread over all of its names. */
import { z } from 'zod';
import type { CopiedSample } from '../../model/transfer.ts';
import type { StoredObject } from '../providers/object-store.ts';
import { allOrFirstError, copyObject, type Pairing, partBytes } from './copy-object.ts';
import { objectsIn } from './listing.ts';

/** Objects of the sample that are copied before it is noted how far it has come. */
const batchObjects = 200;

/** How far it has come; what its heartbeats carry. */
export const Sampling = z.strictObject({
  cursor: z.string(),
  listed: z.number(),
  objects: z.number(),
  bytes: z.number(),
  failed: z.number(),
});
export type Sampling = z.infer<typeof Sampling>;

export async function copyEveryNth(
  pairing: Pairing,
  every: number,
  from: Sampling,
  save: (state: Sampling) => void,
): Promise<CopiedSample> {
  const state = { ...from };
  const batch: StoredObject[] = [];
  const copy = async (object: StoredObject): Promise<void> => {
    const outcome = await copyObject(pairing, object, undefined);
    if (outcome.how === 'failed') state.failed++;
    // What vanished meanwhile is in no sample.
    if (outcome.how === 'failed' || outcome.how === 'vanished') return;
    state.objects++;
    state.bytes += outcome.object.size;
  };
  const flush = async (): Promise<void> => {
    const all = batch.splice(0);
    const small = all.filter(({ size }) => size <= partBytes);
    await allOrFirstError(small.map((object) => pairing.gate.run(object.size, () => copy(object))));
    for (const object of all) if (object.size > partBytes) await copy(object);
    save({ ...state });
  };
  for await (const object of objectsIn(pairing, pairing.source, { after: state.cursor, to: '' })) {
    if (state.listed++ % every === 0) batch.push(object);
    state.cursor = object.key;
    if (batch.length >= batchObjects) await flush();
  }
  await flush();
  const { objects, bytes, failed } = state;
  return { objects, bytes, failed };
}
