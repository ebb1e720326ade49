/**
 * The MQTT broker of one instance: MQTT 3.1.1 over mutual TLS. A device is who its certificate says, as far as the registry
 * agrees; what it publishes with QoS 1 is acknowledged once Pub/Sub has it, so a broker that dies loses nothing that a
 * device believes delivered.
 */
import { constants, X509Certificate } from 'node:crypto';
import http from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import tls from 'node:tls';
import { Aedes, type AedesOptions, type Client } from 'aedes';
import { DeviceId, type RegisteredDevice } from '../model/registered-device.ts';
import { configurationTopic, maySubscribe, publishChannel } from './access.ts';
import type { ServerKeyPair } from './configuration.ts';
import { log, reason } from './log.ts';
import { newborn } from './newborns.ts';
import type { Registry } from './registry.ts';
import type { Telemetry } from './telemetry.ts';

export interface BrokerSettings {
  server: ServerKeyPair;
  deviceAuthority: string | undefined;
  /** PEM of the authority whose devices are registered when they first connect. */
  justInTimeAuthority?: string | undefined;
  host: string;
  mqttPort: number;
  healthPort: number;
  registryScanMs: number;
}

export interface Broker {
  /** Ports it listens on; differ from the settings where those say 0. */
  readonly mqttPort: number;
  readonly healthPort: number;
  /** From now on not healthy; connections stay. */
  drain(): void;
  /** Ends connections and listeners, then hands over what is still on its way. */
  close(): Promise<void>;
}

/** CONNACK return codes of MQTT 3.1.1. */
const serverUnavailable = 3;
const notAuthorized = 5;
/** More than any handshake with a certificate chain and a CONNECT packet take. */
const maxUnknownBytes = 256 * 1024;

const refusal = (returnCode: number, text: string): Error & { returnCode: number } =>
  Object.assign(new Error(text), { returnCode });

interface Connection {
  client: Client;
  generation: string | undefined;
  socket: tls.TLSSocket;
  /** It has asked for its desired state. */
  listens: boolean;
  /** The desired state that it was told last. */
  told: string;
}

/** What a scan has found for a device that is connected, and when it was written. */
interface News {
  id: string;
  session: Connection;
  device: RegisteredDevice | undefined;
  at: number;
}

