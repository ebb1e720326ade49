/**
 * The audit trail of a run: one line for each thing that was done or decided, each line holding the hash of the one before
 * it. Whoever changes, drops or moves a line breaks the chain at a place that `verifyChain` names.
 */
import { z } from 'zod';
import { sha256Hex } from './sha256.ts';

export const AuditLine = z.strictObject({
  v: z.literal(1),
  workflowId: z.string(),
  runId: z.string(),
  /** Counts up from 1 in a run. */
  seq: z.number().int().min(1),
  /** ISO time. */
  at: z.string(),
  /** A person's name as given, or the run itself. */
  who: z.string(),
  what: z.string(),
  resource: z.string(),
  /** Hash of the line before; of the first line empty. */
  prev: z.string(),
  /** SHA-256 of this line's other fields as canonical JSON. */
  hash: z.string(),
});
export type AuditLine = z.infer<typeof AuditLine>;

/** What the last line of a run that has ended says: a trail without it was cut off, or its run is still at work. */
export const lastWord = 'ended';

const hashOf = ({ v, workflowId, runId, seq, at, who, what, resource, prev }: Omit<AuditLine, 'hash'>): string =>
  sha256Hex(JSON.stringify([v, workflowId, runId, seq, at, who, what, resource, prev]));

export function nextLine(
  run: Pick<AuditLine, 'workflowId' | 'runId'>,
  before: Pick<AuditLine, 'seq' | 'hash'> | undefined,
  entry: Pick<AuditLine, 'at' | 'who' | 'what' | 'resource'>,
): AuditLine {
  const { workflowId, runId } = run;
  const line = { v: 1 as const, workflowId, runId, seq: (before?.seq ?? 0) + 1, ...entry, prev: before?.hash ?? '' };
  return { ...line, hash: hashOf(line) };
}

export interface Verdict {
  lines: number;
  /** The last line is there: nothing was cut off its end. */
  complete: boolean;
  /** The first line that is not as it was written, and in what way; undefined where the chain holds. */
  broken?: { seq: number; why: string } | undefined;
}

/** Judges a trail in the order in which it is kept. */
export function verifyChain(lines: readonly AuditLine[]): Verdict {
  const complete = lines.at(-1)?.what.startsWith(lastWord) ?? false;
  const verdict = (seq: number, why: string): Verdict => ({ lines: lines.length, complete, broken: { seq, why } });
  let before: AuditLine | undefined;
  for (const line of lines) {
    const expected = (before?.seq ?? 0) + 1;
    if (line.hash !== hashOf(line)) return verdict(line.seq, 'its content is not what was hashed: it was changed');
    if (line.seq < expected) return verdict(line.seq, `it stands after line ${before?.seq}: it was moved or doubled`);
    if (line.seq > expected)
      return verdict(expected, `it is missing: line ${line.seq} follows ${before?.seq ?? 'nothing'}`);
    if (line.prev !== (before?.hash ?? ''))
      return verdict(line.seq, 'it does not follow the line before it: one of the two was replaced');
    if (before && (line.runId !== before.runId || line.workflowId !== before.workflowId))
      return verdict(line.seq, 'it belongs to another run');
    before = line;
  }
  return { lines: lines.length, complete };
}
