/** Stands before a Temporal server as a production one would be set up: mutual TLS, and an API key with each call. */
import http2, { type Http2SecureServer } from 'node:http2';
import type { AddressInfo } from 'node:net';
import type { KeyPair } from '../../emulators/certificates.ts';

const { HTTP2_HEADER_AUTHORIZATION, NGHTTP2_CANCEL } = http2.constants;
const unauthenticated = { ':status': 200, 'content-type': 'application/grpc', 'grpc-status': '16' };

export interface TlsProxy {
  /** `127.0.0.1:<port>`. */
  address: string;
  /** The only one that is let through; undefined lets everybody. */
  apiKey: string | undefined;
  /** Names in the certificates of those who came. */
  clients: Set<string>;
  close(): void;
}

export async function tlsProxy(upstream: string, server: KeyPair, ca: string): Promise<TlsProxy> {
  const behind = http2.connect(`http://${upstream}`);
  const front: Http2SecureServer = http2.createSecureServer({ ...server, ca, requestCert: true });
  const sessions = new Set<http2.Http2Session>();
  const proxy: TlsProxy = {
    address: '',
    apiKey: undefined,
    clients: new Set(),
    close() {
      for (const session of sessions) session.destroy();
      front.close();
      behind.destroy();
    },
  };
  front.on('session', (session) => sessions.add(session));
  front.on('secureConnection', (socket) => proxy.clients.add(`${socket.getPeerCertificate().subject?.CN}`));
  front.on('stream', (stream, { ':scheme': _, ...headers }) => {
    stream.on('error', () => {});
    if (proxy.apiKey !== undefined && headers[HTTP2_HEADER_AUTHORIZATION] !== `Bearer ${proxy.apiKey}`)
      return stream.respond(unauthenticated, { endStream: true });
    const passed = behind.request({ ...headers, ':scheme': 'http' });
    passed.on('error', () => stream.destroy());
    stream.on('close', () => passed.close(NGHTTP2_CANCEL));
    let trailers = {};
    passed.on('trailers', (given) => {
      trailers = given;
    });
    stream.on('wantTrailers', () => stream.sendTrailers(trailers));
    passed.on('response', (answer, flags) => {
      const last = (flags & http2.constants.NGHTTP2_FLAG_END_STREAM) !== 0;
      stream.respond(answer, { waitForTrailers: !last, endStream: last });
      if (!last) passed.pipe(stream);
    });
    stream.pipe(passed);
  });
  await new Promise<void>((done) => front.listen(0, '127.0.0.1', done));
  proxy.address = `127.0.0.1:${(front.address() as AddressInfo).port}`;
  return proxy;
}
