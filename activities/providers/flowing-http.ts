/**
 * Bodies of answers from socket to socket. Node's own client copies each piece of a body and leaves both to the garbage
 * collector, which takes longer than all the rest; here bytes are read into blocks that are used again once they are sent.
 */
import { createHash } from 'node:crypto';
import { type OutgoingHttpHeaders, validateHeaderName, validateHeaderValue } from 'node:http';
import net from 'node:net';
import tls from 'node:tls';
import { crc32 } from 'node:zlib';
import type { Flow, Hashed } from './object-store.ts';

/** Small enough for the processor's cache, in which a checksum costs a fifth. */
const blockBytes = 256 * 1024;
/** Some are sent while the next one is filled. */
const blockCount = 3;
/** A block with less room than this is full. */
const leastRead = 16 * 1024;
const mostHeadBytes = 64 * 1024;
/** Free connections are given up before most servers (5 s) would close them under a request. */
export const freeMs = 4000;

export interface FlowingAnswer {
  status: number;
  headers: Record<string, string>;
  /** Names and values in turn, as they were sent. */
  rawHeaders: string[];
  flow: Flow;
}

export const broken = (what: string): Error => Object.assign(new Error(what), { code: 'ECONNRESET' });

export interface FlowingOptions {
  /** How long an answer may go without progress, milliseconds. */
  idleMs: number;
  protocol: 'https:' | 'http:';
}

export class FlowingHttp {
  readonly #free = new Map<string, Connection[]>();
  readonly #options: FlowingOptions;

  constructor(options: FlowingOptions) {
    this.#options = options;
  }

