/**
 * `*.blob.core.windows.net`: says who may do what, as the account's settings and role assignments have it, and hands the
 * request to Azurite under a signature that never leaves this machine.
 */
import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import { Crc64 } from '../../../model/crc64.ts';
import { blobAction } from '../actions.ts';
import type { ArmReader, Stored } from '../arm/kind.ts';
import type { EventGrid } from '../event-grid/events.ts';
import type { EntraTokens } from '../event-hubs/entities.ts';
import type { Azurite } from './azurite.ts';
import { versionedHeader } from './azurite-versions.ts';

const audience = 'https://storage.azure.com';

export interface FrontSettings {
  arm: ArmReader;
  entra: EntraTokens;
  azurite: Azurite;
  tenant: string;
  events: EventGrid;
  /** Told of containers that were made or removed here, so that ARM shows them. */
  containerChanged(account: Stored, container: string, exists: boolean): Promise<void>;
}

interface Refused {
  status: number;
  code: string;
  message: string;
}

export function blobFront(settings: FrontSettings): Server {
  return createServer((request, response) => {
    const name = (request.headers.host ?? '').split('.')[0]?.toLowerCase() ?? '';
    const account = accountNamed(settings.arm, name);
    const url = new URL(`http://local${request.url ?? '/'}`);
    const refused = account
      ? refusal(settings, account, request, url)
      : { status: 404, code: 'ResourceNotFound', message: 'The specified resource does not exist.' };
    if (refused || !account) refuse(response, refused, request.method === 'HEAD', settings.tenant);
    else forward(settings, account, request, response, url);
  });
}

function accountNamed(arm: ArmReader, name: string): Stored | undefined {
  for (const account of arm.list('Microsoft.Storage/storageAccounts')) if (account.name === name) return account;
  return undefined;
}

function refusal(
  { arm, entra }: FrontSettings,
  account: Stored,
  { headers, method = 'GET' }: IncomingMessage,
  url: URL,
): Refused | undefined {
  const [scheme = '', token = ''] = (headers.authorization ?? '').split(' ');
  const signed = scheme === 'SharedKey' || url.searchParams.has('sig');
  if (signed)
    return account.properties.allowSharedKeyAccess === false
      ? refusals.keys
      : { ...refusals.authentication, message: 'Shared keys are not served by the local Azure.' };
  if (scheme !== 'Bearer') return refusals.anonymous;
  const known = entra(token, audience);
  if (!known) return refusals.authentication;
  const container = url.pathname.split('/')[1];
  const resource = container ? `${account.id}/blobServices/default/containers/${container}` : account.id;
  if (!arm.allows(known.principal, blobAction(method, url.pathname, url.searchParams), resource))
    return refusals.permission;
  return undefined;
}

const refusals = {
  anonymous: {
    status: 401,
    code: 'NoAuthenticationInformation',
    message:
      'Server failed to authenticate the request. Please refer to the information in the www-authenticate header.',
  },
  authentication: {
    status: 401,
    code: 'InvalidAuthenticationInfo',
    message: 'Server failed to authenticate the request. The token is invalid or has expired.',
  },
  permission: {
    status: 403,
    code: 'AuthorizationPermissionMismatch',
    message: 'This request is not authorized to perform this operation using this permission.',
  },
  keys: {
    status: 403,
    code: 'KeyBasedAuthenticationNotPermitted',
    message: 'Key based authentication is not permitted on this storage account.',
  },
} as const satisfies Record<string, Refused>;

function refuse(response: ServerResponse, refused: Refused | undefined, silent: boolean, tenant: string): void {
  const { status, code, message } = refused ?? refusals.anonymous;
  response.writeHead(status, {
    'content-type': 'application/xml',
    'x-ms-error-code': code,
    ...(status === 401
      ? {
          'www-authenticate': `Bearer authorization_uri=https://login.microsoftonline.com/${tenant}/oauth2/authorize resource_id=${audience}`,
        }
      : {}),
  });
  const body = `<?xml version="1.0" encoding="utf-8"?><Error><Code>${code}</Code><Message>${message}</Message></Error>`;
  response.end(silent ? undefined : body);
}

function forward(
  { arm, azurite, containerChanged, events }: FrontSettings,
  account: Stored,
  request: IncomingMessage,
  response: ServerResponse,
  url: URL,
): void {
  const { authorization: _token, host: _host, [versionedHeader]: _versioned, ...headers } = request.headers;
  const service = arm.get(`${account.id}/blobServices/default`);
  if (service?.properties.isVersioningEnabled === true) headers[versionedHeader] = 'true';
  // To Azurite a version is a snapshot of that time.
  const asked = url.search.slice(1).replace(/(^|&)versionid=/i, '$1snapshot=');
  const query = [asked, azurite.signature(account.name)].filter(Boolean).join('&');
  const [, container = '', blob] = url.pathname.split('/');
  const changes =
    !blob && url.searchParams.get('restype') === 'container' && !url.searchParams.has('comp')
      ? { PUT: true, DELETE: false }[request.method ?? '']
      : undefined;
  const isBlock = request.method === 'PUT' && url.searchParams.get('comp') === 'block';
  const sum = isBlock && !headers['content-md5'] ? new Crc64() : undefined;
  if (sum) request.on('data', (chunk: Buffer) => sum.add(chunk));
  const onward = httpRequest(
    {
      host: '127.0.0.1',
      port: azurite.port,
      method: request.method,
      path: `/${account.name}${url.pathname}?${query}`,
      headers,
    },
    async (answer) => {
      const done = (answer.statusCode ?? 500) < 300;
      const { method = '', headers: asked } = request;
      if (done) events.carried({ account, method, url, request: asked, answer: answer.headers });
      if (changes !== undefined && done) await containerChanged(account, container, changes);
      // https://learn.microsoft.com/rest/api/storageservices/put-block#response-headers
      if (sum && done) answer.headers['x-ms-content-crc64'] = sum.base64;
      response.writeHead(answer.statusCode ?? 500, answer.headers);
      answer.pipe(response);
    },
  );
  onward.on('error', (error) => {
    process.stderr.write(`Azurite: ${request.method} ${url.pathname}: ${error.message}\n`);
    if (response.headersSent) response.destroy();
    else refuse(response, { status: 503, code: 'ServerBusy', message: 'The server is busy.' }, false, '');
  });
  request.pipe(onward);
}
