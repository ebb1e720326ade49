/** The objects of an S3 bucket. Lists and bookkeeping by the SDK, bodies over pooled HTTP. */
import {
  AbortMultipartUploadCommand,
  type ChecksumAlgorithm,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectTaggingCommand,
  ListObjectsV2Command,
  ListPartsCommand,
} from '@aws-sdk/client-s3';
import { crcBase64, crcNumber } from '../../../model/crc32.ts';
import { partLimits } from '../../../model/part-size.ts';
import {
  type Attributes,
  type ContentHeader,
  contentHeaders,
  type Flow,
  type NewObject,
  type ObjectStore,
  type Part,
  type StoredObject,
  type StoredVersion,
  type Upload,
} from '../object-store.ts';
import { encodeKey, encodeWord, type HttpAnswer, type HttpRequest, type PooledHttp, textOf } from '../pooled-http.ts';
import type { Clients } from './clients.ts';
import { ifFound } from './errors.ts';
import { type Payload, S3Signer } from './sign.ts';
import { fromList } from './tags.ts';

const metaPrefix = 'x-amz-meta-';
const limits = partLimits.aws;

/** Classes whose objects must be restored first. https://docs.aws.amazon.com/AmazonS3/latest/userguide/restoring-objects.html */
const archived = ['GLACIER', 'DEEP_ARCHIVE'];

const unquoted = (etag = ''): string => etag.replaceAll('"', '');
/** The ETag alone does not change with a copy onto itself that changes metadata. Seconds: a header has no more. */
export const versionOf = (etag: string, modified: Date): string =>
  `${unquoted(etag)}@${Math.floor(modified.getTime() / 1000)}`;
const etagOf = (version: string): string => `"${version.split('@')[0]}"`;

/**
 * The MD5 that an ETag is, where the whole was written at once and is not under a KMS key: plain, as before 2023, or under S3's own.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html
 */
const md5Of = (answer: HttpAnswer): string | undefined => {
  const etag = unquoted(headerOf(answer, 'etag'));
  const plain = [undefined, 'AES256'].includes(headerOf(answer, 'x-amz-server-side-encryption'));
  return plain && /^[0-9a-f]{32}$/.test(etag) ? Buffer.from(etag, 'hex').toString('base64') : undefined;
};

/** What S3 answers for a header that is not ASCII. https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html */
function decodeWords(text: string): string {
  return text.replace(/=\?UTF-8\?([BQ])\?([^?]*)\?=/gi, (_, how: string, word: string) =>
    how.toUpperCase() === 'B'
      ? Buffer.from(word, 'base64').toString('utf8')
      : Buffer.from(
          word
            .replaceAll('_', ' ')
            .replace(/=([0-9A-F]{2})/gi, (_hex, code: string) => String.fromCharCode(Number.parseInt(code, 16))),
          'latin1',
        ).toString('utf8'),
  );
}

function attributesOf({ headers }: HttpAnswer): Attributes {
  const attributes: Attributes = { headers: {}, metadata: {}, tags: {} };
  for (const name of contentHeaders) {
    const value = headers[name];
    if (value !== undefined && value !== '') attributes.headers[name] = value;
  }
  for (const [name, value] of Object.entries(headers))
    if (name.startsWith(metaPrefix)) attributes.metadata[name.slice(metaPrefix.length)] = decodeWords(String(value));
  return attributes;
}

const headerOf = (answer: HttpAnswer, name: string): string | undefined => {
  const value = answer.headers[name];
  return Array.isArray(value) ? value[0] : value;
};

/** An answer in the shape of the SDK's errors, which `classify` knows. A HEAD has no body: its status must do. */
function failure(answer: HttpAnswer): Error {
  const body = textOf(answer.piece);
  const code = /<Code>([^<]*)<\/Code>/.exec(body)?.[1] ?? `Http${answer.status}`;
  return Object.assign(new Error(/<Message>([^<]*)<\/Message>/.exec(body)?.[1] ?? ''), {
    name: code,
    $metadata: { httpStatusCode: answer.status, requestId: headerOf(answer, 'x-amz-request-id') },
    $response: { headers: answer.headers },
  });
}

