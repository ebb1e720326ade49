/**
 * Compensations, registered before the act they take back. They run in reverse order in a scope that no cancellation
 * reaches; one that cannot succeed parks the run until its cause is repaired or a person abandons it.
 */
import * as wf from '@temporalio/workflow';
import type { Waits } from '../activities/estate/load.ts';
import type { Orphan } from '../model/record.ts';
import type { Decisions } from './decisions.ts';
import { type Board, reason } from './progress.ts';

export interface Compensation {
  /** Name of the step that it takes back. */
  step: string;
  orphan: Omit<Orphan, 'reason'>;
  undo: () => Promise<string | undefined>;
  /** What was done before it must not be taken back until this is: data would be lost. */
  first?: boolean;
}

export interface Surroundings {
  board: Board;
  decisions: Decisions;
  waits: () => Promise<Waits>;
  /** Told why the run waits for an operator, and undefined when it goes on. */
  parked: (why: string | undefined) => Promise<void>;
  /** Whether the cause of a failure may be repaired outside, so that another try is worth it without being asked for. */
  mayPass: (error: unknown) => boolean;
}

export class Saga {
  readonly #around: Surroundings;
  readonly #compensations: Compensation[] = [];
  #unsettledSince: number | undefined;
  #undoing = false;

  constructor(around: Surroundings) {
    this.#around = around;
  }

  add(compensation: Compensation): void {
    this.#compensations.push(compensation);
  }

  /** Whether everything is being taken back: what fails then is not held, the saga parks. */
  get isUndoing(): boolean {
    return this.#undoing;
  }

  /** Whether nothing was begun that would have to be taken back. */
  get isEmpty(): boolean {
    return this.#compensations.length === 0;
  }

  /** Notes that a call may still take effect: its answer got lost, or the worker that made it. */
  unsettle(): void {
    this.#unsettledSince = Date.now();
  }

  /** Whether such a call has ever been made. */
  get unsettled(): boolean {
    return this.#unsettledSince !== undefined;
  }

  /** When no call that was made so far can take effect any more, ISO; empty where none was lost. */
  async settlesAt(): Promise<string> {
    if (this.#unsettledSince === undefined) return '';
    const { callDeadlineMs, settleMs } = await this.#around.waits();
    return new Date(this.#unsettledSince + callDeadlineMs + settleMs).toISOString();
  }

  /** Waits until then, or until a later time that an earlier run has left in the record. */
  async settle(earlier = ''): Promise<void> {
    const own = await this.settlesAt();
    const left = Date.parse(own > earlier ? own : earlier || new Date().toISOString()) - Date.now();
    if (left <= 0) return;
    this.#around.board.hold(`waits ${Math.ceil(left / 1000)} s for calls whose answers were lost, then looks again`);
    await wf.sleep(left);
    this.#around.board.hold(undefined);
  }

  /** Takes back everything; returns what could not be taken back and was abandoned. */
  async undo(): Promise<Orphan[]> {
    if (this.isEmpty) return [];
    this.#undoing = true;
    const left = await this.#undoAll();
    this.#undoing = false;
    return left;
  }

  #undoAll(): Promise<Orphan[]> {
    const { board, decisions } = this.#around;
    return wf.CancellationScope.nonCancellable(async () => {
      await this.settle();
      let open = this.#compensations.splice(0).reverse();
      for (;;) {
        const failed: { compensation: Compensation; error: unknown }[] = [];
        for (const [at, compensation] of open.entries()) {
          board.mark(compensation.step, { status: 'undoing' });
          try {
            const detail = await compensation.undo();
            board.mark(compensation.step, { status: 'undone', detail, finishedAt: new Date().toISOString() });
            board.record('run', 'undone', `${compensation.orphan.kind} ${compensation.orphan.name}`);
          } catch (error) {
            board.mark(compensation.step, { status: 'failed', detail: `undo failed: ${reason(error)}` });
            failed.push({ compensation, error });
            if (!compensation.first) continue;
            for (const waiting of open.slice(at + 1)) failed.push({ compensation: waiting, error });
            break;
          }
        }
        if (failed.length === 0) return [];
        const orphans = failed.map(({ compensation, error }) => ({ ...compensation.orphan, reason: reason(error) }));
        const passing = failed.every(({ error }) => this.#around.mayPass(error));
        const text = `left behind: ${orphans.map(({ provider, name, reason }) => `${provider} ${name} (${reason})`).join(', ')}. Repair the cause${passing ? '; the run looks again by itself' : ''}: signal retryCompensation tries at once, abandonCompensation gives up and lists them as orphans`;
        const heard = decisions.heard();
        board.block(text, true);
        await this.#around.parked(text);
        const { blockedMs } = await this.#around.waits();
        const verdict = await decisions.compensationVerdict(heard, passing ? blockedMs : undefined);
        board.block(undefined);
        await this.#around.parked(undefined);
        if (verdict === 'abandon') return orphans;
        open = failed.map(({ compensation }) => compensation);
      }
    });
  }
}
