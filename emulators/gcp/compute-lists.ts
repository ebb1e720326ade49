/** Lists as Compute Engine answers them: filtered, in pages; and the lists of what is always there. */
import type { JsonObject } from '../../model/service.ts';
import type { Called } from './compute-definition.ts';
import { matchesFilter } from './compute-filter.ts';
import { base, ComputeError, regions } from './compute-kinds.ts';

export function page(kind: string, path: string, all: JsonObject[], url: URL): JsonObject {
  const matching = all.filter((item) => matchesFilter(item, url.searchParams.get('filter')));
  const size = Math.min(Number(url.searchParams.get('maxResults') ?? 500), 500);
  const start = Number(url.searchParams.get('pageToken') ?? 0);
  const next = start + size < matching.length ? { nextPageToken: String(start + size) } : {};
  return {
    ...listOf(`${kind}List`, matching.slice(start, start + size)),
    id: path,
    selfLink: base + path,
    ...next,
  };
}

export function listOf(kind: string, items: JsonObject[]): JsonObject {
  return { kind: `compute#${kind}`, items };
}

/** Regions and zones: the real ones, always up. */
export function locations(
  verb: string,
  { path, id }: Called,
  url: URL,
  quotasOf: (region: string) => JsonObject[],
): JsonObject {
  const project = `projects/${path.project}`;
  if (id.includes('machineTypes'))
    throw new ComputeError(404, 'notFound', 'machine types are not listed by the local Compute Engine');
  const all = id.includes('regions')
    ? [...regions].map(([name, zones]) => ({
        kind: 'compute#region',
        name,
        status: 'UP',
        quotas: quotasOf(name),
        selfLink: `${base}${project}/regions/${name}`,
        zones: zones.map((zone) => `${base}${project}/zones/${zone}`),
      }))
    : [...regions.values()].flat().map((name) => ({
        kind: 'compute#zone',
        name,
        status: 'UP',
        selfLink: `${base}${project}/zones/${name}`,
        region: `${base}${project}/regions/${name.replace(/-[a-z]$/, '')}`,
      }));
  const wanted = path.region ?? path.zone;
  const found = all.find(({ name }) => name === wanted);
  return verb === 'get' && found ? found : page(id.includes('regions') ? 'region' : 'zone', project, all, url);
}
