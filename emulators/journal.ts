/**
 * An append-only log of JSON lines. A line is written before its change is answered; one that a kill cut short was never
 * answered, and is dropped when the log is read.
 */
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import type { Json } from '../model/service.ts';

export class Journal {
  readonly #file: string;
  #descriptor: number;

  /** Reads what is there; `replay` is called for each line. */
  constructor(file: string, replay: (entry: Json) => void) {
    mkdirSync(dirname(file), { recursive: true });
    this.#file = file;
    if (existsSync(file)) {
      const text = readFileSync(file, 'utf8');
      const end = text.lastIndexOf('\n') + 1;
      for (const line of text.slice(0, end).split('\n')) if (line) replay(JSON.parse(line) as Json);
      if (end < text.length) writeFileSync(file, text.slice(0, end));
    }
    this.#descriptor = openSync(file, 'a');
  }

  append(...entries: Json[]): void {
    let text = '';
    for (const entry of entries) text += `${JSON.stringify(entry)}\n`;
    writeSync(this.#descriptor, text);
  }

  /** Replaces the log by one that says the same in fewer lines. */
  rewrite(entries: Iterable<Json>): void {
    let text = '';
    for (const entry of entries) text += `${JSON.stringify(entry)}\n`;
    writeFileSync(`${this.#file}.new`, text);
    renameSync(`${this.#file}.new`, this.#file);
    closeSync(this.#descriptor);
    this.#descriptor = openSync(this.#file, 'a');
  }

  close(): void {
    closeSync(this.#descriptor);
  }
}
