/** Users of several sides of a service, its pump, and what must be true of them in the end. */
import { randomUUID } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { MockActivityEnvironment } from '@temporalio/testing';
import { createFeedActivities } from '../../activities/providers/feed.ts';
import { md5Of, type StoredObject } from '../../activities/providers/object-store.ts';
import { createReplicateActivities } from '../../activities/replication/replicate.ts';
import type { Call } from '../../emulators/gateway/calls.ts';
import { conflictsPrefix, isConflictLine } from '../../model/conflict-log.ts';
import { edgesOf, type PumpedSides, type ReplicateSidesInput, type topologies } from '../../model/replicate.ts';
import type { PlacementRef } from '../../model/transfer.ts';
import { calls } from '../local/stack.ts';
import { placed, pool, recordsUnder, signal, storeOf } from '../transfer/stores.ts';

export type Cloud = 'aws' | 'gcp' | 'azure';

const { replicateSides } = createReplicateActivities({ pool, pollMs: 25, callDeadlineMs: 20_000 });
const { ensureFeed } = createFeedActivities({
  atPlacement: async (placement, act) => act(await pool.get(placement.provider), signal),
  pace: () => ({ pollMs: 25, heartbeat: () => {} }),
});

/** What stands under each key: the write that it is. */
type Content = Map<string, string>;

export class Sides {
  readonly placements: PlacementRef[];
  readonly names: Cloud[];
  /** Every write that was made, and those that somebody who knew them has replaced or deleted. */
  readonly writes = new Map<string, Cloud>();
  readonly replaced = new Set<string>();
  /** By the MD5 of its bytes, which S3 lists. */
  readonly #byMd5 = new Map<string, string>();
  /** Writes and deletes that took effect, by side. */
  readonly made: Record<string, number>;
  #epoch = 0;

  private constructor(placements: PlacementRef[], names: Cloud[]) {
    this.placements = placements;
    this.names = names;
    this.made = Object.fromEntries(names.map((name) => [name, 0]));
  }

  static async of(names: Cloud[]): Promise<Sides> {
    const placements = await Promise.all(names.map((name) => placed(name)));
    await Promise.all(placements.map((placement) => ensureFeed({ placement })));
    return Sides.at(placements);
  }

  /** Those of a service that somebody else keeps in step. */
  static at(placements: PlacementRef[]): Sides {
    return new Sides(
      placements,
      placements.map(({ provider }) => provider as Cloud),
    );
  }

  side(name: Cloud): PlacementRef {
    const found = this.placements.find(({ provider }) => provider === name);
    if (!found) throw new Error(`no side ${name}`);
    return found;
  }

  /** Starts the next pump; `stop` is as when its worker is gone. */
  pump(input: Partial<ReplicateSidesInput> & { topology?: (typeof topologies)[number] } = {}) {
    const { topology = 'mesh', ...rest } = input;
    const environment = new MockActivityEnvironment();
    const ended = environment.run(() =>
      replicateSides({
        sides: this.placements,
        edges: edgesOf(this.names, { mode: 'active-active', source: '', topology }),
        rule: 'last-write-wins',
        source: this.names[0] ?? '',
        tombstoneMs: 3_600_000,
        feeds: this.names,
        epoch: ++this.#epoch,
        forMs: 600_000,
        compareMs: 60_000,
        ...rest,
      }),
    ) as Promise<PumpedSides>;
    ended.catch(() => {}); // waited for where it matters
    return {
      ended,
      kill: () => environment.cancel('WORKER_SHUTDOWN'),
      async stop() {
        environment.cancel('CANCELLED');
        await ended.catch(() => {});
      },
    };
  }

  /** One change as a user makes it who has just looked: a write, or a delete. Somebody else may be faster. */
  async change(name: Cloud, key: string, does: 'write' | 'delete'): Promise<void> {
    const store = await storeOf(this.side(name));
    const now = await store.head(key, signal);
    try {
      if (does === 'delete') {
        if (!now) return;
        await store.remove(now, signal);
      } else {
        const id = randomUUID();
        const bytes = Buffer.from(id);
        const piece = { chunks: [bytes], bytes: bytes.length };
        const attributes = { headers: { 'content-type': 'text/plain' }, metadata: { writer: id }, tags: {} };
        const expected = now ? { version: now.version } : { absent: true as const };
        this.writes.set(id, name);
        this.#byMd5.set(Buffer.from(md5Of(piece), 'base64').toString('hex'), id);
        try {
          await store.write(
            { key, size: bytes.length, attributes, expected, md5: md5Of(piece) },
            piece,
            crc32(bytes),
            signal,
          );
        } catch (error) {
          this.writes.delete(id);
          throw error;
        }
      }
      if (now) this.replaced.add(writerOf(now));
      this.made[name] = (this.made[name] ?? 0) + 1;
    } catch (error) {
      const { kind } = (await pool.get(name)).classify(error);
      if (!['PreconditionFailed', 'AlreadyExists', 'NotFound'].includes(kind)) throw error;
    }
  }

