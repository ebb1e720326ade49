/** What Azure's errors mean: those of ARM, of the data planes, and of Entra. */
import { CloudError, type CloudErrorKind } from '../../../model/errors.ts';
import type { Classified } from '../driver.ts';

/** Codes of any service. https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/common-deployment-errors */
const byCode: Readonly<Record<string, CloudErrorKind>> = {
  AuthorizationPermissionMismatch: 'PermissionDenied',
  AuthorizationFailed: 'PermissionDenied',
  AuthorizationFailure: 'PermissionDenied',
  InsufficientAccountPermissions: 'PermissionDenied',
  KeyBasedAuthenticationNotPermitted: 'PermissionDenied',
  RequestDisallowedByPolicy: 'PermissionDenied',
  ScopeLocked: 'PermissionDenied',
  MissingSubscriptionRegistration: 'PermissionDenied',
  SubscriptionNotRegistered: 'PermissionDenied',
  LinkedAuthorizationFailed: 'PermissionDenied',
  ReadOnlyDisabledSubscription: 'PermissionDenied',
  AuthenticationFailed: 'Unauthenticated',
  ExpiredAuthenticationToken: 'Unauthenticated',
  InvalidAuthenticationToken: 'Unauthenticated',
  InvalidAuthenticationTokenTenant: 'Unauthenticated',
  InvalidAuthenticationInfo: 'Unauthenticated',
  NoAuthenticationInformation: 'Unauthenticated',
  UnauthorizedError: 'Unauthenticated',
  SubscriptionNotFound: 'Unauthenticated',
  QuotaExceeded: 'QuotaExceeded',
  // The IoT Hub client's name for every 403.
  TooManyDevicesError: 'QuotaExceeded',
  TooManyRequests: 'Throttled',
  ServerBusy: 'Throttled',
  SubscriptionRequestsThrottled: 'Throttled',
  AllocationFailed: 'Unavailable',
  ZonalAllocationFailed: 'Unavailable',
  OverconstrainedAllocationRequest: 'Unavailable',
  // Somebody else's change is under way; the next attempt finds it done.
  AnotherOperationInProgress: 'Unavailable',
  RetryableError: 'Unavailable',
  StorageAccountOperationInProgress: 'Unavailable',
  ContainerBeingDeleted: 'Unavailable',
  ResourceGroupBeingDeleted: 'Unavailable',
  // What was created seconds ago is not known everywhere.
  PrincipalNotFound: 'Unavailable',
  SkuNotAvailable: 'NotSupported',
  LocationNotAvailableForResourceType: 'NotSupported',
  RoleAssignmentExists: 'AlreadyExists',
  RoleAssignmentUpdateNotPermitted: 'AlreadyExists',
};

/** Families of codes that services extend freely; the first that matches counts. */
const byPattern: readonly (readonly [RegExp, CloudErrorKind])[] = [
  [/Already(Exists|Taken|InUse)|NameUnavailable|NameNotAvailable/i, 'AlreadyExists'],
  [/LimitReached|LimitExceeded|MaxStorageAccountsCount|QuotaExceeded/i, 'QuotaExceeded'],
  [/Throttl/i, 'Throttled'],
  [
    /^(InUse\w*CannotBeDeleted|\w+CannotBeDeleted|CannotDeleteResource|ConditionNotMet|PreconditionFailed)$/,
    'PreconditionFailed',
  ],
  [/NotFound$|DoesNotExist$/i, 'NotFound'],
  [/^(ECONN|EPIPE|ENOTFOUND|ETIMEDOUT|EAI_AGAIN)|REQUEST_SEND_ERROR|PARSE_ERROR/, 'Unavailable'],
];

const byStatus: Readonly<Record<number, CloudErrorKind>> = {
  400: 'InvalidInput',
  401: 'Unauthenticated',
  403: 'PermissionDenied',
  404: 'NotFound',
  409: 'PreconditionFailed',
  412: 'PreconditionFailed',
  429: 'Throttled',
};

