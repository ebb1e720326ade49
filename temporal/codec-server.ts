/**
 * Encodes and decodes payloads for Temporal's UI and CLI, which hold no keys: `POST /encode` and `POST /decode` with JSON, as
 * https://docs.temporal.io/codec-server has it. Only browsers of the listed origins, only with the bearer token.
 */
import { timingSafeEqual } from 'node:crypto';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import type { PayloadCodec } from '@temporalio/common';
import { z } from 'zod';

export interface CodecServerSettings {
  codec: PayloadCodec;
  /** Of the UI, as browsers send it: `http://127.0.0.1:8233`. */
  origins: readonly string[];
  /** What `Authorization: Bearer …` must carry. */
  token: string;
}

const mostBytes = 32 * 1024 * 1024;

/** Payloads in Protobuf's JSON form: bytes are base64. */
const Payloads = z.object({
  payloads: z.array(z.object({ metadata: z.record(z.string(), z.base64()).default({}), data: z.base64().default('') })),
});
const bytes = (base64: string): Uint8Array => Buffer.from(base64, 'base64');
const base64 = (value: Uint8Array | null | undefined): string => Buffer.from(value ?? []).toString('base64');

export function createCodecServer({ codec, origins, token }: CodecServerSettings): http.Server {
  const wanted = Buffer.from(`Bearer ${token}`);
  const isAllowed = ({ headers }: IncomingMessage): boolean => {
    const given = Buffer.from(headers.authorization ?? '');
    return given.length === wanted.length && timingSafeEqual(given, wanted);
  };
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { origin } = request.headers;
    if (origin !== undefined && !origins.includes(origin))
      return end(response, 403, { error: `origin ${origin} is not allowed` });
    if (origin !== undefined)
      response
        .setHeader('access-control-allow-origin', origin)
        .setHeader('access-control-allow-headers', 'authorization,content-type,x-namespace')
        .setHeader('access-control-allow-methods', 'POST')
        .setHeader('access-control-allow-credentials', 'true')
        .setHeader('vary', 'origin');
    if (request.method === 'OPTIONS') return end(response, 204);
    const way = /^\/(encode|decode)$/.exec(new URL(request.url ?? '/', 'http://codec').pathname)?.[1];
    if (request.method !== 'POST' || !way) return end(response, 404, { error: 'POST /encode or POST /decode' });
    if (!isAllowed(request)) return end(response, 401, { error: 'the bearer token is missing or wrong' });
    if (Number(request.headers['content-length'] ?? 0) > mostBytes)
      return end(response, 413, { error: `at most ${mostBytes} bytes` });
    const parsed = Payloads.safeParse(parsedJson(await text(request)));
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
  return http.createServer((request, response) => {
    answer(request, response).catch(() => end(response, 400, { error: 'a payload could not be decoded' }));
  });
}

function parsedJson(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}

function end(response: ServerResponse, status: number, body?: object): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(body && JSON.stringify(body));
}
