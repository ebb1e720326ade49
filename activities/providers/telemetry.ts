/**
 * The telemetry stream of an `iot_core` placement, for whoever pumps it into another one. It is read by a follower of our own,
 * which stands beside the placement for a time: who else reads the stream misses nothing.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { JsonObject, Placement, ResourceSpec } from '../../model/service.ts';
import type { TelemetryFollowerActivities } from '../../model/telemetry-pump.ts';
import type { PlacementRef } from '../../model/transfer.ts';
import { beside } from './feed.ts';
import type { AtPlacement } from './fence.ts';
import type { Pace } from './provision.ts';

/** A message of a device. */
export interface Passing {
  /** By the word of the cloud that it was sent to. */
  device: string;
  body: Uint8Array;
  /** When it reached its cloud, milliseconds. */
  at: number;
}

/** What is written, and done with, together. */
export interface TelemetryBatch {
  /** Without those that a pump has written, and those of no device. */
  messages: Passing[];
  /** The reader's own. */
  receipt: readonly string[];
}

export interface TelemetryReader {
  /** The next ones as soon as there are any; undefined when `waitMs` have passed, it was told to stop, or nothing is left. */
  read(waitMs: number, signal: AbortSignal): Promise<TelemetryBatch | undefined>;
  /** Batches, in the order in which they were read, that need not come again. */
  done(batches: readonly TelemetryBatch[], signal: AbortSignal): Promise<void>;
  /** From where the next reader goes on after what is done with; empty where the cloud remembers. */
  readonly position: JsonObject;
  /** Resolves once it fetches no more; what it has can be read still. */
  stop(): Promise<void>;
  close(): Promise<void>;
}

export interface TelemetryWriter {
  /** Resolves once the cloud has acknowledged all of them. */
  write(messages: readonly Passing[], signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

export interface TelemetryDriver {
  /** Pure: what a stream is read by, and written to with. All its parts are one resource, whose driver is among those of the cell. */
  design(placement: Placement): ResourceSpec;
  /** `position`: of an earlier reader; `since`: where it begins without one, as far as the cloud keeps what came before. */
  read(placement: PlacementRef, from: { position: JsonObject; since: Date }): TelemetryReader;
  write(placement: PlacementRef): TelemetryWriter;
}

const suffix = 'follower';

/** Ends the name of what a follower is made of, and of nothing else. */
export const followerName = { suffix, is: (name: string): boolean => /[-_/]follower$/.test(name) };

export function createTelemetryFollowerActivities(dependencies: {
  atPlacement: AtPlacement;
  pace: () => Pace;
}): TelemetryFollowerActivities {
  const { ensure, remove } = beside(dependencies, ({ telemetry }, placement) => telemetry.design(placement));
  return { ensureTelemetryFollower: ensure, removeTelemetryFollower: remove };
}

/** Who fetches puts here what it has, and waits while nobody takes it. */
export class Inbox {
  readonly #most: number;
  readonly #items: TelemetryBatch[] = [];
  readonly #changed = new Set<() => void>();
  #failed: { error: unknown } | undefined;
  #closed = false;

  constructor(most: number) {
    this.#most = most;
  }

  get closed(): boolean {
    return this.#closed;
  }

  async put(item: TelemetryBatch): Promise<void> {
    while (this.#items.length >= this.#most && !this.#closed) await this.#change();
    this.#items.push(item);
    this.#tell();
  }

  /** Whoever takes next is told; who fetches goes on. */
  fail(error: unknown): void {
    this.#failed = { error };
    this.#tell();
  }

  async take(waitMs: number, signal: AbortSignal): Promise<TelemetryBatch | undefined> {
    let late = waitMs <= 0;
    const wake = (): void => this.#tell();
    // Not by the clock, of which a timer may be a moment ahead: nothing else would wake who then waits again.
    const timer = setTimeout(() => {
      late = true;
      wake();
    }, waitMs);
    signal.addEventListener('abort', wake, { once: true });
    try {
      for (;;) {
        if (signal.aborted) return undefined;
        const item = this.#items.shift();
        if (item) {
          this.#tell();
          return item;
        }
        if (this.#failed) {
          const { error } = this.#failed;
          this.#failed = undefined;
          throw error;
        }
        if (late || this.#closed) return undefined;
        await this.#change();
      }
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', wake);
    }
  }

  /** Nothing waits any more. */
  close(): void {
    this.#closed = true;
    this.#tell();
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#changed.add(resolve));
  }

  #tell(): void {
    for (const resolve of this.#changed) resolve();
    this.#changed.clear();
  }
}

/** Between two tries to fetch. */
const againMs = 1000;

/** `stopped`: it is to be the last; `ended`: it must be given up, though what it would bring comes again late. */
export type Fetch = (signals: { stopped: AbortSignal; ended: AbortSignal }) => Promise<TelemetryBatch | undefined>;

/** Fetches again and again, several at a time while there is something, one while there is nothing. */
export class Fetching {
  readonly #inbox: Inbox;
  readonly #fetch: Fetch;
  readonly #stopped = new AbortController();
  readonly #ended = new AbortController();
  readonly #loops: Promise<void>[];
  #something = Promise.withResolvers<void>();

  constructor(most: number, fetch: Fetch) {
    this.#inbox = new Inbox(most);
    this.#fetch = fetch;
    this.#loops = Array.from({ length: most }, (_, index) => this.#run(index === 0));
  }

  read(waitMs: number, signal: AbortSignal): Promise<TelemetryBatch | undefined> {
    return this.#inbox.take(waitMs, signal);
  }

  /** Resolves once nothing more will be fetched. */
  async stop(): Promise<void> {
    this.#stopped.abort();
    this.#something.resolve();
    this.#inbox.close();
    await Promise.all(this.#loops);
  }

  async close(): Promise<void> {
    this.#ended.abort();
    await this.stop();
  }

  async #run(always: boolean): Promise<void> {
    const signals = { stopped: this.#stopped.signal, ended: this.#ended.signal };
    while (!signals.stopped.aborted)
      try {
        const batch = await this.#fetch(signals);
        if (batch) {
          this.#something.resolve();
          this.#something = Promise.withResolvers();
          await this.#inbox.put(batch);
        } else if (!always && !signals.stopped.aborted) await this.#something.promise;
      } catch (error) {
        if (signals.stopped.aborted) return;
        this.#inbox.fail(error);
        await pause(againMs, undefined, { signal: signals.stopped }).catch(() => {});
      }
  }
}

/** Cuts into requests of at most so many messages and bytes. */
export function requestsOf<T>(
  all: readonly T[],
  { most, bytes, sizeOf }: { most: number; bytes: number; sizeOf: (one: T) => number },
): T[][] {
  const requests: T[][] = [];
  let [current, room]: [T[], number] = [[], 0];
  for (const one of all) {
    const size = sizeOf(one);
    if (current.length === 0 || current.length >= most || size > room) {
      current = [];
      requests.push(current);
      room = bytes;
    }
    current.push(one);
    room -= size;
  }
  return requests;
}
