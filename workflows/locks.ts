/** The locks of a run: taken before it acts, lent at a safe point to what may pre-empt it, given back at its end. */
import * as wf from '@temporalio/workflow';
import type { Activities } from '../activities/index.ts';
import { type Acquired, describeHolder, mayPreempt, YieldRequest } from '../model/lock.ts';
import { type OperationResult, workflowIds } from '../model/operations.ts';
import type { Holder, OperationKind } from '../model/record.ts';
import { control, failure } from './calls.ts';
import type { Gate } from './gate.ts';
import { type Board, reason } from './progress.ts';

/** Tells the holder of a lock to stop at its next safe point and lend it. */
export const yieldTo = wf.defineSignal<[YieldRequest]>('yieldTo');

/** What moves placements or takes them away has the stores to itself: replication stands aside for it. */
export const standsAsideFor: readonly OperationKind[] = ['migrate', 'failover', 'remove', 'recover'];
const replication = wf.proxyActivities<Activities>({
  startToCloseTimeout: '2m',
  heartbeatTimeout: '30s',
  retry: { maximumAttempts: 3 },
});

/** Waits for another run; as long as that takes. */
const waiting = wf.proxyActivities<Activities>({ startToCloseTimeout: '30 days', heartbeatTimeout: '30s' });

type Identity = Pick<Holder, 'workflowId' | 'runId'>;

export class Locks {
  readonly #kind: OperationKind;
  readonly #board: Board;
  readonly #gate: Gate;
  /** Under whose name they are held: a child acts for its parent. */
  #holder: Identity = wf.workflowInfo();
  #estate = '';
  #estateLocked = false;
  readonly #services: string[] = [];
  /** Plan hashes by service, to ask again for a lock that was lent. */
  readonly #asked = new Map<string, Holder>();
  readonly #children = new Map<string, Pick<wf.ChildWorkflowHandle<wf.Workflow>, 'signal'>>();
  readonly #onStale: (why: string) => void;

  /** `onStale` is told when a lent lock comes back with a record that somebody has changed. */
  constructor(kind: OperationKind, board: Board, gate: Gate, onStale: (why: string) => void) {
    this.#kind = kind;
    this.#board = board;
    this.#gate = gate;
    this.#onStale = onStale;
    wf.setHandler(yieldTo, (raw) => this.#hear(raw));
  }

  get holder(): Identity {
    const { workflowId, runId } = this.#holder;
    return { workflowId, runId };
  }

  of(estate: string): void {
    this.#estate = estate;
  }

  /** Acts for the run that started this one, and lends the lock of `service` in its place. */
  inherit(holder: Identity, service: string): void {
    this.#holder = holder;
    this.#asked.set(service, { ...this.holder, operation: this.#kind, planHash: '' });
  }

  /** Leaves it to this child to find the safe point of its service. */
  leaveTo(service: string, child: Pick<wf.ChildWorkflowHandle<wf.Workflow>, 'signal'>): void {
    this.#children.set(service, child);
  }

  takenBack(service: string): void {
    this.#children.delete(service);
  }

  /**
   * Takes the lock of a service, or of the estate where none is named. Returns the result of the present holder where
   * that does the very same thing; makes a less urgent one yield; refuses with `OperationInProgress` otherwise.
   */
  async take(
    service: string | undefined,
    planHash: string,
  ): Promise<{ revision: number } | { attached: OperationResult }> {
    const asker: Holder = { ...this.holder, operation: this.#kind, planHash };
    for (let told = ''; ; ) {
      const acquired = await this.#ask(service, asker);
      if (acquired.granted) {
        if (service) {
          if (!this.#services.includes(service)) this.#services.push(service);
          this.#asked.set(service, asker);
          await this.#alone(service, asker);
        } else this.#estateLocked = true;
        return { revision: acquired.revision };
      }
      const { holder, verdict } = acquired;
      const what = service ?? `the estate ${this.#estate}`;
      if (verdict === 'attach') {
        this.#board.phase(`waits for ${describeHolder(holder)}, which does the same`);
        return { attached: await waiting.awaitHolder(holder) };
      }
      if (verdict === 'refuse' || !service)
        throw failure(
          'OperationInProgress',
          `${what} is held by ${describeHolder(holder)}. Wait for it, or cancel it: multi-cloud watch ${holder.workflowId}`,
        );
      this.#board.phase(`waits until ${describeHolder(holder)} has reached a safe point`);
      if (told !== holder.runId) await control.askToYield({ holder, request: { service, by: asker } });
      told = holder.runId;
      await wf.sleep('1s');
    }
  }

  /** Ends when nobody keeps the sides of the service in step, if that is needed. */
  async #alone(service: string, holder: Holder): Promise<void> {
    if (!standsAsideFor.includes(this.#kind) || !wf.patched('replication-stands-aside')) return;
    try {
      await replication.askToStandAside({ estate: this.#estate, service, holder });
    } catch (error) {
      if (wf.isCancellation(error)) throw error;
      const run = workflowIds.replicateService(this.#estate, service);
      throw failure(
        'OperationInProgress',
        `${run} keeps ${service} in step and does not stand aside: ${reason(error)}. Cancel it, and try again: multi-cloud cancel ${run}`,
      );
    }
  }

  async release(): Promise<void> {
    for (const service of this.#services.splice(0))
      await control.releaseService({ estate: this.#estate, service, holder: this.holder });
    if (this.#estateLocked) await control.releaseEstate({ estate: this.#estate, holder: this.holder });
    this.#estateLocked = false;
  }

  #ask(service: string | undefined, holder: Holder): Promise<Acquired> {
    return service
      ? control.acquireService({ estate: this.#estate, service, holder })
      : control.acquireEstate({ estate: this.#estate, holder });
  }

  async #hear(raw: unknown): Promise<void> {
    const parsed = YieldRequest.safeParse(raw);
    if (!parsed.success) return this.#board.record('unknown', 'signal yieldTo ignored: it names no service and run');
    const { service, by } = parsed.data;
    const asked = this.#asked.get(service);
    if (!asked || !mayPreempt(by.operation, this.#kind))
      return this.#board.record('unknown', `signal yieldTo ignored: ${by.operation} does not pre-empt this`);
    const child = this.#children.get(service);
    if (child)
      await child.signal(yieldTo, parsed.data).catch(() => this.#lend(service, by, asked)); // it has just ended
    else await this.#lend(service, by, asked);
  }

  /** Stops at the next safe point, lets the other go first, and goes on where nothing has changed meanwhile. */
  async #lend(service: string, by: Holder, asked: Holder): Promise<void> {
    await wf.CancellationScope.nonCancellable(async () => {
      const reason = `yield ${by.runId}`;
      this.#gate.close(reason, `yields ${service} to ${describeHolder(by)}`);
      this.#board.record('run', `yields to ${describeHolder(by)}`, service);
      await this.#gate.reached();
      const lent = await control.releaseService({ estate: this.#estate, service, holder: this.holder });
      await waiting.awaitEnd(by);
      let again = await this.#ask(service, asked);
      while (!again.granted) {
        await wf.sleep('5s');
        again = await this.#ask(service, asked);
      }
      await this.#alone(service, asked);
      this.#board.record('run', 'goes on', service);
      if (again.revision !== lent.revision)
        this.#onStale(`${describeHolder(by)} has changed ${service} while this run had yielded to it.`);
      this.#gate.open(reason);
    });
  }
}
