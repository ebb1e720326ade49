/** How each cloud says that a call is refused: status, headers and body as its API has them, for faults that name the cause. */
import { awsAnswer } from './answers-aws.ts';
import { azureAnswer } from './answers-azure.ts';
import { gcpAnswer } from './answers-gcp.ts';
import type { Call } from './calls.ts';
import { rightsOf } from './rights.ts';

export const causes = [
  'throttled',
  'unavailable',
  'denied',
  'quota',
  /** Credentials that have run out, and those that somebody has taken away. */
  'expired',
  'revoked',
  /** The caller's clock is wrong. */
  'skewed',
  /** The name belongs to something that was deleted a short while ago. */
  'held',
] as const;
export type Cause = (typeof causes)[number];

export interface Answer {
  status: number;
  headers: Record<string, string>;
  body: string;
}

/** Status, code or reason, and message. */
export type Said = readonly [status: number, code: string, message: string];

/** What is told beside the cause. */
export interface Told {
  /** The one that is missing, where that is the cause. */
  right: string;
  retryAfterSeconds: number;
}

const perCloud: Readonly<Record<string, (cause: Cause, call: Call, told: Told) => Answer>> = {
  aws: awsAnswer,
  azure: azureAnswer,
  gcp: gcpAnswer,
};

/** What the cloud would answer to this call for that cause. */
export function answerOf(
  cause: Cause,
  call: Call,
  retryAfterSeconds: number,
  right = rightsOf(call)[0] ?? call.action ?? `${call.method} ${call.path}`,
): Answer {
  const answer = perCloud[call.cloud]?.(cause, call, { right, retryAfterSeconds });
  if (!answer) throw new Error(`no answers are known of ${call.cloud}`);
  const retry = cause === 'throttled' || cause === 'unavailable';
  return retry ? { ...answer, headers: { ...answer.headers, 'retry-after': String(retryAfterSeconds) } } : answer;
}
