/** One connection to one broker: the outbox goes out with QoS 1, the desired state comes in. It never reconnects by itself. */
import { connectAsync, type MqttClient } from 'mqtt';
import { type DeviceEndpoint, type Dialect, dialectOf } from '../../model/device-endpoint.ts';
import type { JsonObject } from '../../model/service.ts';
import type { Outbox } from './outbox.ts';

export interface Identity {
  device: string;
  /** PEM. */
  certificate: string;
  /** PEM; never leaves the device. */
  key: string;
  /** Authorities built into it: PEM by SHA-256, hex. */
  authorities: ReadonlyMap<string, string>;
}

export interface SessionTimes {
  /** Longest that connecting takes. */
  connectMs: number;
  /** Longest that a broker may leave messages without an acknowledgement before it counts as gone. */
  acknowledgeMs: number;
}

/** Messages under way at once; the smallest of what the clouds allow is AWS IoT Core's 100. */
const window = 20;
/** Longest that the other side may take to hang up. */
const goodbyeMs = 5000;

export class Session {
  readonly #client: MqttClient;
  readonly #dialect: Dialect;
  readonly #outbox: Outbox;
  readonly #times: SessionTimes;
  readonly #underWay = new Map<string, true>();
  readonly #proved = Promise.withResolvers<boolean>();
  readonly #closed = Promise.withResolvers<void>();
  #leaving = false;
  #drained: (() => void) | undefined;
  #silence: NodeJS.Timeout | undefined;
  /** What came before somebody asked for it. */
  #desired: JsonObject | undefined;
  #onDesired: ((desired: JsonObject) => void) | undefined;
  readonly #onAcknowledged: (key: string) => void;

  static async open({
    endpoint,
    identity: { device, certificate, key, authorities },
    outbox,
    times,
    onAcknowledged,
  }: {
    endpoint: DeviceEndpoint;
    identity: Identity;
    outbox: Outbox;
    times: SessionTimes;
    onAcknowledged: (key: string) => void;
  }): Promise<Session> {
    const dialect = dialectOf(endpoint, device);
    const { host, port, authority } = endpoint;
    const address = endpoint.dialect === 'gcp' ? (endpoint.address ?? host) : host;
    const ca =
      authority === undefined
        ? [...authorities.values()]
        : [('pem' in authority ? authority.pem : authorities.get(authority.sha256)) ?? ''];
    const client = await connectAsync(
      `mqtts://${address}:${port}`,
      {
        servername: host,
        ca,
        cert: certificate,
        key,
        clientId: dialect.clientId,
        ...(dialect.username !== undefined && { username: dialect.username }),
        protocolVersion: 4,
        clean: true,
        reconnectPeriod: 0,
        connectTimeout: times.connectMs,
      },
      // A connection that is closed instead of answered is given up, too.
      false,
    );
    const session = new Session(client, dialect, outbox, times, onAcknowledged);
    try {
      await session.#begin();
    } catch (error) {
      // A broker that takes no subscription may have kept the connection.
      await client.endAsync(true);
      throw error;
    }
    return session;
  }

  private constructor(
    client: MqttClient,
    dialect: Dialect,
    outbox: Outbox,
    times: SessionTimes,
    onAcknowledged: (key: string) => void,
  ) {
    this.#client = client;
    this.#dialect = dialect;
    this.#outbox = outbox;
    this.#times = times;
    this.#onAcknowledged = onAcknowledged;
    client.on('error', () => {}); // what it leads to is `close`
    client.on('message', (topic, payload) => this.#message(topic, payload));
    client.once('close', () => {
      clearTimeout(this.#silence);
      this.#drained?.();
      this.#proved.resolve(false);
      this.#closed.resolve();
    });
  }

  /** True once the broker has acknowledged something, false where it was closed before. */
  get proved(): Promise<boolean> {
    return this.#proved.promise;
  }

  get closed(): Promise<void> {
    return this.#closed.promise;
  }

  /** Tells of the desired state, and of each change, from now on. */
  onDesired(tell: (desired: JsonObject) => void): void {
    this.#onDesired = tell;
    if (this.#desired) tell(this.#desired);
  }

  /** Sends what the outbox holds: after each message that was added. */
  send(): void {
    if (this.#leaving || !this.#client.connected) return;
    while (this.#underWay.size < window) {
      const message = this.#outbox.next(this.#underWay);
      if (!message) return;
      const { key, text } = message;
      this.#underWay.set(key, true);
      this.#client.publish(this.#dialect.telemetry, text, { qos: 1 }, (error) => {
        if (!error) this.#acknowledged(key);
      });
      if (!this.#silence) this.#listen();
    }
  }

  /** Once; what it says of itself is nothing that anybody waits for. */
  report(reported: JsonObject): void {
    const told = this.#dialect.report?.(reported);
    if (told) this.#client.publish(told.topic, JSON.stringify(told.message), { qos: 1 }, () => {});
  }

  /** Takes what is under way as it comes, for `drainMs` at the most, and says goodbye. */
  async leave(drainMs: number): Promise<void> {
    this.#leaving = true;
    if (this.#client.connected && this.#underWay.size > 0) {
      const late = setTimeout(() => this.#drained?.(), drainMs);
      await new Promise<void>((resolve) => {
        this.#drained = resolve;
      });
      clearTimeout(late);
    }
    const deaf = setTimeout(() => this.#client.stream.destroy(), goodbyeMs);
    await this.#client.endAsync(this.#underWay.size > 0 || !this.#client.connected);
    clearTimeout(deaf);
  }

  async #begin(): Promise<void> {
    const { subscriptions, ask } = this.#dialect;
    const cut = this.closed.then(() => Promise.reject(new Error('cut off while it subscribed')));
    cut.catch(() => {}); // also later than anybody waits for it
    await Promise.race([this.#client.subscribeAsync([...subscriptions], { qos: 1 }), cut]);
    if (ask !== undefined) this.#client.publish(ask, '', { qos: 0 });
    this.send();
  }

  #acknowledged(key: string): void {
    if (!this.#underWay.delete(key)) return;
    this.#outbox.remove(key);
    this.#onAcknowledged(key);
    this.#proved.resolve(true);
    clearTimeout(this.#silence);
    this.#silence = undefined;
    if (this.#underWay.size > 0) this.#listen();
    else this.#drained?.();
    this.send();
  }

  #listen(): void {
    this.#silence = setTimeout(() => this.#client.stream.destroy(), this.#times.acknowledgeMs);
  }

  #message(topic: string, payload: Buffer): void {
    const desired = this.#dialect.desired(topic, parsed(payload));
    if (!desired) return;
    this.#desired = { ...this.#desired, ...desired };
    this.#onDesired?.(desired);
  }
}

/** An object without properties where it is no JSON object: a device survives whatever it is told. */
function parsed(payload: Buffer): JsonObject {
  try {
    const value = JSON.parse(payload.toString('utf8'));
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : {};
  } catch {
    return {};
  }
}
