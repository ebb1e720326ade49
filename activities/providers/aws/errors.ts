/** What AWS's errors mean. Each service spells the same thing differently; only this file knows how. */
import { CloudError, type CloudErrorKind } from '../../../model/errors.ts';
import type { Classified } from '../driver.ts';

/** Exact names, of any service. https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html and each API's own list. */
const byName: Readonly<Record<string, CloudErrorKind>> = {
  // S3
  NoSuchBucket: 'NotFound',
  NoSuchKey: 'NotFound',
  NoSuchTagSet: 'NotFound',
  NoSuchBucketPolicy: 'NotFound',
  NoSuchLifecycleConfiguration: 'NotFound',
  NoSuchPublicAccessBlockConfiguration: 'NotFound',
  ServerSideEncryptionConfigurationNotFoundError: 'NotFound',
  OwnershipControlsNotFoundError: 'NotFound',
  BucketAlreadyExists: 'AlreadyExists',
  BucketAlreadyOwnedByYou: 'AlreadyExists',
  BucketNotEmpty: 'PreconditionFailed',
  OperationAborted: 'Unavailable',
  ConditionalRequestConflict: 'PreconditionFailed',
  TooManyBuckets: 'QuotaExceeded',
  SlowDown: 'Throttled',
  NoSuchUpload: 'NotFound',
  // What arrived is not what was announced.
  BadDigest: 'InvalidInput',
  XAmzContentChecksumMismatch: 'InvalidInput',
  // IAM
  NoSuchEntity: 'NotFound',
  NoSuchEntityException: 'NotFound',
  EntityAlreadyExists: 'AlreadyExists',
  EntityAlreadyExistsException: 'AlreadyExists',
  DeleteConflict: 'PreconditionFailed',
  DeleteConflictException: 'PreconditionFailed',
  ConcurrentModification: 'PreconditionFailed',
  ConcurrentModificationException: 'PreconditionFailed',
  MalformedPolicyDocument: 'InvalidInput',
  MalformedPolicyDocumentException: 'InvalidInput',
  // IoT
  ResourceAlreadyExistsException: 'AlreadyExists',
  DeleteConflictsException: 'PreconditionFailed',
  VersionConflictException: 'PreconditionFailed',
  // IoT says so of a rule that does not exist, lest its name be probed; the driver lists rules before it asks.
  UnauthorizedException: 'PermissionDenied',
  CertificateConflictException: 'AlreadyExists',
  CertificateStateException: 'PreconditionFailed',
  // SQS
  QueueDoesNotExist: 'NotFound',
  'AWS.SimpleQueueService.NonExistentQueue': 'NotFound',
  QueueNameExists: 'AlreadyExists',
  QueueAlreadyExists: 'AlreadyExists',
  OverLimit: 'QuotaExceeded',
  QueueDeletedRecently: 'Unavailable',
  'AWS.SimpleQueueService.QueueDeletedRecently': 'Unavailable',
  // Kinesis, Glue
  ResourceNotFoundException: 'NotFound',
  EntityNotFoundException: 'NotFound',
  ResourceInUseException: 'AlreadyExists',
  AlreadyExistsException: 'AlreadyExists',
  ResourceNumberLimitExceededException: 'QuotaExceeded',
  // Service Quotas
  NoSuchResourceException: 'NotFound',
  // Route 53: a batch that does not fit what stands in the zone; what is malformed is InvalidInput there.
  InvalidChangeBatch: 'PreconditionFailed',
  NoSuchHostedZone: 'NotFound',
  NoSuchChange: 'NotFound',
  PriorRequestNotComplete: 'Throttled',
  // EC2, Auto Scaling
  AlreadyExists: 'AlreadyExists',
  AlreadyExistsFault: 'AlreadyExists',
  ResourceInUse: 'PreconditionFailed',
  ResourceInUseFault: 'PreconditionFailed',
  ResourceContention: 'PreconditionFailed',
  ResourceContentionFault: 'PreconditionFailed',
  ScalingActivityInProgress: 'PreconditionFailed',
  ScalingActivityInProgressFault: 'PreconditionFailed',
  DependencyViolation: 'PreconditionFailed',
  IncorrectState: 'PreconditionFailed',
  RequestLimitExceeded: 'Throttled',
  InsufficientInstanceCapacity: 'Unavailable',
  VcpuLimitExceeded: 'QuotaExceeded',
  InstanceLimitExceeded: 'QuotaExceeded',
  UnsupportedOperation: 'NotSupported',
  Unsupported: 'NotSupported',
  // Who asks
  UnrecognizedClientException: 'Unauthenticated',
  InvalidClientTokenId: 'Unauthenticated',
  InvalidAccessKeyId: 'Unauthenticated',
  SignatureDoesNotMatch: 'Unauthenticated',
  InvalidSignatureException: 'Unauthenticated',
  AuthFailure: 'Unauthenticated',
  ExpiredToken: 'Unauthenticated',
  ExpiredTokenException: 'Unauthenticated',
  TokenRefreshRequired: 'Unauthenticated',
  MissingAuthenticationToken: 'Unauthenticated',
  CredentialsProviderError: 'Unauthenticated',
  OptInRequired: 'PermissionDenied',
  UnauthorizedOperation: 'PermissionDenied',
  AccessDenied: 'PermissionDenied',
  AccessDeniedException: 'PermissionDenied',
  RequestTimeTooSkewed: 'ClockSkewed',
  RequestExpired: 'ClockSkewed',
};

