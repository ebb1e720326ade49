/** Forwards one HTTP/1.1 request to a local cloud: headers as they came, bodies streamed, `Expect: 100-continue` end to end. */
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Answer, answerOf } from './answers.ts';
import type { Callers } from './callers.ts';
import type { Call, Calls } from './calls.ts';
import type { Fault, Faults } from './faults.ts';
import type { Route } from './routes.ts';

/** Free connections are given up before a Python server (5 s) would close them under a request. */
const agent = new http.Agent({ keepAlive: true, maxSockets: 4096, maxFreeSockets: 64, timeout: 3000 });

const hopByHop = new Set(['connection', 'keep-alive', 'proxy-connection', 'upgrade', 'te']);

/** Raw header pairs without those that belong to one connection only. */
function endToEnd(raw: readonly string[]): string[] {
  const kept: string[] = [];
  for (let i = 0; i < raw.length; i += 2)
    if (!hopByHop.has((raw[i] ?? '').toLowerCase())) kept.push(raw[i] ?? '', raw[i + 1] ?? '');
  return kept;
}

/** Body bytes up to the first chunk, in which the query protocol of AWS names its operation. */
async function firstChunk(request: IncomingMessage): Promise<void> {
  if (request.readableLength > 0 || request.readableEnded) return;
  await new Promise<void>((resolve) => {
    request.once('readable', resolve);
    request.once('close', resolve);
  });
}

function actionOf(chunk: Buffer): string | undefined {
  return /(?:^|&)Action=(\w+)/.exec(chunk.toString('latin1', 0, 4096))?.[1];
}

/** A form or JSON: such a body may name the resource that is meant. */
const isText = ({ headers }: IncomingMessage): boolean =>
  headers.expect === undefined &&
  /^application\/(x-www-form-urlencoded|json|x-amz-json-1\.[01])/.test(headers['content-type'] ?? '');

/** `reset` ends the connection that a request came by, as a broken network does. */
export function forwarder(calls: Calls, faults: Faults, callers: Callers, reset: (request: IncomingMessage) => void) {
  return async (request: IncomingMessage, response: ServerResponse, route: Route, host: string): Promise<void> => {
    const call = calls.begin(route, host, request);
    const started = performance.now();
    response.on('close', () => {
      call.ms = Math.round(performance.now() - started);
    });
    const isForm = (request.headers['content-type'] ?? '').startsWith('application/x-www-form-urlencoded');
    if (isForm && call.action === undefined && request.headers.expect === undefined) {
      await firstChunk(request);
      const chunk: Buffer | null = request.read();
      if (chunk) {
        const action = actionOf(chunk);
        if (action) calls.named(call, action);
        request.unshift(chunk);
      }
    }

    const fault = faults.hit(call);
    if (fault) call.fault = fault.name;
    const wait = faults.delayOf(route.cloud) + (fault?.effect === 'delay' ? fault.delayMs : 0);
    if (wait > 0) await sleep(wait);
    if (fault?.effect === 'lose-request') {
      response.destroy();
      return;
    }
    if (fault?.effect === 'reset') {
      reset(request);
      return;
    }
    if (fault?.effect === 'black-hole') {
      request.resume();
      return;
    }
    if (fault?.effect === 'late') {
      const body = await buffer(request);
      response.destroy();
      await sleep(fault.delayMs);
      sendLate(request, body, route, call);
      return;
    }
    const body = callers.holds(call) && isText(request) ? await buffer(request) : undefined;
    const refusal = refusalOf(call, fault, callers, body?.toString('utf8') ?? '');
    if (refusal) {
      call.status = refusal.status;
      request.resume();
      response.writeHead(refusal.status, refusal.headers).end(refusal.body);
      return;
    }
    send({ request, response, route, call, fault, callers, ...(body && { body }) });
  };
}

