import { createHash, randomBytes } from 'node:crypto';
import { loadDefinition } from '../../../emulators/gcp/compute-definition.ts';
import { crc32c, crc32cText } from '../../../model/crc32c.ts';
import type { Json } from '../../../model/service.ts';
import { LocalGcp, project, type Reply } from './local-gcp.ts';

const cloud = new LocalGcp();
const definition = loadDefinition('storage.v1');
const host = 'storage.googleapis.com';
const bucket = 'bucket-of-tests';

const call = (method: string, path: string, body?: Json | Buffer, headers?: Record<string, string>): Promise<Reply> =>
  cloud.call(method, host, path, body, headers);
const objectPath = (name: string, query = ''): string =>
  `/storage/v1/b/${bucket}/o/${encodeURIComponent(name)}${query}`;
const put = (name: string, bytes: Buffer, query = ''): Promise<Reply> =>
  call('POST', `/upload/storage/v1/b/${bucket}/o?uploadType=media&name=${encodeURIComponent(name)}${query}`, bytes, {
    'content-type': 'text/plain',
  });
const bytesOf = async (name: string, query = ''): Promise<Buffer> =>
  (await call('GET', objectPath(name, `?alt=media${query}`))).bytes;

beforeAll(async () => {
  await cloud.start();
  const made = await call('POST', `/storage/v1/b?project=${project}`, {
    name: bucket,
    location: 'us-central1',
    labels: { a: 'b' },
    versioning: { enabled: true },
    lifecycle: { rule: [{ action: { type: 'Delete' }, condition: { age: 3 } }] },
  });
  expect(made.status).toBe(200);
  expect(definition.checkBody('Bucket', made.body)).toBeUndefined();
});
afterAll(() => cloud.remove());

it('keeps the whole bucket resource, and refuses fields that Google does not know', async () => {
  const { body } = await call('GET', `/storage/v1/b/${bucket}`);
  expect(body).toMatchObject({
    location: 'US-CENTRAL1',
    labels: { a: 'b' },
    versioning: { enabled: true },
    metageneration: '1',
    iamConfiguration: { publicAccessPrevention: 'inherited' },
  });
  expect((await call('PATCH', `/storage/v1/b/${bucket}`, { colour: 'red' })).status).toBe(400);
  expect((await call('PATCH', `/storage/v1/b/${bucket}?ifMetagenerationMatch=7`, { labels: { c: 'd' } })).status).toBe(
    412,
  );
  expect((await call('PATCH', `/storage/v1/b/${bucket}`, { location: 'EU' })).status).toBe(400);
});

it('keeps any key and its bytes through a kill -9', async () => {
  const names = ['plain', '../up/./down//', 'snö/☃/\u{1F600}%2F?#&=+ "', `long${'x'.repeat(1020)}`, 'a', 'a/', 'A'];
  const bytes = randomBytes(10_240);
  const big = randomBytes(3 * 1024 * 1024 + 1);
  for (const name of names) expect((await put(name, bytes)).status).toBe(200);
  expect((await put('big', big)).body).toMatchObject({
    size: String(big.length),
    md5Hash: createHash('md5').update(big).digest('base64'),
    crc32c: crc32cText(crc32c(big)),
  });
  await cloud.kill();
  await cloud.start();
  for (const name of names) expect((await bytesOf(name)).equals(bytes)).toBe(true);
  expect((await bytesOf('big')).equals(big)).toBe(true);
  expect((await put('x'.repeat(1025), bytes)).status).toBe(400);
  const listed = await call('GET', `/storage/v1/b/${bucket}/o?fields=items(name)`);
  const sorted = [...names, 'big'].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  expect(listed.body).toEqual({ items: sorted.map((name) => ({ name })) });
});

