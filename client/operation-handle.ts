/** One run of an operation: look at it, decide for it, wait for its end. */
import { type KeyObject, sign } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  ApplicationFailure,
  CancelledFailure,
  WorkflowFailedError,
  type WorkflowHandle,
  WorkflowNotFoundError,
  WorkflowUpdateFailedError,
} from '@temporalio/client';
import type { RecordedDecision } from '../model/decisions.ts';
import type { EstatePlan, OperationResult } from '../model/operations.ts';
import type { AuditEntry, Progress } from '../model/progress.ts';
import type { Reconfiguration, Reconfigured, ReplicationLag } from '../model/replicate.ts';
import { type Signed, signedText } from '../model/signature.ts';

/** How an operation ended that did not succeed: the error type of the contract, and what was undone. */
export class OperationFailed extends Error {
  override readonly name = 'OperationFailed';
  readonly type: string;
  readonly workflowId: string;
  /** Set once the run had begun to act. */
  readonly result: OperationResult | undefined;

  constructor(type: string, message: string, workflowId: string, result?: OperationResult) {
    super(message);
    this.type = type;
    this.workflowId = workflowId;
    this.result = result;
  }
}

export interface Answer {
  by: string;
  /** The 12 hex digits shown with the question. */
  plan: string;
  comment?: string | undefined;
  /** Signs the answer, where the estate asks for it (`approvals.identity: signed`): an Ed25519 key. */
  key?: KeyObject | undefined;
}

export class OperationHandle {
  readonly #handle: WorkflowHandle;
  /** The run was going already when it was asked for. */
  readonly joined: boolean;

  constructor(handle: WorkflowHandle, joined = false) {
    this.#handle = handle;
    this.joined = joined;
  }

  get workflowId(): string {
    return this.#handle.workflowId;
  }

  progress(): Promise<Progress> {
    return this.#handle.query<Progress>('progress');
  }

  plan(): Promise<EstatePlan | undefined> {
    return this.#handle.query<EstatePlan | undefined>('plan');
  }

  audit(): Promise<AuditEntry[]> {
    return this.#handle.query<AuditEntry[]>('audit');
  }

  /** Answers what the run waits for. A refused answer throws `OperationFailed` with the reason. */
  async decide({ key, ...decision }: Answer & { question: string; answer: string }): Promise<RecordedDecision> {
    const proof = key && (await this.#sign(key, decision));
    try {
      return await this.#handle.executeUpdate<RecordedDecision, [object]>('decide', {
        args: [{ ...decision, ...(proof && { proof }) }],
      });
    } catch (error) {
      if (!(error instanceof WorkflowUpdateFailedError)) throw error;
      throw new OperationFailed('InvalidInput', error.cause?.message ?? error.message, this.workflowId);
    }
  }

  async #sign(key: KeyObject, decision: Pick<Signed, 'question' | 'answer' | 'plan'>): Promise<string> {
    const { raw, runId: current } = await this.#handle.describe();
    // Older servers do not say which run was the first; one that was never reset is.
    const runId = raw.workflowExecutionInfo?.firstRunId || current;
    return sign(null, signedText({ ...decision, workflowId: this.workflowId, runId }), key).toString('base64');
  }

  approve(answer: Answer): Promise<RecordedDecision> {
    return this.#answer('approve', answer);
  }

  reject(answer: Answer): Promise<RecordedDecision> {
    return this.#answer('reject', answer);
  }

  /** Takes back what the run has done, then ends it. */
  undo(by: string): Promise<void> {
    return this.#handle.signal('undo', { by });
  }

  /** Lets what is under way end, and begins nothing new. */
  pause(by: string): Promise<void> {
    return this.#handle.signal('pause', { by });
  }

  resume(by: string): Promise<void> {
    return this.#handle.signal('resume', { by });
  }

  /** Looks at once whether what blocked the run is repaired. */
  retryStep(by: string): Promise<void> {
    return this.#handle.signal('retryStep', { by });
  }

  retryCompensation(by: string): Promise<void> {
    return this.#handle.signal('retryCompensation', { by });
  }

  abandonCompensation(by: string): Promise<void> {
    return this.#handle.signal('abandonCompensation', { by });
  }

  /** Asks the run to stop; it undoes what it did and ends Cancelled. */
  async cancel(): Promise<void> {
    await this.#handle.cancel();
  }

  async isRunning(): Promise<boolean> {
    return (await this.#handle.describe()).status.name === 'RUNNING';
  }

  result(): Promise<OperationResult> {
    return this.outcome<OperationResult>();
  }

  /** The result of any workflow type; its failure as `OperationFailed`. */
  async outcome<T>(): Promise<T> {
    try {
      return (await this.#handle.result()) as T;
    } catch (error) {
      if (!(error instanceof WorkflowFailedError)) throw error;
      throw this.#failed(error);
    }
  }

  /**
   * The run's progress whenever it changes, the last time after its end. While no worker answers queries, nothing is
   * yielded. What the run ends with, `result()` says.
   */
  async *follow(everyMs = 500): AsyncGenerator<Progress> {
    let ended = false;
    const end = this.#handle.result().then(
      () => true,
      () => true,
    );
    for (let last = ''; ; ) {
      const progress = await this.progress().catch((error: unknown) => {
        if (error instanceof WorkflowNotFoundError) throw error;
        return undefined;
      });
      const text = JSON.stringify(progress);
      if (progress && text !== last) yield progress;
      last = text;
      if (ended) return;
      ended = await Promise.race([end, sleep(everyMs, false)]);
    }
  }

  #failed(error: WorkflowFailedError): OperationFailed {
    const { cause } = error;
    if (cause instanceof CancelledFailure)
      return new OperationFailed(
        'Cancelled',
        'The run was cancelled; what it had done was taken back.',
        this.workflowId,
      );
    // An activity's failure says why below what the server wraps around it.
    for (let at: unknown = cause; at instanceof Error; at = at.cause)
      if (at instanceof ApplicationFailure)
        return new OperationFailed(
          at.type ?? 'Failed',
          at.message,
          this.workflowId,
          at.details?.[0] as OperationResult | undefined,
        );
    return new OperationFailed(cause?.name ?? 'Failed', cause?.message ?? error.message, this.workflowId);
  }

  async #answer(answer: string, given: Answer): Promise<RecordedDecision> {
    const [waiting] = (await this.progress()).waitingFor;
    if (!waiting) throw new OperationFailed('InvalidInput', 'The run waits for nobody.', this.workflowId);
    return this.decide({ ...given, question: waiting.question, answer });
  }
}

/** A run that keeps the sides of a service in step. */
export class ReplicationHandle extends OperationHandle {
  readonly #run: WorkflowHandle;

  constructor(handle: WorkflowHandle, joined = false) {
    super(handle, joined);
    this.#run = handle;
  }

  /** Asks for something else; what is left out stays as it was asked before, or is as the estate file wishes by now. */
  async reconfigure(asked: Reconfiguration): Promise<Reconfigured> {
    try {
      return await this.#run.executeUpdate<Reconfigured, [Reconfiguration]>('reconfigure', { args: [asked] });
    } catch (error) {
      if (!(error instanceof WorkflowUpdateFailedError)) throw error;
      throw new OperationFailed('InvalidInput', error.cause?.message ?? error.message, this.workflowId);
    }
  }

  lag(): Promise<ReplicationLag> {
    return this.#run.query<ReplicationLag>('lag');
  }
}
