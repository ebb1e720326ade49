/** The telemetry streams of `iot_core` on each cloud, read with the cloud's own SDK; its clients, with their credentials, are the caller's. */
import { setTimeout } from 'node:timers/promises';
import { DeleteMessageBatchCommand, ReceiveMessageCommand, type SQSClient } from '@aws-sdk/client-sqs';
import type { EventHubConsumerClient, ReceivedEventData } from '@azure/event-hubs';
import type { v1 } from '@google-cloud/pubsub';
import type { Arrived, TelemetryStream } from './telemetry.ts';

export { Repeats, type RepeatsOptions } from './repeats.ts';
export { type ReadCounts, type ReadOptions, readTelemetry, type TelemetryMessage } from './telemetry.ts';

/** Between two tries to read, or to hand over what could not be handled. */
const retryMs = 1000;

/** A JSON value, or the text where it is none. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

const pause = (signal: AbortSignal): Promise<void> => setTimeout(retryMs, undefined, { signal }).catch(() => {});

/** AWS: the queue `telemetry` of the placement. Messages that were not handled come back after the queue's visibility timeout. */
export function queueStream({ sqs, queueUrl: QueueUrl }: { sqs: SQSClient; queueUrl: string }): TelemetryStream {
  const receive = { QueueUrl, MaxNumberOfMessages: 10, WaitTimeSeconds: 20 };
  return async (take, signal) => {
    while (!signal.aborted)
      try {
        const { Messages = [] } = await sqs.send(new ReceiveMessageCommand(receive), { abortSignal: signal });
        if (Messages.length === 0) continue;
        await take(Messages.map(({ Body = '' }) => fromRule(parsed(Body))));
        const Entries = Messages.map(({ ReceiptHandle }, at) => ({ Id: String(at), ReceiptHandle }));
        await sqs.send(new DeleteMessageBatchCommand({ QueueUrl, Entries }));
      } catch {
        await pause(signal);
      }
  };
}

/** The topic rule writes who sent it beside what was sent. */
function fromRule(data: unknown): Arrived {
  const device = typeof data === 'object' && data !== null && 'mqtt_client' in data ? data.mqtt_client : '';
  return { device: String(device), data };
}

/**
 * Azure: the event hub of the placement. Where it goes on after a restart is in the client's checkpoint store; without one it
 * begins with what comes after `from`.
 */
export function eventHubStream({ consumer, from }: { consumer: EventHubConsumerClient; from: Date }): TelemetryStream {
  return async (take, signal) => {
    /** An event hub goes on whatever became of the events: they are handed over until they were handled. */
    const untilTaken = async (batch: Arrived[]): Promise<void> => {
      while (!signal.aborted)
        try {
          await take(batch);
          return;
        } catch {
          await pause(signal);
        }
      throw signal.reason;
    };
    const subscription = consumer.subscribe(
      {
        async processEvents(events, context) {
          const last = events.at(-1);
          if (!last) return;
          await untilTaken(events.map(fromHub));
          await context.updateCheckpoint(last);
        },
        // The client goes on by itself.
        async processError() {},
      },
      { startPosition: { enqueuedOn: from }, maxWaitTimeInSeconds: 1 },
    );
    await aborted(signal);
    await subscription.close();
  };
}

/** https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-messages-construct */
const fromHub = ({ systemProperties, body }: ReceivedEventData): Arrived => ({
  device: String(systemProperties?.['iothub-connection-device-id'] ?? ''),
  data: body instanceof Uint8Array ? parsed(Buffer.from(body).toString('utf8')) : body,
});

/**
 * Google Cloud: the subscription of the placement, `projects/…/subscriptions/…`. What was not handled comes back after its
 * acknowledgement deadline. Pulled and not streamed, so that a client made with `fallback: true` (REST) serves as well.
 */
export function subscriptionStream({
  subscriber,
  subscription,
}: {
  subscriber: v1.SubscriberClient;
  subscription: string;
}): TelemetryStream {
  return async (take, signal) => {
    while (!signal.aborted)
      try {
        const [{ receivedMessages }] = await subscriber.pull({ subscription, maxMessages: 100 });
        const received = receivedMessages ?? [];
        if (received.length === 0) {
          await pause(signal);
          continue;
        }
        await take(
          received.map(({ message }) => ({
            device: message?.attributes?.deviceId ?? '',
            data: parsed(Buffer.from(message?.data ?? '').toString('utf8')),
          })),
        );
        await subscriber.acknowledge({ subscription, ackIds: received.map(({ ackId }) => ackId ?? '') });
      } catch {
        await pause(signal);
      }
  };
}

const aborted = (signal: AbortSignal): Promise<void> =>
  signal.aborted
    ? Promise.resolve()
    : new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