  /**
   * Answers once the head is there; undefined where it does not announce a body of some length, as of an error: that connection
   * is closed. Rejects where the connection breaks or nothing moves for the deadline.
   */
  get(
    { host, path, headers }: { host: string; path: string; headers: OutgoingHttpHeaders },
    signal: AbortSignal,
  ): Promise<FlowingAnswer | undefined> {
    const free = this.#free.get(host) ?? [];
    this.#free.set(host, free);
    const connection = free.pop() ?? new Connection(host, this.#options);
    connection.once = { ended: () => free.push(connection), closed: () => remove(free, connection) };
    return connection.get(headOf(host, path, headers), signal);
  }

  close(): void {
    for (const connection of [...this.#free.values()].flat()) connection.close();
  }
}

function remove<T>(list: T[], item: T): void {
  const at = list.indexOf(item);
  if (at >= 0) list.splice(at, 1);
}

function headOf(host: string, path: string, headers: OutgoingHttpHeaders): string {
  const lines = [`GET ${path} HTTP/1.1`];
  for (const [name, value] of Object.entries({ host, ...headers })) {
    validateHeaderName(name);
    validateHeaderValue(name, String(value));
    lines.push(`${name}: ${value}`);
  }
  return `${lines.join('\r\n')}\r\n\r\n`;
}

/** What has come and is under way. */
class Block {
  readonly bytes = Buffer.allocUnsafeSlow(blockBytes);
  /** Up to where it is filled, and up to where that is passed on. */
  filled = 0;
  passed = 0;
  /** Pieces of it that are not taken yet. */
  pending = 0;

  get full(): boolean {
    return blockBytes - this.filled < leastRead;
  }
}

class Connection {
  readonly #socket: net.Socket;
  readonly #idleMs: number;
  /** The socket reads into the first of them while another one is free. */
  #current = new Block();
  readonly #free = Array.from({ length: blockCount - 1 }, () => new Block());
  #flushing = false;
  #flow: Flowing | undefined;
  #timer: NodeJS.Timeout | undefined;
  once = { ended: (): void => {}, closed: (): void => {} };

  constructor(host: string, { idleMs, protocol }: FlowingOptions) {
    this.#idleMs = idleMs;
    const onread: net.OnReadOpts = {
      buffer: () => {
        if (this.#current.full) this.#current = this.#free.shift() ?? new Block();
        return this.#current.bytes.subarray(this.#current.filled);
      },
      callback: (bytes) => this.#read(bytes),
    };
    const options = { host, noDelay: true, onread };
    this.#socket =
      protocol === 'https:'
        ? tls.connect({ ...options, port: 443, servername: host })
        : net.connect({ ...options, port: 80 });
    this.#socket.on('error', (error) => this.#flow?.fail(error));
    this.#socket.on('close', () => {
      this.#flow?.fail(broken('the answer ended early'));
      clearTimeout(this.#timer);
      this.once.closed();
    });
  }

  get(head: string, signal: AbortSignal): Promise<FlowingAnswer | undefined> {
    return new Promise((resolve, reject) => {
      clearTimeout(this.#timer);
      const abort = (): void => flow.fail(new DOMException('aborted', 'AbortError'));
      this.#timer = setTimeout(() => {
        if (flow.waits) flow.fail(broken('no progress'));
        else this.#timer?.refresh();
      }, this.#idleMs);
      const flow = new Flowing(resolve, (error, reusable) => {
        signal.removeEventListener('abort', abort);
        clearTimeout(this.#timer);
        this.#flow = undefined;
        if (error) reject(error); // no more than a word where the head was there
        if (!reusable) return this.close();
        this.#timer = setTimeout(() => this.close(), freeMs).unref();
        this.once.ended();
      });
      this.#flow = flow;
      if (signal.aborted) return abort();
      signal.addEventListener('abort', abort);
      this.#socket.write(head);
      this.#socket.resume();
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  /** Whether there is room to read on. */
  #read(bytes: number): boolean {
    if (!this.#flow) this.close(); // nobody has asked for anything
    this.#timer?.refresh();
    const block = this.#current;
    block.filled += bytes;
    if (block.full) {
      this.#pass(block);
      return this.#free.length > 1;
    }
    // More may have come already: TLS gives it in pieces of 16 KiB, whose mere number costs.
    if (!this.#flushing) {
      this.#flushing = true;
      setImmediate(() => {
        this.#flushing = false;
        this.#pass(this.#current);
      });
    }
    return true;
  }

  #pass(block: Block): void {
    if (block.filled === block.passed) return;
    const taken = this.#flow?.receive(block.bytes.subarray(block.passed, block.filled));
    block.passed = block.filled;
    block.pending++;
    // Never at once: what it is read into next is chosen before.
    Promise.resolve(taken).then(() => this.#taken(block));
  }

  #taken(block: Block): void {
    this.#timer?.refresh();
    block.pending--;
    if (!block.full || block.pending > 0) return;
    block.filled = 0;
    block.passed = 0;
    this.#free.push(block);
    this.#socket.resume();
  }
}

/** One answer: its head, then its body. */
class Flowing implements Flow {
  bytes = 0;
  passed = 0;
  crc32 = 0;
  readonly #watching: ((chunk: Buffer) => void)[] = [];
  readonly #answer: (answer: FlowingAnswer | undefined) => void;
  readonly #ended: (error: Error | undefined, reusable: boolean) => void;
  readonly #running = Promise.withResolvers<void>();
  readonly #done = Promise.withResolvers<void>();
  /** Undefined once the whole head has come. */
  #head: Buffer | undefined = Buffer.alloc(0);
  #take: ((chunk: Buffer) => Promise<void>) | undefined;
  #taken = 0;
  #keepsAlive = true;
  #over = false;

  constructor(
    answer: (answer: FlowingAnswer | undefined) => void,
    ended: (error: Error | undefined, reusable: boolean) => void,
  ) {
    this.#answer = answer;
    this.#ended = ended;
    this.#done.promise.catch(() => {}); // told to whoever runs it
  }

  /** Whether it is the other side that has to move: what nobody takes is not late. */
  get waits(): boolean {
    return this.#head !== undefined || (this.#take !== undefined && this.passed === this.#taken);
  }

  hash(name: Hashed): () => Buffer {
    const hash = createHash(name);
    this.watch((chunk) => void hash.update(chunk));
    return () => hash.digest();
  }

  watch(look: (chunk: Buffer) => void): void {
    this.#watching.push(look);
  }

  run(take: (chunk: Buffer) => Promise<void>): Promise<void> {
    this.#take = take;
    this.#running.resolve();
    return this.#done.promise;
  }

  cancel(): void {
    this.fail(broken('given up'));
  }

  fail(error: Error): void {
    this.#end(error, false);
  }

  /** The bytes are looked at until the promise resolves. */
  receive(bytes: Buffer): Promise<void> | undefined {
    if (this.#head) return this.#receiveHead(this.#head, bytes);
    return this.#take ? this.#pass(bytes) : this.#running.promise.then(() => this.#pass(bytes));
  }

  #receiveHead(before: Buffer, bytes: Buffer): Promise<void> | undefined {
    const head = Buffer.concat([before, bytes]);
    const end = head.indexOf('\r\n\r\n');
    if (end < 0) {
      if (head.length > mostHeadBytes) this.fail(broken('the head of the answer has no end'));
      this.#head = head;
      return undefined;
    }
    this.#head = undefined;
    const [first = '', ...lines] = head.toString('latin1', 0, end).split('\r\n');
    const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(first)?.[1] ?? 0);
    const headers: Record<string, string> = {};
    const rawHeaders: string[] = [];
    for (const line of lines) {
      const colon = line.indexOf(':');
      const [name, value] = [line.slice(0, colon), line.slice(colon + 1).trim()];
      headers[name.toLowerCase()] = value;
      rawHeaders.push(name, value);
    }
    this.bytes = Number(headers['content-length'] ?? 0);
    if (![200, 206].includes(status) || !(this.bytes > 0) || headers['transfer-encoding'] !== undefined) {
      this.#answer(undefined);
      this.#end(undefined, false);
      return undefined;
    }
    this.#keepsAlive = headers.connection?.toLowerCase() !== 'close';
    this.#answer({ status, headers, rawHeaders, flow: this });
    const rest = head.subarray(end + 4);
    return rest.length > 0 ? this.receive(rest) : undefined;
  }

  async #pass(bytes: Buffer): Promise<void> {
    if (this.#over || !this.#take) return;
    this.passed += bytes.length;
    if (this.passed > this.bytes) return this.fail(broken('the answer is longer than it said'));
    this.crc32 = crc32(bytes, this.crc32);
    for (const look of this.#watching) look(bytes);
    try {
      await this.#take(bytes);
    } catch (error) {
      return this.fail(error as Error);
    }
    this.#taken += bytes.length;
    if (this.#taken === this.bytes) this.#end(undefined, this.#keepsAlive);
  }

  #end(error: Error | undefined, reusable: boolean): void {
    if (this.#over) return;
    this.#over = true;
    if (error) this.#done.reject(error);
    else this.#done.resolve();
    this.#running.resolve();
    this.#ended(error, reusable);
  }
}
