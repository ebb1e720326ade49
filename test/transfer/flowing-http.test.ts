/** What a body from socket to socket promises, against a plain server of this process. */
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import { type AddressInfo, createServer as createTcpServer, type Server, Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { crc32 } from 'node:zlib';
import { FlowingHttp } from '../../activities/providers/flowing-http.ts';
import { PooledHttp } from '../../activities/providers/pooled-http.ts';

const bytes = randomBytes(5 * 1024 * 1024 + 17);
const { signal } = new AbortController();
const open: Server[] = [];
const connect = Socket.prototype.connect;
/** Where connections go, whatever host they are asked for: the client speaks to the ports of the clouds only. */
let port = 0;

beforeAll(() => {
  Socket.prototype.connect = function (this: Socket, ...args: unknown[]) {
    const [[options, done]] = args as [[{ port: number; host: string }, () => void]];
    return Reflect.apply(connect, this, [{ ...options, host: '127.0.0.1', port }, done]);
  } as typeof connect;
});
afterAll(() => {
  Socket.prototype.connect = connect;
});
afterEach(() => {
  for (const server of open.splice(0)) server.close();
});

async function served(
  server: Server,
): Promise<{ flowing: FlowingHttp; pooled: PooledHttp; connections: () => number }> {
  let connections = 0;
  server.on('connection', () => connections++);
  server.listen(0, '127.0.0.1');
  open.push(server);
  await once(server, 'listening');
  port = (server.address() as AddressInfo).port;
  const options = { idleMs: 500, protocol: 'http:' as const };
  return { flowing: new FlowingHttp(options), pooled: new PooledHttp(options), connections: () => connections };
}
const serving = (listener: RequestListener) => served(createServer(listener));
const asked = { host: 'cloud.example', path: '/object', headers: {} };

it('every byte passes once and in order, however slowly it is taken, and the connection is used again', async () => {
  const { flowing, connections } = await serving((_, response) => {
    response.setHeader('content-length', bytes.length);
    response.end(bytes);
  });
  for (const pause of [undefined, 1]) {
    const answer = await flowing.get(asked, signal);
    if (!answer) throw new Error('no body');
    const { flow } = answer;
    const [sha256, came] = [flow.hash('sha256'), createHash('sha256')];
    let atOnce = 0;
    let most = 0;
    await flow.run(async (chunk) => {
      most = Math.max(most, ++atOnce);
      if (pause) await sleep(pause);
      came.update(chunk); // still what it was
      atOnce--;
    });
    const expected = createHash('sha256').update(bytes).digest('hex');
    expect([came.digest('hex'), sha256().toString('hex')]).toEqual([expected, expected]);
    expect([flow.passed, flow.crc32]).toEqual([bytes.length, crc32(bytes)]);
    expect(most).toBeLessThanOrEqual(3);
  }
  expect(connections()).toBe(1);
  flowing.close();
});

it('a body that ends early, stalls or is longer than announced is an error, and so is the request that it is sent with', async () => {
  const behaviours: ((socket: Socket) => void)[] = [
    (socket) => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf'),
    (socket) => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf'),
    (socket) => socket.write(`HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n${'x'.repeat(9)}`),
  ];
  for (const behave of behaviours) {
    const { flowing } = await served(createTcpServer((socket) => void socket.once('data', () => behave(socket))));
    const answer = await flowing.get(asked, signal);
    await expect(answer?.flow.run(async () => {})).rejects.toMatchObject({ code: 'ECONNRESET' });
  }
  const seen: boolean[] = [];
  const { pooled } = await serving((request, response) => {
    if (request.method === 'GET') {
      response.writeHead(200, { 'content-length': 1_000_000 });
      response.write(bytes.subarray(0, 500_000), () => response.destroy());
    } else request.on('data', () => {}).on('close', () => seen.push(request.complete));
  });
  const { flow } = await pooled.open({ method: 'GET', ...asked }, signal);
  if (!flow) throw new Error('no body');
  const body = { before: Buffer.from('<'), flow, after: () => Buffer.from('>'), bytes: 1_000_002 };
  const headers = { 'content-length': body.bytes };
  await expect(pooled.send({ method: 'PUT', ...asked, headers, body }, signal)).rejects.toMatchObject({
    code: 'ECONNRESET',
  });
  while (seen.length === 0) await sleep(10);
  expect(seen).toEqual([false]);
  pooled.close();
});

it('what is sent is what came, with what goes before and after it; a target that is slow is waited for', async () => {
  const got: Buffer[] = [];
  const { pooled } = await serving(async (request, response) => {
    if (request.method === 'GET') {
      response.setHeader('content-length', bytes.length);
      return void response.end(bytes);
    }
    await sleep(1200); // longer than a source may be silent
    for await (const chunk of request) got.push(chunk);
    response.end();
  });
  const { flow } = await pooled.open({ method: 'GET', ...asked }, signal);
  if (!flow) throw new Error('no body');
  const body = {
    before: Buffer.from('<'),
    flow,
    after: () => Buffer.from(`${flow.crc32}`.padStart(10)),
    bytes: bytes.length + 11,
  };
  const request = { method: 'PUT' as const, ...asked, headers: { 'content-length': body.bytes }, body };
  // The target's own deadline is another one.
  const patient = new PooledHttp({ idleMs: 20_000, protocol: 'http:' });
  expect(await patient.send(request, signal)).toMatchObject({ status: 200 });
  const expected = Buffer.concat([Buffer.from('<'), bytes, Buffer.from(`${crc32(bytes)}`.padStart(10))]);
  expect(Buffer.concat(got).equals(expected)).toBe(true);
  patient.close();
  pooled.close();
});

it('an answer that says no is given whole, and one that does not say how long it is is refused', async () => {
  const { pooled } = await serving((request, response) => {
    if (request.url === '/object') response.writeHead(404).end('<Code>NoSuchKey</Code>');
    else {
      response.write('a part, ');
      response.end('and more');
    }
  });
  const refused = await pooled.open({ method: 'GET', ...asked }, signal);
  expect(refused).toMatchObject({ status: 404, flow: undefined });
  expect(Buffer.concat(refused.piece.chunks).toString()).toContain('NoSuchKey');
  const chunked = pooled.open({ method: 'GET', ...asked, path: '/chunked' }, signal);
  await expect(chunked).rejects.toThrow('how long');
  pooled.close();
});
