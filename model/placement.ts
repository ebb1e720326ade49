/**
 * Which clouds a service goes to. Hard filters come first, in a fixed order; what is left is scored and ranked; the best of
 * each cloud type are taken. What already runs stays: a better place is proposed, never taken. Pure: same input, same answer.
 */
import { ComputeConfiguration } from './configuration.ts';
import { type CostLine, type Estimate, estimate } from './cost.ts';
import type { Estate, Provider, Service } from './estate.ts';
import { cellFact, instanceTypeFact, missingCertifications } from './facts.ts';
import { justInTimeRefusal } from './just-in-time.ts';
import { type Proposal, proposalsFor } from './proposals.ts';
import { chooseRegion } from './region.ts';
import { performance, type Scores, scoresOf, totalScore } from './scores.ts';
import type { ProviderType, ServiceType } from './service.ts';
import type { Sheets } from './sheets.ts';

/** In the order in which they are applied: the first that a candidate does not pass is the one that is named. */
export const filters = [
  'enabled',
  'supported',
  'preferred_providers',
  'residency',
  'region',
  'certifications',
  'instance_type',
  'price',
] as const;
export type Filter = (typeof filters)[number];

/** A current placement of the service, from its record. Retained ones (a migration's source) are not given. */
export interface ExistingPlacement {
  provider: string;
  region: string;
}

export interface Candidate {
  provider: string;
  providerType: ProviderType;
  /** '' where no region was found. */
  region: string;
  chosen: boolean;
  existing: boolean;
  /** One sentence: `already placed here`, `score 0.8123, rank 1`, or the filter that removed it and why. */
  reason: string;
  removedBy?: Filter | undefined;
  /** From 1, among those that passed every filter. */
  rank?: number | undefined;
  /** The scores are there for whoever could be scored, removed or not; not rounded. */
  score?: number | undefined;
  scores?: Scores | undefined;
  latencyMs?: number | undefined;
  throughputMbps?: number | undefined;
  monthlyUsd?: number | undefined;
  costLines: CostLine[];
}

export interface ServicePlacement {
  service: string;
  type: ServiceType;
  redundancy: number;
  /** By name of the provider. */
  candidates: Candidate[];
  /** Existing ones first, then new ones by rank. */
  placements: (ExistingPlacement & {
    providerType: ProviderType;
    existing: boolean;
    monthlyUsd: number;
    costLines: CostLine[];
  })[];
  proposals: Proposal[];
  /** What costs and scores rest on, each a sentence; names figures that nobody has checked. */
  assumptions: string[];
  /** Set when fewer clouds are left than the redundancy asks for. */
  error?: { type: 'Unplaceable' | 'NotSupported'; message: string } | undefined;
}

interface Judged {
  provider: Provider;
  candidate: Candidate;
  estimate?: Estimate | undefined;
  assumptions: string[];
}

function removal(estate: Estate, service: Service, provider: Provider, sheets: Sheets, estimated: Estimate | string) {
  const { facts } = sheets;
  const region = chooseRegion(estate, service, provider, facts);
  const cell = cellFact(facts, provider.type, service.type);
  const missing = missingCertifications(facts, provider.type, estate.compliance.required_certifications);
  const instanceType =
    service.type === 'compute' ? ComputeConfiguration.parse(service.configuration).instance_type : undefined;
  const size = instanceType && instanceTypeFact(facts, instanceType)?.sizes[provider.type];
  const reasons: Record<Filter, string | false | undefined> = {
    enabled: !provider.enabled && 'it is not enabled',
    supported:
      (!cell?.served && (cell?.reason || `${provider.type} does not sell ${service.type}`)) ||
      justInTimeRefusal(provider.type, service.configuration),
    preferred_providers:
      service.preferred_providers &&
      !service.preferred_providers.includes(provider.name) &&
      `it is not among ${service.preferred_providers.join(', ')}`,
    residency: 'filter' in region && region.filter === 'residency' && region.reason,
    region: 'filter' in region && region.filter === 'region' && region.reason,
    certifications: missing.length > 0 && `it does not hold ${missing.join(', ')}`,
    instance_type: instanceType && !size && `config/facts/instance-types.yaml has no size for ${instanceType}`,
    price: typeof estimated === 'string' && estimated,
  };
  for (const filter of filters) {
    const reason = reasons[filter];
    if (reason) return { filter, reason };
  }
  return undefined;
}

