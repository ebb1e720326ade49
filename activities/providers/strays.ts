/** Resources that carry our tags and that no record knows: what a call with a lost answer has made besides, or too late. */
import type { RecordedResource } from '../../model/record.ts';
import { isRecords } from '../../model/records.ts';
import type { Outputs, Placement, ResourceSpec } from '../../model/service.ts';
import type { Cell, Found, Provider } from './driver.ts';
import { driverOf, type Pace, Resource, scan } from './provision.ts';

/** What a record knows of a resource. The ID is empty while it is only intended. */
export type KnownResource = Pick<RecordedResource, 'kind' | 'name' | 'id'>;

export type Stray = Pick<Found, 'kind' | 'name' | 'id'> & { service: string; generation: number };

/** Whatever bears the estate's UID in the placement's account and region and is not known. Stores kept on purpose are no strays. */
export async function findStrays(
  provider: Provider,
  placement: Placement,
  known: readonly KnownResource[],
  signal: AbortSignal,
): Promise<Stray[]> {
  const isKnown = (found: Found): boolean =>
    known.some(({ kind, name, id }) => kind === found.kind && name === found.name && (id === '' || id === found.id));
  return (await scan(provider, placement, signal))
    .filter((found) => !found.retainedUntil && !isRecords(found.owner.service) && !isKnown(found))
    .map(({ kind, name, id, owner }) => ({ kind, name, id, service: owner.service, generation: owner.generation }));
}

/** Removes strays of a placement's service, what depends on others first; returns those that were kept because they hold data. */
export async function removeStrays(
  provider: Provider,
  cell: Cell,
  placement: Placement,
  strays: readonly Stray[],
  retainUntil: string,
  { signal, pace }: { signal: AbortSignal; pace: Pace },
): Promise<Stray[]> {
  const kept: Stray[] = [];
  for (const [generation, some] of Map.groupBy(strays, (stray) => stray.generation)) {
    const owned = { ...placement, owner: { ...placement.owner, generation } };
    const specs = cell.design(owned);
    const outputs = await outputsOf(provider, cell, owned, specs, signal);
    const rank = (stray: Stray): number =>
      specs.findIndex(({ name, kind }) => name === stray.name && kind === stray.kind);
    for (const stray of some.toSorted((a, b) => rank(b) - rank(a))) {
      const spec = specs[rank(stray)] ?? undesigned(cell, stray);
      const needs = Object.fromEntries(spec.needs.map((key) => [key, outputs[key] ?? {}]));
      const resource = new Resource(provider, cell, spec, { placement: owned, needs, signal });
      if ((await resource.removeStray(stray.id, pace, { deleteData: false, retainUntil })) === 'retained')
        kept.push(stray);
    }
  }
  return kept;
}

/** A stray that today's design does not have: made by an earlier one. */
const undesigned = (cell: Cell, { kind, name }: Stray): ResourceSpec => ({
  key: name,
  kind,
  name,
  needs: [],
  holdsData: driverOf(cell, kind).store !== undefined,
  desired: {},
});

/** What the resources that still exist say of themselves, which others need to be found. */
async function outputsOf(
  provider: Provider,
  cell: Cell,
  placement: Placement,
  specs: readonly ResourceSpec[],
  signal: AbortSignal,
): Promise<Record<string, Outputs>> {
  const outputs: Record<string, Outputs> = {};
  for (const spec of specs) {
    const needs = Object.fromEntries(spec.needs.map((key) => [key, outputs[key] ?? {}]));
    const seen = await new Resource(provider, cell, spec, { placement, needs, signal }).observe();
    if (seen) outputs[spec.key] = seen.outputs;
  }
  return outputs;
}
