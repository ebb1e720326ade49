/**
 * Who calls: access tokens for service accounts, given for a JWT signed with a trusted key (RFC 7523) or to a machine, and
 * the JWTs that Google's libraries sign themselves and send in place of a token.
 */
import { createHmac, randomBytes, timingSafeEqual, verify } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { JsonObject } from '../../model/service.ts';
import { GoogleError } from './google-error.ts';
import { keysChangedAt, type TrustedKey, trustedKeys } from './service-account-key.ts';

/** `invalid_grant` and the like of the token endpoint. */
export class GrantError extends Error {
  readonly body: JsonObject;
  constructor(error: string, description: string) {
    super(description);
    this.body = { error, error_description: description };
  }
}

const Header = z.object({ alg: z.literal('RS256'), kid: z.string().optional() });
const Claims = z.object({
  iss: z.string(),
  sub: z.string().optional(),
  aud: z.string().optional(),
  scope: z.string().optional(),
  iat: z.number(),
  exp: z.number(),
});
const Token = z.object({ email: z.string(), exp: z.number() });

const tokenSeconds = 3600;
/** How far the caller's clock may be off. */
const skewSeconds = 300;
const audiences = [
  'https://oauth2.googleapis.com/token',
  'https://www.googleapis.com/oauth2/v4/token',
  'https://accounts.google.com/o/oauth2/token',
];

export class Identity {
  readonly #state: string;
  readonly #secret: Buffer;
  readonly #exists: (email: string) => boolean;
  #keys: TrustedKey[] = [];
  #emails: string[] = [];
  #keysChanged = 0;
  /** Verified bearer values, until when they hold. */
  readonly #known = new Map<string, { email: string; until: number; host: string | undefined }>();

  /** `exists` tells whether a service account is there and enabled. */
  constructor(state: string, exists: (email: string) => boolean) {
    this.#state = state;
    this.#exists = exists;
    const file = join(state, 'token-secret');
    mkdirSync(state, { recursive: true });
    if (!existsSync(file)) writeFileSync(file, randomBytes(32), { mode: 0o600 });
    this.#secret = readFileSync(file);
    this.#keys = trustedKeys(state);
  }

  /** Accounts that a key of ours was made for. */
  keyed(): string[] {
    this.#look();
    return this.#emails;
  }

  issue(email: string): { access_token: string; expires_in: number; token_type: string } {
    const exp = Math.floor(Date.now() / 1000) + tokenSeconds;
    const content = Buffer.from(JSON.stringify({ email, exp })).toString('base64url');
    return { access_token: `ya29.${content}.${this.#sign(content)}`, expires_in: tokenSeconds, token_type: 'Bearer' };
  }

  /** The token endpoint, with the JWT bearer grant. */
  grant(form: URLSearchParams): JsonObject {
    if (form.get('grant_type') !== 'urn:ietf:params:oauth:grant-type:jwt-bearer')
      throw new GrantError('unsupported_grant_type', `Invalid grant_type: ${form.get('grant_type') ?? ''}`);
    const claims = this.#verify(form.get('assertion') ?? '');
    if (!claims) throw new GrantError('invalid_grant', 'Invalid JWT Signature.');
    const now = Date.now() / 1000;
    if (claims.exp - claims.iat > 3600 || claims.iat > now + skewSeconds || claims.exp < now - skewSeconds)
      throw new GrantError(
        'invalid_grant',
        'Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim.',
      );
    if (!audiences.includes(claims.aud ?? '')) throw new GrantError('invalid_grant', 'Invalid JWT: audience');
    if (!claims.scope) throw new GrantError('invalid_scope', 'Empty or missing scope not allowed.');
    if (!this.#accountExists(claims.iss)) throw new GrantError('invalid_grant', 'Invalid grant: account not found');
    return this.issue(claims.iss);
  }

  /** The account that an `Authorization` header speaks for. */
  authenticate(authorization: string | undefined, host: string): string {
    const bearer = /^Bearer (\S+)$/i.exec(authorization ?? '')?.[1];
    if (!bearer) throw new GoogleError('authError', 'Request is missing required authentication credential.');
    const known = this.#known.get(bearer);
    const now = Date.now() / 1000;
    const caller =
      known && known.until > now ? known : bearer.startsWith('ya29.') ? this.#token(bearer) : this.#selfSigned(bearer);
    if (!caller || caller.until <= now || (caller.host !== undefined && caller.host !== host))
      throw new GoogleError('authError', 'Request had invalid authentication credentials.');
    if (!this.#accountExists(caller.email)) throw new GoogleError('authError', 'Invalid Credentials');
    if (!known) {
      if (this.#known.size > 1000) this.#known.clear();
      this.#known.set(bearer, caller);
    }
    return caller.email;
  }

  /** Keys may be made after the start. */
  #look(): void {
    const changed = keysChangedAt(this.#state);
    if (changed === this.#keysChanged) return;
    this.#keysChanged = changed;
    this.#keys = trustedKeys(this.#state);
    this.#emails = this.#keys.map(({ email }) => email);
  }

  #accountExists(email: string): boolean {
    return this.#exists(email) || this.#keys.some((key) => key.email === email);
  }

  #token(bearer: string): { email: string; until: number; host: undefined } | undefined {
    const [, content = '', signature = ''] = bearer.split('.');
    const expected = Buffer.from(this.#sign(content));
    const given = Buffer.from(signature);
    if (expected.length !== given.length || !timingSafeEqual(expected, given)) return undefined;
    const { email, exp } = Token.parse(JSON.parse(Buffer.from(content, 'base64url').toString('utf8')));
    return { email, until: exp, host: undefined };
  }

  /** https://google.aip.dev/auth/4111: for one host (`aud`), or for any with `scope`. */
  #selfSigned(bearer: string): { email: string; until: number; host: string | undefined } | undefined {
    const claims = this.#verify(bearer);
    if (!claims || claims.iat > Date.now() / 1000 + skewSeconds) return undefined;
    const host = claims.scope ? undefined : /^https:\/\/([^/]+)\/?$/.exec(claims.aud ?? '')?.[1];
    if (!claims.scope && host === undefined) return undefined;
    return { email: claims.iss, until: claims.exp, host };
  }

  #verify(jwt: string): z.infer<typeof Claims> | undefined {
    const [header = '', payload = '', signature = '', ...more] = jwt.split('.');
    if (!signature || more.length > 0) return undefined;
    try {
      const { kid } = Header.parse(decode(header));
      const claims = Claims.parse(decode(payload));
      const signed = Buffer.from(`${header}.${payload}`);
      const matches = ({ id, email, publicKey }: TrustedKey): boolean =>
        email === claims.iss &&
        (kid === undefined || kid === id) &&
        verify('RSA-SHA256', signed, publicKey, Buffer.from(signature, 'base64url'));
      if (this.#keys.some(matches)) return claims;
      this.#look();
      return this.#keys.some(matches) ? claims : undefined;
    } catch {
      return undefined;
    }
  }

  #sign(content: string): string {
    return createHmac('sha256', this.#secret).update(content).digest('base64url');
  }
}

const decode = (part: string): unknown => JSON.parse(Buffer.from(part, 'base64url').toString('utf8'));