function judge(
  estate: Estate,
  service: Service,
  provider: Provider,
  sheets: Sheets,
  existing: ExistingPlacement | undefined,
): Judged {
  const choice = chooseRegion(estate, service, provider, sheets.facts);
  const region = existing?.region ?? ('region' in choice ? choice.region : '');
  const estimated: Estimate | string = (() => {
    if (region === '') return 'no region, so no price';
    const result = estimate(sheets.prices[provider.type], region, service.type, service.configuration);
    return 'unpriced' in result ? result.unpriced : result;
  })();
  const removed = removal(estate, service, provider, sheets, estimated);
  const priced = typeof estimated === 'string' ? undefined : estimated;
  const measured = region === '' ? undefined : performance(sheets.facts, provider.type, region, service.type);
  const scores =
    priced && measured && scoresOf(estate, service, provider.type, sheets.facts, priced.monthlyUsd, measured);
  return {
    provider,
    estimate: priced,
    assumptions: [...(priced?.assumptions ?? []), ...(measured?.unverified ?? [])],
    candidate: {
      provider: provider.name,
      providerType: provider.type,
      region,
      chosen: false,
      existing: existing !== undefined,
      reason: removed ? `${removed.filter}: ${removed.reason}` : '',
      removedBy: removed?.filter,
      ...(scores && { scores, score: totalScore(scores, estate.placement.weights) }),
      latencyMs: measured?.latencyMs,
      throughputMbps: measured?.mbps,
      monthlyUsd: priced?.monthlyUsd,
      costLines: priced?.lines ?? [],
    },
  };
}

/** Differences below this are binary noise, not a better score. */
const noise = 1e-9;

/** Best first: score, then `priority` (the smaller wins), then name. */
function better(a: Judged, b: Judged): number {
  const difference = (b.candidate.score ?? 0) - (a.candidate.score ?? 0);
  if (Math.abs(difference) > noise) return difference;
  return a.provider.priority - b.provider.priority || (a.provider.name < b.provider.name ? -1 : 1);
}

export function placeService(
  estate: Estate,
  name: string,
  sheets: Sheets,
  existing: readonly ExistingPlacement[] = [],
): ServicePlacement {
  const service = estate.services[name];
  if (!service) throw new RangeError(`the estate has no service ${JSON.stringify(name)}`);
  const judged = estate.providers.map((provider) =>
    judge(
      estate,
      service,
      provider,
      sheets,
      existing.find((one) => one.provider === provider.name),
    ),
  );
  const ranked = judged.filter(({ candidate }) => !candidate.removedBy).sort(better);
  ranked.forEach(({ candidate }, index) => {
    candidate.rank = index + 1;
    candidate.reason = `score ${(candidate.score ?? 0).toFixed(4)}, rank ${index + 1}`;
  });

  const taken = new Map<ProviderType, Judged>();
  for (const one of judged.filter(({ candidate }) => candidate.existing)) {
    taken.set(one.provider.type, one);
    one.candidate.chosen = true;
    one.candidate.reason = `already placed here${one.candidate.reason && ` (${one.candidate.reason})`}`;
  }
  const kept = judged.filter(({ candidate }) => candidate.existing);
  const added: Judged[] = [];
  for (const one of ranked) {
    const { candidate } = one;
    if (candidate.existing) continue;
    const rival = taken.get(one.provider.type);
    if (rival) candidate.reason += `; ${rival.provider.name} is of the same cloud type and stands before it`;
    else if (existing.length + added.length >= service.redundancy)
      candidate.reason += `; redundancy ${service.redundancy} is met without it`;
    else {
      taken.set(one.provider.type, one);
      added.push(one);
      candidate.chosen = true;
    }
  }

  const gone = existing.filter((one) => !estate.providers.some(({ name }) => name === one.provider));
  const byName = [...judged].sort((a, b) => (a.provider.name < b.provider.name ? -1 : 1));
  const candidates = byName.map(({ candidate }) => candidate);
  return {
    service: name,
    type: service.type,
    redundancy: service.redundancy,
    candidates,
    placements: [...kept, ...added].map(({ candidate }) => ({
      provider: candidate.provider,
      providerType: candidate.providerType,
      region: candidate.region,
      existing: candidate.existing,
      monthlyUsd: candidate.monthlyUsd ?? 0,
      costLines: candidate.costLines,
    })),
    proposals: proposalsFor(name, service, candidates, gone),
    assumptions: [...new Set(byName.filter(({ candidate }) => candidate.chosen).flatMap((one) => one.assumptions))],
    error: shortfall(name, service, candidates, existing.length + added.length),
  };
}

/** Why the redundancy cannot be met, saying which filter removed whom. */
function shortfall(
  name: string,
  service: Service,
  candidates: readonly Candidate[],
  placed: number,
): ServicePlacement['error'] {
  if (placed >= service.redundancy) return undefined;
  const removed = candidates.filter(({ removedBy, existing }) => removedBy && !existing);
  const types = new Set(
    candidates.filter(({ removedBy, chosen }) => chosen || !removedBy).map((one) => one.providerType),
  );
  const type =
    types.size === 0 && removed.length > 0 && removed.every(({ removedBy }) => removedBy === 'supported')
      ? 'NotSupported'
      : 'Unplaceable';
  const lines = removed.map(({ provider, reason }) => `${provider} removed by ${reason}`);
  const left =
    types.size === 0 ? 'none is left' : `only ${types.size} of different types can be had (${[...types].join(', ')})`;
  return {
    type,
    message: `${name} (${service.type}) needs ${service.redundancy} ${service.redundancy === 1 ? 'cloud' : 'clouds of different types'}; ${left}${lines.length > 0 ? `: ${lines.join('; ')}` : ''}`,
  };
}