function attributeHeaders({ headers, metadata, tags }: Attributes): Record<string, string> {
  const sent: Record<string, string> = { ...headers };
  for (const [name, value] of Object.entries(metadata)) sent[metaPrefix + name] = value;
  const tagging = Object.entries(tags).map(([name, value]) => `${encodeWord(name)}=${encodeWord(value)}`);
  if (tagging.length > 0) sent['x-amz-tagging'] = tagging.join('&');
  return sent;
}

const conditionOf = (expected: NewObject['expected']): Record<string, string> =>
  'absent' in expected ? { 'if-none-match': '*' } : { 'if-match': etagOf(expected.version) };

const readHeaders = ({ version, size }: StoredObject, { from, bytes }: { from: number; bytes: number }) => ({
  'if-match': etagOf(version),
  ...(!(from === 0 && bytes === size) && { range: `bytes=${from}-${from + bytes - 1}` }),
});

const versionQuery = ({ at }: Pick<StoredObject, 'at'>): [string, string][] =>
  at ? [['versionId', encodeWord(at)]] : [];

const entities: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };
const textIn = (xml: string, name: string): string =>
  (new RegExp(`<${name}>([^<]*)</${name}>`).exec(xml)?.[1] ?? '').replace(
    /&(#x?[0-9a-f]+|\w+);/gi,
    (_, entity: string) => entities[entity] ?? String.fromCodePoint(Number(entity.slice(1).replace(/^x/i, '0x'))),
  );

/** A page of versions and delete markers as they follow each other. https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html */
function versionsIn(xml: string): { versions: StoredVersion[]; next: { key: string; at: string } | undefined } {
  const keyIn = (part: string, name: string): string => decodeURIComponent(textIn(part, name).replaceAll('+', ' '));
  const versions: StoredVersion[] = [];
  for (const [part, kind] of xml.matchAll(/<(Version|DeleteMarker)>.*?<\/\1>/gs)) {
    const key = keyIn(part, 'Key');
    const modified = new Date(textIn(part, 'LastModified'));
    const isArchived = archived.includes(textIn(part, 'StorageClass')) && !textIn(part, 'RestoreExpiryDate');
    const object = {
      key,
      size: Number(textIn(part, 'Size')),
      version: versionOf(textIn(part, 'ETag'), modified),
      modified: modified.toISOString(),
      checksums: {},
      ...(isArchived && { refusal: 'archived' as const }),
      at: textIn(part, 'VersionId'),
    };
    const current = textIn(part, 'IsLatest') === 'true';
    versions.push({ key, object: kind === 'Version' ? object : undefined, current });
  }
  const more = textIn(xml, 'IsTruncated') === 'true';
  return {
    versions,
    next: more ? { key: keyIn(xml, 'NextKeyMarker'), at: textIn(xml, 'NextVersionIdMarker') } : undefined,
  };
}

const partQuery = (upload: string, number: number): [string, string][] => [
  ['partNumber', String(number + 1)],
  ['uploadId', encodeWord(upload)],
];

const trailer = 'x-amz-checksum-crc32';
/** As long as a CRC-32 in base64. */
const noCrc = '????????';
/**
 * What comes before and after a body that is one chunk, with its checksum at the end.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html
 */
const chunkAround = (bytes: number): [string, string] => [
  `${bytes.toString(16)}\r\n`,
  `\r\n0\r\n${trailer}:${noCrc}\r\n\r\n`,
];

/** A body that flows with its CRC-32 at the end, and how that is told. */
function trailed(flow: Flow, contentEncoding?: string) {
  const [before, after] = chunkAround(flow.bytes);
  return {
    headers: {
      'content-encoding': [contentEncoding, 'aws-chunked'].filter(Boolean).join(','),
      'x-amz-decoded-content-length': String(flow.bytes),
      'x-amz-trailer': trailer,
    },
    body: {
      before: Buffer.from(before),
      flow,
      after: () => Buffer.from(after.replace(noCrc, crcBase64(flow.crc32))),
      bytes: before.length + flow.bytes + after.length,
    },
    payload: 'STREAMING-UNSIGNED-PAYLOAD-TRAILER' as const,
  };
}

export function s3Store(
  clients: Clients,
  http: PooledHttp,
  { bucket, region, account }: { bucket: string; region: string; account: string },
): ObjectStore {
  const s3 = clients.s3(region);
  const signer = new S3Signer(region);
  const host = `${bucket}.s3.${region}.amazonaws.com`;
  const own = { Bucket: bucket, ExpectedBucketOwner: account };

  interface Asked {
    query?: [string, string][];
    headers?: Record<string, string>;
    body?: HttpRequest['body'];
    /** What the signature says of the body. */
    payload?: Payload;
  }

  async function requestFor(method: HttpRequest['method'], key: string, asked: Asked): Promise<HttpRequest> {
    const { query = [], body, payload } = asked;
    const headers = signer.sign(
      {
        method,
        host,
        path: `/${key.split('/').map(encodeWord).join('/')}`,
        query,
        headers: { ...asked.headers, 'x-amz-expected-bucket-owner': account },
        payload,
      },
      await s3.config.credentials(),
    );
    const search = query.map(([name, value]) => `${name}=${value}`).join('&');
    const path = `/${encodeKey(key)}${search && `?${search}`}`;
    const length = body ? { 'content-length': body.bytes } : {};
    return { method, host, path, headers: { ...headers, ...length }, body };
  }

  const unlessRefused = <A extends HttpAnswer>(answer: A): A => {
    if (answer.status >= 300) throw failure(answer);
    return answer;
  };

  const send = async (
    method: HttpRequest['method'],
    key: string,
    { signal, ...asked }: Asked & { signal: AbortSignal },
  ): Promise<HttpAnswer> => unlessRefused(await http.send(await requestFor(method, key, asked), signal));

  /** The object of an answer to GET or HEAD, which has all but the values of its tags. */
  async function described(
    { key, at }: Pick<StoredObject, 'key' | 'at'>,
    answer: HttpAnswer,
    size: number,
    signal: AbortSignal,
  ): Promise<StoredObject> {
    const etag = headerOf(answer, 'etag') ?? '';
    const modified = new Date(headerOf(answer, 'last-modified') ?? 0);
    const attributes = attributesOf(answer);
    if (Number(headerOf(answer, 'x-amz-tagging-count') ?? 0) > 0) {
      const { TagSet } = await s3.send(new GetObjectTaggingCommand({ ...own, Key: key, VersionId: at }), {
        abortSignal: signal,
      });
      attributes.tags = fromList(TagSet);
    }
    const whole = headerOf(answer, 'x-amz-checksum-type') !== 'COMPOSITE';
    const held =
      headerOf(answer, 'x-amz-object-lock-legal-hold') === 'ON' ||
      new Date(headerOf(answer, 'x-amz-object-lock-retain-until-date') ?? 0).getTime() > Date.now();
    return {
      key,
      size,
      version: versionOf(etag, modified),
      modified: modified.toISOString(),
      checksums: {
        md5: md5Of(answer),
        ...(whole && {
          crc32: headerOf(answer, 'x-amz-checksum-crc32'),
          crc32c: headerOf(answer, 'x-amz-checksum-crc32c'),
        }),
      },
      ...(held && { refusal: 'held' as const }),
      attributes,
      ...(at && { at }),
    };
  }

  const upload = (object: Pick<NewObject, 'key'>, { id }: Pick<Upload, 'id'>) => ({
    ...own,
    Key: object.key,
    UploadId: id,
  });

  return {
    id: `aws:${bucket}`,
    metadataBytes: 2048,
    digest: 'crc32',
    vouchedBytes: Number.POSITIVE_INFINITY,

    refusal({ key, size }) {
      if (size > limits.object) return 'size';
      // More steps up than down: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
      let depth = 0;
      for (const segment of key.split('/')) {
        depth += segment === '..' ? -1 : 1;
        if (depth < 0) return 'key';
      }
      return Buffer.byteLength(key) > 1024 ? 'key' : undefined;
    },

    fit({ headers, metadata, tags }) {
      const native: Attributes = { headers: {}, metadata: {}, tags: {} };
      const rest: { headers: Attributes['headers']; metadata: Record<string, string>; tags: Record<string, string> } = {
        headers: {},
        metadata: {},
        tags: {},
      };
      for (const [name, value] of Object.entries(headers))
        (/^[\x20-\x7e]*$/.test(value) ? native : rest).headers[name as ContentHeader] = value;
      for (const [name, value] of Object.entries(metadata))
        (/^[a-z0-9_.-]+$/.test(name) && /^(?! )[\x20-\x7e]*(?<! )$/.test(value) && !/ {2}/.test(value)
          ? native
          : rest
        ).metadata[name] = value;
      // https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html
      const fits = Object.entries(tags).every(
        ([name, value]) =>
          name.length <= 128 && value.length <= 256 && /^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$/u.test(name + value),
      );
      (fits && Object.keys(tags).length <= 10 ? native : rest).tags = tags;
      return { native, rest };
    },

    async page({ after, token }, abortSignal) {
      const query = {
        ...own,
        EncodingType: 'url' as const,
        ...(token ? { ContinuationToken: token } : after ? { StartAfter: after } : {}),
      };
      const page = await s3.send(new ListObjectsV2Command(query), { abortSignal });
      const objects = (page.Contents ?? []).map(
        ({
          Key = '',
          Size = 0,
          ETag = '',
          LastModified = new Date(0),
          StorageClass = '',
          RestoreStatus,
        }): StoredObject => ({
          key: decodeURIComponent(Key.replaceAll('+', ' ')),
          size: Size,
          version: versionOf(ETag, LastModified),
          modified: LastModified.toISOString(),
          checksums: {},
          ...(archived.includes(StorageClass) && !RestoreStatus?.RestoreExpiryDate && { refusal: 'archived' as const }),
        }),
      );
      return { objects, next: page.NextContinuationToken };
    },

    listsNewestFirst: true,

    // The SDK tells versions and delete markers in lists of their own, which loses their order.
    async versions({ after, token }, signal) {
      const query: [string, string][] = token ? JSON.parse(token) : after ? [['key-marker', encodeWord(after)]] : [];
      const all: [string, string][] = [['versions', ''], ['encoding-type', 'url'], ...query];
      const { versions, next } = versionsIn(textOf((await send('GET', '', { query: all, signal })).piece));
      const on = next && [
        ['key-marker', encodeWord(next.key)],
        ['version-id-marker', encodeWord(next.at)],
      ];
      return { versions, next: on && JSON.stringify(on) };
    },

    head: (key, signal, at) =>
      ifFound(
        (async () => {
          const headers = { 'x-amz-checksum-mode': 'ENABLED' };
          const answer = await send('HEAD', key, { query: versionQuery({ at }), headers, signal });
          return described({ key, at }, answer, Number(headerOf(answer, 'content-length')), signal);
        })(),
      ),

    async read(object, range, signal) {
      const { key, size } = object;
      const request = await requestFor('GET', key, {
        query: versionQuery(object),
        headers: readHeaders(object, range),
      });
      const answer = unlessRefused(await http.get(request, range.bytes, signal));
      return { object: await described(object, answer, size, signal), piece: answer.piece };
    },

    async open(object, range, signal) {
      const { key, size } = object;
      const headers = { ...readHeaders(object, range), 'x-amz-checksum-mode': 'ENABLED' };
      const request = await requestFor('GET', key, { query: versionQuery(object), headers });
      const { flow, ...answer } = unlessRefused(await http.open(request, signal));
      return { object: await described(object, answer, size, signal), flow: flow as Flow };
    },

    async write(object, piece, crc32, signal) {
      const { key, attributes, expected, md5 } = object;
      const headers = {
        ...attributeHeaders(attributes),
        ...conditionOf(expected),
        'x-amz-checksum-crc32': crcBase64(crc32),
        ...(md5 && { 'content-md5': md5 }),
      };
      const answer = await send('PUT', key, { headers, body: piece, signal });
      return { version: unquoted(headerOf(answer, 'etag')), checksums: { crc32: crcBase64(crc32) } };
    },

    compares: ['crc32', 'crc32c'],

    async stream({ key, size, attributes, expected, known }, flow, signal) {
      const sum = (['crc32', 'crc32c'] as const).find((name) => known[name]);
      const none = Buffer.alloc(0);
      const sent = sum
        ? {
            headers: { [`x-amz-checksum-${sum}`]: known[sum] ?? '' },
            body: { before: none, flow, after: () => none, bytes: size },
          }
        : trailed(flow, attributes.headers['content-encoding']);
      const headers = { ...attributeHeaders(attributes), ...conditionOf(expected), ...sent.headers };
      const answer = await send('PUT', key, { ...sent, headers, signal });
      const checksums = { md5: md5Of(answer), ...(sum ? { [sum]: known[sum] } : { crc32: crcBase64(flow.crc32) }) };
      return { version: unquoted(headerOf(answer, 'etag')), checksums };
    },

    uploads: {
      order: 'any',
      checks: 'crc32',
      limits,

      async begin({ key, attributes }, partBytes, abortSignal) {
        const { headers, metadata, tags } = attributes;
        const command = new CreateMultipartUploadCommand({
          ...own,
          Key: key,
          ContentType: headers['content-type'],
          CacheControl: headers['cache-control'],
          ContentDisposition: headers['content-disposition'],
          ContentEncoding: headers['content-encoding'],
          ContentLanguage: headers['content-language'],
          Metadata: metadata,
          ...(Object.keys(tags).length > 0 && {
            Tagging: Object.entries(tags)
              .map(([name, value]) => `${encodeWord(name)}=${encodeWord(value)}`)
              .join('&'),
          }),
          ChecksumAlgorithm: 'CRC32' satisfies ChecksumAlgorithm,
          ChecksumType: 'FULL_OBJECT',
        });
        const { UploadId = '' } = await s3.send(command, { abortSignal });
        return { id: UploadId, partBytes };
      },

      async received(object, begun, abortSignal) {
        const parts = new Map<number, Part>();
        const receipts = new Set<string>();
        for (let PartNumberMarker: string | undefined; ; ) {
          const command = new ListPartsCommand({ ...upload(object, begun), PartNumberMarker });
          const page = await ifFound(s3.send(command, { abortSignal }));
          if (!page) return undefined;
          for (const { PartNumber = 0, ETag = '', ChecksumCRC32 } of page.Parts ?? []) {
            receipts.add(ETag);
            if (ChecksumCRC32) parts.set(PartNumber - 1, { crc32: crcNumber(ChecksumCRC32), receipt: ETag });
          }
          if (!page.IsTruncated) return { parts, receipts, bytes: 0 };
          PartNumberMarker = page.NextPartNumberMarker;
        }
      },

      async put({ key }, { id }, { number, piece, crc32 }, signal) {
        const answer = await send('PUT', key, {
          query: partQuery(id, number),
          headers: { 'x-amz-checksum-crc32': crcBase64(crc32) },
          body: piece,
          signal,
        });
        return { crc32, receipt: headerOf(answer, 'etag') ?? '' };
      },

      flowsFrom: 0,

      async stream({ key }, { id }, number, flow, signal) {
        const answer = await send('PUT', key, { query: partQuery(id, number), ...trailed(flow), signal });
        return { crc32: flow.crc32, receipt: headerOf(answer, 'etag') ?? '' };
      },

      async complete(object, begun, { parts, crc32 }, abortSignal) {
        const { expected } = object;
        const command = new CompleteMultipartUploadCommand({
          ...upload(object, begun),
          MultipartUpload: {
            Parts: parts.map((part, number) => ({
              PartNumber: number + 1,
              ETag: part.receipt,
              ChecksumCRC32: crcBase64(part.crc32),
            })),
          },
          ChecksumCRC32: crcBase64(crc32),
          ChecksumType: 'FULL_OBJECT',
          ...('absent' in expected ? { IfNoneMatch: '*' } : { IfMatch: etagOf(expected.version) }),
        });
        const { ETag } = await s3.send(command, { abortSignal });
        return { version: unquoted(ETag), checksums: { crc32: crcBase64(crc32) } };
      },

      async abandon(object, begun, abortSignal) {
        await ifFound(s3.send(new AbortMultipartUploadCommand(upload(object, begun)), { abortSignal }));
      },
    },

    tellsVersion: false,
    isAnswered: (written, version) => etagOf(version) === etagOf(written),

    async remove({ key, version }, abortSignal) {
      await ifFound(s3.send(new DeleteObjectCommand({ ...own, Key: key, IfMatch: etagOf(version) }), { abortSignal }));
    },
  };
}
