/**
 * What every operation shares, so that its workflow can be its story: it hears signals from the first moment, holds the
 * locks it took, shows its steps, is held instead of failing where a person can repair the cause, and takes back what it
 * did when it cannot be completed.
 */
import * as wf from '@temporalio/workflow';
import { z } from 'zod';
import type { Waits } from '../activities/estate/load.ts';
import { Command } from '../model/decisions.ts';
import type { ErrorType } from '../model/errors.ts';
import type { OperationResult } from '../model/operations.ts';
import type { Holder, OperationKind, Orphan, RecordChange, RecordedPlacement, ServiceStatus } from '../model/record.ts';
import { evidence, type Kept, recordsPlacement } from '../model/records.ts';
import type { Placement } from '../model/service.ts';
import { applicationFailure, control, failure, mayHaveWorked, mayPass, records } from './calls.ts';
import { Decisions } from './decisions.ts';
import { Gate } from './gate.ts';
import { Locks } from './locks.ts';
import { Board, reason } from './progress.ts';
import { Saga } from './saga.ts';
import { searchAttributes } from './search-attributes.ts';
import { Trail } from './trail.ts';

export const pause = wf.defineSignal<[Command]>('pause');
export const resume = wf.defineSignal<[Command]>('resume');

/** What the record says while a run of this kind is at work. */
const atWork: Record<OperationKind, ServiceStatus> = {
  deploy: 'deploying',
  migrate: 'migrating',
  failover: 'failing-over',
  remove: 'removing',
  recover: 'deploying',
  repair: 'deploying',
  steer: 'deploying',
};

const Leftovers = z.object({
  orphans: z.array(z.object({ provider: z.string(), kind: z.string(), name: z.string(), reason: z.string() })),
  retained: z.array(
    z.object({ provider: z.string(), name: z.string(), until: z.string(), monthlyCostUsd: z.number() }),
  ),
});

