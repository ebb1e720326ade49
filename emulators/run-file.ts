/** `run.json` in the state folder: what runs, for `local down`, for the CLI's default address, and for tests. */
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';

const Identity = z.object({ pid: z.number(), started: z.string() });

export const RunFile = z.object({
  /** The process that supervises the others. */
  supervisor: Identity,
  /** By name: `temporal`, `aws`, `gateway`, `worker`. */
  children: z.record(z.string(), Identity),
  /** False while it starts. */
  ready: z.boolean(),
  temporal: z.object({ address: z.string(), namespace: z.string(), ui: z.string(), metrics: z.string() }),
  /** The connection map that makes a process see the local clouds. */
  network: z.string(),
  /** Address of the gateway's control API. */
  control: z.string(),
  /** The settings file of the workers. */
  settings: z.string(),
  /** Key file of the payload codec, where histories are encrypted. */
  codecKeys: z.string().optional(),
  /** Name servers of the local clouds, UDP and TCP, by cloud. */
  dns: z.record(z.string(), z.string()).default({}),
  /** Names and values of the credentials that the local clouds know. */
  credentials: z.record(z.string(), z.string()),
  /** Accounts that exist, by cloud. */
  accounts: z.record(z.string(), z.string()),
  /** Public keys of those who may redirect devices: the one in use, and the next. */
  redirectPins: z.tuple([z.string(), z.string()]).optional(),
  estateFile: z.string(),
  logs: z.string(),
});
export type RunFile = z.infer<typeof RunFile>;

const fileIn = (state: string): string => join(state, 'run.json');

export function readRunFile(state: string): RunFile | undefined {
  const file = fileIn(state);
  if (!existsSync(file)) return undefined;
  const parsed = RunFile.safeParse(JSON.parse(readFileSync(file, 'utf8')));
  return parsed.success ? parsed.data : undefined;
}

export function writeRunFile(state: string, run: RunFile): void {
  const file = fileIn(state);
  writeFileSync(`${file}.new`, `${JSON.stringify(run, null, 2)}\n`, { mode: 0o600 });
  renameSync(`${file}.new`, file);
}

export function dropRunFile(state: string): void {
  rmSync(fileIn(state), { force: true });
}
