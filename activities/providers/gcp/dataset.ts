/** A BigQuery dataset: the catalogue of a data lake. Its tables may hold what exists nowhere else. */
import type { Dataset } from '@google-cloud/bigquery';
import { z } from 'zod';
import { resourceName, retainedUntilTag, soughtTag } from '../../../model/names.ts';
import type { JsonObject, Placement, ResourceSpec } from '../../../model/service.ts';
import type { ResourceDriver } from '../driver.ts';
import type { Clients } from './clients.ts';
import { abortable } from './compute-resource.ts';
import { ifFound } from './errors.ts';
import { desiredLabels, foundBy, labelsOf, ownership } from './labels.ts';

export const datasetKind = 'gcp.bigquery.dataset';

const dayMs = 24 * 3600 * 1000;
/** How far back a table can be read and restored; the longest that BigQuery offers. */
const timeTravelHours = 168;

const Access = z.looseObject({
  specialGroup: z.string().optional(),
  iamMember: z.string().optional(),
});
const Metadata = z.looseObject({
  etag: z.string(),
  location: z.string(),
  labels: z.record(z.string(), z.string()).default({}),
  defaultPartitionExpirationMs: z.coerce.number().optional(),
  maxTimeTravelHours: z.coerce.number().default(timeTravelHours),
  access: z.array(Access).default([]),
  defaultEncryptionConfiguration: z.object({ kmsKeyName: z.string() }).optional(),
});
type Metadata = z.infer<typeof Metadata>;

const isPublic = ({ specialGroup, iamMember }: z.infer<typeof Access>): boolean =>
  specialGroup === 'allAuthenticatedUsers' || iamMember === 'allUsers' || iamMember === 'allAuthenticatedUsers';

/** `retentionDays`: age at which partitions of tables are deleted; never where it is left out. */
export function datasetSpec(placement: Placement, retentionDays?: number): Omit<ResourceSpec, 'needs'> {
  return {
    key: 'catalogue',
    kind: datasetKind,
    // Letters, digits and underscores only.
    name: resourceName(placement, { limit: 1024, separator: '_' }),
    holdsData: true,
    desired: {
      tags: desiredLabels(placement),
      region: placement.region,
      partitionDays: retentionDays ?? 0,
      timeTravelHours,
      publicReaders: 0,
    },
  };
}

function propertiesOf(metadata: Metadata): JsonObject {
  return {
    region: metadata.location.toLowerCase(),
    partitionDays: (metadata.defaultPartitionExpirationMs ?? 0) / dayMs,
    timeTravelHours: metadata.maxTimeTravelHours,
    publicReaders: metadata.access.filter(isPublic).length,
    encryption: metadata.defaultEncryptionConfiguration?.kmsKeyName ?? 'keys that Google manages',
  };
}

/** Those properties of `desired` in the API's words; null takes a setting back. */
function changesOf(spec: ResourceSpec, properties: readonly string[], before?: Metadata): Record<string, unknown> {
  const { partitionDays, timeTravelHours: hours } = spec.desired;
  const has = (property: string): boolean => properties.includes(property);
  return {
    ...(has('tags') ? { labels: labelsOf(spec) } : {}),
    ...(has('partitionDays') && (before || Number(partitionDays) > 0)
      ? { defaultPartitionExpirationMs: Number(partitionDays) > 0 ? String(Number(partitionDays) * dayMs) : null }
      : {}),
    ...(has('timeTravelHours') ? { maxTimeTravelHours: String(hours) } : {}),
    ...(before && has('publicReaders') ? { access: before.access.filter((one) => !isPublic(one)) } : {}),
  };
}

export function datasetDriver({
  project,
  bigQuery,
  deadlineMs,
}: Pick<Clients, 'project' | 'bigQuery' | 'deadlineMs'>): ResourceDriver {
  /** The SDK has no limit of its own. */
  const within = <T>(signal: AbortSignal, work: Promise<T>): Promise<T> =>
    abortable(AbortSignal.any([signal, AbortSignal.timeout(deadlineMs)]), work);
  const dataset = async (name: string): Promise<Dataset> => (await bigQuery()).dataset(name);
  const read = async (name: string, signal: AbortSignal): Promise<Metadata> => {
    const [metadata] = await within(signal, (await dataset(name)).getMetadata());
    return Metadata.parse(metadata);
  };
  /** The client sends the etag as a precondition: a change by somebody else in between is an error, and tried again. */
  const change = async (name: string, metadata: Record<string, unknown>, etag: string, signal: AbortSignal) =>
    void (await within(signal, (await dataset(name)).setMetadata({ ...metadata, etag })));
  const idOf = (name: string): string => `//bigquery.googleapis.com/projects/${project}/datasets/${name}`;

  return {
    kind: datasetKind,
    immutable: ['region'],

    async observe(spec, { signal }) {
      const metadata = await ifFound(read(spec.name, signal));
      if (!metadata) return undefined;
      const { tags, ...owned } = ownership(metadata.labels, spec);
      return {
        id: idOf(spec.name),
        ...owned,
        state: 'ready',
        properties: { tags, ...propertiesOf(metadata) },
        outputs: { dataset: `${project}.${spec.name}` },
      };
    },

    async create(spec, { placement, signal }) {
      const metadata = { ...changesOf(spec, Object.keys(spec.desired)), location: placement.region };
      await within(signal, (await bigQuery()).createDataset(spec.name, metadata));
    },

    async update(spec, _observed, drift, { signal }) {
      const before = await read(spec.name, signal);
      await change(spec.name, changesOf(spec, drift, before), before.etag, signal);
    },

    async remove({ name }, _observed, { signal }) {
      await ifFound(within(signal, (await dataset(name)).delete()));
    },

    async list({ placement, signal }) {
      const filter = `labels.${soughtTag(placement.owner).join(':')}`;
      const [datasets] = await within(signal, (await bigQuery()).getDatasets({ filter }));
      return datasets
        .filter(({ metadata }) => metadata.location?.toLowerCase() === placement.region)
        .flatMap(({ id, metadata }) => foundBy(placement, datasetKind, id ?? '', idOf(id ?? ''), metadata.labels));
    },

    store: {
      async isEmpty({ name }, { signal }) {
        const query = { maxResults: 1, autoPaginate: false };
        const [tables] = await within(signal, (await dataset(name)).getTables(query));
        return tables.length === 0;
      },
      async empty({ name }, { signal }) {
        const query = { maxResults: 50, autoPaginate: false };
        const [tables] = await within(signal, (await dataset(name)).getTables(query));
        await Promise.all(tables.map((table) => ifFound(within(signal, table.delete()))));
        return tables.length === 0;
      },
      async retain({ name }, until, { signal }) {
        const { etag } = await read(name, signal);
        await change(name, { labels: { [retainedUntilTag]: until } }, etag, signal);
      },
    },
  };
}
