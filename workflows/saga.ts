/**
 * Compensations, registered before the act they take back. They run in reverse order in a scope that no cancellation
 * reaches; one that cannot succeed parks the run until a person retries or abandons it.
 */
import * as wf from '@temporalio/workflow';
import type { Orphan } from '../model/operations.ts';
import type { Decisions } from './decisions.ts';
import { type Board, reason } from './progress.ts';

export interface Compensation {
  /** Name of the step that it takes back. */
  step: string;
  orphan: Omit<Orphan, 'reason'>;
  undo: () => Promise<string | undefined>;
}

export class Saga {
  readonly #board: Board;
  readonly #decisions: Decisions;
  readonly #parked: (why: string | undefined) => Promise<void>;
  readonly #compensations: Compensation[] = [];

  /** `parked` is told why the run waits for an operator, and undefined when it goes on. */
  constructor(board: Board, decisions: Decisions, parked: (why: string | undefined) => Promise<void>) {
    this.#board = board;
    this.#decisions = decisions;
    this.#parked = parked;
  }

  add(compensation: Compensation): void {
    this.#compensations.push(compensation);
  }

  /** Whether nothing was begun that would have to be taken back. */
  get isEmpty(): boolean {
    return this.#compensations.length === 0;
  }

  /** Takes back everything; returns what could not be taken back and was abandoned. */
  undo(): Promise<Orphan[]> {
    return wf.CancellationScope.nonCancellable(async () => {
      let open = this.#compensations.splice(0).reverse();
      for (;;) {
        const failed: { compensation: Compensation; why: string }[] = [];
        for (const compensation of open) {
          this.#board.mark(compensation.step, { status: 'undoing' });
          try {
            const detail = await compensation.undo();
            this.#board.mark(compensation.step, { status: 'undone', detail, finishedAt: new Date().toISOString() });
            this.#board.record('run', 'undone', `${compensation.orphan.kind} ${compensation.orphan.name}`);
          } catch (error) {
            const why = reason(error);
            this.#board.mark(compensation.step, { status: 'failed', detail: `undo failed: ${why}` });
            failed.push({ compensation, why });
          }
        }
        if (failed.length === 0) return [];
        const list = failed.map(({ compensation, why }) => ({ ...compensation.orphan, reason: why }));
        const text = `left behind: ${list.map(({ provider, name }) => `${provider} ${name}`).join(', ')}; repair, then signal retryCompensation, or abandonCompensation`;
        this.#board.block(text);
        await this.#parked(text);
        const verdict = await this.#decisions.compensationVerdict();
        this.#board.block(undefined);
        await this.#parked(undefined);
        if (verdict === 'abandon') return list;
        open = failed.map(({ compensation }) => compensation);
      }
    });
  }
}
