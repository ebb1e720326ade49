/** The history of a key, oldest first: what is to be done anew elsewhere, so that it becomes the history there. */

/** Bytes that were current once, or a deletion of what was. */
export type Step<T> = { object: T } | 'deleted';

export interface Kept<T> {
  /** Undefined where it was deleted. */
  object: T | undefined;
  current: boolean;
}

/** What has led to what stands there now, without that itself. A deletion of nothing is none. */
export function stepsBefore<T>(oldestFirst: readonly Kept<T>[]): Step<T>[] {
  const steps: Step<T>[] = [];
  const remove = (): void => {
    if (steps.length > 0 && steps.at(-1) !== 'deleted') steps.push('deleted');
  };
  let serves = false;
  for (const { object, current } of oldestFirst) {
    if (!object) remove();
    else if (current) serves = true;
    else steps.push({ object });
  }
  // Two of the clouds keep what was deleted, and not that it was.
  if (!serves) remove();
  return steps;
}

export interface Progress {
  /** The first step that is still to be done. */
  next: number;
  /** Versions before it that are not there, and cannot be put there any more. */
  missed: number;
}

/**
 * How far the steps are done where there are copies `of` these versions, oldest first; undefined stands for what is no copy.
 * Undefined where something else came after them before all were done.
 */
export function progressOf(
  steps: readonly Step<{ version: string }>[],
  of: readonly (string | undefined)[],
): Progress | undefined {
  let [next, missed, others] = [0, 0, false];
  for (const version of of) {
    const at = steps.findIndex((step, index) => index >= next && step !== 'deleted' && step.object.version === version);
    if (at < 0 || others) others = true;
    else {
      missed += steps.slice(next, at).filter((step) => step !== 'deleted').length;
      next = at + 1;
    }
  }
  if (!others) return { next, missed };
  return steps.slice(next).some((step) => step !== 'deleted') ? undefined : { next: steps.length, missed };
}
