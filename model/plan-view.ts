/** A plan as people and programs see it, from the placements of the rules. Pure. */
import type { Estate } from './estate.ts';
import type { EstatePlan, ServicePlan } from './operations.ts';
import type { ServicePlacement } from './placement.ts';
import type { Proposal } from './proposals.ts';

const cents = (usd: number): number => Math.round(usd * 100) / 100;

/** `gone`: proposals for services that run and are not in the file any more. Resource changes are filled in by who looked at the clouds. */
export function planView(
  estate: Estate,
  placed: readonly ServicePlacement[],
  gone: readonly Proposal[],
  warnings: readonly string[],
): Omit<EstatePlan, 'hash'> {
  const services = placed.map(view);
  const byProvider: Record<string, number> = {};
  for (const { provider, monthlyCostUsd } of services.flatMap(({ placements }) => placements))
    byProvider[provider] = cents((byProvider[provider] ?? 0) + monthlyCostUsd);
  const monthlyCostUsd = cents(Object.values(byProvider).reduce((sum, one) => sum + one, 0));
  const { budget, alert_threshold: threshold } = estate.cost;
  const alert = budget !== undefined && monthlyCostUsd > budget * threshold;
  return {
    estate: estate.name,
    services,
    proposals: [...placed.flatMap(({ proposals }) => proposals), ...gone].map(({ service, text, command }) => ({
      service,
      text,
      command,
    })),
    warnings: [
      ...warnings,
      ...(alert
        ? [`$${monthlyCostUsd.toFixed(2)} a month is over ${threshold * 100} % of the budget of $${budget}`]
        : []),
    ],
    monthlyCostUsd,
    ...(budget !== undefined && { budgetUsd: budget }),
    byProvider,
    notServed: placed
      .filter(({ service }) => estate.services[service]?.replication)
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
