/** What Compute Engine reports late, in an operation, or under a status code that says too little. */
import { z } from 'zod';
import { CloudError, type CloudErrorKind } from '../../../model/errors.ts';
import type { IOperation } from './compute-clients.ts';

/** Codes of `Operation.error.errors`: https://cloud.google.com/compute/docs/troubleshooting/troubleshooting-resource-availability and the API's own enum. */
const operationKinds: Record<string, CloudErrorKind> = {
  QUOTA_EXCEEDED: 'QuotaExceeded',
  RESOURCE_ALREADY_EXISTS: 'AlreadyExists',
  RESOURCE_NOT_FOUND: 'NotFound',
  PERMISSIONS_ERROR: 'PermissionDenied',
  FORBIDDEN: 'PermissionDenied',
  INVALID_FIELD_VALUE: 'InvalidInput',
  INVALID_USAGE: 'InvalidInput',
  CONDITION_NOT_MET: 'PreconditionFailed',
  RATE_LIMIT_EXCEEDED: 'Throttled',
};

/** The failure that a finished operation carries, as ours; nothing where it succeeded. */
export function failureOf(operation: IOperation, resource: string): CloudError | undefined {
  const [error] = operation.error?.errors ?? [];
  if (!error) return undefined;
  const code = error.code ?? '';
  const quota = error.errorDetails?.find(({ quotaInfo }) => quotaInfo)?.quotaInfo;
  return new CloudError({
    kind: operationKinds[code] ?? 'Unavailable',
    provider: 'gcp',
    operation: `compute:${operation.operationType ?? 'operation'}`,
    resource,
    requestId: operation.name ?? undefined,
    missing: quota ? `quota ${quota.metricName ?? ''}` : undefined,
  });
}

const Body = z.object({ error: z.object({ errors: z.array(z.object({ reason: z.string() })) }) });

/** Reasons that say more than their status code: states of a neighbour that pass by themselves come as 400, quotas as 403. */
const reasons: Record<string, CloudErrorKind> = {
  resourceNotReady: 'Unavailable',
  resourceInUseByAnotherResource: 'Unavailable',
  quotaExceeded: 'QuotaExceeded',
  rateLimitExceeded: 'Throttled',
  userRateLimitExceeded: 'Throttled',
};

/** The same error, or ours where only its body tells what it means. */
export function refined(error: unknown, resource: string): unknown {
  const reason = reasonOf(error) ?? '';
  const kind = reasons[reason];
  if (kind === undefined) return error;
  return new CloudError({ kind, provider: 'gcp', operation: 'compute', resource }, reason);
}

/** The SDK's REST mode gives the body of an error as the error's message. */
function reasonOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !error.message.startsWith('{')) return undefined;
  try {
    return Body.safeParse(JSON.parse(error.message)).data?.error.errors[0]?.reason;
  } catch {
    return undefined;
  }
}

export const isMissing = (error: unknown): boolean =>
  typeof error === 'object' && error !== null && 'code' in error && Number(error.code) === 404;
