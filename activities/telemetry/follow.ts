/** Following a telemetry stream: each message is written into the other one, and noted; then it need not come again. */
import { setTimeout as pause } from 'node:timers/promises';
import { ApplicationFailure, Context } from '@temporalio/activity';
import { z } from 'zod';
import { recordsPlacement } from '../../model/records.ts';
import {
  type FollowedTelemetry,
  FollowTelemetryInput,
  positionFile,
  type RefusedRedirect,
  type TelemetryActivities,
} from '../../model/telemetry-pump.ts';
import type { ProviderDependencies } from '../providers/activities.ts';
import { cellOf, ofPlacement, paceOf, providerCalls } from '../providers/calls.ts';
import type { Provider } from '../providers/driver.ts';
import { guarded } from '../providers/provision.ts';
import type { TelemetryBatch, TelemetryReader, TelemetryWriter } from '../providers/telemetry.ts';
import { recordsBuckets } from '../records/bucket.ts';
import { LongestLately } from '../replication/drain.ts';
import { type Files, telemetryFiles } from '../transfer/files.ts';
import { Gate } from '../transfer/gate.ts';
import { Place } from './place.ts';
import { Seen } from './sightings.ts';

/** Batches that are being written at once. */
const writesAtOnce = 8;
/** From the end of one save to the begin of the next; longer where a save takes long, and shorter than what was read stays hidden. */
const [saveMs, mostSaveMs, saveShare] = [2000, 10_000, 10];
/** Messages that may be written and not be noted yet. */
const mostUnsaved = 20_000;
const waitMs = 1000;
/** What is under way when it is told to stop may end, and be noted, within these. */
const [endMs, lastSaveMs] = [1300, 700];
const lagSpanMs = 60_000;

type TelemetryDependencies = Pick<ProviderDependencies, 'pool' | 'pollMs' | 'callDeadlineMs' | 'recordsDays'>;

export function createTelemetryActivities(dependencies: TelemetryDependencies): TelemetryActivities {
  const { pollMs, recordsDays = 400 } = dependencies;
  const { atEach, requireAccount } = providerCalls(dependencies);
  const ensureBucket = recordsBuckets({ cellOf, pace: paceOf(pollMs), retentionDays: recordsDays, repair: false });

  return {
    async followTelemetry(raw) {
      const { data: input, error } = FollowTelemetryInput.safeParse(raw);
      if (error) throw ApplicationFailure.nonRetryable(z.prettifyError(error), 'InvalidInput');
      const { from, to, keptAt, name } = input;
      const context = Context.current();
      // Only who beats hears that it is to stop.
      const beat = setInterval(() => context.heartbeat(), 1000);
      try {
        return await atEach(
          { source: from.provider, target: (to ?? from).provider, kept: keptAt.provider },
          async ({ source, target, kept }, signal) => {
            for (const [provider, placement] of [
              [source, from],
              [target, to ?? from],
              [kept, keptAt],
            ] as const)
              await requireAccount(provider, ofPlacement(placement), signal);
            await ensureBucket(kept, recordsPlacement(keptAt.owner, keptAt), signal);
            const filesAt = (within: AbortSignal) => telemetryFiles(kept, keptAt, name, within);
            const place = new Place(kept, keptAt, filesAt(signal).key(positionFile(from.provider)), input);
            const position = await place.take(signal);
            const seen = await Seen.open(filesAt(signal), from.provider);
            const reader = source.telemetry.read(from, { position, since: new Date(input.since) });
            const writer = to ? target.telemetry.write(to) : undefined;
            const resource = from.owner.service;
            const pump = new Pump({ source, target, reader, writer, place, seen, filesAt, resource }, signal);
            try {
              return await pump.run({ ...input, now: Date.now() });
            } finally {
              await Promise.allSettled([reader.close(), writer?.close()]);
            }
          },
        );
      } finally {
        clearInterval(beat);
      }
    },
  };
}

interface Parts {
  source: Provider;
  target: Provider;
  reader: TelemetryReader;
  /** Undefined where the stream is only looked at. */
  writer: TelemetryWriter | undefined;
  place: Place;
  seen: Seen;
  filesAt: (signal: AbortSignal) => Files;
  /** What the calls are about. */
  resource: string;
}

type Ends = Pick<FollowTelemetryInput, 'forMs' | 'alarmAfterMs'>;

class Pump {
  readonly #parts: Parts;
  /** Told to stop. */
  readonly #signal: AbortSignal;
  /** What is under way must stop as well. */
  readonly #hard = new AbortController();
  readonly #gate: Gate;
  /** In the order in which they were read, which is that in which they are done with. */
  readonly #batches: { batch: TelemetryBatch; written: boolean }[] = [];
  readonly #open = new Set<Promise<void>>();
  readonly #lag = new LongestLately(lagSpanMs);
  #saving = Promise.resolve();
  #failed: { error: unknown } | undefined;
  #unsaved = 0;
  #forwarded = 0;

  constructor(parts: Parts, signal: AbortSignal) {
    this.#parts = parts;
    this.#signal = signal;
    this.#gate = new Gate(this.#hard.signal);
  }