/** What is answered in the place of the cloud: what a fault says, or that the caller has no right to this. */
function refusalOf(call: Call, fault: Fault | undefined, callers: Callers, body: string): Answer | undefined {
  if (fault?.effect === 'answer') return fault;
  if (fault?.effect === 'refuse') return answerOf(fault.cause, call, fault.retryAfterSeconds);
  const missing = callers.missing(call, body);
  return missing === undefined ? undefined : answerOf('denied', call, 0, missing);
}

/** Sends the first half of a body, and breaks off. */
function cut(answer: IncomingMessage, response: ServerResponse): void {
  buffer(answer).then(
    (body) => response.write(body.subarray(0, Math.floor(body.length / 2)), () => response.destroy()),
    () => response.destroy(),
  );
}

/** Sends a body in twenty pieces over so many milliseconds. */
async function trickle(answer: IncomingMessage, response: ServerResponse, ms: number): Promise<void> {
  const body = await buffer(answer);
  const piece = Math.max(1, Math.ceil(body.length / 20));
  for (let at = 0; at < body.length && !response.destroyed; at += piece) {
    response.write(body.subarray(at, at + piece));
    await sleep(ms / 20);
  }
  response.end();
}

/** What the client has long given up reaches the cloud, and takes effect there. */
function sendLate({ rawHeaders, url }: IncomingMessage, body: Buffer, { to }: Route, call: Call): void {
  const headers = endToEnd(rawHeaders).filter(
    (_, at, all) => !/^(transfer-encoding|expect)$/i.test(all[at - (at % 2)] ?? ''),
  );
  if (!headers.some((name, at) => at % 2 === 0 && /^content-length$/i.test(name)))
    headers.push('Content-Length', String(body.length));
  const onward = http.request({
    agent,
    host: '127.0.0.1',
    port: to,
    method: call.method,
    path: url,
    headers,
    setHost: false,
  });
  onward.on('error', () => {}); // the cloud is away: it never gets there
  onward.on('response', (answer) => {
    call.status = answer.statusCode ?? 0;
    answer.resume();
  });
  onward.end(body);
}

interface Sent {
  request: IncomingMessage;
  response: ServerResponse;
  route: Route;
  call: Call;
  fault: Fault | undefined;
  callers: Callers;
  /** Where the request has been read already. */
  body?: Buffer;
}

function send({ request, response, route, call, fault, callers, body }: Sent): void {
  const headers = endToEnd(request.rawHeaders);
  const { 'content-length': length, 'transfer-encoding': encoding, expect } = request.headers;
  // Without either there is no body; Node would announce a chunked one.
  if (length === undefined && encoding === undefined && /^(POST|PUT|PATCH)$/.test(call.method))
    headers.push('Content-Length', '0');
  const onward = http.request({
    agent,
    host: '127.0.0.1',
    port: route.to,
    method: call.method,
    path: request.url,
    headers,
    setHost: false,
  });
  const broken = () => {
    // The cloud is away: a client of the real one would see its connection break as well.
    if (response.headersSent || !response.writableEnded) response.destroy();
  };
  onward.on('error', broken);
  onward.on('information', ({ statusCode }) => {
    if (statusCode === 100 && expect) response.writeContinue();
  });
  onward.on('response', (answer) => {
    call.status = answer.statusCode ?? 0;
    callers.note(call);
    if (fault?.effect === 'lose-answer') {
      answer.resume();
      answer.on('close', () => response.destroy());
      return;
    }
    if (fault?.effect === 'refuse-after') {
      const refusal = answerOf(fault.cause, call, fault.retryAfterSeconds);
      answer.resume();
      answer.on('close', () => response.writeHead(refusal.status, refusal.headers).end(refusal.body));
      return;
    }
    response.writeHead(call.status, answer.statusMessage, endToEnd(answer.rawHeaders));
    answer.on('error', broken);
    if (fault?.effect === 'cut') cut(answer, response);
    else if (fault?.effect === 'slow') trickle(answer, response, fault.delayMs).catch(broken);
    else answer.pipe(response);
  });
  response.on('close', () => {
    if (!response.writableFinished) onward.destroy();
  });
  if (expect) onward.flushHeaders();
  if (body) onward.end(body);
  else request.pipe(onward);
}
