/** The hub's service API over HTTPS (the gateway ends TLS): identities, bulk changes, twins, queries, statistics. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { z } from 'zod';
import type { EntraTokens } from '../event-hubs/entities.ts';
import { authorize, type Need, needs } from './access.ts';
import { failures, HubError } from './answers.ts';
import { applyBulk } from './bulk.ts';
import { deviceId as DeviceId, type DeviceRecord, DeviceRequest, makeRecord, showDevice, showTwin } from './device.ts';
import type { HubDirectory, IotHub } from './entities.ts';
import type { Hubs } from './hubs.ts';
import { parseQuery, project, QueryError } from './query.ts';
import type { Registry } from './registry.ts';
import { changeTwin, TwinRequest } from './twin.ts';

const maxBody = 1024 * 1024;
const apiVersions = /^20(1[6-9]|2\d)-\d{2}-\d{2}(-preview)?$/;

interface Request {
  hub: IotHub;
  registry: Registry;
  method: string;
  parts: string[];
  query: URLSearchParams;
  headers: IncomingMessage['headers'];
  body: unknown;
}
interface Answer {
  status: number;
  body?: unknown;
  headers?: Record<string, string>;
}
type Operation = { need: Need; run: (request: Request) => Answer };

const header = (request: Request, name: string): string | undefined => {
  const value = request.headers[name];
  return Array.isArray(value) ? value[0] : value;
};
const unquoted = (etag: string | undefined): string | undefined => etag?.replace(/^"(.*)"$/, '$1');

function parse<T>(schema: z.ZodType<T>, body: unknown): T {
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new HubError(failures.argument, `BadRequest: ${issue?.path.join('.')}: ${issue?.message}`);
}

function known(request: Request, id: string): DeviceRecord {
  const record = request.registry.get(id);
  if (!record) throw new HubError(failures.missing, `E404001: Device ${id} not registered`);
  return record;
}

/** An If-Match of `*` or the current etag; missing where the service demands one is a failure as well. */
function precondition(request: Request, current: string, required: boolean): void {
  const wanted = unquoted(header(request, 'if-match'));
  if (wanted === undefined ? required : wanted !== '*' && wanted !== current)
    throw new HubError(failures.precondition, 'E412001: the etag does not match');
}

const view = (request: Request, record: DeviceRecord): Answer => ({
  status: 200,
  body: showDevice(record, request.registry.presence(record.deviceId)),
  headers: { etag: `"${record.etag}"` },
});
const viewTwin = (request: Request, record: DeviceRecord): Answer => ({
  status: 200,
  body: showTwin(record, request.registry.presence(record.deviceId)),
  headers: { etag: `"${record.twin.etag}"` },
});

function putDevice(request: Request, id: string): Answer {
  const wanted = parse(DeviceRequest, request.body);
  if (wanted.deviceId !== id) throw new HubError(failures.argument, 'BadRequest: deviceId differs from the path');
  const before = request.registry.get(id);
  if (header(request, 'if-match') !== undefined) precondition(request, known(request, id).etag, true);
  else if (before) throw new HubError(failures.exists, `E409001: Device ${id} already registered`);
  else if (request.registry.size >= request.hub.maxDevices)
    throw new HubError(
      failures.quota,
      `E403002: total number of devices on the hub exceeded ${request.hub.maxDevices}`,
    );
  const after = makeRecord(id, wanted, before);
  request.registry.write([{ deviceId: id, after }]);
  return view(request, after);
}

function deleteDevice(request: Request, id: string): Answer {
  precondition(request, known(request, id).etag, true);
  request.registry.write([{ deviceId: id, after: undefined }]);
  return { status: 204 };
}

function changeTwinOf(request: Request, id: string, replace: boolean): Answer {
  const record = known(request, id);
  precondition(request, record.twin.etag, false);
  const after = changeTwin(record, parse(TwinRequest, request.body), replace);
  request.registry.write([{ deviceId: id, after }]);
  return viewTwin(request, after);
}

function runQuery(request: Request): Answer {
  const { query } = parse(z.strictObject({ query: z.string() }), request.body);
  const { registry } = request;
  const show = (record: DeviceRecord): Record<string, unknown> => showTwin(record, registry.presence(record.deviceId));
  try {
    const { select, count, matches } = parseQuery(query);
    const from = Number(Buffer.from(header(request, 'x-ms-continuation') ?? '', 'base64').toString() || 0);
    const size = Math.min(Number(header(request, 'x-ms-max-item-count') ?? 100) || 100, 1000);
    if (!Number.isSafeInteger(from)) throw new QueryError('BadRequest: the continuation token is not valid');
    const wanted = (record: DeviceRecord): boolean => matches(show(record));
    if (count !== undefined)
      return { status: 200, body: [{ [count]: registry.page(0, Number.POSITIVE_INFINITY, wanted).records.length }] };
    const { records, next } = registry.page(from, size, wanted);
    return {
      status: 200,
      body: records.map((record) => project(show(record), select)),
      headers: {
        'x-ms-item-type': select ? 'Raw' : 'Twin',
        ...(next === undefined ? {} : { 'x-ms-continuation': Buffer.from(String(next)).toString('base64') }),
      },
    };
  } catch (error) {
    if (error instanceof QueryError) throw new HubError(failures.query, error.message);
    throw error;
  }
}

