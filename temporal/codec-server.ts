/**
 * Encodes and decodes payloads for Temporal's UI and CLI, which hold no keys: `POST /encode` and `POST /decode` with JSON, as
 * https://docs.temporal.io/codec-server has it. Only pages of the listed origins, only with the token (`codec-access.ts`).
 */
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import https from 'node:https';
import type { PayloadCodec } from '@temporalio/common';
import { z } from 'zod';
import { CodecAccess } from './codec-access.ts';
import { signedInPage, signInPage } from './codec-pages.ts';

export interface CodecServerSettings {
  codec: PayloadCodec;
  /** Of the UI, as browsers send it: `http://127.0.0.1:8233`. */
  origins: readonly string[];
  /** What `Authorization: Bearer …` must carry, or who signs in must show. */
  token: string;
  /** PEM; without them the server speaks plain HTTP. */
  tls?: { cert: string | Buffer; key: string | Buffer } | undefined;
}

const mostBytes = 32 * 1024 * 1024;
const mostSignInBytes = 4096;

/** Payloads in Protobuf's JSON form: bytes are base64. */
const Payloads = z.object({
  payloads: z.array(z.object({ metadata: z.record(z.string(), z.base64()).default({}), data: z.base64().default('') })),
});
const bytes = (base64: string): Uint8Array => Buffer.from(base64, 'base64');
const base64 = (value: Uint8Array | null | undefined): string => Buffer.from(value ?? []).toString('base64');

export function createCodecServer({ codec, origins, token, tls }: CodecServerSettings): http.Server {
  const access = new CodecAccess(token, origins);

  const signIn = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const body = await bodyOf(request, mostSignInBytes);
    const shown = new URLSearchParams(body).get('token') ?? '';
    if (!access.isToken(shown)) return page(response, 401, signInPage('That is not the token.'));
    response.setHeader('set-cookie', access.newSession(tls !== undefined));
    return page(response, 200, signedInPage);
  };

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { pathname } = new URL(request.url ?? '/', 'http://codec');
    if (pathname === '/' && request.method === 'GET') return page(response, 200, signInPage());
    if (pathname === '/sign-in' && request.method === 'POST') return signIn(request, response);
    const { origin } = request.headers;
    if (origin !== undefined && !access.isAllowedOrigin(origin))
      return end(response, 403, { error: `origin ${origin} is not allowed` });
    if (origin !== undefined)
      response
        .setHeader('access-control-allow-origin', origin)
        .setHeader('access-control-allow-headers', 'authorization,content-type,x-namespace')
        .setHeader('access-control-allow-methods', 'POST')
        .setHeader('access-control-allow-credentials', 'true')
        .setHeader('vary', 'origin');
    if (request.method === 'OPTIONS') return end(response, 204);
    const way = /^\/(encode|decode)$/.exec(pathname)?.[1];
    if (request.method !== 'POST' || !way) return end(response, 404, { error: 'POST /encode or POST /decode' });
    if (!access.mayUse(request.headers)) return end(response, 401, { error: 'the token is missing or wrong' });
    const body = await bodyOf(request, mostBytes);
    if (body === undefined) return end(response, 413, { error: `at most ${mostBytes} bytes` });
    const parsed = Payloads.safeParse(parsedJson(body));
    if (!parsed.success) return end(response, 400, { error: z.prettifyError(parsed.error) });
    const given = parsed.data.payloads.map(({ metadata, data }) => ({
      metadata: Object.fromEntries(Object.entries(metadata).map(([name, value]) => [name, bytes(value)])),
      data: bytes(data),
    }));
    const turned = await (way === 'encode' ? codec.encode(given) : codec.decode(given));
    return end(response, 200, {
      payloads: turned.map(({ metadata, data }) => ({
        metadata: Object.fromEntries(Object.entries(metadata ?? {}).map(([name, value]) => [name, base64(value)])),
        data: base64(data),
      })),
    });
  };

  const listener = (request: IncomingMessage, response: ServerResponse): void => {
    answer(request, response).catch(() =>
      end(response, 400, {
        error: 'a payload could not be decoded: it was changed, or its key is not in the key file',
      }),
    );
  };
  return tls ? https.createServer(tls, listener) : http.createServer(listener);
}

/** Undefined where it is longer; then no more of it is read. */
async function bodyOf(request: IncomingMessage, most: number): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    size += chunk.length;
    if (size > most) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

function parsedJson(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}

function end(response: ServerResponse, status: number, body?: object): void {
  // What is left of a body that was not read would stand before the next request.
  if (status >= 400) response.setHeader('connection', 'close');
  response.writeHead(status, { 'content-type': 'application/json' }).end(body && JSON.stringify(body));
}

function page(response: ServerResponse, status: number, html: string): void {
  response
    .writeHead(status, {
      'content-type': 'text/html; charset=utf-8',
      'content-security-policy': "default-src 'none'; form-action 'self'; frame-ancestors 'none'",
      'cache-control': 'no-store',
      connection: 'close',
    })
    .end(html);
}