/** Those of the IoT Hub client are Node's own. */
type Headers =
  | { get(name: string): string | undefined }
  | { [name: string]: string | string[] | undefined; get?: never };
/** The shape of `RestError` and, with less in it, of what AMQP, MSAL and the IoT Hub client throw. */
interface SdkError {
  name?: string;
  message?: string;
  code?: string | number;
  statusCode?: number;
  request?: { method?: string; headers?: Headers };
  response?: { statusCode?: number; status?: number; headers?: Headers };
}

const tokenErrors =
  /^(AuthenticationError|AuthenticationRequiredError|CredentialUnavailableError|AggregateAuthenticationError)$/;

/** Entra: https://learn.microsoft.com/entra/identity-platform/reference-error-codes */
function entraKind(message: string): CloudErrorKind {
  if (/AADSTS(700024|50013[0-9]?)\b|not within its valid time range|clock/i.test(message)) return 'ClockSkewed';
  if (/AADSTS(90033|50196|90012)|ENOTFOUND|ECONN|ETIMEDOUT|network_error|endpoints_resolution_error/i.test(message))
    return 'Unavailable';
  return 'Unauthenticated';
}

function kindOf(error: SdkError, status: number): CloudErrorKind {
  const { name = '', message = '', request } = error;
  if (tokenErrors.test(name)) return entraKind(message);
  const code = String(error.code ?? name);
  if (status === 401 && /not yet valid|nbf|IDX10222/i.test(message)) return 'ClockSkewed';
  // A PUT that asks for nothing but "it must not exist" is refused for one reason. IoT Hub says so where If-Match is left out.
  const created = request?.method === 'PUT' && request.headers?.get?.('if-match') === undefined;
  if (status === 412 && created) return 'AlreadyExists';
  // One code for what is not possible now, what is never possible, and what costs too much of a quota.
  if (/^(OperationNotAllowed|Conflict)$/.test(code) && /quota|exceed.*limit|cores/i.test(message))
    return 'QuotaExceeded';
  const known = byCode[code] ?? byPattern.find(([pattern]) => pattern.test(code))?.[1];
  return (
    known ?? byStatus[status] ?? (status >= 500 || !/^Invalid|BadRequest/.test(code) ? 'Unavailable' : 'InvalidInput')
  );
}

/** "...does not have authorization to perform action 'Microsoft.Storage/storageAccounts/write' over scope...", or the provider to register. */
const missingIn = (message = ''): string | undefined =>
  /perform action '([\w./*-]+)'/.exec(message)?.[1] ??
  /registered to use namespace '([\w.]+)'/.exec(message)?.[1]?.concat('/register/action');

export function classify(error: unknown): Classified {
  if (error instanceof CloudError) return error.fields;
  const failure: SdkError = error instanceof Error ? error : {};
  const status = failure.statusCode ?? failure.response?.statusCode ?? failure.response?.status ?? 0;
  const header = (name: string): string | undefined => {
    const headers = failure.response?.headers;
    return headers?.get ? headers.get(name) : (headers as Readonly<Record<string, string>> | undefined)?.[name];
  };
  const kind = kindOf(failure, status);
  const seconds = Number(header('retry-after'));
  return {
    kind,
    requestId: header('x-ms-request-id') ?? header('x-ms-correlation-request-id'),
    missing:
      kind === 'PermissionDenied'
        ? missingIn(failure.message)
        : kind === 'QuotaExceeded'
          ? `quota (${String(failure.code)})`
          : undefined,
    retryAfterMs: seconds > 0 ? seconds * 1000 : undefined,
  };
}

export const isKind = (error: unknown, kind: CloudErrorKind): boolean => classify(error).kind === kind;

/** What a look-up or a deletion answers, or undefined where the cloud says that there is nothing. */
export async function found<T>(step: () => Promise<T>): Promise<T | undefined> {
  try {
    return await step();
  } catch (error) {
    if (isKind(error, 'NotFound')) return undefined;
    throw error;
  }
}
