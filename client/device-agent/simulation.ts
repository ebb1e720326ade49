/** Many devices of the sample agent, in a few processes, and what has become of them. */
import { type ChildProcess, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { AgentsFile, DeviceEvent } from './run.ts';

/** Devices of one process: each takes about 0.3 MB, and a processor's time for its TLS handshake. */
const devicesPerProcess = 250;

export interface SimulationCounts {
  devices: number;
  /** Connected now, by host. */
  connected: Record<string, number>;
  acknowledged: number;
  /** Redirects that were refused, by reason. */
  refused: Record<string, number>;
  /** Devices that have gone to another place and are well there; that have come back from one where they were not. */
  moved: number;
  returned: number;
  /** Longest time that a device was without an acknowledgement, milliseconds: of the median device, of the 99th of a hundred. */
  silence: { p50: number; p99: number };
}

export class Simulation {
  readonly #children: ChildProcess[] = [];
  readonly #ended: Promise<number>[] = [];
  readonly #hosts = new Map<string, string>();
  readonly #refused: Record<string, number> = {};
  /** By device: when something was acknowledged last, and the longest time before which that was. */
  readonly #heard = new Map<string, { at: number; longest: number }>();
  readonly #devices: number;
  #acknowledged = 0;
  #moved = 0;
  #returned = 0;

  /**
   * Starts the devices. `folder`: where the processes find what they are to run. `flags` and `env`: of Node.js. `startsPerSecond`
   * is divided among the processes.
   */
  constructor({
    file,
    folder,
    flags,
    env,
  }: {
    file: AgentsFile;
    folder: string;
    flags: readonly string[];
    env: NodeJS.ProcessEnv;
  }) {
    this.#devices = file.agents.length;
    const processes = Math.ceil(file.agents.length / devicesPerProcess);
    for (let index = 0; index < processes; index++) {
      const path = join(folder, `agents-${index}.json`);
      const part = {
        ...file,
        agents: file.agents.filter((_, at) => at % processes === index),
        startsPerSecond: file.startsPerSecond / processes,
      };
      writeFileSync(path, JSON.stringify(part), { mode: 0o600 });
      const program = join(import.meta.dirname, 'main.ts');
      const child = spawn(process.execPath, [...flags, program, path], { env, stdio: ['ignore', 'pipe', 'inherit'] });
      this.#children.push(child);
      createInterface({ input: child.stdout }).on('line', (line) => this.#hear(JSON.parse(line)));
      this.#ended.push(
        new Promise((resolve) => {
          child.on('error', () => resolve(1));
          child.on('close', (code) => resolve(code ?? 1));
        }),
      );
    }
  }

  /** Devices that got something acknowledged. */
  get heard(): number {
    return this.#heard.size;
  }

  /** Resolves when all have ended: with 0, or the exit code of one that did not end well. */
  async ended(): Promise<number> {
    return Math.max(...(await Promise.all(this.#ended)));
  }

  stop(): void {
    for (const child of this.#children) child.kill('SIGTERM');
  }

  counts(): SimulationCounts {
    const connected: Record<string, number> = {};
    for (const host of this.#hosts.values()) connected[host] = (connected[host] ?? 0) + 1;
    const longest = [...this.#heard.values()].map((one) => one.longest).sort((a, b) => a - b);
    const part = (share: number): number => longest[Math.max(0, Math.ceil(longest.length * share) - 1)] ?? 0;
    return {
      devices: this.#devices,
      connected,
      acknowledged: this.#acknowledged,
      refused: this.#refused,
      moved: this.#moved,
      returned: this.#returned,
      silence: { p50: part(0.5), p99: part(0.99) },
    };
  }

  #hear(event: DeviceEvent): void {
    const { device, at } = event;
    switch (event.event) {
      case 'connected':
        this.#hosts.set(device, event.host);
        break;
      case 'closed':
        this.#hosts.delete(device);
        break;
      case 'refused':
        this.#refused[event.reason] = (this.#refused[event.reason] ?? 0) + 1;
        break;
      case 'settled':
        this.#moved++;
        break;
      case 'returning':
        this.#returned++;
        break;
      case 'acknowledged': {
        this.#acknowledged++;
        const last = this.#heard.get(device);
        this.#heard.set(device, { at, longest: Math.max(last?.longest ?? 0, at - (last?.at ?? at)) });
      }
    }
  }
}
