/** Serves ARM over HTTP: who asks, which version, what shape an error has. */
import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { armActions } from '../actions.ts';
import { asObject, type Properties, Refusal } from './accept.ts';
import type { Answer, ArmApi } from './api.ts';
import { mayDo, type RolePermissions } from './role-definitions.ts';

const audiences = ['https://management.azure.com', 'https://management.core.windows.net'];

export interface ArmServerSettings {
  api: ArmApi;
  verify: (token: string, audience: string) => { principal: string } | undefined;
  /** What roles let the holder of an object ID do in the subscription. */
  granted: (principal: string) => RolePermissions[];
}

export const armServer = (settings: ArmServerSettings): Server =>
  createServer((request, response) => void serve(settings, request, response));

async function serve(settings: ArmServerSettings, request: IncomingMessage, response: ServerResponse): Promise<void> {
  let answer: Answer;
  try {
    answer = await handle(settings, request);
  } catch (error) {
    const refusal = error instanceof Refusal ? error : internal(error);
    answer = { status: refusal.status, body: { error: { code: refusal.code, message: refusal.message } } };
  }
  const id = randomUUID();
  response.writeHead(answer.status, {
    'x-ms-request-id': id,
    'x-ms-correlation-request-id': id,
    ...(answer.body === undefined ? {} : { 'content-type': 'application/json; charset=utf-8' }),
    ...answer.headers,
  });
  response.end(answer.body === undefined ? undefined : JSON.stringify(answer.body));
}

function internal(error: unknown): Refusal {
  process.stderr.write(`ARM: ${error instanceof Error ? error.stack : String(error)}\n`);
  return new Refusal(500, 'InternalServerError', 'The local Azure failed; its log says why.');
}

async function handle({ api, verify, granted }: ArmServerSettings, request: IncomingMessage): Promise<Answer> {
  const { method = 'GET', headers } = request;
  const body = await bodyOf(request);
  const principal = authenticate(headers.authorization, verify);
  // Clients that are given a scope with a slash at its front send two of them.
  const url = new URL(`/${(request.url ?? '').replace(/^\/+/, '')}`, 'https://management.azure.com');
  if (!url.searchParams.has('api-version'))
    throw new Refusal(
      400,
      'MissingApiVersionParameter',
      'The api-version query parameter (?api-version=) is required.',
    );
  const path = decodeURIComponent(url.pathname).replace(/\/+$/, '');
  authorize(principal, granted(principal), armActions(method, path), path);
  return api.answer({
    method,
    path,
    principal,
    query: url.searchParams,
    conditions: { ifMatch: headers['if-match'], ifNoneMatch: headers['if-none-match'] },
    body,
  });
}

/** Object ID of whoever the token belongs to. */
function authenticate(header: string | undefined, verify: ArmServerSettings['verify']): string {
  const [, token] = /^Bearer (.+)$/i.exec(header ?? '') ?? [];
  if (!token)
    throw new Refusal(401, 'AuthenticationFailed', "Authentication failed. The 'Authorization' header is missing.");
  const known = audiences.map((audience) => verify(token, audience)).find(Boolean);
  if (!known) throw new Refusal(401, 'InvalidAuthenticationToken', 'The access token is invalid or has expired.');
  return known.principal;
}

function authorize(principal: string, granted: readonly RolePermissions[], actions: string[], path: string): void {
  const missing = actions.find((action) => !mayDo(granted, action));
  if (missing !== undefined)
    throw new Refusal(
      403,
      'AuthorizationFailed',
      `The client '${principal}' with object id '${principal}' does not have authorization to perform action '${missing}' over scope '${path}' or the scope is invalid.`,
    );
}

async function bodyOf(request: IncomingMessage): Promise<Properties> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const text = Buffer.concat(chunks).toString('utf8');
  if (!text.trim()) return {};
  try {
    return asObject(JSON.parse(text));
  } catch {
    throw new Refusal(400, 'InvalidRequestContent', 'The request content was invalid and could not be deserialized.');
  }
}
