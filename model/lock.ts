/** Who may work on a service. The lock stands in its record; these are the rules, without the clock or the network. */
import { z } from 'zod';
import { Holder, type OperationKind } from './record.ts';

/**
 * What a held lock means for who asks: `attach` to a holder that does the very same thing, ask a holder to `yield` to what
 * is more urgent, or be `refuse`d.
 */
export type Verdict = 'attach' | 'yield' | 'refuse';

export type Acquired =
  /** `revision`: of the record; a plan made from an older one is stale. */
  { granted: true; revision: number } | { granted: false; holder: Holder; verdict: Verdict };

/**
 * Whom a holder yields to. Only a failover pre-empts, and only what can stop between two steps and keep what it has made:
 * a removal, a recovery or another failover half-way leaves less behind when it ends first.
 */
const yieldsTo: Record<OperationKind, readonly OperationKind[]> = {
  deploy: ['failover'],
  migrate: ['failover'],
  repair: ['failover'],
  steer: ['failover'],
  remove: [],
  recover: [],
  failover: [],
};

export const mayPreempt = (asker: OperationKind, holder: OperationKind): boolean => yieldsTo[holder].includes(asker);

/** What the holder of a lock is told: to stop at its next safe point and lend the service to this run. */
export const YieldRequest = z.strictObject({ service: z.string(), by: Holder });
export type YieldRequest = z.infer<typeof YieldRequest>;

/** Whether this is the holder's own renewed request: the same workflow ID keeps its lock over a reset. */
export const isHolder = (holder: Holder | undefined, asker: Pick<Holder, 'workflowId'>): boolean =>
  holder?.workflowId === asker.workflowId;

export function judge(holder: Holder, asker: Holder): Verdict {
  const same = asker.planHash !== '' && holder.planHash === asker.planHash && holder.operation === asker.operation;
  if (same) return 'attach';
  return mayPreempt(asker.operation, holder.operation) ? 'yield' : 'refuse';
}

/** One line for people: `deploy (deploy/multi-cloud/compute)`. */
export const describeHolder = (holder: Holder): string => `${holder.operation} (${holder.workflowId})`;

/** What a record knows of its lock. */
export interface Lock {
  holder?: Holder | undefined;
  next?: Holder | undefined;
}

/**
 * The lock when `asker` asks and the runs in `dead` are known to have ended. A holder that was told to yield is followed by
 * whoever told it; nobody else gets in between.
 */
export function ask(
  lock: Lock,
  asker: Holder,
  dead: readonly string[],
): { lock: Lock; refused?: Holder; verdict?: Verdict } {
  const living = (one: Holder | undefined): Holder | undefined => (one && !dead.includes(one.runId) ? one : undefined);
  const holder = living(lock.holder);
  const next = living(lock.next);
  const first = holder ?? next;
  if (!first || isHolder(first, asker))
    return { lock: { holder: asker, next: isHolder(next, asker) ? undefined : next } };
  const verdict = judge(first, asker);
  if (verdict !== 'yield' || !holder)
    return { lock: { holder, next }, refused: first, verdict: holder ? verdict : 'refuse' };
  // The first who pre-empts is served first; a second one is refused by the first, which it may not pre-empt.
  if (next && !isHolder(next, asker)) return { lock: { holder, next }, refused: next, verdict: judge(next, asker) };
  return { lock: { holder, next: asker }, refused: holder, verdict };
}
