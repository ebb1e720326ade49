/** Exit codes of the contract, and the errors that carry one. */
export const exitCodes = {
  done: 0,
  failed: 1,
  wrongUsage: 2,
  waiting: 3,
  blocked: 4,
  undone: 5,
  unreachable: 6,
} as const;

/** Ends the command with a message for people and this code. */
export class Exit extends Error {
  readonly code: number;

  constructor(code: number, message = '') {
    super(message);
    this.code = code;
  }
}
