/** The objects of a Cloud Storage bucket, by the JSON API over pooled HTTP under the library's token. */
import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { partLimits } from '../../../model/part-size.ts';
import type { Refusal } from '../../../model/transfer.ts';
import type {
  Attributes,
  Checksums,
  Flow,
  NewObject,
  ObjectStore,
  Piece,
  StoredObject,
  Written,
} from '../object-store.ts';
import { encodeWord, type HttpAnswer, type HttpRequest, type PooledHttp, textOf } from '../pooled-http.ts';
import { ifFound } from './errors.ts';

const host = 'storage.googleapis.com';
const limits = partLimits.gcp;

const Resource = z.object({
  name: z.string(),
  size: z.coerce.number(),
  generation: z.string(),
  metageneration: z.string(),
  updated: z.string().default(''),
  md5Hash: z.string().optional(),
  crc32c: z.string().optional(),
  contentType: z.string().optional(),
  cacheControl: z.string().optional(),
  contentDisposition: z.string().optional(),
  contentEncoding: z.string().optional(),
  contentLanguage: z.string().optional(),
  metadata: z.record(z.string(), z.string()).default({}),
  temporaryHold: z.boolean().default(false),
  eventBasedHold: z.boolean().default(false),
  retentionExpirationTime: z.string().optional(),
  customerEncryption: z.unknown().optional(),
  /** Of one that is no longer current. */
  timeDeleted: z.string().optional(),
});
type Resource = z.infer<typeof Resource>;
const Listing = z.object({ items: z.array(Resource).default([]), nextPageToken: z.string().optional() });
const fields = Object.keys(Resource.shape).join(',');

const headerNames = [
  ['content-type', 'contentType'],
  ['cache-control', 'cacheControl'],
  ['content-disposition', 'contentDisposition'],
  ['content-encoding', 'contentEncoding'],
  ['content-language', 'contentLanguage'],
] as const;

function stored(resource: Resource): StoredObject {
  const { name, size, generation, metageneration, updated, md5Hash, metadata } = resource;
  const headers: Attributes['headers'] = {};
  for (const [header, field] of headerNames) if (resource[field]) headers[header] = resource[field];
  const retained = new Date(resource.retentionExpirationTime ?? 0).getTime() > Date.now();
  const refusal: Refusal | undefined =
    resource.customerEncryption !== undefined
      ? 'customer-key'
      : resource.temporaryHold || resource.eventBasedHold || retained
        ? 'held'
        : undefined;
  return {
    key: name,
    size,
    version: `${generation}.${metageneration}`,
    modified: updated,
    checksums: { md5: md5Hash, crc32c: resource.crc32c },
    ...(refusal && { refusal }),
    attributes: { headers, metadata, tags: {} },
  };
}

/** An answer in the shape of the library's errors, which `classify` knows. */
export function failure(answer: HttpAnswer): Error {
  const body = textOf(answer.piece);
  let data: unknown = body;
  try {
    data = JSON.parse(body);
  } catch {
    // a plain text says no more than the status
  }
  return Object.assign(new Error(''), {
    code: answer.status,
    response: { status: answer.status, data, headers: answer.headers },
  });
}

const resourceOf = ({ key, attributes }: Pick<NewObject, 'key' | 'attributes'>, { md5, crc32c }: Checksums) => ({
  name: key,
  ...Object.fromEntries(headerNames.map(([header, field]) => [field, attributes.headers[header]])),
  metadata: attributes.metadata,
  ...(md5 && { md5Hash: md5 }),
  ...(crc32c && { crc32c }),
});

/** What goes before and after the bytes of an object that is written in one call. */
function around(object: Pick<NewObject, 'key' | 'attributes'>, sums: Checksums) {
  const boundary = randomBytes(12).toString('hex');
  const type = object.attributes.headers['content-type'] ?? 'application/octet-stream';
  const resource = JSON.stringify(resourceOf(object, sums));
  return {
    headers: { 'content-type': `multipart/related; boundary=${boundary}` },
    before: Buffer.from(
      `--${boundary}\r\ncontent-type: application/json; charset=utf-8\r\n\r\n${resource}\r\n--${boundary}\r\ncontent-type: ${type}\r\n\r\n`,
    ),
    after: Buffer.from(`\r\n--${boundary}--\r\n`),
  };
}

const readRequest = ({ version, size, at }: StoredObject, { from, bytes }: { from: number; bytes: number }) => ({
  query: at ? `alt=media&generation=${at}` : `alt=media&ifGenerationMatch=${generationOf(version)}`,
  // What is stored compressed is read as it is stored.
  headers: {
    'accept-encoding': 'gzip',
    ...(!(from === 0 && bytes === size) && { range: `bytes=${from}-${from + bytes - 1}` }),
  },
});

