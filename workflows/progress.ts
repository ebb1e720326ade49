/** What a run shows of itself: steps, what it waits for, who did what. One instance a run; answers the queries of the contract. */
import * as wf from '@temporalio/workflow';
import { type WaitingFor, waitingText } from '../model/decisions.ts';
import type { AuditEntry, Progress, Step } from '../model/progress.ts';
import { markdown } from '../model/text.ts';

export const progress = wf.defineQuery<Progress>('progress');
export const audit = wf.defineQuery<AuditEntry[]>('audit');

const symbols: Record<Step['status'], string> = {
  pending: '▫️',
  running: '⏳',
  done: '✅',
  failed: '❌',
  undoing: '↩️',
  undone: '⏪',
  skipped: '⏭️',
};

const now = (): string => new Date().toISOString();

export class Board {
  readonly #steps = new Map<string, Step>();
  readonly #audit: AuditEntry[] = [];
  readonly #children: Progress['children'] = [];
  #phase = 'starting';
  #waitingFor: WaitingFor[] = [];
  #blocked: string | undefined;
  #parked = false;
  #held: string | undefined;

  readonly #note: (entry: AuditEntry) => void;

  /** `note` hears every entry of the audit trail as it is made. */
  constructor(note: (entry: AuditEntry) => void = () => {}) {
    this.#note = note;
    wf.setHandler(progress, () => this.snapshot(), { description: 'Phase, steps, percent, what the run waits for' });
    wf.setHandler(audit, () => this.#audit, { description: 'Who did or decided what, when, to which resource' });
  }

  snapshot(): Progress {
    const steps = [...this.#steps.values()];
    const finished = steps.filter(({ status }) => status !== 'pending' && status !== 'running').length;
    return {
      phase: this.#phase,
      steps,
      percent: steps.length === 0 ? 0 : Math.floor((100 * finished) / steps.length),
      waitingFor: this.#waitingFor,
      children: this.#children,
      ...(this.#blocked !== undefined && { blocked: this.#blocked }),
      ...(this.#parked && { parked: true }),
      ...(this.#held !== undefined && { held: this.#held }),
    };
  }

  phase(name: string): void {
    this.#phase = name;
    this.#show();
  }

  /** Announces steps that will come, so that the percentage means something. */
  expect(names: readonly string[]): void {
    for (const name of names) if (!this.#steps.has(name)) this.#steps.set(name, { name, status: 'pending' });
  }

  /** Runs a step and shows how it goes. */
  async step<T>(name: string, act: () => Promise<T>, detail?: (result: T) => string | undefined): Promise<T> {
    this.mark(name, { status: 'running', startedAt: now() });
    try {
      const result = await act();
      this.mark(name, { status: 'done', finishedAt: now(), ...(detail && { detail: detail(result) }) });
      return result;
    } catch (error) {
      const status = wf.isCancellation(error) ? 'skipped' : 'failed';
      this.mark(name, { status, finishedAt: now(), detail: reason(error) });
      throw error;
    }
  }

  mark(name: string, change: Partial<Step>): void {
    this.#steps.set(name, { name, status: 'pending', ...this.#steps.get(name), ...change });
    this.#show();
  }

  child(service: string, workflowId: string): void {
    this.#children.push({ service, workflowId });
  }

  waitFor(questions: WaitingFor[]): void {
    this.#waitingFor = questions;
    this.#show();
  }

  block(why: string | undefined, parked = false): void {
    this.#blocked = why;
    this.#parked = parked;
    this.#show();
  }

  /** Says why nothing new begins: paused, yielding, waiting for lost calls; undefined when it goes on. */
  hold(why: string | undefined): void {
    this.#held = why;
    this.#show();
  }

  record(who: string, what: string, resource?: string): void {
    const entry = { at: now(), who, what, ...(resource !== undefined && { resource }) };
    this.#audit.push(entry);
    this.#note(entry);
  }

  get trail(): readonly AuditEntry[] {
    return this.#audit;
  }

  /** Details in Markdown for the UI. */
  #show(): void {
    const { steps, percent } = this.snapshot();
    const lines = [`**${markdown(this.#phase)}** · ${percent} %`];
    if (this.#blocked !== undefined)
      lines.push(
        '',
        `🚧 **${this.#parked ? 'Parked' : 'Blocked'}**: ${markdown(this.#blocked)}`,
        ...(this.#parked
          ? []
          : ['It goes on by itself once repaired; signal `retryStep` looks at once, `undo` takes it back.']),
      );
    if (this.#held !== undefined) lines.push('', `⏸ ${markdown(this.#held)}`);
    for (const one of this.#waitingFor)
      lines.push(
        '',
        `🖐 **${markdown(one.text)}**`,
        markdown(waitingText(one, now())),
        ...one.given.map((given) => `- ${markdown(givenText(given, one.required))}`),
        `Answers: ${one.answers.map((answer) => `\`${answer}\``).join(', ')}. Send the signal or update \`decide\` with`,
        '```json',
        one.paste,
        '```',
      );
    lines.push(
      '',
      ...steps.map(
        ({ name, status, detail }) => `- ${symbols[status]} ${markdown(name)}${detail ? ` — ${markdown(detail)}` : ''}`,
      ),
    );
    wf.setCurrentDetails(lines.join('\n'));
  }
}

/** What somebody has said to a question, and whether it counts. */
const givenText = (
  { question, answer, by, at, verified, obeyed, reason }: WaitingFor['given'][number],
  required: number,
): string =>
  `${at} ${by} (${verified ? 'VERIFIED' : 'UNVERIFIED'}): ${question} ${answer}${obeyed ? `, counts (${required} needed)` : `, not obeyed: ${reason}`}`;

/** The innermost message of a failure: what happened, to what, and what to do. */
export function reason(error: unknown): string {
  const inner = wf.rootCause(error);
  return inner ?? (error instanceof Error ? error.message : String(error));
}
