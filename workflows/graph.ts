/** Work that hangs together: each part after what it depends on, and nothing left at work when one of them fails. */
import * as wf from '@temporalio/workflow';

/** Runs one act a node, each after the nodes it depends on; independent ones at the same time. */
export async function inOrder<N extends { key: string }, R>(
  nodes: readonly N[],
  dependsOn: (node: N) => readonly string[],
  act: (node: N, needs: Record<string, R>) => Promise<R>,
): Promise<R[]> {
  const running = new Map<string, Promise<R>>();
  const start = async (node: N): Promise<R> => {
    const needs: Record<string, R> = {};
    for (const key of dependsOn(node)) {
      const need = running.get(key);
      if (need) needs[key] = await need;
    }
    return act(node, needs);
  };
  for (const node of nodes) {
    const started = start(node);
    started.catch(() => {}); // reported by settleAll
    running.set(node.key, started);
  }
  return settleAll([...running.values()]);
}

/** Runs one act an item, in their order, at most `width` at the same time. */
export async function inLanes<N, R>(items: readonly N[], width: number, act: (item: N) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  const left = items.map((item, at) => ({ item, at }));
  const lane = async (): Promise<void> => {
    for (let next = left.shift(); next; next = left.shift()) results[next.at] = await act(next.item);
  };
  await settleAll(Array.from({ length: Math.min(width, items.length) }, lane));
  return results;
}

/**
 * All results; or, when one fails, its error once none of the others is at work any more: what a compensation takes back
 * must not still be in the making.
 */
export async function settleAll<R>(all: readonly Promise<R>[]): Promise<R[]> {
  const scope = wf.CancellationScope.current();
  let first: { error: unknown } | undefined;
  await Promise.all(
    all.map((one) =>
      one.catch((error: unknown) => {
        if (first) return;
        first = { error };
        scope.cancel();
      }),
    ),
  );
  if (first) throw first.error;
  return Promise.all(all);
}
