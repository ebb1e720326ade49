/** The stored messages of all event hubs: which partition takes a message, who waits for the next one, how long they are kept. */
import { createHash } from 'node:crypto';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import rhea, { type Message } from 'rhea';
import type { EventHub } from './entities.ts';
import { type Entry, PartitionLog } from './partition-log.ts';

/** An AMQP message as rhea decodes and encodes it. */
export type StreamMessage = Partial<Message> & Pick<Message, 'body'>;

export class Streams {
  readonly #folder: string;
  readonly #logs = new Map<string, PartitionLog>();
  readonly #waiting = new Map<string, Set<() => void>>();
  readonly #roundRobin = new Map<string, number>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  log(hub: EventHub, partition: number): PartitionLog {
    const key = `${hub.id}/${partition}`;
    let log = this.#logs.get(key);
    if (!log) {
      mkdirSync(join(this.#folder, hub.id), { recursive: true });
      log = new PartitionLog(join(this.#folder, hub.id, `${partition}.log`));
      this.#logs.set(key, log);
    }
    log.expire(Date.now() - hub.retentionMs);
    return log;
  }

  /** To one partition: the given one, else the one that the key falls into, else each in turn. Durable when it returns. */
  append(
    hub: EventHub,
    messages: readonly StreamMessage[],
    target: { partition?: number; key?: string | undefined },
  ): void {
    const partition = target.partition ?? this.#choose(hub, target.key);
    const log = this.log(hub, partition);
    for (const message of messages)
      log.append(({ sequence, offset, enqueuedMs }) =>
        rhea.message.encode({
          ...message,
          message_annotations: {
            ...message.message_annotations,
            ...(target.key === undefined ? {} : { 'x-opt-partition-key': target.key }),
            'x-opt-sequence-number': rhea.types.wrap_long(sequence),
            'x-opt-offset': String(offset),
            'x-opt-enqueued-time': rhea.types.wrap_timestamp(enqueuedMs),
          },
        }),
      );
    for (const wake of this.#waiting.get(`${hub.id}/${partition}`) ?? []) wake();
  }

  read(hub: EventHub, partition: number, entry: Entry): Buffer {
    return this.log(hub, partition).read(entry);
  }

  /** Calls back at each new message until the returned function is called. */
  watch(hub: EventHub, partition: number, wake: () => void): () => void {
    const key = `${hub.id}/${partition}`;
    const waiting = this.#waiting.get(key) ?? new Set();
    this.#waiting.set(key, waiting.add(wake));
    return () => waiting.delete(wake);
  }

  /** Of a deleted event hub. */
  drop(id: string): void {
    for (const [key, log] of this.#logs)
      if (key.startsWith(`${id}/`)) {
        log.close();
        this.#logs.delete(key);
      }
    rmSync(join(this.#folder, id), { recursive: true, force: true });
  }

  close(): void {
    for (const log of this.#logs.values()) log.close();
    this.#logs.clear();
  }

  #choose(hub: EventHub, key: string | undefined): number {
    if (key !== undefined) return createHash('sha256').update(key).digest().readUInt32BE() % hub.partitions;
    const turn = this.#roundRobin.get(hub.id) ?? 0;
    this.#roundRobin.set(hub.id, turn + 1);
    return turn % hub.partitions;
  }
}