  async content(name: Cloud): Promise<Content> {
    const store = await storeOf(this.side(name));
    const found: Content = new Map();
    for (let token: string | undefined; ; ) {
      const page = await store.page({ after: '', token }, signal);
      const heads = page.objects.map(async (object) => {
        const known = this.#byMd5.get(object.version.split('@')[0] ?? '');
        if (known !== undefined) return [object.key, known] as const;
        const now = object.attributes ? object : await store.head(object.key, signal);
        return now && ([object.key, writerOf(now)] as const);
      });
      for (const one of await Promise.all(heads)) if (one) found.set(...one);
      if (page.next === undefined) return found;
      token = page.next;
    }
  }

  /** Waits until all sides hold the same; how long it took, ms. */
  async equal(withinMs: number): Promise<number> {
    const began = Date.now();
    for (;;) {
      // Names first: they cost one call.
      const names = await Promise.all(this.names.map((name) => this.#keys(name)));
      if (new Set(names).size > 1 && Date.now() - began <= withinMs) {
        await new Promise((wake) => setTimeout(wake, 100));
        continue;
      }
      const [first = new Map(), ...others] = await Promise.all(this.names.map((name) => this.content(name)));
      const differing = others.flatMap((other, at) =>
        [...new Set([...first.keys(), ...other.keys()])]
          .filter((key) => first.get(key) !== other.get(key))
          .map((key) => `${key}: ${this.names[0]} ${first.get(key)}, ${this.names[at + 1]} ${other.get(key)}`),
      );
      if (differing.length === 0) return Date.now() - began;
      if (Date.now() - began > withinMs) throw new Error(`the sides differ: ${differing.slice(0, 5).join('; ')}`);
      await new Promise((wake) => setTimeout(wake, 300));
    }
  }

  async #keys(name: Cloud): Promise<string> {
    const store = await storeOf(this.side(name));
    const keys: string[] = [];
    for (let token: string | undefined; ; ) {
      const page = await store.page({ after: '', token }, signal);
      keys.push(...page.objects.map(({ key }) => key));
      if (page.next === undefined) return keys.sort().join('\n');
      token = page.next;
    }
  }

  /** From each write on one side until its copy on the other, by the clouds' clocks, ms; seconds where a cloud shows no more. */
  async lags(from: Cloud, to: Cloud): Promise<number[]> {
    const [here, there] = await Promise.all([from, to].map(async (name) => storeOf(this.side(name))));
    const all: number[] = [];
    for (let token: string | undefined; here && there; ) {
      const page = await there.page({ after: '', token }, signal);
      for (const { key, modified, attributes } of page.objects) {
        const made = /^1 (\d+)/.exec(attributes?.metadata.multicloudchange ?? '')?.[1];
        if (made && key) all.push(Date.parse(modified) - Number(made));
      }
      if (page.next === undefined) break;
      token = page.next;
    }
    return all;
  }

  /** Writes that are gone though nobody who knew them has replaced them, and that no log has. */
  async silentlyLost(): Promise<string[]> {
    const logged = new Set<string>();
    for (const placement of this.placements)
      for (const [key, bytes] of await recordsUnder(placement, conflictsPrefix(placement.owner.service)))
        if (!isConflictLine(key)) logged.add(Buffer.from(bytes).toString());
    const present = new Set((await this.content(this.names[0] as Cloud)).values());
    return [...this.writes.keys()].filter((id) => !present.has(id) && !this.replaced.has(id) && !logged.has(id));
  }

  /** Writes and deletes that the clouds have carried out on the stores since a call. */
  async mutations(since: number): Promise<Record<string, number>> {
    return this.countIn(await calls({ since, mutating: true }));
  }

  async countIn(all: readonly Call[]): Promise<Record<string, number>> {
    const stores = await Promise.all(
      this.placements.map(async (one) => [one.provider, (await storeOf(one)).id] as const),
    );
    return Object.fromEntries(
      stores.map(([name, id]) => {
        const bucket = id.slice(id.indexOf(':') + 1);
        const own = all.filter(
          (call) => (call.status ?? 0) < 300 && isOn(`${call.host}${call.path}`, name as Cloud, bucket),
        );
        return [name, own.length];
      }),
    );
  }
}

const writerOf = ({ attributes }: StoredObject): string => attributes?.metadata.writer ?? '';

/** Whether a call is about an object of this store. */
function isOn(url: string, cloud: Cloud, bucket: string): boolean {
  if (cloud === 'aws') return url.startsWith(`${bucket}.s3.`);
  if (cloud === 'gcp') return url.includes(`/b/${bucket}/o`);
  const [account, container] = bucket.split('/');
  return url.startsWith(`${account}.blob.core.windows.net/${container}/`);
}
