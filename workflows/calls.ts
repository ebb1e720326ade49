/** How workflows call activities: on which queue, how long, how often; and the failures that come back. */
import * as wf from '@temporalio/workflow';
import type { Waits } from '../activities/estate/load.ts';
import type {
  Activities,
  BulkActivities,
  ProviderActivities,
  SenderActivities,
  WatchActivities,
} from '../activities/index.ts';
import { blockingKinds, type CloudErrorKind, type ErrorType } from '../model/errors.ts';
import { bulkQueue, providerQueue, urgentQueue, watchQueue } from '../model/operations.ts';
import { senderQueue } from '../model/waves.ts';

/** Short calls to Temporal and to files of the worker. */
export const control = wf.proxyActivities<Activities>({
  startToCloseTimeout: '30s',
  retry: { maximumInterval: '15s' },
});

/** Messages to a channel. One that is away, or refuses, is tried again until somebody has mended it. */
export const notify = (summary: string): Activities =>
  wf.proxyActivities<Activities>({
    startToCloseTimeout: '1m',
    scheduleToCloseTimeout: '6h',
    cancellationType: wf.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    retry: { initialInterval: '1s', maximumInterval: '1m' },
    summary,
  });

/** Calls to a load balancer. One that does not answer for longer than these attempts holds the run. */
export const balancer = (summary: string): Activities =>
  wf.proxyActivities<Activities>({
    startToCloseTimeout: '30s',
    retry: { initialInterval: '1s', maximumInterval: '15s', maximumAttempts: 6 },
    summary,
  });

/** Calls to one cloud. A cloud that is away for longer than these attempts holds the run. */
export const cloud = (
  provider: string,
  summary: string,
  retry: Pick<wf.RetryPolicy, 'nonRetryableErrorTypes'> = {},
): ProviderActivities =>
  wf.proxyActivities<ProviderActivities>({
    taskQueue: providerQueue(provider),
    startToCloseTimeout: '20m',
    heartbeatTimeout: '20s',
    cancellationType: wf.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    retry: { initialInterval: '1s', maximumInterval: '30s', maximumAttempts: 6, ...retry },
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

/** Writes to a records bucket. Few tries: there are others, and what this one misses it gets the next time. */
export const records = (provider: string, summary: string): ProviderActivities =>
  wf.proxyActivities<ProviderActivities>({
    taskQueue: providerQueue(provider),
    startToCloseTimeout: '20m',
    heartbeatTimeout: '20s',
    retry: { initialInterval: '500ms', maximumInterval: '5s', maximumAttempts: 3 },
    summary,
  });

/** Reads of one cloud and writes to another; each goes on where its earlier attempt has stopped. */
export const bulk = (source: string, target: string, summary: string): BulkActivities =>
  wf.proxyActivities<BulkActivities>({
    taskQueue: bulkQueue(source, target),
    startToCloseTimeout: '1h',
    heartbeatTimeout: '30s',
    cancellationType: wf.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    retry: { initialInterval: '1s', maximumInterval: '30s', maximumAttempts: 10 },
    summary,
  });

/** Follows for minutes; told to stop, it ends within seconds. */
export const watch = (summary: string, longestMs = 3_600_000): WatchActivities =>
  wf.proxyActivities<WatchActivities>({
    taskQueue: watchQueue,
    startToCloseTimeout: longestMs,
    heartbeatTimeout: '30s',
    cancellationType: wf.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    retry: { initialInterval: '1s', maximumInterval: '30s', maximumAttempts: 10 },
    summary,
  });

/** Telling devices where to go, by those who may. Where nobody serves that role, the run is held until somebody does. */
export async function redirecting<T>(
  summary: string,
  { unservedMs = 120_000 }: Pick<Waits, 'unservedMs'>,
  act: (sender: SenderActivities) => Promise<T>,
): Promise<T> {
  const sender = wf.proxyActivities<SenderActivities>({
    taskQueue: senderQueue,
    scheduleToStartTimeout: unservedMs,
    startToCloseTimeout: '12h',
    heartbeatTimeout: '30s',
    cancellationType: wf.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    retry: { initialInterval: '1s', maximumInterval: '30s', maximumAttempts: 10 },
    summary,
  });
  try {
    return await act(sender);
  } catch (error) {
    if (!isUnserved(error)) throw error;
    throw failure(
      'Unavailable',
      `No worker plays the role "sender", which holds the key that devices obey: start one.`,
    );
  }
}

const isUnserved = (error: unknown): boolean =>
  error instanceof wf.ActivityFailure &&
  error.cause instanceof wf.TimeoutFailure &&
  error.cause.timeoutType === 'SCHEDULE_TO_START';

export const failure = (type: ErrorType, message: string, ...details: unknown[]): wf.ApplicationFailure =>
  wf.ApplicationFailure.create({ type, message, nonRetryable: true, details });

/** The application failure at the bottom of what was thrown: an activity's, a child's, or our own. */
export function applicationFailure(error: unknown): wf.ApplicationFailure | undefined {
  for (let at: unknown = error; at instanceof Error; at = at.cause) if (at instanceof wf.ApplicationFailure) return at;
  return undefined;
}

const timedOut = (error: unknown): boolean => {
  for (let at: unknown = error; at instanceof Error; at = at.cause) if (at instanceof wf.TimeoutFailure) return true;
  return false;
};

/** Kinds that hold the run once the retries of an activity are used up. */
const passing: readonly CloudErrorKind[] = [...blockingKinds, 'Unavailable', 'Throttled'];

/** Whether the cause of a failure lies outside and may be repaired there: the run is held instead of failing. */
export function mayPass(error: unknown): boolean {
  const type = applicationFailure(error)?.type;
  return timedOut(error) || passing.some((kind) => kind === type);
}

/** Whether a call that failed in this way may have taken effect, or may yet: its answer got lost, or its worker. */
export const mayHaveWorked = (error: unknown): boolean =>
  timedOut(error) || wf.isCancellation(error) || applicationFailure(error)?.type === 'Unavailable';