it('honours preconditions on every verb', async () => {
  const { generation } = (await put('guarded', Buffer.from('1'))).body;
  const path = objectPath('guarded');
  expect((await put('guarded', Buffer.from('2'), '&ifGenerationMatch=0')).status).toBe(412);
  expect((await put('guarded', Buffer.from('2'), '&ifGenerationMatch=5')).status).toBe(412);
  for (const [method, where] of [
    ['GET', path],
    ['DELETE', path],
    ['PATCH', path],
    ['POST', `${objectPath('big')}/rewriteTo/b/${bucket}/o/guarded`],
    ['POST', `${objectPath('big')}/copyTo/b/${bucket}/o/guarded`],
  ] as const)
    expect([
      where,
      (await call(method, `${where}?ifGenerationMatch=5`, method === 'PATCH' ? {} : undefined)).status,
    ]).toEqual([where, 412]);
  const compose = { sourceObjects: [{ name: 'guarded' }] };
  expect((await call('POST', `${path}/compose?ifGenerationMatch=5`, compose)).status).toBe(412);
  expect((await call('POST', `${objectPath('big')}/copyTo/b/${bucket}/o/new?ifSourceGenerationMatch=5`)).status).toBe(
    412,
  );
  expect((await call('GET', `${path}?ifGenerationNotMatch=${generation}`)).status).toBe(304);
  expect((await put('guarded', Buffer.from('2'), `&ifGenerationMatch=${generation}`)).status).toBe(200);
  expect((await bytesOf('guarded', `&generation=${generation}`)).toString()).toBe('1');
  const started = `/upload/storage/v1/b/${bucket}/o?uploadType=resumable&name=raced&ifGenerationMatch=0`;
  const session = new URL(String((await call('POST', started, {})).headers.location));
  expect((await put('raced', Buffer.from('other'))).status).toBe(200);
  expect((await call('PUT', session.pathname + session.search, Buffer.from('mine'))).status).toBe(412);
  expect((await bytesOf('raced')).toString()).toBe('other');
});

it('tells the truth about a resumable upload, and goes on with it after a kill -9', async () => {
  const bytes = randomBytes(700 * 1024);
  const chunk = 256 * 1024;
  const start = `/upload/storage/v1/b/${bucket}/o?uploadType=resumable&name=resumed`;
  const session = new URL(String((await call('POST', start, { metadata: { k: 'v' } })).headers.location));
  const send = (body: Buffer | undefined, range: string): Promise<Reply> =>
    call('PUT', session.pathname + session.search, body, { 'content-range': range });
  const status = async (): Promise<string | undefined> => {
    const answer = await send(undefined, `bytes */${bytes.length}`);
    expect(answer.status).toBe(308);
    return answer.headers.range;
  };
  expect(await status()).toBeUndefined();
  // More than one quantum, less than two: what is beyond it is not kept.
  const first = await send(bytes.subarray(0, chunk + 10), `bytes 0-${chunk + 9}/${bytes.length}`);
  expect([first.status, first.headers.range]).toEqual([308, `bytes=0-${chunk - 1}`]);
  await cloud.kill();
  await cloud.start();
  expect(await status()).toBe(`bytes=0-${chunk - 1}`);
  expect((await call('GET', objectPath('resumed'))).status).toBe(404);
  const last = await send(bytes.subarray(chunk), `bytes ${chunk}-${bytes.length - 1}/${bytes.length}`);
  expect(last.body).toMatchObject({ size: String(bytes.length), metadata: { k: 'v' } });
  expect(definition.checkBody('Object', last.body)).toBeUndefined();
  expect((await send(undefined, `bytes */${bytes.length}`)).body.generation).toBe(last.body.generation);
  expect((await bytesOf('resumed')).equals(bytes)).toBe(true);
});

it('checks hashes, gives ranges, composes', async () => {
  const upload = `/upload/storage/v1/b/${bucket}/o?uploadType=media&name=hashed`;
  expect((await call('POST', upload, Buffer.from('abc'), { 'x-goog-hash': 'crc32c=AAAAAA==' })).status).toBe(400);
  expect((await call('POST', upload, Buffer.from('abc'), { 'x-goog-hash': 'crc32c=Nks/tw==' })).status).toBe(200);
  const part = await call('GET', objectPath('hashed', '?alt=media'), undefined, { range: 'bytes=1-' });
  expect([part.status, part.bytes.toString(), part.headers['content-range']]).toEqual([206, 'bc', 'bytes 1-2/3']);
  const beyond = await call('GET', objectPath('hashed', '?alt=media'), undefined, { range: 'bytes=3-' });
  expect(beyond.status).toBe(416);
  const sourceObjects = [{ name: 'hashed' }, { name: 'hashed' }];
  const composed = await call('POST', `${objectPath('composed')}/compose`, { sourceObjects });
  expect(composed.body).toMatchObject({
    size: '6',
    componentCount: 2,
    crc32c: crc32cText(crc32c(Buffer.from('abcabc'))),
  });
  expect(composed.body).not.toHaveProperty('md5Hash');
});

