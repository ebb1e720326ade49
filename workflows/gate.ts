/**
 * The safe points of a run. Every call that changes something passes the gate; while it is closed, because a person paused
 * the run or because it yields to a more urgent one, what is under way ends and nothing new begins.
 */
import * as wf from '@temporalio/workflow';
import type { Board } from './progress.ts';

export class Gate {
  readonly #board: Board;
  /** Why it is closed; several reasons may hold at once. */
  readonly #closed = new Map<string, string>();
  #underWay = 0;

  constructor(board: Board) {
    this.#board = board;
  }

  get isClosed(): boolean {
    return this.#closed.size > 0;
  }

  async pass<T>(act: () => Promise<T>): Promise<T> {
    await wf.condition(() => !this.isClosed);
    this.#underWay++;
    try {
      return await act();
    } finally {
      this.#underWay--;
    }
  }

  close(reason: string, text: string): void {
    this.#closed.set(reason, text);
    this.#show();
  }

  open(reason: string): void {
    this.#closed.delete(reason);
    this.#show();
  }

  /** What takes back must not wait for what may never come. */
  openAll(): void {
    this.#closed.clear();
    this.#show();
  }

  /** Ends when nothing is under way any more: the safe point has been reached. */
  async reached(): Promise<void> {
    await wf.condition(() => this.#underWay === 0);
  }

  #show(): void {
    this.#board.hold([...this.#closed.values()].join('; ') || undefined);
  }
}
