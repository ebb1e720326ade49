/**
 * What a feed tells, brought in step as it comes: of a key, both sides are looked at, and what the source has now goes to the target
 * as a pass would bring it. So a notice that comes twice, late or out of order does no harm, and neither does one of a copy that
 * the engine itself has written: it is in step.
 */
import { CloudError } from '../../model/errors.ts';
import type { FollowedFeed } from '../../model/replication.ts';
import type { ChangeFeed, Notice } from '../providers/change-feed.ts';
import { ask, headOf, type Pairing, partBytes } from '../transfer/copy-object.ts';
import { bring } from '../transfer/copy-range.ts';

/** Notices under way at once. */
const mostOpen = 500;
/** A feed that has nothing to tell is asked again after so long at the most. */
const waitMs = 5000;
/** Caught up: the cloud tells of nothing that is older than this. Its clock may differ from ours by some seconds. */
const nearMs = 10_000;
/** The longest delay is told of the last minute, or of the one before and that one. */
const lagSpanMs = 60_000;
/** Without a feed, or the right to read it, there are passes. */
const withoutFeed = ['NotFound', 'PermissionDenied'];

export interface DrainOptions {
  /** Epoch, milliseconds. */
  until: number;
  /** Return once it has caught up, with no more than this many under way. */
  untilBehind?: number | undefined;
  /** More deletions than this are not carried out. */
  mayDelete: number;
  gone: 'delete' | 'keep';
}

export interface Drained {
  told: FollowedFeed;
  deleted: number;
  /** There was more to delete than may be without asking; those notices are not acknowledged. */
  held: boolean;
}

export async function drainFeed(pairing: Pairing, feed: ChangeFeed, options: DrainOptions): Promise<Drained> {
  const drain = new Drain(pairing, feed, options);
  try {
    await drain.run();
  } catch (error) {
    if (!(error instanceof CloudError) || error.fields.operation !== receiving || !withoutFeed.includes(error.kind))
      throw error;
    return { ...drain.result, told: { ...drain.result.told, problem: error.message } };
  }
  return drain.result;
}

const receiving = 'receive changes';

class Drain {
  readonly #pairing: Pairing;
  readonly #feed: ChangeFeed;
  readonly #options: DrainOptions;
  /** Notices of which a key is not done with. */
  readonly #open = new Set<Promise<void>>();
  /** The last turn of each key, and those of them that have not begun: they will see what has happened until then. */
  readonly #turns = new Map<string, Promise<boolean>>();
  readonly #next = new Map<string, Promise<boolean>>();
  readonly #lag = new LongestLately(lagSpanMs);
  #done: string[] = [];
  #acknowledging: Promise<void> | undefined;
  #failed: { error: unknown } | undefined;
  #applied = 0;
  #deleted = 0;
  #held = false;
  #behind = 0;
  #caughtUp = false;

  constructor(pairing: Pairing, feed: ChangeFeed, options: DrainOptions) {
    this.#pairing = pairing;
    this.#feed = feed;
    this.#options = options;
  }

