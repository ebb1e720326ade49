/** The four scores of a candidate, each from 0 to 1, and their weighted sum. */
import type { Estate, Service } from './estate.ts';
import { type Facts, missingCertifications, regionFact, slaFact, throughputFact } from './facts.ts';
import type { ProviderType, ServiceType } from './service.ts';

export interface Scores {
  /** 1 - monthly/10000 USD. */
  cost: number;
  /** ((1 - latency_ms/1000) + min(mbps/1000, 1)) / 2. */
  performance: number;
  /** Required certifications held / required; 1 if none is required. */
  compliance: number;
  /** SLA/100. */
  reliability: number;
}

const clamp = (value: number): number => Math.min(1, Math.max(0, value));

export interface Performance {
  latencyMs: number;
  mbps: number;
  /** Sentences about figures that nobody has checked. */
  unverified: string[];
}

/** Undefined where the sheets have no row for it. */
export function performance(
  facts: Facts,
  provider: ProviderType,
  region: string,
  type: ServiceType,
): Performance | undefined {
  const where = regionFact(facts, provider, region);
  const through = throughputFact(facts, provider, type);
  const sla = slaFact(facts, provider, type);
  if (!where || !through || !sla) return undefined;
  const city = facts.referenceCities[where.zone] ?? where.zone;
  return {
    latencyMs: where.latency_ms,
    mbps: through.mbps,
    unverified: [
      where.latency_checked === 'unverified' &&
        `latency ${city} to ${region}: ${where.latency_ms} ms (an estimate, unverified)`,
      where.checked === 'unverified' && `that ${region} offers ${type} (${where.date}, unverified)`,
      through.checked === 'unverified' &&
        `throughput of ${type} on ${provider}: ${through.mbps} Mbit/s (${through.date}, unverified)`,
      sla.checked === 'unverified' && `SLA of ${type} on ${provider}: ${sla.percent} % (${sla.date}, unverified)`,
    ].filter((sentence) => sentence !== false),
  };
}

export function scoresOf(
  estate: Estate,
  service: Service,
  provider: ProviderType,
  facts: Facts,
  monthlyUsd: number,
  measured: Performance,
): Scores {
  const required = estate.compliance.required_certifications;
  const missing = missingCertifications(facts, provider, required);
  return {
    cost: clamp(1 - monthlyUsd / 10_000),
    performance: clamp((1 - measured.latencyMs / 1000 + Math.min(measured.mbps / 1000, 1)) / 2),
    compliance: required.length === 0 ? 1 : clamp((required.length - missing.length) / required.length),
    reliability: clamp((slaFact(facts, provider, service.type)?.percent ?? 0) / 100),
  };
}

export const totalScore = (scores: Scores, weights: Estate['placement']['weights']): number =>
  weights.cost * scores.cost +
  weights.performance * scores.performance +
  weights.compliance * scores.compliance +
  weights.reliability * scores.reliability;
