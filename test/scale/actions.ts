/** What a run costs on Temporal Cloud, by its history: https://docs.temporal.io/cloud/actions (2026-11-28). */
import type { History } from '../e2e/histories.ts';

/** Activities send their heartbeats no more often. */
const heartbeatMs = 5000;

type Event = NonNullable<History['events']>[number];
const msOf = ({ eventTime }: Event): number =>
  Number(eventTime?.seconds ?? 0) * 1000 + Number(eventTime?.nanos ?? 0) / 1e6;

/** At the most: each attempt of an activity with as many heartbeats as there was time for, timers, messages, children, markers. */
export function actionsIn({ events }: History): number {
  const all = events ?? [];
  const startedAt = new Map<string, number>();
  let actions = 1;
  for (const event of all) {
    if (
      event.timerStartedEventAttributes ||
      event.workflowExecutionSignaledEventAttributes ||
      event.workflowExecutionUpdateAcceptedEventAttributes ||
      event.upsertWorkflowSearchAttributesEventAttributes ||
      event.workflowPropertiesModifiedEventAttributes ||
      event.signalExternalWorkflowExecutionInitiatedEventAttributes ||
      event.startChildWorkflowExecutionInitiatedEventAttributes ||
      event.markerRecordedEventAttributes
    )
      actions++;
    const { activityTaskStartedEventAttributes: started } = event;
    if (started) {
      actions += started.attempt ?? 1;
      startedAt.set(String(event.eventId), msOf(event));
    }
    const ended = event.activityTaskCompletedEventAttributes ?? event.activityTaskFailedEventAttributes;
    const from = startedAt.get(String(ended?.startedEventId));
    if (from !== undefined) actions += Math.floor((msOf(event) - from) / heartbeatMs);
  }
  return actions;
}
