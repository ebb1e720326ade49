/**
 * The objects of one bucket: every version of each, in memory and in a journal; contents are files named after a hash of the
 * key, so that a key may be any text. A version is in the journal before its upload is answered.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { Json, JsonObject } from '../../model/service.ts';
import { Journal } from '../journal.ts';

export const Version = z.object({
  name: z.string(),
  /** Microseconds since 1970, rising. */
  generation: z.string(),
  metageneration: z.number(),
  size: z.number(),
  md5: z.string().optional(),
  crc32c: z.string(),
  /** What the caller may set. */
  metadata: z.record(z.string(), z.json()),
  timeCreated: z.string(),
  updated: z.string(),
  /** Set on a version that is no longer the live one. */
  timeDeleted: z.string().optional(),
  componentCount: z.number().optional(),
});
export type Version = z.infer<typeof Version>;

const Line = z.union([z.object({ put: Version }), z.object({ drop: z.string(), generation: z.string() })]);

/** All versions of a key, oldest first; the last one is live unless it has `timeDeleted`. */
type Versions = Version[];

/** UTF-8 order, which differs from JavaScript's for characters beyond the basic plane only. */
function compare(a: string, b: string): number {
  if (a === b) return 0;
  if (beyond.test(a) || beyond.test(b)) return Buffer.compare(Buffer.from(a), Buffer.from(b));
  return a < b ? -1 : 1;
}
const beyond = /[\ud800-\udfff]/;

let lastGeneration = 0n;
function nextGeneration(): string {
  const now = BigInt(Date.now()) * 1000n;
  lastGeneration = now > lastGeneration ? now : lastGeneration + 1n;
  return String(lastGeneration);
}

/** The last thing on a page; a common prefix has no generation. */
export interface Place {
  name: string;
  generation: string;
}

export interface Listing {
  prefix: string;
  delimiter: string;
  includeTrailing: boolean;
  startOffset: string;
  endOffset: string;
  versions: boolean;
  /** Strictly after this place of the listing. */
  after: Place | undefined;
  max: number;
}

export class Objects {
  readonly #folder: string;
  readonly #journal: Journal;
  readonly #keys = new Map<string, Versions>();
  /** All keys in order, some of which may be gone, but for those in `#unsorted`. */
  #sorted: string[] = [];
  #unsorted: string[] = [];
  readonly #folders = new Set<string>();
  #lines = 0;

