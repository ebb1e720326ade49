/** The files of a move, in memory. */
import type { Files } from '../../activities/transfer/files.ts';

export function filesInMemory(): Files {
  const all = new Map<string, Uint8Array>();
  const write = async (name: string, bytes: Uint8Array): Promise<void> => void all.set(name, bytes);
  return {
    key: (name) => name,
    list: async (prefix) => [...all.keys()].filter((name) => name.startsWith(prefix)),
    read: async (name) => all.get(name),
    write,
    create: write,
  };
}
