/** How a run asks people and hears their answers: one mechanism for every question, by signal and by update. */
import * as wf from '@temporalio/workflow';
import {
  type ApprovalRules,
  Command,
  Decision,
  NamedDecision,
  planToken,
  type RecordedDecision,
  refusal,
  type WaitingFor,
  waitingText,
} from '../model/decisions.ts';
import { isProof } from '../model/signature.ts';
import type { Board } from './progress.ts';

export const decide = wf.defineSignal<[Decision]>('decide');
export const decideUpdate = wf.defineUpdate<RecordedDecision, [Decision]>('decide');
export const undo = wf.defineSignal<[Command]>('undo');
export const retryStep = wf.defineSignal<[Command]>('retryStep');
export const retryCompensation = wf.defineSignal<[Command]>('retryCompensation');
export const abandonCompensation = wf.defineSignal<[Command]>('abandonCompensation');

/** Short forms: `approvePlan` is `decide {question: "plan", answer: "approve"}`. */
const shortForms = [
  ['approvePlan', 'plan', 'approve'],
  ['rejectPlan', 'plan', 'reject'],
  ['approveCutover', 'cutover', 'approve'],
  ['rejectCutover', 'cutover', 'reject'],
] as const;

export interface Asked extends Pick<WaitingFor, 'question' | 'text' | 'deadline' | 'costPerDayUsd'> {
  answers: [string, ...string[]];
  /** What an answer is bound to. */
  planHash: string;
  /** What becomes of it when the deadline passes; default `hold`. */
  onDeadline?: 'hold' | 'undo';
  /** Nobody has to answer: the run goes on by itself, so nobody is reminded. */
  optional?: boolean;
}

const now = (): string => new Date().toISOString();
const asGiven = ({
  question,
  answer,
  by,
  at,
  verified,
  obeyed,
  reason,
}: RecordedDecision): WaitingFor['given'][number] => ({
  ...{ question, answer, by, at, verified, obeyed },
  ...(reason !== undefined && { reason }),
});

export class Decisions {
  readonly #board: Board;
  readonly #onWaiting: (text: string | undefined) => Promise<void>;
  readonly #given: RecordedDecision[] = [];
  #rules: ApprovalRules = { required: 1, approvers: [], identity: 'named', remindMs: 4 * 3_600_000 };
  #question: WaitingFor | undefined;
  /** How often each command has come. */
  readonly #commands = new Map<string, number>();
  #onUndo: () => void = () => {};
  #undoIsAsked = false;
  #undoObeyed = false;
  readonly #children: Pick<wf.ChildWorkflowHandle<wf.Workflow>, 'signal'>[] = [];

