/** The codec server gives what it decodes to pages of the listed origins and to who shows the token, and to nobody else. */
import { type ChildProcess, type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { createHmac, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, writeFileSync } from 'node:fs';
import type http from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { defaultPayloadConverter } from '@temporalio/common';
import { authority, issueCertificate } from '../../emulators/certificates.ts';
import { AesGcmCodec } from '../../temporal/codec.ts';
import { createCodecServer } from '../../temporal/codec-server.ts';

const keys = { current: 'k', keys: { k: randomBytes(32).toString('base64') } };
const codec = new AesGcmCodec(keys);
const origin = 'http://127.0.0.1:8233';
const token = 'a token of the tests';
const good = { authorization: `Bearer ${token}`, origin };

const base64 = (value: Uint8Array | null | undefined): string => Buffer.from(value ?? []).toString('base64');
async function sealed(value: unknown): Promise<string> {
  const payloads = await codec.encode([defaultPayloadConverter.toPayload(value)]);
  return JSON.stringify({
    payloads: payloads.map(({ metadata, data }) => ({
      metadata: Object.fromEntries(Object.entries(metadata ?? {}).map(([name, one]) => [name, base64(one)])),
      data: base64(data),
    })),
  });
}
const opened = (body: string): unknown => {
  const { payloads }: { payloads: { data: string }[] } = JSON.parse(body);
  return payloads.map(({ data }) => JSON.parse(Buffer.from(data, 'base64').toString()));
};

async function listen(server: http.Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

describe('the codec server', () => {
  let server: http.Server;
  let address: string;
  let body: string;
  beforeAll(async () => {
    server = createCodecServer({ codec, origins: [origin], token });
    address = `http://127.0.0.1:${await listen(server)}`;
    body = await sealed({ secret: 'value' });
  });
  afterAll(() => void server.close());

  const ask = (path: string, headers: Record<string, string>, method = 'POST', content = body) =>
    fetch(`${address}${path}`, { method, headers, ...(method === 'POST' && { body: content }) });
  const signIn = (shown: string) =>
    fetch(`${address}/sign-in`, { method: 'POST', body: new URLSearchParams({ token: shown }) });

  it('decodes for a page of the UI that shows the token, and encodes what the UI sends', async () => {
    const answer = await ask('/decode', good);
    expect([answer.status, answer.headers.get('access-control-allow-origin')]).toEqual([200, origin]);
    const decoded = await answer.text();
    expect(opened(decoded)).toEqual([{ secret: 'value' }]);
    const preflight = await ask('/decode', { origin }, 'OPTIONS');
    expect([preflight.status, preflight.headers.get('access-control-allow-headers')]).toEqual([
      204,
      'authorization,content-type,x-namespace',
    ]);
    const encoded = await (await ask('/encode', good, 'POST', decoded)).text();
    expect(encoded).not.toContain(base64(Buffer.from('{"secret"')).slice(0, 8));
    expect(opened(await (await ask('/decode', good, 'POST', encoded)).text())).toEqual([{ secret: 'value' }]);
  });

  it('decodes for the command line, which has no origin', async () => {
    expect((await ask('/decode', { authorization: good.authorization })).status).toBe(200);
  });

  it('decodes for a browser that has signed in: the UI sends cookies alone', async () => {
    expect(await (await fetch(address)).text()).toContain('<form');
    const answer = await signIn(token);
    const cookie = answer.headers.get('set-cookie') ?? '';
    expect(cookie).toMatch(/; HttpOnly; SameSite=Strict; Path=\/; Max-Age=28800$/);
    expect(cookie).not.toContain(token);
    const [session = ''] = cookie.split(';');
    const decoded = await ask('/decode', { origin, cookie: `theme=dark; ${session}` });
    expect([decoded.status, decoded.headers.get('access-control-allow-credentials')]).toEqual([200, 'true']);
    // Not for a request that does not say which page it comes from, and not for another page.
    expect((await ask('/decode', { cookie: session })).status).toBe(401);
    expect((await ask('/decode', { cookie: session, origin: 'https://evil.example' })).status).toBe(403);
  });

  const cookieOf = (ends: number, key: string): string => {
    const seal = createHmac('sha256', key).update(`codec session until ${ends}`).digest('base64url');
    return `multi-cloud-codec=${ends}.${seal}`;
  };
  it.each<[string, string, Record<string, string>, number]>([
    ['no token', '/decode', { origin }, 401],
    ['a wrong token', '/decode', { ...good, authorization: `Bearer ${token}x` }, 401],
    ['the beginning of the token', '/decode', { ...good, authorization: `Bearer ${token.slice(0, -1)}` }, 401],
    ['a session that somebody made up', '/decode', { origin, cookie: cookieOf(Date.now() + 1e6, 'guess') }, 401],
    ['a session that has ended', '/decode', { origin, cookie: cookieOf(Date.now() - 1, token) }, 401],
    ['a session without an end', '/decode', { origin, cookie: cookieOf(Number.NaN, token) }, 401],
    ['another origin', '/decode', { ...good, origin: 'https://evil.example' }, 403],
    ['the origin of a page without one', '/decode', { ...good, origin: 'null' }, 403],
    ['another path', '/secrets', good, 404],
  ])('refuses %s', async (_, path, headers, status) => {
    const answer = await ask(path, headers);
    expect([answer.status, await answer.text()]).toEqual([status, expect.not.stringContaining('payloads')]);
  });

  it('signs nobody in who does not show the token', async () => {
    const answer = await signIn('guess');
    expect([answer.status, answer.headers.get('set-cookie')]).toEqual([401, null]);
  });

  it('refuses what is no list of payloads, what was changed, and what is too long, announced or not', async () => {
    expect((await ask('/decode', good, 'POST', '{"payloads": 1}')).status).toBe(400);
    expect((await ask('/decode', good, 'POST', 'no JSON')).status).toBe(400);
    const changed = body.replace(/"data":"..../, '"data":"AAAA');
    expect([changed === body, (await ask('/decode', good, 'POST', changed)).status]).toEqual([false, 400]);
    const chunk = new Uint8Array(1024 * 1024);
    let sent = 0;
    const endless = new ReadableStream<Uint8Array>({
      pull: (stream) => (sent++ < 64 ? stream.enqueue(chunk) : stream.close()),
    });
    const long = await fetch(`${address}/decode`, {
      method: 'POST',
      headers: good,
      body: endless,
      duplex: 'half',
    }).then(
      ({ status }) => status,
      () => 'cut', // the server may have closed before the client has sent all
    );
    expect([413, 'cut']).toContain(long);
    expect(sent).toBeLessThan(64);
  });
});

it('speaks TLS with a certificate, and marks its cookies accordingly', async () => {
  const ca = await authority(mkdtempSync(join(tmpdir(), 'codec-ca-')));
  const tls = await issueCertificate(ca, ['127.0.0.1']);
  const server = createCodecServer({ codec, origins: [origin], token, tls });
  const port = await listen(server);
  const request = https.request({
    ...{ host: '127.0.0.1', port, path: '/sign-in', method: 'POST', ca: ca.cert },
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
  });
  request.end(new URLSearchParams({ token }).toString());
  const [answer]: http.IncomingMessage[] = await once(request, 'response');
  expect(answer?.headers['set-cookie']?.[0]).toMatch(/; Secure$/);
  answer?.resume();
  server.close();
});

describe('multi-cloud codec-server', () => {
  const folder = mkdtempSync(join(tmpdir(), 'codec-server-'));
  const file = (name: string, content: string): string => {
    writeFileSync(join(folder, name), content);
    return join(folder, name);
  };
  const usual = {
    keys: file('keys.json', JSON.stringify(keys)),
    'token-file': file('token', `${token}\n`),
    origin,
    port: '0',
  };
  const started: ChildProcess[] = [];
  afterAll(() => void started.map((program) => program.kill('SIGKILL')));
  function start(words: string[], options: Record<string, string>): ChildProcessWithoutNullStreams {
    const [main = '', ...rest] = words;
    const given = Object.entries(options).flatMap(([name, value]) => [`--${name}`, value]);
    const file = join(import.meta.dirname, '../..', main);
    const program = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', file, ...rest, ...given]);
    started.push(program);
    return program;
  }
  async function refusal(options: Record<string, string>): Promise<[number, string]> {
    const program = start(['temporal/main.ts'], options);
    const [said, [code]] = await Promise.all([text(program.stderr), once(program, 'exit')]);
    return [code, said];
  }

  it('serves until it is stopped', async () => {
    const program = start(['client/cli/main.ts', 'codec-server'], usual);
    const [line]: Buffer[] = await once(program.stdout, 'data');
    const [, address = ''] = /^ready (http:\/\/127\.0\.0\.1:\d+)\n$/.exec(String(line)) ?? [];
    expect((await fetch(`${address}/decode`, { method: 'POST', headers: good, body: '{"payloads":[]}' })).status).toBe(
      200,
    );
    program.kill('SIGTERM');
    expect(await once(program, 'exit')).toEqual([0, null]);
  });

  it.each<[string, Record<string, string>, string]>([
    ['a short token', { 'token-file': file('short', 'short') }, 'found 5 characters'],
    ['a token that is not there', { 'token-file': join(folder, 'none') }, 'no such file'],
    ['an address that is no origin', { origin: `${origin}/` }, `as in ${origin}`],
    ['plain HTTP to the network', { host: '0.0.0.0' }, '--tls-cert'],
    ['a certificate without its key', { 'tls-cert': usual.keys }, 'needed together'],
    ['a wrong port', { port: 'http' }, 'up to 65535'],
    ['no option of its own', { key: 'x' }, '--key'],
  ])('refuses %s', async (_, options, why) => {
    const [code, said] = await refusal({ ...usual, ...options });
    expect([code, said]).toEqual([2, expect.stringContaining(why)]);
    expect(said).not.toMatch(/at .*\.ts:/);
  });
});
