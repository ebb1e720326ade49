/**
 * What every operation shares, so that its workflow can be its story: it hears signals from the first moment, holds the
 * locks it took, shows its steps, is held instead of failing where a person can repair the cause, and takes back what it
 * did when it cannot be completed.
 */
import * as wf from '@temporalio/workflow';
import { z } from 'zod';
import type { Activities, ProviderActivities } from '../activities/index.ts';
import { blockingKinds, type CloudErrorKind, type ErrorType } from '../model/errors.ts';
import { describeHolder } from '../model/lock.ts';
import { type OperationResult, type Orphan, providerQueue, urgentQueue } from '../model/operations.ts';
import type { Holder, OperationKind, RecordChange } from '../model/record.ts';
import { Decisions } from './decisions.ts';
import { Board, reason } from './progress.ts';
import { Saga } from './saga.ts';
import { searchAttributes } from './search-attributes.ts';

/** Short calls to Temporal and to files of the worker. */
export const control = wf.proxyActivities<Activities>({
  startToCloseTimeout: '30s',
  retry: { maximumInterval: '15s' },
});

/** Waits for another run; as long as that takes. */
const waiting = wf.proxyActivities<Activities>({ startToCloseTimeout: '30 days', heartbeatTimeout: '30s' });

/** Calls to one cloud. A cloud that is away for longer than these attempts holds the run. */
export const cloud = (provider: string, summary: string): ProviderActivities =>
  wf.proxyActivities<ProviderActivities>({
    taskQueue: providerQueue(provider),
    startToCloseTimeout: '20m',
    heartbeatTimeout: '20s',
    cancellationType: wf.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    retry: { initialInterval: '1s', maximumInterval: '30s', maximumAttempts: 6 },
    summary,
  });

/** The same for what must not queue behind ordinary work: undo, health. */
export const urgent = (provider: string, summary: string): ProviderActivities =>
  wf.proxyActivities<ProviderActivities>({
    taskQueue: urgentQueue(provider),
    startToCloseTimeout: '20m',
    heartbeatTimeout: '20s',
    retry: { initialInterval: '1s', maximumInterval: '30s', maximumAttempts: 6 },
    summary,
  });

/** Kinds that hold the run once the retries of an activity are used up. */
const holding: readonly CloudErrorKind[] = [...blockingKinds, 'Unavailable', 'Throttled'];

const Leftovers = z.object({
  orphans: z.array(z.object({ provider: z.string(), kind: z.string(), name: z.string(), reason: z.string() })),
  retained: z.array(
    z.object({ provider: z.string(), name: z.string(), until: z.string(), monthlyCostUsd: z.number() }),
  ),
});

export class Operation {
  readonly board = new Board();
  readonly decisions = new Decisions(this.board);
  readonly saga: Saga;
  readonly kind: OperationKind;
  readonly orphans: Orphan[] = [];
  readonly retained: OperationResult['retained'] = [];
  readonly skipped: OperationResult['skipped'] = [];
  #estate = '';
  #service: string | undefined;
  /** Under whose name locks are held and records written: a child acts for its parent. */
  #holder: Pick<Holder, 'workflowId' | 'runId'> = wf.workflowInfo();
  #estateLocked = false;
  readonly #locked: string[] = [];
  readonly #placements: OperationResult['placements'] = [];
  #monthlyCostUsd = 0;
  #writes = 0;

  constructor(kind: OperationKind) {
    this.kind = kind;
    this.saga = new Saga(this.board, this.decisions, async (why) => {
      if (this.#service)
        await this.write(this.#service, {
          kind: 'status',
          status: why ? 'needs-operator' : 'deploying',
          waitingFor: why ?? '',
        });
    });
  }

  /** The input, checked at the workflow's first line; an absent one means `{}`. */
  parse<T>(schema: z.ZodType<T>, raw: unknown): T {
    const parsed = schema.safeParse(raw ?? {});
    if (parsed.success) return parsed.data;
    const text = parsed.error.issues.map(({ path, message }) => `${path.join('.') || 'input'}: ${message}`).join('; ');
    throw failure(
      'InvalidInput',
      `The input was refused: ${text}. It takes one JSON object; see the documentation of ${wf.workflowInfo().workflowType}.`,
    );
  }

  /** Says what this run is about, for lists and searches. */
  about(estate: string, service?: string, type?: string): void {
    this.#estate = estate;
    this.#service = service;
    wf.upsertSearchAttributes([
      { key: searchAttributes.estate, value: estate },
      ...(service ? [{ key: searchAttributes.serviceName, value: service }] : []),
      ...(type ? [{ key: searchAttributes.serviceType, value: type }] : []),
    ]);
  }

  get estate(): string {
    return this.#estate;
  }

  get holder(): Pick<Holder, 'workflowId' | 'runId'> {
    const { workflowId, runId } = this.#holder;
    return { workflowId, runId };
  }

  /** Acts under the locks of the run that started this one. */
  inherit(holder: Pick<Holder, 'workflowId' | 'runId'>): void {
    this.#holder = holder;
  }

