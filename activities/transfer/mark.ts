/**
 * What the engine writes into the metadata of a copy: where it is from and which version it is of, so that a repeat copies
 * nothing twice and a run in the other direction does not send it back; and what of the source the target has no place for.
 */
import { z } from 'zod';
import { canonical } from '../../model/sha256.ts';
import type { Unnative } from '../../model/transfer.ts';
import type { Attributes, Checksums, ObjectStore, StoredObject } from '../providers/object-store.ts';

/** Letters only: the one kind of name that all three clouds keep as it is. */
const markName = 'multicloudsource';
const keptName = 'multicloudkept';
/** The change that a copy is of (`model/copy-stamp.ts`), where several sides of a service are kept in step. */
export const stampName = 'multicloudchange';

export interface Mark {
  /** `ObjectStore.id` of the store that it is a copy from. */
  from: string;
  version: string;
  /** When the original was last modified, ISO time. */
  modified: string;
  /** A checksum that its bytes had when it was written, where one was known before. */
  digest: Digest | undefined;
}

export interface Digest {
  kind: keyof Checksums;
  /** Base64. */
  value: string;
}

const Kept = z.object({
  headers: z.record(z.string(), z.string()).default({}),
  metadata: z.record(z.string(), z.string()).default({}),
  tags: z.record(z.string(), z.string()).default({}),
});

export function markOf({ attributes }: StoredObject): Mark | undefined {
  const [from, version, modified, digest = ''] = (attributes?.metadata[markName] ?? '').split(' ');
  const [, kind, value] = /^(md5|crc32c?):(.+)$/.exec(digest) ?? [];
  return from && version && modified
    ? { from, version, modified, digest: kind && value ? { kind: kind as keyof Checksums, value } : undefined }
    : undefined;
}

/** Attributes without what the engine has added, and with what an earlier copy had kept for the way back. */
function originalAttributes({ headers, metadata, tags }: Attributes): Attributes {
  const { [markName]: _mark, [keptName]: kept, [stampName]: _stamp, ...own } = metadata;
  if (!kept) return { headers, metadata: own, tags };
  const restored = Kept.parse(JSON.parse(Buffer.from(kept, 'base64url').toString('utf8')));
  return {
    headers: { ...restored.headers, ...headers },
    metadata: { ...restored.metadata, ...own },
    tags: { ...restored.tags, ...tags },
  };
}

/** Whether two objects are the same but for what the engine has added, as far as both clouds answer for it. */
export function isAlike(one: Held, other: Held): boolean {
  const [a, b] = [one, other].map(({ store: { vouchedBytes }, object: { size, checksums, attributes } }) =>
    checksums.md5 && attributes && size <= vouchedBytes
      ? canonical([size, checksums.md5, originalAttributes(attributes)])
      : undefined,
  );
  return a !== undefined && a === b;
}

const sizeOf = (metadata: Record<string, string>): number =>
  Object.entries(metadata).reduce((sum, [name, value]) => sum + Buffer.byteLength(name) + Buffer.byteLength(value), 0);

/** What a copy is written with, and what of it the target has no place for. */
export function attributesAt(
  target: ObjectStore,
  from: string,
  source: StoredObject,
  digest: Digest | undefined,
  stamp?: string,
): { attributes: Attributes; unnative: Unnative[] } {
  const original = originalAttributes(source.attributes ?? { headers: {}, metadata: {}, tags: {} });
  const { native, rest } = target.fit(original);
  const words = [from, source.version, source.modified, ...(digest ? [`${digest.kind}:${digest.value}`] : [])];
  const mark = { [markName]: words.join(' '), ...(stamp !== undefined && { [stampName]: stamp }) };
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

/** Whether a digest stands for bytes of this size: what a writer has said of larger ones does not change with them. */
export const standsFor = ({ vouchedBytes }: ObjectStore, { kind }: Digest, size: number): boolean =>
  kind !== 'md5' || size <= vouchedBytes;

export interface Held {
  store: ObjectStore;
  object: StoredObject;
}

/**
 * Whether it is a copy of the original's very version, whose bytes are still those that were written. `unsure`: it says so,
 * but neither its mark nor its cloud can tell of the bytes. `edited`: it was changed on its way.
 */
export function isCopy(copy: Held, original: Held, edited = false): boolean | 'unsure' {
  const mark = markOf(copy.object);
  if (mark?.from !== original.store.id || mark.version !== original.object.version) return false;
  const { size, checksums } = copy.object;
  if (!edited && size !== original.object.size) return false;
  const { digest } = mark;
  const now = digest && standsFor(copy.store, digest, size) ? checksums[digest.kind] : undefined;
  return now ? now === digest?.value : 'unsure';
}
