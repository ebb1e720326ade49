/**
 * The objects of one placement's store, for whoever moves them. Drivers are thin: they list, read a range into memory, write
 * what is in memory, and throw what their SDK or the cloud answered. Marks, digests, concurrency, repeats and resuming are
 * above them, in `activities/transfer/`.
 */
import { createHash, hash } from 'node:crypto';
import { CloudError } from '../../model/errors.ts';
import type { PartLimits } from '../../model/part-size.ts';
import type { PlacementRef, Refusal } from '../../model/transfer.ts';

/** Headers that every cloud keeps with an object. */
export const contentHeaders = [
  'content-type',
  'cache-control',
  'content-disposition',
  'content-encoding',
  'content-language',
] as const;
export type ContentHeader = (typeof contentHeaders)[number];

/** What an object is besides its bytes. */
export interface Attributes {
  headers: Partial<Record<ContentHeader, string>>;
  /** User metadata; names as the cloud gives them. */
  metadata: Record<string, string>;
  tags: Record<string, string>;
}

/** What the cloud itself has calculated over the whole object. Base64, as all three clouds write them. */
export interface Checksums {
  md5?: string | undefined;
  crc32?: string | undefined;
  crc32c?: string | undefined;
}

export interface StoredObject {
  key: string;
  /** Bytes. */
  size: number;
  /** Another one after each change of bytes or attributes. */
  version: string;
  /** ISO time. */
  modified: string;
  checksums: Checksums;
  /** Why it cannot be read, or must not be removed. */
  refusal?: Refusal | undefined;
  /** Undefined in a listing that does not have them: `head` or `read` tells. */
  attributes?: Attributes | undefined;
  /** Where the cloud keeps it, if it comes from a listing of versions: it is read there, current or not. */
  at?: string | undefined;
}

/** One step in the history of a key. */
export interface StoredVersion {
  key: string;
  /** Undefined where the cloud has kept that the object was deleted. */
  object: (StoredObject & { at: string }) | undefined;
  /** What a reader of the key meets. */
  current: boolean;
}

/** Bytes in memory, as they came from the socket: they are never joined. */
export interface Piece {
  chunks: readonly Uint8Array[];
  bytes: number;
}

/** A piece that was read, and the CRC-32 of its bytes. */
export interface ReadPiece extends Piece {
  crc32: number;
  /** Gives its memory back, once it is not looked at any more; without it the garbage collector does, later. */
  release(): void;
}

export type Hashed = 'md5' | 'sha256';

/** Bytes under way from a cloud, at the pace of whoever takes them, once. */
export interface Flow {
  bytes: number;
  /** Bytes that have passed, and their CRC-32. */
  readonly passed: number;
  readonly crc32: number;
  /** Another hash of what passes: asked for before anything does, and given once all has. */
  hash(name: Hashed): () => Buffer;
  /** Shows what passes to somebody else as well: asked for before anything does. */
  watch(look: (chunk: Buffer) => void): void;
  /** Passes the chunks on: each is valid until the promise resolves, and a few at once are. Rejects where not all came. */
  run(take: (chunk: Buffer) => Promise<void>): Promise<void>;
  /** Gives up what has not passed yet. */
  cancel(): void;
}

/** Base64, as the clouds write it. */
export function md5Of({ chunks }: Piece): string {
  const [only, more] = chunks;
  if (only && !more) return hash('md5', only, 'base64');
  const sum = createHash('md5');
  for (const chunk of chunks) sum.update(chunk);
  return sum.digest('base64');
}

/** What stands under the key: nothing, or this very version. */
export type Expected = { absent: true } | { version: string };

/** An object that is to be written. */
export interface NewObject {
  key: string;
  size: number;
  attributes: Attributes;
  expected: Expected;
  /** MD5 of the whole, base64, where it is known before: the cloud compares what arrives with it. */
  md5?: string | undefined;
}

/** An object whose bytes flow through. */
export interface FlowingObject extends Omit<NewObject, 'md5'> {
  /** What is known of the whole before it has come: the cloud compares what arrives with it where it can. */
  known: Checksums;
}

export interface Written {
  version: string;
  checksums: Checksums;
}

/** A part of an upload: its checksums and what the cloud answered to it. Numbered from 0. */
export interface Part {
  crc32: number;
  crc32c?: number | undefined;
  receipt: string;
}

export interface Upload {
  /** The cloud's own identity of the upload. */
  id: string;
  partBytes: number;
}

