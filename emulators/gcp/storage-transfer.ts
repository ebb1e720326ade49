/** Bytes in and out: media, multipart and resumable uploads, whole and ranged downloads. */
import { createHash, randomBytes } from 'node:crypto';
import { createReadStream, readFileSync, renameSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { pipeline } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { crc32c, crc32cText } from '../../model/crc32c.ts';
import type { Json, JsonObject } from '../../model/service.ts';
import { type Definition, isObject } from './compute-definition.ts';
import { GoogleError } from './google-error.ts';
import { Content, type Digest, eachPiece } from './storage-content.ts';
import { readMultipart } from './storage-multipart.ts';
import { checkObjectName, commit, settableMetadata } from './storage-object-calls.ts';
import type { Version } from './storage-objects.ts';
import { conditionsOf, requireConditions } from './storage-preconditions.ts';
import { type Progress, ResumableUploads } from './storage-resumable.ts';
import { etagOf, type StorageState } from './storage-state.ts';

/** Files up to here are read in one call. */
const smallFile = 1024 * 1024;

export interface Transfer {
  request: IncomingMessage;
  response: ServerResponse;
  url: URL;
  caller: string;
}

export class Transfers {
  readonly #state: StorageState;
  readonly #definition: Definition;
  readonly #uploads: ResumableUploads;

  constructor(state: StorageState, definition: Definition) {
    this.#state = state;
    this.#definition = definition;
    this.#uploads = new ResumableUploads(join(state.folder, 'uploads'));
  }

  /** What an upload was answered with: the object, or undefined where the answer has been sent already. */
  async upload({ request, response, url, caller }: Transfer, bucket: string): Promise<JsonObject | undefined> {
    const query = url.searchParams;
    const id = query.get('upload_id');
    if (id !== null) return this.#resume(request, response, id);
    const problem = this.#definition.checkQuery(
      { id: 'storage.objects.insert', path: { bucket }, requestSchema: undefined },
      query,
    );
    if (problem) throw new GoogleError('invalid', problem);
    const kept = this.#state.find(bucket);
    this.#state.access.require(caller, 'storage.objects.create', kept.policy);
    if (
      query.has('predefinedAcl') &&
      JSON.stringify(kept.resource).includes('"uniformBucketLevelAccess":{"enabled":true')
    )
      throw new GoogleError(
        'invalid',
        'Cannot use ACL API to update bucket policy when uniform bucket-level access is enabled.',
      );
    const named = query.get('name');
    // Told before the bytes are sent, where it can be known.
    if (named !== null) {
      const present = this.#state.objects(bucket).live(named);
      if (present) this.#state.access.require(caller, 'storage.objects.delete', kept.policy);
      requireConditions(conditionsOf(query), present);
    }
    switch (query.get('uploadType')) {
      case 'resumable':
        return this.#start(request, response, url, bucket);
      case 'multipart':
      case 'media':
        return this.#whole(request, query, bucket);
      default:
        throw new GoogleError('invalid', 'uploadType is media, multipart or resumable');
    }
  }

  async #whole(request: IncomingMessage, query: URLSearchParams, bucket: string): Promise<JsonObject> {
    const content = new Content(join(this.#state.folder, 'uploads', `whole-${randomBytes(12).toString('hex')}`));
    try {
      let metadata: JsonObject = {};
      let contentType = request.headers['content-type'];
      if (query.get('uploadType') === 'multipart') {
        const parts = await readMultipart(request, (chunk) => content.write(chunk));
        metadata = this.#checked(parts.metadata);
        contentType = parts.contentType;
      } else for await (const chunk of request as AsyncIterable<Buffer>) content.write(chunk);
      if (!request.complete) throw new GoogleError('invalid', 'The upload ended early.');
      const name = query.get('name') ?? String(metadata.name ?? '');
      checkObjectName(name);
      const digest = content.digest();
      checkHashes(digest, metadata, request);
      const encoding = query.get('contentEncoding');
      const kept = settableMetadata({
        ...(contentType === undefined ? {} : { contentType }),
        ...(encoding === null ? {} : { contentEncoding: encoding }),
        ...metadata,
      });
      const created = commit(this.#state, bucket, { name, ...digest, metadata: kept }, conditionsOf(query), (file) =>
        content.store(file),
      );
      return this.#state.shown(bucket, created);
    } finally {
      content.discard();
    }
  }

  async #start(request: IncomingMessage, response: ServerResponse, url: URL, bucket: string): Promise<undefined> {
    const query = url.searchParams;
    const chunks: Buffer[] = [];
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
    const text = Buffer.concat(chunks).toString('utf8');
    const metadata = this.#checked(text ? (JSON.parse(text) as Json) : {});
    const name = query.get('name') ?? String(metadata.name ?? '');
    checkObjectName(name);
    const contentType = request.headers['x-upload-content-type'];
    const id = this.#uploads.start({
      bucket,
      name,
      metadata: { ...(typeof contentType === 'string' ? { contentType } : {}), ...metadata },
      conditions: conditionsOf(query),
    });
    const location = new URL(`https://${request.headers.host}${url.pathname}`);
    location.searchParams.set('uploadType', 'resumable');
    location.searchParams.set('upload_id', id);
    response.writeHead(200, { location: location.href, 'x-guploader-uploadid': id, 'content-length': 0 });
    response.end();
  }

  async #resume(request: IncomingMessage, response: ServerResponse, id: string): Promise<JsonObject | undefined> {
    const session = this.#uploads.find(id);
    const { bucket, name, metadata, conditions, finished } = session;
    if (request.method === 'DELETE') {
      this.#uploads.cancel(id);
      response.writeHead(499, { 'content-length': 0 });
      response.end();
      return undefined;
    }
    const progress = await this.#uploads.receive(id, session, request);
    if (progress.state === 'finished') return this.#state.shown(bucket, this.#state.version(bucket, name, finished));
    if (progress.state === 'incomplete') {
      incomplete(response, progress);
      return undefined;
    }
    const digest = digestOf(this.#uploads.content(id));
    try {
      checkHashes(digest, metadata, request);
      const version = { name, ...digest, metadata: settableMetadata(metadata) };
      const created = commit(this.#state, bucket, version, conditions, (file) =>
        renameSync(this.#uploads.content(id), file),
      );
      this.#uploads.save(id, { ...session, finished: created.generation });
      return this.#state.shown(bucket, created);
    } catch (error) {
      if (error instanceof GoogleError) this.#uploads.cancel(id);
      throw error;
    }
  }

  #checked(metadata: Json): JsonObject {
    const given = isObject(metadata) ? metadata : {};
    const problem = this.#definition.checkBody('Object', given);
    if (problem) throw new GoogleError('invalid', `Invalid JSON payload received. ${problem}`);
    return given;
  }

  download({ request, response }: Transfer, bucket: string, version: Version): void {
    const { size, md5, generation, metageneration, metadata } = version;
    const file = this.#state.objects(bucket).content(version);
    const text = (value: Json | undefined): string | undefined => (typeof value === 'string' ? value : undefined);
    const encoding = text(metadata.contentEncoding);
    const unzip = encoding === 'gzip' && !/gzip/.test(String(request.headers['accept-encoding'] ?? ''));
    const headers: Record<string, string | number> = {
      'content-type': text(metadata.contentType) ?? 'application/octet-stream',
      'x-goog-hash': `crc32c=${version.crc32c}${md5 === undefined ? '' : `,md5=${md5}`}`,
      'x-goog-generation': generation,
      'x-goog-metageneration': metageneration,
      'x-goog-stored-content-encoding': encoding ?? 'identity',
      'x-goog-stored-content-length': size,
      'x-goog-storage-class': text(metadata.storageClass) ?? 'STANDARD',
      etag: etagOf(version),
      'last-modified': new Date(version.updated).toUTCString(),
      'accept-ranges': 'bytes',
    };
    for (const [header, key] of [
      ['cache-control', 'cacheControl'],
      ['content-disposition', 'contentDisposition'],
      ['content-language', 'contentLanguage'],
    ] as const) {
      const value = text(metadata[key]);
      if (value !== undefined) headers[header] = value;
    }
    if (unzip) {
      response.writeHead(200, headers);
      pipeline(createReadStream(file), createGunzip(), response, () => {});
      return;
    }
    if (encoding !== undefined) headers['content-encoding'] = encoding;
    const range = rangeOf(request.headers.range, size);
    const { start, end } = range ?? { start: 0, end: size };
    headers['content-length'] = end - start;
    if (range) headers['content-range'] = `bytes ${start}-${end - 1}/${size}`;
    response.writeHead(range ? 206 : 200, headers);
    if (request.method === 'HEAD' || size === 0) response.end();
    else if (size <= smallFile) response.end(readFileSync(file).subarray(start, end));
    else pipeline(createReadStream(file, { start, end: end - 1 }), response, () => {});
  }
}

