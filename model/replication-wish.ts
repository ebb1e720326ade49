/** What the estate file wishes of a service's replication. Rules between its fields stand beside it. */
import { z } from 'zod';
import { conflictRuleNames, SideName } from './conflict.ts';
import { Duration, durationMs } from './duration.ts';
import { oneOf, type Problem, shown, valueAt } from './estate-problems.ts';
import { Transformations } from './transformation.ts';

export const Replication = z.strictObject({
  mode: z.enum(['active-active', 'active-passive']).describe('active-active, active-passive'),
  /** The provider whose side takes the writes, or stands against all others. Left out: the first one placed. */
  source: SideName.optional(),
  conflict_resolution: z.enum(conflictRuleNames).describe(conflictRuleNames.join(', ')).default('last-write-wins'),
  /** Above it an alert. */
  latency_threshold_ms: z.int().min(1).max(86_400_000).describe('whole number of ms, 1 to 86400000').default(1000),
  /** More deleted objects, or as many replaced ones, in 10 minutes hold the direction and ask. */
  max_deletes: z
    .int()
    .min(1)
    .max(1_000_000_000)
    .describe('whole number of objects, 1 to 1000000000; left out: 1000 or 1 % of them, whichever is more')
    .optional(),
  /** How long a side may be cut off and still be brought in step without asking. */
  partition: Duration.default('24h'),
  /** How long it is remembered that a key was deleted. */
  tombstones: Duration.default('7d'),
  /** How often all sides are compared with each other. */
  verify_every: Duration.describe('a duration such as 6h, 24h, 7d; left out: 24h').optional(),
  transformations: Transformations.default([]),
});

export type Replication = z.infer<typeof Replication>;

/** Requests a second to each device registry; left out: half of what it takes (`registryCallsPerSecond`). */
export const RegistryCalls = z.number().min(1).max(10_000).optional();

/** `providers`: names that `source` may be. */
export function replicationProblems(
  replication: unknown,
  providers: readonly string[],
  at: readonly PropertyKey[],
): Problem[] {
  const problems: Problem[] = [];
  const mode = valueAt(replication, ['mode']);
  const rule = valueAt(replication, ['conflict_resolution']);
  const source = valueAt(replication, ['source']);
  if (typeof source === 'string' && !providers.includes(source))
    problems.push({ path: [...at, 'source'], found: shown(source, []), allowed: oneOf(providers) });
  else if (source !== undefined && mode === 'active-active' && rule !== 'source-wins')
    problems.push({
      path: [...at, 'source'],
      found: 'a source where all sides are equal',
      allowed: 'source with mode active-passive, or with conflict_resolution source-wins',
      atKey: true,
    });

  const [partition, tombstones] = [
    Duration.safeParse(valueAt(replication, ['partition']) ?? '24h'),
    Duration.safeParse(valueAt(replication, ['tombstones']) ?? '7d'),
  ];
  // The partition, and as long again until what was written in it has been carried over.
  if (partition.success && tombstones.success && durationMs(tombstones.data) < 2 * durationMs(partition.data))
    problems.push({
      path: [...at, 'tombstones'],
      found: tombstones.data,
      allowed: `at least twice partition (${partition.data}): what was deleted before it would come back`,
    });

  return [...problems, ...transformationProblems(replication, at)];
}

/** Where all sides are written, names and contents must be the same everywhere: what comes back would be another write. */
export function transformationProblems(replication: unknown, at: readonly PropertyKey[]): Problem[] {
  const problems: Problem[] = [];
  const mode = valueAt(replication, ['mode']);
  const transformations = valueAt(replication, ['transformations']);
  for (const [index, one] of Array.isArray(transformations) ? transformations.entries() : []) {
    const type = valueAt(one, ['type']);
    if (mode === 'active-active' && typeof type === 'string' && changing.includes(type))
      problems.push({
        path: [...at, 'transformations', index, 'type'],
        found: shown(type, []),
        allowed: 'filter with mode active-active; what changes keys or contents needs active-passive',
      });
    const alone = typeof one === 'object' && one !== null && Object.keys(one).length === 1;
    if (alone && (type === 'prefix' || type === 'filter'))
      problems.push({
        path: [...at, 'transformations', index],
        found: `${type} and nothing to do`,
        allowed: type === 'prefix' ? 'remove, add, or both' : 'prefix, suffix, max_mb, or several of them',
      });
  }
  return problems;
}

const changing = ['prefix', 'drop_field', 'redact_field'];

/** A device is its ID, its certificate and what its cloud can hold of it: none of that can be two, or be left out. */
export function fleetProblems(replication: unknown, at: readonly PropertyKey[]): Problem[] {
  const problems: Problem[] = [];
  if (valueAt(replication, ['conflict_resolution']) === 'keep-both')
    problems.push({
      path: [...at, 'conflict_resolution'],
      found: 'keep-both for iot_core',
      allowed: 'last-write-wins, source-wins: a device cannot be there twice',
    });
  const transformations = valueAt(replication, ['transformations']);
  for (const [index, one] of Array.isArray(transformations) ? transformations.entries() : []) {
    const type = valueAt(one, ['type']);
    if (typeof type === 'string' && changing.includes(type))
      problems.push({
        path: [...at, 'transformations', index, 'type'],
        found: `${shown(type, [])} for iot_core`,
        allowed: 'filter, by the IDs of devices',
      });
  }
  return problems;
}
