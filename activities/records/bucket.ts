/** Making a records bucket where it is missing: a `storage` placement like others, kept longer. */
import type { RecordedResource } from '../../model/record.ts';
import type { Placement } from '../../model/service.ts';
import type { Cell, Provider } from '../providers/driver.ts';
import { type Pace, Resource } from '../providers/provision.ts';

/** Answers with its resources, by which its store is found. */
export type EnsureBucket = (
  provider: Provider,
  placement: Placement,
  signal: AbortSignal,
) => Promise<readonly RecordedResource[]>;

export function recordsBuckets({
  cellOf,
  pace,
  retentionDays,
  repair,
}: {
  cellOf(provider: Provider, placement: Placement): Cell;
  pace(): Pace;
  /** How long what is in a records bucket is kept, days. */
  retentionDays: number;
  /** Whether one that is there is repaired: by whoever creates, while others take it as it is. */
  repair: boolean;
}): EnsureBucket {
  /** Those that this worker has seen ready. */
  const ready = new Map<string, RecordedResource[]>();

  return async (provider, placement, signal) => {
    const key = JSON.stringify([placement.account, placement.owner]);
    const known = ready.get(key);
    if (known) return known;
    const cell = cellOf(provider, placement);
    const kept = { ...placement, configuration: { retention_days: retentionDays } };
    const outputs: Record<string, Record<string, string>> = {};
    const resources: RecordedResource[] = [];
    for (const spec of cell.design(kept)) {
      const needs = Object.fromEntries(spec.needs.map((need) => [need, outputs[need] ?? {}]));
      const resource = new Resource(provider, cell, spec, { placement: kept, needs, signal });
      const ensured = await resource.ensure(pace(), { repair });
      outputs[spec.key] = ensured.outputs;
      const { kind, name, needs: after, holdsData } = spec;
      resources.push({ key: spec.key, kind, name, id: ensured.id, needs: after, holdsData, outputs: ensured.outputs });
    }
    ready.set(key, resources);
    return resources;
  };
}
