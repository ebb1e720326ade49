/**
 * The telemetry streams of `iot_core` on each cloud, read with the cloud's own SDK; its clients, with their credentials, are the
 * caller's. While a fleet moves, a stream also brings what a pump has forwarded from the other cloud: its device stands where
 * devices themselves can write nothing (docs/decisions/0024).
 */
import { setTimeout } from 'node:timers/promises';
import { DeleteMessageBatchCommand, type Message, ReceiveMessageCommand, type SQSClient } from '@aws-sdk/client-sqs';
import type { EventHubConsumerClient, ReceivedEventData } from '@azure/event-hubs';
import type { protos, v1 } from '@google-cloud/pubsub';
import { forwardEncoding, forwardMark } from '../model/telemetry-pump.ts';
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
  const MessageAttributeNames = [forwardMark, forwardEncoding];
  const receive = { QueueUrl, MaxNumberOfMessages: 10, WaitTimeSeconds: 20, MessageAttributeNames };
  return async (take, signal) => {
    while (!signal.aborted)
      try {
        const { Messages = [] } = await sqs.send(new ReceiveMessageCommand(receive), { abortSignal: signal });
        if (Messages.length === 0) continue;
        await take(Messages.map(fromQueue));
        const Entries = Messages.map(({ ReceiptHandle }, at) => ({ Id: String(at), ReceiptHandle }));
        await sqs.send(new DeleteMessageBatchCommand({ QueueUrl, Entries }));
      } catch {
        await pause(signal);
      }
  };
}

/** The topic rule writes who sent it beside what was sent, and no attributes; those are a pump's. */
function fromQueue({
  Body = '',
  MessageAttributes: { [forwardMark]: mark, [forwardEncoding]: encoding } = {},
}: Message): Arrived {
  const data = parsed(encoding?.StringValue === 'base64' ? Buffer.from(Body, 'base64').toString('utf8') : Body);
  const rule = typeof data === 'object' && data !== null && 'mqtt_client' in data ? data.mqtt_client : '';
  return { device: mark?.StringValue ?? String(rule), data };
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
      { startPosition: { enqueuedOn: from }, maxBatchSize: 100, maxWaitTimeInSeconds: 1 },
    );
    await aborted(signal);
    await subscription.close();
  };
}

/**
 * The hub says who sent it in what no device can write. Its devices do write properties, so the mark of a pump counts only where
 * the hub has said nothing: then the message did not come through the hub.
 * https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-messages-construct
 */
const fromHub = ({ systemProperties, properties, body }: ReceivedEventData): Arrived => ({
  device: String(systemProperties?.['iothub-connection-device-id'] ?? properties?.[forwardMark] ?? ''),
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
        const received = await pulled(subscriber, subscription, signal);
        if (received.length === 0) {
          await pause(signal);
          continue;
        }
        await take(
          received.map(({ message }) => ({
            // Broker and pump write it alike.
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

/**
 * The client cannot give a request up. One that goes on after the end takes messages away, which are given back as soon as it
 * brings them, so that who reads next need not wait for their deadline.
 */
async function pulled(
  subscriber: v1.SubscriberClient,
  subscription: string,
  signal: AbortSignal,
): Promise<protos.google.pubsub.v1.IReceivedMessage[]> {
  const pulling = subscriber
    .pull({ subscription, maxMessages: 100 })
    .then(([{ receivedMessages }]) => receivedMessages ?? []);
  const given = Promise.withResolvers<never>();
  const giveUp = (): void => {
    given.reject(signal.reason);
    pulling
      .then(async (received) => {
        const ackIds = received.map(({ ackId }) => ackId ?? '');
        if (ackIds.length > 0) await subscriber.modifyAckDeadline({ subscription, ackIds, ackDeadlineSeconds: 0 });
      })
      .catch(() => {}); // They come again after their deadline.
  };
  signal.addEventListener('abort', giveUp, { once: true });
  try {
    return await Promise.race([pulling, given.promise]);
  } finally {
    signal.removeEventListener('abort', giveUp);
  }
}

const aborted = (signal: AbortSignal): Promise<void> =>
  signal.aborted
    ? Promise.resolve()
    : new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
