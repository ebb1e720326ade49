/** Checksums of bytes in memory. */
import { createHash } from 'node:crypto';
import { crc32c } from '../../model/crc32c.ts';
import type { Piece } from '../providers/object-store.ts';

export function sha256Of({ chunks }: Piece): string {
  const sum = createHash('sha256');
  for (const chunk of chunks) sum.update(chunk);
  return sum.digest('hex');
}

export const crc32cOf = ({ chunks }: Piece): number => chunks.reduce((crc, chunk) => crc32c(chunk, crc), 0);

/** The bytes from an offset on. */
export function tailOf({ chunks, bytes }: Piece, from: number): Piece {
  let skip = from;
  const tail: Uint8Array[] = [];
  for (const chunk of chunks) {
    if (skip < chunk.length) tail.push(skip > 0 ? chunk.subarray(skip) : chunk);
    skip = Math.max(0, skip - chunk.length);
  }
  return { chunks: tail, bytes: bytes - from };
}