  /** `onWaiting` is told in one line what a person is waited for, and undefined when that is over. */
  constructor(board: Board, onWaiting: (text: string | undefined) => Promise<void>) {
    this.#board = board;
    this.#onWaiting = onWaiting;
    wf.setHandler(decide, (raw) => void this.#hear(raw, 'signal'), {
      description: 'Answer a question: {"question", "answer", "by", "plan", "comment"?, "proof"?}',
    });
    wf.setHandler(decideUpdate, (raw) => this.#hear(raw, 'update'), {
      description: 'The same as the signal; refuses a bad answer and says why',
      validator: (raw) => {
        const parsed = Decision.safeParse(raw);
        const why = parsed.success ? this.#refusal(parsed.data) : explain(parsed.error);
        if (why) throw wf.ApplicationFailure.nonRetryable(why, 'InvalidInput');
      },
    });
    for (const [name, question, answer] of shortForms)
      wf.setHandler(wf.defineSignal<[NamedDecision]>(name), (raw) => {
        const parsed = NamedDecision.safeParse(raw);
        if (parsed.success) this.#hear({ ...parsed.data, question, answer }, 'signal');
        else this.#board.record('unknown', `signal ${name} ignored: ${explain(parsed.error)}`);
      });
    for (const signal of [undo, retryStep, retryCompensation, abandonCompensation])
      wf.setHandler(signal, (raw) => {
        const parsed = Command.safeParse(raw);
        if (!parsed.success)
          return this.#board.record('unknown', `signal ${signal.name} ignored: ${explain(parsed.error)}`);
        this.#board.record(parsed.data.by, `${signal.name} (UNVERIFIED)`);
        this.#commands.set(signal.name, this.#count(signal) + 1);
        if (signal.name === 'undo') this.#hearUndo();
        else this.toChildren(signal, parsed.data);
      });
  }

  /** Whose answers count; known once the estate file has been read. */
  obey(rules: ApprovalRules): void {
    this.#rules = rules;
  }

  get undoRequested(): boolean {
    return this.#undoObeyed;
  }

  onUndo(act: () => void): void {
    this.#onUndo = act;
    if (this.undoRequested) act();
  }

  /** From now on an undo needs an answer to the question `undo`: the command alone is recorded, not obeyed. */
  askBeforeUndo(): void {
    this.#undoIsAsked = true;
  }

  #hearUndo(): void {
    if (this.#undoIsAsked) {
      this.#board.record('run', 'undo not obeyed: after the switch answer the question "undo" instead');
      return;
    }
    this.#undoObeyed = true;
    this.#onUndo();
  }

  /** Commands for a run are for the runs that it has started, too; an undo reaches them as a cancellation. */
  passOn(child: Pick<wf.ChildWorkflowHandle<wf.Workflow>, 'signal'>): void {
    this.#children.push(child);
  }

  toChildren(signal: wf.SignalDefinition<[Command]>, command: Command): void {
    for (const child of this.#children) child.signal(signal, command).catch(() => {}); // it may have ended
  }

  /**
   * Asks and waits. Ends with the first answer that as many people as required have given (one is enough to reject).
   * When the deadline passes it goes on waiting (`hold`), or ends with undefined (`undo`). Reminds now and then.
   */
  async ask(asked: Asked): Promise<string | undefined> {
    const { question, text, answers, planHash, deadline, onDeadline = 'hold', optional, costPerDayUsd } = asked;
    const { required, remindMs } = this.#rules;
    const plan = planToken(planHash, wf.workflowInfo().firstExecutionRunId, question);
    const paste = JSON.stringify({ question, answer: answers[0], by: '<your name>', plan }, null, 2);
    const settled = (): string | undefined =>
      answers.find((answer) => this.#votes(plan, answer) >= (answer === 'reject' ? 1 : required));
    const open: WaitingFor = {
      ...{ question, text, answers, plan, since: now(), paste, required, reminders: 0 },
      ...(deadline !== undefined && { deadline }),
      ...(costPerDayUsd !== undefined && { costPerDayUsd }),
      given: this.#given.filter((one) => one.plan === plan).map(asGiven),
    };
    this.#question = open;
    try {
      for (let remind = false; ; remind = true) {
        const due = deadline !== undefined && deadline > now() ? Date.parse(deadline) : undefined;
        const reminder = optional ? undefined : Date.now() + remindMs;
        if (reminder !== undefined) open.remindAt = new Date(reminder).toISOString();
        if (remind) open.reminders++;
        this.#board.waitFor([open]);
        if (remind) this.#board.record('run', `reminder ${open.reminders}: ${waitingText(open, now())}`);
        if (!optional) await this.#onWaiting(waitingText(open, now()));
        const next = Math.min(due ?? Number.POSITIVE_INFINITY, reminder ?? Number.POSITIVE_INFINITY);
        const isSettled = () => settled() !== undefined;
        if (next === Number.POSITIVE_INFINITY) await wf.condition(isSettled);
        else await wf.condition(isSettled, Math.max(1, next - Date.now()));
        if (isSettled() || (onDeadline === 'undo' && deadline !== undefined && now() >= deadline)) return settled();
      }
    } finally {
      this.#question = undefined;
      this.#board.waitFor([]);
      if (!optional) await wf.CancellationScope.nonCancellable(() => this.#onWaiting(undefined));
    }
  }

  /** The commands so far: one that comes after this counts, also while the record is still being told what is missing. */
  heard(): ReadonlyMap<string, number> {
    return new Map(this.#commands);
  }

  /** Waits for `retryStep` or `undo`, at most this long. */
  async pauseForRepair(heard: ReadonlyMap<string, number>, ms: number): Promise<void> {
    await wf.condition(() => this.#isNew(retryStep, heard) || this.undoRequested, ms);
  }

  /** What to do about a compensation that failed; `retry` where nobody says anything for so long. */
  async compensationVerdict(
    heard: ReadonlyMap<string, number>,
    retryAfterMs: number | undefined,
  ): Promise<'retry' | 'abandon'> {
    const abandon = () => this.#isNew(abandonCompensation, heard);
    const verdict = () => abandon() || this.#isNew(retryCompensation, heard);
    if (retryAfterMs === undefined) await wf.condition(verdict);
    else await wf.condition(verdict, retryAfterMs);
    return abandon() ? 'abandon' : 'retry';
  }

  #isNew(signal: { name: string }, heard: ReadonlyMap<string, number>): boolean {
    return this.#count(signal) > (heard.get(signal.name) ?? 0);
  }

  #count({ name }: { name: string }): number {
    return this.#commands.get(name) ?? 0;
  }

  /** `plan` is of the question, too. */
  #votes(plan: string, answer: string): number {
    return this.#given.filter((one) => one.obeyed && one.plan === plan && one.answer === answer).length;
  }

  #refusal(decision: Decision): string | undefined {
    return refusal(
      decision,
      this.#question,
      this.#rules,
      this.#given.filter(({ obeyed }) => obeyed),
      this.#isProven(decision),
    );
  }

  /** Whether a key that the estate file lists for this person has signed this answer to this run. */
  #isProven({ by, question, answer, plan = '', proof }: Decision): boolean {
    // Not the run's own ID: after a reset that is another, and what was proven must replay as proven.
    const { workflowId, firstExecutionRunId: runId } = wf.workflowInfo();
    return this.#rules.approvers.some(
      ({ name, key }) =>
        name === by &&
        key !== undefined &&
        proof !== undefined &&
        isProof(proof, key, { workflowId, runId, question, answer, plan }),
    );
  }

  #hear(raw: unknown, via: RecordedDecision['via']): RecordedDecision {
    const parsed = Decision.safeParse(raw);
    const at = now();
    if (!parsed.success) {
      this.#board.record('unknown', `decision ignored: ${explain(parsed.error)}`);
      return {
        question: '',
        answer: '',
        by: '',
        at,
        via,
        verified: false,
        obeyed: false,
        reason: explain(parsed.error),
      };
    }
    const why = this.#refusal(parsed.data);
    const verified = this.#isProven(parsed.data);
    const recorded = {
      ...parsed.data,
      at,
      via,
      verified,
      obeyed: why === undefined,
      ...(why && { reason: why }),
    };
    this.#given.push(recorded);
    if (this.#question) {
      this.#question.given = [...this.#question.given, asGiven(recorded)].slice(-10);
      this.#board.waitFor([this.#question]);
    }
    const { question, answer, by, comment } = parsed.data;
    this.#board.record(
      `${by} (${verified ? 'VERIFIED' : 'UNVERIFIED'})`,
      `${question}: ${answer}${comment ? ` (${comment})` : ''}${why ? `, not obeyed: ${why}` : ''}`,
    );
    return recorded;
  }
}

const explain = (error: { issues: { path: PropertyKey[]; message: string }[] }): string =>
  error.issues.map(({ path, message }) => `${path.join('.') || 'payload'}: ${message}`).join('; ');