function statistics(request: Request, which: string): Answer {
  const { registry } = request;
  if (which === 'service') return { status: 200, body: { connectedDeviceCount: registry.connected } };
  const enabled = registry.page(0, Number.POSITIVE_INFINITY, ({ status }) => status === 'enabled').records.length;
  const totalDeviceCount = registry.size;
  return {
    status: 200,
    body: { totalDeviceCount, enabledDeviceCount: enabled, disabledDeviceCount: totalDeviceCount - enabled },
  };
}

function listDevices(request: Request): Answer {
  const top = Math.min(Number(request.query.get('top') ?? 1000) || 1000, 1000);
  const { records } = request.registry.page(0, top, () => true);
  return { status: 200, body: records.map((record) => showDevice(record, request.registry.presence(record.deviceId))) };
}

/** What a request asks for, and the right that it needs. `parts`: of the path, decoded. */
export function operation(method: string, [first, second, third]: string[]): Operation | undefined {
  const id = second !== undefined && DeviceId.safeParse(second).success ? second : undefined;
  if (third !== undefined) return undefined;
  switch (`${method} ${first}${second === undefined ? '' : '/…'}`) {
    case 'GET devices':
      return { need: needs.readDevices, run: listDevices };
    case 'POST devices':
      return { need: needs.writeDevices, run: (request) => applyBulk(request) };
    case 'POST devices/…':
      return second === 'query' ? { need: needs.query, run: runQuery } : undefined;
    case 'GET statistics/…':
      return second === 'devices' || second === 'service'
        ? { need: needs.readDevices, run: (request) => statistics(request, second) }
        : undefined;
  }
  if (id === undefined) return undefined;
  switch (`${method} ${first}`) {
    case 'GET devices':
      return { need: needs.readDevices, run: (request) => view(request, known(request, id)) };
    case 'PUT devices':
      return { need: needs.writeDevices, run: (request) => putDevice(request, id) };
    case 'DELETE devices':
      return { need: needs.deleteDevices, run: (request) => deleteDevice(request, id) };
    case 'GET twins':
      return { need: needs.readTwins, run: (request) => viewTwin(request, known(request, id)) };
    case 'PATCH twins':
    case 'PUT twins':
      return { need: needs.writeTwins, run: (request) => changeTwinOf(request, id, method === 'PUT') };
  }
  return undefined;
}

async function readBody(message: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of message as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxBody) throw new HubError(failures.tooLarge, 'E413001: the request is too large');
    chunks.push(chunk);
  }
  if (size === 0) return undefined;
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch {
    throw new HubError(failures.argument, 'BadRequest: the body is not JSON');
  }
}

/** Answers one HTTP request whose Host header names a hub. */
export function serviceApi(directory: HubDirectory, hubs: Hubs, entra: EntraTokens) {
  const answer = async (message: IncomingMessage): Promise<Answer> => {
    const body = await readBody(message);
    const url = new URL(message.url ?? '/', 'http://hub');
    const hub = directory.find((message.headers.host ?? '').toLowerCase().replace(/:\d+$/, ''));
    if (!hub) throw new HubError(failures.hubMissing, 'E404002: the IoT hub was not found');
    const parts = url.pathname.split('/').filter(Boolean).map(decodeURIComponent);
    const method = message.method ?? 'GET';
    const found = operation(method, parts);
    if (!found) throw new HubError(failures.noApi, `E404000: ${method} ${url.pathname} is not served`);
    authorize(hub, message.headers.authorization, found.need, entra);
    if (!apiVersions.test(url.searchParams.get('api-version') ?? ''))
      throw new HubError(failures.argument, 'BadRequest: api-version is missing or not supported');
    const registry = hubs.registry(hub);
    return found.run({ hub, registry, method, parts, query: url.searchParams, headers: message.headers, body });
  };
  return async (message: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { status, body, headers } = await answer(message).catch((error: unknown): Answer => {
      if (error instanceof HubError)
        return { status: error.failure.status, body: error.body, headers: { 'iothub-errorcode': error.failure.code } };
      process.stderr.write(`iot-hub: ${error instanceof Error ? error.stack : String(error)}\n`);
      return { status: 500, body: { Message: 'ErrorCode:ServerError;InternalServerError' } };
    });
    response.writeHead(status, {
      ...(body === undefined ? {} : { 'content-type': 'application/json; charset=utf-8' }),
      ...headers,
    });
    response.end(body === undefined ? undefined : JSON.stringify(body));
  };
}
