/** Tells whether a process ID still means the process that it meant when it was written down: IDs are used again. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';

/** When the process started, in a form that only equality is asked of; undefined when there is none, or it is a zombie. */
export function startOf(pid: number): string | undefined {
  if (existsSync('/proc/self/stat')) {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
      // The name in parentheses may hold blanks: count fields after it. State is field 3, start time field 22.
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      return fields[0] === 'Z' ? undefined : fields[19];
    } catch {
      return undefined;
    }
  }
  try {
    return execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' }).trim() || undefined;
  } catch {
    return undefined;
  }
}

export interface Identity {
  pid: number;
  started: string;
}

export function isAlive({ pid, started }: Identity): boolean {
  return startOf(pid) === started;
}

/** Signals a process and what it started, unless the ID means another one by now. */
export function signalGroup(identity: Identity, signal: NodeJS.Signals): void {
  if (!isAlive(identity)) return;
  try {
    process.kill(-identity.pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Asks all of them to end, and after `graceMs` makes them. */
export async function endAll(identities: readonly Identity[], graceMs: number): Promise<void> {
  for (const identity of identities) signalGroup(identity, 'SIGTERM');
  const deadline = Date.now() + graceMs;
  while (identities.some(isAlive) && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 25));
  for (const identity of identities) signalGroup(identity, 'SIGKILL');
}
