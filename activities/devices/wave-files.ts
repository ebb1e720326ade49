/** The files of one wave: who goes, and who has not arrived. */
import { z } from 'zod';
import { shardDevices } from '../../model/fleet.ts';
import { type Files, fromLines, LineFiles, ordinal, toLines } from '../transfer/files.ts';
import { batches } from './files.ts';

const Line = z.object({ id: z.string() });
const idsOf = (bytes: Uint8Array | undefined): string[] =>
  bytes ? fromLines(bytes).map((line) => Line.parse(line).id) : [];

export function waveFiles(files: Files, wave: number) {
  const folder = `waves/${ordinal(wave)}/`;
  const file = (shard: number): string => `${folder}${ordinal(shard)}.jsonl`;
  return {
    folder,
    of: async (shard: number): Promise<string[]> => idsOf(await files.read(file(shard))),
    /** Tells how many files there are. */
    async write(ids: readonly string[]): Promise<number> {
      const shards = batches(ids, shardDevices);
      for (const [shard, some] of shards.entries()) await files.write(file(shard), toLines(some.map((id) => ({ id }))));
      return shards.length;
    },
  };
}

/** Devices that all files under a prefix name, which is a key in the bucket. */
export async function idsIn(files: Files, prefix: string): Promise<string[]> {
  const name = prefix.startsWith(files.key('')) ? prefix.slice(files.key('').length) : prefix;
  const found = await Promise.all((await files.list(name)).map((file) => files.read(file)));
  return found.flatMap(idsOf);
}

/** Names devices under a prefix; returns its key, or '' where there are none. */
export async function nameDevices(files: Files, prefix: string, ids: readonly string[]): Promise<string> {
  const lines = new LineFiles(files, prefix);
  for (const id of ids) await lines.add({ id });
  await lines.flush();
  return lines.key;
}
