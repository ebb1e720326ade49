/** The records buckets: one in each region of each cloud that holds a placement. What auditors and a rebuild read. */

import type { Place } from './record.ts';
import type { Owner, Placement } from './service.ts';

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
export const recordKey = (service: string): string => `records/${service}.json`;
