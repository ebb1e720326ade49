/** The planning activity: placements by the pure rules of the model, with the worker's dated sheets. Looks at no cloud. */
import { ApplicationFailure } from '@temporalio/activity';
import { revertsOf } from '../../model/applied.ts';
import { type CostLine, egress, type Unpriced } from '../../model/cost.ts';
import type { Estate } from '../../model/estate.ts';
import type { EstatePlan, PlannedPlacement } from '../../model/operations.ts';
import { placeService } from '../../model/placement.ts';
import { planView } from '../../model/plan-view.ts';
import { type Proposal, removedFromFile, typeChanged } from '../../model/proposals.ts';
import {
  begunPlacements,
  type EstateRecord,
  type Place,
  type RecordedPlacement,
  type ServiceRecord,
} from '../../model/record.ts';
import { regionsOf } from '../../model/region.ts';
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
  /** What was applied last, and who asks now. */
  lastApplied: EstateRecord['lastApplied'];
  by: string;
  /** Of the one service in `only`: which of its placements moves, and where to. */
  move?: Move | undefined;
}

/** Names of providers. */
export interface Move {
  from: string;
  to: string;
}

export interface Placed {
  /** Without the resource changes, which only the clouds can tell. */
  plan: Omit<EstatePlan, 'hash'>;
  services: {
    service: string;
    type: ServiceType;
    placements: Omit<PlannedPlacement, 'specs' | 'changes' | 'missing' | 'headroom'>[];
  }[];
}

export function createPlacementActivities({ sheets }: { sheets: Sheets }) {
  return {
    /** Where the estate may have put something: the regions of each enabled provider, its own and those of the zones. */
    async searchPlaces({ estate }: { estate: Estate }): Promise<Omit<Place, 'account'>[]> {
      return estate.providers
        .filter(({ enabled }) => enabled)
        .flatMap((provider) =>
          regionsOf(estate, provider, sheets.facts).map((region) => ({
            provider: provider.name,
            providerType: provider.type,
            region,
          })),
        );
    },

    /** What it costs, once, that so much leaves a placement's cloud. */
    async priceEgress({
      from: { provider, providerType, region },
      bytes,
    }: {
      from: Pick<RecordedPlacement, 'provider' | 'providerType' | 'region'>;
      bytes: number;
    }): Promise<CostLine | Unpriced> {
      const sheet = sheets.prices[providerType];
      if (!sheet) return { unpriced: `no price sheet for ${providerType}` };
      return egress(sheet, region, bytes / 1e9, `once: what ${provider} holds is copied`);
    },

    async placeServices(request: PlaceRequest): Promise<Placed> {
      const { loaded, only, identity, accounts, lastApplied, by } = request;
      const records = request.move ? withoutSource(request.records, only, request.move) : request.records;
      const running = asItRuns(loaded.estate, records);
      const { proposals } = running;
      const estate = request.move ? sentTo(running.estate, records, only, request.move) : running.estate;
      const placed = only.map((service) => placeService(estate, service, sheets, current(records[service])));
      const errors = placed.flatMap(({ error }) => error ?? []);
      const [first] = errors;
      if (first) throw ApplicationFailure.nonRetryable(errors.map(({ message }) => message).join('\n'), first.type);

      const gone = Object.values(records)
        // What a run is at work on, such as a rehearsal, it takes away itself.
        .filter(({ service, placements, holder }) => placements.length > 0 && !holder && !estate.services[service])
        .map(({ service }) => removedFromFile(service));
      const retyped = proposals.filter(({ service }) => only.includes(service));
      const planned = Object.fromEntries(Object.entries(estate.services).filter(([service]) => only.includes(service)));
      const reverts = revertsOf(lastApplied, planned, by);
      return {
        plan: planView(estate, placed, { sheets, gone: [...gone, ...retyped], reverts, warnings: loaded.warnings }),
        services: placed.map(({ service, type, placements }) => ({
          service,
          type,
          placements: placements.map(({ provider, providerType, region, monthlyUsd }) => {
            const record = records[service];
            const before = currentPlacements(record).find((one) => one.provider === provider);
            const open = record?.intents.find(({ placement }) => placement.provider === provider);
            const wanted = estate.services[service];
            const placement: Placement = {
              owner: {
                estate: estate.name,
                uid: identity.uid,
                service,
                controller: identity.controller,
                generation:
                  before?.generation ?? open?.placement.generation ?? (record?.generations[provider] ?? 0) + 1,
              },
              type,
              provider,
              providerType,
              region,
              account: before?.account ?? open?.placement.account ?? accounts[provider] ?? '',
              configuration: wanted?.configuration ?? {},
            };
            return {
              placement,
              ...(before && { before }),
              begun: open?.creates ?? [],
              monthlyCostUsd: monthlyUsd,
            };
          }),
        })),
      };
    },
  };
}

