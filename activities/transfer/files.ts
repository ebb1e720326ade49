/** Files of a transfer in the records bucket of the target's place: plan, manifests, failures, notes of uploads, reports; and receipts, sightings. */
import { gunzipSync, gzipSync } from 'node:zlib';
import { recordsPlacement } from '../../model/records.ts';
import type { PlacementRef, Transfer } from '../../model/transfer.ts';
import type { Provider } from '../providers/driver.ts';
import { guarded } from '../providers/provision.ts';

export interface Files {
  /** Key of a file in the records bucket. */
  key(name: string): string;
  /** Names of the files that begin so. */
  list(prefix: string): Promise<string[]>;
  read(name: string): Promise<Uint8Array | undefined>;
  write(name: string, bytes: Uint8Array): Promise<void>;
  /** Writes what must not be there yet; throws the cloud's "precondition failed" otherwise. */
  create(name: string, bytes: Uint8Array): Promise<void>;
}

export const filesOf = (
  provider: Provider,
  { target, transfer }: Pick<Transfer, 'target' | 'transfer'>,
  signal: AbortSignal,
): Files => filesUnder(provider, target, `transfers/${target.owner.service}/${transfer}/`, signal);

/** Files of all transfers to a placement. */
export const copiesIn = (provider: Provider, copies: PlacementRef, signal: AbortSignal): Files =>
  filesUnder(provider, copies, `copies/${copies.owner.service}/`, signal);

/** Files of what follows telemetry in both directions. */
export const telemetryFiles = (provider: Provider, keptAt: PlacementRef, name: string, signal: AbortSignal): Files =>
  filesUnder(provider, keptAt, `telemetry/${keptAt.owner.service}/${name}/`, signal);

function filesUnder(provider: Provider, at: PlacementRef, folder: string, signal: AbortSignal): Files {
  const placement = recordsPlacement(at.owner, at);
  const run = <T>(operation: string, name: string, step: () => Promise<T>): Promise<T> =>
    guarded(provider, operation, folder + name, step);
  const { objects } = provider;
  return {
    key: (name) => folder + name,
    async list(prefix) {
      const keys = await run('list', prefix, () => objects.list(placement, folder + prefix, signal));
      return keys.map((key) => key.slice(folder.length)).sort();
    },
    read: async (name) => (await run('read', name, () => objects.get(placement, folder + name, signal)))?.bytes,
    async write(name, bytes) {
      await run('write', name, () => objects.put(placement, folder + name, bytes, undefined, signal));
    },
    async create(name, bytes) {
      await run('write', name, () => objects.put(placement, folder + name, bytes, { absent: true }, signal));
    },
  };
}

/** Numbers in names, so that names are in the order of numbers. */
export const ordinal = (n: number): string => String(n).padStart(6, '0');

export const toLines = (lines: readonly unknown[]): Buffer =>
  Buffer.from(lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
export const fromLines = (bytes: Uint8Array): unknown[] =>
  Buffer.from(bytes)
    .toString('utf8')
    .split('\n')
    .filter(Boolean)
    .map((line): unknown => JSON.parse(line));

export const packLines = (lines: readonly unknown[]): Buffer => gzipSync(toLines(lines), { level: 1 });
export const unpackLines = (bytes: Uint8Array): unknown[] => fromLines(gunzipSync(bytes));

/** Lines of which there may be many or none, written a thousand at a time under one prefix. */
export class LineFiles {
  readonly #files: Files;
  readonly #prefix: string;
  readonly #lines: unknown[] = [];
  #next: number;

  constructor(files: Files, prefix: string, next = 0) {
    this.#files = files;
    this.#prefix = prefix;
    this.#next = next;
  }

  /** Number of the file that comes next. */
  get next(): number {
    return this.#next;
  }

  async add(line: unknown): Promise<void> {
    this.#lines.push(line);
    if (this.#lines.length >= 1000) await this.flush();
  }

  async flush(): Promise<void> {
    const lines = this.#lines.splice(0);
    if (lines.length === 0) return;
    await this.#files.write(`${this.#prefix}${ordinal(this.#next++)}.jsonl`, toLines(lines));
  }

  /** The prefix in the records bucket, or '' where nothing was written. */
  get key(): string {
    return this.#next > 0 ? this.#files.key(this.#prefix) : '';
  }
}
