/** HTTP for bodies: kept connections, bytes as they come from the socket, deadlines without progress. */

import type { ClientRequest, IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http';
import http from 'node:http';
import https from 'node:https';
import { crc32 } from 'node:zlib';
import type { Piece, ReadPiece } from './object-store.ts';

export interface HttpRequest {
  method: 'GET' | 'HEAD' | 'PUT' | 'POST' | 'DELETE';
  host: string;
  /** Path and query, already encoded: sent as it is. */
  path: string;
  headers: OutgoingHttpHeaders;
  body?: Piece | undefined;
}

export interface HttpAnswer {
  status: number;
  headers: IncomingHttpHeaders;
  /** Names and values in turn, as they were sent. */
  rawHeaders: readonly string[];
  piece: ReadPiece;
}

export const textOf = ({ chunks }: Piece): string => Buffer.concat(chunks).toString('utf8');

/** `!'()*` too, which `encodeURIComponent` leaves and signatures do not. */
export const encodeWord = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, (letter) => `%${letter.charCodeAt(0).toString(16).toUpperCase()}`);

/** A key as a path: slashes stay, segments of dots are encoded so that nobody on the way resolves them. */
export const encodeKey = (key: string): string =>
  key
    .split('/')
    .map((segment) => (/^\.{1,2}$/.test(segment) ? segment.replaceAll('.', '%2E') : encodeWord(segment)))
    .join('/');

/** Large enough that a read of a socket fills a chunk; the default of 64 KiB costs a tenth of the throughput. */
const highWaterMark = 1024 * 1024;

/** Free connections are given up before most servers (5 s) would close them under a request. */
const freeMs = 4000;

export interface PoolOptions {
  /** How long a request may go without progress, milliseconds. */
  idleMs: number;
  /** `http:` is for measuring what is above TLS: credentials and bodies are then open to whoever listens. */
  protocol?: 'https:' | 'http:';
}

export class PooledHttp {
  readonly #agent: http.Agent;
  readonly #idleMs: number;
  readonly #request: typeof https.request;
  readonly #blocks: Buffer[] = [];

  constructor({ idleMs, protocol = 'https:' }: PoolOptions) {
    this.#idleMs = idleMs;
    const options = { keepAlive: true, maxSockets: 128, timeout: freeMs, highWaterMark };
    this.#agent = protocol === 'https:' ? new https.Agent(options) : new http.Agent(options);
    this.#request = protocol === 'https:' ? https.request : http.request;
  }

  close(): void {
    this.#agent.destroy();
  }

  /**
   * Rejects where the connection breaks, nothing moves for the deadline, or the body ends early; answers every status. The
   * signal and the deadline are watched here: Node's own options for both cost a tenth of a small request.
   */
  send({ method, host, path, headers, body }: HttpRequest, signal: AbortSignal): Promise<HttpAnswer> {
    return new Promise((resolve, reject) => {
      const request = this.#request({ agent: this.#agent, host, method, path, headers });
      const abort = (): void => void request.destroy(new DOMException('aborted', 'AbortError'));
      const idle = setTimeout(() => request.destroy(broken('no progress')), this.#idleMs);
      const end = (error?: Error): void => {
        clearTimeout(idle);
        signal.removeEventListener('abort', abort);
        if (error) reject(error);
      };
      request.on('error', end);
      request.on('response', (response) => {
        const collected = new Collected(Number(response.headers['content-length'] ?? 0), this.#blocks);
        response.on('data', (chunk: Buffer) => {
          idle.refresh();
          collected.add(chunk);
        });
        response.on('end', () => {
          if (!response.complete) return end(broken('the answer ended early'));
          end();
          const { statusCode: status = 0, headers, rawHeaders } = response;
          resolve({ status, headers, rawHeaders, piece: collected.piece() });
        });
        response.on('error', end);
      });
      if (signal.aborted) abort();
      else signal.addEventListener('abort', abort);
      if (body) sendBody(request, body, () => idle.refresh()).catch(end);
      else request.end();
    });
  }
}

/** Bodies from here on are gathered in one block: what TLS gives are pieces of 16 KiB, whose mere number costs. */
const blockBytes = 1024 * 1024;
/** How much is handed to a socket at once. */
const writeBytes = 256 * 1024;

/** Blocks that are kept for the next body. */
const mostBlocks = 16;

/** A body as it comes, with its CRC-32, which costs least while a chunk is still in the processor's cache. */
class Collected {
  readonly #block: Buffer | undefined;
  readonly #free: Buffer[];
  readonly #chunks: Buffer[] = [];
  #bytes = 0;
  #crc32 = 0;

  constructor(expected: number, free: Buffer[]) {
    this.#free = free;
    if (expected < blockBytes) return;
    const at = free.findIndex(({ length }) => length >= expected);
    this.#block = at < 0 ? Buffer.allocUnsafeSlow(expected) : free.splice(at, 1)[0];
  }

  add(chunk: Buffer): void {
    this.#crc32 = crc32(chunk, this.#crc32);
    if (this.#block) chunk.copy(this.#block, this.#bytes);
    else this.#chunks.push(chunk);
    this.#bytes += chunk.length;
  }

  piece(): ReadPiece {
    const [block, free] = [this.#block, this.#free];
    const chunks = block ? [block.subarray(0, this.#bytes)] : this.#chunks;
    const release = (): void => {
      if (block && free.length < mostBlocks) free.push(block);
    };
    return { chunks, bytes: this.#bytes, crc32: this.#crc32, release };
  }
}

/** Large bodies as fast as the socket takes them, so that they are not in memory twice. */
async function sendBody(request: ClientRequest, { chunks, bytes }: Piece, progress: () => void): Promise<void> {
  for (const chunk of chunks)
    for (let at = 0; at < chunk.length; at += writeBytes) {
      const fits = request.write(chunk.length > writeBytes ? chunk.subarray(at, at + writeBytes) : chunk);
      if (fits || bytes <= writeBytes) continue;
      // The request's own error, or its end, is told by `send`.
      await new Promise<void>((resolve) => {
        const go = (): void => {
          request.off('drain', go).off('close', go);
          resolve();
        };
        request.on('drain', go).on('close', go);
      });
      if (request.destroyed) return;
      progress();
    }
  request.end();
}

const broken = (what: string): Error => Object.assign(new Error(what), { code: 'ECONNRESET' });
