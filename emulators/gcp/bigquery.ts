/** The local BigQuery: datasets and tables as resources. Jobs, queries and rows are not served. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { z } from 'zod';
import type { Json, JsonObject } from '../../model/service.ts';
import type { Access } from './access.ts';
import { isObject, loadDefinition } from './compute-definition.ts';
import { regions } from './compute-kinds.ts';
import { GoogleError } from './google-error.ts';
import { type Answer, type Api, type ApiRequest, checkLabels, matched, mergePatch, page } from './json-api.ts';
import { JsonStore } from './json-store.ts';

const Resource = z.record(z.string(), z.json());

const permissions: Readonly<Record<string, string>> = { insert: 'create', patch: 'update' };
/** What is read, never written. */
const outputOnly = ['kind', 'id', 'etag', 'selfLink', 'creationTime', 'lastModifiedTime', 'type'];
/** What cannot be changed after the creation. */
const fixed = ['location', 'datasetReference', 'tableReference', 'defaultCollation'];
const base = 'https://bigquery.googleapis.com/bigquery/v2/projects/';
const hourMs = 3600 * 1000;

export class BigQuery implements Api {
  readonly #definition = loadDefinition('bigquery.v2');
  readonly #project: string;
  readonly #access: Access;
  /** By `<dataset>`; tables by `<dataset>/<table>`. */
  readonly #datasets: JsonStore<JsonObject>;
  readonly #tables: JsonStore<JsonObject>;

  constructor(state: string, project: string, access: Access) {
    this.#project = project;
    this.#access = access;
    this.#datasets = new JsonStore(join(state, 'bigquery', 'datasets.json'), Resource);
    this.#tables = new JsonStore(join(state, 'bigquery', 'tables.json'), Resource);
  }

  handle(request: ApiRequest): Answer {
    const { id, path, content } = matched(this.#definition, request);
    const [, collection = '', verb = ''] = id.split('.');
    if (path.projectsId !== this.#project)
      throw new GoogleError('forbidden', `Access Denied: Project ${path.projectsId}`);
    if (id !== 'bigquery.datasets.list')
      this.#access.require(request.caller, `bigquery.${collection}.${permissions[verb] ?? verb}`);
    const dataset = path.datasetsId ?? '';
    if (collection === 'tables' && !this.#datasets.items.has(dataset)) throw this.#missing('Dataset', dataset);
    if (verb === 'insert') return this.#insert(collection, dataset, content);
    if (verb === 'list') return this.#list(collection, dataset, request.url.searchParams);
    const store = collection === 'datasets' ? this.#datasets : this.#tables;
    const key = collection === 'datasets' ? dataset : `${dataset}/${path.tablesId}`;
    const resource = store.items.get(key);
    if (!resource) throw this.#missing(collection === 'datasets' ? 'Dataset' : 'Table', key.replace('/', '.'));
    const { headers } = request;
    if (verb === 'get' && headers['if-none-match'] === resource.etag) return { status: 304, body: null };
    if (headers['if-match'] !== undefined && headers['if-match'] !== resource.etag)
      throw new GoogleError('conditionNotMet', 'Precondition check failed.');
    if (verb === 'get') return this.#answer(resource);
    if (verb === 'delete') return this.#delete(collection, key, request.url.searchParams);
    const changed = this.#changed(resource, verb === 'patch' ? mergePatch(resource, content) : content);
    store.set(key, changed);
    return this.#answer(changed);
  }

  #insert(collection: string, dataset: string, content: JsonObject): Answer {
    const isDataset = collection === 'datasets';
    const reference = isDataset ? content.datasetReference : content.tableReference;
    const field = isDataset ? 'datasetId' : 'tableId';
    const id = isObject(reference) ? String(reference[field] ?? '') : '';
    if (!(isDataset ? /^\w{1,1024}$/ : /^[\p{L}\p{M}\p{N}\p{Pc}\p{Pd} ]{1,1024}$/u).test(id))
      throw new GoogleError('invalid', `Invalid ${field} "${id}"`);
    check(content);
    const store = isDataset ? this.#datasets : this.#tables;
    const key = isDataset ? id : `${dataset}/${id}`;
    if (store.items.has(key))
      throw new GoogleError(
        'duplicate',
        `Already Exists: ${isDataset ? 'Dataset' : 'Table'} ${this.#project}:${key.replace('/', '.')}`,
      );
    const parent = this.#datasets.items.get(dataset);
    const location = isDataset ? locationOf(content.location) : String(parent?.location);
    const now = String(Date.now());
    const resource = withoutNull({
      ...content,
      ...(isDataset
        ? {
            datasetReference: { datasetId: id, projectId: this.#project },
            type: 'DEFAULT',
            maxTimeTravelHours: content.maxTimeTravelHours ?? '168',
            access: content.access ?? [
              { role: 'WRITER', specialGroup: 'projectWriters' },
              { role: 'OWNER', specialGroup: 'projectOwners' },
              { role: 'READER', specialGroup: 'projectReaders' },
            ],
          }
        : {
            tableReference: { datasetId: dataset, projectId: this.#project, tableId: id },
            type: 'TABLE',
            numRows: '0',
            numBytes: '0',
          }),
      kind: isDataset ? 'bigquery#dataset' : 'bigquery#table',
      id: `${this.#project}:${key.replace('/', '.')}`,
      selfLink: `${base}${this.#project}/datasets/${key.replace('/', '/tables/')}`,
      location,
      creationTime: now,
      lastModifiedTime: now,
    });
    resource.etag = etagOf(resource);
    store.set(key, resource);
    return this.#answer(resource);
  }

  #changed(before: JsonObject, after: Json): JsonObject {
    const wanted = isObject(after) ? withoutNull(after) : {};
    check(wanted);
    for (const field of fixed)
      if (wanted[field] !== undefined && field in before && !sameText(wanted[field], before[field]))
        throw new GoogleError('invalid', `${field} cannot be changed`);
    const kept = Object.fromEntries(
      [...outputOnly, ...fixed].flatMap((field) => (field in before ? [[field, before[field] ?? null]] : [])),
    );
    // The clock may stand still between two changes; a changed resource still needs another etag.
    const changed: JsonObject = {
      ...wanted,
      ...kept,
      lastModifiedTime: String(Math.max(Date.now(), Number(before.lastModifiedTime) + 1)),
    };
    changed.etag = etagOf(changed);
    return changed;
  }

  #delete(collection: string, key: string, query: URLSearchParams): Answer {
    if (collection === 'datasets') {
      const tables = [...this.#tables.items.keys()].filter((table) => table.startsWith(`${key}/`));
      if (tables.length > 0 && query.get('deleteContents') !== 'true')
        throw new GoogleError('resourceInUse', `Dataset ${this.#project}:${key} is still in use`);
      for (const table of tables) this.#tables.delete(table);
      this.#datasets.delete(key);
    } else this.#tables.delete(key);
    return { status: 204, body: null };
  }

  #list(collection: string, dataset: string, query: URLSearchParams): Answer {
    const isDataset = collection === 'datasets';
    const wanted = labelFilter(query.get('filter'));
    const all = isDataset
      ? [...this.#datasets.items.values()].filter(({ labels }) => wanted(isObject(labels) ? labels : {}))
      : [...this.#tables.items].filter(([key]) => key.startsWith(`${dataset}/`)).map(([, table]) => table);
    const size = Number(query.get('maxResults') ?? 0) || (isDataset ? 50 : 50);
    const { items, next } = page(all, size, query.get('pageToken'));
    const shown = items.map((resource) =>
      Object.fromEntries(
        [
          'kind',
          'id',
          isDataset ? 'datasetReference' : 'tableReference',
          'labels',
          'friendlyName',
          'location',
          'type',
          'creationTime',
        ].flatMap((field) => (resource[field] === undefined ? [] : [[field, resource[field]]])),
      ),
    );
    return this.#answer({
      kind: isDataset ? 'bigquery#datasetList' : 'bigquery#tableList',
      etag: etagOf(shown),
      ...(shown.length > 0 ? { [collection]: shown } : {}),
      ...(isDataset ? {} : { totalItems: all.length }),
      ...next,
    });
  }

  #missing(kind: string, name: string): GoogleError {
    return new GoogleError('notFound', `Not found: ${kind} ${this.#project}:${name}`);
  }

  #answer(body: JsonObject): Answer {
    return { status: 200, body, headers: typeof body.etag === 'string' ? { etag: body.etag } : {} };
  }
}

