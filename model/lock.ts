/** Who may work on a service. The lock stands in its record; these are the rules, without the clock or the network. */
import type { Holder } from './record.ts';

export type Acquired =
  | { granted: true; revision: number }
  /** `same`: the holder does the very same thing, so the asker may wait for it and end with its result. */
  | { granted: false; holder: Holder; same: boolean };

/** Whether this is the holder's own renewed request: the same workflow ID keeps its lock over a reset. */
export const isHolder = (holder: Holder | undefined, asker: Pick<Holder, 'workflowId'>): boolean =>
  holder?.workflowId === asker.workflowId;

export const asksForTheSame = (holder: Holder, asker: Holder): boolean =>
  asker.planHash !== '' && holder.planHash === asker.planHash && holder.operation === asker.operation;

/** One line for people: `deploy (deploy/multi-cloud/compute)`. */
export const describeHolder = (holder: Holder): string => `${holder.operation} (${holder.workflowId})`;