  constructor(folder: string) {
    this.#folder = folder;
    this.#journal = new Journal(join(folder, 'objects.log'), (line) => {
      const entry = Line.parse(line);
      this.#lines++;
      if ('put' in entry) {
        this.#put(entry.put);
        const generation = BigInt(entry.put.generation);
        if (generation > lastGeneration) lastGeneration = generation;
      } else this.#drop(entry.drop, entry.generation);
    });
    const kept = [...this.#keys.values()].reduce((sum, versions) => sum + versions.length, 0);
    if (this.#lines > 1000 && this.#lines > 2 * kept)
      this.#journal.rewrite([...this.#keys.values()].flat().map((version): Json => ({ put: version as JsonObject })));
  }

  get isEmpty(): boolean {
    return this.#keys.size === 0;
  }

  live(name: string): Version | undefined {
    const last = this.#keys.get(name)?.at(-1);
    return last?.timeDeleted === undefined ? last : undefined;
  }

  find(name: string, generation: string | undefined): Version | undefined {
    if (generation === undefined) return this.live(name);
    return this.#keys.get(name)?.find((version) => version.generation === generation);
  }

  /** Path of a version's bytes. */
  content({ name, generation }: Pick<Version, 'name' | 'generation'>): string {
    const hash = createHash('sha256').update(name).digest('hex');
    const folder = join(this.#folder, 'content', hash.slice(0, 2));
    if (!this.#folders.has(folder)) {
      mkdirSync(folder, { recursive: true });
      this.#folders.add(folder);
    }
    return join(folder, `${hash.slice(2, 40)}-${generation}`);
  }

  /**
   * A new live version. `store` writes its bytes to the path it is given. The one before is kept as noncurrent where the
   * bucket is versioned, and is gone otherwise.
   */
  create(
    version: Omit<Version, 'generation' | 'metageneration' | 'timeCreated' | 'updated'>,
    versioned: boolean,
    store: (file: string) => void,
  ): { created: Version; before: Version | undefined } {
    const now = new Date().toISOString();
    const created: Version = {
      ...version,
      generation: nextGeneration(),
      metageneration: 1,
      timeCreated: now,
      updated: now,
    };
    store(this.content(created));
    const before = this.live(version.name);
    const lines: Json[] = [];
    if (before && versioned) {
      before.timeDeleted = now;
      lines.push({ put: before as JsonObject });
    } else if (before) lines.push({ drop: before.name, generation: before.generation });
    this.#journal.append(...lines, { put: created as JsonObject });
    if (before && !versioned) this.#forget(before);
    this.#put(created);
    return { created, before };
  }

  /** Metadata of a version that is there. */
  update(version: Version, metadata: JsonObject): void {
    version.metadata = metadata;
    version.metageneration++;
    version.updated = new Date().toISOString();
    this.#journal.append({ put: version as JsonObject });
  }

  /** Makes the live version noncurrent. */
  archive(version: Version): void {
    version.timeDeleted = new Date().toISOString();
    this.#journal.append({ put: version as JsonObject });
  }

  /** Deletes a version for good. */
  remove(version: Version): void {
    this.#journal.append({ drop: version.name, generation: version.generation });
    this.#forget(version);
  }

  /** `next`: where the page after this one starts, if there is more. */
  list(listing: Listing): { items: Version[]; prefixes: string[]; next: Place | undefined } {
    const { prefix, delimiter, after, max } = listing;
    const keys = this.#inOrder();
    const items: Version[] = [];
    const prefixes: string[] = [];
    const from = [prefix, listing.startOffset, after?.name ?? ''].reduce((a, b) => (compare(a, b) > 0 ? a : b));
    let folder: string | undefined;
    let last: Place | undefined;
    for (let at = lowerBound(keys, from); at < keys.length; at++) {
      const name = keys[at] ?? '';
      if (!name.startsWith(prefix)) break;
      if (listing.endOffset && compare(name, listing.endOffset) >= 0) break;
      const cut = delimiter ? name.indexOf(delimiter, prefix.length) : -1;
      const common = cut < 0 ? undefined : name.slice(0, cut + delimiter.length);
      // A page that ended with a common prefix goes on after all that is below it.
      if (common !== undefined && after?.name === common && after.generation === '') continue;
      const found = this.#versionsAt(name, listing.versions).filter(
        ({ generation }) =>
          after?.name !== name || (listing.versions && BigInt(generation) > BigInt(after.generation || '0')),
      );
      if (found.length === 0) continue;
      if (common !== undefined) {
        const isNew = common !== folder;
        if (isNew && items.length + prefixes.length >= max) return { items, prefixes, next: last };
        if (isNew) {
          prefixes.push(common);
          last = { name: common, generation: '' };
        }
        folder = common;
        if (!(listing.includeTrailing && name === common)) continue;
      }
      for (const version of found) {
        if (items.length + prefixes.length >= max) return { items, prefixes, next: last };
        items.push(version);
        last = { name, generation: version.generation };
      }
    }
    return { items, prefixes, next: undefined };
  }

  close(): void {
    this.#journal.close();
  }

  destroy(): void {
    this.#journal.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #versionsAt(name: string, all: boolean): Version[] {
    if (all) return this.#keys.get(name) ?? [];
    const live = this.live(name);
    return live ? [live] : [];
  }

  #put(version: Version): void {
    const versions = this.#keys.get(version.name);
    if (!versions) {
      this.#keys.set(version.name, [version]);
      this.#unsorted.push(version.name);
      return;
    }
    const at = versions.findIndex(({ generation }) => generation === version.generation);
    if (at < 0) versions.push(version);
    else versions[at] = version;
  }

  #drop(name: string, generation: string): void {
    const left = this.#keys.get(name)?.filter((version) => version.generation !== generation);
    if (!left) return;
    if (left.length > 0) this.#keys.set(name, left);
    else this.#keys.delete(name);
  }

  #forget(version: Version): void {
    this.#drop(version.name, version.generation);
    rmSync(this.content(version), { force: true });
  }

  /** Merges what has come since the last listing, and leaves out what has gone. */
  #inOrder(): string[] {
    const fresh = [...new Set(this.#unsorted)].sort(compare);
    if (fresh.length === 0 && this.#sorted.length < 2 * this.#keys.size + 1000) return this.#sorted;
    const merged: string[] = [];
    let at = 0;
    for (const name of this.#sorted) {
      while (at < fresh.length && compare(fresh[at] ?? '', name) < 0) merged.push(fresh[at++] ?? '');
      // A key that was deleted and has come back stands in both.
      if (fresh[at] === name) at++;
      if (this.#keys.has(name)) merged.push(name);
    }
    this.#sorted = [...merged, ...fresh.slice(at)];
    this.#unsorted = [];
    return this.#sorted;
  }
}

function lowerBound(keys: readonly string[], wanted: string): number {
  let [low, high] = [0, keys.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compare(keys[middle] ?? '', wanted) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
