/** The planning activity: placements by the pure rules of the model, with the worker's dated sheets. Looks at no cloud. */
import { ApplicationFailure } from '@temporalio/activity';
import type { EstatePlan, PlannedPlacement, ServicePlan } from '../../model/operations.ts';
import { type ExistingPlacement, placeService } from '../../model/placement.ts';
import { removedFromFile } from '../../model/proposals.ts';
import type { RecordedPlacement, ServiceRecord } from '../../model/record.ts';
import type { Placement, ServiceType } from '../../model/service.ts';
import type { Sheets } from '../../model/sheets.ts';
import type { Identity } from '../registry/registry.ts';
import type { LoadedEstate } from './load.ts';

export interface PlaceRequest {
  loaded: LoadedEstate;
  /** Names of the services to place. */
  only: readonly string[];
  records: Record<string, ServiceRecord>;
  identity: Identity;
  /** By provider: the account that its credentials belong to. */
  accounts: Record<string, string>;
}

export interface Placed {
  /** Without the resource changes, which only the clouds can tell. */
  plan: Omit<EstatePlan, 'hash'>;
  services: {
    service: string;
    type: ServiceType;
    placements: Omit<PlannedPlacement, 'specs' | 'changes'>[];
  }[];
}

export function createPlacementActivities({ sheets }: { sheets: Sheets }) {
  return {
    async placeServices({ loaded, only, records, identity, accounts }: PlaceRequest): Promise<Placed> {
      const { estate } = loaded;
      const placed = only.map((service) => placeService(estate, service, sheets, current(records[service])));
      const errors = placed.flatMap(({ error }) => error ?? []);
      const [first] = errors;
      if (first) throw ApplicationFailure.nonRetryable(errors.map(({ message }) => message).join('\n'), first.type);

      const gone = Object.values(records)
        .filter(({ service, placements }) => placements.length > 0 && !estate.services[service])
        .map(({ service }) => removedFromFile(service));
      const views = placed.map(
        ({ service, type, candidates, placements, assumptions }): ServicePlan => ({
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
        }),
      );
      const byProvider: Record<string, number> = {};
      for (const { provider, monthlyCostUsd } of views.flatMap(({ placements }) => placements))
        byProvider[provider] = cents((byProvider[provider] ?? 0) + monthlyCostUsd);
      const monthlyCostUsd = cents(Object.values(byProvider).reduce((sum, one) => sum + one, 0));
      const { budget, alert_threshold } = estate.cost;
      const overAlert = budget !== undefined && monthlyCostUsd > budget * alert_threshold;
      return {
        plan: {
          estate: estate.name,
          services: views,
          proposals: [...placed.flatMap(({ proposals }) => proposals), ...gone],
          warnings: [
            ...loaded.warnings,
            ...(overAlert
              ? [`$${monthlyCostUsd.toFixed(2)} a month is over ${alert_threshold * 100} % of the budget of $${budget}`]
              : []),
          ],
          monthlyCostUsd,
          ...(budget !== undefined && { budgetUsd: budget }),
          byProvider,
          notServed: only
            .filter((service) => estate.services[service]?.replication)
            .map((service) => `replication of ${service}: the wish is kept, this release does not serve it yet`),
        },
        services: placed.map(({ service, type, placements }) => ({
          service,
          type,
          placements: placements.map(({ provider, providerType, region, monthlyUsd }) => {
            const record = records[service];
            const before = record?.placements.find((one) => one.provider === provider && one.role === 'current');
            const wanted = estate.services[service];
            const placement: Placement = {
              owner: {
                estate: estate.name,
                uid: identity.uid,
                service,
                controller: identity.controller,
                generation: before?.generation ?? (record?.generations[provider] ?? 0) + 1,
              },
              type,
              provider,
              providerType,
              region,
              account: before?.account ?? accounts[provider] ?? '',
              configuration: wanted?.configuration ?? {},
            };
            return { placement, ...(before && { before }), monthlyCostUsd: monthlyUsd };
          }),
        })),
      };
    },
  };
}

const current = (record: ServiceRecord | undefined): ExistingPlacement[] =>
  (record?.placements ?? []).filter(({ role }: RecordedPlacement) => role === 'current');

const cents = (usd: number): number => Math.round(usd * 100) / 100;
