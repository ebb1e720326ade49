/**
 * Sides, their clocks, writers, notifications and workers, simulated from one seed: what runs is the code of `model/`, what
 * is simulated are the calls that it makes. Every call takes its effect at a moment of its own, in any order with all others,
 * is lost before or after it, or lands long after its worker has died.
 *
 * The reference knows of each write whether a user has replaced or deleted it where he saw it. Every other write must stand
 * in the end, on all sides, or be in the log with its bytes, or be kept under a name of its own.
 */
import { admit, type BrakeWindow } from '../../model/brake.ts';
import { blank, type Entry, type KeyState, type Look } from '../../model/capture.ts';
import { type Change, type ConflictRule, isSame } from '../../model/conflict.ts';
import { readCopyStamp, writeCopyStamp } from '../../model/copy-stamp.ts';
import { bringInStep, type Calls, type Direction, type Outcome } from '../../model/in-step.ts';
import { carries, type Edge } from '../../model/routes.ts';

export interface Scenario {
  seed: number;
  /** Clouds as they differ in what they tell: `aws` gives modified times in seconds and versions without an order. */
  sides: readonly Side['name'][];
  edges: readonly Edge[];
  rule: ConflictRule;
  tombstoneMs: number;
  keys: number;
  /** Puts, deletes, restores and edits by users, and the time that they take, ms. */
  changes: number;
  overMs: number;
  /** How far the clocks of two sides may be apart, ms. */
  skewMs: number;
  /** Shares of 1: of notifications that never come or come twice, and of calls at which a worker dies. */
  lost: number;
  twice: number;
  dies: number;
  /** From one comparison of both sides to the next, ms; 0: none but at the end. */
  scanMs: number;
  /** The first side is cut off in the middle for so long, ms; users write on. */
  partitionMs: number;
  /** In the end all objects of the first side are deleted; from then on the brake of each side holds at so many. */
  emptied?: { limit: number } | undefined;
  /** A design to be shown wrong: other calls than those of the simulation. */
  mutant?: ((calls: Calls, world: World, direction: Direction) => Calls) | undefined;
}

export interface Report {
  /** Keys under which the sides differ in the end. */
  diverged: string[];
  /** Writes that no side has, no log holds, and no user has replaced or deleted. */
  silentlyLost: string[];
  /** Keys under which a change stands that another one outranks, of all that were ever captured. */
  outranked: string[];
  /** Writes that a user had replaced or deleted where he saw them, and that stand all the same. */
  undead: string[];
  /** Keys of a side of which more changes were captured there than users had made. */
  invented: string[];
  /** Keys under which the sides differed when all notifications had been worked off, before the last comparison. */
  behind: number;
  /** Of the objects of the other sides, the least share that one still had after the first was emptied. */
  left: number;
  writes: number;
  copies: number;
  conflicts: number;
  /** Copies of a write to the side that it was made on, or that had been brought it before. */
  echoes: number;
  deaths: number;
  /** Comparisons of all sides after the end of all writing, until nothing was to be done. */
  rounds: number;
  outcomes: Partial<Record<Outcome, number>>;
}

interface Stored {
  /** Names the write: its bytes and attributes. */
  id: string;
  version: string;
  /** The side's clock when it was written, ms, and what it says of it later. */
  time: number;
  modified: number;
  sequence: string;
  /** What stands in its metadata where it is a copy, or was made of one. */
  mark: string | undefined;
}

interface Event {
  key: string;
  version: string | undefined;
  time: number;
  sequence: string;
}

interface Side {
  name: 'aws' | 'azure' | 'gcp';
  skew: number;
  objects: Map<string, Stored>;
  /** When keys were deleted, where the side keeps that. */
  deletions: Map<string, number>;
  past: Map<string, Stored[]>;
  book: Map<string, { entry: Entry; revision: string }>;
  /** Begin of the last listing that showed the key. */
  shown: Map<string, number>;
  brought: Map<string, Set<string>>;
}

