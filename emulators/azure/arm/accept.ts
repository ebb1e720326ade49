/** What every resource provider does with a body: parse it, and say in ARM's words what is wrong with it. */
import type { z } from 'zod';

/** A refusal in ARM's own terms. */
export class Refusal extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export type Properties = Record<string, unknown>;

/** Parses what a client sent; what only the service may set is ignored, as ARM does, everything unknown is refused. */
export function accept<T>(schema: z.ZodType<T>, body: unknown, readOnly: readonly string[] = []): T {
  const given = typeof body === 'object' && body !== null ? body : {};
  const writable = Object.fromEntries(Object.entries(given).filter(([name]) => !readOnly.includes(name)));
  const result = schema.safeParse(writable);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new Refusal(400, 'BadRequest', `${issue?.path.join('.') || 'properties'}: ${issue?.message}`);
}

export const asObject = (value: unknown): Properties =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : {};
