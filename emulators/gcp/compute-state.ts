/** What the local Compute Engine remembers: resources and operations by their path (`projects/p/global/networks/n`), in one file that is replaced at each change. */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { JsonObject } from '../../model/service.ts';

export interface Operation {
  /** Path of the operation. */
  path: string;
  /** Path of the resource it works on. */
  target: string;
  type: 'insert' | 'delete' | 'patch' | 'update' | 'setLabels' | 'resize' | 'recreate';
  /** What the caller gave as `requestId`: a repeated request is answered with the same operation. */
  requestId: string | undefined;
  id: string;
  targetId: string;
  /** Epoch milliseconds. */
  startedAt: number;
  doneAt: number;
}

interface Saved {
  resources: Record<string, JsonObject>;
  operations: Record<string, Operation>;
  nextId: number;
}

const operationsKeptMs = 3600 * 1000;

export class ComputeState {
  readonly resources: Map<string, JsonObject>;
  readonly operations: Map<string, Operation>;
  readonly #file: string;
  #nextId: number;

  constructor(folder: string) {
    mkdirSync(folder, { recursive: true });
    this.#file = join(folder, 'compute.json');
    const saved = read(this.#file);
    this.resources = new Map(Object.entries(saved.resources));
    this.operations = new Map(Object.entries(saved.operations));
    this.#nextId = saved.nextId;
  }

  /** 64-bit decimal IDs, as Compute Engine gives them; rising, never used twice. */
  newId(): string {
    return String(4_000_000_000_000_000_000n + BigInt(this.#nextId++) * 1_000_003n);
  }

  /** Called after each change and before its answer: what was answered survives a kill. */
  save(): void {
    const old = Date.now() - operationsKeptMs;
    for (const [path, operation] of this.operations) if (operation.doneAt < old) this.operations.delete(path);
    const saved: Saved = {
      resources: Object.fromEntries(this.resources),
      operations: Object.fromEntries(this.operations),
      nextId: this.#nextId,
    };
    writeFileSync(`${this.#file}.new`, JSON.stringify(saved));
    renameSync(`${this.#file}.new`, this.#file);
  }

  running(target: string, now = Date.now()): Operation | undefined {
    return [...this.operations.values()].find((operation) => operation.target === target && operation.doneAt > now);
  }
}

function read(file: string): Saved {
  if (!existsSync(file)) return { resources: {}, operations: {}, nextId: 1 };
  return JSON.parse(readFileSync(file, 'utf8')) as Saved;
}