  /**
   * Takes the lock of a service, or of the estate where none is named. Returns the result of the present holder where
   * that does the very same thing; refuses with `OperationInProgress` where it does something else.
   */
  async lock(
    service: string | undefined,
    planHash: string,
  ): Promise<{ revision: number } | { attached: OperationResult }> {
    const asker: Holder = { ...this.holder, operation: this.kind, planHash };
    const acquired = service
      ? await control.acquireService({ estate: this.#estate, service, holder: asker })
      : await control.acquireEstate({ estate: this.#estate, holder: asker });
    if (acquired.granted) {
      if (service) this.#locked.push(service);
      else this.#estateLocked = true;
      return { revision: acquired.revision };
    }
    const { holder, same } = acquired;
    const what = service ?? `the estate ${this.#estate}`;
    if (!same)
      throw failure(
        'OperationInProgress',
        `${what} is held by ${describeHolder(holder)}. Wait for it, or cancel it: multi-cloud watch ${holder.workflowId}`,
      );
    this.board.phase(`waits for ${describeHolder(holder)}, which does the same`);
    return { attached: await waiting.awaitHolder(holder) };
  }

  /** Writes a change into the record of a service. Acknowledged; repeating it is harmless. */
  async write(service: string, change: RecordChange): Promise<void> {
    const step = `${wf.workflowInfo().runId}/${++this.#writes}`;
    await control.writeService({ estate: this.#estate, service, request: { runId: this.holder.runId, step, change } });
  }

  /** Runs `act`; where a person must repair something first, holds the run, looks again now and then, and goes on alone. */
  async held<T>(service: string, act: () => Promise<T>, resuming: 'deploying' | 'removing'): Promise<T> {
    for (;;) {
      try {
        return await act();
      } catch (error) {
        const cause = applicationFailure(error);
        if (!cause || !holding.some((kind) => kind === cause.type)) throw error;
        this.board.block(cause.message);
        await this.write(service, { kind: 'status', status: 'blocked', waitingFor: cause.message.slice(0, 300) });
        const { blockedMs } = await control.waits();
        await this.decisions.pauseForRepair(blockedMs);
        this.board.block(undefined);
        await this.write(service, { kind: 'status', status: resuming, waitingFor: '' });
      }
    }
  }

  achieved(placements: OperationResult['placements'], monthlyCostUsd: number): void {
    this.#placements.push(...placements);
    this.#monthlyCostUsd = Math.round((this.#monthlyCostUsd + monthlyCostUsd) * 100) / 100;
  }

  /** What a child that failed could not take back, or kept: its result is in the details of its failure. */
  inheritLeftovers(error: unknown): void {
    const left = Leftovers.safeParse(applicationFailure(error)?.details?.[0]);
    if (!left.success) return;
    this.orphans.push(...left.data.orphans);
    this.retained.push(...left.data.retained);
  }

  result(outcome: OperationResult['outcome']): OperationResult {
    return {
      outcome,
      estate: this.#estate,
      ...(this.#service !== undefined && { service: this.#service }),
      placements: outcome === 'done' ? this.#placements : [],
      monthlyCostUsd: outcome === 'done' ? this.#monthlyCostUsd : 0,
      orphans: this.orphans,
      retained: this.retained,
      skipped: this.skipped,
      records: this.#service ? `service/${this.#estate}/${this.#service}` : `estate/${this.#estate}`,
    };
  }

  /** Runs the story; when it cannot be completed, takes back what it did, and ends with why. */
  async run(story: () => Promise<OperationResult>): Promise<OperationResult> {
    const scope = new wf.CancellationScope();
    this.decisions.onUndo(() => scope.cancel());
    try {
      const result = await scope.run(story);
      this.board.phase(result.outcome);
      return result;
    } catch (error) {
      if (error instanceof wf.ContinueAsNew) throw error;
      const begun = !this.saga.isEmpty;
      this.board.phase(begun ? 'undoing' : 'refused');
      this.board.record('run', `failed: ${reason(error)}`);
      this.orphans.push(...(await this.saga.undo()));
      if (begun) this.board.phase('undone');
      if (wf.isCancellation(error) && !this.decisions.undoRequested) throw error;
      const cause = applicationFailure(error);
      const type = (
        this.decisions.undoRequested ? 'UndoRequested' : (cause?.type ?? 'CompensationFailed')
      ) as ErrorType;
      const message = this.decisions.undoRequested
        ? 'An undo was asked for; everything that this run had done was taken back.'
        : reason(error);
      throw failure(type, message, this.result('undone'));
    } finally {
      await wf.CancellationScope.nonCancellable(() => this.#release());
    }
  }

  async #release(): Promise<void> {
    for (const service of this.#locked.splice(0))
      await control.releaseService({ estate: this.#estate, service, holder: this.holder });
    if (this.#estateLocked) await control.releaseEstate({ estate: this.#estate, holder: this.holder });
    this.#estateLocked = false;
  }
}

export const failure = (type: ErrorType, message: string, ...details: unknown[]): wf.ApplicationFailure =>
  wf.ApplicationFailure.create({ type, message, nonRetryable: true, details });

/** The application failure at the bottom of what was thrown: an activity's, a child's, or our own. */
export function applicationFailure(error: unknown): wf.ApplicationFailure | undefined {
  for (let at: unknown = error; at instanceof Error; at = at.cause) if (at instanceof wf.ApplicationFailure) return at;
  return undefined;
}
