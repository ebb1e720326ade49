/** A run with the runs it started, as one picture: their steps joined by name, what waits, what is blocked. */

import type { WaitingFor } from '../../model/decisions.ts';
import type { Progress, Step } from '../../model/progress.ts';
import type { OperationHandle } from '../operation-handle.ts';

export interface View {
  workflowId: string;
  phase: string;
  /** By name; a step of a child comes after its parent's of the same service. */
  steps: Step[];
  waiting: (WaitingFor & { workflowId: string })[];
  /** `parked`: an undo that cannot go on. */
  blocked: { workflowId: string; text: string; parked: boolean }[];
}

/** `children`: progress of the runs that this one has started, as far as it could be read. */
export function viewOf(workflowId: string, progress: Progress, children: ReadonlyMap<string, Progress>): View {
  const runs: [string, Progress][] = [[workflowId, progress], ...children];
  const steps = new Map<string, Step>();
  for (const [, run] of runs) for (const step of run.steps) steps.set(step.name, step);
  // The record is no resource; it shows up as a step only when it is taken back.
  for (const name of steps.keys()) if (name.endsWith('/record')) steps.delete(name);
  return {
    workflowId,
    phase: progress.phase,
    steps: [...steps.values()],
    waiting: runs.flatMap(([id, run]) => run.waitingFor.map((one) => ({ ...one, workflowId: id }))),
    blocked: runs.flatMap(([id, run]) =>
      run.blocked === undefined ? [] : [{ workflowId: id, text: run.blocked, parked: run.parked === true }],
    ),
  };
}

const final: readonly Step['status'][] = ['done', 'failed', 'undone', 'skipped'];

/** Reads views of one run again and again. Children that have ended are not asked any more. */
export class Viewer {
  readonly #handle: OperationHandle;
  readonly #child: (workflowId: string) => OperationHandle;
  readonly #children = new Map<string, Progress>();
  readonly #settled = new Set<string>();

  constructor(handle: OperationHandle, child: (workflowId: string) => OperationHandle) {
    this.#handle = handle;
    this.#child = child;
  }

  async look(): Promise<View> {
    return this.join(await this.#handle.progress());
  }

  async join(progress: Progress): Promise<View> {
    await Promise.all(
      progress.children.map(async ({ service, workflowId }) => {
        if (this.#settled.has(workflowId)) return;
        const ended = progress.steps.some(({ name, status }) => name === service && final.includes(status));
        // A child that has not begun yet can't be asked.
        const seen = await this.#child(workflowId)
          .progress()
          .catch(() => undefined);
        if (seen) this.#children.set(workflowId, seen);
        if (seen && ended) this.#settled.add(workflowId);
      }),
    );
    return viewOf(this.#handle.workflowId, progress, this.#children);
  }
}