export async function startBroker(settings: BrokerSettings, registry: Registry, telemetry: Telemetry): Promise<Broker> {
  /** Connected devices, and the generation of the registry object at the scan that saw them first. */
  const connected = new Map<string, Connection>();
  const sockets = new Set<tls.TLSSocket>();
  /** Connected, but not yet known to be a device. */
  const strangers = new Set<tls.TLSSocket>();
  let draining = false;

  const options: AedesOptions = {
    /** Packets of one device that are worked on at once; beyond it the socket is not read. */
    concurrency: 100,
    maxTopicLevels: 16,
    authenticate: (client, _username, _password, done) => {
      authenticate(client).then(
        (problem) => done(problem ? (refusal(notAuthorized, problem) as never) : null, !problem),
        (error) => {
          log('WARNING', 'the registry cannot be read', { device: client.id, reason: reason(error) });
          done(refusal(serverUnavailable, 'registry') as never, false);
        },
      );
    },
    // aedes acknowledges a QoS 1 publish after this hook and before it forwards the message: this is the place to wait for Pub/Sub.
    authorizePublish: (client, packet, done) => {
      const device = client?.id;
      const channel = device === undefined ? undefined : publishChannel(device, packet.topic);
      if (device === undefined || channel === undefined) return done(new Error('topic not allowed'));
      // Exactly-once cannot be promised through Pub/Sub, so it is refused, as the IoT services of other clouds do.
      if (packet.qos === 2) return done(new Error('QoS 2 is not supported'));
      packet.retain = false;
      telemetry.publish({ device, topic: packet.topic, payload: Buffer.from(packet.payload) }).then(
        () => done(null),
        (error) => {
          log('WARNING', 'Pub/Sub did not take a message over', { device, reason: reason(error) });
          // Not acknowledged: the device connects again and sends it again.
          done(packet.qos === 0 ? null : new Error('not delivered'));
        },
      );
    },
    authorizeSubscribe: (client, subscription, done) =>
      maySubscribe(client.id, subscription.topic) ? done(null, subscription) : done(null, null),
  };

  async function authenticate(client: Client): Promise<string | undefined> {
    const socket = socketOf(client);
    const certificate = socket.getPeerCertificate();
    const id = client.id;
    if (!DeviceId.safeParse(id).success) return 'malformed client ID';
    if (certificate.subject?.CN !== id) return 'the client ID is not the common name of the certificate';
    if (Date.parse(certificate.valid_to) < Date.now()) return 'the certificate has expired';
    const device = (await registry.find(id)) ?? (await born(id, socket));
    if (!device) return 'unknown device';
    return judge(device, certificate.fingerprint256, socket.authorized && settings.deviceAuthority !== undefined);
  }

  const { justInTimeAuthority } = settings;
  const authority = justInTimeAuthority === undefined ? undefined : new X509Certificate(justInTimeAuthority);
  async function born(id: string, socket: tls.TLSSocket): Promise<RegisteredDevice | undefined> {
    const certificate = socket.getPeerX509Certificate();
    const device = authority && certificate && newborn(id, certificate, authority);
    const registered = device && (await registry.register(device));
    if (registered) log('INFO', 'device registered at its first connection', { device: id });
    return registered;
  }

  const aedes = await Aedes.createBroker(options);
  aedes.on('clientReady', (client) => {
    strangers.delete(socketOf(client));
    connected.set(client.id, { client, generation: undefined, socket: socketOf(client), listens: false, told: '' });
    log('INFO', 'device connected', { device: client.id });
  });
  aedes.on('clientDisconnect', (client) => {
    if (connected.get(client.id)?.client === client) connected.delete(client.id);
    log('INFO', 'device disconnected', { device: client.id });
  });
  aedes.on('subscribe', (subscriptions, client) => {
    const connection = connected.get(client.id);
    if (connection?.client !== client) return;
    if (!subscriptions.some(({ topic }) => topic === configurationTopic(client.id))) return;
    connection.listens = true;
    connection.told = '';
    registry.find(client.id).then(
      (device) => {
        tellDesired(connection, device);
        // A scan may have told something newer meanwhile: the next one looks again.
        connection.generation = undefined;
      },
      (error) => log('WARNING', 'the registry cannot be read', { device: client.id, reason: reason(error) }),
    );
  });
  aedes.on('clientError', (client, error) =>
    log('INFO', 'device cut off', { device: client.id, reason: error.message }),
  );
  aedes.on('connectionError', (client, error) =>
    log('INFO', 'connection refused', { device: String(client.id ?? ''), reason: error.message }),
  );

  const mqtt = tls.createServer(
    {
      ...settings.server,
      minVersion: 'TLSv1.2',
      requestCert: true,
      // Judged after the handshake: a self-signed certificate is fine when the registry names its thumbprint.
      rejectUnauthorized: false,
      // A set of its own even when empty: otherwise any public authority could vouch for a device.
      ca: settings.deviceAuthority ? [settings.deviceAuthority] : [],
      // A resumed session carries no certificate.
      secureOptions: constants.SSL_OP_NO_TICKET,
      handshakeTimeout: 10_000,
    },
    (socket) => {
      sockets.add(socket);
      strangers.add(socket);
      socket.on('close', () => {
        sockets.delete(socket);
        strangers.delete(socket);
      });
      socket.on('error', () => socket.destroy());
      if (Object.keys(socket.getPeerCertificate()).length === 0) socket.destroy();
      else aedes.handle(socket);
    },
  );

  // A CONNECT packet may say that it is 256 MiB long, and the parser would wait for all of it.
  const guard = setInterval(() => {
    for (const socket of strangers) if (socket.bytesRead > maxUnknownBytes) socket.destroy();
  }, 100);

  /** Cuts off devices that were disabled, removed or given other keys since they connected; tells the others what they are to be like. */
  async function scan(): Promise<void> {
    if (connected.size === 0) return;
    const before = listedAt;
    listedAt = performance.now();
    const versions = await registry.versions();
    const news: News[] = [];
    try {
      for (const [id, session] of connected) {
        const version = versions.get(id);
        if (version && version.generation === session.generation) continue;
        const device = version && (await registry.find(id));
        const { socket } = session;
        if (socket.destroyed || connected.get(id) !== session) continue; // it has gone meanwhile
        const problem = device
          ? judge(
              device,
              socket.getPeerCertificate().fingerprint256,
              socket.authorized && settings.deviceAuthority !== undefined,
            )
          : 'removed';
        if (problem) {
          log('INFO', 'device cut off', { device: id, reason: problem });
          session.client.close();
        } else if (version) {
          session.generation = version.generation;
          if (hasNews(session, device)) news.push({ id, session, device, at: version.at });
        }
      }
    } finally {
      // Also where the registry stops to answer: the next scan takes these for told.
      const withinMs = Math.max(settings.registryScanMs, listedAt - before);
      telling = telling.then(() => spread(news, withinMs));
    }
  }
  let listedAt = performance.now();
  let telling: Promise<void> = Promise.resolve();

  /** Tells devices as far apart as it was written: what may send them elsewhere must not reach all that a scan has found at once. */
  async function spread(news: News[], withinMs: number): Promise<void> {
    news.sort((a, b) => a.at - b.at);
    const [first, last] = [news[0]?.at ?? 0, news.at(-1)?.at ?? 0];
    const shrink = Math.min(1, withinMs / Math.max(1, last - first));
    const began = performance.now();
    for (const { id, session, device, at } of news) {
      const pause = began + (at - first) * shrink - performance.now();
      if (pause > 0) await sleep(pause);
      if (draining) return;
      if (connected.get(id) === session) tellDesired(session, device);
    }
  }

  let scanning = false;
  const timer = setInterval(() => {
    if (scanning) return;
    scanning = true;
    scan()
      .catch((error) => log('WARNING', 'the registry cannot be looked through', { reason: reason(error) }))
      .finally(() => {
        scanning = false;
      });
  }, settings.registryScanMs);

  const health = http.createServer((request, response) => {
    const ok = request.url === '/healthz' && !draining;
    const body = { status: draining ? 'draining' : 'serving', connected: connected.size, pending: telemetry.pending() };
    response.writeHead(request.url === '/healthz' ? (ok ? 200 : 503) : 404, { 'content-type': 'application/json' });
    response.end(JSON.stringify(body));
  });

  const listen = (server: tls.Server | http.Server, port: number): Promise<number> =>
    new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, settings.host, () => {
        const address = server.address();
        resolve(typeof address === 'object' && address ? address.port : port);
      });
    });
  const mqttPort = await listen(mqtt, settings.mqttPort);
  const healthPort = await listen(health, settings.healthPort);

  return {
    mqttPort,
    healthPort,
    drain() {
      draining = true;
    },
    async close() {
      draining = true;
      clearInterval(timer);
      clearInterval(guard);
      mqtt.close();
      await new Promise<void>((resolve) => aedes.close(() => resolve()));
      for (const socket of sockets) socket.destroy();
      await telemetry.close();
      health.close();
      health.closeAllConnections();
    },
  };
}

