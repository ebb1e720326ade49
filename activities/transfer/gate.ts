/** Lets calls through as the concurrency rule and the memory allow, and repeats those that a cloud throttled or lost. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterSuccess, afterThrottled, type Concurrency, startConcurrency } from '../../model/concurrency.ts';
import { CloudError } from '../../model/errors.ts';

/** Bytes of bodies in memory at once. */
export const memoryBytes = 96 * 1024 * 1024;

/** Throttled answers are waited out by the activity for so long; then it ends, and Temporal calls it again. */
const mostThrottled = 12;
/** A call whose answer was lost, or that a cloud could not carry out. */
const mostFailed = 4;

export class Gate {
  #concurrency: Concurrency = startConcurrency();
  #calls = 0;
  #bytes = 0;
  readonly #waiting: { bytes: number; admit: () => void }[] = [];
  readonly #signal: AbortSignal;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  /** Runs `act` once there is room for it and the bytes that it holds in memory; first come, first served. */
  async run<T>(bytes: number, act: () => Promise<T>): Promise<T> {
    await new Promise<void>((admit) => {
      this.#waiting.push({ bytes, admit });
      this.#admit();
    });
    try {
      return await act();
    } finally {
      this.#calls--;
      this.#bytes -= bytes;
      this.#admit();
    }
  }

  /** A call that may be repeated: after a throttled answer when the cloud says so, after a lost one soon. */
  async call<T>(act: () => Promise<T>): Promise<T> {
    for (let throttled = 0, failed = 0; ; ) {
      const pause = this.#concurrency.pausedUntil - Date.now();
      if (pause > 0) await sleep(pause, undefined, { signal: this.#signal });
      this.#signal.throwIfAborted();
      try {
        const answer = await act();
        this.#concurrency = afterSuccess(this.#concurrency);
        return answer;
      } catch (error) {
        if (!(error instanceof CloudError) || this.#signal.aborted) throw error;
        if (error.kind === 'Throttled' && ++throttled <= mostThrottled) {
          const delay = error.fields.retryAfterMs ?? Math.min(100 * 2 ** throttled, 10_000);
          this.#concurrency = afterThrottled(this.#concurrency, Date.now(), delay * (1 + Math.random() / 4));
        } else if (error.kind === 'Unavailable' && ++failed <= mostFailed)
          await sleep(100 * 3 ** failed * (0.5 + Math.random() / 2), undefined, { signal: this.#signal });
        else throw error;
      }
    }
  }

  #admit(): void {
    for (let [next] = this.#waiting; next && this.#hasRoom(next.bytes); [next] = this.#waiting) {
      this.#waiting.shift();
      this.#calls++;
      this.#bytes += next.bytes;
      next.admit();
    }
  }

  #hasRoom(bytes: number): boolean {
    if (this.#calls === 0) return true;
    return this.#calls < Math.floor(this.#concurrency.limit) && this.#bytes + bytes <= memoryBytes;
  }
}
