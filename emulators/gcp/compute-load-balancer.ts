/**
 * The passthrough load balancer: each forwarding rule's address is a loopback address that is really listened on, so that
 * devices connect to `address:port` as they would anywhere. (macOS answers for 127.0.0.1 only; there each address needs
 * `sudo ifconfig lo0 alias <address>`.)
 */
import net from 'node:net';

export interface Backend {
  /** 127.0.0.1 port that serves the rule's port on that instance. */
  port: number;
}

export interface Rule {
  address: string;
  ports: number[];
  /** Healthy instances at this moment. */
  backends(port: number): Backend[];
}

export class LoadBalancer {
  readonly #servers = new Map<string, net.Server[]>();
  readonly #sockets = new Set<net.Socket>();
  #turn = 0;

  /** Listens for a rule; a rule that is already listened for is left alone. */
  async open(path: string, rule: Rule): Promise<void> {
    if (this.#servers.has(path)) return;
    const servers = rule.ports.map((port) => net.createServer((client) => this.#forward(client, rule.backends(port))));
    this.#servers.set(path, servers);
    await Promise.all(servers.map((server, index) => listen(server, rule.ports[index] ?? 0, rule.address)));
  }

  close(path: string): void {
    for (const server of this.#servers.get(path) ?? []) server.close();
    this.#servers.delete(path);
  }

  stop(): void {
    for (const path of [...this.#servers.keys()]) this.close(path);
    for (const socket of this.#sockets) socket.destroy();
  }

  #forward(client: net.Socket, backends: Backend[]): void {
    const backend = backends[this.#turn++ % Math.max(1, backends.length)];
    if (!backend) {
      client.resetAndDestroy();
      return;
    }
    const server = net.connect(backend.port, '127.0.0.1');
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      this.#sockets.add(from);
      from.on('error', () => to.destroy());
      from.on('close', () => {
        this.#sockets.delete(from);
        to.destroy();
      });
      from.pipe(to);
    }
  }
}

function listen(server: net.Server, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ port, host }, () => resolve());
  });
}

/**
 * An address out of 127.88.0.0/14 that nobody listens on. Taken at random, since the local clouds of two checkouts share
 * the machine's loopback addresses.
 */
export async function freeAddress(taken: ReadonlySet<string>): Promise<string> {
  for (let attempt = 0; attempt < 50; attempt++) {
    const octet = (from: number, count: number): number => from + Math.floor(Math.random() * count);
    const address = `127.${octet(88, 4)}.${octet(0, 256)}.${octet(1, 254)}`;
    if (taken.has(address)) continue;
    const server = net.createServer();
    try {
      await listen(server, 8883, address);
      await new Promise((resolve) => server.close(resolve));
      return address;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') continue;
      throw error;
    }
  }
  throw new Error('no free loopback address was found');
}
