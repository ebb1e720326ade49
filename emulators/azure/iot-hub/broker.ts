/**
 * The devices' side of one hub: an MQTT 3.1.1 broker that knows only IoT Hub's own topics. Telemetry is durable before it is
 * acknowledged; a device that is disabled, deleted or connects twice loses its connection.
 */
import type { TLSSocket } from 'node:tls';
import { Aedes, type AuthenticateError, type Client, type PublishPacket, type Subscription } from 'aedes';
import type { Streams } from '../event-hubs/streams.ts';
import type { Bag, DeviceRecord, Value } from './device.ts';
import { refusal } from './device-login.ts';
import type { IotHub } from './entities.ts';
import type { Registry } from './registry.ts';
import { route } from './routing.ts';
import { report, withVersion } from './twin.ts';

const maxTelemetryBytes = 256 * 1024;

export class Broker {
  readonly #hub: () => IotHub | undefined;
  readonly #registry: Registry;
  readonly #streams: Streams;
  readonly #clients = new Map<string, { client: Client; topics: Set<string> }>();
  readonly #aedes: Promise<Aedes>;

  constructor(hub: () => IotHub | undefined, registry: Registry, streams: Streams) {
    this.#hub = hub;
    this.#registry = registry;
    this.#streams = streams;
    this.#aedes = this.#start();
    registry.watch(({ deviceId, before, after }) => {
      if (after?.status !== 'enabled' || credentials(before) !== credentials(after)) this.#cut(deviceId);
      else if (before && before.twin.desired.version !== after.twin.desired.version) this.#notify(before, after);
    });
  }

