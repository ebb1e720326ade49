/**
 * Workers on a Temporal server whose activities a test plays: what the clouds do is a world, which each case replaces by its own. The
 * workflows, and the estate file, are the product's.
 */
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { NativeConnection, Worker } from '@temporalio/worker';
import { createEstateActivities, type Waits } from '../../activities/estate/load.ts';
import { createPlacementActivities } from '../../activities/estate/place.ts';
import { loadSheets } from '../../config/load.ts';
import { taskQueue } from '../../model/operations.ts';
import { workflowBundle } from '../../workers/bundle.ts';
import { createNamespace, quietTemporal } from '../e2e/own-worker.ts';
import { localRun } from '../local/stack.ts';

const root = join(import.meta.dirname, '../..');
const waits: Waits = { callDeadlineMs: 1000, settleMs: 1000, blockedMs: 300_000, followMs: 100, fenceMs: 300 };

/** Activities by their names, of a world. */
export type Played<World> = (world: World) => object;

interface StageOptions<World> {
  namespace: string;
  estateFile: string;
  waits?: Partial<Waits>;
  /** What the control queue does besides reading the estate file and placing services. */
  registry: Played<World>;
  queues: Record<string, Played<World>>;
}

export class Stage<World> {
  /** What the workers act on. */
  world: World;
  readonly #options: StageOptions<World>;
  readonly #open: (() => Promise<void>)[] = [];
  #client: Client | undefined;
  #native: NativeConnection | undefined;

  constructor(first: World, options: StageOptions<World>) {
    this.world = first;
    this.#options = options;
  }

  get client(): Client {
    if (!this.#client) throw new Error('the stage is not open');
    return this.#client;
  }

  async open(): Promise<void> {
    const { namespace, estateFile, registry, queues } = this.#options;
    quietTemporal();
    const { address } = localRun().temporal;
    const connection = await Connection.connect({ address });
    await createNamespace(connection, namespace);
    this.#client = new Client({ connection, namespace });
    this.#native = await NativeConnection.connect({ address });
    const control = await Worker.create({
      ...{ connection: this.#native, namespace, taskQueue },
      workflowBundle: await workflowBundle(root, join(root, '.local/bundles')),
      activities: {
        ...createPlacementActivities({ sheets: loadSheets(join(root, 'config')) }),
        ...createEstateActivities({ estateFile, waits: { ...waits, ...this.#options.waits } }),
        ...this.#of(registry),
      },
    });
    this.#open.push(ended(control));
    for (const [queue, played] of Object.entries(queues)) this.#open.push(await this.play(queue, played));
  }

  async close(): Promise<void> {
    await Promise.all(this.#open.map((end) => end()));
    await this.#client?.connection.close();
    await this.#native?.close();
  }

  /** Serves a queue until the function that it answers is called. */
  async play(queue: string, played: Played<World>): Promise<() => Promise<void>> {
    if (!this.#native) throw new Error('the stage is not open');
    const worker = await Worker.create({
      ...{ connection: this.#native, namespace: this.#options.namespace, taskQueue: queue },
      activities: this.#of(played),
      maxHeartbeatThrottleInterval: '20ms',
    });
    return ended(worker);
  }

  #of(played: Played<World>): Record<string, (input: unknown) => unknown> {
    const now = () => played(this.world) as Record<string, (input: unknown) => unknown>;
    return Object.fromEntries(Object.keys(now()).map((name) => [name, (input: unknown) => now()[name]?.(input)]));
  }
}

/** Runs a worker; the function that it answers ends it. */
function ended(worker: Worker): () => Promise<void> {
  const running = worker.run();
  return async () => {
    worker.shutdown();
    await running;
  };
}
