/**
 * The book of one side, in the memory of the one pump that owns it, and its journal in the records bucket. What is written stands
 * in memory at once; `durable` tells when it is in the journal, for which every act that relies on it waits.
 */
import {
  BatchHead,
  BookLine,
  journalFile,
  journalPrefix,
  numberOf,
  snapshotEnd,
  snapshotPrefix,
  snapshotsPrefix,
} from '../../model/book.ts';
import { type BrakeWindow, brakeWindowMs, admit as mayGo } from '../../model/brake.ts';
import { blank, type Entry, type KeyState } from '../../model/capture.ts';
import type { Change } from '../../model/conflict.ts';
import { CloudError } from '../../model/errors.ts';
import type { Booked } from '../../model/in-step.ts';
import { fromLines, ordinal, packLines, toLines, unpackLines } from '../transfer/files.ts';

/** The files of a book. */
export interface BookFiles {
  /** Names that begin so, in their order. */
  list(prefix: string): Promise<string[]>;
  read(name: string): Promise<Uint8Array | undefined>;
  /** Throws the cloud's "precondition failed" where it is there already. */
  create(name: string, bytes: Uint8Array): Promise<void>;
  /** Removes all whose names begin with `prefix` and come before `before`. */
  remove(prefix: string, before: string): Promise<void>;
}

/** Another pump writes this book: whoever hears it stops. */
export class Superseded extends Error {}

/** Lines in a file of a snapshot. */
const partLines = 20_000;
/** Most lines that go into one file of the journal. */
const batchLines = 5000;
/** A snapshot is taken when the journal has so many files since the last one. */
const snapshotFiles = 1000;

/** A version and the change that it is; of all that is more, the whole entry as JSON, and no version. */
interface Row {
  version: string | undefined;
  text: string;
  /** When the object came to stand there, s since 1970; 0 where that is not known. */
  since: number;
  /** The number of the last listing that has shown it. */
  shown: number;
}

interface Batch {
  lines: BookLine[];
  /** Written though it may hold nothing, to know whose book it is. */
  forced: boolean;
  keys: string[];
  done: Promise<void>;
  settle(error?: unknown): void;
}

function newBatch(): Batch {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  promise.catch(() => {}); // thrown where it is waited for
  return {
    lines: [],
    forced: false,
    keys: [],
    done: promise,
    settle: (error) => (error === undefined ? resolve() : reject(error)),
  };
}

/** Short, and the same for the same change: there are millions. */
const textOf = ({ stamp, seen }: Change): string =>
  [
    stamp.time,
    stamp.origin,
    stamp.sequence,
    ...Object.keys(seen)
      .sort()
      .flatMap((side) => [side, seen[side]]),
  ].join(' ');

function changeOf(text: string): Change {
  const [time, origin = '', sequence = '', ...vector] = text.split(' ');
  const seen: Change['seen'] = {};
  for (let at = 0; at < vector.length; at += 2) seen[vector[at] ?? ''] = Number(vector[at + 1]);
  return { stamp: { time: Number(time), origin, sequence }, seen };
}

const asRow = ({ state, announced }: Entry, shown: number, text: (change: Change) => string): Row =>
  state.kind === 'object' && announced.length === 0
    ? { version: state.version, text: text(state.change), since: Math.floor((state.since ?? 0) / 1000), shown }
    : { version: undefined, text: JSON.stringify({ state, announced }), since: 0, shown };

const entryOf = ({ version, text, since }: Row): Entry =>
  version === undefined
    ? (JSON.parse(text) as Entry)
    : {
        state: { kind: 'object', version, change: changeOf(text), ...(since > 0 && { since: since * 1000 }) },
        announced: [],
      };

export class Book {
  readonly side: string;
  readonly #files: BookFiles;
  readonly #head: BatchHead;
  readonly #rows = new Map<string, Row>();
  readonly #window: BrakeWindow = { delete: new Map(), overwrite: new Map() };
  /** Texts of changes that other books have as well: they are in memory once. */
  readonly #shared: (key: string, text: string) => string;
  readonly #undurable = new Map<string, Batch>();
  #pending = newBatch();
  #writing: Promise<void> | undefined;
  #failed: { error: unknown } | undefined;
  #next = 1;
  #snapshotAt = 0;
  #objects = 0;
  #listing = 1;
  #listedAt: number | undefined;

  private constructor(
    side: string,
    files: BookFiles,
    head: BatchHead,
    shared: (key: string, text: string) => string = (_, text) => text,
  ) {
    this.side = side;
    this.#files = files;
    this.#head = head;
    this.#shared = shared;
  }