  async accept(socket: TLSSocket): Promise<void> {
    (await this.#aedes).handle(socket);
  }

  async close(): Promise<void> {
    const aedes = await this.#aedes;
    await new Promise<void>((resolve) => aedes.close(resolve));
  }

  async #start(): Promise<Aedes> {
    const aedes = await Aedes.createBroker({
      maxClientsIdLength: 128,
      authenticate: (client, username, password, done) => {
        const hub = this.#hub();
        const why = hub
          ? refusal(hub, this.#registry.get(client.id), {
              clientId: client.id,
              username,
              password: password?.toString(),
              socket: client.conn as TLSSocket,
            })
          : 'the hub was deleted';
        if (!why) return done(null, true);
        const code = 5; // not authorized
        done(Object.assign(new Error(why), { returnCode: code }) as AuthenticateError, false);
      },
      authorizePublish: (client, packet, done) => {
        if (!client) return done();
        const failed = this.#receive(client, packet);
        // The service ends the connection of a device that breaks its rules; an error here does just that.
        done(failed === undefined ? undefined : new Error(failed));
      },
      authorizeSubscribe: (client, subscription, done) => {
        const { topic } = subscription;
        if (!subscribable(topic, client.id)) return done(null, null);
        this.#clients.get(client.id)?.topics.add(topic);
        const granted: Subscription = { ...subscription, qos: subscription.qos === 2 ? 1 : subscription.qos };
        done(null, granted);
      },
    });
    aedes.on('client', (client) => {
      this.#clients.set(client.id, { client, topics: new Set() });
      this.#registry.seen(client.id, true);
    });
    aedes.on('clientDisconnect', (client) => {
      if (this.#clients.get(client.id)?.client !== client) return;
      this.#clients.delete(client.id);
      if (this.#registry.get(client.id)) this.#registry.seen(client.id, false);
    });
    return aedes;
  }

  /** Why the packet is not taken, or undefined. */
  #receive(client: Client, packet: PublishPacket): string | undefined {
    const hub = this.#hub();
    const device = this.#registry.get(client.id);
    if (!hub || !device) return 'the device or its hub is gone';
    if (packet.qos === 2) return 'QoS 2 is not supported';
    const payload = Buffer.from(packet.payload);
    const telemetry = `devices/${client.id}/messages/events/`;
    this.#registry.seen(client.id, true);
    if (packet.topic.startsWith(telemetry) || `${packet.topic}/` === telemetry) {
      if (payload.length > maxTelemetryBytes) return 'the message is larger than 256 KB';
      const properties = bagOf(packet.topic.slice(telemetry.length));
      // Retained messages do not exist here: the flag becomes a property.
      route(hub, this.#streams, device, {
        payload,
        properties: packet.retain ? { ...properties, 'x-opt-retain': 'true' } : properties,
      });
      packet.retain = false;
      return undefined;
    }
    const [, action, id] =
      /^\$iothub\/twin\/(GET|PATCH\/properties\/reported)\/\?\$rid=([^&]+)/.exec(packet.topic) ?? [];
    if (!action || id === undefined) return `the topic ${packet.topic} is not one of the hub's`;
    if (action === 'GET') {
      const { desired, reported } = device.twin;
      const body = `{"desired":${withVersion(desired.values, desired.version)},"reported":${withVersion(reported.values, reported.version)}}`;
      this.#answer(client, `$iothub/twin/res/200/?$rid=${id}`, body);
      return undefined;
    }
    const patch = parseBag(payload);
    if (!patch) {
      this.#answer(client, `$iothub/twin/res/400/?$rid=${id}`, '');
      return undefined;
    }
    const after = report(device, patch);
    this.#registry.write([{ deviceId: device.deviceId, after }]);
    this.#answer(client, `$iothub/twin/res/204/?$rid=${id}&$version=${after.twin.reported.version}`, '');
    return undefined;
  }

  #notify(before: DeviceRecord, after: DeviceRecord): void {
    const known = this.#clients.get(after.deviceId);
    if (!known) return;
    const { desired } = after.twin;
    const patch = difference(before.twin.desired.values, desired.values);
    const topic = `$iothub/twin/PATCH/properties/desired/?$version=${desired.version}`;
    this.#answer(known.client, topic, withVersion(patch, desired.version));
  }

  /**
   * Topics of answers are the same for every device, so they go to the one client, and only if it asked for them. No device
   * can publish to a topic that another may subscribe to.
   */
  #answer(client: Client, topic: string, payload: string): void {
    const topics = this.#clients.get(client.id)?.topics ?? new Set();
    if (![...topics].some((filter) => topic.startsWith(filter.replace(/#$/, '')))) return;
    client.publish({ cmd: 'publish', topic, payload, qos: 0, retain: false, dup: false }, () => {});
  }

  #cut(deviceId: string): void {
    this.#clients.get(deviceId)?.client.close();
  }
}

const credentials = (record: DeviceRecord | undefined): string | undefined =>
  record && JSON.stringify(record.authentication);

const subscribable = (topic: string, deviceId: string): boolean =>
  [
    `devices/${deviceId}/messages/devicebound/#`,
    '$iothub/twin/res/#',
    '$iothub/twin/PATCH/properties/desired/#',
    '$iothub/methods/POST/#',
  ].includes(topic);

/** `a=1&$.ct=application%2Fjson`, as it stands at the end of the telemetry topic. */
const bagOf = (text: string): Record<string, string> =>
  Object.fromEntries([...new URLSearchParams(text.replace(/^\?/, '').replaceAll('+', '%2B'))]);

function parseBag(payload: Buffer): Bag | undefined {
  try {
    const value = JSON.parse(payload.toString('utf8')) as Value;
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** The merge patch that leads from one to the other; only its top level is fine-grained, which devices treat alike. */
function difference(before: Bag, after: Bag): Bag {
  const removed = Object.keys(before).filter((name) => !Object.hasOwn(after, name));
  const changed = Object.entries(after).filter(
    ([name, value]) => JSON.stringify(before[name]) !== JSON.stringify(value),
  );
  return { ...Object.fromEntries(changed), ...Object.fromEntries(removed.map((name) => [name, null])) };
}
