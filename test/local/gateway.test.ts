/** What tests and the local mode rely on the gateway for, shown with small servers in the place of clouds. */
import { mkdtempSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import net, { type AddressInfo, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tls from 'node:tls';
import { authority, issueCertificate, type KeyPair } from '../../emulators/certificates.ts';
import { Callers } from '../../emulators/gateway/callers.ts';
import { Calls } from '../../emulators/gateway/calls.ts';
import { Fault, Faults } from '../../emulators/gateway/faults.ts';
import { certificatesFor, createFront } from '../../emulators/gateway/front.ts';
import { Routes } from '../../emulators/gateway/routes.ts';

const listen = (server: Server): Promise<number> =>
  new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port)));

describe('the gateway', () => {
  const calls = new Calls();
  const faults = new Faults(0);
  const callers = new Callers();
  const servers: Server[] = [];
  let ca: KeyPair;
  let routes: Routes;
  const ports: Record<number, number> = {};
  let effects = 0;

  beforeAll(async () => {
    ca = await authority(mkdtempSync(join(tmpdir(), 'ca-')));
    const cloud = http.createServer((request, response) => {
      if (request.method === 'PUT') effects++;
      let size = 0;
      request.on('data', (chunk: Buffer) => {
        size += chunk.length;
      });
      request.on('end', () => response.end(`${request.headers.host} ${request.url} ${size}`));
    });
    const echo = net.createServer((socket) => socket.pipe(socket));
    const mutual = tls.createServer(
      { ...(await issueCertificate(ca, ['hub.azure-devices.net'])), ca: ca.cert, requestCert: true },
      (socket) => socket.end(`device ${socket.getPeerCertificate().subject.CN}`),
    );
    servers.push(cloud, echo, mutual);
    routes = new Routes({
      aws: [{ name: 's3', hosts: ['*.s3.*.amazonaws.com'], port: 443, protocol: 'http', to: await listen(cloud) }],
      azure: [
        { name: 'events', hosts: ['*.servicebus.windows.net'], port: 5671, protocol: 'tcp', to: await listen(echo) },
        { name: 'devices', hosts: ['*.azure-devices.net'], port: 8883, protocol: 'tls', to: await listen(mutual) },
      ],
    });
    for (const asked of routes.ports()) {
      const front = createFront({ asked, routes, contextFor: certificatesFor(ca), calls, faults, callers });
      servers.push(front);
      ports[asked] = await listen(front);
    }
  });
  afterAll(() => {
    for (const server of servers) server.close();
  });
  beforeEach(() => {
    faults.set([]);
    effects = 0;
  });

  const request = (
    method: string,
    host: string,
    path: string,
    body = '',
    headers: Record<string, string> = {},
    signal?: AbortSignal,
  ): Promise<{ status: number; text: string }> =>
    new Promise((resolve, reject) => {
      const options = {
        host: '127.0.0.1',
        port: ports[443],
        servername: host,
        method,
        path,
        ca: ca.cert,
        agent: false,
        signal,
      };
      const sent = https.request({ ...options, headers: { host, ...headers } }, (answer) => {
        let text = '';
        answer.on('data', (chunk: Buffer) => {
          text += chunk;
        });
        answer.on('end', () => resolve({ status: answer.statusCode ?? 0, text }));
      });
      sent.on('error', reject);
      sent.end(body);
    });
  const talk = (asked: number, host: string, say: string, client: Partial<KeyPair> = {}): Promise<string> =>
    new Promise((resolve, reject) => {
      const socket = tls.connect(
        { host: '127.0.0.1', port: ports[asked] ?? 0, servername: host, ca: ca.cert, ...client },
        () => socket.write(say),
      );
      socket.once('data', (chunk) => {
        socket.destroy();
        resolve(String(chunk));
      });
      socket.once('error', reject);
    });

  it('answers for a real host name over TLS, with Host, path and body as they were sent', async () => {
    const host = 'bucket.s3.us-west-2.amazonaws.com';
    const body = 'x'.repeat(300_000);
    expect(await request('PUT', host, '/key?X-Amz-Signature=secret', body)).toEqual({
      status: 200,
      text: `${host} /key?X-Amz-Signature=secret 300000`,
    });
    const call = calls.list({}).at(-1);
    expect(call).toMatchObject({ cloud: 'aws', method: 'PUT', host, path: '/key', mutating: true, status: 200 });
    expect(JSON.stringify(call)).not.toContain('secret');
  });

  it('does not answer for a host that no local cloud has', async () => {
    await expect(request('GET', 'example.com', '/')).rejects.toThrow();
  });

  it('ends TLS before a byte stream, and leaves mutual TLS to the listener', async () => {
    const device = await issueCertificate(ca, ['sensor-1'], true);
    expect(await talk(5671, 'n.servicebus.windows.net', 'AMQP')).toBe('AMQP');
    expect(await talk(8883, 'hub.azure-devices.net', 'x', device)).toBe('device sensor-1');
  });

  it('loses a request before its effect, an answer after it, and lets the next one through', async () => {
    const host = 'b.s3.eu-west-1.amazonaws.com';
    faults.set([Fault.parse({ match: { path: '/lost' }, effect: 'lose-request', times: 1 })]);
    await expect(request('PUT', host, '/lost')).rejects.toThrow();
    expect(effects).toBe(0);
    faults.set([Fault.parse({ match: { path: '/lost' }, effect: 'lose-answer', times: 1 })]);
    await expect(request('PUT', host, '/lost')).rejects.toThrow();
    expect(effects).toBe(1);
    expect((await request('PUT', host, '/lost')).status).toBe(200);
  });

  it('resets the TLS connection, or never answers; the cloud sees neither call', async () => {
    const host = 'b.s3.eu-west-1.amazonaws.com';
    faults.set([Fault.parse({ match: { path: '/broken' }, effect: 'reset', times: 1 })]);
    await expect(request('PUT', host, '/broken')).rejects.toMatchObject({ code: 'ECONNRESET', syscall: 'read' });
    faults.set([Fault.parse({ match: { path: '/broken' }, effect: 'black-hole', times: 1 })]);
    await expect(request('PUT', host, '/broken', '', {}, AbortSignal.timeout(300))).rejects.toThrow('aborted');
    expect(effects).toBe(0);
    expect((await request('PUT', host, '/broken')).status).toBe(200);
  });

  it('holds an access key to its policy: by action, and for S3 by resource', async () => {
    const statement = { Effect: 'Allow' as const, Action: ['s3:PutObject'], Resource: ['arn:aws:s3:::ours-*/*'] };
    callers.hold('AKIAHELD', [{ Statement: [statement] }]);
    const signed = { authorization: 'AWS4-HMAC-SHA256 Credential=AKIAHELD/20261128/eu-west-1/s3/aws4_request, x' };
    const put = (bucket: string) =>
      request('PUT', `${bucket}.s3.eu-west-1.amazonaws.com`, '/k?x-id=PutObject', '', signed);
    expect((await put('ours-1')).status).toBe(200);
    const theirs = await put('theirs');
    expect([theirs.status, theirs.text]).toEqual([
      403,
      expect.stringContaining('not authorized to perform: s3:PutObject'),
    ]);
    const look = await request('GET', 'ours-1.s3.eu-west-1.amazonaws.com', '/k?x-id=GetObject', '', signed);
    expect([look.status, look.text]).toEqual([403, expect.stringContaining('s3:GetObject')]);
    expect(effects).toBe(1);
    expect(callers.used('AKIAHELD')).toEqual(['s3:PutObject']);
  });

  it('maps every host of the clouds to itself and allows nothing else', () => {
    const map = routes.connectionMap('ca.pem', ports);
    expect(map.loopbackOnly).toBe(true);
    expect(map.routes).toContainEqual({
      host: '*.azure-devices.net',
      port: 8883,
      address: '127.0.0.1',
      to: ports[8883],
    });
  });
});
