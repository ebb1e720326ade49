/** A plan as people and programs see it, from the placements of the rules. Pure. */
import type { Reverted } from './applied.ts';
import type { Estate } from './estate.ts';
import { costOfEstate } from './estate-cost.ts';
import type { EstatePlan, ServicePlan } from './operations.ts';
import type { ServicePlacement } from './placement.ts';
import type { Proposal } from './proposals.ts';
import { replicatedTypes } from './service.ts';
import type { Sheets } from './sheets.ts';

export interface PlanContext {
  sheets: Sheets;
  /** Services that run and are not in the file any more. */
  gone: readonly Proposal[];
  reverts: readonly Reverted[];
  warnings: readonly string[];
}

/** Resource changes are filled in by who looked at the clouds. */
export function planView(
  estate: Estate,
  placed: readonly ServicePlacement[],
  { sheets, gone, reverts, warnings }: PlanContext,
): Omit<EstatePlan, 'hash'> {
  const { warnings: unpriced, ...cost } = costOfEstate(estate, placed, sheets);
  // The budget is the whole estate's: a part of it says nothing about that.
  const whole = placed.length === Object.keys(estate.services).length;
  return {
    estate: estate.name,
    services: placed.map(view),
    proposals: [...placed.flatMap(({ proposals }) => proposals), ...gone].map(({ service, text, command }) => ({
      service,
      text,
      command,
    })),
    warnings: [...warnings, ...unpriced],
    monthlyCostUsd: cost.monthlyUsd,
    cost: whole ? cost : { ...cost, budget: undefined },
    reverts: [...reverts],
    notServed: placed
      .filter(({ service, type }) => estate.services[service]?.replication && !replicatedTypes.includes(type))
      .map(({ service }) => `replication of ${service}: the wish is kept, this release does not serve it yet`),
  };
}

function view({ service, type, candidates, placements, assumptions }: ServicePlacement): ServicePlan {
  return {
    service,
    type,
    candidates: candidates.map(({ provider, region, chosen, reason, score, scores, monthlyUsd }) => ({
      provider,
      region,
      chosen,
      reason,
      ...(scores && { score, scores }),
      ...(monthlyUsd !== undefined && { monthlyCostUsd: monthlyUsd }),
    })),
    placements: placements.map(({ provider, region, existing, monthlyUsd, costLines }) => ({
      provider,
      region,
      existing,
      monthlyCostUsd: monthlyUsd,
      costLines,
      changes: [],
    })),
    assumptions,
  };
}
