/**
 * Store and forward: what is to be said stays here until a broker has acknowledged it. In memory it survives every loss of the
 * connection and every move; in a file, a power cut besides.
 */
import { appendFileSync, closeSync, existsSync, fsyncSync, openSync, readFileSync, writeSync } from 'node:fs';
import { replaceFile } from './durable.ts';

export class Outbox {
  /** By key, oldest first. */
  readonly #messages = new Map<string, string>();
  readonly #limit: number;
  readonly #journal: Journal | undefined;
  #dropped = 0;

  /** `limit`: messages that it holds; the oldest make room. `file`: where it keeps them, in memory alone where left out. */
  constructor({ limit, file }: { limit: number; file?: string | undefined }) {
    this.#limit = limit;
    this.#journal = file === undefined ? undefined : new Journal(file, this.#messages);
  }

  get size(): number {
    return this.#messages.size;
  }

  /** Messages that had to make room before anybody had acknowledged them. */
  get dropped(): number {
    return this.#dropped;
  }

  add(key: string, text: string): void {
    const [oldest] = this.#messages.keys();
    if (this.#messages.size >= this.#limit && oldest !== undefined) {
      this.#dropped++;
      this.remove(oldest);
    }
    this.#messages.set(key, text);
    this.#journal?.added(key, text);
  }

  /** The oldest that is not under way. */
  next(underWay: ReadonlyMap<string, unknown>): { key: string; text: string } | undefined {
    for (const [key, text] of this.#messages) if (!underWay.has(key)) return { key, text };
    return undefined;
  }

  remove(key: string): void {
    if (this.#messages.delete(key)) this.#journal?.removed(key);
  }
}

/** A line a change: `+<key> <JSON>` is on disk before it returns, `-<key>` may be lost, after which a message is sent twice. */
class Journal {
  readonly #file: string;
  readonly #messages: Map<string, string>;
  #lines = 0;

  constructor(file: string, messages: Map<string, string>) {
    this.#file = file;
    this.#messages = messages;
    const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n') : [];
    // What stands after the last line break is what a power cut has left of a line.
    for (const line of lines.slice(0, -1)) {
      const [key = '', text = ''] = line.slice(1).split(/ (.*)/s, 2);
      if (line.startsWith('+')) messages.set(key, text);
      else messages.delete(key);
    }
    this.#rewrite();
  }

  added(key: string, text: string): void {
    const file = openSync(this.#file, 'a', 0o600);
    try {
      writeSync(file, `+${key} ${text}\n`);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    this.#count();
  }

  removed(key: string): void {
    appendFileSync(this.#file, `-${key}\n`);
    this.#count();
  }

  /** Lines of messages that are gone are no more than as many as there are others, or a thousand. */
  #count(): void {
    if (++this.#lines > 1000 && this.#lines > 2 * this.#messages.size) this.#rewrite();
  }

  #rewrite(): void {
    replaceFile(this.#file, [...this.#messages].map(([key, text]) => `+${key} ${text}\n`).join(''));
    this.#lines = this.#messages.size;
  }
}