interface Message {
  event: Event;
  due: number;
}

interface Call {
  worker: Worker;
  /** Its effect alone. */
  run(): unknown;
  /** Its effect, and the answer. */
  answer(): void;
  /** No answer. */
  fail(): void;
}

interface Worker {
  edge: Edge;
  dead: boolean;
}

/** One for all: what is thrown by the thousand carries no trace. */
const unreachable = new Error('unreachable');

/** Mulberry32. */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const start = Date.UTC(2026, 0, 1);
/** After so long a notification that was taken and not acknowledged comes again, ms. */
const visibilityMs = 2000;
const latest = 30_000;

export class World {
  now = start;
  readonly random: () => number;
  readonly sides: Map<string, Side>;
  readonly #scenario: Scenario;
  readonly #queues: Map<Edge, Message[]>;
  readonly #calls: Call[] = [];
  readonly #late: { at: number; run(): unknown }[] = [];
  readonly #report: Report;
  readonly #best = new Map<string, Change>();
  /** By side and key: the stamps that were made there, and how often users have changed it. */
  readonly #captured = new Map<string, Set<string>>();
  readonly #changed = new Map<string, number>();
  readonly #logged = new Set<string>();
  readonly #replaced = new Set<string>();
  readonly #writes = new Set<string>();
  readonly #marks = new Map<string, Change | undefined>();
  #workers: Worker[] = [];
  readonly #brakes = new Map<string, BrakeWindow>();
  #braking = false;
  #running = 0;
  #serial = 0;
  #cut: { from: number; until: number };
  #failure: unknown;

