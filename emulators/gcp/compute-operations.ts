/** Long-running operations: begun by each change, done `operationMs` later, also when the process was restarted meanwhile. */
import type { Json, JsonObject } from '../../model/service.ts';
import { base, notFound } from './compute-kinds.ts';
import { page } from './compute-lists.ts';
import type { ComputeState, Operation } from './compute-state.ts';

export class Operations {
  readonly #state: ComputeState;
  readonly #project: string;
  readonly #operationMs: number;
  readonly #finished: (operation: Operation) => void;
  readonly #timers = new Set<NodeJS.Timeout>();

  constructor(options: {
    state: ComputeState;
    project: string;
    operationMs: number;
    finished: (operation: Operation) => void;
  }) {
    this.#state = options.state;
    this.#project = options.project;
    this.#operationMs = options.operationMs;
    this.#finished = options.finished;
  }

  /** Goes on where the last process ended. */
  start(): void {
    for (const operation of this.#state.operations.values()) this.#await(operation);
  }

  stop(): void {
    for (const timer of this.#timers) clearTimeout(timer);
  }

  /** The operation that an earlier request with this ID began. */
  repeated(requestId: string | undefined): Operation | undefined {
    if (requestId === undefined) return undefined;
    return [...this.#state.operations.values()].find((operation) => operation.requestId === requestId);
  }

  begin(type: Operation['type'], target: string, requestId: string | undefined): Json {
    const id = this.#state.newId();
    const now = Date.now();
    const scope = target
      .split('/')
      .slice(0, target.includes('/global/') ? 3 : 4)
      .join('/');
    const operation: Operation = {
      path: `${scope}/operations/operation-${now}-${id}`,
      target,
      type,
      requestId,
      id,
      targetId: String(this.#state.resources.get(target)?.id ?? '0'),
      startedAt: now,
      doneAt: now + this.#operationMs,
    };
    this.#state.operations.set(operation.path, operation);
    this.#state.save();
    this.#await(operation);
    return this.show(operation);
  }

  #await(operation: Operation): void {
    const left = operation.doneAt - Date.now();
    // A finished delete whose effect a kill cut off is caught up on at the next start.
    if (
      left <= 0 &&
      !(operation.type === 'delete' && this.#state.resources.get(operation.target)?.id === operation.targetId)
    )
      return;
    this.#finishAt(operation);
  }

  #finishAt(operation: Operation): void {
    const timer = setTimeout(
      () => {
        this.#timers.delete(timer);
        // A timer may fire a moment before the clock says so; what looks then would still see the operation running.
        if (Date.now() < operation.doneAt) this.#finishAt(operation);
        else this.#finished(operation);
      },
      Math.max(0, operation.doneAt - Date.now()),
    );
    this.#timers.add(timer);
  }

  show(operation: Operation): JsonObject {
    const now = Date.now();
    const done = now >= operation.doneAt;
    const scope = /\/(regions|zones)\/([^/]+)/.exec(operation.path);
    return {
      kind: 'compute#operation',
      id: operation.id,
      name: operation.path.split('/').at(-1) ?? '',
      operationType: operation.type,
      targetLink: base + operation.target,
      targetId: operation.targetId,
      status: done ? 'DONE' : 'RUNNING',
      progress: done ? 100 : 0,
      insertTime: new Date(operation.startedAt).toISOString(),
      startTime: new Date(operation.startedAt).toISOString(),
      ...(done ? { endTime: new Date(operation.doneAt).toISOString() } : {}),
      selfLink: base + operation.path,
      ...(scope
        ? { [scope[1] === 'zones' ? 'zone' : 'region']: `${base}projects/${this.#project}/${scope[0].slice(1)}` }
        : {}),
    };
  }

  async call(verb: string, path: string, url: URL): Promise<Json> {
    if (verb === 'list') {
      const all = [...this.#state.operations.values()].filter((operation) => operation.path.startsWith(`${path}/`));
      return page(
        'operation',
        path,
        all.map((operation) => this.show(operation)),
        url,
      );
    }
    const own = verb === 'wait' ? path.replace(/\/wait$/, '') : path;
    const operation = this.#state.operations.get(own);
    if (!operation) throw notFound(own);
    // `wait` answers when the operation is done, at the latest after two minutes.
    const left = operation.doneAt - Date.now();
    if (verb === 'wait' && left > 0) await new Promise((resolve) => setTimeout(resolve, Math.min(left + 2, 120_000)));
    return this.show(operation);
  }
}
