/** Finds the part of a zod schema that a path of a value belongs to, so that an error can say what is allowed there. */
import { z } from 'zod';

/** Without the wrappers for optional, default and null. A description on a wrapper is kept. */
function bare(schema: z.core.$ZodType): { schema: z.core.$ZodType; description: string | undefined } {
  let description: string | undefined;
  let inner = schema;
  while (
    inner instanceof z.ZodOptional ||
    inner instanceof z.ZodDefault ||
    inner instanceof z.ZodPrefault ||
    inner instanceof z.ZodNullable
  ) {
    description ??= inner.description;
    inner = inner.unwrap();
  }
  return { schema: inner, description: description ?? (inner instanceof z.ZodType ? inner.description : undefined) };
}

const property = (value: unknown, key: PropertyKey): unknown =>
  typeof value === 'object' && value !== null && Object.hasOwn(value, key)
    ? (Object.getOwnPropertyDescriptor(value, key)?.value as unknown)
    : undefined;

/** The option of a union that the value's own tag picks, if it picks one. */
function option(union: z.ZodDiscriminatedUnion, value: unknown): z.core.$ZodType | undefined {
  const tag = property(value, union.def.discriminator);
  return union.options.find((one) => {
    const literal = one instanceof z.ZodObject ? bare(one.shape[union.def.discriminator]).schema : undefined;
    return literal instanceof z.ZodLiteral && literal.def.values.includes(tag as string);
  });
}

function step(schema: z.core.$ZodType, value: unknown, key: PropertyKey): z.core.$ZodType | undefined {
  const inner = bare(schema).schema;
  if (inner instanceof z.ZodObject) return inner.shape[String(key)];
  if (inner instanceof z.ZodArray) return inner.element;
  if (inner instanceof z.ZodRecord) return inner.valueType;
  if (inner instanceof z.ZodDiscriminatedUnion) {
    const picked = option(inner, value);
    if (picked) return step(picked, value, key);
    if (key !== inner.def.discriminator) return undefined;
    const tags = inner.options.flatMap((one) => (one instanceof z.ZodObject ? [one.shape[key as string]] : []));
    const values = tags.flatMap((tag) => (tag instanceof z.ZodLiteral ? [...tag.def.values].map(String) : []));
    return z.string().describe(values.join(', '));
  }
  return undefined;
}

export interface Place {
  /** What is allowed there. */
  allowed: string;
  /** Keys that a mapping there may have; undefined where any may. */
  keys?: string[] | undefined;
}

function place(schema: z.core.$ZodType, value: unknown): Place {
  const { schema: inner, description } = bare(schema);
  const object = inner instanceof z.ZodDiscriminatedUnion ? (option(inner, value) ?? inner.options[0]) : inner;
  const keys = object instanceof z.ZodObject ? Object.keys(object.shape) : undefined;
  const allowed =
    description ??
    (keys && `a mapping with the keys ${keys.join(', ')}`) ??
    (inner instanceof z.ZodArray ? 'a list' : inner instanceof z.ZodRecord ? 'a mapping' : 'another value');
  return { allowed, keys };
}

/** What the schema says about the place that `path` leads to, in a value that need not fit the schema. */
export function placeAt(schema: z.core.$ZodType, value: unknown, path: readonly PropertyKey[]): Place {
  let at: z.core.$ZodType | undefined = schema;
  let here = value;
  for (const key of path) {
    at = at && step(at, here, key);
    here = property(here, key);
  }
  return at ? place(at, here) : { allowed: 'another value' };
}
