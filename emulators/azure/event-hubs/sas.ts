/**
 * Shared access signatures: `SharedAccessSignature sr=<url-encoded resource>&sig=<base64>&se=<unix seconds>&skn=<policy>`,
 * the signature being HMAC-SHA256 over `<sr as sent>\n<se>`.
 * https://learn.microsoft.com/azure/event-hubs/authenticate-shared-access-signature
 */
import { createHmac, timingSafeEqual } from 'node:crypto';

export interface Signature {
  /** Decoded and lower case, without scheme and trailing slash: `hub1.azure-devices.net/devices/a`. */
  resource: string;
  policy: string | undefined;
  expiresMs: number;
  /** True if one of these keys made it. Event Hubs keys are taken as text, IoT Hub's own are base64-decoded first. */
  signedBy(keys: readonly string[], encoding: 'utf8' | 'base64'): boolean;
}

export function parseSignature(text: string): Signature | undefined {
  const [, query] = /^SharedAccessSignature (.+)$/.exec(text.trim()) ?? [];
  if (!query) return undefined;
  const raw = new Map(
    query.split('&').map((part): [string, string] => {
      const at = part.indexOf('=');
      return [part.slice(0, at), part.slice(at + 1)];
    }),
  );
  const [sr, sig, se] = [raw.get('sr'), raw.get('sig'), raw.get('se')];
  if (!sr || !sig || !se || !/^\d+$/.test(se)) return undefined;
  const decode = (value: string): string => {
    try {
      return decodeURIComponent(value);
    } catch {
      return '';
    }
  };
  const given = Buffer.from(decode(sig), 'base64');
  const resource = decode(sr)
    .toLowerCase()
    .replace(/^\w+:\/\//, '')
    .replace(/:\d+/, '')
    .replace(/\/$/, '');
  return {
    resource,
    policy: raw.get('skn') ? decode(raw.get('skn') ?? '') : undefined,
    expiresMs: Number(se) * 1000,
    signedBy: (keys, encoding) =>
      keys.some((key) => {
        const made = createHmac('sha256', Buffer.from(key, encoding)).update(`${sr}\n${se}`).digest();
        return made.length === given.length && timingSafeEqual(made, given);
      }),
  };
}

/** A signature for a resource covers everything below it. */
export const covers = (resource: string, path: string): boolean =>
  path.toLowerCase() === resource || path.toLowerCase().startsWith(`${resource}/`);
