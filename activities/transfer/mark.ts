/**
 * What the engine writes into the metadata of a copy: where it is from and which version it is of, so that a repeat copies
 * nothing twice and a run in the other direction does not send it back; and what of the source the target has no place for.
 */
import { z } from 'zod';
import type { Unnative } from '../../model/transfer.ts';
import type { Attributes, ObjectStore, StoredObject } from '../providers/object-store.ts';

/** Letters only: the one kind of name that all three clouds keep as it is. */
const markName = 'multicloudsource';
const keptName = 'multicloudkept';

export interface Mark {
  /** `ObjectStore.id` of the store that it is a copy from. */
  from: string;
  version: string;
  /** When the original was last modified, ISO time. */
  modified: string;
  /** The checksum of kind `ObjectStore.digest` that its bytes had when it was written; '' of an upload in parts. */
  digest: string;
}

const Kept = z.object({
  headers: z.record(z.string(), z.string()).default({}),
  metadata: z.record(z.string(), z.string()).default({}),
  tags: z.record(z.string(), z.string()).default({}),
});

export function markOf({ attributes }: StoredObject): Mark | undefined {
  const [from, version, modified, digest = ''] = (attributes?.metadata[markName] ?? '').split(' ');
  return from && version && modified ? { from, version, modified, digest } : undefined;
}

/** Attributes without what the engine has added, and with what an earlier copy had kept for the way back. */
function originalAttributes({ headers, metadata, tags }: Attributes): Attributes {
  const { [markName]: _mark, [keptName]: kept, ...own } = metadata;
  if (!kept) return { headers, metadata: own, tags };
  const restored = Kept.parse(JSON.parse(Buffer.from(kept, 'base64url').toString('utf8')));
  return {
    headers: { ...restored.headers, ...headers },
    metadata: { ...restored.metadata, ...own },
    tags: { ...restored.tags, ...tags },
  };
}

const sizeOf = (metadata: Record<string, string>): number =>
  Object.entries(metadata).reduce((sum, [name, value]) => sum + Buffer.byteLength(name) + Buffer.byteLength(value), 0);

/** What a copy is written with, and what of it the target has no place for. */
export function attributesAt(
  target: ObjectStore,
  from: string,
  source: StoredObject,
  digest: string,
): { attributes: Attributes; unnative: Unnative[] } {
  const original = originalAttributes(source.attributes ?? { headers: {}, metadata: {}, tags: {} });
  const { native, rest } = target.fit(original);
  const mark = { [markName]: [from, source.version, source.modified, digest].join(' ').trimEnd() };
  const unnative: Unnative[] = (['headers', 'metadata', 'tags'] as const).filter(
    (what) => Object.keys(rest[what] ?? {}).length > 0,
  );
  const kept: Record<string, string> =
    unnative.length > 0 ? { [keptName]: Buffer.from(JSON.stringify(rest)).toString('base64url') } : {};
  // What there is no room for goes: first what only the engine can read, then all but the mark.
  const choices = [{ ...native.metadata, ...kept, ...mark }, { ...native.metadata, ...mark }, mark];
  const at = choices.findIndex((metadata) => sizeOf(metadata) <= target.metadataBytes);
  return {
    attributes: { ...native, metadata: choices[at] ?? mark },
    unnative: at > 0 ? [...unnative, 'lost'] : unnative,
  };
}

export interface Held {
  store: ObjectStore;
  object: StoredObject;
}

/** A copy of the original's very version, whose bytes are still those that were written, as far as the cloud tells. */
function isCopy(copy: Held, original: Held): boolean {
  const mark = markOf(copy.object);
  if (mark?.from !== original.store.id || mark.version !== original.object.version) return false;
  const now = copy.object.checksums[copy.store.digest];
  return copy.object.size === original.object.size && (!mark.digest || !now || mark.digest === now);
}

/** Whether the target holds this very version of the source, or the source is a copy of what the target holds. */
export const inStep = (source: Held, target: Held): boolean => isCopy(target, source) || isCopy(source, target);