function check(resource: JsonObject): void {
  checkLabels(resource.labels);
  const { defaultTableExpirationMs, maxTimeTravelHours } = resource;
  if (
    defaultTableExpirationMs !== undefined &&
    defaultTableExpirationMs !== null &&
    Number(defaultTableExpirationMs) < hourMs
  )
    throw new GoogleError('invalid', 'defaultTableExpirationMs must be at least one hour');
  const hours = Number(maxTimeTravelHours ?? 168);
  if (hours < 48 || hours > 168 || hours % 24 !== 0)
    throw new GoogleError('invalid', 'maxTimeTravelHours must be a multiple of 24 between 48 and 168');
}

function locationOf(given: Json | undefined): string {
  if (given === undefined || given === null) return 'US';
  const location = String(given);
  if (['US', 'EU'].includes(location.toUpperCase())) return location.toUpperCase();
  if (!regions.has(location.toLowerCase())) throw new GoogleError('invalid', `Invalid location ${location}`);
  return location.toLowerCase();
}

/** `labels.<key>` and `labels.<key>:<value>`, joined by spaces. */
function labelFilter(filter: string | null): (labels: JsonObject) => boolean {
  const terms = (filter ?? '')
    .split(/\s+/)
    .filter(Boolean)
    .map((term) => {
      const found = /^labels\.([^:]+)(?::(.*))?$/.exec(term);
      if (!found) throw new GoogleError('invalid', `Invalid filter ${term}`);
      return { key: found[1] ?? '', value: found[2] };
    });
  return (labels) => terms.every(({ key, value }) => key in labels && (value === undefined || labels[key] === value));
}

const etagOf = (content: Json): string =>
  createHash('sha256')
    .update(JSON.stringify(isObject(content) ? { ...content, etag: null } : content))
    .digest('base64')
    .slice(0, 22);
const withoutNull = (resource: JsonObject): JsonObject =>
  Object.fromEntries(Object.entries(resource).filter(([, value]) => value !== null && value !== undefined));
const sameText = (a: Json | undefined, b: Json | undefined): boolean =>
  JSON.stringify(a).toLowerCase() === JSON.stringify(b).toLowerCase();