function incomplete(response: ServerResponse, { received }: Extract<Progress, { state: 'incomplete' }>): void {
  response.writeHead(308, { 'content-length': 0, ...(received > 0 ? { range: `bytes=0-${received - 1}` } : {}) });
  response.end();
}

/** The whole of a file again: the state of a hash cannot be kept in a file. */
function digestOf(file: string): Digest {
  const md5 = createHash('md5');
  let [size, crc] = [0, 0];
  eachPiece(file, (piece) => {
    md5.update(piece);
    crc = crc32c(piece, crc);
    size += piece.length;
  });
  return { size, md5: md5.digest('base64'), crc32c: crc32cText(crc) };
}

/** One range; `undefined` for the whole. Anything else that is malformed is ignored, as HTTP wants it. */
function rangeOf(header: string | undefined, size: number): { start: number; end: number } | undefined {
  const found = /^bytes=(\d*)-(\d*)$/.exec(header ?? '');
  if (!found || (found[1] === '' && found[2] === '')) return undefined;
  const suffix = found[1] === '';
  const start = suffix ? Math.max(0, size - Number(found[2])) : Number(found[1]);
  const end = suffix || found[2] === '' ? size : Math.min(Number(found[2]) + 1, size);
  if (start >= size || end <= start)
    throw new GoogleError('requestedRangeNotSatisfiable', 'The requested range cannot be satisfied.');
  return { start, end };
}

function checkHashes(digest: Digest, metadata: JsonObject, request: IncomingMessage): void {
  const header = String(request.headers['x-goog-hash'] ?? '');
  const expected = [
    ['MD5', digest.md5, [metadata.md5Hash, request.headers['content-md5'], /md5=([^,\s]+)/.exec(header)?.[1]]],
    ['CRC32C', digest.crc32c, [metadata.crc32c, /crc32c=([^,\s]+)/.exec(header)?.[1]]],
  ] as const;
  for (const [name, actual, given] of expected)
    for (const value of given)
      if (typeof value === 'string' && value !== actual)
        throw new GoogleError(
          'invalid',
          `Provided ${name} hash "${value}" doesn't match calculated ${name} hash "${actual}".`,
        );
}
