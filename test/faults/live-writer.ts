/** A program that writes all the time, where the endpoint record of its service says, and remembers what it was told was written. */
import { randomBytes } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import { statusOf, type Visitor } from '../fence/visitors.ts';

const keys = 4;
const everyMs = 150;

export class LiveWriter {
  /** By key: what was taken last, and what may stand there since then: writes whose answer never came. */
  readonly #written = new Map<string, { text: string; maybe: Set<string> }>();
  readonly #where: () => Promise<Visitor | undefined>;
  #stopped = false;
  readonly #running: Promise<void>;
  /** Writes that were taken. */
  taken = 0;

  constructor(where: () => Promise<Visitor | undefined>) {
    this.#where = where;
    this.#running = this.#write();
  }

  async #write(): Promise<void> {
    for (let n = 0; !this.#stopped; n++) {
      const key = `live/${n % keys}`;
      const text = `${n} ${randomBytes(8).toString('hex')}`;
      const known = this.#written.get(key);
      try {
        const visitor = await this.#where();
        if (visitor) {
          known?.maybe.add(text);
          await visitor.write(key, text);
          this.#written.set(key, { text, maybe: new Set() });
          this.taken++;
        }
      } catch (error) {
        if (statusOf(error) === 403) known?.maybe.delete(text); // it was refused, so it did not happen
      }
      await setTimeout(everyMs);
    }
  }

  /** Ends once so many more writes were taken; false where they were not in time. */
  async writes(more: number, forMs: number): Promise<boolean> {
    const wanted = this.taken + more;
    for (const end = Date.now() + forMs; this.taken < wanted && Date.now() < end; ) await setTimeout(20);
    return this.taken >= wanted;
  }

  stop(): Promise<void> {
    this.#stopped = true;
    return this.#running;
  }

  /** Keys that do not hold what they must. */
  async wrong(read: (key: string) => Promise<string | undefined>): Promise<string[]> {
    const wrong: string[] = [];
    for (const [key, { text, maybe }] of this.#written) {
      const found = await read(key);
      if (found !== text && !maybe.has(found ?? '')) wrong.push(`${key} is ${found ?? 'gone'}, not ${text}`);
    }
    return wrong;
  }
}