/** Families of names that services extend freely; the first that matches counts. */
const byPattern: readonly (readonly [RegExp, CloudErrorKind])[] = [
  [/throttl|TooManyRequests|RequestLimit|^Rate exceeded/i, 'Throttled'],
  [/LimitExceeded|QuotaExceeded|TooMany/, 'QuotaExceeded'],
  [/NotFound|NotAttached/, 'NotFound'],
  [/Duplicate|AlreadyExists|Conflict$|AlreadyAssociated/, 'AlreadyExists'],
  [/AccessDenied|Unauthorized|Forbidden/, 'PermissionDenied'],
  [/InternalError|InternalFailure|InternalServer|ServiceUnavailable|Timeout|ECONN|EPIPE|ENOTFOUND/, 'Unavailable'],
  [/Invalid|Malformed|Missing|Validation|Unknown(Parameter|Operation)/, 'InvalidInput'],
];

const byStatus: Readonly<Record<number, CloudErrorKind>> = {
  401: 'Unauthenticated',
  403: 'PermissionDenied',
  404: 'NotFound',
  409: 'PreconditionFailed',
  412: 'PreconditionFailed',
  429: 'Throttled',
};

interface SdkError {
  name?: string;
  message?: string;
  $metadata?: { httpStatusCode?: number; requestId?: string };
  $response?: { headers?: Record<string, string> };
}

function kindOf({ name = '', message = '', $metadata }: SdkError): CloudErrorKind {
  // Auto Scaling has one name for all that is wrong with a request, what it asks for included.
  if (name === 'ValidationError' && /not found/i.test(message)) return 'NotFound';
  // A profile or role just made is not known everywhere for some seconds.
  if (/Invalid IAM Instance Profile|role.*cannot be assumed|unable to assume/i.test(message)) return 'Unavailable';
  // A signature that came too late is a wrong clock, not a wrong key.
  if (/Signature (expired|not yet current)/i.test(message)) return 'ClockSkewed';
  // Kinesis has one name for too many calls and for too many shards.
  if (/^Rate exceeded/i.test(message)) return 'Throttled';
  const named = byName[name] ?? byPattern.find(([pattern]) => pattern.test(name))?.[1];
  return named ?? byStatus[$metadata?.httpStatusCode ?? 0] ?? 'Unavailable';
}

/** AWS names the missing right in its message and nowhere else: "is not authorized to perform: iot:CreateThingType". */
const missingRight = (message = ''): string | undefined =>
  /not authorized to perform:? ([a-z0-9-]+:[A-Za-z]+)/.exec(message)?.[1];

/** A quota goes by the error that tells of it: AWS names it nowhere else. */
const missing = (kind: CloudErrorKind, { name, message }: SdkError): string | undefined =>
  kind === 'PermissionDenied' ? missingRight(message) : kind === 'QuotaExceeded' ? `quota (${name})` : undefined;

export function classify(error: unknown): Classified {
  if (error instanceof CloudError) return error.fields;
  const failure: SdkError = error instanceof Error ? error : {};
  const kind = kindOf(failure);
  const seconds = Number(failure.$response?.headers?.['retry-after']);
  return {
    kind,
    requestId: failure.$metadata?.requestId,
    missing: missing(kind, failure),
    retryAfterMs: seconds > 0 ? seconds * 1000 : undefined,
  };
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

/** A deletion, for which "there is nothing" is success. */
export async function gone(deleting: Promise<unknown>): Promise<void> {
  await ifFound(deleting);
}
