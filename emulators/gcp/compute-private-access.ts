/**
 * How programs on the local instances reach Google's APIs: over TLS under their real names, as with Private Google Access,
 * without leaving the cloud. Ends TLS and passes on to the listener that serves the asked host.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { join } from 'node:path';
import tls from 'node:tls';
import { issueCertificate } from '../certificates.ts';

export interface PrivateAccess {
  /** A file for `MULTI_CLOUD_NETWORK`. */
  network: string;
  stop(): void;
}

export async function privateAccess(options: {
  folder: string;
  certificates: string;
  port: number;
  hosts: readonly string[];
  portOf(host: string): number;
}): Promise<PrivateAccess> {
  const { certificates, folder, hosts, port } = options;
  const ca = {
    cert: readFileSync(join(certificates, 'ca.pem'), 'utf8'),
    key: readFileSync(join(certificates, 'ca.key'), 'utf8'),
  };
  const pair = await issueCertificate(ca, hosts);
  const context = tls.createSecureContext(pair);
  const agent = new http.Agent({ keepAlive: true });
  const server = https.createServer({ ...pair, SNICallback: (_, done) => done(null, context) }, (request, response) => {
    const host = (request.headers.host ?? '').replace(/:\d+$/, '');
    const { method, url, headers } = request;
    const onward = http.request(
      { host: '127.0.0.1', port: options.portOf(host), method, path: url, headers, agent },
      (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(response);
      },
    );
    onward.on('error', () => response.destroy());
    request.pipe(onward);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
  const network = join(folder, 'network.json');
  const routes = hosts.map((host) => ({ host, port: 443, address: '127.0.0.1', to: port }));
  writeFileSync(network, JSON.stringify({ loopbackOnly: true, ca: join(certificates, 'ca.pem'), routes }));
  return {
    network,
    stop() {
      server.close();
      server.closeAllConnections();
      agent.destroy();
    },
  };
}