  /** Reads the book, and takes it over from whoever has written it before; throws `Superseded` where a later pump has it. */
  static async open(
    side: string,
    files: BookFiles,
    { epoch, pump, shared }: Omit<BatchHead, 'v'> & { shared?: (key: string, text: string) => string },
  ): Promise<Book> {
    for (let tries = 1; ; tries++) {
      const book = new Book(side, files, { v: 1, epoch, pump }, shared);
      if (await book.#load()) {
        await book.#claim();
        return book;
      }
      // The pump before this one has just taken a snapshot, and removed what was being read.
      if (tries >= 5) throw new Superseded(`the book of ${side} kept changing while it was read`);
    }
  }

  async #load(): Promise<boolean> {
    const snapshots = await this.#files.list(snapshotsPrefix);
    const last = snapshots.filter((name) => name.endsWith(`/${snapshotEnd}`)).at(-1);
    if (last !== undefined) {
      this.#snapshotAt = numberOf(last);
      for (const name of snapshots.filter((one) => one.startsWith(snapshotPrefix(this.#snapshotAt)) && one !== last)) {
        const bytes = await this.#files.read(name);
        if (!bytes) return false;
        for (const line of unpackLines(bytes)) this.#take(BookLine.parse(line));
      }
      if (!(await this.#files.read(last))) return false;
    }
    this.#next = this.#snapshotAt + 1;
    const journal = (await this.#files.list(journalPrefix)).filter((name) => numberOf(name) > this.#snapshotAt);
    const ahead = 16;
    const reading = new Map<string, Promise<Uint8Array | undefined>>();
    for (const [at, name] of journal.entries()) {
      for (const one of journal.slice(at, at + ahead))
        if (!reading.has(one)) {
          const bytes = this.#files.read(one);
          bytes.catch(() => {}); // thrown when its turn comes
          reading.set(one, bytes);
        }
      if (numberOf(name) !== this.#next) return false;
      const bytes = await reading.get(name);
      if (!bytes) return false;
      const [head, ...lines] = fromLines(bytes);
      const { epoch } = BatchHead.parse(head);
      if (epoch > this.#head.epoch) throw new Superseded(`the book of ${this.side} belongs to the pump ${epoch}`);
      for (const line of lines) this.#take(BookLine.parse(line));
      reading.delete(name);
      this.#next++;
    }
    return true;
  }

  #take(line: BookLine): void {
    if ('listedAt' in line) this.#listedAt = line.listedAt;
    else if ('brake' in line) this.#window[line.brake].set(line.key, line.at);
    else this.#put(line.key, line.entry);
  }

  #put(key: string, entry: Entry): void {
    const before = this.#rows.get(key);
    this.#objects += (entry.state.kind === 'object' ? 1 : 0) - (before && isObject(before) ? 1 : 0);
    const text = (change: Change) => this.#shared(key, textOf(change));
    this.#rows.set(key, asRow(entry, before?.shown ?? 0, text));
  }

  /** Objects that are known to stand here. */
  get objects(): number {
    return this.#objects;
  }

  get size(): number {
    return this.#rows.size;
  }

  keys(): IterableIterator<string> {
    return this.#rows.keys();
  }

  textOf(key: string): string | undefined {
    const row = this.#rows.get(key);
    return row?.version === undefined ? undefined : row.text;
  }

  read(key: string): Booked {
    const row = this.#rows.get(key);
    if (!row) return { entry: blank, revision: undefined };
    return { entry: entryOf(row), revision: revisionOf(row) };
  }

  /** The version that is known to stand there, and only that. */
  version(key: string): string | undefined {
    return this.#rows.get(key)?.version;
  }

  state(key: string): KeyState {
    return this.read(key).entry.state;
  }

  /** Over `revision` only; answers the new one. */
  write(key: string, entry: Entry, revision: string | undefined): string | undefined {
    const row = this.#rows.get(key);
    if ((row && revisionOf(row)) !== revision) return undefined;
    this.#put(key, entry);
    this.#append({ key, entry });
    return revisionOf(this.#rows.get(key) as Row);
  }

  /** Ends when what was written of this key is in the journal. */
  async durable(key: string): Promise<void> {
    await this.#undurable.get(key)?.done;
  }

  /** Whether one more object may be deleted or replaced here. */
  admit(key: string, does: keyof BrakeWindow, limit: number): boolean {
    const at = Date.now();
    if (!mayGo(this.#window, { key, does, at, limit })) return false;
    this.#append({ key, brake: does, at });
    return true;
  }

  // The listing.

  /** Begins a listing of the side; what it shows is told by `shows`. */
  beginListing(): number {
    this.#listing++;
    return Date.now();
  }

  /** Whether what the listing shows is what is known already. `modified`: ISO time. */
  shows(key: string, version: string, modified: string): boolean {
    const row = this.#rows.get(key);
    if (!row) return false;
    row.shown = this.#listing;
    if (row.since === 0 && row.version === version) row.since = Math.floor(Date.parse(modified) / 1000);
    return row.version === version;
  }

  /** Whether an object that is known to stand here was not shown by the listing that has just ended. */
  isMissing(key: string): boolean {
    const row = this.#rows.get(key);
    return row !== undefined && row.shown !== this.#listing && isObject(row);
  }

  /** The listing that began then is whole. */
  listed(at: number): void {
    this.#listedAt = at;
    this.#append({ listedAt: at });
  }

  /** When the last whole listing began. An object that was there then, and is gone without a word, went after it. */
  get listedAt(): number | undefined {
    return this.#listedAt;
  }

  /** Forgets tombstones that count no more. `stands`: whether another side has an object there. */
  forget(tombstoneMs: number, now: number, stands: (key: string) => boolean): void {
    for (const [key, row] of this.#rows) {
      if (row.version !== undefined) continue;
      const { state, announced } = entryOf(row);
      const old = state.kind === 'deleted' && now - state.recordedAt > tombstoneMs;
      const over = old && (state.cause === 'user' || !stands(key));
      if (over && announced.every(({ at }) => now - at > tombstoneMs)) this.#rows.delete(key);
    }
  }

  // The journal.

  #append(line: BookLine): void {
    this.#pending.lines.push(line);
    if ('key' in line) {
      this.#pending.keys.push(line.key);
      this.#undurable.set(line.key, this.#pending);
    }
    this.#begin();
  }

  #begin(): void {
    if (this.#failed) this.#pending.settle(this.#failed.error);
    else
      this.#writing ??= this.#write().finally(() => {
        this.#writing = undefined;
      });
  }

  async #claim(): Promise<void> {
    const batch = this.#pending;
    batch.forced = true;
    this.#begin();
    await batch.done;
  }

  /** One file at a time; what is written meanwhile goes with the next. */
  async #write(): Promise<void> {
    while ((this.#pending.forced || this.#pending.lines.length > 0) && !this.#failed) {
      // What comes in the same moment goes together.
      await new Promise(setImmediate);
      const batch = this.#pending;
      this.#pending = newBatch();
      try {
        for (let at = 0; at < Math.max(1, batch.lines.length); at += batchLines)
          await this.#writeFile(batch.lines.slice(at, at + batchLines));
        for (const key of batch.keys) if (this.#undurable.get(key) === batch) this.#undurable.delete(key);
        batch.settle();
      } catch (error) {
        this.#failed = { error };
        batch.settle(error);
        this.#pending.settle(error);
      }
    }
  }

  async #writeFile(lines: readonly BookLine[]): Promise<void> {
    const name = journalFile(this.#next);
    const bytes = toLines([this.#head, ...lines]);
    try {
      await this.#files.create(name, bytes);
    } catch (error) {
      if (!(error instanceof CloudError) || !['PreconditionFailed', 'AlreadyExists'].includes(error.kind)) throw error;
      // The answer to an earlier try may have been lost.
      const there = await this.#files.read(name);
      if (!there || Buffer.compare(bytes, there) !== 0)
        throw new Superseded(`another pump writes the book of ${this.side}`);
    }
    this.#next++;
  }

  /** Ends when all that was written is in the journal. */
  async flush(): Promise<void> {
    while (this.#writing) await this.#writing;
    if (this.#failed) throw this.#failed.error;
  }

  get wantsSnapshot(): boolean {
    return this.#next - 1 - this.#snapshotAt >= snapshotFiles;
  }

  /**
   * Writes all rows while others are changed: what changes meanwhile stands in the journal after the number that the snapshot has,
   * and is read after it.
   */
  async snapshot(): Promise<void> {
    const at = this.#next - 1;
    const prefix = snapshotPrefix(at);
    let part = 0;
    let lines: BookLine[] = [];
    const write = async (): Promise<void> => {
      if (lines.length === 0) return;
      const bytes = packLines(lines);
      lines = [];
      await this.#files.create(`${prefix}${ordinal(part++)}.jsonl.gz`, bytes);
    };
    const recent = Date.now() - brakeWindowMs;
    if (this.#listedAt !== undefined) lines.push({ listedAt: this.#listedAt });
    for (const does of ['delete', 'overwrite'] as const)
      for (const [key, last] of this.#window[does]) if (last >= recent) lines.push({ key, brake: does, at: last });
    for (const [key, row] of this.#rows) {
      lines.push({ key, entry: entryOf(row) });
      if (lines.length >= partLines) await write();
    }
    await write();
    // Only the owner ends a snapshot, and with nothing in it that the journal lacks.
    await this.#claim();
    await this.#files.create(prefix + snapshotEnd, Buffer.from('{}\n'));
    this.#snapshotAt = at;
    await this.#files.remove(journalPrefix, journalFile(at + 1));
    await this.#files.remove(snapshotsPrefix, prefix);
  }
}

const revisionOf = ({ version, text }: Row): string => `${version ?? ''}\n${text}`;
const isObject = ({ version, text }: Row): boolean =>
  version !== undefined || text.startsWith('{"state":{"kind":"object"');
