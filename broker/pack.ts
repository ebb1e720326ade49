/**
 * Makes the broker's artifact: one bundled file in a tarball that is the same, byte for byte, whenever the same sources and
 * dependencies are packed, so that its SHA-256 is its identity. `node broker/pack.ts` writes to `.local/broker/`.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { create } from 'tar';

const root = join(import.meta.dirname, '..');

export interface Artifact {
  /** Path of the tarball. */
  file: string;
  /** Of the tarball, hex. */
  sha256: string;
}

export async function packBroker(folder = join(root, '.local/broker')): Promise<Artifact> {
  mkdirSync(folder, { recursive: true });
  const work = mkdtempSync(join(folder, 'pack-'));
  try {
    await build({
      entryPoints: [join(root, 'broker/main.ts')],
      outfile: join(work, 'broker.cjs'),
      bundle: true,
      platform: 'node',
      target: 'node20',
      format: 'cjs',
      minify: true,
      legalComments: 'eof',
      logLevel: 'error',
    });
    utimesSync(join(work, 'broker.cjs'), 0, 0);
    const chunks: Buffer[] = [];
    for await (const chunk of create({ cwd: work, portable: true, mtime: new Date(0) }, ['broker.cjs']))
      chunks.push(Buffer.from(chunk));
    // Compressed here: a gzip header would otherwise hold the time of packing.
    const bytes = gzipSync(Buffer.concat(chunks), { level: 9 });
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    const file = join(folder, 'broker.tar.gz');
    writeFileSync(`${file}.${process.pid}`, bytes);
    renameSync(`${file}.${process.pid}`, file);
    writeFileSync(`${file}.sha256`, `${sha256}\n`);
    return { file, sha256 };
  } finally {
    rmSync(work, { recursive: true });
  }
}

if (import.meta.main) {
  const { file, sha256 } = await packBroker();
  process.stdout.write(`${file} ${sha256}\n`);
}
