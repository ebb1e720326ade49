/** Refusals of Azure: of Resource Manager and its resource providers, of Blob Storage, of IoT Hub, and of Entra. */
import type { Answer, Cause, Said, Told } from './answers.ts';
import type { Call } from './calls.ts';

type Names = Readonly<Record<Cause, Said>>;

/** https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling (2026-11) */
const arm = (right: string, path: string): Names => ({
  throttled: [429, 'SubscriptionRequestsThrottled', 'Number of requests for the subscription exceeded the limit.'],
  unavailable: [503, 'ServiceUnavailable', 'The service is temporarily unavailable.'],
  denied: [
    403,
    'AuthorizationFailed',
    `The client 'worker' with object id 'worker' does not have authorization to perform action '${right}' over scope '${path}' or the scope is invalid.`,
  ],
  quota: [409, 'QuotaExceeded', `Operation ${right} results in exceeding an approved quota.`],
  expired: [401, 'ExpiredAuthenticationToken', 'The access token expiry UTC time is earlier than current UTC time.'],
  revoked: [
    401,
    'InvalidAuthenticationToken',
    'The received access token is not valid: its service principal is disabled.',
  ],
  skewed: [401, 'InvalidAuthenticationToken', 'The access token is not yet valid.'],
  held: [409, 'NameNotAvailable', 'The name is held by a resource that was deleted recently.'],
});

/** Where a resource provider has words of its own. */
const providers: Readonly<Record<string, Partial<Names>>> = {
  'microsoft.compute': {
    throttled: [
      429,
      'TooManyRequests',
      'The server rejected the request because too many requests have been received for this subscription.',
    ],
    quota: [
      409,
      'OperationNotAllowed',
      'Operation could not be completed as it results in exceeding approved Total Regional Cores quota.',
    ],
  },
  'microsoft.storage': {
    throttled: [
      429,
      'TooManyRequests',
      'The request is being throttled as the limit has been reached for operation type.',
    ],
    quota: [
      409,
      'MaxStorageAccountsCountPerSubscriptionExceeded',
      'Subscription already contains the maximum allowed number of storage accounts.',
    ],
    held: [409, 'StorageAccountAlreadyTaken', 'The storage account name is already taken.'],
  },
  'microsoft.network': {
    throttled: [429, 'TooManyRequests', 'Too many requests have been received for this subscription.'],
    quota: [
      400,
      'PublicIPCountLimitReached',
      'Cannot create more public IP addresses for this subscription in this region.',
    ],
  },
};

/** https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes */
const blob: Names = {
  throttled: [503, 'ServerBusy', 'The server is busy.'],
  unavailable: [500, 'InternalError', 'Server encountered an internal error. Please try again after some time.'],
  denied: [
    403,
    'AuthorizationPermissionMismatch',
    'This request is not authorized to perform this operation using this permission.',
  ],
  quota: [403, 'QuotaExceeded', 'The account has reached its capacity.'],
  expired: [401, 'InvalidAuthenticationInfo', 'Lifetime validation failed. The token is expired.'],
  revoked: [401, 'InvalidAuthenticationInfo', 'Signature validation failed.'],
  skewed: [401, 'InvalidAuthenticationInfo', 'Lifetime validation failed. The token is not yet valid.'],
  held: [409, 'ContainerBeingDeleted', 'The specified container is being deleted. Try operation later.'],
};

/** https://learn.microsoft.com/azure/iot-hub/troubleshoot-error-codes */
const hub: Names = {
  throttled: [429, 'ThrottlingException', 'Too many requests have been received.'],
  unavailable: [503, 'ServiceUnavailable', 'The service is unavailable.'],
  denied: [401, 'IotHubUnauthorizedAccess', 'Unauthorized: the principal lacks the data action.'],
  quota: [403, 'IotHubQuotaExceeded', 'Total number of messages on the hub exceeded the allocated quota.'],
  expired: [401, 'IotHubUnauthorizedAccess', 'Unauthorized: the token has expired.'],
  revoked: [401, 'IotHubUnauthorizedAccess', 'Unauthorized: the token is not valid.'],
  skewed: [401, 'IotHubUnauthorizedAccess', 'Unauthorized: the token is not yet valid.'],
  held: [409, 'DeviceAlreadyExists', 'The device already exists.'],
};

/** https://learn.microsoft.com/entra/identity-platform/reference-error-codes */
const entra: Names = {
  throttled: [429, 'temporarily_unavailable', 'AADSTS90033: A transient error has occurred. Please try again.'],
  unavailable: [503, 'temporarily_unavailable', 'AADSTS90033: A transient error has occurred. Please try again.'],
  denied: [400, 'unauthorized_client', 'AADSTS7000112: The application is disabled.'],
  quota: [429, 'temporarily_unavailable', 'AADSTS90033: A transient error has occurred. Please try again.'],
  expired: [401, 'invalid_client', 'AADSTS7000222: The provided client secret keys are expired.'],
  revoked: [401, 'invalid_client', 'AADSTS7000215: Invalid client secret provided.'],
  skewed: [401, 'invalid_client', 'AADSTS700024: Client assertion is not within its valid time range.'],
  held: [400, 'invalid_request', 'AADSTS90002: Not served.'],
};

/** Counters that tell how much is left: of a subscription, by kind of request, and of a compute operation. */
function counters({ method, path }: Call): Record<string, string> {
  const kind = method === 'DELETE' ? 'deletes' : method === 'GET' || method === 'HEAD' ? 'reads' : 'writes';
  return /\/providers\/microsoft\.compute\//i.test(path)
    ? { 'x-ms-ratelimit-remaining-resource': 'Microsoft.Compute/PutVMScaleSet3Min;0' }
    : { [`x-ms-ratelimit-remaining-subscription-${kind}`]: '0' };
}

export function azureAnswer(cause: Cause, call: Call, { right }: Told): Answer {
  const { host, path, id } = call;
  const request = { 'x-ms-request-id': `fault-${id}` };
  const json = { ...request, 'content-type': 'application/json; charset=utf-8' };
  if (/^login\./.test(host)) {
    const [status, error, description] = entra[cause];
    const error_codes = [Number(/\d+/.exec(description)?.[0])];
    return { status, headers: json, body: JSON.stringify({ error, error_description: description, error_codes }) };
  }
  if (/\.(blob|queue)\.core\.windows\.net$/.test(host)) {
    const [status, code, message] = blob[cause];
    const headers = { ...request, 'content-type': 'application/xml', 'x-ms-error-code': code };
    const body = `<?xml version="1.0" encoding="utf-8"?><Error><Code>${code}</Code><Message>${message}</Message></Error>`;
    return { status, headers, body };
  }
  if (host.endsWith('.azure-devices.net')) {
    const [status, code, message] = hub[cause];
    const body = { Message: `ErrorCode:${code};${message}`, ExceptionMessage: `Tracking ID:fault-${id}` };
    return { status, headers: { ...json, 'iothub-errorcode': code }, body: JSON.stringify(body) };
  }
  const provider = /\/providers\/([^/]+)\//i.exec(path)?.[1]?.toLowerCase() ?? '';
  const [status, code, message] = providers[provider]?.[cause] ?? arm(right, path)[cause];
  const headers = { ...json, 'x-ms-error-code': code, ...(cause === 'throttled' ? counters(call) : {}) };
  return { status, headers, body: JSON.stringify({ error: { code, message } }) };
}
