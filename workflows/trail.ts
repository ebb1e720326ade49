/**
 * The audit trail of a run on its way into the records buckets: lines wait here, chained, until a bucket has taken them.
 * Each bucket gets every line in order; one that cannot be reached gets what it has missed as soon as it can.
 */
import * as wf from '@temporalio/workflow';
import { type AuditLine, lastWord, nextLine } from '../model/audit.ts';
import type { AuditEntry } from '../model/progress.ts';
import type { Placement } from '../model/service.ts';

interface Bucket {
  placement: Placement;
  /** Lines that it has taken. */
  kept: number;
  /** Lines up to which it was written to, whatever came of it. */
  tried: number;
  /** Its last write; the next one waits for it, so that it gets the lines in order. */
  last: Promise<void>;
}

/** Appends lines to one records bucket. */
export type Append = (placement: Placement, lines: AuditLine[]) => Promise<void>;

export class Trail {
  readonly #lines: AuditLine[] = [];
  readonly #buckets: Bucket[] = [];

  note({ at, who, what, resource = '' }: AuditEntry): void {
    this.#lines.push(nextLine(wf.workflowInfo(), this.#lines.at(-1), { at, who, what, resource }));
  }

  end(outcome: string): void {
    this.note({ at: new Date().toISOString(), who: 'run', what: `${lastWord}: ${outcome}` });
  }

  /** The records buckets of this run's placements. One is enough for a line to count; all of them get it. */
  keepIn(placements: readonly Placement[]): void {
    const isKnown = ({ provider, region }: Placement): boolean =>
      this.#buckets.some(({ placement }) => placement.provider === provider && placement.region === region);
    for (const placement of placements)
      if (!isKnown(placement)) this.#buckets.push({ placement, kept: 0, tried: 0, last: Promise.resolve() });
  }

  get buckets(): Placement[] {
    return this.#buckets.map(({ placement }) => placement);
  }

  /** Ends when every line so far is in one bucket at least; throws what the last of them said where none could take it. */
  async keep(append: Append): Promise<void> {
    const upTo = this.#lines.length;
    const writes = this.#buckets.map((bucket) => {
      const write = bucket.last.catch(() => {}).then(() => this.#write(bucket, upTo, append));
      bucket.last = write;
      write.catch(() => {}); // one that took it is enough
      return write;
    });
    if (writes.length === 0) return;
    try {
      await Promise.any(writes);
    } catch (error) {
      throw error instanceof AggregateError ? error.errors.at(-1) : error;
    }
  }

  /** Ends when no bucket is written to any more. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#buckets.map(({ last }) => last));
  }

  async #write(bucket: Bucket, upTo: number, append: Append): Promise<void> {
    // A write that failed, or was cancelled, may have worked: its file then has these lines and no others.
    const again = bucket.tried > bucket.kept && wf.patched('trail-repeats-itself') ? [bucket.tried] : [];
    for (const end of [...again, upTo]) {
      if (bucket.kept >= end) continue;
      bucket.tried = end;
      await append(bucket.placement, this.#lines.slice(bucket.kept, end));
      bucket.kept = end;
    }
  }
}
