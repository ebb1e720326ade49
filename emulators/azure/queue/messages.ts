/** The messages of storage queues: kept in a journal a queue until they are deleted, hidden for a while from others by whoever gets them. */
import { createHash, randomUUID } from 'node:crypto';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { Json } from '../../../model/service.ts';
import { Journal } from '../../journal.ts';

const Kept = z.object({ id: z.string(), text: z.string(), inserted: z.number(), expires: z.number() });
const Line = z.union([z.object({ put: Kept }), z.object({ gone: z.string() })]);

export interface Message extends z.infer<typeof Kept> {
  /** Epoch, milliseconds. */
  visible: number;
  receipt: string;
  dequeued: number;
}

class Queue {
  readonly #file: string;
  readonly #journal: Journal;
  readonly #messages = new Map<string, Message>();
  #gone = 0;

  constructor(file: string) {
    this.#file = file;
    this.#journal = new Journal(file, (line) => {
      const entry = Line.parse(line);
      if ('put' in entry) this.#keep(entry.put);
      else this.#messages.delete(entry.gone);
    });
  }

  /** Those that nobody else has, or is to have. */
  get size(): number {
    this.#expire();
    return this.#messages.size;
  }

  put(text: string, ttlSeconds: number): Message {
    const inserted = Date.now();
    const put = { id: randomUUID(), text, inserted, expires: inserted + ttlSeconds * 1000 };
    this.#journal.append({ put });
    return this.#keep(put);
  }

  get(max: number, hiddenSeconds: number): Message[] {
    this.#expire();
    const now = Date.now();
    const taken: Message[] = [];
    for (const message of this.#messages.values()) {
      if (taken.length === max) break;
      if (message.visible > now) continue;
      message.visible = now + hiddenSeconds * 1000;
      message.receipt = randomUUID();
      message.dequeued++;
      taken.push(message);
    }
    return taken;
  }

  /** `undefined` where there is no such message, false where somebody else has got it since. */
  delete(id: string, receipt: string): boolean | undefined {
    const message = this.#messages.get(id);
    if (!message) return undefined;
    if (message.receipt !== receipt) return false;
    this.#drop(id);
    return true;
  }

  remove(): void {
    this.#journal.close();
    rmSync(this.#file, { force: true });
  }

  #keep(put: z.infer<typeof Kept>): Message {
    const message = { ...put, visible: put.inserted, receipt: randomUUID(), dequeued: 0 };
    this.#messages.set(put.id, message);
    return message;
  }

  #drop(id: string): void {
    this.#journal.append({ gone: id });
    this.#messages.delete(id);
    if (++this.#gone < 10_000 || this.#gone < this.#messages.size) return;
    const left = [...this.#messages.values()].map((message): Json => ({ put: Kept.parse(message) }));
    this.#journal.rewrite(left);
    this.#gone = 0;
  }

  #expire(): void {
    const now = Date.now();
    // In the order in which they came; all of a queue live about as long.
    for (const { id, expires } of this.#messages.values()) {
      if (expires > now) break;
      this.#drop(id);
    }
  }
}

export class Queues {
  readonly #folder: string;
  readonly #queues = new Map<string, Queue>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** By the ARM ID of a queue that exists. */
  of(id: string): Queue {
    const key = id.toLowerCase();
    const known = this.#queues.get(key);
    if (known) return known;
    const name = createHash('sha256').update(key).digest('hex').slice(0, 32);
    const queue = new Queue(join(this.#folder, `${name}.log`));
    this.#queues.set(key, queue);
    return queue;
  }

  remove(id: string): void {
    this.of(id).remove();
    this.#queues.delete(id.toLowerCase());
  }
}
