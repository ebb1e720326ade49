/** An error as Google's APIs answer it, in the older form (`errors`, `reason`) and the newer one (`status`) at once. */
import type { JsonObject } from '../../model/service.ts';

interface Meaning {
  code: number;
  status: string;
}

const meanings = {
  required: { code: 400, status: 'INVALID_ARGUMENT' },
  invalid: { code: 400, status: 'INVALID_ARGUMENT' },
  failedPrecondition: { code: 400, status: 'FAILED_PRECONDITION' },
  resourceInUse: { code: 400, status: 'FAILED_PRECONDITION' },
  authError: { code: 401, status: 'UNAUTHENTICATED' },
  forbidden: { code: 403, status: 'PERMISSION_DENIED' },
  retentionPolicyNotMet: { code: 403, status: 'PERMISSION_DENIED' },
  objectUnderActiveHold: { code: 403, status: 'PERMISSION_DENIED' },
  notFound: { code: 404, status: 'NOT_FOUND' },
  conflict: { code: 409, status: 'ALREADY_EXISTS' },
  duplicate: { code: 409, status: 'ALREADY_EXISTS' },
  aborted: { code: 409, status: 'ABORTED' },
  conditionNotMet: { code: 412, status: 'FAILED_PRECONDITION' },
  requestedRangeNotSatisfiable: { code: 416, status: 'OUT_OF_RANGE' },
  notImplemented: { code: 501, status: 'UNIMPLEMENTED' },
} satisfies Record<string, Meaning>;

export type Reason = keyof typeof meanings;

export class GoogleError extends Error {
  readonly reason: Reason;

  constructor(reason: Reason, message: string) {
    super(message);
    this.reason = reason;
  }

  get code(): number {
    return meanings[this.reason].code;
  }

  get body(): JsonObject {
    const { code, status } = meanings[this.reason];
    const { message, reason } = this;
    return { error: { code, message, status, errors: [{ message, domain: 'global', reason }] } };
  }
}
