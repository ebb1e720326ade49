/**
 * A Google API as its discovery document publishes it: which method a request means, and whether its parameters and body
 * are what that method takes. Unknown fields are refused, as Google's own front end does.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { z } from 'zod';
import type { Json, JsonObject } from '../../model/service.ts';

interface Schema {
  type?: string | undefined;
  $ref?: string | undefined;
  format?: string | undefined;
  enum?: string[] | undefined;
  pattern?: string | undefined;
  readOnly?: boolean | undefined;
  properties?: Record<string, Schema> | undefined;
  additionalProperties?: Schema | undefined;
  items?: Schema | undefined;
}
const Schema: z.ZodType<Schema> = z.lazy(() =>
  z.object({
    type: z.string().optional(),
    $ref: z.string().optional(),
    format: z.string().optional(),
    enum: z.array(z.string()).optional(),
    pattern: z.string().optional(),
    readOnly: z.boolean().optional(),
    properties: z.record(z.string(), Schema).optional(),
    additionalProperties: Schema.optional(),
    items: Schema.optional(),
  }),
);

const Parameter = z.object({
  location: z.string(),
  required: z.boolean().optional(),
  repeated: z.boolean().optional(),
  type: z.string(),
  pattern: z.string().optional(),
  enum: z.array(z.string()).optional(),
});

const Method = z.object({
  id: z.string(),
  httpMethod: z.string(),
  path: z.string(),
  flatPath: z.string(),
  parameters: z.record(z.string(), Parameter).default({}),
  request: z.object({ $ref: z.string() }).optional(),
  response: z.object({ $ref: z.string() }).optional(),
});

const Document = z.object({
  revision: z.string(),
  servicePath: z.string(),
  parameters: z.record(z.string(), Parameter),
  methods: z.array(Method),
  schemas: z.record(z.string(), Schema),
});

export interface Called {
  /** `compute.networks.insert`. */
  id: string;
  /** Path parameters under the names of the flat path. */
  path: Record<string, string>;
  requestSchema: string | undefined;
}

export interface Definition {
  /** The method that a request calls, or undefined. `path` without query, decoded by this function. */
  match(httpMethod: string, path: string): Called | undefined;
  /** What is wrong with the query of a call, or undefined. */
  checkQuery(called: Called, query: URLSearchParams): string | undefined;
  /** What is wrong with a body of that schema, or undefined. */
  checkBody(schema: string, body: Json, at?: string): string | undefined;
  /** Names of the properties of a schema. */
  properties(schema: string): string[];
}

export function loadDefinition(name: string): Definition {
  const bytes = gunzipSync(readFileSync(join(import.meta.dirname, 'definitions', `${name}.json.gz`)));
  const document = Document.parse(JSON.parse(bytes.toString('utf8')));
  const methods = document.methods.map((method) => ({
    ...method,
    route: route(document.servicePath, method.flatPath),
  }));
  const byId = new Map(methods.map((method) => [method.id, method]));

  const check = (schema: Schema, value: Json, at: string): string | undefined => {
    if (schema.$ref) return check(document.schemas[schema.$ref] ?? {}, value, at);
    // Compute takes null as "not set" in a JSON merge patch.
    if (value === null) return undefined;
    switch (schema.type) {
      case 'object': {
        if (typeof value !== 'object' || Array.isArray(value)) return `${at}: an object is expected`;
        for (const [key, item] of Object.entries(value)) {
          const property = schema.properties?.[key] ?? schema.additionalProperties;
          if (!property) return `${at}: unknown field "${key}"`;
          const problem = check(property, item, `${at}.${key}`);
          if (problem) return problem;
        }
        return undefined;
      }
      case 'array': {
        if (!Array.isArray(value)) return `${at}: an array is expected`;
        for (const [index, item] of value.entries()) {
          const problem = check(schema.items ?? {}, item, `${at}[${index}]`);
          if (problem) return problem;
        }
        return undefined;
      }
      case 'string':
        return checkString(schema, value, at);
      case 'integer':
      case 'number':
        return typeof value === 'number' || (typeof value === 'string' && /^-?\d+(\.\d+)?$/.test(value))
          ? undefined
          : `${at}: a number is expected`;
      case 'boolean':
        return typeof value === 'boolean' ? undefined : `${at}: a boolean is expected`;
      default:
        return undefined;
    }
  };

  return {
    match(httpMethod, path) {
      for (const method of methods) {
        if (method.httpMethod !== httpMethod) continue;
        const found = method.route.exec(path);
        if (!found) continue;
        const values = Object.fromEntries(
          Object.entries(found.groups ?? {}).map(([key, value]) => [key, decodeURIComponent(value)]),
        );
        return { id: method.id, path: values, requestSchema: method.request?.$ref };
      }
      return undefined;
    },
    checkQuery(called, query) {
      const known = { ...document.parameters, ...byId.get(called.id)?.parameters };
      for (const [key] of query)
        if (known[key]?.location !== 'query' && !key.startsWith('$')) return `unknown query parameter "${key}"`;
      for (const [key, parameter] of Object.entries(known))
        if (parameter.location === 'query' && parameter.required && !query.has(key))
          return `query parameter "${key}" is required`;
      return undefined;
    },
    checkBody: (schema, body, at = 'resource') => check({ $ref: schema }, body, at),
    properties: (schema) => Object.keys(document.schemas[schema]?.properties ?? {}),
  };
}

function checkString(schema: Schema, value: Json, at: string): string | undefined {
  // 64-bit integers are strings in Google's JSON; numbers are taken as well.
  if (schema.format === 'int64' || schema.format === 'uint64')
    return /^-?\d+$/.test(String(value)) ? undefined : `${at}: an integer is expected`;
  if (typeof value !== 'string') return `${at}: a string is expected`;
  if (schema.enum && !schema.enum.includes(value))
    return `${at}: "${value}" is not one of ${schema.enum.slice(0, 8).join(', ')}`;
  if (schema.pattern && !new RegExp(`^(?:${schema.pattern.replace('-_]', '_-]')})$`).test(value))
    return `${at}: "${value}" does not match ${schema.pattern}`;
  return undefined;
}

const route = (servicePath: string, flatPath: string): RegExp =>
  new RegExp(
    `^/${servicePath}${flatPath}$`
      .replace(/[.$]/g, (sign) => (sign === '$' ? '$' : '\\.'))
      .replace(/\{(\w+)\}/g, (_, name: string) => `(?<${name}>[^/:]+)`),
  );

export const isObject = (value: Json | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
