/** What is wrong with a value that should be an estate (or a part of one), in the estate file's own words. */
import { closest } from 'fastest-levenshtein';
import type { z } from 'zod';
import { isSecretPath } from './placeholders.ts';
import { placeAt } from './schema-walk.ts';

export interface Problem {
  path: readonly PropertyKey[];
  found: string;
  allowed: string;
  /** The path's last part is a key that should not be there: the line is the key's, not the value's. */
  atKey?: boolean | undefined;
}

/** `services.iot_core.redundancy`, `providers[0].name`; '(file)' for the whole. */
export const pathText = (path: readonly PropertyKey[]): string =>
  path.reduce<string>(
    (text, part) =>
      typeof part === 'number' ? `${text}[${part}]` : text ? `${text}.${clip(String(part))}` : clip(String(part)),
    '',
  ) || '(file)';

const clip = (text: string): string => {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters must not reach a terminal
  const clean = text.replaceAll(/[\u0000-\u001f\u007f-\u009f]/g, ' ');
  return clean.length > 60 ? `${clean.slice(0, 57)}...` : clean;
};

const listed = 20;

/** Names of the file to choose from, which may be as long and as many as the file makes them. */
export const oneOf = (names: readonly string[]): string =>
  names.length === 0
    ? 'nothing: there is none'
    : `${names.slice(0, listed).map(clip).join(', ')}${names.length > listed ? ` and ${names.length - listed} more` : ''}`;

/** A value as it may be shown: short, and never a secret. */
export function shown(value: unknown, path: readonly PropertyKey[]): string {
  if (value === undefined) return 'nothing';
  if (isSecretPath(path)) return 'a value that is not shown';
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === 'object' && value !== null) return 'a mapping';
  return clip(typeof value === 'string' ? JSON.stringify(value) : String(value));
}

export function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  let here = value;
  for (const key of path) {
    if (typeof here !== 'object' || here === null || !Object.hasOwn(here, key)) return undefined;
    here = Object.getOwnPropertyDescriptor(here, key)?.value as unknown;
  }
  return here;
}

const nearest = (key: string, known: readonly string[]): string =>
  known.length === 0
    ? 'no key at all'
    : `${known.join(', ')}${closest(key, known) ? `; nearest: ${closest(key, known)}` : ''}`;

/** Problems of `value` by its schema; `at` is where the value stands in the file. */
export function schemaProblems(schema: z.ZodType, value: unknown, at: readonly PropertyKey[] = []): Problem[] {
  const result = schema.safeParse(value);
  if (result.success) return [];
  return result.error.issues.flatMap((issue): Problem[] => {
    const path = [...at, ...issue.path];
    const { allowed, keys = [] } = placeAt(schema, value, issue.path);
    if (issue.code === 'unrecognized_keys')
      return issue.keys.map((key) => ({
        path: [...path, key],
        found: `the unknown key ${clip(JSON.stringify(key))}`,
        allowed: nearest(key, keys),
        atKey: true,
      }));
    if (issue.code === 'invalid_key')
      return [
        {
          path,
          found: `the key ${clip(JSON.stringify(String(path.at(-1))))}`,
          allowed: 'a key that matches [a-z][a-z0-9_-]{0,30}',
          atKey: true,
        },
      ];
    return [{ path, found: shown(valueAt(value, issue.path), path), allowed }];
  });
}
