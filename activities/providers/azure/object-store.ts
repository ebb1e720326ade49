/** The objects of a blob container. Lists and bookkeeping by the SDK, bodies over pooled HTTP under the worker's own token. */
import { randomBytes } from 'node:crypto';
import type { BlobItem } from '@azure/storage-blob';
import { crcHex } from '../../../model/crc32.ts';
import { Crc64 } from '../../../model/crc64.ts';
import { partLimits } from '../../../model/part-size.ts';
import type { Refusal } from '../../../model/transfer.ts';
import {
  type Attributes,
  type ContentHeader,
  contentHeaders,
  type Flow,
  md5Of,
  type NewObject,
  type ObjectStore,
  type Part,
  type StoredObject,
} from '../object-store.ts';
import { encodeKey, type HttpAnswer, type HttpRequest, type PooledHttp, textOf } from '../pooled-http.ts';
import type { AzureClients } from './clients.ts';
import { found, isKind } from './errors.ts';

const metaPrefix = 'x-ms-meta-';
const apiVersion = '2025-07-05';
const MiB = 1024 * 1024;
const limits = partLimits.azure;

const unquoted = (etag = ''): string => etag.replaceAll('"', '');

const headerOf = (answer: HttpAnswer, name: string): string | undefined => {
  const value = answer.headers[name];
  return Array.isArray(value) ? value[0] : value;
};

/** An answer in the shape of the SDK's errors, which `classify` knows. */
function failure(method: string, sent: Record<string, string | number>, answer: HttpAnswer): Error {
  const get = (from: Record<string, unknown>) => (name: string) => from[name]?.toString();
  return Object.assign(new Error(/<Message>([^<]*)<\/Message>/.exec(textOf(answer.piece))?.[1] ?? ''), {
    name: 'RestError',
    code: headerOf(answer, 'x-ms-error-code') ?? `Http${answer.status}`,
    statusCode: answer.status,
    request: { method, headers: { get: get(sent) } },
    response: { headers: { get: get(answer.headers) } },
  });
}

/** Names of metadata keep their case in raw headers only. */
function attributesOf({ headers, rawHeaders }: HttpAnswer): Attributes {
  const attributes: Attributes = { headers: {}, metadata: {}, tags: {} };
  for (const name of contentHeaders) {
    const value = headers[name];
    if (value) attributes.headers[name] = value;
  }
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at] ?? '';
    if (name.toLowerCase().startsWith(metaPrefix))
      attributes.metadata[name.slice(metaPrefix.length)] = rawHeaders[at + 1] ?? '';
  }
  return attributes;
}

function listed({ name, properties, metadata = {} }: BlobItem): StoredObject {
  const { etag, lastModified, contentLength = 0, contentMD5, accessTier, customerProvidedKeySha256 } = properties;
  const headers: Attributes['headers'] = {};
  for (const [header, value] of [
    ['content-type', properties.contentType],
    ['cache-control', properties.cacheControl],
    ['content-disposition', properties.contentDisposition],
    ['content-encoding', properties.contentEncoding],
    ['content-language', properties.contentLanguage],
  ] as const)
    if (value) headers[header] = value;
  const refusal: Refusal | undefined = customerProvidedKeySha256
    ? 'customer-key'
    : accessTier === 'Archive'
      ? 'archived'
      : undefined;
  return {
    key: name,
    size: contentLength,
    version: unquoted(etag),
    modified: lastModified.toISOString(),
    checksums: contentMD5?.length ? { md5: Buffer.from(contentMD5).toString('base64') } : {},
    ...(refusal && { refusal }),
    attributes: { headers, metadata, tags: {} },
  };
}

function attributeHeaders({ headers, metadata }: Attributes): Record<string, string> {
  const sent: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) sent[`x-ms-blob-${name}`] = value;
  for (const [name, value] of Object.entries(metadata)) sent[metaPrefix + name] = value;
  return sent;
}

