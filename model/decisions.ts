/** Decisions of people: what is asked, what counts as an answer, and why an answer is not obeyed. Pure. */
import { z } from 'zod';
import { sha256Hex } from './sha256.ts';

const Text = z.string().min(1).max(200);

/** Payload of the `decide` signal and update. */
export const Decision = z.strictObject({
  question: z.string().min(1).max(60),
  answer: z.string().min(1).max(30),
  by: Text,
  /** The 12 hex digits shown with the question. */
  plan: z.string().max(64).optional(),
  comment: z.string().max(2000).optional(),
  /** Ed25519 signature, base64, over workflow ID, run ID, question, answer and plan. */
  proof: z.string().max(200).optional(),
});
export type Decision = z.infer<typeof Decision>;

/** Payload of the short forms `approvePlan`, `approveCutover`, `rejectPlan`, `rejectCutover`. */
export const NamedDecision = Decision.omit({ question: true, answer: true });
export type NamedDecision = z.infer<typeof NamedDecision>;

/** Payload of `pause`, `resume`, `undo`, `retryStep`, `retryCompensation`, `abandonCompensation`. */
export const Command = z.strictObject({ by: Text, comment: z.string().max(2000).optional() });
export type Command = z.infer<typeof Command>;

/** First 12 hex digits of sha256(plan hash, first execution run ID, question): binds an answer to this plan, this run, this question. */
export const planToken = (planHash: string, firstRunId: string, question: string): string =>
  sha256Hex([planHash, firstRunId, question].join('\n')).slice(0, 12);

/** A question that a run waits on. */
export interface Question {
  question: string;
  text: string;
  answers: string[];
  plan: string;
  /** ISO times. */
  since: string;
  deadline?: string | undefined;
}

export interface ApprovalRules {
  required: number;
  approvers: { name: string; key?: string | undefined }[];
  identity: 'named' | 'signed';
  /** From one reminder of an open question to the next, milliseconds. */
  remindMs: number;
}

/** A question while it is open, as people see it. */
export interface WaitingFor extends Question {
  /** The exact JSON to paste as the payload of the signal or update `decide`. */
  paste: string;
  /** How many people must say the same; to reject, one is enough. */
  required: number;
  /** What has been said so far, obeyed or not: the last 10. */
  given: Pick<RecordedDecision, 'question' | 'answer' | 'by' | 'at' | 'verified' | 'obeyed' | 'reason'>[];
  /** Reminders so far, and when the next one comes, ISO; absent where the run ends its waiting by itself. */
  reminders: number;
  remindAt?: string | undefined;
  /** Both placements of a migration, list price; absent where waiting costs nothing. */
  costPerDayUsd?: number | undefined;
}

/** How long it has been open and what that costs, in one line: of reminders, details and `status`. */
export function waitingText({ question, since, deadline, remindAt, costPerDayUsd }: WaitingFor, now: string): string {
  const due = deadline && `deadline ${deadline}${now >= deadline ? ' has passed, it is still held' : ''}`;
  const cost = costPerDayUsd !== undefined && `a day of waiting costs $${costPerDayUsd.toFixed(2)}`;
  const parts = [`${question}: a person is asked since ${since}`, due, remindAt && `next reminder ${remindAt}`, cost];
  return parts.filter(Boolean).join('; ');
}

export interface RecordedDecision extends Decision {
  at: string;
  via: 'signal' | 'update';
  /** Whether the name is proven by a signature. `identity: named` is shown as UNVERIFIED. */
  verified: boolean;
  obeyed: boolean;
  /** Why not, when it was not. */
  reason?: string | undefined;
}

/** Why this decision cannot be obeyed, or undefined. `earlier` are the obeyed ones to the same question. */
export function refusal(
  decision: Decision,
  question: Question | undefined,
  rules: ApprovalRules,
  earlier: readonly RecordedDecision[],
  verified: boolean,
): string | undefined {
  if (!question || question.question !== decision.question)
    return `nothing waits for an answer to "${decision.question}"`;
  if (!question.answers.includes(decision.answer))
    return `"${decision.answer}" is not an answer to "${decision.question}"; allowed: ${question.answers.join(', ')}`;
  if (decision.plan === undefined) return `"plan" is missing; the question's is "${question.plan}"`;
  if (decision.plan !== question.plan) return `"plan" is for another plan or run; the question's is "${question.plan}"`;
  if (rules.approvers.length > 0 && !rules.approvers.some((approver) => approver.name === decision.by))
    return `"${decision.by}" is not listed under approvals.approvers`;
  if (rules.identity === 'signed' && !verified) return 'approvals.identity is "signed" and "proof" is missing or wrong';
  if (earlier.some((one) => one.by === decision.by && one.plan === decision.plan))
    return `"${decision.by}" has already answered`;
  return undefined;
}
