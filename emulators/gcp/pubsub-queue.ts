/** The messages of one subscription: kept in a journal until they are acknowledged, leased to those who pull them. */
import { rmSync } from 'node:fs';
import { z } from 'zod';
import type { Json, JsonObject } from '../../model/service.ts';
import { Journal } from '../journal.ts';

export const Message = z.object({
  messageId: z.string(),
  publishTime: z.string(),
  data: z.string().optional(),
  attributes: z.record(z.string(), z.string()).optional(),
  orderingKey: z.string().optional(),
});
export type Message = z.infer<typeof Message>;

const Line = z.union([z.object({ m: Message }), z.object({ a: z.array(z.string()) })]);

interface Entry {
  message: Message;
  sequence: number;
  attempts: number;
  /** While it is leased. */
  leasedUntil: number | undefined;
  /** Not delivered again before. */
  notBefore: number;
}

export interface QueueRules {
  ackDeadlineMs: number;
  retentionMs: number;
  ordered: boolean;
  /** Waits between two deliveries of a message; undefined: at once. */
  backoff: { minimumMs: number; maximumMs: number } | undefined;
  /** How often a message is delivered before it goes to the dead letter topic. */
  maxAttempts: number | undefined;
}

export class Queue {
  rules: QueueRules;
  readonly #file: string;
  readonly #journal: Journal;
  readonly #deadLetter: (message: Message, attempts: number) => void;
  readonly #outstanding = new Map<string, Entry>();
  readonly #leased = new Set<Entry>();
  /** Delivered before, or held back for the order of their key; by sequence. */
  #again: Entry[] = [];
  #fresh: Entry[] = [];
  #freshAt = 0;
  #sequence = 0;
  #acknowledged = 0;
  readonly #waiting = new Set<() => void>();

