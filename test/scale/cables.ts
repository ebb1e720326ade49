/**
 * The cables between a worker and the clouds: it reaches each cloud through sockets of ours, which can be cut one by one or all at
 * once, while everybody else goes on talking to that cloud.
 */
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import net, { type AddressInfo } from 'node:net';
import type { NetworkSettings } from '../../workers/network.ts';
import type { Cloud } from '../replication/sides.ts';

const clouds: [Cloud, RegExp][] = [
  ['aws', /amazonaws\.com$/],
  ['gcp', /googleapis\.com$|google\.com$/],
  ['azure', /./],
];
const cloudOf = (host: string): Cloud => clouds.find(([, pattern]) => pattern.test(host))?.[0] ?? 'azure';

export class Cables {
  readonly #open = new Map<Cloud, Set<net.Socket>>(clouds.map(([cloud]) => [cloud, new Set()]));
  readonly #away = new Set<Cloud>();
  readonly #servers: net.Server[] = [];
  /** Sockets that were cut. */
  cuts = 0;

  /** Writes a connection map to `file` that leads through cables to where the map `network` leads. */
  static async between(network: string, file: string): Promise<Cables> {
    const cables = new Cables();
    const map = JSON.parse(readFileSync(network, 'utf8')) as NetworkSettings;
    const ports = new Map<string, number>();
    for (const route of map.routes) {
      const name = `${cloudOf(route.host)} ${route.to}`;
      const port = ports.get(name) ?? (await cables.#listen(cloudOf(route.host), route.to));
      ports.set(name, port);
      route.to = port;
    }
    writeFileSync(file, JSON.stringify(map));
    return cables;
  }

  async #listen(cloud: Cloud, to: number): Promise<number> {
    const server = net.createServer((here) => {
      if (this.#away.has(cloud)) return void here.destroy();
      const there = net.connect(to, '127.0.0.1');
      const open = this.#open.get(cloud);
      open?.add(here);
      for (const [a, b] of [
        [here, there],
        [there, here],
      ] as const) {
        a.setNoDelay(true);
        a.on('error', () => b.destroy());
        a.on('close', () => b.destroy());
        a.pipe(b);
      }
      here.on('close', () => open?.delete(here));
    });
    this.#servers.push(server);
    await once(server.listen(0, '127.0.0.1'), 'listening');
    return (server.address() as AddressInfo).port;
  }

  /** Cuts one socket, whatever goes through it. */
  cut(cloud: Cloud): void {
    const open = [...(this.#open.get(cloud) ?? [])];
    const one = open[Math.floor(Math.random() * open.length)];
    if (!one) return;
    one.resetAndDestroy();
    this.cuts++;
  }

  /** No socket to this cloud stands until it is mended. */
  part(cloud: Cloud): void {
    this.#away.add(cloud);
    for (const socket of this.#open.get(cloud) ?? []) socket.resetAndDestroy();
  }

  mend(cloud: Cloud): void {
    this.#away.delete(cloud);
  }

  close(): void {
    for (const server of this.#servers) server.close();
    for (const open of this.#open.values()) for (const socket of open) socket.destroy();
  }
}
