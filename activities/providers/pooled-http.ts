/** HTTP for bodies: kept connections, bytes as they come from the socket, deadlines without progress. */

import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http';
import https from 'node:https';
import type { Piece } from './object-store.ts';

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
  piece: Piece;
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

export class PooledHttp {
  readonly #agent: https.Agent;
  readonly #idleMs: number;

  /** `idleMs`: how long a request may go without progress. */
  constructor(idleMs: number) {
    this.#idleMs = idleMs;
    const options = { keepAlive: true, maxSockets: 128, timeout: freeMs, highWaterMark };
    this.#agent = new https.Agent(options);
  }

  close(): void {
    this.#agent.destroy();
  }

  /** Rejects where the connection breaks, nothing moves for the deadline, or the body ends early; answers every status. */
  send({ method, host, path, headers, body }: HttpRequest, signal: AbortSignal): Promise<HttpAnswer> {
    return new Promise((resolve, reject) => {
      const request = https.request(
        { agent: this.#agent, host, method, path, headers, signal, timeout: this.#idleMs },
        (response) => {
          const chunks: Buffer[] = [];
          let bytes = 0;
          response.on('data', (chunk: Buffer) => {
            chunks.push(chunk);
            bytes += chunk.length;
          });
          response.on('end', () => {
            if (!response.complete) reject(broken('the answer ended early'));
            else {
              const { statusCode: status = 0, headers, rawHeaders } = response;
              resolve({ status, headers, rawHeaders, piece: { chunks, bytes } });
            }
          });
          response.on('error', reject);
          response.on('aborted', () => reject(broken('the answer was cut off')));
        },
      );
      request.on('timeout', () => request.destroy(broken('no progress')));
      request.on('error', reject);
      if (body) for (const chunk of body.chunks) request.write(chunk);
      request.end();
    });
  }
}

const broken = (what: string): Error => Object.assign(new Error(what), { code: 'ECONNRESET' });
