/** Who reads a service's telemetry as a consumer should: the stream of its current placement, and each message once. */
import { setTimeout } from 'node:timers/promises';
import { SQSClient } from '@aws-sdk/client-sqs';
import { EventHubConsumerClient } from '@azure/event-hubs';
import { ClientSecretCredential } from '@azure/identity';
import { v1 } from '@google-cloud/pubsub';
import type { EstateClient } from '../../client/index.ts';
import { Repeats } from '../../client/repeats.ts';
import { readTelemetry, type TelemetryStream } from '../../client/telemetry.ts';
import { eventHubStream, queueStream, subscriptionStream } from '../../client/telemetry-streams.ts';
import { accounts, azureApplication } from '../../emulators/environment.ts';
import type { RecordedPlacement } from '../../model/record.ts';

/** A consumer goes to the next stream and reads the one before to its end. */
const overlapMs = 5000;

interface Stream {
  stream: TelemetryStream;
  close(): Promise<void>;
}

export function streamOf({ providerType, region, resources }: RecordedPlacement): Stream {
  const output = (key: string, name: string): string =>
    resources.find((resource) => resource.key === key)?.outputs[name] ?? '';
  switch (providerType) {
    case 'aws': {
      const sqs = new SQSClient({ region });
      return { stream: queueStream({ sqs, queueUrl: output('telemetry', 'url') }), close: async () => sqs.destroy() };
    }
    case 'azure': {
      const { tenant, client, secret } = azureApplication;
      const consumer = new EventHubConsumerClient(
        output('stream-readers', 'group'),
        output('stream', 'namespace'),
        output('stream', 'hub'),
        new ClientSecretCredential(tenant, client, secret),
      );
      return { stream: eventHubStream({ consumer, from: new Date(0) }), close: () => consumer.close() };
    }
    case 'gcp': {
      const project = { projectId: accounts.gcp, keyFilename: process.env.GCP_KEY_FILE ?? '' };
      const subscriber = new v1.SubscriberClient({ ...project, fallback: true });
      const subscription = output('subscription', 'subscription');
      return { stream: subscriptionStream({ subscriber, subscription }), close: () => subscriber.close() };
    }
  }
}

export class FleetReader {
  /** How often each message came behind the helper, by key. */
  readonly delivered = new Map<string, number>();
  readonly #estate: EstateClient;
  readonly #service: string;
  readonly #stopped = new AbortController();
  readonly #repeats = new Repeats();
  readonly #running: Promise<void>;

  constructor(estate: EstateClient, service: string) {
    this.#estate = estate;
    this.#service = service;
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const ending: Promise<void>[] = [];
    let at: { provider: string; stop: AbortController } | undefined;
    while (!this.#stopped.signal.aborted) {
      const record = await this.#estate.service(this.#service);
      const current = record?.placements.find(({ role }) => role === 'current');
      if (current && current.provider !== at?.provider) {
        const before = at?.stop;
        if (before) ending.push(setTimeout(overlapMs).then(() => before.abort()));
        const stop = new AbortController();
        at = { provider: current.provider, stop };
        ending.push(this.#read(streamOf(current), stop.signal));
      }
      await setTimeout(200);
    }
    at?.stop.abort();
    await Promise.all(ending);
  }

  async #read({ stream, close }: Stream, signal: AbortSignal): Promise<void> {
    await readTelemetry({
      ...{ stream, repeats: this.#repeats, signal: AbortSignal.any([signal, this.#stopped.signal]) },
      onMessage: ({ key }) => void this.delivered.set(key, (this.delivered.get(key) ?? 0) + 1),
    });
    await close();
  }
}
