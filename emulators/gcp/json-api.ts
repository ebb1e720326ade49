/** What the JSON APIs of the local cloud have in common: who calls, which method, whether its input is what Google publishes. */
import type { IncomingHttpHeaders } from 'node:http';
import type { Json, JsonObject } from '../../model/service.ts';
import { type Called, type Definition, isObject } from './compute-definition.ts';
import { GoogleError } from './google-error.ts';

export interface Answer {
  status: number;
  body: Json;
  headers?: Record<string, string>;
}

export interface ApiRequest {
  method: string;
  url: URL;
  headers: IncomingHttpHeaders;
  /** Parsed JSON, or undefined. */
  body: Json | undefined;
  /** Email of the calling account. */
  caller: string;
  /** Aborts when the caller has hung up. */
  signal: AbortSignal;
}

/** One API behind a host name. */
export interface Api {
  handle(request: ApiRequest): Promise<Answer> | Answer;
  stop?(): Promise<void> | void;
}

/** Finds the method that is called and checks its parameters and its body. */
export function matched(definition: Definition, { method, url, body }: ApiRequest): Called & { content: JsonObject } {
  const called = definition.match(method, url.pathname);
  if (!called) throw new GoogleError('notFound', `${method} ${url.pathname} is not served by the local cloud`);
  const content = isObject(body) ? body : {};
  const problem =
    definition.checkQuery(called, url.searchParams) ??
    (called.requestSchema ? definition.checkBody(called.requestSchema, content) : undefined);
  if (problem) throw new GoogleError('invalid', `Invalid JSON payload received. ${problem}`);
  return { ...called, content };
}

/** A page of a list: the items after the token, and the next token where there are more. */
export function page<T>(all: readonly T[], size: number, token: string | null): { items: T[]; next: JsonObject } {
  const start = token ? Number(Buffer.from(token, 'base64url').toString('utf8')) : 0;
  if (!Number.isInteger(start) || start < 0) throw new GoogleError('invalid', 'Invalid page token');
  const end = start + size;
  const next: JsonObject = end < all.length ? { nextPageToken: Buffer.from(String(end)).toString('base64url') } : {};
  return { items: all.slice(start, end), next };
}

/** `fields=items(name,generation),nextPageToken`: https://cloud.google.com/storage/docs/json_api#partial-response. */
export function selected(body: Json, fields: string | null): Json {
  return fields ? select(body, parseFields(fields)) : body;
}

type Fields = Map<string, Fields | undefined>;

const parsedFields = new Map<string, Fields>();
function parseFields(text: string): Fields {
  let fields = parsedFields.get(text);
  if (!fields) {
    let at = 0;
    const list = (): Fields => {
      const names: Fields = new Map();
      while (at < text.length) {
        const [name = ''] = /^[\w*-]*/.exec(text.slice(at)) ?? [];
        at += name.length;
        const sign = text[at];
        if (sign === '/') {
          at++;
          names.set(name, one());
        } else if (sign === '(') {
          at++;
          names.set(name, list());
          at++;
        } else names.set(name, undefined);
        if (text[at] !== ',') break;
        at++;
      }
      return names;
    };
    const one = (): Fields => {
      const [name = ''] = /^[\w*-]*/.exec(text.slice(at)) ?? [];
      at += name.length;
      if (text[at] === '/') {
        at++;
        return new Map([[name, one()]]);
      }
      if (text[at] === '(') {
        at++;
        const inner = list();
        at++;
        return new Map([[name, inner]]);
      }
      return new Map([[name, undefined]]);
    };
    fields = list();
    if (at < text.length) throw new GoogleError('invalid', `Invalid field selection ${text}`);
    parsedFields.set(text, fields);
  }
  return fields;
}

function select(value: Json, fields: Fields): Json {
  if (Array.isArray(value)) return value.map((item) => select(item, fields));
  if (!isObject(value)) return value;
  const chosen: JsonObject = {};
  for (const [key, item] of Object.entries(value)) {
    if (!fields.has(key) && !fields.has('*')) continue;
    const inner = fields.get(key) ?? fields.get('*');
    chosen[key] = inner ? select(item, inner) : item;
  }
  return chosen;
}

/** JSON merge patch (RFC 7396). */
export function mergePatch(before: Json | undefined, patch: Json): Json {
  if (!isObject(patch)) return patch;
  const merged: JsonObject = isObject(before) ? { ...before } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete merged[key];
    else merged[key] = mergePatch(merged[key], value);
  }
  return merged;
}

const labelKey = /^[\p{Ll}\p{Lo}][\p{Ll}\p{Lo}\p{N}_-]{0,62}$/u;
const labelValue = /^[\p{Ll}\p{Lo}\p{N}_-]{0,63}$/u;

/** Rules of labels, the same on every service: https://cloud.google.com/resource-manager/docs/labels-overview#requirements. */
export function checkLabels(labels: Json | undefined): void {
  if (!isObject(labels)) return;
  if (Object.keys(labels).length > 64) throw new GoogleError('invalid', 'A resource can have at most 64 labels.');
  for (const [key, value] of Object.entries(labels)) {
    if (!labelKey.test(key)) throw new GoogleError('invalid', `Invalid label key: ${key}`);
    if (value !== null && (typeof value !== 'string' || !labelValue.test(value)))
      throw new GoogleError('invalid', `Invalid value of label ${key}`);
  }
}
