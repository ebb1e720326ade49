/** What a plan decides, as one hash: an approval is for these decisions, and two runs with the same hash do the same. */
import type { EstatePlan } from './operations.ts';
import { sha256Hex } from './sha256.ts';

/** Covers placements, resource changes and cost to the dollar; not scores, measurements, names or generations. */
export function planHash(plan: Omit<EstatePlan, 'hash'>): string {
  const decisions = plan.services
    .map(({ service, type, placements, endpoint }) => ({
      service,
      type,
      ...(endpoint && { endpoint }),
      placements: placements
        .map(({ provider, region, existing, monthlyCostUsd, changes }) => ({
          provider,
          region,
          existing,
          dollars: Math.round(monthlyCostUsd),
          changes: changes.map(({ key, action, drift }) => ({ key, action, drift: drift.toSorted() })),
        }))
        .toSorted((a, b) => (a.provider < b.provider ? -1 : 1)),
    }))
    .toSorted((a, b) => (a.service < b.service ? -1 : 1));
  return sha256Hex(JSON.stringify([plan.estate, decisions]));
}
