/**
 * Refusals of Google Cloud, in two forms: `errors` with a reason (Cloud Storage, BigQuery, Compute Engine), and `details` of
 * `google.rpc` (all newer APIs); and those of its token endpoint. https://cloud.google.com/apis/design/errors (2026-11)
 */
import type { Answer, Cause, Told } from './answers.ts';
import type { Call } from './calls.ts';

/** Status, reason of the older form, `google.rpc.Code`, reason of `ErrorInfo`, message. */
type Words = readonly [status: number, reason: string, code: string, info: string, message: string];

const words = (right: string, service: string): Readonly<Record<Cause, Words>> => ({
  throttled: [
    429,
    'rateLimitExceeded',
    'RESOURCE_EXHAUSTED',
    'RATE_LIMIT_EXCEEDED',
    `Quota exceeded for quota metric 'Requests' and limit 'Requests per minute' of service '${service}'.`,
  ],
  unavailable: [503, 'backendError', 'UNAVAILABLE', '', 'The service is currently unavailable.'],
  denied: [
    403,
    'forbidden',
    'PERMISSION_DENIED',
    'IAM_PERMISSION_DENIED',
    `Permission '${right}' denied on resource (or it may not exist).`,
  ],
  quota: [403, 'quotaExceeded', 'RESOURCE_EXHAUSTED', 'QUOTA_EXCEEDED', `Quota '${service}' exceeded. Limit: 0.0.`],
  expired: [
    401,
    'authError',
    'UNAUTHENTICATED',
    'ACCESS_TOKEN_EXPIRED',
    'Request had invalid authentication credentials.',
  ],
  revoked: [
    401,
    'authError',
    'UNAUTHENTICATED',
    'ACCOUNT_STATE_INVALID',
    'Request is missing required authentication credential: the account is disabled or its key was deleted.',
  ],
  skewed: [401, 'authError', 'UNAUTHENTICATED', 'ACCESS_TOKEN_EXPIRED', 'Token used too early: it is not valid yet.'],
  held: [409, 'conflict', 'ALREADY_EXISTS', '', 'The requested name is not available. Please try again.'],
});

/** https://developers.google.com/identity/protocols/oauth2/service-account#error-codes */
const grants: Readonly<Partial<Record<Cause, string>>> = {
  expired: 'Token has been expired or revoked.',
  revoked: 'Invalid JWT Signature.',
  skewed:
    'Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim.',
};

const older = ['storage', 'bigquery', 'compute'];

export function gcpAnswer(cause: Cause, { host, id }: Call, { right, retryAfterSeconds }: Told): Answer {
  const headers = { 'content-type': 'application/json; charset=UTF-8', 'x-guploader-uploadid': `fault-${id}` };
  const grant = /^(oauth2|www)\./.test(host) ? grants[cause] : undefined;
  if (grant)
    return { status: 400, headers, body: JSON.stringify({ error: 'invalid_grant', error_description: grant }) };
  const api = host.split('.')[0] ?? host;
  const [status, reason, code, info, message] = words(right, host)[cause];
  // Compute Engine and BigQuery say so under the code of what is forbidden.
  const answered = cause === 'throttled' && (api === 'compute' || api === 'bigquery') ? 403 : status;
  if (older.includes(api)) {
    const error = { code: answered, message, errors: [{ message, domain: 'usageLimits', reason }] };
    return { status: answered, headers, body: JSON.stringify({ error }) };
  }
  const details = [
    ...(info
      ? [
          {
            '@type': 'type.googleapis.com/google.rpc.ErrorInfo',
            reason: info,
            domain: 'googleapis.com',
            metadata: { service: host },
          },
        ]
      : []),
    ...(cause === 'throttled'
      ? [{ '@type': 'type.googleapis.com/google.rpc.RetryInfo', retryDelay: `${retryAfterSeconds}s` }]
      : []),
  ];
  const exhausted = cause === 'quota' ? 429 : answered;
  return {
    status: exhausted,
    headers,
    body: JSON.stringify({ error: { code: exhausted, message, status: code, details } }),
  };
}
