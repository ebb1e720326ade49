/** The way out: what devices published, handed to Pub/Sub in batches. A publish resolves once Pub/Sub has taken the message over. */
import { type ClientConfig, PubSub } from '@google-cloud/pubsub';

export interface TelemetryMessage {
  device: string;
  /** MQTT topic it was published to. */
  topic: string;
  payload: Buffer;
}

export interface Telemetry {
  /** Rejects when Pub/Sub did not take the message over in time; the device then sends it again. */
  publish(message: TelemetryMessage): Promise<void>;
  /** Messages that Pub/Sub has not taken over yet. */
  pending(): number;
  /** Sends what is still collected and waits for the answers. */
  close(): Promise<void>;
}

/** With more than this on its way, a publish waits for room; its device is not read from meanwhile: back-pressure down to the socket. */
const maxPending = 20_000;
/** Shorter than the time after which usual MQTT clients send a message again or give the connection up. */
const deadlineMs = 20_000;

export function pubsubTelemetry(projectId: string, topicName: string): Telemetry {
  // REST mode: few large calls a second, for which one kept HTTP/1.1 connection does, and one protocol less to operate.
  // The option is passed on to the generated client, but missing in this type.
  const options: ClientConfig & { fallback: boolean } = { projectId, fallback: true };
  const pubsub = new PubSub(options);
  const topic = pubsub.topic(topicName, {
    batching: { maxMessages: 500, maxBytes: 4 * 1024 * 1024, maxMilliseconds: 10 },
    gaxOpts: { timeout: deadlineMs },
  });
  let pending = 0;
  const waiting: (() => void)[] = [];
  return {
    async publish({ device, topic: mqttTopic, payload }) {
      while (pending >= maxPending) await new Promise<void>((resolve) => waiting.push(resolve));
      pending++;
      try {
        await within(
          deadlineMs,
          topic.publishMessage({ data: payload, attributes: { deviceId: device, topic: mqttTopic } }),
        );
      } finally {
        pending--;
        waiting.shift()?.();
      }
    },
    pending: () => pending,
    async close() {
      await within(deadlineMs, topic.flush());
      await pubsub.close();
    },
  };
}

/** The SDK repeats a failing publish for ten minutes; the device has long sent it again by then. */
async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
