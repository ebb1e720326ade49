/** Writing and reading the records buckets: the audit trail, and a copy of each record. Every write may be repeated. */
import { ApplicationFailure, Context } from '@temporalio/activity';
import { z } from 'zod';
import { AuditLine, verifyChain } from '../../model/audit.ts';
import { CloudError } from '../../model/errors.ts';
import type { Copy } from '../../model/rebuild.ts';
import { auditKey, auditPrefix, evidence, Kept, keyOf, recordsPrefix } from '../../model/records.ts';
import type { Placement } from '../../model/service.ts';
import type { Provider } from '../providers/driver.ts';
import { guarded } from '../providers/provision.ts';
import type { EnsureBucket } from './bucket.ts';

export interface RecordsDependencies {
  /** Runs an act with the provider of a placement; its failure leaves as the contract's error types. */
  atPlacement<T>(placement: Placement, act: (provider: Provider, signal: AbortSignal) => Promise<T>): Promise<T>;
  ensureBucket: EnsureBucket;
}

/** A trail longer than this is read from the bucket with its own tools. */
const mostLines = 20_000;

const parseLines = (text: string): AuditLine[] =>
  text
    .split('\n')
    .filter(Boolean)
    .map((line) => AuditLine.parse(JSON.parse(line)));

export function createRecordsActivities({ atPlacement, ensureBucket }: RecordsDependencies) {
  const read = async (provider: Provider, placement: Placement, key: string, signal: AbortSignal) =>
    guarded(provider, 'read', key, () => provider.objects.get(placement, key, signal));

  /** Writes what must not be there yet. That it is there already, the same to the byte, is an earlier attempt of ours. */
  async function writeOnce(provider: Provider, placement: Placement, key: string, text: string, signal: AbortSignal) {
    const bytes = Buffer.from(text);
    try {
      await guarded(provider, 'write', key, () =>
        provider.objects.put(placement, key, bytes, { absent: true }, signal),
      );
    } catch (error) {
      if (!(error instanceof CloudError) || !['PreconditionFailed', 'AlreadyExists'].includes(error.kind)) throw error;
      const found = await read(provider, placement, key, signal);
      if (found && Buffer.compare(bytes, found.bytes) === 0) return;
      throw ApplicationFailure.nonRetryable(
        `${placement.provider}: ${key} in the records bucket is not what this run has written; nothing was overwritten. Compare it with the run's own audit query.`,
        'IntegrityMismatch',
      );
    }
  }

  async function trailOf(
    provider: Provider,
    placement: Placement,
    { workflowId, runId }: { workflowId: string; runId: string },
    signal: AbortSignal,
  ): Promise<AuditLine[]> {
    const prefix = auditPrefix(workflowId, runId);
    const keys = await guarded(provider, 'list', prefix, () => provider.objects.list(placement, prefix, signal));
    const lines: AuditLine[] = [];
    for (const key of keys.sort()) {
      const found = await read(provider, placement, key, signal);
      if (found) lines.push(...parseLines(Buffer.from(found.bytes).toString()));
      if (lines.length > mostLines) break;
    }
    return lines;
  }

  return {
    /** Appends lines of a run's trail to the records bucket of one place; makes the bucket where it is missing. */
    appendAudit({ placement, lines }: { placement: Placement; lines: readonly AuditLine[] }): Promise<void> {
      return atPlacement(placement, async (provider, signal) => {
        const [first] = lines;
        if (!first) return;
        await ensureBucket(provider, placement, signal);
        const text = lines.map((line) => `${JSON.stringify(line)}\n`).join('');
        await writeOnce(provider, placement, auditKey(first.workflowId, first.runId, first.seq), text, signal);
      });
    },

    /** The trail of a run as one bucket keeps it, in the order of its keys. */
    readAudit({
      placement,
      ...run
    }: {
      placement: Placement;
      workflowId: string;
      runId: string;
    }): Promise<AuditLine[]> {
      return atPlacement(placement, (provider, signal) => trailOf(provider, placement, run, signal));
    },

    /** Keeps a copy of a record, over the one that is there. An older copy never replaces a newer one. */
    keepRecord({ placement, record }: { placement: Placement; record: Kept['record'] }): Promise<void> {
      const { workflowId = '', runId = '' } = Context.current().info.workflowExecution ?? {};
      return atPlacement(placement, async (provider, signal) => {
        await ensureBucket(provider, placement, signal);
        const { uid, controller } = placement.owner;
        const key = keyOf(record);
        const there = await read(provider, placement, key, signal);
        const known = there && Kept.parse(JSON.parse(Buffer.from(there.bytes).toString()));
        if (known && known.record.revision > record.revision && known.uid === uid) return;
        const kept: Kept = { v: 1, uid, controller, workflowId, runId, record };
        const condition = there ? { version: there.version } : ({ absent: true } as const);
        await guarded(provider, 'write', key, () =>
          provider.objects.put(placement, key, Buffer.from(`${JSON.stringify(kept, null, 2)}\n`), condition, signal),
        );
      });
    },

    /** Keys of the copies of records in a bucket. */
    listRecords({ placement }: { placement: Placement }): Promise<string[]> {
      return atPlacement(placement, async (provider, signal) =>
        guarded(provider, 'list', recordsPrefix, () => provider.objects.list(placement, recordsPrefix, signal)),
      );
    },

    /** One copy of a record, and what is wrong with it: judged by the trail of the run that has written it. */
    readRecord({ placement, key }: { placement: Placement; key: string }): Promise<Omit<Copy, 'bucket'>> {
      return atPlacement(placement, async (provider, signal) => {
        const found = await read(provider, placement, key, signal);
        if (!found) return { key, problem: 'it is gone' };
        const parsed = parseKept(Buffer.from(found.bytes).toString());
        if (!parsed.success) return { key, problem: `it cannot be read: ${z.prettifyError(parsed.error)}` };
        const { data: kept } = parsed;
        return { key, kept, problem: doubts(kept, await trailOf(provider, placement, kept, signal)) };
      });
    },
  };
}

const parseKept = (text: string) =>
  z
    .string()
    .transform((json, context) => {
      try {
        return JSON.parse(json) as unknown;
      } catch {
        context.addIssue('it is no JSON');
        return z.NEVER;
      }
    })
    .pipe(Kept)
    .safeParse(text);

/** Why a copy is not what its run has written; empty where it is. */
function doubts({ workflowId, runId, record }: Kept, lines: readonly AuditLine[]): string {
  const run = `the run that wrote it (${workflowId || 'not named'} ${runId})`;
  if (lines.length === 0) return `${run} has no trail in this bucket`;
  const { broken, complete } = verifyChain(lines);
  if (broken) return `the trail of ${run} is broken at line ${broken.seq}: ${broken.why}`;
  if (!complete) return `the trail of ${run} has no end`;
  const { what, resource } = evidence(record);
  if (lines.some((line) => line.what === what && line.resource === resource)) return '';
  return `${run} has written something else: its hash is not in the trail`;
}
