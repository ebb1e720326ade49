/**
 * A device that proves a core: made for one run with a key of its own, registered, connected over mutual TLS at the address
 * that real devices use, its message awaited behind the topic; then everything of it is taken away again.
 */
import { createHash, randomBytes, X509Certificate } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import type { Storage } from '@google-cloud/storage';
import mqtt from 'mqtt';
import { z } from 'zod';
import { deviceObject, type RegisteredDevice } from '../../../model/registered-device.ts';
import type { Health, Observed } from '../driver.ts';
import { abortable } from './compute-resource.ts';
import type { Rest } from './rest.ts';
import { type KeyPair, selfSigned } from './self-signed.ts';

export interface CanaryClients {
  storage: () => Storage;
  rest: Rest;
}

/** Names in the placement's project. */
export interface CanaryPlace {
  project: string;
  registry: string;
  topic: string;
}

const pubsub = 'https://pubsub.googleapis.com/v1';

export async function canary(
  { storage, rest }: CanaryClients,
  { project, registry, topic }: CanaryPlace,
  observed: Record<string, Observed>,
  signal: AbortSignal,
): Promise<Health> {
  const address = observed['forwarding-rule']?.outputs.address;
  const { certificate, serverName } = observed['server-key-pair']?.outputs ?? {};
  if (!address || !certificate || !serverName)
    return { healthy: false, detail: 'the core is not complete: deploy it first' };

  const id = `canary-${randomBytes(6).toString('hex')}`;
  const pair = await selfSigned({ commonName: id, usage: 'client', validMs: 3600 * 1000 });
  const device: RegisteredDevice = {
    v: 1,
    id,
    status: 'enabled',
    authentication: { type: 'thumbprint', thumbprints: [thumbprint(pair.cert)] },
    attributes: { purpose: 'canary' },
  };
  const object = storage().bucket(registry).file(deviceObject(id));
  const subscription = `${pubsub}/projects/${project}/subscriptions/${id}`;
  const payload = randomBytes(16).toString('hex');
  let step = 'being registered';
  try {
    // A subscription of its own, so that it takes no message from those who read the real one; it would expire after a day.
    const body = {
      topic: `projects/${project}/topics/${topic}`,
      filter: `attributes.deviceId = "${id}"`,
      expirationPolicy: { ttl: '86400s' },
      messageRetentionDuration: '600s',
    };
    await rest.call('PUT', subscription, { body, schema: z.unknown(), signal });
    const options = { resumable: false, preconditionOpts: { ifGenerationMatch: 0 } };
    await abortable(signal, object.save(JSON.stringify(device), options));
    step = 'connecting and publishing';
    await publish(
      { address, serverName, certificate },
      id,
      pair,
      { topic: `devices/${id}/telemetry/canary`, payload },
      signal,
    );
    step = 'waiting for its telemetry behind the topic';
    await arrival(rest, subscription, payload, signal);
    return { healthy: true, detail: 'a device connected over mutual TLS and its telemetry came out of Pub/Sub' };
  } catch (error) {
    return { healthy: false, detail: `the canary device failed while ${step} (${nameOf(error)})` };
  } finally {
    // Also when the time is up.
    const cleaning = AbortSignal.timeout(15_000);
    await asFarAsPossible(() => rest.remove(subscription, cleaning));
    await asFarAsPossible(async () => {
      // Every version of it: the registry's bucket keeps old ones.
      const [versions] = await object.bucket.getFiles({ prefix: object.name, versions: true });
      for (const version of versions) {
        const generation = Number(version.metadata.generation);
        await object.bucket.file(object.name, { generation }).delete({ ignoreNotFound: true });
      }
    });
  }
}

async function publish(
  { address, serverName, certificate }: { address: string; serverName: string; certificate: string },
  id: string,
  { cert, key }: KeyPair,
  { topic, payload }: { topic: string; payload: string },
  signal: AbortSignal,
): Promise<void> {
  const client = await abortable(
    signal,
    mqtt.connectAsync(
      `mqtts://${address}:8883`,
      {
        servername: serverName,
        ca: certificate,
        cert,
        key,
        clientId: id,
        reconnectPeriod: 0,
        connectTimeout: 10_000,
      },
      false,
    ),
  );
  try {
    await abortable(signal, client.publishAsync(topic, payload, { qos: 1 }));
  } finally {
    await client.endAsync(true);
  }
}

const Pulled = z.object({
  receivedMessages: z.array(z.object({ message: z.object({ data: z.string().default('') }) })).default([]),
});

async function arrival(rest: Rest, subscription: string, payload: string, signal: AbortSignal): Promise<void> {
  for (;;) {
    const body = { maxMessages: 10 };
    const { receivedMessages } = await rest.call('POST', `${subscription}:pull`, { body, schema: Pulled, signal });
    const texts = receivedMessages.map(({ message }) => Buffer.from(message.data, 'base64').toString('utf8'));
    if (texts.includes(payload)) return;
    await setTimeout(200, undefined, { signal });
  }
}

const thumbprint = (pem: string): string => createHash('sha256').update(new X509Certificate(pem).raw).digest('hex');

/** Taken away as far as possible: a failure here must not hide what the canary found. */
async function asFarAsPossible(step: () => Promise<unknown>): Promise<void> {
  await step().catch(() => {});
}

const nameOf = (error: unknown): string => {
  if (!(error instanceof Error)) return 'unknown';
  return 'code' in error ? `${error.name} ${String(error.code)}` : error.name;
};
