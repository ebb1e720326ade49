/** Making a records bucket where it is missing: a `storage` placement like others, kept longer. */
import type { Placement } from '../../model/service.ts';
import type { Cell, Provider } from '../providers/driver.ts';
import { type Pace, Resource } from '../providers/provision.ts';

export type EnsureBucket = (provider: Provider, placement: Placement, signal: AbortSignal) => Promise<void>;

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
  const ready = new Set<string>();

  return async (provider, placement, signal) => {
    const key = JSON.stringify([placement.account, placement.owner]);
    if (ready.has(key)) return;
    const cell = cellOf(provider, placement);
    const kept = { ...placement, configuration: { retention_days: retentionDays } };
    const outputs: Record<string, Record<string, string>> = {};
    for (const spec of cell.design(kept)) {
      const needs = Object.fromEntries(spec.needs.map((need) => [need, outputs[need] ?? {}]));
      const resource = new Resource(provider, cell, spec, { placement: kept, needs, signal });
      outputs[spec.key] = (await resource.ensure(pace(), { repair })).outputs;
    }
    ready.add(key);
  };
}
