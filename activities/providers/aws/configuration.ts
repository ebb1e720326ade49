/** Reads of a placement's configuration, which was validated against its type's schema before: here only absence is expected. */
import type { Configuration } from '../../../model/service.ts';

/** A number of at least 1, rounded up, or undefined. */
export function numberIn(configuration: Configuration, key: string): number | undefined {
  const value = configuration[key];
  return typeof value === 'number' && Number.isFinite(value) && value >= 1 ? Math.ceil(value) : undefined;
}

export function textIn(configuration: Configuration, key: string): string | undefined {
  const value = configuration[key];
  return typeof value === 'string' && value ? value : undefined;
}
