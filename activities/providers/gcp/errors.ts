/**
 * What Google's errors mean. Its libraries spell them in three ways: gRPC codes (Pub/Sub), HTTP codes with reasons (Cloud
 * Storage, BigQuery, Compute Engine), and the authorisation library's own. Only this file knows how.
 */
import { z } from 'zod';
import { CloudError, type CloudErrorKind } from '../../../model/errors.ts';
import type { Classified } from '../driver.ts';

/** https://grpc.io/docs/guides/status-codes */
const byGrpcCode: Readonly<Record<number, CloudErrorKind>> = {
  3: 'InvalidInput',
  4: 'Unavailable',
  5: 'NotFound',
  6: 'AlreadyExists',
  7: 'PermissionDenied',
  8: 'Throttled',
  9: 'PreconditionFailed',
  10: 'PreconditionFailed',
  11: 'InvalidInput',
  12: 'NotSupported',
  14: 'Unavailable',
  16: 'Unauthenticated',
};

const byStatus: Readonly<Record<number, CloudErrorKind>> = {
  400: 'InvalidInput',
  401: 'Unauthenticated',
  403: 'PermissionDenied',
  404: 'NotFound',
  409: 'AlreadyExists',
  411: 'InvalidInput',
  412: 'PreconditionFailed',
  416: 'InvalidInput',
  429: 'Throttled',
  501: 'NotSupported',
};

/** Reasons that say more than the code they come with, of the older form and of `google.rpc.ErrorInfo`. https://cloud.google.com/apis/design/errors */
const byReason: Readonly<Record<string, CloudErrorKind>> = {
  rateLimitExceeded: 'Throttled',
  userRateLimitExceeded: 'Throttled',
  RATE_LIMIT_EXCEEDED: 'Throttled',
  quotaExceeded: 'QuotaExceeded',
  QUOTA_EXCEEDED: 'QuotaExceeded',
  aborted: 'PreconditionFailed',
  ABORTED: 'PreconditionFailed',
  failedPrecondition: 'PreconditionFailed',
  FAILED_PRECONDITION: 'PreconditionFailed',
  resourceInUse: 'PreconditionFailed',
  resourceInUseByAnotherResource: 'PreconditionFailed',
  resourceNotReady: 'Unavailable',
  backendError: 'Unavailable',
  notImplemented: 'NotSupported',
};

/** The error body of any of Google's APIs, and of its token endpoint, where `error` is a word. */
const Body = z.object({
  error: z.union([
    z.string(),
    z.object({
      status: z.string().optional(),
      message: z.string().optional(),
      errors: z.array(z.object({ reason: z.string().optional() })).optional(),
      details: z.array(z.object({ reason: z.string().optional() })).optional(),
    }),
  ]),
  error_description: z.string().optional(),
});

const Failure = z.object({
  message: z.string().default(''),
  code: z.union([z.number(), z.string()]).optional().catch(undefined),
  status: z.union([z.number(), z.string()]).optional().catch(undefined),
  reason: z.string().optional().catch(undefined),
  errors: z
    .array(z.object({ reason: z.string().optional() }))
    .optional()
    .catch(undefined),
  response: z
    .object({
      status: z.number().optional(),
      statusCode: z.number().optional(),
      data: z.unknown().optional(),
      headers: z.unknown().optional(),
    })
    .optional()
    .catch(undefined),
});
type Failure = z.infer<typeof Failure>;

function bodyOf({ response, message }: Failure): z.infer<typeof Body> | undefined {
  const direct = Body.safeParse(response?.data);
  if (direct.success) return direct.data;
  // Compute Engine's client gives the body of an error as its message.
  if (!message.startsWith('{')) return undefined;
  try {
    return Body.safeParse(JSON.parse(message)).data;
  } catch {
    return undefined;
  }
}