const conditionOf = (expected: NewObject['expected']): Record<string, string> =>
  'absent' in expected ? { 'if-none-match': '*' } : { 'if-match': `"${expected.version}"` };

const readHeaders = ({ version, size }: StoredObject, { from, bytes }: { from: number; bytes: number }) => ({
  'if-match': `"${version}"`,
  ...(!(from === 0 && bytes === size) && { range: `bytes=${from}-${from + bytes - 1}` }),
});

const versionQuery = ({ at }: Pick<StoredObject, 'at'>): { query?: string } =>
  at ? { query: `versionid=${encodeURIComponent(at)}` } : {};

/** Names of a block: its place and the CRC-32 of its bytes, so that an upload that is taken up again knows both. */
const blockName = (upload: string, number: number, crc32: string): string =>
  Buffer.from(`${upload}-${String(number).padStart(5, '0')}-${crc32}`).toString('base64');
const blockQuery = (name: string): string => `comp=block&blockid=${encodeURIComponent(name)}`;
function blockOf(upload: string, name: string): { number: number; part: Part } | undefined {
  const [id, number = '', crc32 = ''] = Buffer.from(name, 'base64').toString('latin1').split('-');
  if (id !== upload || !/^[0-9a-f]{8}$/.test(crc32)) return undefined;
  return { number: Number(number), part: { crc32: Number.parseInt(crc32, 16), receipt: name } };
}

