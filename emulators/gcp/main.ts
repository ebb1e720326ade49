/** The local Google Cloud: one HTTP port behind which each API answers under its own host name. */
import '../clock.ts';

import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import { serveDns } from '../dns-server.ts';
import { sampleZone } from '../environment.ts';
import { announce, dnsPort, type Listener, settingsFromEnvironment } from '../local-cloud.ts';
import { Access } from './access.ts';
import { BigQuery } from './bigquery.ts';
import { startCompute } from './compute-service.ts';
import { CloudDns } from './dns.ts';
import { GoogleError } from './google-error.ts';
import { Iam } from './iam.ts';
import { GrantError, Identity } from './identity.ts';
import type { Api } from './json-api.ts';
import { Projects, storageAgent } from './projects.ts';
import { PubSub } from './pubsub.ts';
import { SecretManager } from './secret-manager.ts';
import { visitor } from './service-account-key.ts';
import { readJson, reply, Storage } from './storage.ts';

const settings = settingsFromEnvironment();
const { state, account: project, nameHeldMs } = settings;

const iam = new Iam(state, project);
const identity = new Identity(state, (email) => iam.exists(email));
const access = new Access(
  state,
  project,
  () => identity.keyed().filter((email) => !email.startsWith(`${visitor}@`)),
  (role) => iam.customRole(role),
);
iam.use(access);
const pubsub = new PubSub(state, project, access);
const storage = new Storage({
  state,
  project,
  nameHeldMs,
  access,
  publisher: {
    may: (topic) => pubsub.mayPublish(topic, storageAgent(project)),
    publish: (topic, message) => pubsub.notify(topic, message),
  },
});

const compute = await startCompute({
  settings,
  ports: { first: settings.port + 1, count: settings.ports - 2 },
  require: (caller, permission) => access.require(caller, permission),
  token: (serviceAccount) => identity.issue(serviceAccount),
  portOf: () => settings.port,
});

const dns = new CloudDns({ state, project, access, operationMs: settings.operationMs, zone: sampleZone });
await serveDns({ port: dnsPort(settings), lookup: dns.lookup });

const apis: Record<string, Api> = {
  'pubsub.googleapis.com': pubsub,
  'bigquery.googleapis.com': new BigQuery(state, project, access),
  'iam.googleapis.com': iam,
  'cloudresourcemanager.googleapis.com': new Projects(project, access),
  'compute.googleapis.com': compute,
  'dns.googleapis.com': dns,
  'secretmanager.googleapis.com': new SecretManager(state, project, access),
};
const storageHost = 'storage.googleapis.com';
const tokenHosts = ['oauth2.googleapis.com', 'www.googleapis.com'];
const tokenPaths = ['/token', '/oauth2/v4/token'];

async function token(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  const text = Buffer.concat(chunks).toString('utf8');
  const form = text.startsWith('{')
    ? new URLSearchParams(JSON.parse(text) as Record<string, string>)
    : new URLSearchParams(text);
  try {
    reply(response, 200, identity.grant(form));
  } catch (error) {
    if (!(error instanceof GrantError)) throw error;
    reply(response, 400, error.body);
  }
}

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const host = (request.headers.host ?? '').replace(/:\d+$/, '').toLowerCase();
  const url = new URL(request.url ?? '/', `https://${host || 'localhost'}`);
  if (tokenHosts.includes(host) && tokenPaths.includes(url.pathname)) return token(request, response);
  const api = apis[host];
  if (!api && host !== storageHost) throw new GoogleError('notFound', `${host} is not served by the local cloud`);
  const caller = identity.authenticate(request.headers.authorization, host);
  if (!api) return storage.handle({ request, response, url, caller });
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  const { method = '', headers } = request;
  const body = await readJson(request);
  const {
    status,
    body: content,
    headers: more,
  } = await api.handle({ method, url, headers, body, caller, signal: gone.signal });
  reply(response, status, content, more);
}

const server = http.createServer({ keepAliveTimeout: 65_000 }, (request, response) => {
  answer(request, response).catch((error: unknown) => {
    // What is left of the body is read, so that the connection can be used again.
    request.resume();
    const known = error instanceof GoogleError ? error : undefined;
    if (!known)
      process.stderr.write(`${request.method} ${request.url}: ${error instanceof Error ? error.stack : error}\n`);
    if (response.headersSent) response.destroy();
    else if (known) reply(response, known.code, known.body);
    else
      reply(response, 500, {
        error: { code: 500, message: 'Internal error encountered.', status: 'INTERNAL', errors: [] },
      });
  });
});
server.requestTimeout = 0;

await new Promise<void>((resolve, reject) => {
  server.once('error', reject);
  server.listen(settings.port, '127.0.0.1', resolve);
});
const listener = (name: string, hosts: string[]): Listener => ({
  name,
  hosts,
  port: 443,
  protocol: 'http',
  to: settings.port,
});
announce([
  listener('oauth2', tokenHosts),
  listener('storage', [storageHost]),
  ...Object.keys(apis).map((host) => listener(host.split('.')[0] ?? host, [host])),
]);

process.once('SIGTERM', () => {
  server.close();
  server.closeAllConnections();
  Promise.resolve(compute.stop?.()).finally(() => {
    pubsub.stop();
    storage.stop();
    process.exit(0);
  });
});
