/**
 * One port of the gateway. Looks at the host name in the first bytes of each connection, then ends TLS with a certificate
 * for that host and forwards HTTP or bytes, or passes the bytes through untouched (`Listener.protocol`).
 */
import type { RequestListener, ServerResponse } from 'node:http';
import https from 'node:https';
import net from 'node:net';
import tls from 'node:tls';
import { issueCertificate, type KeyPair } from '../certificates.ts';
import type { Callers } from './callers.ts';
import type { Calls } from './calls.ts';
import { serverName } from './client-hello.ts';
import type { Faults } from './faults.ts';
import { forwarder } from './forward.ts';
import type { Route, Routes } from './routes.ts';

/** Certificates for the hosts that clients ask for, each made once. */
export function certificatesFor(ca: KeyPair): (host: string) => Promise<tls.SecureContext> {
  const contexts = new Map<string, Promise<tls.SecureContext>>();
  return (host) => {
    let context = contexts.get(host);
    if (!context) {
      context = issueCertificate(ca, [host]).then(({ cert, key }) => tls.createSecureContext({ cert, key }));
      contexts.set(host, context);
    }
    return context;
  };
}

export interface FrontSettings {
  /** The port that clients ask for. */
  asked: number;
  routes: Routes;
  contextFor: (host: string) => Promise<tls.SecureContext>;
  calls: Calls;
  faults: Faults;
  callers: Callers;
}

function refuse(response: ServerResponse, text: string): void {
  response.writeHead(421, { 'content-type': 'text/plain' }).end(`${text}\n`);
}

export function createFront({ asked, routes, contextFor, calls, faults, callers }: FrontSettings): net.Server {
  const SNICallback = (host: string, done: (error: Error | null, context?: tls.SecureContext) => void) => {
    contextFor(host.toLowerCase()).then(
      (context) => done(null, context),
      (error: Error) => done(error),
    );
  };
  /** Connections that stand, by cloud: an outage breaks them, whatever their protocol. */
  const open = new Map<net.Socket, string>();
  /** The TCP connection under TLS can be told by its port alone. */
  const forward = forwarder(calls, faults, callers, ({ socket: { remotePort } }) => {
    for (const socket of open.keys()) if (socket.remotePort === remotePort) socket.resetAndDestroy();
  });
  faults.onChange(() => {
    for (const [socket, cloud] of open) if (faults.isAway(cloud)) socket.destroy();
  });

  const web = https.createServer({ SNICallback, ALPNProtocols: ['http/1.1'] });
  web.requestTimeout = 0;
  // Longer than clients keep a free connection, so that none is closed under a request.
  web.keepAliveTimeout = 65_000;
  const onRequest: RequestListener = (request, response) => {
    const host = (request.headers.host ?? '').toLowerCase().replace(/:\d+$/, '');
    const route = routes.find(host, asked);
    if (route?.protocol !== 'http') refuse(response, `no local cloud answers for https://${host}`);
    else forward(request, response, route, host).catch(() => response.destroy());
  };
  web.on('request', onRequest);
  web.on('checkContinue', onRequest);
  web.on('upgrade', (_request, socket) =>
    socket.end('HTTP/1.1 501 Not Implemented\r\nConnection: close\r\nContent-Length: 0\r\n\r\n'),
  );
  web.on('tlsClientError', (_error, socket) => socket.destroy());

  const bytes = tls.createServer({ SNICallback }, (socket) => {
    const route = typeof socket.servername === 'string' ? routes.find(socket.servername, asked) : undefined;
    if (!route) socket.destroy();
    else join(socket, net.connect(route.to, '127.0.0.1'));
  });
  bytes.on('tlsClientError', (_error, socket) => socket.destroy());

  return net.createServer((socket) => {
    let head = Buffer.alloc(0);
    socket.on('error', () => socket.destroy());
    const look = (chunk: Buffer) => {
      head = Buffer.concat([head, chunk]);
      const host = serverName(head);
      if (host === 'incomplete' && head.length < 65_536) return;
      socket.off('data', look);
      socket.pause();
      const route = host && routes.find(host, asked);
      if (!route || faults.isAway(route.cloud)) {
        socket.destroy();
        return;
      }
      open.set(socket, route.cloud);
      socket.on('close', () => open.delete(socket));
      socket.unshift(head);
      pass(socket, route);
    };
    socket.on('data', look);
  });

  function pass(socket: net.Socket, route: Route): void {
    if (route.protocol === 'http') web.emit('connection', socket);
    else if (route.protocol === 'tcp') bytes.emit('connection', socket);
    else join(socket, net.connect(route.to, '127.0.0.1'));
  }
}

/** Joins two connections: what one says the other hears, and one that ends or breaks takes the other with it. */
function join(a: net.Socket, b: net.Socket): void {
  a.setNoDelay(true);
  b.setNoDelay(true);
  for (const [from, to] of [
    [a, b],
    [b, a],
  ] as const) {
    from.on('error', () => to.destroy());
    from.on('close', () => to.destroy());
    from.pipe(to);
  }
}
