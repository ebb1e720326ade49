/** Port 8883 of all hubs: ends TLS itself, since devices prove themselves by client certificates; SNI tells the hub. */
import { createSecureContext, createServer, type SecureContext, type Server, type TLSSocket } from 'node:tls';
import { authority, issueCertificate } from '../../certificates.ts';
import type { Streams } from '../event-hubs/streams.ts';
import { Broker } from './broker.ts';
import type { HubDirectory } from './entities.ts';
import type { Hubs } from './hubs.ts';

export class MqttListener {
  readonly #directory: HubDirectory;
  readonly #hubs: Hubs;
  readonly #streams: Streams;
  readonly #certificates: string;
  readonly #contexts = new Map<string, Promise<SecureContext>>();
  readonly #brokers = new Map<string, Broker>();

  constructor(directory: HubDirectory, hubs: Hubs, streams: Streams, certificates: string) {
    this.#directory = directory;
    this.#hubs = hubs;
    this.#streams = streams;
    this.#certificates = certificates;
  }

  listen(port: number): Promise<Server> {
    const server = createServer(
      {
        minVersion: 'TLSv1.2',
        requestCert: true,
        // Devices bring self-signed certificates; which one is theirs is judged when they log in.
        rejectUnauthorized: false,
        SNICallback: (name, done) => {
          this.#context(name.toLowerCase()).then((context) => done(null, context), done);
        },
      },
      (socket) => {
        this.#accept(socket).catch(() => socket.destroy());
      },
    );
    server.on('tlsClientError', () => {});
    return new Promise((resolve) => server.listen(port, '127.0.0.1', () => resolve(server)));
  }

  /** Cuts the devices of a deleted hub. */
  async drop(id: string): Promise<void> {
    const broker = this.#brokers.get(id);
    this.#brokers.delete(id);
    await broker?.close();
  }

  async close(): Promise<void> {
    await Promise.all([...this.#brokers.values()].map((broker) => broker.close()));
  }

  async #accept(socket: TLSSocket): Promise<void> {
    socket.on('error', () => socket.destroy());
    const name = socket.servername;
    const host = typeof name === 'string' ? name.toLowerCase() : '';
    const hub = this.#directory.find(host);
    if (!hub) {
      socket.destroy();
      return;
    }
    let broker = this.#brokers.get(hub.id);
    if (!broker) {
      const { id } = hub;
      const same = (): typeof hub | undefined => {
        const now = this.#directory.find(host);
        return now?.id === id ? now : undefined;
      };
      broker = new Broker(same, this.#hubs.registry(hub), this.#streams);
      this.#brokers.set(id, broker);
    }
    await broker.accept(socket);
  }

  #context(host: string): Promise<SecureContext> {
    let context = this.#contexts.get(host);
    if (!context) {
      context = authority(this.#certificates)
        .then((ca) => issueCertificate(ca, [host]))
        .then((pair) => createSecureContext({ ...pair, minVersion: 'TLSv1.2' }));
      this.#contexts.set(host, context);
    }
    return context;
  }
}
