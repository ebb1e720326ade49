/** Our signatures of S3 requests are those that the SDK's own signer makes. */
import { S3Client } from '@aws-sdk/client-s3';
import { S3Signer, type SigningCredentials, type ToSign } from '../../activities/providers/aws/sign.ts';
import { encodeWord } from '../../activities/providers/pooled-http.ts';

const at = new Date('2026-11-28T01:02:03Z');
const host = 'bucket.s3.us-west-2.amazonaws.com';

async function theirs({ method, path, query, headers }: ToSign, credentials: SigningCredentials): Promise<string> {
  const { accessKeyId, secretAccessKey, sessionToken } = credentials;
  const client = new S3Client({
    region: 'us-west-2',
    credentials: { accessKeyId, secretAccessKey, ...(sessionToken && { sessionToken }) },
  });
  const scheme = { name: 'sigv4', signingName: 's3', signingRegion: 'us-west-2', properties: {} };
  const signer = await client.config.signer(scheme);
  const signed = await signer.sign(
    {
      method,
      protocol: 'https:',
      hostname: host,
      path,
      query: Object.fromEntries(query.map(([name, value]) => [name, decodeURIComponent(value)])),
      headers: { ...headers, host, 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' },
    },
    { signingDate: at, signingService: 's3', signingRegion: 'us-west-2' },
  );
  client.destroy();
  return signed.headers.authorization ?? '';
}

const cases: [string, Pick<ToSign, 'method' | 'query' | 'headers'>, string, Partial<SigningCredentials>][] = [
  ['a plain read', { method: 'GET', query: [], headers: {} }, 'plain.bin', {}],
  ['a session', { method: 'GET', query: [], headers: { range: 'bytes=0-1' } }, 'plain.bin', { sessionToken: 'a+b/c=' }],
  [
    'a part',
    {
      method: 'PUT',
      query: [
        ['uploadId', encodeWord('a b+c/d=')],
        ['partNumber', '10'],
      ],
      headers: { 'x-amz-checksum-crc32': 'AAAAAA==' },
    },
    'dir/sub dir/file',
    {},
  ],
  [
    'strange names and metadata',
    { method: 'PUT', query: [], headers: { 'x-amz-meta-note': '  two  words ', 'if-none-match': '*' } },
    "caf\u00e9//+%2F!'()*~/日本/😀",
    {},
  ],
];

it.each(cases)('%s', async (_name, request, key, more) => {
  const credentials = { accessKeyId: 'AKIA', secretAccessKey: 'secret', ...more };
  const asked = { ...request, host, path: `/${key.split('/').map(encodeWord).join('/')}` };
  expect(new S3Signer('us-west-2').sign(asked, credentials, at).authorization).toBe(await theirs(asked, credentials));
});
