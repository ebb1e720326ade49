/** What the whole estate costs: running, replication between clouds, one-time copies; against the budget and the best single cloud. */
import { type CostLine, egress } from './cost.ts';
import type { Estate } from './estate.ts';
import type { ServicePlacement } from './placement.ts';
import { sumUsd } from './prices.ts';
import { ingestedGb, storedGb } from './quantities.ts';
import type { ProviderType } from './service.ts';
import type { Sheets } from './sheets.ts';

export interface EstateCost {
  /** Placements alone. */
  runningUsd: number;
  /** Data that replication carries between clouds; counted only for services whose file asks for it. */
  replicationUsd: number;
  /** Paid once: filling a new placement from one that holds data already. */
  oneTimeUsd: number;
  /** Running + replication: what the budget is held against. */
  monthlyUsd: number;
  /** Running, by name of the provider. */
  byProvider: Record<string, number>;
  byService: Record<string, number>;
  replication: (CostLine & { service: string; provider: string })[];
  oneTime: (CostLine & { service: string; provider: string })[];
  budget?: { usd: number; share: number; state: 'within' | 'alert' | 'over' } | undefined;
  /** As many copies of every service on one cloud alone; undefined where no cloud can be priced for all of them. */
  bestSingleCloud?: { provider: string; runningUsd: number; savingsUsd: number } | undefined;
  /** Why a line is missing. */
  warnings: string[];
}

export function costOfEstate(estate: Estate, placed: readonly ServicePlacement[], sheets: Sheets): EstateCost {
  const warnings: string[] = [];
  const byProvider: Record<string, number> = {};
  const byService: Record<string, number> = {};
  for (const { service, placements } of placed)
    for (const { provider, monthlyUsd } of placements) {
      byProvider[provider] = sumUsd([byProvider[provider] ?? 0, monthlyUsd]);
      byService[service] = sumUsd([byService[service] ?? 0, monthlyUsd]);
    }
  const replication = placed.flatMap((one) => replicationLines(estate, one, sheets, warnings));
  const oneTime = placed.flatMap((one) => fillLines(estate, one, sheets, warnings));
  const runningUsd = sumUsd(Object.values(byProvider));
  const replicationUsd = sumUsd(replication.map(({ monthlyUsd }) => monthlyUsd));
  const monthlyUsd = sumUsd([runningUsd, replicationUsd]);
  return {
    runningUsd,
    replicationUsd,
    oneTimeUsd: sumUsd(oneTime.map(({ monthlyUsd }) => monthlyUsd)),
    monthlyUsd,
    byProvider,
    byService,
    replication,
    oneTime,
    budget: againstBudget(estate.cost, monthlyUsd),
    bestSingleCloud: bestSingleCloud(placed, runningUsd),
    warnings,
  };
}

type Sender = Pick<ServicePlacement['placements'][number], 'provider' | 'providerType' | 'region'>;

function send(
  service: string,
  from: Sender,
  gb: number,
  note: string,
  sheets: Sheets,
  warnings: string[],
): EstateCost['replication'] {
  const sheet = sheets.prices[from.providerType];
  const line = sheet ? egress(sheet, from.region, gb, note) : { unpriced: `no price sheet for ${from.providerType}` };
  if ('unpriced' in line) {
    warnings.push(`${service}: ${line.unpriced}`);
    return [];
  }
  return [{ ...line, service, provider: from.provider }];
}

/**
 * Active-active: each placement takes an equal share of what comes in and sends it to all others. Active-passive: the first
 * placement takes it all. What a storage service takes in a month is not in its configuration, so it has no line.
 */
function replicationLines(
  estate: Estate,
  { service, type, placements }: ServicePlacement,
  sheets: Sheets,
  warnings: string[],
): EstateCost['replication'] {
  const wish = estate.services[service];
  if (!wish?.replication || placements.length < 2) return [];
  if (type !== 'data_lake') {
    warnings.push(`${service}: the egress of replicating ${type} is not estimated`);
    return [];
  }
  const others = placements.length - 1;
  const incoming = ingestedGb(wish.configuration);
  const activeActive = wish.replication.mode === 'active-active';
  const senders = activeActive ? placements : placements.slice(0, 1);
  const gb = (incoming / senders.length) * others;
  const note = activeActive
    ? `each of ${placements.length} placements takes an equal share of what comes in and sends it to ${others} others`
    : `${placements[0]?.provider ?? ''} takes all that comes in and sends it to ${others} others`;
  return senders.flatMap((from) => send(service, from, gb, note, sheets, warnings));
}

/** A new placement of a replicated service is filled once from the first existing one. */
function fillLines(
  estate: Estate,
  { service, type, placements }: ServicePlacement,
  sheets: Sheets,
  warnings: string[],
): EstateCost['oneTime'] {
  const wish = estate.services[service];
  const source = placements.find(({ existing }) => existing);
  const gb = wish?.replication ? storedGb(type, wish.configuration) : 0;
  if (!source || gb === 0) return [];
  return placements
    .filter(({ existing }) => !existing)
    .flatMap(({ provider }) =>
      send(service, source, gb, `once: what ${source.provider} holds is copied to ${provider}`, sheets, warnings),
    );
}

export function againstBudget(
  { budget, alert_threshold }: Pick<Estate['cost'], 'budget' | 'alert_threshold'>,
  monthlyUsd: number,
): EstateCost['budget'] {
  if (budget === undefined) return undefined;
  const state = monthlyUsd > budget ? 'over' : monthlyUsd >= budget * alert_threshold ? 'alert' : 'within';
  return { usd: budget, share: budget === 0 ? 1 : monthlyUsd / budget, state };
}

function bestSingleCloud(placed: readonly ServicePlacement[], runningUsd: number): EstateCost['bestSingleCloud'] {
  const types = [...new Set(placed.flatMap(({ candidates }) => candidates.map((one) => one.providerType)))].sort();
  const totals = types.flatMap((type) => {
    const amounts = placed.map((one) => onOneCloud(one, type));
    return amounts.every((usd) => usd !== undefined) ? [{ provider: type, runningUsd: sumUsd(amounts) }] : [];
  });
  const [first, ...rest] = totals;
  if (!first) return undefined;
  const best = rest.reduce((least, one) => (one.runningUsd < least.runningUsd ? one : least), first);
  return { ...best, savingsUsd: sumUsd([best.runningUsd, -runningUsd]) };
}

/** All copies of a service on the cheapest provider of one cloud type. */
function onOneCloud({ candidates, placements }: ServicePlacement, type: ProviderType): number | undefined {
  const prices = candidates.flatMap((one) => (one.providerType === type ? (one.monthlyUsd ?? []) : []));
  return prices.length === 0 ? undefined : sumUsd([Math.min(...prices) * placements.length]);
}