const desiredOf = (device: RegisteredDevice | undefined): string => JSON.stringify(device?.desired ?? {});

const hasNews = ({ listens, told }: Connection, device: RegisteredDevice | undefined): boolean =>
  listens && told !== desiredOf(device);

/** To the machine that holds its connection, each registry scan brings what has changed. */
function tellDesired(connection: Connection, device: RegisteredDevice | undefined): void {
  if (!hasNews(connection, device)) return;
  const payload = desiredOf(device);
  connection.told = payload;
  const { client } = connection;
  const topic = configurationTopic(client.id);
  client.publish({ cmd: 'publish', topic, payload, qos: 1, retain: false, dup: false }, () => {});
}

/** Why a device may not be connected, or undefined where it may. */
function judge(device: RegisteredDevice, fingerprint: string, signedByAuthority: boolean): string | undefined {
  if (device.status !== 'enabled') return 'disabled';
  if (device.authentication.type === 'authority')
    return signedByAuthority ? undefined : 'not signed by the device authority';
  const thumbprint = fingerprint.replaceAll(':', '').toLowerCase();
  return device.authentication.thumbprints.includes(thumbprint) ? undefined : 'unknown certificate';
}

/** Only TLS connections are handed to the broker (see `tls.createServer` above). */
function socketOf({ conn }: Client): tls.TLSSocket {
  if (conn instanceof tls.TLSSocket) return conn;
  throw new TypeError('a connection that did not come over TLS');
}
