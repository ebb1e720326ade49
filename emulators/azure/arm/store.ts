/** All that was made through ARM, in memory and in an append-only journal that outlives a kill. */
import { appendFileSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Stored } from './kind.ts';
import { keyOf } from './resource-id.ts';

/** An operation that somebody may ask for after the change that started it. */
export interface Operation {
  id: string;
  resource: string;
  until: number;
  deletes: boolean;
}

type Line = { put: Stored } | { remove: string } | { operation: Operation } | { held: string; until: number };

const keptMs = 24 * 3_600_000;

export class ArmStore {
  readonly #resources = new Map<string, Stored>();
  readonly #operations = new Map<string, Operation>();
  readonly #held = new Map<string, number>();
  readonly #file: string;

  constructor(folder: string) {
    mkdirSync(folder, { recursive: true });
    this.#file = join(folder, 'arm.jsonl');
    if (existsSync(this.#file)) for (const line of readFileSync(this.#file, 'utf8').split('\n')) this.#replay(line);
    this.#compact();
  }

  get(id: string): Stored | undefined {
    return this.#resources.get(keyOf(id));
  }

  *list(type: string): Generator<Stored> {
    const wanted = type.toLowerCase();
    for (const stored of this.#resources.values()) if (stored.type?.toLowerCase() === wanted) yield stored;
  }

  all(): Stored[] {
    return [...this.#resources.values()];
  }

  put(stored: Stored): void {
    this.#write({ put: stored });
  }

  remove(id: string): void {
    this.#write({ remove: id });
  }

  operation(id: string): Operation | undefined {
    return this.#operations.get(id);
  }

  addOperation(operation: Operation): void {
    this.#write({ operation });
  }

  hold(name: string, until: number): void {
    this.#write({ held: name.toLowerCase(), until });
  }

  isHeld(name: string): boolean {
    return (this.#held.get(name.toLowerCase()) ?? 0) > Date.now();
  }

  #write(line: Line): void {
    appendFileSync(this.#file, `${JSON.stringify(line)}\n`);
    this.#apply(line);
  }

  /** A line that a kill has torn was never answered. */
  #replay(text: string): void {
    if (!text) return;
    try {
      this.#apply(JSON.parse(text) as Line);
    } catch {
      process.stderr.write('ARM journal: a torn line was left out\n');
    }
  }

  #apply(line: Line): void {
    if ('put' in line) this.#resources.set(keyOf(line.put.id), line.put);
    else if ('remove' in line) this.#resources.delete(keyOf(line.remove));
    else if ('operation' in line) this.#operations.set(line.operation.id, line.operation);
    else this.#held.set(line.held, line.until);
  }

  #compact(): void {
    const recent = Date.now() - keptMs;
    const lines: Line[] = [
      ...this.all().map((put) => ({ put })),
      ...[...this.#operations.values()].filter(({ until }) => until > recent).map((operation) => ({ operation })),
      ...[...this.#held].filter(([, until]) => until > Date.now()).map(([held, until]) => ({ held, until })),
    ];
    writeFileSync(`${this.#file}.new`, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
    renameSync(`${this.#file}.new`, this.#file);
  }
}
