/** What became of a message: whether it can have arrived is all that decides about a repeat. */
import { CloudError } from '../../model/errors.ts';

/** It went out whole, and no answer came: it may have arrived. Everything else that is thrown says that it has not. */
export class AnswerLost extends Error {
  override readonly name = 'AnswerLost';
}

export interface Sending {
  /** Name of the channel, for messages. */
  channel: string;
  /** Longest that all of it may take, ms. */
  deadlineMs: number;
  /** Told before the last byte goes out. */
  begin(): void;
}

/** `why` is in our own words: an error of a client may hold the address, which is a secret. */
export const notSent = ({ channel }: Pick<Sending, 'channel'>, operation: string, why: string): CloudError =>
  new CloudError({ kind: 'Unavailable', provider: 'alerts', operation, resource: channel }, why);

/** An error's code where it is one of the system's or of a protocol's own words: nothing else of it is told. */
export const codeOf = (error: unknown): string => {
  const { code } = (error ?? {}) as { code?: unknown };
  return typeof code === 'string' && /^[A-Z][A-Z0-9_]{1,40}$/.test(code) ? code : 'no answer';
};
