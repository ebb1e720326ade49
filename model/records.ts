/** The records buckets: one in each region of each cloud that holds a placement. What auditors and a rebuild read. */
import { z } from 'zod';
import { EstateRecord, type Place, ServiceRecord } from './record.ts';
import type { Owner, Placement } from './service.ts';
import { canonical, sha256Hex } from './sha256.ts';

/** No service of an estate file can have a name that begins so. */
const prefix = '_records_';

export const isRecords = (service: string): boolean => service.startsWith(prefix);

/** The `storage` placement that the records of a place are kept in. Never removed with the estate. */
export function recordsPlacement(
  { estate, uid, controller }: Pick<Owner, 'estate' | 'uid' | 'controller'>,
  { provider, providerType, region, account }: Place,
): Placement {
  const owner = { estate, uid, controller, service: `${prefix}${region}`, generation: 1 };
  return { owner, type: 'storage', provider, providerType, region, account, configuration: {} };
}

/** Keys in a records bucket. Workflow IDs hold slashes, and what others start may hold anything. */
export const auditPrefix = (workflowId: string, runId: string): string =>
  `audit/${encodeURIComponent(workflowId)}/${runId}/`;
export const auditKey = (workflowId: string, runId: string, from: number): string =>
  `${auditPrefix(workflowId, runId)}${String(from).padStart(8, '0')}.jsonl`;
export const recordsPrefix = 'records/';
export const recordKey = (service: string): string => `${recordsPrefix}${service}.json`;
/** No service can have a name that is empty. */
export const estateKey = recordKey('');

/** A copy of a record, as a bucket keeps it. The trail of the run that has written it holds its hash (`evidence`). */
export const Kept = z.object({
  v: z.literal(1),
  uid: z.string(),
  controller: z.string().default(''),
  workflowId: z.string().default(''),
  runId: z.string().default(''),
  record: z.union([ServiceRecord, EstateRecord]),
});
export type Kept = z.infer<typeof Kept>;

export const keyOf = (record: Kept['record']): string => ('service' in record ? recordKey(record.service) : estateKey);

/** The entry that a run makes in its trail before it keeps a copy of a record. */
export const evidence = (record: Kept['record']): { what: string; resource: string } => ({
  what: 'keeps the record',
  resource: `${keyOf(record)} revision ${record.revision} sha256 ${sha256Hex(canonical(record))}`,
});