const generationOf = (version: string): string => version.split('.')[0] ?? '';
const conditionOf = (expected: NewObject['expected']): string =>
  `ifGenerationMatch=${'absent' in expected ? 0 : generationOf(expected.version)}`;

const written = (answer: HttpAnswer): Written => {
  const { version, checksums } = stored(Resource.parse(JSON.parse(textOf(answer.piece))));
  return { version, checksums };
};

export function gcsStore(http: PooledHttp, token: () => Promise<string>, bucket: string): ObjectStore {
  const objects = `/storage/v1/b/${bucket}/o`;

  const complete = async (request: Omit<HttpRequest, 'host'>): Promise<HttpRequest> => ({
    ...request,
    host,
    headers: {
      ...request.headers,
      ...(request.body && { 'content-length': request.body.bytes }),
      authorization: `Bearer ${await token()}`,
    },
  });

  async function send(
    request: Omit<HttpRequest, 'host'>,
    signal: AbortSignal,
    accepted: readonly number[] = [],
  ): Promise<HttpAnswer> {
    const answer = await http.send(await complete(request), signal);
    if (answer.status >= 300 && !accepted.includes(answer.status)) throw failure(answer);
    return answer;
  }
  const get = (path: string, signal: AbortSignal) => send({ method: 'GET', path, headers: {} }, signal);

  const head = (key: string, signal: AbortSignal, at?: string): Promise<StoredObject | undefined> =>
    ifFound(
      get(`${objects}/${encodeWord(key)}?fields=${fields}${at ? `&generation=${at}` : ''}`, signal).then((answer) => ({
        ...stored(Resource.parse(JSON.parse(textOf(answer.piece)))),
        ...(at && { at }),
      })),
    );

  async function list(more: string, signal: AbortSignal): Promise<z.infer<typeof Listing>> {
    const answer = await get(`${objects}?maxResults=1000&fields=nextPageToken,items(${fields})${more}`, signal);
    return Listing.parse(JSON.parse(textOf(answer.piece)));
  }
  // Inclusive, where `after` is not; a token belongs to the query that it came from.
  const placeOf = ({ after, token: next }: { after: string; token?: string | undefined }): string =>
    `${after ? `&startOffset=${encodeWord(after)}` : ''}${next ? `&pageToken=${encodeWord(next)}` : ''}`;

  /** Asks a session how much it has: 308 with a range while it is open, the object once it is finished. */
  const ask = ({ size }: NewObject, session: string, signal: AbortSignal): Promise<HttpAnswer> =>
    send(
      {
        method: 'PUT',
        path: session,
        headers: { 'content-range': `bytes */${size}`, 'content-length': 0 },
      },
      signal,
      [308],
    );

  /** What the session has of it already is passed over there. Returns the object, in its own words, after the last chunk. */
  async function sendChunk(
    { id, from, size }: { id: string; from: number; size: number },
    body: NonNullable<HttpRequest['body']>,
    signal: AbortSignal,
  ): Promise<string> {
    const end = from + body.bytes;
    const headers = { 'content-range': `bytes ${from}-${end - 1}/${size}` };
    const answer = await send({ method: 'PUT', path: id, headers, body }, signal, [308]);
    const kept = answer.status === 308 && String(answer.headers.range ?? '').endsWith(`-${end - 1}`);
    // Less was kept than was sent: as when the connection had broken, it is sent again.
    if (end === size ? answer.status === 308 : !kept) throw Object.assign(new Error(''), { code: 503 });
    return end === size ? textOf(answer.piece) : '';
  }

  const insertPath = ({ expected }: Pick<NewObject, 'expected'>): string =>
    `/upload${objects}?uploadType=multipart&${conditionOf(expected)}&fields=${fields}`;

  return {
    id: `gcp:${bucket}`,
    metadataBytes: 8192,
    digest: 'md5',
    vouchedBytes: Number.POSITIVE_INFINITY,

    refusal({ key, size }) {
      if (size > limits.object) return 'size';
      // https://cloud.google.com/storage/docs/objects#naming
      const named =
        Buffer.byteLength(key) <= 1024 &&
        !/[\r\n]/.test(key) &&
        key !== '.' &&
        key !== '..' &&
        !key.startsWith('.well-known/acme-challenge/');
      return named ? undefined : 'key';
    },

    fit: ({ headers, metadata, tags }) => ({ native: { headers, metadata, tags: {} }, rest: { tags } }),

    async page(from, signal) {
      const { items, nextPageToken } = await list(placeOf(from), signal);
      return { objects: items.map(stored).filter(({ key }) => key !== from.after), next: nextPageToken };
    },

    listsNewestFirst: false,

    // What was deleted is kept, and that it was deleted is not.
    async versions(from, signal) {
      const { items, nextPageToken } = await list(`&versions=true${placeOf(from)}`, signal);
      const versions = items.map((item) => {
        const object = { ...stored(item), at: item.generation };
        return { key: object.key, object, current: item.timeDeleted === undefined };
      });
      return { versions: versions.filter(({ key }) => key !== from.after), next: nextPageToken };
    },

    head,

    async read(object, range, signal) {
      const { key, attributes } = object;
      const { query, headers } = readRequest(object, range);
      const request = await complete({ method: 'GET', path: `${objects}/${encodeWord(key)}?${query}`, headers });
      const [answer, known] = await Promise.all([
        http.get(request, range.bytes, signal),
        attributes ? object : head(key, signal, object.at),
      ]);
      if (answer.status >= 300) throw failure(answer);
      return { object: known ?? object, piece: answer.piece };
    },

    async open(object, range, signal) {
      const { key, attributes } = object;
      const { query, headers } = readRequest(object, range);
      const known = attributes ? object : await head(key, signal, object.at);
      const request = await complete({ method: 'GET', path: `${objects}/${encodeWord(key)}?${query}`, headers });
      const answer = await http.open(request, signal);
      if (answer.status >= 300) throw failure(answer);
      return { object: known ?? object, flow: answer.flow as Flow };
    },

    async write(object, piece, _crc32, signal) {
      const { headers, before, after } = around(object, { md5: object.md5 });
      const body: Piece = {
        chunks: [before, ...piece.chunks, after],
        bytes: before.length + piece.bytes + after.length,
      };
      return written(await send({ method: 'POST', path: insertPath(object), headers, body }, signal));
    },

    compares: ['md5', 'crc32c'],

    async stream(object, flow, signal) {
      const { headers, before, after } = around(object, object.known);
      const body = { before, flow, after: () => after, bytes: before.length + flow.bytes + after.length };
      return written(await send({ method: 'POST', path: insertPath(object), headers, body }, signal));
    },

    uploads: {
      order: 'in order',
      checks: 'crc32c',
      limits,

      async begin(object, partBytes, signal) {
        const body = Buffer.from(JSON.stringify(resourceOf(object, { md5: object.md5 })));
        const path = `/upload${objects}?uploadType=resumable&${conditionOf(object.expected)}&fields=${fields}`;
        const headers = { 'content-type': 'application/json; charset=utf-8', 'x-upload-content-length': object.size };
        const piece = { chunks: [body], bytes: body.length };
        const { headers: answered } = await send({ method: 'POST', path, headers, body: piece }, signal);
        const { pathname, search } = new URL(answered.location ?? '', `https://${host}`);
        return { id: pathname + search, partBytes };
      },

      async received(object, { id }, signal) {
        const answer = await ifFound(ask(object, id, signal));
        if (!answer) return undefined;
        if (answer.status < 300) return { parts: new Map(), receipts: new Set(), bytes: object.size };
        const last = /-(\d+)$/.exec(String(answer.headers.range ?? ''))?.[1];
        return { parts: new Map(), receipts: new Set(), bytes: last === undefined ? 0 : Number(last) + 1 };
      },

      async put({ size }, { id }, { from, piece, crc32 }, signal) {
        return { crc32, receipt: await sendChunk({ id, from, size }, piece, signal) };
      },

      flowsFrom: 0,

      async stream({ size }, { id, partBytes }, number, flow, signal) {
        const none = Buffer.alloc(0);
        const body = { before: none, flow, after: () => none, bytes: flow.bytes };
        const receipt = await sendChunk({ id, from: number * partBytes, size }, body, signal);
        return { crc32: flow.crc32, receipt };
      },

      async complete(object, { id }, { parts }, signal) {
        const receipt = parts.at(-1)?.receipt;
        if (!receipt) return written(await ask(object, id, signal));
        const { version, checksums } = stored(Resource.parse(JSON.parse(receipt)));
        return { version, checksums };
      },

      async abandon(_object, { id }, signal) {
        await send({ method: 'DELETE', path: id, headers: { 'content-length': 0 } }, signal, [404, 410, 499]);
      },
    },

    tellsVersion: true,
    isAnswered: (written, version) => version === written,

    async remove({ key, version }, signal) {
      const path = `${objects}/${encodeWord(key)}?ifGenerationMatch=${generationOf(version)}`;
      await send({ method: 'DELETE', path, headers: {} }, signal, [404]);
    },
  };
}