it('lists by prefix, delimiter and page without losing or repeating anything', async () => {
  for (let at = 0; at < 12; at++) await put(`list/${at % 4}/${at}`, Buffer.from(''));
  const pages: unknown[] = [];
  for (let token = ''; ; ) {
    const { body } = await call(
      'GET',
      `/storage/v1/b/${bucket}/o?prefix=list/&delimiter=/&maxResults=3&pageToken=${token}`,
    );
    expect(definition.checkBody('Objects', body)).toBeUndefined();
    pages.push(body.prefixes);
    if (typeof body.nextPageToken !== 'string') break;
    token = body.nextPageToken;
  }
  expect(pages).toEqual([['list/0/', 'list/1/', 'list/2/'], ['list/3/']]);
  await put('list/versions', Buffer.from('1'));
  await put('list/versions', Buffer.from('2'));
  await call('DELETE', objectPath('list/versions'));
  const gone = await call('GET', `/storage/v1/b/${bucket}/o?prefix=list/versions`);
  expect(gone.body.items).toBeUndefined();
  const all = await call('GET', `/storage/v1/b/${bucket}/o?prefix=list/versions&versions=true`);
  expect(all.body.items).toHaveLength(2);
});

it('holds what may not be deleted, and the name of a bucket that was', async () => {
  const { generation } = (await put('held', Buffer.from('x'))).body;
  await call('PATCH', objectPath('held'), { temporaryHold: true });
  const exact = objectPath('held', `?generation=${generation}`);
  expect((await call('DELETE', exact)).status).toBe(403);
  expect((await call('DELETE', `/storage/v1/b/${bucket}`)).status).toBe(409);
  const other = { name: 'bucket-that-goes', location: 'EU' };
  expect((await call('POST', `/storage/v1/b?project=${project}`, other)).status).toBe(200);
  expect((await call('DELETE', '/storage/v1/b/bucket-that-goes')).status).toBe(204);
  expect((await call('GET', '/storage/v1/b/bucket-that-goes')).status).toBe(404);
  expect((await call('POST', `/storage/v1/b?project=${project}`, other)).status).toBe(409);
});

it('tells a topic what happens to objects', async () => {
  const pubsub = 'pubsub.googleapis.com';
  const name = (kind: string): string => `/v1/projects/${project}/${kind}/events`;
  await cloud.call('PUT', pubsub, name('topics'), {});
  await cloud.call('PUT', pubsub, name('subscriptions'), { topic: `projects/${project}/topics/events` });
  const notify = () =>
    call('POST', `/storage/v1/b/${bucket}/notificationConfigs`, {
      topic: `//pubsub.googleapis.com/projects/${project}/topics/events`,
      payload_format: 'JSON_API_V1',
    });
  expect((await notify()).status).toBe(400); // the service agent of Cloud Storage may not publish there
  const agent = await call('GET', `/storage/v1/projects/${project}/serviceAccount`);
  const members = [`serviceAccount:${agent.body.email_address}`];
  const policy = { bindings: [{ role: 'roles/pubsub.publisher', members }] };
  await cloud.call('POST', pubsub, `${name('topics')}:setIamPolicy`, { policy });
  expect((await notify()).status).toBe(200);
  const { generation } = (await put('told', Buffer.from('x'))).body;
  const pulled = await cloud.call('POST', pubsub, `${name('subscriptions')}:pull`, { maxMessages: 10 });
  expect(pulled.body.receivedMessages).toMatchObject([
    { message: { attributes: { eventType: 'OBJECT_FINALIZE', objectId: 'told', objectGeneration: generation } } },
  ]);
});
