/**
 * The proof that iot_core works: a device that exists for seconds connects with a certificate whose key never leaves this
 * process, publishes, and its message comes out of the event hub at the other end.
 */
import 'reflect-metadata';
import { createHash, randomUUID, webcrypto } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import { EventHubConsumerClient } from '@azure/event-hubs';
import type { TokenCredential } from '@azure/identity';
import * as x509 from '@peculiar/x509';
import iothub from 'azure-iothub';
import mqtt from 'mqtt';
import type { Health } from '../driver.ts';
import { closeSoon } from './event-hubs.ts';

export interface CanaryTarget {
  hubHost: string;
  namespaceHost: string;
  eventHub: string;
  consumerGroup: string;
}

const minute = 60_000;
const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

async function makeIdentity(deviceId: string): Promise<{ cert: string; key: string; thumbprint: string }> {
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const cert = await x509.X509CertificateGenerator.createSelfSigned({
    name: `CN=${deviceId}`,
    keys,
    signingAlgorithm: algorithm,
    notBefore: new Date(Date.now() - 60 * minute),
    notAfter: new Date(Date.now() + 60 * minute),
  });
  const key = await webcrypto.subtle.exportKey('pkcs8', keys.privateKey);
  return {
    cert: cert.toString('pem'),
    key: x509.PemConverter.encode(key, 'PRIVATE KEY'),
    thumbprint: createHash('sha256').update(new Uint8Array(cert.rawData)).digest('hex').toUpperCase(),
  };
}

/** Runs it again while the answer is "unauthorized": a role assignment takes minutes to reach every data plane. */
async function onceAllowed<T>(step: () => Promise<T>, signal: AbortSignal): Promise<T> {
  for (;;) {
    try {
      return await step();
    } catch (error) {
      if (!(error instanceof Error) || !/unauthorized/i.test(error.name) || signal.aborted) throw error;
      await setTimeout(2_000, undefined, { signal });
    }
  }
}

export async function deviceCanary(
  target: CanaryTarget,
  credential: TokenCredential,
  signal: AbortSignal,
): Promise<Health> {
  if (!target.hubHost || !target.namespaceHost)
    return { healthy: false, detail: 'the hub or its stream does not exist' };
  const deviceId = `multi-cloud-canary-${randomUUID().slice(0, 8)}`;
  const registry = iothub.Registry.fromTokenCredential(target.hubHost, credential);
  const started = Date.now();
  let step = 'register a device';
  try {
    const { cert, key, thumbprint } = await makeIdentity(deviceId);
    await onceAllowed(
      () =>
        registry.create({
          deviceId,
          status: 'enabled',
          authentication: {
            type: 'selfSigned',
            x509Thumbprint: { primaryThumbprint: thumbprint, secondaryThumbprint: thumbprint },
          },
        }),
      signal,
    );
    step = 'connect and publish';
    await publish(target.hubHost, deviceId, { cert, key }, signal);
    step = 'receive the telemetry';
    await received(target, credential, deviceId, started, signal);
    return { healthy: true, detail: `a device's telemetry came through in ${Date.now() - started} ms` };
  } catch (error) {
    // The name only: an SDK's message may quote tokens.
    const why = signal.aborted ? 'ran out of time' : error instanceof Error ? error.name : 'failed';
    return { healthy: false, detail: `the canary device could not ${step}: ${why}` };
  } finally {
    await registry.delete(deviceId).catch(() => undefined);
  }
}

async function publish(
  host: string,
  deviceId: string,
  identity: { cert: string; key: string },
  signal: AbortSignal,
): Promise<void> {
  const client = await mqtt.connectAsync(`mqtts://${host}:8883`, {
    clientId: deviceId,
    username: `${host}/${deviceId}/?api-version=2021-04-12`,
    ...identity,
    servername: host,
    protocolVersion: 4,
    reconnectPeriod: 0,
    connectTimeout: 20_000, // bounds the wait, where the signal cannot
  });
  try {
    signal.throwIfAborted();
    const topic = `devices/${deviceId}/messages/events/$.ct=application%2Fjson&$.ce=utf-8`;
    await client.publishAsync(topic, JSON.stringify({ canary: deviceId }), { qos: 1 });
  } finally {
    await client.endAsync(true);
  }
}

async function received(
  target: CanaryTarget,
  credential: TokenCredential,
  deviceId: string,
  since: number,
  signal: AbortSignal,
): Promise<void> {
  const consumer = new EventHubConsumerClient(target.consumerGroup, target.namespaceHost, target.eventHub, credential);
  const found = Promise.withResolvers<void>();
  const stop = (): void => found.reject(signal.reason);
  signal.addEventListener('abort', stop, { once: true });
  const subscription = consumer.subscribe(
    {
      processEvents: async (events) => {
        if (events.some(({ systemProperties }) => systemProperties?.['iothub-connection-device-id'] === deviceId))
          found.resolve();
      },
      // The client goes on by itself; what lasts shows as running out of time.
      processError: async () => {},
    },
    // The cloud's clock need not be ours.
    { startPosition: { enqueuedOn: since - 5 * minute }, maxWaitTimeInSeconds: 1 },
  );
  try {
    await found.promise;
  } finally {
    signal.removeEventListener('abort', stop);
    await closeSoon(subscription, consumer);
  }
}
