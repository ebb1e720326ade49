/** By which directions a change reaches the other sides: a pair, a ring, a mesh, or whatever else connects them. */

export interface Edge {
  from: string;
  to: string;
}

/**
 * Whether a direction carries what was changed on `origin`: the changes of each side go out along one tree of shortest
 * ways, so that they reach every side once. All others know them by then, or get them from elsewhere.
 */
export function carries(edges: readonly Edge[], { from, to }: Edge, origin: string): boolean {
  const before = new Map<string, string>();
  let reached = [origin];
  while (reached.length > 0) {
    const next: string[] = [];
    for (const side of [...reached].sort())
      for (const edge of edges)
        if (edge.from === side && edge.to !== origin && !before.has(edge.to)) {
          before.set(edge.to, side);
          next.push(edge.to);
        }
    reached = next;
  }
  return before.get(to) === from;
}