  get result(): Drained {
    const [applied, behind, caughtUp, lagMs] = [this.#applied, this.#behind, this.#caughtUp, this.#lag.longest];
    return { told: { applied, behind, caughtUp, lagMs, problem: '' }, deleted: this.#deleted, held: this.#held };
  }

  async run(): Promise<void> {
    const { until, untilBehind } = this.#options;
    try {
      while (Date.now() < until && !this.#held && !this.#failed) {
        const notices = await this.#receive(Math.min(waitMs, until - Date.now()));
        const soon = Date.now() - nearMs;
        this.#caughtUp = notices.every(({ changes }) => changes.every(({ at }) => Date.parse(at) > soon));
        for (const notice of notices) this.#take(notice);
        this.#behind = this.#open.size;
        if (this.#caughtUp && untilBehind !== undefined && this.#open.size <= untilBehind) break;
        while (this.#open.size >= mostOpen) await Promise.race(this.#open);
      }
    } finally {
      await Promise.all(this.#open);
      while (this.#acknowledging) await this.#acknowledging;
    }
    if (this.#failed) throw this.#failed.error;
  }

  #receive(ms: number): Promise<Notice[]> {
    const { signal, source } = this.#pairing;
    return ask(this.#pairing, source, receiving, source.store.id, () => this.#feed.receive(ms, signal));
  }

  #take({ changes, receipt }: Notice): void {
    const turns = changes.map(async ({ key, at }) => {
      const isDone = await this.#turnOf(key);
      if (isDone) this.#lag.add(Date.now() - Date.parse(at));
      return isDone;
    });
    const open = Promise.all(turns)
      .then((done) => {
        if (done.every(Boolean)) this.#acknowledge(receipt);
      })
      .catch((error: unknown) => {
        this.#failed ??= { error };
      })
      .finally(() => this.#open.delete(open));
    this.#open.add(open);
  }

  /** One turn of a key after the other; whoever comes before one has begun is served by it. */
  #turnOf(key: string): Promise<boolean> {
    const next = this.#next.get(key);
    if (next) return next;
    const before = this.#turns.get(key) ?? Promise.resolve(true);
    const turn = before
      .then(() => {
        this.#next.delete(key);
        return this.#bring(key);
      })
      .finally(() => {
        if (this.#turns.get(key) === turn) this.#turns.delete(key);
      });
    this.#next.set(key, turn);
    this.#turns.set(key, turn);
    return turn;
  }

  /** False where a deletion is held back. */
  async #bring(key: string): Promise<boolean> {
    const { source, target, gate } = this.#pairing;
    const here = await gate.run(0, () => headOf(this.#pairing, source, key));
    // What cannot be at the target is named by the passes.
    if (target.store.refusal({ key, size: here?.size ?? 0 })) return true;
    const there = await gate.run(0, () => headOf(this.#pairing, target, key));
    if (!here) return !there || this.#options.gone === 'keep' || this.#remove(there);
    const act = () => bring(this.#pairing, here, there);
    const { how } = here.size <= partBytes ? await gate.run(here.size, act) : await act();
    if (how === 'copied') this.#applied++;
    return true;
  }

  async #remove(object: { key: string; version: string }): Promise<boolean> {
    if (this.#deleted >= this.#options.mayDelete) {
      this.#held = true;
      return false;
    }
    this.#deleted++;
    const { gate, target, signal } = this.#pairing;
    await gate.run(0, () =>
      ask(this.#pairing, target, 'remove', object.key, () => target.store.remove(object, signal)),
    );
    this.#applied++;
    return true;
  }

  /** One call at a time; what is done meanwhile goes with the next. */
  #acknowledge(receipt: string): void {
    this.#done.push(receipt);
    if (this.#acknowledging) return;
    const { source, signal } = this.#pairing;
    const act = async (): Promise<void> => {
      try {
        while (this.#done.length > 0) {
          const some = this.#done.splice(0);
          await ask(this.#pairing, source, 'acknowledge changes', source.store.id, () =>
            this.#feed.acknowledge(some, signal),
          );
        }
      } catch (error) {
        this.#failed ??= { error };
      } finally {
        this.#acknowledging = undefined;
      }
    };
    this.#acknowledging = act();
  }
}

/** The longest of the times that came within the present span or the one before it. */
export class LongestLately {
  readonly #spanMs: number;
  #since = Date.now();
  #now = 0;
  #before = 0;

  constructor(spanMs: number) {
    this.#spanMs = spanMs;
  }

  add(ms: number): void {
    this.#turn();
    this.#now = Math.max(this.#now, ms);
  }

  get longest(): number {
    this.#turn();
    return Math.max(this.#now, this.#before);
  }

  #turn(): void {
    const spans = Math.floor((Date.now() - this.#since) / this.#spanMs);
    if (spans === 0) return;
    this.#before = spans === 1 ? this.#now : 0;
    this.#now = 0;
    this.#since += spans * this.#spanMs;
  }
}
