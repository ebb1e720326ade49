/** Errors of the hub's data plane: `{"Message": "ErrorCode:DeviceNotFound;E404001: …"}` and the header `iothub-errorcode`. */

export interface Failure {
  status: number;
  code: string;
  number: number;
}

/** https://learn.microsoft.com/azure/iot-hub/iot-hub-troubleshoot-errors (six-digit codes of the service). */
export const failures = {
  argument: { status: 400, code: 'ArgumentInvalid', number: 400004 },
  query: { status: 400, code: 'BadRequest', number: 400001 },
  unauthorized: { status: 401, code: 'IotHubUnauthorizedAccess', number: 401002 },
  quota: { status: 403, code: 'IotHubQuotaExceeded', number: 403002 },
  hubMissing: { status: 404, code: 'IotHubNotFound', number: 404002 },
  missing: { status: 404, code: 'DeviceNotFound', number: 404001 },
  notOnline: { status: 404, code: 'DeviceNotOnline', number: 404103 },
  noApi: { status: 404, code: 'ResourceNotFound', number: 404000 },
  exists: { status: 409, code: 'DeviceAlreadyExists', number: 409001 },
  precondition: { status: 412, code: 'PreconditionFailed', number: 412001 },
  tooLarge: { status: 413, code: 'MessageTooLarge', number: 413001 },
} as const satisfies Record<string, Failure>;

export class HubError extends Error {
  readonly failure: Failure;

  constructor(failure: Failure, message: string) {
    super(message);
    this.failure = failure;
  }

  get body(): { Message: string; ExceptionMessage: string } {
    const { code, number } = this.failure;
    return { Message: `ErrorCode:${code};${this.message}`, ExceptionMessage: `Error code: ${number}` };
  }
}
