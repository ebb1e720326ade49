import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, writeFileSync } from 'node:fs';
import type http from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defaultPayloadConverter } from '@temporalio/common';
import fc from 'fast-check';
import { AesGcmCodec, readCodecKeys } from '../../temporal/codec.ts';
import { createCodecServer } from '../../temporal/codec-server.ts';

const key = (): string => randomBytes(32).toString('base64');
const keys = { current: 'new', keys: { old: key(), new: key() } };
const payload = (value: unknown) => defaultPayloadConverter.toPayload(value);

describe('the payload codec', () => {
  const codec = new AesGcmCodec(keys);

  it('gives back what it was given, and shows nothing of it', async () => {
    await fc.assert(
      fc.asyncProperty(fc.jsonValue(), async (value) => {
        const [sealed] = await codec.encode([payload({ value, mark: 'recognisable' })]);
        expect(JSON.stringify(sealed)).not.toContain('recognisable');
        expect(Buffer.from(sealed?.data ?? []).toString('latin1')).not.toContain('recognisable');
        const [open] = await codec.decode(sealed ? [sealed] : []);
        expect(open && defaultPayloadConverter.fromPayload(open)).toEqual({ value, mark: 'recognisable' });
      }),
      { numRuns: 100 },
    );
  });

  it('never seals the same twice alike, and opens nothing that was changed', async () => {
    const [one, two] = await codec.encode([payload('same'), payload('same')]);
    if (!one || !two) throw new Error('nothing encoded');
    expect(Buffer.compare(Buffer.from(one.data ?? []), Buffer.from(two.data ?? []))).not.toBe(0);
    for (let at = 0; at < (one.data?.length ?? 0); at++) {
      const data = Buffer.from(one.data ?? []);
      data.writeUInt8(data.readUInt8(at) ^ 1, at);
      await expect(codec.decode([{ ...one, data }])).rejects.toThrow();
    }
  });

  it('opens what an earlier key has sealed, passes on what was never sealed, and says which key it lacks', async () => {
    const [old] = await new AesGcmCodec({ ...keys, current: 'old' }).encode([payload(1)]);
    const plain = payload('plain');
    const [opened, passed] = await codec.decode(old ? [old, plain] : []);
    expect(opened && defaultPayloadConverter.fromPayload(opened)).toBe(1);
    expect(passed).toBe(plain);
    const forgetful = new AesGcmCodec({ current: 'new', keys: { new: keys.keys.new } });
    await expect(forgetful.decode(old ? [old] : [])).rejects.toThrow('no key "old"');
  });

  it.each([
    ['a current key that is not there', { ...keys, current: 'none' }, 'current'],
    ['a short key', { current: 'a', keys: { a: 'c2hvcnQ=' } }, 'keys.a'],
    ['no keys', { current: 'a' }, 'keys'],
  ])('refuses a key file with %s, and does not repeat it', (_, content, field) => {
    const file = join(mkdtempSync(join(tmpdir(), 'keys-')), 'keys.json');
    writeFileSync(file, JSON.stringify(content));
    expect(() => readCodecKeys(file)).toThrow(field);
    expect(() => readCodecKeys(file)).not.toThrow('c2hvcnQ');
  });
});

describe('the codec server', () => {
  const codec = new AesGcmCodec(keys);
  const origin = 'http://127.0.0.1:8233';
  const token = 'a token of the tests';
  let server: http.Server;
  let address: string;
  beforeAll(async () => {
    server = createCodecServer({ codec, origins: [origin], token }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterAll(() => void server.close());

  const body = async (): Promise<string> => {
    const [sealed] = await codec.encode([payload({ secret: 'value' })]);
    const base64 = (value: Uint8Array | null | undefined) => Buffer.from(value ?? []).toString('base64');
    const metadata = Object.fromEntries(
      Object.entries(sealed?.metadata ?? {}).map(([name, value]) => [name, base64(value)]),
    );
    return JSON.stringify({ payloads: [{ metadata, data: base64(sealed?.data) }] });
  };
  const ask = async (path: string, headers: Record<string, string>, method = 'POST') =>
    fetch(`${address}${path}`, { method, headers, ...(method === 'POST' && { body: await body() }) });
  const good = { authorization: `Bearer ${token}`, origin };

  it('decodes for the UI, with its origin and token', async () => {
    const answer = await ask('/decode', good);
    expect([answer.status, answer.headers.get('access-control-allow-origin')]).toEqual([200, origin]);
    const { payloads }: { payloads: { data: string }[] } = JSON.parse(await answer.text());
    expect(JSON.parse(Buffer.from(payloads[0]?.data ?? '', 'base64').toString())).toEqual({ secret: 'value' });
    expect((await ask('/decode', good, 'OPTIONS')).status).toBe(204);
  });

  it.each([
    ['no token', '/decode', { origin }, 401],
    ['a wrong token', '/decode', { ...good, authorization: `Bearer ${token}x` }, 401],
    ['another origin', '/decode', { ...good, origin: 'https://evil.example' }, 403],
    ['another path', '/secrets', good, 404],
  ])('refuses %s', async (_, path, headers, status) => {
    const answer = await ask(path, headers);
    expect(answer.status).toBe(status);
    expect(await answer.text()).not.toContain('value"');
  });
});