/** An object in parts, for what is too large to be in memory whole. */
export interface Uploads {
  /** `any`: parts in any order, several at once. `in order`: one after the other. */
  readonly order: 'any' | 'in order';
  /** What the cloud compares of the whole before it takes it; with `parts`, of each part only. */
  readonly checks: 'crc32' | 'crc32c' | 'parts';
  readonly limits: PartLimits;
  begin(object: NewObject, partBytes: number, signal: AbortSignal): Promise<Upload>;
  /**
   * What the cloud has of an upload, or undefined where it does not know it any more. `parts` where it keeps them apart, but
   * for those of which it tells no more than the `receipts`; `bytes` from the start where it does not.
   */
  received(
    object: NewObject,
    upload: Upload,
    signal: AbortSignal,
  ): Promise<{ parts: Map<number, Part>; receipts: ReadonlySet<string>; bytes: number } | undefined>;
  /** `from`: offset of the piece in the object. The answer to the last part `in order` is that of `complete`. */
  put(
    object: NewObject,
    upload: Upload,
    part: { number: number; from: number; piece: Piece; crc32: number },
    signal: AbortSignal,
  ): Promise<Part>;
  /** Parts of this size and more come as they are read, by `stream`; smaller ones are in memory, for `put`. */
  readonly flowsFrom: number;
  /** A part while it comes: the cloud compares it with its CRC-32, or what the cloud has calculated is compared here. */
  stream(object: NewObject, upload: Upload, number: number, flow: Flow, signal: AbortSignal): Promise<Part>;
  complete(
    object: NewObject,
    upload: Upload,
    whole: { parts: readonly Part[]; crc32: number },
    signal: AbortSignal,
  ): Promise<Written>;
  abandon(object: NewObject, upload: Upload, signal: AbortSignal): Promise<void>;
}

export interface Page {
  objects: StoredObject[];
  /** Token of the page after this one. */
  next: string | undefined;
}

export interface VersionPage {
  versions: StoredVersion[];
  next: string | undefined;
}

export interface ObjectStore {
  /** Cloud and bucket, or account and container: tells where a copy came from. */
  readonly id: string;
  /** The checksum that the cloud calculates of what is written in one call, and shows again. */
  readonly digest: 'md5' | 'crc32';
  /** Of larger objects the MD5 is what their writer said; up to here the cloud itself has calculated it. */
  readonly vouchedBytes: number;
  /** Why the cloud does not take an object of this name and size, or undefined. */
  refusal(object: { key: string; size: number }): Refusal | undefined;
  /** What of these attributes the cloud cannot hold natively is split off. */
  fit(attributes: Attributes): { native: Attributes; rest: Partial<Attributes> };
  /** Bytes that user metadata may take, names included. */
  readonly metadataBytes: number;
  /** The objects after a key (all of them after ''), in the order of their names; or the page that a token stands for. */
  page(from: { after: string; token?: string | undefined }, signal: AbortSignal): Promise<Page>;
  /** As `page`, with all that is kept under each key; of one key the newest first, or the oldest. */
  versions(from: { after: string; token?: string | undefined }, signal: AbortSignal): Promise<VersionPage>;
  readonly listsNewestFirst: boolean;
  /** Whether `page` keeps the order of names; left out: it does. */
  readonly inOrder?: boolean;
  /** Whether `modified` is of the last change, whatever it was; left out: it is. Else it may be of an earlier one. */
  readonly dated?: boolean;
  /** What stands under the key, or is kept `at` a place of its versions. */
  head(key: string, signal: AbortSignal, at?: string): Promise<StoredObject | undefined>;
  /**
   * Bytes of this very version; throws the cloud's "precondition failed" or "not found" where it is no longer there. The
   * object comes with its attributes.
   */
  read(
    object: StoredObject,
    range: { from: number; bytes: number },
    signal: AbortSignal,
  ): Promise<{ object: StoredObject; piece: ReadPiece }>;
  /** As `read`, once the head of the answer is there. */
  open(
    object: StoredObject,
    range: { from: number; bytes: number },
    signal: AbortSignal,
  ): Promise<{ object: StoredObject; flow: Flow }>;
  /** Writes an object in one call; `md5` must be known where that is the cloud's digest. */
  write(object: NewObject, piece: Piece, crc32: number, signal: AbortSignal): Promise<Written>;
  /** Kinds of checksums that the cloud compares with what arrives and shows again; the first that is known is used. */
  readonly compares: readonly (keyof Checksums)[];
  /**
   * Writes an object in one call while it comes. Where nothing is known that the cloud compares, it is told the CRC-32 at the
   * end if it takes that then (`crc32` among its answer's checksums); else what it has calculated is for the caller to compare.
   */
  stream(object: FlowingObject, flow: Flow, signal: AbortSignal): Promise<Written>;
  readonly uploads: Uploads;
  /** Whether a write is answered with the version that a look shows, and not with less. */
  readonly tellsVersion: boolean;
  /** Whether an object in this version is what a write was answered with, which may say less. */
  isAnswered(written: string, version: string): boolean;
  /** Deletes this very version where the cloud can tell; what is gone is fine. */
  remove(object: Pick<StoredObject, 'key' | 'version'>, signal: AbortSignal): Promise<void>;
}

/** An output of a placement's resource: what its store is found by. */
export function outputOf({ provider, owner, resources }: PlacementRef, key: string, output: string): string {
  const value = resources.find((resource) => resource.key === key)?.outputs[output];
  if (value) return value;
  const fields = { kind: 'NotFound' as const, provider, operation: 'find the store', resource: owner.service };
  throw new CloudError(fields, `the record of the placement has no ${output} of a resource ${key}`);
}
