/**
 * `*.queue.core.windows.net`: the messages of queues that were made through ARM, for Entra identities by role assignment.
 * https://learn.microsoft.com/rest/api/storageservices/queue-service-rest-api. Not served: making queues, metadata, updates, SAS.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { queueAction } from '../actions.ts';
import type { ArmReader, Stored } from '../arm/kind.ts';
import type { EntraTokens } from '../event-hubs/entities.ts';
import type { Message, Queues } from './messages.ts';

const audience = 'https://storage.azure.com';
const mostMessages = 32;
const mostHiddenSeconds = 7 * 86_400;
const defaultTtlSeconds = 7 * 86_400;

export interface QueueFrontSettings {
  arm: ArmReader;
  entra: EntraTokens;
  queues: Queues;
  tenant: string;
}

class Refused extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

interface Answer {
  status: number;
  headers?: Record<string, string>;
  body?: string;
}

export function queueFront(settings: QueueFrontSettings): Server {
  return createServer((request, response) => {
    answer(settings, request).then(
      ({ status, headers, body }) => {
        const type = body === undefined ? {} : { 'content-type': 'application/xml' };
        response.writeHead(status, { 'x-ms-version': '2026-06-06', ...type, ...headers });
        response.end(body);
      },
      (error: unknown) => refuse(response, error, settings.tenant),
    );
  });
}

async function answer(settings: QueueFrontSettings, request: IncomingMessage): Promise<Answer> {
  const { arm, queues } = settings;
  const { method = 'GET', headers } = request;
  const url = new URL(`http://local${request.url ?? '/'}`);
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  const account = accountNamed(arm, (headers.host ?? '').split('.')[0]?.toLowerCase() ?? '');
  const [, name = '', collection, id] = url.pathname.split('/').map(decodeURIComponent);
  const resource = `${account.id}/queueServices/default/queues/${name}`;
  authorize(settings, account, headers.authorization, queueAction(method, url.pathname, url.searchParams), resource);
  if (!arm.get(resource)) throw new Refused(404, 'QueueNotFound', 'The specified queue does not exist.');
  const queue = queues.of(resource);
  const number = (parameter: string, least: number, most: number, otherwise: number): number => {
    const value = Number(url.searchParams.get(parameter) ?? otherwise);
    if (Number.isInteger(value) && value >= least && value <= most) return value;
    throw new Refused(400, 'OutOfRangeQueryParameterValue', `${parameter} must be between ${least} and ${most}.`);
  };
  if (method === 'GET' && collection === undefined && url.searchParams.get('comp') === 'metadata')
    return { status: 200, headers: { 'x-ms-approximate-messages-count': String(queue.size) } };
  if (method === 'GET' && collection === 'messages' && !url.searchParams.has('peekonly')) {
    const max = number('numofmessages', 1, mostMessages, 1);
    const hidden = number('visibilitytimeout', 1, mostHiddenSeconds, 30);
    return { status: 200, body: listOf(queue.get(max, hidden), true) };
  }
  if (method === 'POST' && collection === 'messages') {
    const text = /<MessageText>([\s\S]*)<\/MessageText>/.exec(Buffer.concat(chunks).toString('utf8'))?.[1];
    if (text === undefined) throw new Refused(400, 'InvalidXmlDocument', 'XML specified is not syntactically valid.');
    const ttl = number('messagettl', -1, Number.MAX_SAFE_INTEGER, defaultTtlSeconds);
    return { status: 201, body: listOf([queue.put(decoded(text), ttl < 0 ? 1e9 : ttl)], false) };
  }
  if (method === 'DELETE' && collection === 'messages' && id) {
    const deleted = queue.delete(id, url.searchParams.get('popreceipt') ?? '');
    if (deleted) return { status: 204 };
    throw deleted === undefined
      ? new Refused(404, 'MessageNotFound', 'The specified message does not exist.')
      : new Refused(400, 'PopReceiptMismatch', "The specified pop receipt did not match the message's.");
  }
  throw new Refused(501, 'NotImplemented', `${method} ${url.pathname} is not served by the local Azure.`);
}

function accountNamed(arm: ArmReader, name: string): Stored {
  for (const account of arm.list('Microsoft.Storage/storageAccounts')) if (account.name === name) return account;
  throw new Refused(404, 'ResourceNotFound', 'The specified resource does not exist.');
}

function authorize(
  { arm, entra }: QueueFrontSettings,
  account: Stored,
  authorization: string | undefined,
  action: string,
  resource: string,
): void {
  const [scheme = '', token = ''] = (authorization ?? '').split(' ');
  if (scheme === 'SharedKey' && account.properties.allowSharedKeyAccess === false)
    throw new Refused(
      403,
      'KeyBasedAuthenticationNotPermitted',
      'Key based authentication is not permitted on this storage account.',
    );
  if (scheme !== 'Bearer')
    throw new Refused(401, 'NoAuthenticationInformation', 'Server failed to authenticate the request.');
  const known = entra(token, audience);
  if (!known) throw new Refused(401, 'InvalidAuthenticationInfo', 'The token is invalid or has expired.');
  if (!arm.allows(known.principal, action, resource))
    throw new Refused(
      403,
      'AuthorizationPermissionMismatch',
      'This request is not authorized to perform this operation using this permission.',
    );
}

const escaped = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
const decoded = (text: string): string =>
  text.replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&quot;', '"').replaceAll('&amp;', '&');
const header = '<?xml version="1.0" encoding="utf-8"?>';

function listOf(messages: readonly Message[], withText: boolean): string {
  const time = (ms: number): string => new Date(ms).toUTCString();
  const shown = messages.map(
    ({ id, inserted, expires, receipt, visible, dequeued, text }) =>
      `<QueueMessage><MessageId>${id}</MessageId><InsertionTime>${time(inserted)}</InsertionTime>` +
      `<ExpirationTime>${time(expires)}</ExpirationTime><PopReceipt>${receipt}</PopReceipt>` +
      `<TimeNextVisible>${time(visible)}</TimeNextVisible>` +
      (withText ? `<DequeueCount>${dequeued}</DequeueCount><MessageText>${escaped(text)}</MessageText>` : '') +
      '</QueueMessage>',
  );
  return `${header}<QueueMessagesList>${shown.join('')}</QueueMessagesList>`;
}

function refuse(response: ServerResponse, error: unknown, tenant: string): void {
  const known = error instanceof Refused ? error : new Refused(500, 'InternalError', 'The server met an error.');
  if (known !== error) process.stderr.write(`queues: ${error instanceof Error ? error.stack : String(error)}\n`);
  const { status, code, message } = known;
  const challenge = `Bearer authorization_uri=https://login.microsoftonline.com/${tenant}/oauth2/authorize resource_id=${audience}`;
  response.writeHead(status, {
    'content-type': 'application/xml',
    'x-ms-error-code': code,
    ...(status === 401 ? { 'www-authenticate': challenge } : {}),
  });
  response.end(`${header}<Error><Code>${code}</Code><Message>${escaped(message)}</Message></Error>`);
}
