/**
 * The pump of a service: it owns the books of all sides, hears of changes from their clouds and from comparisons of all listings,
 * and brings each key in step by the rule (`model/in-step.ts`), along the directions that there are.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { brakeLimit } from '../../model/brake.ts';
import { type ConflictRule, type ConflictRuleName, conflictRule, isSame } from '../../model/conflict.ts';
import { writeCopyStamp } from '../../model/copy-stamp.ts';
import { CloudError } from '../../model/errors.ts';
import { bringInStep, type Calls, type Direction, type Outcome } from '../../model/in-step.ts';
import { type DirectionLag, directionName, type Held } from '../../model/replicate.ts';
import { carries, type Edge } from '../../model/routes.ts';
import type { Names, Transform } from '../../model/transformation.ts';
import type { ChangeFeed, ToldChange } from '../providers/change-feed.ts';
import type { StoredObject } from '../providers/object-store.ts';
import { ask, headOf, Refusal } from '../transfer/copy-object.ts';
import type { Gate } from '../transfer/gate.ts';
import { objectsIn } from '../transfer/listing.ts';
import { isAlike } from '../transfer/mark.ts';
import type { Book } from './book.ts';
import { copyWith, editOf, logLoser, pairingOf } from './losers.ts';
import { lookAt, type SideStore } from './stores.ts';

/** Keys under way at once; a feed is not asked for more before there is room. */
const mostOpen = 400;
/** A feed that has nothing to tell is asked again after so long at the most. */
const waitMs = 5000;
/** Calls at once that ask a feed which has much to tell: some give ten notices at a time. */
const receivers = 4;
/** Without a feed, or the right to read it, there are comparisons. */
const withoutFeed = ['NotFound', 'PermissionDenied'];
/** A key that kept changing, or that the brake holds, is left to the next comparison after so many turns. */
const mostTurns = 3;

export interface PumpSide {
  store: SideStore;
  book: Book;
  feed: ChangeFeed | undefined;
}

export interface PumpOptions {
  edges: readonly Edge[];
  rule: ConflictRuleName;
  source: string;
  tombstoneMs: number;
  maxDeletes: number | undefined;
  released: Readonly<Record<string, number>>;
  held: readonly string[];
  compareMs: number;
  /** What of the source's objects goes, and how; where all sides are written it changes neither names nor contents. */
  transform: Transform;
  naming: Names;
  /** By side: deletes before then are not believed, ms since 1970 (`resynchronise`). */
  doubted: Readonly<Record<string, number>>;
}

interface Lane {
  edge: Edge;
  applied: number;
  conflicts: number;
  lastAppliedAt: string;
  held: boolean;
}

/** What is to be done about a key. */
interface Work {
  /** As it is named on the source's side. */
  key: string;
  /** By side, what its cloud has told last; the changes of these go out. */
  told: Map<string, ToldChange>;
  /** All sides are compared. */
  all: boolean;
  since: number;
}

/** Why a key cannot be there as it is. */
export interface KeyError {
  key: string;
  from: string;
  to: string;
  reason: string;
  detail: string;
  /** ISO time. */
  since: string;
}

export class Pump {
  readonly #sides: ReadonlyMap<string, PumpSide>;
  readonly #options: PumpOptions;
  readonly #gate: Gate;
  readonly #signal: AbortSignal;
  readonly #hearing = new AbortController();
  readonly #rule: ConflictRule;
  readonly #lanes: Lane[];
  readonly #waiting = new Map<string, Work>();
  readonly #turns = new Map<string, { work: Work; done: Promise<void> }>();
  /** Settled when the next turn ends. */
  #oneEnds = Promise.withResolvers<void>();
  readonly #receipts = new Map<string, string[]>();
  readonly #acknowledging = new Map<string, Promise<void>>();
  readonly errors = new Map<string, KeyError>();
  readonly held: Held[] = [];
  readonly clamped: Record<string, number> = {};
  /** Sides whose feed cannot be read, and why: they are in step by comparisons alone. */
  readonly unheard: Record<string, string> = {};
  inStepAt = '';
  /** When all sides are compared next, and how long it took last; ms. */
  #compareAt = 0;
  #comparedMs = 0;
  #failed: { error: unknown } | undefined;
  #over = false;

