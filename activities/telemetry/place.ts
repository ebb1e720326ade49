/** Whose turn it is to pump a direction, and from where the next one goes on: one object, written over the version that was read. */
import { randomUUID } from 'node:crypto';
import { ApplicationFailure } from '@temporalio/activity';
import { z } from 'zod';
import { CloudError } from '../../model/errors.ts';
import { recordsPlacement } from '../../model/records.ts';
import type { JsonObject } from '../../model/service.ts';
import type { PlacementRef } from '../../model/transfer.ts';
import type { Provider } from '../providers/driver.ts';
import { guarded } from '../providers/provision.ts';

const Saved = z.strictObject({
  epoch: z.number(),
  pump: z.number(),
  /** Attempts of one pump are told apart by it: the last one to begin has the turn. */
  holder: z.string(),
  position: z.record(z.string(), z.json()),
});
type Saved = z.infer<typeof Saved>;

const tries = 5;

export class Place {
  readonly #provider: Provider;
  readonly #keptAt: PlacementRef;
  readonly #key: string;
  readonly #own: Omit<Saved, 'position'>;
  #version = '';
  #position = '';

  constructor(provider: Provider, keptAt: PlacementRef, key: string, { epoch, pump }: { epoch: number; pump: number }) {
    this.#provider = provider;
    this.#keptAt = keptAt;
    this.#key = key;
    this.#own = { epoch, pump, holder: randomUUID() };
  }

  /** Takes the turn and tells where the one before has got to. */
  async take(signal: AbortSignal): Promise<JsonObject> {
    for (let left = tries; ; left--) {
      const found = await this.#read(signal);
      if (found && later(found.saved, this.#own)) throw this.#outdated();
      const position = found?.saved.position ?? {};
      try {
        await this.#write(position, found?.version, signal);
        return position;
      } catch (error) {
        // Another one took it in between.
        if (!isRefused(error) || left <= 1) throw error;
      }
    }
  }

  /** Throws where it is no longer our turn. */
  async check(signal: AbortSignal): Promise<void> {
    const found = await this.#read(signal);
    if (found?.saved.holder !== this.#own.holder) throw this.#outdated();
    this.#version = found.version;
  }

  /** Writes the position where it has changed. */
  async save(position: JsonObject, signal: AbortSignal): Promise<void> {
    if (JSON.stringify(position) === this.#position) return;
    try {
      await this.#write(position, this.#version, signal);
    } catch (error) {
      if (!isRefused(error)) throw error;
      // Refused as well after a write of our own whose answer was lost.
      await this.check(signal);
      await this.#write(position, this.#version, signal);
    }
  }

  async #read(signal: AbortSignal): Promise<{ saved: Saved; version: string } | undefined> {
    const found = await this.#run('read', () => this.#provider.objects.get(this.#placement, this.#key, signal));
    if (!found) return undefined;
    return { saved: Saved.parse(JSON.parse(Buffer.from(found.bytes).toString('utf8'))), version: found.version };
  }

  async #write(position: JsonObject, version: string | undefined, signal: AbortSignal): Promise<void> {
    const text = JSON.stringify({ ...this.#own, position } satisfies Saved);
    const condition = version ? { version } : { absent: true as const };
    this.#version = await this.#run('write', () =>
      this.#provider.objects.put(this.#placement, this.#key, Buffer.from(text), condition, signal),
    );
    this.#position = JSON.stringify(position);
  }

  get #placement() {
    return recordsPlacement(this.#keptAt.owner, this.#keptAt);
  }

  #run<T>(operation: string, step: () => Promise<T>): Promise<T> {
    return guarded(this.#provider, operation, this.#key, step);
  }

  /** Another attempt would find the same. */
  #outdated(): ApplicationFailure {
    const message = `${this.#key}: another pump has taken over from this one, which has stopped; nothing is to be done`;
    return ApplicationFailure.nonRetryable(message, 'PreconditionFailed');
  }
}

/** Whether the one comes after the other. */
const later = (one: Pick<Saved, 'epoch' | 'pump'>, other: Pick<Saved, 'epoch' | 'pump'>): boolean =>
  one.epoch > other.epoch || (one.epoch === other.epoch && one.pump > other.pump);

const isRefused = (error: unknown): boolean =>
  error instanceof CloudError && (error.kind === 'PreconditionFailed' || error.kind === 'AlreadyExists');
