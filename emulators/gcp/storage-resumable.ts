/**
 * Resumable uploads: https://cloud.google.com/storage/docs/resumable-uploads. A session and the bytes received lie in files,
 * so that an upload goes on after a restart.
 */
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { z } from 'zod';
import { GoogleError } from './google-error.ts';
import { writeAll } from './storage-content.ts';

/** Whole chunks are multiples of this; what exceeds it before the end is not kept. */
const quantum = 256 * 1024;

export const Session = z.object({
  bucket: z.string(),
  name: z.string(),
  metadata: z.record(z.string(), z.json()),
  conditions: z.object({
    generationMatch: z.string().optional(),
    generationNotMatch: z.string().optional(),
    metagenerationMatch: z.string().optional(),
    metagenerationNotMatch: z.string().optional(),
  }),
  /** Generation of the object that it became. */
  finished: z.string().optional(),
});
export type Session = z.infer<typeof Session>;

export type Progress = { state: 'incomplete'; received: number } | { state: 'complete' } | { state: 'finished' };

export class ResumableUploads {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
    mkdirSync(folder, { recursive: true });
  }

  start(session: Session): string {
    const id = randomBytes(24).toString('base64url');
    this.save(id, session);
    writeFileSync(this.content(id), '');
    return id;
  }

  find(id: string): Session {
    const file = join(this.#folder, `${id}.json`);
    if (!/^[\w-]+$/.test(id) || !existsSync(file)) throw new GoogleError('notFound', 'No such upload session.');
    return Session.parse(JSON.parse(readFileSync(file, 'utf8')));
  }

  save(id: string, session: Session): void {
    const file = join(this.#folder, `${id}.json`);
    writeFileSync(`${file}.new`, JSON.stringify(session));
    renameSync(`${file}.new`, file);
  }

  content(id: string): string {
    return join(this.#folder, `${id}.part`);
  }

  cancel(id: string): void {
    rmSync(join(this.#folder, `${id}.json`), { force: true });
    rmSync(this.content(id), { force: true });
  }

  /** Takes a chunk, or answers a question about the state (an asterisk for the bytes). */
  async receive(id: string, session: Session, request: IncomingMessage): Promise<Progress> {
    if (session.finished !== undefined) {
      request.resume();
      return { state: 'finished' };
    }
    const file = this.content(id);
    const had = statSync(file).size;
    const header = request.headers['content-range'];
    // All that is left comes in this one request, however much it is.
    const toTheEnd = header === undefined || header.endsWith('-*/*');
    const range = /^bytes (?:(\d+)-(?:\d+|\*)|\*)\/(\d+|\*)$/.exec(header ?? 'bytes 0-*/*');
    if (!range) throw new GoogleError('invalid', 'Invalid Content-Range');
    const total = range[2] === '*' ? undefined : Number(range[2]);
    if (range[1] === undefined) {
      request.resume();
      return total === had ? { state: 'complete' } : { state: 'incomplete', received: had };
    }
    const start = Number(range[1]);
    // Bytes are missing before this chunk: the answer tells from where to send again.
    if (start > had) {
      request.resume();
      return { state: 'incomplete', received: had };
    }
    const received = await this.#append(file, had, had - start, request);
    const end = total ?? (toTheEnd && request.complete ? received : undefined);
    if (end !== undefined && received > end) throw new GoogleError('invalid', 'More bytes than the total size.');
    if (end === received) return { state: 'complete' };
    const kept = received - (received % quantum);
    if (kept < received) truncate(file, Math.max(kept, 0));
    return { state: 'incomplete', received: kept };
  }

  /** Skips what was received before. A caller that hangs up leaves what has come. */
  async #append(file: string, had: number, skip: number, request: IncomingMessage): Promise<number> {
    let size = had;
    let left = skip;
    const descriptor = openSync(file, 'a');
    try {
      for await (const chunk of request as AsyncIterable<Buffer>) {
        const fresh = left > 0 ? chunk.subarray(left) : chunk;
        left = Math.max(0, left - chunk.length);
        writeAll(descriptor, fresh);
        size += fresh.length;
      }
    } catch {
      // The next status query tells how far it got.
    } finally {
      closeSync(descriptor);
    }
    return size;
  }
}

function truncate(file: string, size: number): void {
  const descriptor = openSync(file, 'r+');
  ftruncateSync(descriptor, size);
  closeSync(descriptor);
}
