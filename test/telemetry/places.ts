/** Telemetry streams on the three local clouds, filled by devices: over MQTT, and where the broker publishes, as it does. */
import { randomBytes } from 'node:crypto';
import { v1 } from '@google-cloud/pubsub';
import mqtt from 'mqtt';
import type { TelemetryStream } from '../../client/telemetry.ts';
import { subscriptionStream } from '../../client/telemetry-streams.ts';
import { accounts } from '../../emulators/environment.ts';
import { dialectOf } from '../../model/device-endpoint.ts';
import type { Placement, ProviderType } from '../../model/service.ts';
import { forwardMark } from '../../model/telemetry-pump.ts';
import type { PlacementRef } from '../../model/transfer.ts';
import { testProviders } from '../conformance/providers.ts';
import { devices, estate, place } from '../device-agent/places.ts';
import { madeBy, pool } from '../transfer/stores.ts';

export interface TelemetryPlace {
  placement: PlacementRef;
  /** What programs read. */
  stream: TelemetryStream;
  /** Names of devices that are registered here. */
  devices: string[];
  /** Publishes all messages of each device, QoS 1. */
  publish(messages: ReadonlyMap<string, readonly string[]>): Promise<void>;
  close(): Promise<void>;
}

const uid = randomBytes(16).toString('hex');
const count = 8;

/** With a registry, and devices that hold their connections. */
async function withDevices(type: 'aws' | 'azure'): Promise<TelemetryPlace> {
  const at = await place(type, uid);
  const all = await devices(count, `${type}-${randomBytes(3).toString('hex')}`);
  const connected = new Map(
    await Promise.all(
      all.map(async (device) => {
        await at.register(device);
        const { clientId, username, telemetry } = dialectOf(at.endpoint, device.id);
        // Devices write properties here as they like.
        const topic = type === 'azure' ? `${telemetry}&${forwardMark}=another` : telemetry;
        const client = await mqtt.connectAsync(`mqtts://${at.endpoint.host}:${at.endpoint.port}`, {
          clientId,
          ...(username && { username }),
          ...device.pair,
          reconnectPeriod: 0,
        });
        return [device.id, { client, topic }] as const;
      }),
    ),
  );
  return {
    placement: at.placement,
    stream: at.stream,
    devices: all.map(({ id }) => id),
    async publish(messages) {
      await Promise.all(
        [...messages].map(async ([device, texts]) => {
          const { client, topic } = connected.get(device) ?? {};
          if (!client || !topic) throw new Error(`${device} is not connected`);
          for (let start = 0; start < texts.length; start += 20)
            await Promise.all(
              texts.slice(start, start + 20).map((text) => client.publishAsync(topic, text, { qos: 1 })),
            );
        }),
      );
    },
    async close() {
      for (const { client } of connected.values()) await client.endAsync(true);
      await at.close();
    },
  };
}

/** Topic and subscription alone. */
async function withBroker(): Promise<TelemetryPlace> {
  const { region, account } = testProviders.gcp;
  const placement: Placement = {
    owner: { estate, uid, service: 'iot_core', controller: 'test', generation: 1 },
    type: 'iot_core',
    provider: 'gcp',
    providerType: 'gcp',
    region,
    account,
    configuration: { device_count: 1000, message_rate: 100, retention_days: 1 },
  };
  const made = await madeBy(await pool.get('gcp'), placement, (key) => ['telemetry', 'subscription'].includes(key));
  const output = (key: string, name: string): string =>
    made.resources.find((resource) => resource.key === key)?.outputs[name] ?? '';
  const project = { projectId: accounts.gcp, keyFilename: process.env.GCP_KEY_FILE ?? '', fallback: true };
  const [publisher, subscriber] = [new v1.PublisherClient(project), new v1.SubscriberClient(project)];
  return {
    placement: made,
    stream: subscriptionStream({ subscriber, subscription: output('subscription', 'subscription') }),
    devices: Array.from({ length: count }, (_, n) => `gcp-${uid.slice(0, 6)}-${n + 1}`),
    async publish(all) {
      for (const [deviceId, texts] of all) {
        const attributes = { deviceId, topic: `devices/${deviceId}/telemetry` };
        const messages = texts.map((text) => ({ data: Buffer.from(text), attributes }));
        await publisher.publish({ topic: output('telemetry', 'topic'), messages });
      }
    },
    async close() {
      await publisher.close();
      await subscriber.close();
    },
  };
}

export const telemetryPlace = (type: ProviderType): Promise<TelemetryPlace> =>
  type === 'gcp' ? withBroker() : withDevices(type);
