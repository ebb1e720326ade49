/**
 * The manifest of a shard or a delta: what became of each object, in segments. A segment is written once and says how far
 * its shard has come, so that the next attempt begins there: it is the position of record, heartbeats are hints.
 */
import { z } from 'zod';
import { CloudError } from '../../model/errors.ts';
import { type CopiedObjects, unnatives } from '../../model/transfer.ts';
import type { CopiedVersions } from '../../model/versions.ts';
import { type Files, LineFiles, ordinal, packLines, unpackLines } from './files.ts';

const Sums = z.object({ md5: z.string().optional(), crc32: z.string().optional(), crc32c: z.string().optional() });

/** One object. Versions and checksums are the clouds' own; `crc32` and `sha256` (hex) are ours, of the bytes that were read. */
export const ManifestLine = z.discriminatedUnion('how', [
  z.strictObject({
    how: z.literal('copied'),
    key: z.string(),
    size: z.number(),
    version: z.string(),
    crc32: z.string(),
    sha256: z.string().optional(),
    target: z.strictObject({ version: z.string(), checksums: Sums }),
  }),
  /** Was at the target in this version when it was looked at. */
  z.strictObject({ how: z.literal('in step'), key: z.string(), size: z.number(), version: z.string() }),
  z.strictObject({ how: z.literal('vanished'), key: z.string() }),
  /** One that is kept behind what is current, of which there may be many under a key. Was there already where nothing is said of the target. */
  z.strictObject({
    how: z.literal('version'),
    key: z.string(),
    size: z.number(),
    version: z.string(),
    at: z.string(),
    crc32: z.string().optional(),
    sha256: z.string().optional(),
    target: z.strictObject({ version: z.string(), checksums: Sums }).optional(),
  }),
  /** What was current was deleted at this point of its history. */
  z.strictObject({ how: z.literal('deleted'), key: z.string() }),
  z.strictObject({
    how: z.literal('failed'),
    key: z.string(),
    size: z.number(),
    reason: z.string(),
    detail: z.string(),
  }),
  /** No longer at the source; `version` is that of the target. */
  z.strictObject({ how: z.literal('gone'), key: z.string(), version: z.string() }),
]);
export type ManifestLine = z.infer<typeof ManifestLine>;

const Amount = z.strictObject({ objects: z.number(), bytes: z.number() });
const count = z.number().int();
const Totals = z.strictObject({
  seen: Amount,
  copied: Amount,
  inStep: Amount,
  vanished: count,
  changed: count,
  failed: count,
  failedNames: z.array(z.string()),
  unnative: z.partialRecord(z.enum(unnatives), count),
  gone: count,
  /** Of versions: deletions between them, and what came between two passes and cannot be put there any more. */
  deletions: count.default(0),
  missed: count.default(0),
});
export type Totals = z.infer<typeof Totals>;
export const noTotals = (): Totals => ({
  seen: { objects: 0, bytes: 0 },
  copied: { objects: 0, bytes: 0 },
  inStep: { objects: 0, bytes: 0 },
  vanished: 0,
  changed: 0,
  failed: 0,
  failedNames: [],
  unnative: {},
  gone: 0,
  deletions: 0,
  missed: 0,
});

/** First line of a segment. */
const Header = z.strictObject({
  v: z.literal(1),
  cursor: z.string(),
  done: z.boolean(),
  totals: Totals,
  failureFiles: count,
});
type Header = z.infer<typeof Header>;

const segmentLines = 1000;
const segmentMs = 10_000;

export class Manifest {
  readonly #files: Files;
  readonly #scope: string;
  readonly #failures: LineFiles;
  readonly #lines: ManifestLine[] = [];
  #segment: number;
  #writtenAt = Date.now();
  /** The last key that is done with, and all before it. */
  cursor: string;
  readonly totals: Totals;
  readonly done: boolean;
  readonly resumed: boolean;

  private constructor(files: Files, scope: string, segment: number, header: Header | undefined) {
    this.#files = files;
    this.#scope = scope;
    this.#segment = segment;
    this.#failures = new LineFiles(files, `${scope}/failures-`, header?.failureFiles ?? 0);
    this.cursor = header?.cursor ?? '';
    this.totals = header?.totals ?? noTotals();
    this.done = header?.done ?? false;
    this.resumed = header !== undefined;
  }

  /** `scope`: folder of the shard or the delta. */
  static async open(files: Files, scope: string): Promise<Manifest> {
    const names = await files.list(`${scope}/manifest-`);
    const last = names.at(-1);
    const bytes = last === undefined ? undefined : await files.read(last);
    return new Manifest(files, scope, names.length, bytes && Header.parse(unpackLines(bytes)[0]));
  }

  static async *read(files: Files, scope: string): AsyncGenerator<ManifestLine> {
    for (const name of await files.list(`${scope}/manifest-`)) {
      const bytes = await files.read(name);
      if (bytes) for (const line of unpackLines(bytes).slice(1)) yield ManifestLine.parse(line);
    }
  }

  /** What became of the next object in the order of keys; without a line where that is not worth one. */
  async add(cursor: string, line: ManifestLine | undefined): Promise<void> {
    this.cursor = cursor;
    if (line) this.#lines.push(line);
    if (line?.how === 'failed') {
      const { key, size, reason, detail } = line;
      await this.#failures.add({ key, size, reason, detail });
    }
    if (this.#lines.length >= segmentLines || Date.now() - this.#writtenAt > segmentMs) await this.flush();
  }

  /** Writes what has become of objects since the last segment. `done`: of all of them. */
  async flush(done = false): Promise<void> {
    await this.#failures.flush();
    const { cursor, totals } = this;
    const header: Header = { v: 1, cursor, done, totals, failureFiles: this.#failures.next };
    const name = `${this.#scope}/manifest-${ordinal(this.#segment++)}.jsonl.gz`;
    try {
      await this.#files.create(name, packLines([header, ...this.#lines.splice(0)]));
    } catch (error) {
      if (!(error instanceof CloudError) || error.kind !== 'AlreadyExists') throw error;
      throw new CloudError({ ...error.fields, kind: 'PreconditionFailed' }, 'another attempt is at work on the same');
    }
    this.#writtenAt = Date.now();
  }

  result(): CopiedObjects {
    const { gone: _, deletions: _deletions, missed: _missed, ...totals } = this.totals;
    return { ...totals, manifest: this.#files.key(`${this.#scope}/manifest-`), failures: this.#failures.key };
  }

  versions(): CopiedVersions {
    const { deletions, missed } = this.totals;
    return { ...this.result(), deletions, missed };
  }
}