export class Operation {
  readonly trail = new Trail();
  readonly board = new Board((entry) => this.trail.note(entry));
  readonly decisions = new Decisions(this.board, (text) => this.#asks(text));
  /** Where the run may stop between two steps. */
  readonly gate = new Gate(this.board);
  readonly locks: Locks;
  readonly saga: Saga;
  readonly kind: OperationKind;
  readonly orphans: Orphan[] = [];
  readonly retained: OperationResult['retained'] = [];
  readonly skipped: OperationResult['skipped'] = [];
  #estate = '';
  #service: string | undefined;
  readonly #placements: OperationResult['placements'] = [];
  #monthlyCostUsd = 0;
  #writes = 0;
  #waits: Promise<Waits> | undefined;
  readonly #scope = new wf.CancellationScope();
  /** What holds the run, until it is repaired. */
  #missing: { status: ServiceStatus; why: string } | undefined;
  /** What a person is asked. */
  #asked: string | undefined;
  /** Why the run must stop although nothing failed. */
  #stopped: wf.ApplicationFailure | undefined;
  /** Whether it was this run that somebody has cancelled, and not one that it has started. */
  #cancelled = false;
  readonly #inRecord: boolean;

  /** `inRecord`: whether what holds the run is said in the record of its service; without its lock that is not the run's to say. */
  constructor(kind: OperationKind, { inRecord = true }: { inRecord?: boolean } = {}) {
    this.kind = kind;
    this.#inRecord = inRecord;
    this.locks = new Locks(kind, this.board, this.gate, (why) => this.#stop(failure('PlanChanged', why)));
    this.saga = new Saga({
      board: this.board,
      decisions: this.decisions,
      waits: () => this.waits(),
      mayPass,
      parked: async (why) => {
        this.#missing = why === undefined ? undefined : { status: 'needs-operator', why };
        await this.#show(this.#service);
      },
    });
    this.#hear(pause, (by) => this.gate.close('pause', `paused by ${by}; signal resume lets it go on`));
    this.#hear(resume, () => this.gate.open('pause'));
    wf.CancellationScope.current().cancelRequested.catch(() => {
      this.#cancelled = true;
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
    this.locks.of(estate);
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
    return this.locks.holder;
  }

  /** What the record says while this run is at work. */
  get status(): ServiceStatus {
    return atWork[this.kind];
  }

  /** How long the worker's settings tell to wait for what. */
  waits(): Promise<Waits> {
    this.#waits ??= control.waits();
    return this.#waits;
  }

  /** Writes a change into the record of a service. Acknowledged; repeating it is harmless. */
  async write(service: string, change: RecordChange): Promise<void> {
    const step = `${wf.workflowInfo().runId}/${++this.#writes}`;
    await control.writeService({ estate: this.#estate, service, request: { runId: this.holder.runId, step, change } });
  }

  /**
   * Runs an act that changes something, at a safe point. Where its failure has a cause that can be repaired outside, the
   * run is held: it shows the cause, looks again now and then, and goes on alone.
   */
  async held<T>(service: string, act: () => Promise<T>): Promise<T> {
    if (this.saga.isUndoing) return act();
    for (;;) {
      try {
        return await this.gate.pass(act);
      } catch (error) {
        if (mayHaveWorked(error)) this.saga.unsettle();
        if (wf.isCancellation(error) || !mayPass(error)) throw error;
        const why = reason(error);
        const heard = this.decisions.heard();
        this.board.block(why);
        this.#missing = { status: 'blocked', why };
        await this.#show(service);
        const { blockedMs } = await this.waits();
        try {
          await this.decisions.pauseForRepair(heard, blockedMs);
        } finally {
          this.board.block(undefined); // an undo, or a cancellation, ends the wait as well
          this.#missing = undefined;
        }
        await this.#show(service);
      }
    }
  }

  /** Says in the record what a person is asked, and keeps the trail, where reminders stand. */
  async #asks(text: string | undefined): Promise<void> {
    this.#asked = text;
    // While it has lent its lock or is paused, the record is not its to write, and an answer must not wait for that to end.
    const shown = this.gate.pass(() => this.#show(this.#service));
    if (this.gate.isClosed) shown.catch(() => {});
    else await shown;
    // In its own time: an answer must not wait for a bucket. What does not arrive goes with the next lines.
    if (text !== undefined) this.#keepLines().catch(() => {});
  }

  /** What the record says of this run. One that is about no service, or not about one alone, shows it in its own details. */
  async #show(service: string | undefined): Promise<void> {
    if (!service || !this.#inRecord) return;
    const { status, why } = this.#missing ?? { status: this.status, why: this.#asked ?? '' };
    await this.write(service, { kind: 'status', status, waitingFor: why.slice(0, 300) });
  }

  #hear(signal: wf.SignalDefinition<[Command]>, obey: (by: string) => void): void {
    wf.setHandler(signal, (raw) => {
      const parsed = Command.safeParse(raw);
      if (!parsed.success) return this.board.record('unknown', `signal ${signal.name} ignored: it needs {"by": "…"}`);
      this.board.record(parsed.data.by, `${signal.name} (UNVERIFIED)`);
      obey(parsed.data.by);
      this.decisions.toChildren(signal, parsed.data);
    });
  }

  #stop(why: wf.ApplicationFailure): void {
    this.#stopped = why;
    this.#scope.cancel();
  }

  /** Keeps the records of this run, and of what it changes, in the buckets of these placements. */
  recordsIn(placements: readonly Placement[]): void {
    this.trail.keepIn(placements.map((one) => recordsPlacement(one.owner, one)));
  }

  /** Ends when what this run has done so far is in a records bucket. */
  async keepTrail(service: string): Promise<void> {
    await this.held(service, () => this.#keepLines());
  }

  #keepLines(): Promise<void> {
    return this.trail.keep((placement, lines) =>
      records(placement.provider, 'audit trail').appendAudit({ placement, lines }),
    );
  }

  /** Closes the trail, and puts a copy of the record of the service, or of the estate, beside it. */
  async #keepRecords(outcome: string): Promise<void> {
    if (this.trail.buckets.length === 0) return;
    const service = this.#service ?? '';
    const record = await this.#record();
    if (record) {
      const { what, resource } = evidence(record);
      this.board.record('run', what, resource);
    }
    this.trail.end(outcome);
    await this.keepTrail(service);
    await this.trail.settled();
    if (record)
      await Promise.all(
        this.trail.buckets.map((placement) =>
          records(placement.provider, `record of ${service || 'the estate'}`)
            .keepRecord({ placement, record })
            .catch((error: unknown) => this.board.record('run', `no copy of the record: ${reason(error)}`)),
        ),
      );
  }

  async #record(): Promise<Kept['record'] | undefined> {
    if (this.#service) return (await control.readServices({ estate: this.#estate }))[this.#service];
    return control.readEstate({ estate: this.#estate });
  }

  /** Counts a placement into the result. */
  achieved(service: string, { provider, region, resources, monthlyCostUsd }: RecordedPlacement): void {
    this.include([{ service, provider, region, id: resources.at(-1)?.id ?? '' }], monthlyCostUsd);
  }

  include(placements: OperationResult['placements'], monthlyCostUsd: number): void {
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
  async run<R extends OperationResult>(story: () => Promise<R>): Promise<R> {
    this.decisions.onUndo(() =>
      this.#stop(failure('UndoRequested', 'An undo was asked for; everything that this run had done was taken back.')),
    );
    try {
      const result = await this.#scope.run(story);
      await this.#keepRecords(result.outcome);
      this.board.phase(result.outcome);
      return result;
    } catch (error) {
      if (error instanceof wf.ContinueAsNew) throw error;
      const begun = !this.saga.isEmpty;
      this.board.phase(begun ? 'undoing' : 'refused');
      this.board.record('run', `failed: ${reason(error)}`);
      this.gate.openAll();
      await this.#abandon(await this.saga.undo());
      if (begun) this.board.phase('undone');
      await wf.CancellationScope.nonCancellable(() => this.#keepRecords(`undone: ${reason(error)}`));
      const below = wf.isCancellation(error) && !this.#cancelled;
      const cause = this.#stopped ?? (below ? childCancelled() : applicationFailure(error));
      const cancelled = wf.isCancellation(error) && !cause;
      // A run that ends Cancelled tells nothing: whoever started it must hear of what is left.
      if (cancelled && this.orphans.length === 0) throw error;
      const type = (cause?.type ?? 'CompensationFailed') as ErrorType;
      const left = 'The run was cancelled, and not everything that it had done could be taken back.';
      throw failure(type, cancelled ? left : (cause?.message ?? reason(error)), this.result('undone'));
    } finally {
      await wf.CancellationScope.nonCancellable(() => this.locks.release());
    }
  }

  /** What nobody could take back stays listed, in the result and in the record. */
  async #abandon(orphans: Orphan[]): Promise<void> {
    this.orphans.push(...orphans);
    const service = this.#service;
    if (service && orphans.length > 0)
      await wf.CancellationScope.nonCancellable(() => this.write(service, { kind: 'orphans', how: 'left', orphans }));
  }
}

const childCancelled = (): wf.ApplicationFailure =>
  failure(
    'UndoRequested',
    'Somebody cancelled a run that this one had started; everything that both had done was taken back.',
  );
