/** Where a placement lies: the provider's own region if its zone allows, else the zone's first that offers the type. */
import type { Estate, Provider, Service } from './estate.ts';
import { type Facts, regionFact } from './facts.ts';

/** Regions that the service may lie in, or undefined where it may lie anywhere. A region stands for the zone that lists it. */
export function zoneOf(estate: Estate, residency: string | null): { zone: string; regions: string[] } | undefined {
  if (residency === null) return undefined;
  const zones = estate.compliance.data_residency;
  const named = Object.hasOwn(zones, residency) ? zones[residency] : undefined;
  if (named) return { zone: residency, regions: named };
  const listing = Object.entries(zones).find(([, regions]) => regions.includes(residency));
  return listing && { zone: listing[0], regions: listing[1] };
}

export type RegionChoice = { region: string } | { filter: 'residency' | 'region'; reason: string };

export function chooseRegion(estate: Estate, service: Service, provider: Provider, facts: Facts): RegionChoice {
  const offers = (region: string) => regionFact(facts, provider.type, region)?.types.includes(service.type) ?? false;
  const zone = zoneOf(estate, service.data_residency);
  if (!zone) {
    if (service.data_residency !== null)
      return { filter: 'residency', reason: `${service.data_residency} is no zone and in no zone` };
    if (offers(provider.region)) return { region: provider.region };
    return {
      filter: 'region',
      reason: `its region ${provider.region} ${known(facts, provider)} and no residency names another one`,
    };
  }
  if (zone.regions.includes(provider.region) && offers(provider.region)) return { region: provider.region };
  const region = zone.regions.find(offers);
  if (region) return { region };
  const own = zone.regions.filter((one) => one === provider.region || regionFact(facts, provider.type, one));
  return own.length === 0
    ? { filter: 'residency', reason: `it has no region in zone ${zone.zone} (${zone.regions.join(', ')})` }
    : { filter: 'region', reason: `no region of it in zone ${zone.zone} (${own.join(', ')}) offers ${service.type}` };
}

/** Every region that a placement of this estate may lie in. */
export function regionsOf(estate: Estate, provider: Provider, facts: Facts): string[] {
  const inZones = Object.values(estate.compliance.data_residency).flat();
  const known = inZones.filter((region) => regionFact(facts, provider.type, region));
  return [...new Set([provider.region, ...known])];
}

const known = (facts: Facts, provider: Provider): string =>
  regionFact(facts, provider.type, provider.region) ? 'does not offer the type' : 'is not in config/facts/regions.yaml';
