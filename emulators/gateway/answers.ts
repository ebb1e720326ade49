/** How each cloud says that a call is refused: status, headers and body as its API has them, for faults that name the cause. */
import type { Call } from './calls.ts';
import { rightsOf } from './rights.ts';

export const causes = ['throttled', 'unavailable', 'denied', 'quota', 'expired', 'skewed'] as const;
export type Cause = (typeof causes)[number];

export interface Answer {
  status: number;
  headers: Record<string, string>;
  body: string;
}

type Said = readonly [status: number, code: string, message: string];

/** https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html and each service's common errors. */
const aws = (action: string): Record<Cause, Said> => ({
  throttled: [400, 'ThrottlingException', 'Rate exceeded'],
  unavailable: [503, 'ServiceUnavailable', 'The service is unavailable. Please try again.'],
  denied: [403, 'AccessDenied', `User: arn:aws:iam::000000000000:user/worker is not authorized to perform: ${action}`],
  quota: [400, 'LimitExceededException', `The quota for ${action} is exceeded.`],
  expired: [403, 'ExpiredToken', 'The security token included in the request is expired'],
  skewed: [403, 'RequestTimeTooSkewed', 'The difference between the request time and the current time is too large.'],
});
/** https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling */
const azure = (action: string): Record<Cause, Said> => ({
  throttled: [429, 'SubscriptionRequestsThrottled', 'Number of requests for the subscription exceeded the limit.'],
  unavailable: [503, 'ServiceUnavailable', 'The service is temporarily unavailable.'],
  denied: [
    403,
    'AuthorizationFailed',
    `The client does not have authorization to perform action '${action}' over scope '/'.`,
  ],
  quota: [409, 'QuotaExceeded', `Operation ${action} results in exceeding an approved quota.`],
  expired: [401, 'ExpiredAuthenticationToken', 'The access token has expired.'],
  skewed: [401, 'InvalidAuthenticationToken', 'The access token is not yet valid.'],
});
/** https://cloud.google.com/apis/design/errors; the reasons are those of the older JSON APIs. */
const google: Record<Cause, Said> = {
  throttled: [429, 'rateLimitExceeded', 'Rate Limit Exceeded'],
  unavailable: [503, 'backendError', 'Backend Error'],
  denied: [403, 'forbidden', 'The caller does not have permission'],
  quota: [403, 'quotaExceeded', 'Quota exceeded'],
  expired: [401, 'authError', 'Invalid Credentials'],
  skewed: [401, 'authError', 'Token used too early: it must be issued within a reasonable timeframe'],
};

/** What the cloud would answer to this call for that cause. `right`: the one that is missing, where that is the cause. */
export function answerOf(
  cause: Cause,
  call: Call,
  retryAfterSeconds: number,
  right = rightsOf(call)[0] ?? call.action ?? `${call.method} ${call.path}`,
): Answer {
  const retry: Record<string, string> =
    cause === 'throttled' || cause === 'unavailable' ? { 'retry-after': String(retryAfterSeconds) } : {};
  switch (call.cloud) {
    case 'aws':
      return awsAnswer(call, aws(right)[cause], retry);
    case 'azure': {
      const [status, code, message] = azure(right)[cause];
      const headers = {
        'content-type': 'application/json',
        'x-ms-error-code': code,
        'x-ms-request-id': `fault-${call.id}`,
      };
      return { status, headers: { ...headers, ...retry }, body: JSON.stringify({ error: { code, message } }) };
    }
    default: {
      const [status, reason, message] = google[cause];
      const error = { code: status, message, errors: [{ message, domain: 'global', reason }] };
      return { status, headers: { 'content-type': 'application/json', ...retry }, body: JSON.stringify({ error }) };
    }
  }
}

/** S3 and the query protocol speak XML, each in its own frame; the others JSON with the code in a header. */
function awsAnswer({ host, action, id }: Call, [status, code, message]: Said, retry: Record<string, string>): Answer {
  const request = `fault-${id}`;
  const s3 = host.includes('s3.') || host.startsWith('s3');
  if (s3) {
    const slow = code === 'ThrottlingException' ? 'SlowDown' : code;
    const body = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${slow}</Code><Message>${message}</Message><RequestId>${request}</RequestId></Error>`;
    return {
      status: slow === 'SlowDown' ? 503 : status,
      headers: { 'content-type': 'application/xml', 'x-amz-request-id': request, ...retry },
      body,
    };
  }
  if (action !== undefined && !action.includes('.')) {
    const throttled =
      code === 'ThrottlingException' ? (host.startsWith('ec2.') ? 'RequestLimitExceeded' : 'Throttling') : code;
    const error = `<Error><Type>Sender</Type><Code>${throttled}</Code><Message>${message}</Message></Error>`;
    const body = host.startsWith('ec2.')
      ? `<Response><Errors>${error.replace('<Type>Sender</Type>', '')}</Errors><RequestID>${request}</RequestID></Response>`
      : `<ErrorResponse>${error}<RequestId>${request}</RequestId></ErrorResponse>`;
    return {
      status: code === 'ThrottlingException' && host.startsWith('ec2.') ? 503 : status,
      headers: { 'content-type': 'text/xml', ...retry },
      body,
    };
  }
  const name = code === 'AccessDenied' ? 'AccessDeniedException' : code;
  return {
    status,
    headers: {
      'content-type': 'application/x-amz-json-1.1',
      'x-amzn-errortype': name,
      'x-amzn-requestid': request,
      ...retry,
    },
    body: JSON.stringify({ __type: name, message }),
  };
}
