/** A worker as it runs in production: a process of its own, which a test may kill. */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ProviderPool } from '../../activities/providers/pool.ts';
import { WorkerSettings } from '../../workers/settings.ts';
import { localRun } from '../local/stack.ts';

const root = join(import.meta.dirname, '../..');

/** Writes a worker's settings beside its estate file: those of the local stack, but for what is given. */
export function writeSettings(folder: string, given: Partial<WorkerSettings> & { estateFile: string }): string {
  const file = join(folder, 'worker.json');
  const local = WorkerSettings.parse(JSON.parse(readFileSync(localRun().settings, 'utf8')));
  writeFileSync(file, JSON.stringify({ ...local, ...given }));
  return file;
}

/** Resolves once it serves its queues: of all roles, or of these. */
export async function startWorker(
  settings: string,
  env: NodeJS.ProcessEnv = {},
  roles: readonly string[] = [],
): Promise<ChildProcess> {
  const child = spawn(process.execPath, ['workers/main.ts', ...roles.flatMap((role) => ['--role', role])], {
    cwd: root,
    env: { ...process.env, ...env, MULTI_CLOUD_SETTINGS: settings },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  await new Promise<void>((resolve, reject) => {
    child.stdout.on('data', (chunk: Buffer) => /^ready /m.test(chunk.toString()) && resolve());
    child.once('exit', (code) => reject(new Error(`the worker ended before it was ready: exit code ${code}`)));
  });
  return child;
}

/** The clouds as the test itself sees them. */
export const testPool = (estateFile: string): ProviderPool =>
  new ProviderPool({ estateFile, pollMs: 30, callDeadlineMs: 20_000, secrets: () => process.env });
