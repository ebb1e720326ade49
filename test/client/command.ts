/** Runs the command line as its users do: a process of its own, without a terminal. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';

const root = join(import.meta.dirname, '../..');

export interface Ended {
  code: number;
  out: string;
  err: string;
}

/** `inherited` is added to an environment that names no Temporal and no state folder with one. */
export function multiCloud(args: readonly string[], inherited: Record<string, string> = {}): Promise<Ended> {
  const env = {
    PATH: process.env.PATH,
    HOME: process.env.HOME,
    USER: 'ann',
    NO_COLOR: '1',
    NODE_COMPILE_CACHE: join(root, '.local/compile-cache'),
    MULTI_CLOUD_STATE: join(root, '.local/no-such-state'),
    ...inherited,
  };
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      ['--disable-warning=ExperimentalWarning', join(root, 'client/cli/main.ts'), ...args],
      { cwd: root, env, maxBuffer: 1 << 24 },
      (_, out, err) => resolve({ code: child.exitCode ?? -1, out, err }),
    );
    child.stdin?.end();
  });
}

export const lines = (text: string): string[] => text.trimEnd().split('\n');
export const jsonLines = (text: string): Record<string, unknown>[] => lines(text).map((line) => JSON.parse(line));