  async run({ forMs, alarmAfterMs, now }: Ends & { now: number }): Promise<FollowedTelemetry> {
    const until = now + forMs;
    const alarmAt = alarmAfterMs === undefined ? until : now + alarmAfterMs;
    let ending: NodeJS.Timeout | undefined;
    const end = (): void => {
      ending = setTimeout(() => this.#hard.abort(), endMs);
    };
    this.#signal.addEventListener('abort', end, { once: true });
    let refused: RefusedRedirect[] = [];
    const ended = new AbortController();
    const keeping = this.#keep(ended.signal);
    try {
      await this.#pump(until, alarmAt);
    } catch (error) {
      this.#fail(error);
    } finally {
      ended.abort();
      await keeping;
      await Promise.all(this.#open);
      // Who was told to stop tells nothing any more: the next one does.
      if (!this.#signal.aborted && !this.#failed) refused = this.#parts.seen.takeRefused();
      await this.#save(this.#signal.aborted ? AbortSignal.timeout(lastSaveMs) : this.#hard.signal).catch(
        (error: unknown) => this.#fail(error),
      );
      this.#signal.removeEventListener('abort', end);
      clearTimeout(ending);
      this.#hard.abort();
    }
    this.#signal.throwIfAborted();
    if (this.#failed) throw this.#failed.error;
    return {
      ...{ forwarded: this.#forwarded, ...this.#parts.seen.counts, lagMs: this.#lag.longest },
      ...(refused.length > 0 && { refused }),
    };
  }

  async #pump(until: number, alarmAt: number): Promise<void> {
    const { reader, seen } = this.#parts;
    const ends = (): number => (seen.alarmed ? Math.min(alarmAt, until) : until);
    while (!this.#signal.aborted && !this.#failed && Date.now() < ends()) {
      const batch = await this.#read(Math.min(waitMs, until - Date.now()), this.#signal);
      if (batch) await this.#take(batch);
      if (this.#unsaved >= mostUnsaved) await this.#save(this.#hard.signal);
    }
    // What it has fetched would come again late where it was only let go.
    await Promise.race([reader.stop(), aborted(this.#hard.signal)]);
    for (let batch: TelemetryBatch | undefined; !this.#failed; await this.#take(batch)) {
      batch = await this.#read(0, this.#hard.signal);
      if (!batch) return;
    }
  }

  #read(ms: number, signal: AbortSignal): Promise<TelemetryBatch | undefined> {
    const { source, reader, resource } = this.#parts;
    return this.#gate.call(() => guarded(source, 'read telemetry', resource, () => reader.read(ms, signal)));
  }

  /** Resolves once there is room for another one. */
  async #take(batch: TelemetryBatch): Promise<void> {
    const entry = { batch, written: false };
    this.#batches.push(entry);
    this.#unsaved += batch.messages.length;
    const write = this.#write(batch)
      .then(() => {
        entry.written = true;
      })
      .catch((error: unknown) => this.#fail(error))
      .finally(() => this.#open.delete(write));
    this.#open.add(write);
    while (this.#open.size >= writesAtOnce) await Promise.race(this.#open);
  }

  async #write({ messages }: TelemetryBatch): Promise<void> {
    const { writer, target, seen, resource } = this.#parts;
    if (messages.length === 0) return;
    if (writer) {
      const act = () => writer.write(messages, this.#hard.signal);
      await this.#gate.call(() => guarded(target, 'write telemetry', resource, act));
      this.#forwarded += messages.length;
    }
    this.#lag.add(Date.now() - Math.min(...messages.map(({ at }) => at)));
    for (const message of messages) seen.add(message);
  }

  async #keep(ended: AbortSignal): Promise<void> {
    let took = 0;
    while (!this.#failed) {
      await pause(Math.min(mostSaveMs, Math.max(saveMs, took * saveShare)), undefined, { signal: ended }).catch(
        () => {},
      );
      if (ended.aborted) return;
      const began = Date.now();
      await this.#save(this.#hard.signal).catch((error: unknown) => this.#fail(error));
      took = Date.now() - began;
    }
  }

  #save(signal: AbortSignal): Promise<void> {
    const saved = this.#saving.then(() => this.#saveNow(signal));
    this.#saving = saved.catch(() => {});
    return saved;
  }

  /** A message is done with once it was noted, and noted only by whose turn it is. */
  async #saveNow(signal: AbortSignal): Promise<void> {
    const { source, reader, place, seen, filesAt, resource } = this.#parts;
    const gate = new Gate(signal);
    const stop = this.#batches.findIndex(({ written }) => !written);
    const done = this.#batches.slice(0, stop < 0 ? undefined : stop).map(({ batch }) => batch);
    await gate.call(() => place.check(signal));
    await gate.call(() => seen.save(filesAt(signal)));
    if (done.length === 0) return;
    await gate.call(() => place.check(signal));
    await gate.call(() => guarded(source, 'acknowledge telemetry', resource, () => reader.done(done, signal)));
    await gate.call(() => place.save(reader.position, signal));
    this.#batches.splice(0, done.length);
    this.#unsaved -= done.reduce((sum, { messages }) => sum + messages.length, 0);
  }

  #fail(error: unknown): void {
    this.#failed ??= { error };
  }
}

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
