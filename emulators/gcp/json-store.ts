/** A map kept in one JSON file. Each change writes a new file that takes the old one's place: a kill leaves one or the other. */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { z } from 'zod';

export class JsonStore<T> {
  readonly items: Map<string, T>;
  readonly #file: string;

  constructor(file: string, schema: z.ZodType<T>) {
    mkdirSync(dirname(file), { recursive: true });
    this.#file = file;
    this.items = new Map(Object.entries(z.record(z.string(), schema).parse(read(file))));
  }

  set(key: string, value: T): void {
    this.items.set(key, value);
    this.save();
  }

  delete(key: string): void {
    if (this.items.delete(key)) this.save();
  }

  /** After a value was changed in place. */
  save(): void {
    writeFileSync(`${this.#file}.new`, JSON.stringify(Object.fromEntries(this.items)), { mode: 0o600 });
    renameSync(`${this.#file}.new`, this.#file);
  }
}

function read(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return {};
    throw error;
  }
}
