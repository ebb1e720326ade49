/** What the `progress` query of every workflow type answers. */
import type { WaitingFor } from './decisions.ts';

export const stepStatuses = ['pending', 'running', 'done', 'failed', 'undoing', 'undone', 'skipped'] as const;
export type StepStatus = (typeof stepStatuses)[number];

export interface Step {
  /** `aws/bucket`, `plan`, `verify`: a `/` makes a level of the tree. */
  name: string;
  status: StepStatus;
  /** ISO times. */
  startedAt?: string | undefined;
  finishedAt?: string | undefined;
  /** One line: what it made, or what went wrong and what to do. */
  detail?: string | undefined;
}

export interface Progress {
  phase: string;
  steps: Step[];
  /** 0 to 100. */
  percent: number;
  waitingFor: WaitingFor[];
  /** Runs started by this one, whose progress belongs below it. */
  children: { service: string; workflowId: string }[];
  /** Set while the run is held: the one thing that is missing. */
  blocked?: string | undefined;
  /** Set beside it where an undo cannot go on: only a person lets it try again, or gives up. */
  parked?: boolean | undefined;
  /** Set while nothing new begins although nothing is missing: paused, yielding, waiting for calls whose answers were lost. */
  held?: string | undefined;
}

export interface AuditEntry {
  at: string;
  /** Who: a person's name as given, or the run itself. */
  who: string;
  what: string;
  resource?: string | undefined;
}
