/**
 * Entra ID, as far as a service principal needs it: discovery, the client credentials grant, and the check of the tokens
 * that it issued. Tokens are real JWTs with a key of this installation.
 */
import {
  createPrivateKey,
  createPublicKey,
  createSign,
  createVerify,
  generateKeyPairSync,
  type KeyObject,
} from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import { z } from 'zod';
import { type Application, registeredApplications } from './application.ts';

const authority = 'https://login.microsoftonline.com';
const lifetimeSeconds = 3600;

const Payload = z.object({ aud: z.string(), oid: z.string(), exp: z.number(), nbf: z.number(), tid: z.string() });

const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const trimmed = (audience: string): string => audience.replace(/\/+$/, '');

export class Entra {
  readonly #key: KeyObject;
  readonly #tenant: string;
  readonly #applications: () => Application[];

  /** `state`: the local cloud's state folder. Besides the given applications it knows those that are registered there. */
  constructor(state: string, tenant: string, applications: readonly Application[]) {
    const folder = join(state, 'entra');
    this.#tenant = tenant;
    this.#applications = () => [...applications, ...registeredApplications(state)];
    const file = join(folder, 'entra.key');
    mkdirSync(folder, { recursive: true });
    if (!existsSync(file)) {
      const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
      writeFileSync(file, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
    }
    this.#key = createPrivateKey(readFileSync(file));
  }

  /** The object ID in a token of ours for this audience that is valid now. */
  verify = (token: string, audience: string): { principal: string; expiresMs: number } | undefined => {
    const [header = '', payload = '', signature = ''] = token.split('.');
    const signed = createVerify('RSA-SHA256').update(`${header}.${payload}`);
    if (!signed.verify(createPublicKey(this.#key), Buffer.from(signature, 'base64url'))) return undefined;
    const claims = Payload.parse(JSON.parse(Buffer.from(payload, 'base64url').toString()));
    const now = Date.now() / 1000;
    if (trimmed(claims.aud) !== trimmed(audience) || claims.exp <= now || claims.nbf > now) return undefined;
    return { principal: claims.oid, expiresMs: claims.exp * 1000 };
  };

  server(): Server {
    return createServer((request, response) => void this.#answer(request, response));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', authority);
    const reply = (status: number, body: unknown): void => {
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    };
    const tenant = this.#tenant;
    const [, asked = '', ...rest] = url.pathname.split('/');
    const path = rest.join('/');
    if (path === 'discovery/instance')
      return reply(200, {
        tenant_discovery_endpoint: `${authority}/${tenant}/v2.0/.well-known/openid-configuration`,
        'api-version': '1.1',
        metadata: [
          {
            preferred_network: 'login.microsoftonline.com',
            preferred_cache: 'login.windows.net',
            aliases: ['login.microsoftonline.com', 'login.windows.net', 'login.microsoft.com', 'sts.windows.net'],
          },
        ],
      });
    if (asked !== tenant) return reply(400, refusal('invalid_request', 90002, `Tenant '${asked}' not found.`));
    if (path === 'v2.0/.well-known/openid-configuration')
      return reply(200, {
        issuer: `${authority}/${tenant}/v2.0`,
        authorization_endpoint: `${authority}/${tenant}/oauth2/v2.0/authorize`,
        token_endpoint: `${authority}/${tenant}/oauth2/v2.0/token`,
        jwks_uri: `${authority}/${tenant}/discovery/v2.0/keys`,
      });
    if (path === 'discovery/v2.0/keys')
      return reply(200, {
        keys: [{ ...createPublicKey(this.#key).export({ format: 'jwk' }), kid: 'local', use: 'sig' }],
      });
    if (path !== 'oauth2/v2.0/token' || request.method !== 'POST') return reply(404, { error: 'not_found' });
    let text = '';
    for await (const chunk of request) text += String(chunk);
    const { status, body } = this.#token(new URLSearchParams(text));
    reply(status, body);
  }

  #token(form: URLSearchParams): { status: number; body: unknown } {
    const known = this.#applications().find(({ client }) => client === form.get('client_id'));
    const tenant = this.#tenant;
    const scope = form
      .get('scope')
      ?.split(' ')
      .find((one) => one.endsWith('/.default'));
    if (form.get('grant_type') !== 'client_credentials')
      return {
        status: 400,
        body: refusal('unsupported_grant_type', 70003, 'Only client credentials are served here.'),
      };
    if (!known)
      return {
        status: 400,
        body: refusal(
          'unauthorized_client',
          700016,
          `Application with identifier '${form.get('client_id')}' was not found.`,
        ),
      };
    if (form.get('client_secret') !== known.secret)
      return { status: 401, body: refusal('invalid_client', 7000215, 'Invalid client secret provided.') };
    if (!scope) return { status: 400, body: refusal('invalid_scope', 70011, 'The scope must end with /.default.') };
    const now = Math.floor(Date.now() / 1000);
    const claims = {
      aud: trimmed(scope.slice(0, -'/.default'.length)),
      iss: `https://sts.windows.net/${tenant}/`,
      iat: now,
      nbf: now - 5,
      exp: now + lifetimeSeconds,
      appid: known.client,
      oid: known.object,
      sub: known.object,
      tid: tenant,
      ver: '1.0',
    };
    const head = `${encode({ typ: 'JWT', alg: 'RS256', kid: 'local' })}.${encode(claims)}`;
    const signature = createSign('RSA-SHA256').update(head).sign(this.#key).toString('base64url');
    return {
      status: 200,
      body: {
        token_type: 'Bearer',
        expires_in: lifetimeSeconds,
        ext_expires_in: lifetimeSeconds,
        access_token: `${head}.${signature}`,
      },
    };
  }
}

const refusal = (error: string, code: number, message: string) => ({
  error,
  error_description: `AADSTS${code}: ${message}`,
  error_codes: [code],
});
