/** HTTP for bodies: kept connections, bytes as they come from the socket, deadlines without progress. */

import type { ClientRequest, IncomingHttpHeaders, IncomingMessage, OutgoingHttpHeaders } from 'node:http';
import http from 'node:http';
import https from 'node:https';
import { crc32 } from 'node:zlib';
import { broken, FlowingHttp, freeMs } from './flowing-http.ts';
import type { Flow, Piece, ReadPiece } from './object-store.ts';

export interface HttpRequest {
  method: 'GET' | 'HEAD' | 'PUT' | 'POST' | 'DELETE';
  host: string;
  /** Path and query, already encoded: sent as it is. */
  path: string;
  headers: OutgoingHttpHeaders;
  body?: Piece | Framed | undefined;
}

/** A flow with what goes before and after it; `after` is asked once the flow has ended. */
export interface Framed {
  before: Buffer;
  flow: Flow;
  after: () => Buffer;
  /** Of all three. */
  bytes: number;
}

interface Head {
  status: number;
  headers: IncomingHttpHeaders;
  /** Names and values in turn, as they were sent. */
  rawHeaders: readonly string[];
}

export interface HttpAnswer extends Head {
  piece: ReadPiece;
}

/** An answer whose body has yet to come; one that says no has it in `piece`. */
export interface OpenAnswer extends HttpAnswer {
  flow: Flow | undefined;
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
  readonly #flowing: FlowingHttp;

  constructor({ idleMs, protocol = 'https:' }: PoolOptions) {
    this.#idleMs = idleMs;
    this.#flowing = new FlowingHttp({ idleMs, protocol });
    const options = { keepAlive: true, maxSockets: 128, timeout: freeMs, highWaterMark };
    this.#agent = protocol === 'https:' ? new https.Agent(options) : new http.Agent(options);
    this.#request = protocol === 'https:' ? https.request : http.request;
  }

  close(): void {
    this.#agent.destroy();
    this.#flowing.close();
  }

  /**
   * Rejects where the connection breaks, nothing moves for the deadline, or the body ends early; answers every status. The
   * signal and the deadline are watched here: Node's own options for both cost a tenth of a small request.
   */
  send(request: HttpRequest, signal: AbortSignal): Promise<HttpAnswer> {
    return new Promise((resolve, reject) => {
      const exchange = this.#begin(request, signal, reject);
      exchange.request.on('response', (response) => this.#collect(response, exchange, resolve));
    });
  }

  /** As `send` of a GET, but answers when the head of a body is there. */
  async open(request: HttpRequest, signal: AbortSignal): Promise<OpenAnswer> {
    const answer = await this.#flowing.get(request, signal);
    if (answer) return { ...answer, piece: nothing };
    const refused = await this.send(request, signal);
    if (refused.status < 300) throw broken('the answer does not say how long it is');
    return { ...refused, flow: undefined };
  }

  /** A GET whose answer comes into memory; `bytes`: how many are expected. */
  async get(request: HttpRequest, bytes: number, signal: AbortSignal): Promise<HttpAnswer> {
    if (bytes < blockBytes) return this.send(request, signal);
    const { flow, ...answer } = await this.open(request, signal);
    if (!flow) return answer;
    const collected = new Collected(flow.bytes, this.#blocks);
    await flow.run(async (chunk) => collected.add(chunk));
    return { ...answer, piece: collected.piece() };
  }

  #begin(
    { method, host, path, headers, body }: HttpRequest,
    signal: AbortSignal,
    reject: (error: Error) => void,
  ): Exchange {
    const request = this.#request({ agent: this.#agent, host, method, path, headers });
    const abort = (): void => void request.destroy(new DOMException('aborted', 'AbortError'));
    const idle = setTimeout(() => request.destroy(broken('no progress')), this.#idleMs);
    const exchange: Exchange = {
      request,
      progress: () => void idle.refresh(),
      end: (error) => {
        clearTimeout(idle);
        signal.removeEventListener('abort', abort);
        if (error) reject(error);
      },
    };
    request.on('error', exchange.end);
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort);
    if (!body) request.end();
    else if ('flow' in body) sendFlow(exchange, body);
    else sendBody(request, body, exchange.progress).catch(exchange.end);
    return exchange;
  }

  #collect(response: IncomingMessage, { progress, end }: Exchange, resolve: (answer: HttpAnswer) => void): void {
    const collected = new Collected(Number(response.headers['content-length'] ?? 0), this.#blocks);
    response.on('data', (chunk: Buffer) => {
      progress();
      collected.add(chunk);
    });
    response.on('end', () => {
      if (!response.complete) return end(broken('the answer ended early'));
      end();
      resolve({ ...headOf(response), piece: collected.piece() });
    });
    response.on('error', end);
  }
}

/** One request under way. */
interface Exchange {
  request: ClientRequest;
  progress(): void;
  /** Nothing is watched any more; rejects where it ended wrongly. */
  end(error?: Error): void;
}

const headOf = ({ statusCode: status = 0, headers, rawHeaders }: IncomingMessage): Head => ({
  status,
  headers,
  rawHeaders,
});

const nothing: ReadPiece = { chunks: [], bytes: 0, crc32: 0, release: () => {} };

/** Breaks off where the flow does: a body of which a part is missing must never look complete. */
function sendFlow({ request, progress }: Exchange, { before, flow, after }: Framed): void {
  request.write(before);
  const take = (chunk: Buffer): Promise<void> =>
    new Promise((resolve, reject) => {
      request.write(chunk, (error) => {
        progress();
        if (error) reject(error);
        else resolve();
      });
    });
  flow.run(take).then(
    () => void request.end(after()),
    (error: Error) => void request.destroy(error),
  );
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
