/**
 * Who may use the codec server: whoever shows its token. Temporal's CLI and a proxy send it as a header. Temporal's UI
 * cannot: without a sign-in of its own it sends a codec server cookies alone ("include cross-origin credentials"). So a
 * person shows the token once, on the page that the server offers, and the browser gets a cookie that ends by itself.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';

const cookieName = 'multi-cloud-codec';
export const sessionHours = 8;

export class CodecAccess {
  readonly #token: string;
  readonly #origins: readonly string[];
  /** For comparisons that take as long whatever is compared, and so tell nothing of the token. */
  readonly #salt = randomBytes(32);

  constructor(token: string, origins: readonly string[]) {
    this.#token = token;
    this.#origins = origins;
  }

  isAllowedOrigin(origin: string): boolean {
    return this.#origins.includes(origin);
  }

  isToken(given: string): boolean {
    return this.#isSame(given, this.#token);
  }

  /** Cookies count for browsers alone, which always say where a request comes from. */
  mayUse({ authorization, cookie, origin }: IncomingHttpHeaders): boolean {
    if (authorization !== undefined) return this.#isSame(authorization, `Bearer ${this.#token}`);
    return origin !== undefined && this.#isSession(cookieOf(cookie));
  }

  /** `Set-Cookie` of somebody who has shown the token. A cookie of one host is sent to all its ports: it holds no token. */
  newSession(secure: boolean, now = Date.now()): string {
    const ends = `${now + sessionHours * 3_600_000}`;
    return `${cookieName}=${ends}.${this.#sealOf(ends)}; HttpOnly; SameSite=Strict; Path=/; Max-Age=${sessionHours * 3600}${secure ? '; Secure' : ''}`;
  }

  #isSession(value: string): boolean {
    const [ends = '', seal = ''] = value.split('.');
    return this.#isSame(seal, this.#sealOf(ends)) && Number(ends) > Date.now();
  }

  #sealOf(ends: string): string {
    return createHmac('sha256', this.#token).update(`codec session until ${ends}`).digest('base64url');
  }

  #isSame(a: string, b: string): boolean {
    const digest = (value: string): Buffer => createHmac('sha256', this.#salt).update(value).digest();
    return timingSafeEqual(digest(a), digest(b));
  }
}

function cookieOf(header = ''): string {
  const one = header
    .split(';')
    .map((pair) => pair.trim())
    .find((pair) => pair.startsWith(`${cookieName}=`));
  return one?.slice(cookieName.length + 1) ?? '';
}