  constructor(scenario: Scenario) {
    this.#scenario = scenario;
    this.random = generator(scenario.seed);
    this.sides = new Map(
      scenario.sides.map((name) => [
        name,
        {
          name,
          skew: Math.round((this.random() - 0.5) * scenario.skewMs),
          objects: new Map(),
          deletions: new Map(),
          past: new Map(),
          book: new Map(),
          shown: new Map(),
          brought: new Map(),
        },
      ]),
    );
    this.#queues = new Map(scenario.edges.map((edge) => [edge, []]));
    const middle = start + scenario.overMs / 3;
    this.#cut = { from: middle, until: middle + scenario.partitionMs };
    this.#report = {
      diverged: [],
      silentlyLost: [],
      outranked: [],
      undead: [],
      invented: [],
      behind: 0,
      left: 1,
      writes: 0,
      copies: 0,
      conflicts: 0,
      echoes: 0,
      deaths: 0,
      rounds: 0,
      outcomes: {},
    };
  }

  async run(): Promise<Report> {
    const { changes, overMs, scanMs, edges, dies, partitionMs } = this.#scenario;
    const writing = Array.from({ length: changes }, () => start + this.random() * overMs).sort((a, b) => a - b);
    let scanAt = scanMs > 0 ? start + scanMs : Number.POSITIVE_INFINITY;
    for (;;) {
      // Calls take some milliseconds; where there is none, the time until something is due passes at once.
      if (this.#calls.length > 0) this.now += this.random() * 8;
      else {
        const next = Math.min(writing[0] ?? Number.POSITIVE_INFINITY, this.#nextDue());
        if (next === Number.POSITIVE_INFINITY) break;
        this.now = Math.max(this.now, writing.length > 0 ? Math.min(next, scanAt) : next);
      }
      // Copies of copies of copies: a right design needs one a side.
      if (this.#report.copies > 20 * changes) {
        this.#report.diverged.push('a storm of copies');
        return this.#report;
      }
      while (writing.length > 0 && (writing[0] ?? 0) <= this.now) {
        writing.shift();
        this.#userChanges();
      }
      if (scanAt <= this.now && writing.length > 0) {
        scanAt = this.now + scanMs;
        for (const edge of edges) if (!this.#isCut(edge)) this.#scan(edge);
      }
      this.#deliver();
      this.#land();
      if (this.#calls.length > 0) {
        const call = this.#calls.splice(Math.floor(this.random() * this.#calls.length), 1)[0];
        if (call && this.random() < dies) this.#die(call);
        else call?.answer();
      }
      await this.#quiet();
    }
    this.now = Math.max(this.now, this.#cut.until, start + partitionMs);
    this.#report.behind = this.#differing().length;
    await this.#settle();
    if (this.#scenario.emptied) await this.#empty();
    return this.#judge();
  }

  /** Compares all sides until nothing is left to be done. */
  async #settle(): Promise<void> {
    for (let round = 1; round <= 12; round++) {
      this.#report.rounds = round;
      const before = { ...this.#report.outcomes };
      for (const edge of this.#scenario.edges) {
        this.#scan(edge);
        while (this.#calls.length > 0) {
          this.now += this.random() * 2;
          const [call] = this.#calls.splice(Math.floor(this.random() * this.#calls.length), 1);
          call?.answer();
          await this.#quiet();
        }
      }
      for (const queue of this.#queues.values()) queue.length = 0;
      const { applied, kept, busy } = this.#report.outcomes;
      if (applied === before.applied && kept === before.kept && busy === before.busy) return;
    }
  }

  async #empty(): Promise<void> {
    const [first, ...others] = [...this.sides.values()];
    const before = others.map(({ objects }) => objects.size);
    this.#braking = true;
    for (const key of [...(first?.objects.keys() ?? [])]) if (first) this.#removeAt(first, key);
    await this.#settle();
    this.#report.left = Math.min(...others.map(({ objects }, at) => objects.size / (before[at] ?? 1)));
  }

  /** Until every task waits for a call or has ended. */
  async #quiet(): Promise<void> {
    while (this.#running > 0) await null;
    if (this.#failure !== undefined) throw this.#failure;
  }

  #nextDue(): number {
    let due = Number.POSITIVE_INFINITY;
    for (const [edge, queue] of this.#queues)
      for (const message of queue)
        due = Math.min(due, this.#isCut(edge) ? Math.max(message.due, this.#cut.until) : message.due);
    for (const { at } of this.#late) due = Math.min(due, at);
    return due;
  }

  #isCut({ from, to }: Edge): boolean {
    const [first] = this.#scenario.sides;
    return this.now >= this.#cut.from && this.now < this.#cut.until && (from === first || to === first);
  }

  #side(name: string): Side {
    const side = this.sides.get(name);
    if (!side) throw new Error(`no side ${name}`);
    return side;
  }

  // The users.

  #userChanges(): void {
    const names = [...this.sides.keys()];
    const side = this.#side(names[Math.floor(this.random() * names.length)] ?? '');
    const key = `k${Math.floor(this.random() * this.#scenario.keys)}`;
    const stored = side.objects.get(key);
    const dice = this.random();
    if (dice < 0.25) {
      if (!stored) return;
      this.#replaced.add(stored.id);
      this.#count(side, key);
      this.#removeAt(side, key);
    } else if (dice < 0.32) this.#restore(side, key);
    else this.#userWrites(side, key, undefined);
  }

  /** An older version is put back with its metadata, an object is copied to another name with them, or its attributes change. */
  #restore(side: Side, key: string): void {
    const past = side.past.get(key) ?? [];
    const old = past[Math.floor(this.random() * past.length)];
    if (!old) return;
    // What workers are bringing in this moment cannot be told from the same copy put back by a user, nor has it to be.
    const entry = side.book.get(key)?.entry;
    const present = side.objects.get(key);
    const known = entry?.state.kind === 'object' && entry.state.version === present?.version;
    const bringing = (entry?.announced ?? []).map(({ change }) => writeCopyStamp(key, change));
    if (old.mark !== undefined && (bringing.includes(old.mark) || (old.mark === present?.mark && !known))) return;
    this.#userWrites(side, this.random() < 0.2 ? `${key}-renamed` : key, old.mark);
  }

  #userWrites(side: Side, key: string, mark: string | undefined): void {
    const before = side.objects.get(key);
    if (before) this.#replaced.add(before.id);
    const id = `w${this.#serial}@${side.name}:${key}`;
    this.#writes.add(id);
    this.#count(side, key);
    this.#put(side, key, id, mark);
  }

  #count({ name }: Side, key: string): void {
    this.#changed.set(`${name} ${key}`, (this.#changed.get(`${name} ${key}`) ?? 0) + 1);
  }

  // The clouds.

  #put(side: Side, key: string, id: string, mark: string | undefined): string {
    const time = Math.round(this.now + side.skew);
    const serial = ++this.#serial;
    const version = side.name === 'aws' ? `${Math.floor(this.random() * 1e9)}.${serial}` : `${time}.${serial}`;
    const modified = side.name === 'aws' ? Math.floor(time / 1000) * 1000 : time;
    const stored: Stored = { id, version, time, modified, sequence: serial.toString(16), mark };
    side.objects.set(key, stored);
    side.past.set(key, [...(side.past.get(key) ?? []), stored].slice(-4));
    this.#notify(side, { key, version, time, sequence: stored.sequence });
    return version;
  }

  #removeAt(side: Side, key: string): void {
    side.objects.delete(key);
    const time = Math.round(this.now + side.skew);
    side.deletions.set(key, time);
    this.#notify(side, { key, version: undefined, time, sequence: (++this.#serial).toString(16) });
  }

  #notify(side: Side, event: Event): void {
    const { lost, twice } = this.#scenario;
    for (const [{ from }, queue] of this.#queues) {
      if (from !== side.name) continue;
      const delay = () => (this.random() < 0.1 ? this.random() * 5000 : this.random() * 300);
      if (this.random() >= lost) queue.push({ event, due: this.now + delay() });
      if (this.random() < twice) queue.push({ event, due: this.now + delay() });
    }
  }

  // The workers.

  #deliver(): void {
    for (const [edge, queue] of this.#queues) {
      if (this.#isCut(edge)) continue;
      for (const message of queue.filter(({ due }) => due <= this.now)) {
        message.due = this.now + visibilityMs;
        this.#start(
          edge,
          message.event.key,
          message.event,
          (origin) => carries(this.#scenario.edges, edge, origin),
          () => {
            const at = queue.indexOf(message);
            if (at >= 0) queue.splice(at, 1);
          },
        );
      }
    }
  }

  #scan(edge: Edge): void {
    const [from, to] = [this.#side(edge.from), this.#side(edge.to)];
    const keys = new Set([...from.objects.keys(), ...from.book.keys(), ...to.objects.keys()]);
    for (const key of keys)
      this.#start(
        edge,
        key,
        undefined,
        () => true,
        () => {},
      );
    for (const key of from.objects.keys()) from.shown.set(key, this.now + from.skew);
  }

  #start(
    edge: Edge,
    key: string,
    event: Event | undefined,
    carried: Direction['carries'],
    acknowledge: () => void,
  ): void {
    const { rule, tombstoneMs, mutant } = this.#scenario;
    const worker: Worker = this.#workers.find((one) => one.edge === edge && !one.dead) ?? { edge, dead: false };
    if (!this.#workers.includes(worker)) this.#workers.push(worker);
    const direction: Direction = { ...edge, rule, tombstoneMs, carries: carried };
    const calls = this.#callsOf(worker, event);
    this.#running++;
    bringInStep(direction, key, mutant?.(calls, this, direction) ?? calls).then(
      (outcome) => {
        this.#running--;
        this.#report.outcomes[outcome] = (this.#report.outcomes[outcome] ?? 0) + 1;
        if (outcome !== 'busy' && outcome !== 'held') acknowledge();
      },
      (error: unknown) => {
        this.#running--;
        if (error !== unreachable) this.#failure = error;
      },
    );
  }

  #callsOf(worker: Worker, event: Event | undefined): Calls {
    const call = <T>(run: () => T): Promise<T> => {
      this.#running--;
      return new Promise<T>((resolve, reject) => {
        this.#calls.push({
          worker,
          run,
          answer: () => {
            this.#running++;
            if (this.#isCut(worker.edge)) reject(unreachable);
            else resolve(run());
          },
          fail: () => {
            this.#running++;
            reject(unreachable);
          },
        });
      });
    };
    return {
      now: () => Math.round(this.now),
      admit: (key, does) => !this.#braking || this.#admit(worker.edge.to, key, does),
      clamped: () => {},
      readBook: (name, key) => call(() => this.#side(name).book.get(key) ?? { entry: blank, revision: undefined }),
      writeBook: (name, key, entry, revision) => call(() => this.#writeBook(this.#side(name), key, entry, revision)),
      look: (name, key) =>
        call(() =>
          this.#look(this.#side(name), key, name === worker.edge.from && event?.key === key ? event : undefined),
        ),
      log: ({ side, key, version }) =>
        call(() => {
          const stored = this.#side(side).objects.get(key);
          if (stored?.version !== version) return false;
          this.#report.conflicts++;
          this.#logged.add(stored.id);
          return true;
        }),
      copy: async ({ from, to, change, over }) => {
        const read = await call(() => this.#side(from.side).objects.get(from.key));
        if (read?.version !== from.version) return undefined;
        return await call(() => this.#copyTo(this.#side(to.side), to.key, read.id, change, over));
      },
      remove: (name, key, version) =>
        call(() => {
          const side = this.#side(name);
          if (side.objects.get(key)?.version !== version) return false;
          this.#removeAt(side, key);
          return true;
        }),
    };
  }

  #admit(side: string, key: string, does: keyof BrakeWindow): boolean {
    const window = this.#brakes.get(side) ?? { delete: new Map(), overwrite: new Map() };
    this.#brakes.set(side, window);
    return admit(window, { key, does, at: this.now, limit: this.#scenario.emptied?.limit ?? 0 });
  }

  #writeBook(side: Side, key: string, entry: Entry, revision: string | undefined): string | undefined {
    if (side.book.get(key)?.revision !== revision) return undefined;
    const next = `${++this.#serial}`;
    this.#captures(side, key, side.book.get(key)?.entry.state, entry.state);
    side.book.set(key, { entry, revision: next });
    return next;
  }

  #captures({ name }: Side, key: string, before: KeyState | undefined, { kind, ...now }: KeyState): void {
    if (!('change' in now)) return;
    const { change } = now;
    const best = this.#best.get(key);
    if (!best || this.#scenario.rule.outranks(change, best)) this.#best.set(key, change);
    const { origin, time } = change.stamp;
    if (origin !== name) return;
    const at = `${name} ${key}`;
    const stamps = this.#captured.get(at) ?? new Set();
    // The same delete, of which more is known now.
    if (kind === 'deleted' && before?.kind === kind && before.change.stamp.origin === name)
      stamps.delete(`${before.change.stamp.time}`);
    this.#captured.set(at, stamps.add(`${time}`));
  }

  #look(side: Side, key: string, event: Event | undefined): Look {
    const stored = side.objects.get(key);
    if (stored) {
      const told = event?.version === stored.version ? event : undefined;
      return {
        object: {
          version: stored.version,
          time: told?.time ?? stored.modified,
          sequence: told?.sequence ?? '',
          copyOf: stored.mark === undefined ? undefined : this.#read(key, stored.mark),
        },
      };
    }
    const deleted = event && event.version === undefined ? event : undefined;
    // A cloud without versions does not tell when something was deleted.
    const kept = side.name === 'aws' ? side.deletions.get(key) : undefined;
    const time = deleted?.time ?? kept ?? side.shown.get(key);
    return { object: undefined, time: time && Math.round(time), sequence: deleted?.sequence ?? '', cause: 'user' };
  }

  #read(key: string, mark: string): Change | undefined {
    const name = `${key} ${mark}`;
    if (!this.#marks.has(name)) this.#marks.set(name, readCopyStamp(key, mark));
    return this.#marks.get(name);
  }

  #copyTo(
    side: Side,
    key: string,
    id: string,
    change: Change,
    over: string | undefined,
  ): { version: string } | undefined {
    if (side.objects.get(key)?.version !== over) return undefined;
    this.#report.copies++;
    const brought = side.brought.get(key) ?? new Set();
    const home = id.includes(`@${side.name}:`) && !key.includes('.conflict-');
    if (home || brought.has(id)) this.#report.echoes++;
    side.brought.set(key, brought.add(id));
    return { version: this.#put(side, key, id, writeCopyStamp(key, change)) };
  }

  /** All that the worker has under way is cut off: before its effect, after it, or with an effect that comes later. */
  #die({ worker, ...last }: Call): void {
    this.#report.deaths++;
    worker.dead = true;
    this.#workers = this.#workers.filter((one) => one !== worker);
    for (const call of [{ worker, ...last }, ...this.#calls.filter((one) => one.worker === worker)]) {
      const dice = this.random();
      if (dice < 0.3) call.run();
      else if (dice < 0.5) this.#late.push({ at: this.now + this.random() * latest, run: call.run });
      call.fail();
    }
    const others = this.#calls.filter((one) => one.worker !== worker);
    this.#calls.splice(0, this.#calls.length, ...others);
  }

  #land(): void {
    for (const call of this.#late.filter(({ at }) => at <= this.now)) {
      this.#late.splice(this.#late.indexOf(call), 1);
      call.run();
    }
  }

  // The reference.

  #differing(): string[] {
    const sides = [...this.sides.values()];
    const keys = new Set(sides.flatMap(({ objects }) => [...objects.keys()]));
    return [...keys].flatMap((key) => {
      const ids = sides.map(({ objects }) => objects.get(key)?.id);
      return new Set(ids).size > 1 ? [`${key}: ${sides.map(({ name }, at) => `${name} ${ids[at]}`).join(', ')}`] : [];
    });
  }

  #judge(): Report {
    const sides = [...this.sides.values()];
    const standing = new Set<string>();
    this.#report.diverged = this.#differing();
    for (const { objects } of sides)
      for (const [key, { id }] of objects) {
        standing.add(id);
        // What was kept beside a winner may have been replaced elsewhere meanwhile.
        if (this.#replaced.has(id) && !key.includes('.conflict-')) this.#report.undead.push(`${key}: ${id}`);
      }
    for (const [at, stamps] of this.#captured)
      if (stamps.size > (this.#changed.get(at) ?? 0) && !at.includes('.conflict-')) this.#report.invented.push(at);
    for (const [key, best] of this.#best)
      for (const { name, book } of sides) {
        const state = book.get(key)?.entry.state;
        if (!state || state.kind === 'nothing' || !isSame(state.change, best))
          this.#report.outranked.push(`${key} ${name}`);
      }
    this.#report.writes = this.#writes.size;
    for (const id of this.#writes)
      if (!standing.has(id) && !this.#logged.has(id) && !this.#replaced.has(id)) this.#report.silentlyLost.push(id);
    return this.#report;
  }
}

export const simulate = (scenario: Scenario): Promise<Report> => new World(scenario).run();

export const mesh = (sides: readonly string[]): Edge[] =>
  sides.flatMap((from) => sides.filter((to) => to !== from).map((to) => ({ from, to })));

/** Each side sends to the next one alone. */
export const ring = (sides: readonly string[]): Edge[] =>
  sides.map((from, at) => ({ from, to: sides[(at + 1) % sides.length] ?? '' }));