export function blobStore(
  clients: Pick<AzureClients, 'container' | 'storageToken'>,
  http: PooledHttp,
  { account, container }: { account: string; container: string },
): ObjectStore {
  const host = `${account}.blob.core.windows.net`;
  const sdk = clients.container(account, container);

  async function ask<A extends HttpAnswer>(
    method: HttpRequest['method'],
    key: string,
    asked: { query?: string; headers?: Record<string, string>; body?: HttpRequest['body'] },
    go: (request: HttpRequest) => Promise<A>,
  ): Promise<A> {
    const { query, body } = asked;
    const path = `/${container}/${encodeKey(key)}${query ? `?${query}` : ''}`;
    const headers = {
      ...asked.headers,
      ...(body && { 'content-length': body.bytes }),
      authorization: `Bearer ${await clients.storageToken()}`,
      'x-ms-version': apiVersion,
      'x-ms-date': new Date().toUTCString(),
    };
    const answer = await go({ method, host, path, headers, body });
    if (answer.status >= 300) throw failure(method, headers, answer);
    return answer;
  }
  const send = (
    method: HttpRequest['method'],
    key: string,
    { signal, ...asked }: Parameters<typeof ask>[2] & { signal: AbortSignal },
  ): Promise<HttpAnswer> => ask(method, key, asked, (request) => http.send(request, signal));

  async function described(
    { key, at }: Pick<StoredObject, 'key' | 'at'>,
    answer: HttpAnswer,
    size: number,
    signal: AbortSignal,
  ): Promise<StoredObject> {
    const attributes = attributesOf(answer);
    if (Number(headerOf(answer, 'x-ms-tag-count') ?? 0) > 0)
      try {
        const blob = at ? sdk.getBlobClient(key).withVersion(at) : sdk.getBlobClient(key);
        attributes.tags = (await blob.getTags({ abortSignal: signal })).tags;
      } catch (error) {
        // Reading tags is a right of its own, which "Storage Blob Data Contributor" does not have.
        if (!isKind(error, 'PermissionDenied')) throw error;
      }
    // For a range, `content-md5` is that of the range; that of the whole has a header of its own.
    const checksum =
      headerOf(answer, 'x-ms-blob-content-md5') ??
      (answer.status === 206 ? undefined : headerOf(answer, 'content-md5'));
    const held =
      headerOf(answer, 'x-ms-legal-hold') === 'true' ||
      new Date(headerOf(answer, 'x-ms-immutability-policy-until-date') ?? 0).getTime() > Date.now();
    return {
      key,
      size,
      version: unquoted(headerOf(answer, 'etag')),
      modified: new Date(headerOf(answer, 'last-modified') ?? 0).toISOString(),
      checksums: checksum ? { md5: checksum } : {},
      ...(held && { refusal: 'held' as const }),
      attributes,
      ...(at && { at }),
    };
  }

  return {
    id: `azure:${account}/${container}`,
    metadataBytes: 8192,
    digest: 'md5',
    vouchedBytes: 8 * MiB,

    refusal({ key, size }) {
      if (size > limits.object) return 'size';
      const segments = key.split('/');
      // A segment that ends with a dot is cut on the way: https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata
      const named =
        [...key].length <= 1024 && segments.length <= 254 && !segments.some((segment) => segment.endsWith('.'));
      return named ? undefined : 'key';
    },

    fit({ headers, metadata, tags }) {
      const native: Attributes = { headers: {}, metadata: {}, tags: {} };
      const rest: Attributes = { headers: {}, metadata: {}, tags };
      for (const [name, value] of Object.entries(headers))
        (/^[\x20-\x7e]*$/.test(value) ? native : rest).headers[name as ContentHeader] = value;
      const taken = new Set<string>();
      for (const [name, value] of Object.entries(metadata)) {
        // Names are C# identifiers, told apart without regard to case.
        const fits =
          /^[A-Za-z_][A-Za-z0-9_]*$/.test(name) &&
          /^(?! )[\x20-\x7e]+(?<! )$/.test(value) &&
          !taken.has(name.toLowerCase());
        taken.add(name.toLowerCase());
        (fits ? native : rest).metadata[name] = value;
      }
      return { native, rest };
    },

    async page({ after, token }, abortSignal) {
      // Inclusive, where `after` is not; a marker stands for the place already.
      const pages = sdk
        .listBlobsFlat({ includeMetadata: true, abortSignal, ...(after && !token && { startFrom: after }) })
        .byPage({ maxPageSize: 1000, ...(token && { continuationToken: token }) });
      const { value } = await pages.next();
      const items: BlobItem[] = value?.segment.blobItems ?? [];
      const objects = items.map(listed).filter(({ key }) => key !== after);
      return { objects, next: value?.continuationToken || undefined };
    },

    listsNewestFirst: false,

    // As on Cloud Storage: that something was deleted is not kept.
    async versions({ after, token }, abortSignal) {
      const pages = sdk
        .listBlobsFlat({
          includeMetadata: true,
          includeVersions: true,
          abortSignal,
          ...(after && !token && { startFrom: after }),
        })
        .byPage({ maxPageSize: 1000, ...(token && { continuationToken: token }) });
      const { value } = await pages.next();
      const items: BlobItem[] = value?.segment.blobItems ?? [];
      const versions = items
        .filter(({ name, versionId }) => name !== after && versionId)
        .map((item) => {
          const object = { ...listed(item), at: item.versionId ?? '' };
          return { key: object.key, object, current: item.isCurrentVersion === true };
        });
      return { versions, next: value?.continuationToken || undefined };
    },

    head: (key, signal, at) =>
      found(async () => {
        const answer = await send('HEAD', key, { ...versionQuery({ at }), signal });
        return described({ key, at }, answer, Number(headerOf(answer, 'content-length')), signal);
      }),

    async read(object, range, signal) {
      const { key, size } = object;
      const answer = await ask(
        'GET',
        key,
        { ...versionQuery(object), headers: readHeaders(object, range) },
        (request) => http.get(request, range.bytes, signal),
      );
      return { object: await described(object, answer, size, signal), piece: answer.piece };
    },

    async open(object, range, signal) {
      const { key, size } = object;
      const asked = { ...versionQuery(object), headers: readHeaders(object, range) };
      const { flow, ...answer } = await ask('GET', key, asked, (request) => http.open(request, signal));
      return { object: await described(object, answer, size, signal), flow: flow as Flow };
    },

    async write({ key, attributes, expected, md5: checksum = '' }, piece, _crc32, signal) {
      const headers = {
        ...attributeHeaders(attributes),
        ...conditionOf(expected),
        'x-ms-blob-type': 'BlockBlob',
        'content-md5': checksum,
      };
      const answer = await send('PUT', key, { headers, body: piece, signal });
      return { version: unquoted(headerOf(answer, 'etag')), checksums: { md5: checksum } };
    },

    compares: ['md5'],

    async stream({ key, size, attributes, expected, known }, flow, signal) {
      const headers = {
        ...attributeHeaders(attributes),
        ...conditionOf(expected),
        'x-ms-blob-type': 'BlockBlob',
        ...(known.md5 && { 'content-md5': known.md5 }),
      };
      const none = Buffer.alloc(0);
      const body = { before: none, flow, after: () => none, bytes: size };
      const answer = await send('PUT', key, { headers, body, signal });
      const md5 = known.md5 ?? headerOf(answer, 'content-md5');
      return { version: unquoted(headerOf(answer, 'etag')), checksums: { md5 } };
    },

    uploads: {
      order: 'any',
      checks: 'parts',
      limits,

      // Blocks need no beginning: they belong to the blob's name until a list of them is committed.
      begin: async (_object, partBytes) => ({
        id: randomBytes(6).toString('hex'),
        partBytes,
      }),

      async received({ key }, { id }, abortSignal) {
        const parts = new Map<number, Part>();
        const receipts = new Set<string>();
        const blocks = await found(() => sdk.getBlockBlobClient(key).getBlockList('uncommitted', { abortSignal }));
        for (const { name } of blocks?.uncommittedBlocks ?? []) {
          receipts.add(name);
          const block = blockOf(id, name);
          if (block) parts.set(block.number, block.part);
        }
        return { parts, receipts, bytes: 0 };
      },

      async put({ key }, { id }, { number, piece, crc32 }, signal) {
        const name = blockName(id, number, crcHex(crc32));
        await send('PUT', key, {
          query: blockQuery(name),
          headers: { 'content-md5': md5Of(piece) },
          body: piece,
          signal,
        });
        return { crc32, receipt: name };
      },

      // An MD5 must be told beforehand, for which the block would be in memory.
      flowsFrom: 33 * MiB,

      async stream({ key }, { id }, number, flow, signal) {
        const sum = new Crc64();
        flow.watch((chunk) => sum.add(chunk));
        // Its checksum is not known yet: of these blocks the note tells.
        const name = blockName(id, number, 'flowing-');
        const none = Buffer.alloc(0);
        const body = { before: none, flow, after: () => none, bytes: flow.bytes };
        const answer = await send('PUT', key, { query: blockQuery(name), body, signal });
        if (headerOf(answer, 'x-ms-content-crc64') !== sum.base64)
          throw Object.assign(new Error('the cloud has calculated another CRC-64 of a block'), { code: 'ECONNRESET' });
        return { crc32: flow.crc32, receipt: name };
      },

      async complete({ key, attributes, expected, md5: known }, _upload, { parts }, signal) {
        const list = parts.map(({ receipt }) => `<Latest>${receipt}</Latest>`).join('');
        const body = Buffer.from(`<?xml version="1.0" encoding="utf-8"?><BlockList>${list}</BlockList>`);
        const headers = {
          ...attributeHeaders(attributes),
          ...conditionOf(expected),
          ...(known && { 'x-ms-blob-content-md5': known }),
          'content-type': 'application/xml',
        };
        const piece = { chunks: [body], bytes: body.length };
        const answer = await send('PUT', key, { query: 'comp=blocklist', headers, body: piece, signal });
        return { version: unquoted(headerOf(answer, 'etag')), checksums: {} };
      },

      // Uncommitted blocks go by themselves after a week; there is no call for it.
      abandon: async () => {},
    },

    tellsVersion: true,
    isAnswered: (written, version) => version === written,

    async remove({ key, version }, abortSignal) {
      const conditions = { ifMatch: `"${version}"` };
      await found(() => sdk.getBlobClient(key).delete({ conditions, deleteSnapshots: 'include', abortSignal }));
    },
  };
}