/**
 * The estate with every running service as the type that it runs as: another type would replace everything that it has,
 * its data with it. That is proposed.
 */
function asItRuns(estate: Estate, records: PlaceRequest['records']): { estate: Estate; proposals: Proposal[] } {
  const proposals: Proposal[] = [];
  const services = Object.fromEntries(
    Object.entries(estate.services).map(([name, service]) => {
      const [running] = current(records[name]);
      if (!running || running.type === service.type) return [name, service];
      proposals.push(typeChanged(name, running.type, service.type));
      return [name, { ...service, type: running.type, configuration: running.configuration }];
    }),
  );
  return { estate: { ...estate, services }, proposals };
}

const currentPlacements = (record: ServiceRecord | undefined): RecordedPlacement[] =>
  record?.placements.filter(({ role }) => role === 'current') ?? [];

/** What runs, and what was begun: both stay where they are. */
const current = (record: ServiceRecord | undefined): RecordedPlacement[] =>
  record ? [...currentPlacements(record), ...begunPlacements(record)] : [];

/** The records as they are to be after a move: without its source, and its target, where it was begun, as any other. */
function withoutSource(records: PlaceRequest['records'], only: readonly string[], move: Move): PlaceRequest['records'] {
  const [service = ''] = only;
  const record = records[service];
  const source = currentPlacements(record).find(({ provider }) => provider === move.from);
  if (!record || !source)
    throw ApplicationFailure.nonRetryable(
      `from: ${service} has no current placement on ${move.from}; it runs on ${
        currentPlacements(record)
          .map(({ provider }) => provider)
          .join(', ') || 'no cloud'
      }.`,
      'InvalidInput',
    );
  if (currentPlacements(record).some(({ provider }) => provider === move.to))
    throw ApplicationFailure.nonRetryable(`to: ${service} is on ${move.to} already.`, 'InvalidInput');
  const placements = record.placements
    .filter((one) => one !== source)
    .map((one) => (one.role === 'target' && one.provider === move.to ? { ...one, role: 'current' as const } : one));
  const intents = record.intents.filter(({ placement }) => placement.provider !== move.from);
  return { ...records, [service]: { ...record, placements, intents } };
}

/** The estate with one service asking for the clouds that it stays on and for the target, as far as it may go there at all. */
function sentTo(estate: Estate, records: PlaceRequest['records'], only: readonly string[], { to }: Move): Estate {
  const [name = ''] = only;
  const service = estate.services[name];
  if (!service) return estate;
  const allowed = service.preferred_providers ?? estate.providers.map((one) => one.name);
  if (!allowed.includes(to))
    throw ApplicationFailure.nonRetryable(
      `to: ${name} may not go to ${JSON.stringify(to)}; allowed are ${allowed.join(', ')} (${service.preferred_providers ? 'its preferred_providers' : 'the providers of the file'}).`,
      'Unplaceable',
    );
  const staying = currentPlacements(records[name]).filter(({ provider }) => provider !== to).length;
  const wish = { ...service, preferred_providers: [to], redundancy: staying + 1 };
  return { ...estate, services: { ...estate.services, [name]: wish } };
}
