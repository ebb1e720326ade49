/** Which listener of which local cloud answers for a host name. */
import net from 'node:net';
import type { NetworkSettings } from '../../workers/network.ts';
import type { Listener } from '../local-cloud.ts';

export interface Route extends Listener {
  /** The local cloud it belongs to: `aws`. */
  cloud: string;
}

/** `*.s3.*.amazonaws.com` as a pattern: `*` is any run of characters, everything else is literal. */
function pattern(host: string): RegExp {
  const literal = host
    .toLowerCase()
    .split('*')
    .map((part) => part.replace(/[.\\+?^${}()|[\]]/g, '\\$&'));
  return new RegExp(`^${literal.join('.*')}$`);
}

export class Routes {
  readonly #entries: { route: Route; matches: RegExp }[];

  constructor(clouds: Readonly<Record<string, readonly Listener[]>>) {
    this.#entries = Object.entries(clouds).flatMap(([cloud, listeners]) =>
      listeners.flatMap((listener) =>
        listener.hosts.map((host) => ({ route: { ...listener, cloud }, matches: pattern(host) })),
      ),
    );
  }

  ports(): Listener['port'][] {
    return [...new Set(this.#entries.map(({ route }) => route.port))];
  }

  find(host: string, port: number): Route | undefined {
    return this.#entries.find(({ route, matches }) => route.port === port && matches.test(host))?.route;
  }

  /**
   * The connection map of a process that is to see the local clouds and nothing else. An address has no name to route
   * by, so it goes past the gateway.
   */
  connectionMap(ca: string, gatewayPort: Readonly<Record<number, number>>): NetworkSettings {
    const seen = new Set<string>();
    const routes = this.#entries.flatMap(({ route }) =>
      route.hosts.map((host) => ({
        host,
        port: route.port,
        address: '127.0.0.1',
        to: net.isIP(host) ? route.to : (gatewayPort[route.port] ?? route.to),
      })),
    );
    return {
      loopbackOnly: true,
      ca,
      routes: routes.filter(({ host, port }) => !seen.has(`${host}:${port}`) && seen.add(`${host}:${port}`)),
    };
  }
}