  constructor(
    sides: ReadonlyMap<string, PumpSide>,
    options: PumpOptions,
    { gate, signal }: { gate: Gate; signal: AbortSignal },
  ) {
    this.#sides = sides;
    this.#options = options;
    this.#gate = gate;
    this.#signal = signal;
    this.#rule = conflictRule(options.rule, options.source);
    this.#lanes = options.edges
      .filter(({ from, to }) => sides.has(from) && sides.has(to))
      .map((edge) => ({
        edge,
        applied: 0,
        conflicts: 0,
        lastAppliedAt: '',
        held: options.held.includes(directionName(edge)),
      }));
  }

  /** Until then, or until it cannot go on; ends when nothing is under way any more, and all of it is in the books. */
  async run(until: number): Promise<void> {
    const following = [...this.#sides.values()].flatMap((side) => {
      const heard = { at: 0 };
      return Array.from({ length: receivers }, (_, at) => this.#follow(side, heard, at > 0));
    });
    try {
      for (let first = true; first || (!this.#ends && Date.now() < until); first = false) {
        const { compareMs } = this.#options;
        const began = Date.now();
        // What was told to a pump that has died in this moment comes again late: it is looked for once those calls are over.
        this.#compareAt = began + (first ? Math.min(compareMs, 2 * waitMs) : compareMs);
        // A comparison ends however long it takes: without it nothing is known to be in step.
        await this.#compare();
        this.#comparedMs = Date.now() - began;
        // What has no feed is listed again and again: half of the time others may ask.
        if (this.#isDeaf) this.#compareAt = Math.max(this.#compareAt, Date.now() + this.#comparedMs);
        do {
          // Not once a comparison: whoever takes over reads the journal file by file.
          for (const { book } of this.#sides.values()) if (book.wantsSnapshot && !this.#ends) await book.snapshot();
          await pause(50);
        } while (!this.#ends && Date.now() < Math.min(this.#compareAt, until));
      }
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#over = true;
      this.#hearing.abort();
      await Promise.all(following);
      await this.#settled();
    }
    if (this.#failed) throw this.#failed.error;
  }

  get #ends(): boolean {
    return this.#over || this.#failed !== undefined || this.#signal.aborted || this.held.length > 0;
  }

  /** Whether no cloud tells of changes. */
  get #isDeaf(): boolean {
    return [...this.#sides.values()].every(({ feed }) => feed === undefined);
  }

  #fail(error: unknown): void {
    this.#failed ??= { error };
  }

  /** Ends the run as soon as nothing is under way any more. */
  end(): void {
    this.#over = true;
  }

  /** Ends when nothing is under way, and what was done is in the journals and acknowledged. */
  async #settled(): Promise<void> {
    while (this.#turns.size > 0) await Promise.all([...this.#turns.values()].map(({ done }) => done));
    if (this.#failed || this.#signal.aborted) return;
    try {
      for (const { book } of this.#sides.values()) await book.flush();
      while (this.#acknowledging.size > 0) await Promise.all(this.#acknowledging.values());
    } catch (error) {
      this.#fail(error);
    }
  }

  // Names.

  #keyOf(side: string, name: string): string | undefined {
    return this.#options.naming.keyOf(side, name);
  }

  #nameAt(side: string, key: string): string {
    return this.#options.naming.nameAt(side, key);
  }

  // What clouds tell.

  /** `helps`: asks only as long as there is something to hear. */
  async #follow({ store, feed }: PumpSide, heard: { at: number }, helps: boolean): Promise<void> {
    const signal = AbortSignal.any([this.#signal, this.#hearing.signal]);
    if (!feed || !this.#lanes.some(({ edge }) => edge.from === store.name || edge.to === store.name)) return;
    try {
      while (!this.#ends) {
        await this.#room();
        if (this.#ends) return;
        if (helps && Date.now() - heard.at > 1000) {
          await pause(50);
          continue;
        }
        const notices = await ask({ gate: this.#gate }, store, 'receive changes', store.store.id, () =>
          feed.receive(waitMs, signal).catch((error: unknown) => {
            if (this.#hearing.signal.aborted) return [];
            this.#unheardOf();
            throw error;
          }),
        );
        if (notices.length > 0) heard.at = Date.now();
        for (const { changes, receipt } of notices) {
          const turns = changes.map((change) => this.#tell(store.name, change));
          Promise.all(turns).then(
            (done) => done.every(Boolean) && this.#acknowledge(store, feed, receipt),
            (error: unknown) => this.#fail(error),
          );
        }
      }
    } catch (error) {
      if (error instanceof CloudError && withoutFeed.includes(error.kind)) this.unheard[store.name] = error.message;
      else this.#fail(error);
    }
  }

  /** Some notices may have been lost with an answer, and come again only after minutes: all sides are compared before that. */
  #unheardOf(): void {
    this.#compareAt = Math.min(this.#compareAt, Date.now() + Math.max(2 * waitMs, 3 * this.#comparedMs));
  }

  /** Ends once there is room for one more key. */
  async #room(): Promise<void> {
    while (this.#turns.size >= mostOpen && !this.#ends) await this.#oneEnds.promise;
  }

  /** Ends with whether the change is dealt with, so that its notice may go. */
  #tell(side: string, change: ToldChange): Promise<boolean> {
    const { key: name, version } = change;
    const key = this.#keyOf(side, name);
    if (key === undefined) return Promise.resolve(true);
    if (change.deleted && Date.parse(change.at) < (this.#options.doubted[side] ?? 0))
      return this.#turn(key, { side, change: { ...change, deleted: false } });
    const known = this.#sides.get(side)?.book.version(name);
    // What the book says already, as of a copy that this pump has brought.
    if (version !== undefined && version === known && !this.#turns.has(key)) return Promise.resolve(true);
    return this.#turn(key, { side, change });
  }

  /** One call at a time; what is done meanwhile goes with the next. */
  #acknowledge(store: SideStore, feed: ChangeFeed, receipt: string): void {
    const receipts = this.#receipts.get(store.name) ?? [];
    this.#receipts.set(store.name, [...receipts, receipt]);
    if (this.#acknowledging.has(store.name)) return;
    const act = async (): Promise<void> => {
      try {
        for (let some = this.#receipts.get(store.name) ?? []; some.length > 0; ) {
          this.#receipts.delete(store.name);
          await ask({ gate: this.#gate }, store, 'acknowledge changes', store.store.id, () =>
            feed.acknowledge(some, this.#signal),
          );
          some = this.#receipts.get(store.name) ?? [];
        }
      } catch (error) {
        this.#fail(error);
      } finally {
        this.#acknowledging.delete(store.name);
      }
    };
    this.#acknowledging.set(store.name, act());
  }

  // Comparing all sides.

  async #compare(): Promise<void> {
    const inStepAt = new Date().toISOString();
    const began = new Map<string, number>();
    const open: Promise<boolean>[] = [];
    const take = async (key: string): Promise<void> => {
      open.push(this.#turn(key, undefined));
      await this.#room();
      if (open.length > 10_000)
        open.splice(
          0,
          open.length,
          Promise.all(open).then((all) => all.every(Boolean)),
        );
    };
    for (const [name, { store, book }] of this.#sides) {
      began.set(name, book.beginListing());
      for await (const { key: at, version, modified } of objectsIn({ gate: this.#gate, signal: this.#signal }, store, {
        after: '',
        to: '',
      })) {
        if (this.#ends) return;
        const isKnown = book.shows(at, version, modified);
        const key = this.#keyOf(name, at);
        if (key !== undefined && !isKnown) await take(key);
      }
    }
    for (const [name, { book }] of this.#sides)
      for (const at of [...book.keys()]) {
        const key = this.#keyOf(name, at);
        if (key === undefined || this.#ends) continue;
        if (book.isMissing(at) || this.#differs(key)) await take(key);
      }
    const whole = (await Promise.all(open)).every(Boolean);
    if (this.#ends) return;
    for (const [name, { book }] of this.#sides) {
      book.listed(began.get(name) ?? Date.now());
      book.forget(this.#options.tombstoneMs, Date.now(), (at) => this.#standsElsewhere(name, at));
      await book.flush();
    }
    if (whole) this.inStepAt = inStepAt;
  }

  #standsElsewhere(side: string, name: string): boolean {
    const key = this.#keyOf(side, name);
    if (key === undefined) return false;
    return [...this.#sides].some(
      ([other, { book }]) => other !== side && book.state(this.#nameAt(other, key)).kind === 'object',
    );
  }

  /** Whether a direction has something to bring, as far as the books say. */
  #differs(key: string): boolean {
    return this.#lanes.some(({ edge: { from, to }, held }) => {
      if (held) return false;
      const [source, target] = [this.#side(from), this.#side(to)];
      const [at, name] = [this.#nameAt(from, key), this.#nameAt(to, key)];
      const text = source.book.textOf(at);
      if (text !== undefined && text === target.book.textOf(name)) return false;
      const [here, there] = [source.book.state(at), target.book.state(name)];
      if (here.kind === 'nothing') return false;
      if (there.kind === 'nothing') return here.kind === 'object';
      // What has expired on one side waits for the rule of the other.
      if ([here, there].some((one) => one.kind === 'deleted' && one.cause === 'lifecycle')) {
        if (!this.#rule.outranks(here.change, there.change)) return false;
        return here.kind === 'object' || there.kind !== 'object' || target.store.expiresMs === undefined;
      }
      return !isSame(here.change, there.change);
    });
  }

  // Keys.

  /** One turn of a key after the other; whoever comes before one has begun is served by it. */
  #turn(key: string, told: { side: string; change: ToldChange } | undefined): Promise<boolean> {
    const waiting = this.#waiting.get(key);
    const work = waiting ?? { key, told: new Map(), all: false, since: Date.now() };
    if (told) {
      const before = work.told.get(told.side);
      if (!before || before.at <= told.change.at) work.told.set(told.side, told.change);
      work.since = Math.min(work.since, Date.parse(told.change.at));
    } else work.all = true;
    if (!waiting) this.#waiting.set(key, work);
    const result = this.#results.get(work) ?? this.#begin(work);
    return result;
  }

  readonly #results = new Map<Work, Promise<boolean>>();

  #begin(work: Work): Promise<boolean> {
    const { key } = work;
    const before = this.#turns.get(key)?.done ?? Promise.resolve();
    const result = before.then(async () => {
      this.#waiting.delete(key);
      this.#results.delete(work);
      if (this.#failed || this.#signal.aborted) return false;
      try {
        return await this.#bring(work);
      } catch (error) {
        this.#fail(error);
        return false;
      }
    });
    this.#results.set(work, result);
    const turn = { work, done: result.then(() => {}) };
    this.#turns.set(key, turn);
    turn.done.then(() => {
      if (this.#turns.get(key) === turn) this.#turns.delete(key);
      this.#oneEnds.resolve();
      this.#oneEnds = Promise.withResolvers();
    });
    return result;
  }

  /** Whether nothing is left to be done about the key for now. */
  async #bring(work: Work): Promise<boolean> {
    let from = new Set(work.all ? this.#sides.keys() : work.told.keys());
    let done = true;
    for (let turns = 0; from.size > 0 && turns < 2 * this.#sides.size; turns++) {
      const lanes = this.#lanes.filter(({ edge }) => from.has(edge.from));
      const outcomes = await Promise.all(lanes.map((lane) => this.#bringAlong(lane, work)));
      done = outcomes.every((outcome) => outcome !== 'held' && outcome !== 'busy');
      // What has come to stand there goes on from there: the notice of our own copy has nothing to add.
      from = new Set(
        lanes.filter((_, at) => outcomes[at] === 'applied' || outcomes[at] === 'kept').map(({ edge }) => edge.to),
      );
    }
    await this.#durable(work.key);
    return done;
  }

  /** Ends when what was written about a key is in all journals, and about what has these names there. */
  async #durable(key: string, ...names: readonly string[]): Promise<void> {
    const written = [...this.#sides].flatMap(([side, { book }]) =>
      [this.#nameAt(side, key), ...names].map((name) => book.durable(name)),
    );
    await Promise.all(written);
  }

  async #bringAlong(lane: Lane, work: Work): Promise<Outcome | 'refused'> {
    const { edge } = lane;
    const { key } = work;
    const name = `${directionName(edge)} ${key}`;
    const { tombstoneMs, edges } = this.#options;
    const all = work.all;
    const direction: Direction = {
      ...edge,
      rule: this.#rule,
      tombstoneMs,
      carries: (origin) => all || carries(edges, edge, origin),
      nameAt: (name) => this.#nameAt(edge.to, name),
      expires: this.#side(edge.to).store.expiresMs !== undefined,
    };
    if (lane.held) return 'held';
    try {
      let outcome: Outcome = 'busy';
      for (let turn = 0; outcome === 'busy' && turn < mostTurns; turn++)
        outcome = await bringInStep(direction, key, this.#calls(lane, work));
      if (outcome === 'applied' || outcome === 'kept') {
        lane.applied++;
        lane.lastAppliedAt = new Date().toISOString();
      }
      this.errors.delete(name);
      return outcome;
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      const since = this.errors.get(name)?.since ?? new Date().toISOString();
      this.errors.set(name, { key, ...edge, reason: error.reason, detail: error.message, since });
      return 'refused';
    }
  }

  #side(name: string): PumpSide {
    const side = this.#sides.get(name);
    if (!side) throw new Error(`no side ${name}`);
    return side;
  }

  #calls(lane: Lane, work: Work): Calls {
    const gate = this.#gate;
    const signal = this.#signal;
    /** What was seen last, with its attributes. */
    const seen = new Map<string, StoredObject>();
    const { source: first, transform } = this.#options;
    const durable = (...names: string[]) => this.#durable(work.key, ...names);
    const head = async (name: string, key: string): Promise<StoredObject | undefined> => {
      const { store } = this.#side(name);
      const object = await gate.run(0, () => headOf({ gate, signal }, store, key));
      if (object) seen.set(`${name} ${key}`, object);
      else seen.delete(`${name} ${key}`);
      return object;
    };
    const objectAt = async (name: string, key: string, version: string): Promise<StoredObject | undefined> => {
      const known = seen.get(`${name} ${key}`);
      if (known?.version === version) return known;
      const now = await head(name, key);
      return now?.version === version ? now : undefined;
    };

    /** What stands at the target is what would come there: nothing is lost by it. */
    const isThere = (key: string): boolean => {
      const { from, to } = lane.edge;
      const at = this.#nameAt(from, work.key);
      const [here, there] = [seen.get(`${from} ${at}`), seen.get(`${to} ${key}`)];
      if (!here || !there || (from === first && editOf(transform, at))) return false;
      return isAlike(
        { store: this.#side(from).store.store, object: here },
        { store: this.#side(to).store.store, object: there },
      );
    };

    return {
      now: () => Date.now(),
      readBook: async (name, key) => this.#side(name).book.read(key),
      writeBook: async (name, key, entry, revision) => this.#side(name).book.write(key, entry, revision),
      clamped: (_, { side, aheadMs }) => {
        this.clamped[side] = Math.max(this.clamped[side] ?? 0, aheadMs);
      },
      admit: (key, does) => {
        const { to } = lane.edge;
        const { maxDeletes, released } = this.#options;
        if (Date.now() < (released[to] ?? 0) || (does === 'overwrite' && isThere(key))) return true;
        const { book, store } = this.#side(to);
        // A fleet is changed as a whole, and never removed so.
        const limit = brakeLimit(maxDeletes, book.objects, does === 'delete' ? store.leastDeletes : undefined);
        if (book.admit(key, does, limit)) return true;
        if (!lane.held) {
          lane.held = true;
          const state = this.#side(lane.edge.from).book.state(this.#nameAt(lane.edge.from, work.key));
          const origin = state.kind === 'nothing' ? lane.edge.from : state.change.stamp.origin;
          this.held.push({ direction: lane.edge, origin, does, limit });
        }
        return false;
      },

      look: async (name, key) => {
        const { store, book } = this.#side(name);
        // Before the look.
        const known = { state: book.state(key), listedAt: book.listedAt };
        const object = await head(name, key);
        return lookAt(store, object, key === this.#nameAt(name, work.key) ? work.told.get(name) : undefined, known);
      },

      fits: (name, key, version) => {
        const object = seen.get(`${name} ${key}`);
        return object?.version !== version || object.size <= transform.mostBytes;
      },

      log: async ({ side, key, version, change, winner }) => {
        const { store } = this.#side(side);
        const object = await objectAt(side, key, version);
        if (!object) return false;
        const source = this.#side(lane.edge.from).book.state(this.#nameAt(lane.edge.from, work.key));
        const wins = source.kind === 'object' && isSame(source.change, winner);
        if (side === lane.edge.to && wins && isThere(key)) return true;
        await durable(key);
        if (!(await logLoser({ gate, signal }, store, { object, change, winner }))) return false;
        lane.conflicts++;
        return true;
      },

      copy: async ({ from, to, change, over }) => {
        const object = await objectAt(from.side, from.key, from.version);
        if (!object) return undefined;
        const [source, target] = [this.#side(from.side).store, this.#side(to.side).store];
        const edit = from.side === first ? editOf(transform, from.key) : undefined;
        const as = { key: to.key, stamp: writeCopyStamp(to.key, change), edit };
        await durable(from.key, to.key);
        const expected = over === undefined ? { absent: true as const } : { version: over };
        const pairing = { ...pairingOf({ gate, signal }, source, target), as };
        const written = await copyWith({ gate, signal }, pairing, object, expected);
        if (!written || target.store.tellsVersion) return written;
        const now = await head(to.side, to.key);
        return now && target.store.isAnswered(written.version, now.version) ? { version: now.version } : written;
      },

      remove: async (name, key, version) => {
        const { store } = this.#side(name);
        if (seen.get(`${name} ${key}`)?.refusal === 'held')
          throw new Refusal('held', 'it is under a hold or a retention, and stays');
        await durable(key);
        try {
          await gate.run(0, () =>
            ask({ gate }, store, 'remove', key, () => store.store.remove({ key, version }, signal)),
          );
          return true;
        } catch (error) {
          if (error instanceof CloudError && error.kind === 'PreconditionFailed') return false;
          throw error;
        }
      },
    };
  }

  /** How far each direction is. */
  get lag(): DirectionLag[] {
    const now = Date.now();
    return this.#lanes.map((lane) => {
      const { edge, applied, conflicts, lastAppliedAt, held } = lane;
      const open = [...this.#turns.values()].map(({ work }) => work);
      const mine = open.filter(({ all, told }) => all || told.has(edge.from));
      const oldest = mine.reduce((least, { since }) => Math.min(least, since), now);
      const errors = [...this.errors.values()].filter(({ from, to }) => from === edge.from && to === edge.to).length;
      return {
        ...edge,
        seconds: Math.max(0, Math.round(now - oldest) / 1000),
        behind: mine.length,
        ...{ applied, conflicts, errors, lastAppliedAt, held },
      };
    });
  }
}
