/** Dated facts about clouds, from `config/facts`: what is offered where, what is promised, how far away it is. Pure schemas and lookups. */
import { z } from 'zod';
import { type ProviderType, providerTypes, type ServiceType, serviceTypes } from './service.ts';

const CloudType = z.enum(providerTypes);
const Type = z.enum(serviceTypes);

const Checked = z.enum(['verified', 'unverified']);

/** Where a row comes from. `unverified`: stated from memory, nobody has compared it with the source; `plan` prints that. */
const origin = {
  /** The day that the source states the figure for; where it names none, the day it was looked up. */
  date: z.iso.date(),
  source: z.url(),
  checked: Checked,
};

/** What stands in for a service type on a cloud, or why nothing does. */
const CellFact = z.strictObject({
  provider: CloudType,
  type: Type,
  served: z.boolean(),
  made_of: z.string().default(''),
  reason: z.string().default(''),
});

const RegionFact = z.strictObject({
  provider: CloudType,
  region: z.string(),
  place: z.string(),
  /** Our own name of the part of the world, for the latency: `us`, `eu`, `asia`. */
  zone: z.string(),
  /** Types whose every part the region offers. */
  types: z.array(Type),
  /** Round trip from the zone's reference city, milliseconds. */
  latency_ms: z.number().min(0),
  latency_checked: Checked.default('unverified'),
  ...origin,
});

const ThroughputFact = z.strictObject({
  provider: CloudType,
  type: Type,
  mbps: z.number().min(0),
  note: z.string(),
  ...origin,
});

const SlaFact = z.strictObject({
  provider: CloudType,
  type: Type,
  percent: z.number().min(0).max(100),
  note: z.string(),
  ...origin,
});

const CertificationFact = z.strictObject({
  provider: CloudType,
  name: z.string(),
  note: z.string().default(''),
  ...origin,
});

const InstanceTypeFact = z.strictObject({
  /** The AWS name, which the estate file uses. */
  name: z.string(),
  vcpu: z.number(),
  memory_gb: z.number(),
  /** The nearest size of each cloud: at least as many vCPUs and as much memory. */
  sizes: z.partialRecord(CloudType, z.string()),
});

const QuotaFact = z.strictObject({
  provider: CloudType,
  quota: z.string(),
  limit: z.number(),
  unit: z.string(),
  note: z.string().default(''),
  ...origin,
});

export const factSheets = {
  cells: z.strictObject({ cells: z.array(CellFact) }),
  regions: z.strictObject({ reference_cities: z.record(z.string(), z.string()), regions: z.array(RegionFact) }),
  throughput: z.strictObject({ throughput: z.array(ThroughputFact) }),
  slas: z.strictObject({ slas: z.array(SlaFact) }),
  certifications: z.strictObject({ certifications: z.array(CertificationFact) }),
  'instance-types': z.strictObject({ instance_types: z.array(InstanceTypeFact), ...origin }),
  quotas: z.strictObject({ quotas: z.array(QuotaFact) }),
} as const;

export type CellFact = z.infer<typeof CellFact>;
export type RegionFact = z.infer<typeof RegionFact>;
export type ThroughputFact = z.infer<typeof ThroughputFact>;
export type SlaFact = z.infer<typeof SlaFact>;
export type InstanceTypeFact = z.infer<typeof InstanceTypeFact>;

export interface Facts {
  cells: CellFact[];
  referenceCities: Record<string, string>;
  regions: RegionFact[];
  throughput: ThroughputFact[];
  slas: SlaFact[];
  certifications: z.infer<typeof CertificationFact>[];
  instanceTypes: InstanceTypeFact[];
  quotas: z.infer<typeof QuotaFact>[];
}

const of =
  (provider: ProviderType, type: ServiceType) =>
  (row: { provider: ProviderType; type: ServiceType }): boolean =>
    row.provider === provider && row.type === type;

export const cellFact = (facts: Facts, provider: ProviderType, type: ServiceType): CellFact | undefined =>
  facts.cells.find(of(provider, type));

export const regionFact = (facts: Facts, provider: ProviderType, region: string): RegionFact | undefined =>
  facts.regions.find((row) => row.provider === provider && row.region === region);

export const throughputFact = (facts: Facts, provider: ProviderType, type: ServiceType): ThroughputFact | undefined =>
  facts.throughput.find(of(provider, type));

export const slaFact = (facts: Facts, provider: ProviderType, type: ServiceType): SlaFact | undefined =>
  facts.slas.find(of(provider, type));

export const instanceTypeFact = (facts: Facts, name: string): InstanceTypeFact | undefined =>
  facts.instanceTypes.find((row) => row.name === name);

/** `SOC 2 Type II`, `soc2-type-ii` are the same certification. */
const plain = (name: string): string => name.toLowerCase().replaceAll(/[^a-z0-9]/g, '');

/** Of the required certifications, those that the cloud does not hold. */
export function missingCertifications(facts: Facts, provider: ProviderType, required: readonly string[]): string[] {
  const held = new Set(facts.certifications.filter((row) => row.provider === provider).map((row) => plain(row.name)));
  return required.filter((name) => !held.has(plain(name)));
}
