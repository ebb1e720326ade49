/** What the processes of a measurement cost: CPU time and memory, as the kernel counts them, of each with all that it has started. */
import { readdirSync, readFileSync } from 'node:fs';
import { loadavg } from 'node:os';

/** The kernel's ticks a second, on all Linux that Node.js runs on. */
const ticks = 100;

interface Stat {
  parent: number;
  cpuSeconds: number;
}

function statOf(pid: number): Stat | undefined {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ') ?? [];
    return { parent: Number(fields[1]), cpuSeconds: (Number(fields[11]) + Number(fields[12])) / ticks };
  } catch {
    return undefined; // it has ended meanwhile
  }
}

/** CPU seconds by name. */
export function cpuOf(pids: Readonly<Record<string, number>>): Record<string, number> {
  const all = new Map(
    readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .flatMap((name): [number, Stat][] => {
        const stat = statOf(Number(name));
        return stat ? [[Number(name), stat]] : [];
      }),
  );
  const sum = (pid: number): number =>
    (all.get(pid)?.cpuSeconds ?? 0) +
    [...all].filter(([, { parent }]) => parent === pid).reduce((total, [child]) => total + sum(child), 0);
  return Object.fromEntries(Object.entries(pids).map(([name, pid]) => [name, sum(pid)]));
}

/** Resident memory of a process, MB. */
export function memoryOf(pid: number): number {
  try {
    const kB = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    return Math.round(Number(kB ?? 0) / 1024);
  } catch {
    return 0;
  }
}

export const loadNow = (): number => Number((loadavg()[0] ?? 0).toFixed(1));
