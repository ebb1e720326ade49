/** Writing and reading the records buckets: the audit trail, and each service's record. Every write may be repeated. */
import { ApplicationFailure } from '@temporalio/activity';
import { z } from 'zod';
import { AuditLine } from '../../model/audit.ts';
import { CloudError } from '../../model/errors.ts';
import { ServiceRecord } from '../../model/record.ts';
import { auditKey, auditPrefix, recordKey } from '../../model/records.ts';
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
      workflowId,
      runId,
    }: {
      placement: Placement;
      workflowId: string;
      runId: string;
    }): Promise<AuditLine[]> {
      return atPlacement(placement, async (provider, signal) => {
        const prefix = auditPrefix(workflowId, runId);
        const keys = await guarded(provider, 'list', prefix, () => provider.objects.list(placement, prefix, signal));
        const lines: AuditLine[] = [];
        for (const key of keys.sort()) {
          const found = await read(provider, placement, key, signal);
          if (found) lines.push(...parseLines(Buffer.from(found.bytes).toString()));
          if (lines.length > mostLines) break;
        }
        return lines;
      });
    },

    /** Keeps a copy of a service's record, over the one that is there. An older copy never replaces a newer one. */
    keepRecord({ placement, record }: { placement: Placement; record: ServiceRecord }): Promise<void> {
      return atPlacement(placement, async (provider, signal) => {
        await ensureBucket(provider, placement, signal);
        const key = recordKey(record.service);
        const there = await read(provider, placement, key, signal);
        const known = there && Kept.parse(JSON.parse(Buffer.from(there.bytes).toString()));
        if (known && known.record.revision > record.revision && known.uid === placement.owner.uid) return;
        const text = `${JSON.stringify({ v: 1, uid: placement.owner.uid, record }, null, 2)}\n`;
        const condition = there ? { version: there.version } : ({ absent: true } as const);
        await guarded(provider, 'write', key, () =>
          provider.objects.put(placement, key, Buffer.from(text), condition, signal),
        );
      });
    },
  };
}

const Kept = z.object({ v: z.literal(1), uid: z.string(), record: ServiceRecord });
