/**
 * One partition on disk: an append-only file of encoded AMQP messages. An append is on disk before it is acknowledged;
 * a torn tail left by a kill is cut off when the file is opened again.
 */
import { closeSync, fsyncSync, ftruncateSync, openSync, readFileSync, readSync, renameSync, writeSync } from 'node:fs';

export interface Entry {
  sequence: number;
  /** Position in the partition's endless stream of bytes, as Event Hubs counts it. */
  offset: number;
  enqueuedMs: number;
  /** Of the payload in the file. */
  position: number;
  length: number;
}

const frameHead = 12; // u32 length of the payload, f64 enqueued time
const compactAbove = 32 * 1024 * 1024;

export class PartitionLog {
  readonly #file: string;
  #fd: number;
  #entries: Entry[] = [];
  /** Of the first record that the file may still hold. */
  #base: { sequence: number; offset: number };
  #end: number;
  #last: Entry | undefined;

  constructor(file: string) {
    this.#file = file;
    this.#fd = openSync(file, 'a+', 0o600);
    const bytes = readFileSync(this.#fd);
    const headEnd = bytes.indexOf(10) + 1;
    if (headEnd === 0) {
      ftruncateSync(this.#fd, 0);
      this.#base = { sequence: 0, offset: 0 };
      this.#end = writeSync(this.#fd, `${JSON.stringify(this.#base)}\n`);
      return;
    }
    this.#base = JSON.parse(bytes.toString('utf8', 0, headEnd)) as { sequence: number; offset: number };
    let at = headEnd;
    while (at + frameHead <= bytes.length) {
      const length = bytes.readUInt32BE(at);
      if (at + frameHead + length > bytes.length) break;
      this.#remember(bytes.readDoubleBE(at + 4), at + frameHead, length);
      at += frameHead + length;
    }
    if (at < bytes.length) ftruncateSync(this.#fd, at);
    this.#end = at;
  }

  /** `encode` is given the place that the message gets, so that it can be written into its annotations. */
  append(encode: (place: { sequence: number; offset: number; enqueuedMs: number }) => Buffer): Entry {
    const enqueuedMs = Date.now();
    const payload = encode({ ...this.#next(), enqueuedMs });
    const frame = Buffer.alloc(frameHead + payload.length);
    frame.writeUInt32BE(payload.length, 0);
    frame.writeDoubleBE(enqueuedMs, 4);
    payload.copy(frame, frameHead);
    writeSync(this.#fd, frame);
    const entry = this.#remember(enqueuedMs, this.#end + frameHead, payload.length);
    this.#end += frame.length;
    return entry;
  }

  read(entry: Entry): Buffer {
    const payload = Buffer.alloc(entry.length);
    readSync(this.#fd, payload, 0, entry.length, entry.position);
    return payload;
  }

  get last(): Entry | undefined {
    return this.#last;
  }

  /** Sequence number of the oldest one that is kept, or that the next one will get. */
  get firstSequence(): number {
    return this.#entries[0]?.sequence ?? this.#next().sequence;
  }

  get empty(): boolean {
    return this.#entries.length === 0;
  }

  /** The oldest entry with at least this sequence number. */
  at(sequence: number): Entry | undefined {
    const first = this.#entries[0];
    return first && this.#entries[Math.max(0, sequence - first.sequence)];
  }

  /** Sequence number from which a reader gets everything that `wanted` accepts; `wanted` is monotonic in the stream. */
  position(wanted: (entry: Entry) => boolean): number {
    let [low, high] = [0, this.#entries.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      const entry = this.#entries[middle];
      if (entry && wanted(entry)) high = middle;
      else low = middle + 1;
    }
    return this.#entries[low]?.sequence ?? this.#next().sequence;
  }

  /** Forgets what was enqueued before; gives the disk space back once most of a large file is gone. */
  expire(beforeMs: number): void {
    const kept = this.#entries.findIndex((entry) => entry.enqueuedMs >= beforeMs);
    const gone = kept < 0 ? this.#entries.length : kept;
    if (gone === 0) return;
    const next = this.#next();
    this.#entries.splice(0, gone);
    const first = this.#entries[0];
    if (this.#end > compactAbove && (first?.position ?? this.#end) > this.#end / 2) this.#compact(first, next);
  }

  close(): void {
    closeSync(this.#fd);
  }

  #compact(first: Entry | undefined, next: { sequence: number; offset: number }): void {
    const base = first ? { sequence: first.sequence, offset: first.offset } : next;
    const head = Buffer.from(`${JSON.stringify(base)}\n`);
    const from = first ? first.position - frameHead : this.#end;
    const body = Buffer.alloc(this.#end - from);
    readSync(this.#fd, body, 0, body.length, from);
    const fresh = openSync(`${this.#file}.new`, 'w', 0o600);
    writeSync(fresh, head);
    writeSync(fresh, body);
    fsyncSync(fresh);
    closeSync(fresh);
    renameSync(`${this.#file}.new`, this.#file);
    closeSync(this.#fd);
    this.#fd = openSync(this.#file, 'a+');
    this.#base = base;
    const moved = head.length - from;
    this.#entries = this.#entries.map((entry) => ({ ...entry, position: entry.position + moved }));
    this.#end += moved;
  }

  #remember(enqueuedMs: number, position: number, length: number): Entry {
    const entry = { ...this.#next(), enqueuedMs, position, length };
    this.#entries.push(entry);
    this.#last = entry;
    return entry;
  }

  #next(): { sequence: number; offset: number } {
    const last = this.#last;
    return last
      ? { sequence: last.sequence + 1, offset: last.offset + last.length + frameHead }
      : { sequence: this.#base.sequence, offset: this.#base.offset };
  }
}
