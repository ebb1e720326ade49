/** The identities of one hub, kept in an append-only journal: a change is on disk before it is answered. */
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { absent, type DeviceRecord, type Presence } from './device.ts';

export type Change = { deviceId: string; before: DeviceRecord | undefined; after: DeviceRecord | undefined };

export class Registry {
  readonly #file: string;
  readonly #records = new Map<string, { record: DeviceRecord; place: number }>();
  /** Device IDs in the order of their creation; the place of a deleted one stays empty, so that pages do not shift. */
  readonly #order: (string | undefined)[] = [];
  readonly #presence = new Map<string, Presence>();
  readonly #watchers = new Set<(change: Change) => void>();
  #fd: number;

  constructor(file: string) {
    this.#file = file;
    mkdirSync(dirname(file), { recursive: true });
    const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n') : [];
    lines.pop(); // what follows the last newline: nothing, or a line torn by a kill
    for (const line of lines) {
      const entry = JSON.parse(line) as { put?: DeviceRecord; drop?: string };
      if (entry.put) this.#place(entry.put);
      else if (entry.drop) this.#displace(entry.drop);
    }
    writeFileSync(`${file}.new`, [...this.#records.values()].map(({ record }) => line({ put: record })).join(''), {
      mode: 0o600,
    });
    renameSync(`${file}.new`, file);
    this.#fd = openSync(file, 'a', 0o600);
  }

  get(deviceId: string): DeviceRecord | undefined {
    return this.#records.get(deviceId)?.record;
  }

  get size(): number {
    return this.#records.size;
  }

  /** All or nothing with respect to a crash in the middle; undefined deletes. */
  write(changes: readonly { deviceId: string; after: DeviceRecord | undefined }[]): void {
    if (changes.length === 0) return;
    writeSync(
      this.#fd,
      changes.map(({ deviceId, after }) => line(after ? { put: after } : { drop: deviceId })).join(''),
    );
    for (const { deviceId, after } of changes) {
      const before = this.get(deviceId);
      if (after) this.#place(after);
      else this.#displace(deviceId);
      for (const watcher of this.#watchers) watcher({ deviceId, before, after });
    }
  }

  /** From a place in the order of creation, with the place to go on from. */
  page(
    from: number,
    count: number,
    matches: (record: DeviceRecord) => boolean,
  ): { records: DeviceRecord[]; next: number | undefined } {
    const records: DeviceRecord[] = [];
    let place = from;
    for (; place < this.#order.length && records.length < count; place++) {
      const id = this.#order[place];
      const record = id === undefined ? undefined : this.get(id);
      if (record && matches(record)) records.push(record);
    }
    return { records, next: place < this.#order.length ? place : undefined };
  }

  presence(deviceId: string): Presence {
    return this.#presence.get(deviceId) ?? absent;
  }

  seen(deviceId: string, connected: boolean): void {
    const now = new Date().toISOString();
    const before = this.presence(deviceId);
    this.#presence.set(deviceId, {
      connected,
      activity: now,
      changed: before.connected === connected ? before.changed : now,
    });
  }

  get connected(): number {
    return [...this.#presence.values()].filter(({ connected }) => connected).length;
  }

  watch(watcher: (change: Change) => void): void {
    this.#watchers.add(watcher);
  }

  close(): void {
    closeSync(this.#fd);
  }

  drop(): void {
    this.close();
    rmSync(this.#file, { force: true });
  }

  #place(record: DeviceRecord): void {
    const known = this.#records.get(record.deviceId);
    const place = known?.place ?? this.#order.push(record.deviceId) - 1;
    this.#records.set(record.deviceId, { record, place });
  }

  #displace(deviceId: string): void {
    const known = this.#records.get(deviceId);
    if (known) this.#order[known.place] = undefined;
    this.#records.delete(deviceId);
    this.#presence.delete(deviceId);
  }
}

const line = (entry: { put?: DeviceRecord; drop?: string }): string => `${JSON.stringify(entry)}\n`;
