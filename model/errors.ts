/** The error types of the contract. They are `ApplicationFailure.type` in Temporal, so scripts may rely on them. */

/** What a cloud's answer can mean. Only drivers know how an SDK spells it. */
export const cloudErrorKinds = [
  'Unauthenticated',
  'PermissionDenied',
  'QuotaExceeded',
  'Throttled',
  'Unavailable',
  'NotFound',
  'AlreadyExists',
  'PreconditionFailed',
  'ClockSkewed',
  'InvalidInput',
  'NotSupported',
  'NotOurs',
] as const;
export type CloudErrorKind = (typeof cloudErrorKinds)[number];

export const operationErrorTypes = [
  'InvalidInput',
  'NotSupported',
  'Unplaceable',
  'NotCompliant',
  'OverBudget',
  'OperationInProgress',
  'Unconfirmed',
  'ServiceNotFound',
  'NotOurs',
  'Protected',
  'ApprovalRejected',
  'ApprovalExpired',
  'UndoRequested',
  'PlanChanged',
  'IntegrityMismatch',
  'VerificationFailed',
  'TrafficSwitchFailed',
  'CompensationFailed',
] as const;
export type OperationErrorType = (typeof operationErrorTypes)[number];
export type ErrorType = CloudErrorKind | OperationErrorType;

/** Kinds that a repeated call may cure. Everything else is final or blocks the run until somebody repairs it. */
const retryableKinds: readonly CloudErrorKind[] = ['Throttled', 'Unavailable', 'PreconditionFailed'];

/** Kinds that hold a run as `blocked` instead of failing it: they are cured outside, and the run then goes on alone. */
export const blockingKinds: readonly CloudErrorKind[] = [
  'Unauthenticated',
  'PermissionDenied',
  'QuotaExceeded',
  'ClockSkewed',
];

/** What the people on duty can do about it. A message that explains itself needs none. */
const remedies: Partial<Record<CloudErrorKind, string>> = {
  Unauthenticated:
    'renew the credentials where the worker reads them: its secrets file, or its environment and a restart',
  PermissionDenied: "grant this right to the worker's identity",
  QuotaExceeded: 'have the quota raised, or remove what nobody needs',
  ClockSkewed: "set the clock of the worker's machine: its time service does not run",
  Unavailable: "the cloud does not answer: see its status page, and the worker's network",
};

export interface CloudErrorFields {
  kind: CloudErrorKind;
  provider: string;
  /** The cloud's own name of the call: `s3:CreateBucket`. */
  operation: string;
  /** Name of the resource that the call was about. */
  resource: string;
  requestId?: string | undefined;
  /** The missing permission or quota, in the cloud's own words for it, where the answer names one. */
  missing?: string | undefined;
  /** The wait the cloud asked for (Retry-After), milliseconds. */
  retryAfterMs?: number | undefined;
}

/**
 * The one shape in which a cloud's failure leaves a driver. Its message is built from these fields alone: an SDK's own
 * message, URL or headers can carry tokens.
 */
export class CloudError extends Error {
  override readonly name = 'CloudError';
  readonly fields: CloudErrorFields;

  constructor({ requestId: claimed, ...known }: CloudErrorFields, explanation?: string) {
    // Taken from a header that anything between us and the cloud may have written.
    const requestId = claimed !== undefined && /^[\w-]{1,256}$/.test(claimed) ? claimed : undefined;
    const fields = { ...known, ...(requestId !== undefined && { requestId }) };
    super(
      [
        `${fields.provider}: ${fields.operation} on ${fields.resource}: ${fields.kind}`,
        fields.missing && `missing ${fields.missing}`,
        explanation ?? remedies[fields.kind],
        fields.requestId && `request ${fields.requestId}`,
      ]
        .filter(Boolean)
        .join('; '),
    );
    this.fields = fields;
  }

  get kind(): CloudErrorKind {
    return this.fields.kind;
  }

  get retryable(): boolean {
    return retryableKinds.includes(this.kind);
  }
}
