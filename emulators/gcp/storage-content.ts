/** Bytes on their way in: hashed as they come, in memory while they are few, then in a file. */
import { createHash } from 'node:crypto';
import { closeSync, mkdirSync, openSync, readSync, renameSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { crc32c, crc32cText } from '../../model/crc32c.ts';

/** Up to here bytes stay in memory, and become a file in one call. */
const inMemory = 1024 * 1024;

export interface Digest {
  size: number;
  /** Base64. */
  md5: string;
  crc32c: string;
}

export class Content {
  #size = 0;
  #crc = 0;
  readonly #md5 = createHash('md5');
  #chunks: Buffer[] = [];
  #descriptor: number | undefined;
  readonly #spill: string;

  /** `spill`: where to keep it when it grows. */
  constructor(spill: string) {
    this.#spill = spill;
  }

  get size(): number {
    return this.#size;
  }

  write(chunk: Buffer): void {
    this.#size += chunk.length;
    this.#crc = crc32c(chunk, this.#crc);
    this.#md5.update(chunk);
    if (this.#descriptor !== undefined) {
      writeAll(this.#descriptor, chunk);
      return;
    }
    this.#chunks.push(chunk);
    if (this.#size <= inMemory) return;
    mkdirSync(dirname(this.#spill), { recursive: true });
    this.#descriptor = openSync(this.#spill, 'w');
    for (const kept of this.#chunks) writeAll(this.#descriptor, kept);
    this.#chunks = [];
  }

  /** Once all is written. */
  digest(): Digest {
    return { size: this.#size, md5: this.#md5.digest('base64'), crc32c: crc32cText(this.#crc) };
  }

  /** Becomes that file, complete in one step. Its folder exists. */
  store(file: string): void {
    if (this.#descriptor === undefined) {
      // Nothing names this file yet, so a kill in the middle leaves only waste.
      writeFileSync(file, this.#chunks.length === 1 ? (this.#chunks[0] ?? '') : Buffer.concat(this.#chunks));
      return;
    }
    closeSync(this.#descriptor);
    this.#descriptor = undefined;
    renameSync(this.#spill, file);
  }

  discard(): void {
    if (this.#descriptor === undefined) return;
    closeSync(this.#descriptor);
    this.#descriptor = undefined;
    rmSync(this.#spill, { force: true });
  }
}

/** A write to a file may take less than it was given. */
export function writeAll(descriptor: number, chunk: Buffer): void {
  for (let at = 0; at < chunk.length; ) at += writeSync(descriptor, chunk, at);
}

/** Calls `visit` with the content of a file, piece by piece. The piece is valid during the call only. */
export function eachPiece(file: string, visit: (piece: Buffer) => void): void {
  const descriptor = openSync(file, 'r');
  try {
    for (;;) {
      const piece = Buffer.allocUnsafe(256 * 1024);
      const length = readSync(descriptor, piece);
      if (length === 0) return;
      visit(piece.subarray(0, length));
    }
  } finally {
    closeSync(descriptor);
  }
}
