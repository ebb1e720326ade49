/**
 * Who has applied which values of the estate's services. Whoever deploys an older file would take back, without noticing,
 * what somebody else has applied since: such values are found here, and the run asks. Pure.
 */
import { z } from 'zod';
import type { Service } from './estate.ts';

type Services = Readonly<Record<string, Service>>;

/** One value's last change. Values are JSON; `''` is none. */
export const AppliedChange = z.strictObject({ before: z.string(), by: z.string(), at: z.string() });
export type AppliedChange = z.infer<typeof AppliedChange>;

/** A value that goes back to what it was before somebody else changed it. */
export interface Reverted {
  /** As in the file: `services.compute.configuration.instance_count`. */
  path: string;
  /** JSON of what is applied now, and of what it would be again; `''` is none. */
  from: string;
  to: string;
  by: string;
  at: string;
}

interface Applied {
  services: Services;
  changes: Readonly<Record<string, AppliedChange>>;
}

/** The changes to remember after `services` were applied over what was there. */
export function changesAfter(
  last: Applied | undefined,
  services: Services,
  { by, at }: Pick<AppliedChange, 'by' | 'at'>,
): Record<string, AppliedChange> {
  if (!last) return {};
  const [old, now] = [leaves(last.services), leaves(services)];
  const changed = differing(old, now, services).map((path) => [path, { before: old.get(path) ?? '', by, at }]);
  return { ...last.changes, ...Object.fromEntries(changed) };
}

/** What applying `services` would take back, of values that another than `by` has changed. */
export function revertsOf(last: Applied | undefined, services: Services, by: string): Reverted[] {
  if (!last) return [];
  const [old, now] = [leaves(last.services), leaves(services)];
  return differing(old, now, services).flatMap((path) => {
    const change = last.changes[path];
    const to = now.get(path) ?? '';
    if (!change || change.by === by || change.before !== to) return [];
    return [{ path, from: old.get(path) ?? '', to, by: change.by, at: change.at }];
  });
}

/** A service that the file no longer has keeps running, so its values do not change. */
function differing(old: ReadonlyMap<string, string>, now: ReadonlyMap<string, string>, services: Services): string[] {
  const kept = Object.keys(services).map((service) => `services.${service}.`);
  return [...new Set([...old.keys(), ...now.keys()])]
    .filter((path) => old.get(path) !== now.get(path) && kept.some((prefix) => path.startsWith(prefix)))
    .sort();
}

/** A list is one value. */
function leaves(services: Services): Map<string, string> {
  const found = new Map<string, string>();
  const walk = (value: unknown, path: string): void => {
    if (typeof value === 'object' && value !== null && !Array.isArray(value))
      for (const [key, inner] of Object.entries(value)) walk(inner, `${path}.${key}`);
    else if (value !== undefined) found.set(path, JSON.stringify(value));
  };
  walk(services, 'services');
  return found;
}