  constructor(file: string, rules: QueueRules, deadLetter: (message: Message, attempts: number) => void) {
    this.#file = file;
    this.rules = rules;
    this.#deadLetter = deadLetter;
    this.#journal = new Journal(file, (line) => {
      const entry = Line.parse(line);
      if ('m' in entry) this.#add(entry.m);
      else for (const id of entry.a) this.#outstanding.delete(id);
    });
    this.#fresh = this.#fresh.filter((entry) => this.#isOutstanding(entry));
    this.#compact();
  }

  get size(): number {
    return this.#outstanding.size;
  }

  publish(messages: readonly Message[]): void {
    if (messages.length === 0) return;
    this.#journal.append(...messages.map((message): Json => ({ m: message as JsonObject })));
    for (const message of messages) this.#add(message);
    this.#wake();
  }

  /** At most `max` messages, each with the ID under which this delivery is acknowledged. */
  pull(max: number): { ackId: string; message: Message; attempts: number }[] {
    const now = Date.now();
    this.#expire(now);
    const taken: Entry[] = [];
    const skipped: Entry[] = [];
    const before = new Set(this.rules.ordered ? [...this.#leased].map(({ message }) => message.orderingKey) : []);
    const heldKeys = new Set<string>();
    const consider = (entry: Entry): void => {
      const key = this.rules.ordered ? entry.message.orderingKey : undefined;
      const held = key ? before.has(key) || heldKeys.has(key) : false;
      if (held || entry.notBefore > now) {
        if (key) heldKeys.add(key);
        skipped.push(entry);
      } else taken.push(entry);
    };
    let next = 0;
    while (taken.length < max && next < this.#again.length) {
      const entry = this.#again[next++];
      if (entry && this.#isOutstanding(entry)) consider(entry);
    }
    const rest = this.#again.slice(next);
    while (taken.length < max && this.#freshAt < this.#fresh.length) {
      const entry = this.#fresh[this.#freshAt++];
      if (entry && this.#isOutstanding(entry)) consider(entry);
    }
    if (this.#freshAt > 10_000) {
      this.#fresh = this.#fresh.slice(this.#freshAt);
      this.#freshAt = 0;
    }
    this.#again = [...skipped, ...rest].sort((a, b) => a.sequence - b.sequence);
    for (const entry of taken) {
      entry.attempts++;
      entry.leasedUntil = now + this.rules.ackDeadlineMs;
      this.#leased.add(entry);
    }
    return taken.map((entry) => ({
      ackId: Buffer.from(`${entry.message.messageId}:${entry.attempts}`).toString('base64url'),
      message: entry.message,
      attempts: entry.attempts,
    }));
  }

  /** Resolves when there may be something to pull, or after that time. */
  async wait(ms: number, signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(done);
        signal.removeEventListener('abort', done);
        resolve();
      };
      // Leases end and back-offs pass without anybody saying so.
      const timer = setTimeout(done, Math.min(ms, this.#outstanding.size > 0 ? 100 : ms));
      this.#waiting.add(done);
      signal.addEventListener('abort', done, { once: true });
      if (signal.aborted) done();
    });
  }

  acknowledge(ackIds: readonly string[]): void {
    const ids = ackIds.map(messageOf).filter((id) => this.#outstanding.has(id));
    if (ids.length === 0) return;
    this.#journal.append({ a: ids });
    for (const id of ids) {
      const entry = this.#outstanding.get(id);
      this.#outstanding.delete(id);
      if (entry) this.#leased.delete(entry);
    }
    this.#acknowledged += ids.length;
    this.#compact();
    this.#wake();
  }

  /** New deadline from now on; 0 gives the message back. */
  modifyDeadline(ackIds: readonly string[], seconds: number): void {
    const now = Date.now();
    for (const id of ackIds.map(messageOf)) {
      const entry = this.#outstanding.get(id);
      if (entry && this.#leased.has(entry)) entry.leasedUntil = now + seconds * 1000;
    }
    this.#expire(now);
    this.#wake();
  }

  close(): void {
    this.#journal.close();
    this.#wake();
  }

  remove(): void {
    this.close();
    rmSync(this.#file, { force: true });
  }

  #isOutstanding(entry: Entry): boolean {
    return this.#outstanding.get(entry.message.messageId) === entry;
  }

  #add(message: Message): void {
    const entry: Entry = { message, sequence: this.#sequence++, attempts: 0, leasedUntil: undefined, notBefore: 0 };
    this.#outstanding.set(message.messageId, entry);
    this.#fresh.push(entry);
  }

  #expire(now: number): void {
    const { backoff, maxAttempts, retentionMs } = this.rules;
    const back: Entry[] = [];
    for (const entry of this.#leased) {
      if ((entry.leasedUntil ?? 0) > now) continue;
      this.#leased.delete(entry);
      entry.leasedUntil = undefined;
      if (maxAttempts !== undefined && entry.attempts >= maxAttempts) {
        this.#drop([entry]);
        this.#deadLetter(entry.message, entry.attempts);
        continue;
      }
      if (backoff) entry.notBefore = now + Math.min(backoff.minimumMs * 2 ** (entry.attempts - 1), backoff.maximumMs);
      back.push(entry);
    }
    if (back.length > 0) this.#again = [...this.#again, ...back].sort((a, b) => a.sequence - b.sequence);
    const old: Entry[] = [];
    for (const entry of this.#outstanding.values()) {
      if (Date.parse(entry.message.publishTime) > now - retentionMs) break;
      old.push(entry);
    }
    this.#drop(old);
  }

  #drop(entries: readonly Entry[]): void {
    if (entries.length === 0) return;
    this.#journal.append({ a: entries.map(({ message }) => message.messageId) });
    for (const entry of entries) {
      this.#outstanding.delete(entry.message.messageId);
      this.#leased.delete(entry);
    }
  }

  #compact(): void {
    if (this.#acknowledged < 10_000 || this.#acknowledged < this.#outstanding.size) return;
    this.#journal.rewrite([...this.#outstanding.values()].map(({ message }): Json => ({ m: message as JsonObject })));
    this.#acknowledged = 0;
  }

  #wake(): void {
    for (const done of [...this.#waiting]) done();
  }
}

const messageOf = (ackId: string): string => Buffer.from(ackId, 'base64url').toString('utf8').split(':')[0] ?? '';