function kindOf(failure: Failure): CloudErrorKind {
  const { message, code, status, response } = failure;
  const body = bodyOf(failure);
  const text = `${message} ${body?.error_description ?? ''}`;
  // A signed request for a token that came too late or too early is a wrong clock, not a wrong key.
  if (/reasonable timeframe|Token used too (early|late)/i.test(text)) return 'ClockSkewed';
  if (/invalid_grant|invalid_client|unauthorized_client|invalid_scope/.test(`${text} ${String(body?.error)}`))
    return 'Unauthenticated';
  if (
    /could not load the default credentials|does not exist, or it is not a file|unable to read .*key|ENOENT/i.test(text)
  )
    return 'Unauthenticated';
  const inner = typeof body?.error === 'object' ? body.error : undefined;
  const reasons = [
    failure.reason,
    ...(inner?.details ?? []).map(({ reason }) => reason),
    ...(failure.errors ?? []).map(({ reason }) => reason),
    ...(inner?.errors ?? []).map(({ reason }) => reason),
    inner?.status,
  ];
  for (const reason of reasons) if (reason !== undefined && byReason[reason]) return byReason[reason];
  const number = [response?.status, response?.statusCode, status, code].map(Number).find((value) => value > 0);
  if (number === undefined) return 'Unavailable';
  return (number < 100 ? byGrpcCode[number] : byStatus[number]) ?? 'Unavailable';
}

/** The permission that the answer names: "Permission 'pubsub.topics.create' denied", "does not have storage.buckets.get access". */
function missingRight(failure: Failure): string | undefined {
  const body = bodyOf(failure);
  const text = `${failure.message} ${typeof body?.error === 'object' ? (body.error.message ?? '') : ''}`;
  const found =
    /Permission '?([a-z]+\.\w+\.\w+)'? denied/i.exec(text) ??
    /does not have ([a-z]+\.\w+\.\w+) (?:access|permission)/i.exec(text) ??
    /Required '([a-z]+\.\w+\.\w+)' permission/i.exec(text);
  return found?.[1];
}

function headerOf({ response }: Failure, name: string): string | undefined {
  const headers = response?.headers;
  // Whose `Headers` they are depends on the library's version of fetch.
  if (typeof headers === 'object' && headers !== null && 'get' in headers && typeof headers.get === 'function')
    return z
      .string()
      .optional()
      .catch(undefined)
      .parse(headers.get(name) ?? undefined);
  return z.record(z.string(), z.unknown()).safeParse(headers).data?.[name]?.toString();
}

export function classify(error: unknown): Classified {
  if (error instanceof CloudError) {
    const { kind, requestId, missing, retryAfterMs } = error.fields;
    return { kind, requestId, missing, retryAfterMs };
  }
  const failure = Failure.safeParse(error instanceof Error ? asRecord(error) : {}).data ?? Failure.parse({});
  const kind = kindOf(failure);
  const seconds = Number(headerOf(failure, 'retry-after'));
  return {
    kind,
    requestId: headerOf(failure, 'x-guploader-uploadid'),
    missing: kind === 'PermissionDenied' ? missingRight(failure) : undefined,
    retryAfterMs: seconds > 0 ? seconds * 1000 : undefined,
  };
}

/** An error's own fields; `message` is not enumerable. */
function asRecord(error: Error): Record<string, unknown> {
  return { ...error, message: error.message };
}

export const isKind = (error: unknown, kind: CloudErrorKind): boolean => classify(error).kind === kind;

/** The value of a look-up, or undefined where the cloud says that there is nothing. */
export async function ifFound<T>(looking: Promise<T>): Promise<T | undefined> {
  try {
    return await looking;
  } catch (error) {
    if (isKind(error, 'NotFound')) return undefined;
    throw error;
  }
}

/** gRPC's code of a deadline that has passed: https://grpc.io/docs/guides/status-codes */
export const isTimeout = (error: unknown): boolean => z.object({ code: z.literal(4) }).safeParse(error).success;
