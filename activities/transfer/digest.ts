/** Checksums of bytes in memory. */
import { createHash } from 'node:crypto';
import type { Piece } from '../providers/object-store.ts';

export function sha256Of({ chunks }: Piece): string {
  const sum = createHash('sha256');
  for (const chunk of chunks) sum.update(chunk);
  return sum.digest('hex');
}
