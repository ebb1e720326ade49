/**
 * Where connections go. Drivers, SDKs and agents always speak to a cloud's real host names over TLS; a connection map
 * (private links, sovereign regions, the local clouds) says which address answers for them, and a guard judges the
 * address that a socket really connects to. Both sit at the socket, below every HTTP, AMQP and MQTT client of the process.
 *
 * Preloaded with `node --import ./workers/network.ts`; `MULTI_CLOUD_NETWORK` names a JSON file of the shape `NetworkSettings`.
 * Without that variable nothing is changed.
 */
import dns from 'node:dns';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import tls from 'node:tls';
import { z } from 'zod';

export const NetworkSettings = z.strictObject({
  /** Only loopback addresses may be connected to, and no name is asked of a resolver. */
  loopbackOnly: z.boolean().default(false),
  /** PEM file with certificate authorities that are trusted besides (or, when `loopbackOnly`, instead of) the usual ones. */
  ca: z.string().optional(),
  /** First match wins. `host` may hold `*`, which stands for any characters; `port` is the one the client asks for. */
  routes: z
    .array(z.strictObject({ host: z.string(), port: z.number(), address: z.string(), to: z.number() }))
    .default([]),
});
export type NetworkSettings = z.infer<typeof NetworkSettings>;

const isLoopback = (address: string): boolean => /^(127\.|::1$|::ffff:127\.)/.test(address);

/** `sts.*.amazonaws.com` as a pattern: `*` is any run of characters, everything else is literal. */
const pattern = (host: string): RegExp =>
  new RegExp(
    `^${host
      .toLowerCase()
      .split('*')
      .map((part) => RegExp.escape(part))
      .join('.*')}$`,
  );

/**
 * Installs the map and the guard in this process. Each mapped host name resolves to a loopback address of its own, by
 * which the connect that follows is recognised, so that clients which resolve first (gRPC, AMQP) are mapped as well.
 */
export function installNetwork(settings: NetworkSettings): void {
  const routes = settings.routes.map((route) => ({ ...route, matches: pattern(route.host) }));
  const hostByVirtual = new Map<string, string>();
  const virtualByHost = new Map<string, string>();

  const virtualAddress = (host: string): string | undefined => {
    const name = host.toLowerCase();
    if (!routes.some((route) => route.matches.test(name))) return undefined;
    let address = virtualByHost.get(name);
    if (!address) {
      const n = virtualByHost.size + 1;
      address = `127.77.${n >> 8}.${n & 255}`;
      virtualByHost.set(name, address);
      hostByVirtual.set(address, name);
    }
    return address;
  };
  const resolvable = (host: string): string | undefined => {
    if (net.isIP(host)) return undefined;
    if (host === 'localhost' || host.endsWith('.localhost')) return '127.0.0.1';
    const address = virtualAddress(host);
    if (!address && settings.loopbackOnly) throw refused(host);
    return address;
  };
  const refused = (where: string): NodeJS.ErrnoException =>
    Object.assign(
      new Error(`connection to ${where} refused: this process may only reach the local clouds (loopback)`),
      {
        code: 'ECONNREFUSED',
      },
    );

  const lookup = dns.lookup;
  // biome-ignore lint/complexity/useArrowFunction: replaces a function with overloads
  const mappedLookup = function (host: string, ...rest: unknown[]): void {
    const done = rest.at(-1) as (error: Error | null, address?: unknown, family?: number) => void;
    const options = (typeof rest[0] === 'object' ? rest[0] : {}) as dns.LookupOptions;
    let address: string | undefined;
    try {
      address = resolvable(host);
    } catch (error) {
      process.nextTick(done, error as Error);
      return;
    }
    if (!address) Reflect.apply(lookup, dns, [host, ...rest]);
    else if (options.all) process.nextTick(done, null, [{ address, family: 4 }]);
    else process.nextTick(done, null, address, 4);
  };
  dns.lookup = Object.assign(mappedLookup, { __promisify__: lookup.__promisify__ }) as typeof dns.lookup;
  const lookupPromise = dns.promises.lookup;
  dns.promises.lookup = (async (host: string, options?: dns.LookupOptions) => {
    const address = resolvable(host);
    if (!address) return lookupPromise(host, options ?? {});
    return options?.all ? [{ address, family: 4 }] : { address, family: 4 };
  }) as typeof dns.promises.lookup;

  const connect = net.Socket.prototype.connect;
  net.Socket.prototype.connect = function (this: net.Socket, ...args: unknown[]) {
    // Node normalises its overloads into one array argument, marked as such, before it calls itself.
    const normalised = Array.isArray(args[0]) ? (args[0] as unknown[]) : undefined;
    const options = { ...toOptions(normalised ?? args) };
    const callback = (normalised ?? args).findLast((value) => typeof value === 'function') as (() => void) | undefined;
    if (typeof options.path === 'string' || options.port === undefined) return Reflect.apply(connect, this, args);
    const asked = options.host ?? 'localhost';
    const host = hostByVirtual.get(asked) ?? asked.toLowerCase();
    const route = routes.find((candidate) => candidate.port === Number(options.port) && candidate.matches.test(host));
    if (route) Object.assign(options, { host: route.address, port: route.to });
    else if (settings.loopbackOnly && (hostByVirtual.has(asked) || !(host === 'localhost' || isLoopback(host)))) {
      process.nextTick(() => this.destroy(refused(`${host}:${options.port}`)));
      return this;
    }
    return Reflect.apply(connect, this, callback ? [options, callback] : [options]);
  } as typeof connect;

  if (settings.ca) {
    const own = [readFileSync(settings.ca, 'utf8')];
    tls.setDefaultCACertificates(settings.loopbackOnly ? own : [...tls.getCACertificates('default'), ...own]);
  }
}

function toOptions(args: readonly unknown[]): net.TcpNetConnectOpts & { path?: string } {
  const [first, second] = args;
  if (typeof first === 'object' && first !== null) return first as net.TcpNetConnectOpts;
  if (typeof first === 'string' && !/^\d+$/.test(first)) return { path: first } as never;
  return { port: Number(first), ...(typeof second === 'string' ? { host: second } : {}) };
}

const file = process.env.MULTI_CLOUD_NETWORK;
if (file) installNetwork(NetworkSettings.parse(JSON.parse(readFileSync(file, 'utf8'))));
