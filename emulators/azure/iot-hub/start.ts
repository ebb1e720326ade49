/** Starts the data planes of IoT Hub and Event Hubs over what the ARM core holds. */
import { createServer } from 'node:http';
import { join } from 'node:path';
import type { Listener } from '../../local-cloud.ts';
import type { ArmReader } from '../arm/kind.ts';
import { AmqpServer } from '../event-hubs/amqp-server.ts';
import type { EntraTokens } from '../event-hubs/entities.ts';
import { Streams } from '../event-hubs/streams.ts';
import { eventHubDirectory, hubDirectory } from './directory.ts';
import { Hubs } from './hubs.ts';
import { MqttListener } from './mqtt-listener.ts';
import { serviceApi } from './service-api.ts';

export interface IotSettings {
  arm: ArmReader;
  entra: EntraTokens;
  /** Folder of its own. */
  state: string;
  certificates: string;
  /** Three free ports from here on. */
  port: number;
}

export interface IotServices {
  listeners: Listener[];
  /** Number of identities in a hub's registry, by its `registryId`: what ARM's IotHubStats shows. */
  devices(registryId: string): { total: number; disabled: number };
  /** Deletes the messages of a deleted event hub, by its `streamId`. */
  dropStream(streamId: string): void;
  /** Deletes the registry of a deleted IoT hub and cuts its devices. */
  dropHub(registryId: string): Promise<void>;
}

export async function startIotServices({ arm, entra, state, certificates, port }: IotSettings): Promise<IotServices> {
  const streams = new Streams(join(state, 'streams'));
  const hubs = new Hubs(join(state, 'hubs'));
  const directory = hubDirectory(arm);
  const amqp = new AmqpServer(eventHubDirectory(arm), streams, entra);
  const mqtt = new MqttListener(directory, hubs, streams, certificates);
  const answer = serviceApi(directory, hubs, entra);
  const http = createServer((request, response) => void answer(request, response));
  // The gateway keeps connections; one that ends just as it is used again would fail a call for no reason.
  http.keepAliveTimeout = 120_000;
  await Promise.all([
    new Promise<void>((resolve) => http.listen(port, '127.0.0.1', resolve)),
    mqtt.listen(port + 1),
    amqp.listen(port + 2),
  ]);
  return {
    listeners: [
      { name: 'iot-hub', hosts: ['*.azure-devices.net'], port: 443, protocol: 'http', to: port },
      { name: 'iot-hub-mqtt', hosts: ['*.azure-devices.net'], port: 8883, protocol: 'tls', to: port + 1 },
      { name: 'event-hubs', hosts: ['*.servicebus.windows.net'], port: 5671, protocol: 'tcp', to: port + 2 },
    ],
    devices(registryId) {
      const registry = hubs.registry({ id: registryId });
      const enabled = registry.page(0, Number.POSITIVE_INFINITY, ({ status }) => status === 'enabled').records.length;
      return { total: registry.size, disabled: registry.size - enabled };
    },
    dropStream(streamId) {
      amqp.drop(streamId);
      streams.drop(streamId);
    },
    async dropHub(registryId) {
      await mqtt.drop(registryId);
      hubs.drop(registryId);
    },
  };
}
