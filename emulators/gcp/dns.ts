/** The local Cloud DNS: public zones, and changes that are carried out whole or not at all. https://cloud.google.com/dns/docs/reference/rest/v1 */
import { join } from 'node:path';
import { z } from 'zod';
import type { Json, JsonObject } from '../../model/service.ts';
import { quotedStrings } from '../../model/txt.ts';
import { byWeight, type Lookup, type RecordSet } from '../dns-server.ts';
import type { Access } from './access.ts';
import { loadDefinition } from './compute-definition.ts';
import { GoogleError } from './google-error.ts';
import { type Answer, type Api, type ApiRequest, checkLabels, matched, page } from './json-api.ts';
import { JsonStore } from './json-store.ts';

const Weighted = z.object({ weight: z.number().min(0), rrdatas: z.array(z.string()).min(1) });
const Rrset = z
  .object({
    name: z.string().regex(/^([a-z0-9_*]([a-z0-9_-]*[a-z0-9_])?\.)+$/i),
    type: z.enum(['TXT', 'A', 'AAAA', 'CNAME']),
    ttl: z.int().min(0).max(2_147_483_647),
    rrdatas: z.array(z.string()).default([]),
    routingPolicy: z.object({ wrr: z.object({ items: z.array(Weighted).min(1) }) }).optional(),
  })
  .refine(
    ({ rrdatas, routingPolicy }) => rrdatas.length > 0 !== (routingPolicy !== undefined),
    'a record set has either rrdatas or a routing policy',
  );
type Rrset = z.infer<typeof Rrset>;
const Change = z.object({
  id: z.string(),
  startTime: z.string(),
  additions: z.array(Rrset),
  deletions: z.array(Rrset),
});
const Zone = z.object({
  resource: z.record(z.string(), z.json()),
  rrsets: z.array(Rrset),
  changes: z.array(Change),
});
type Zone = z.infer<typeof Zone>;

export class CloudDns implements Api {
  readonly #definition = loadDefinition('dns.v1');
  readonly #zones: JsonStore<Zone>;
  readonly #project: string;
  readonly #access: Pick<Access, 'require'>;
  readonly #operationMs: number;

  /** `zone` is made where it is missing. */
  constructor({
    state,
    project,
    access,
    operationMs,
    zone,
  }: {
    state: string;
    project: string;
    access: Pick<Access, 'require'>;
    operationMs: number;
    zone: string;
  }) {
    this.#zones = new JsonStore(join(state, 'dns-zones.json'), Zone);
    this.#project = project;
    this.#access = access;
    this.#operationMs = operationMs;
    const name = zone.replaceAll('.', '-');
    if (!this.#zones.items.has(name)) this.#create({ name, dnsName: `${zone}.`, description: '' });
  }

  handle(request: ApiRequest): Answer {
    const { id, path, content } = matched(this.#definition, request);
    if (path.project !== this.#project)
      throw new GoogleError('forbidden', `The caller does not have permission on projects/${path.project}`);
    const [, collection = '', verb = ''] = id.split('.');
    this.#access.require(request.caller, `dns.${collection}.${verb}`);
    // https://cloud.google.com/dns/docs/access-control (2026-11): of the record sets as well.
    for (const [field, does] of [
      ['additions', 'create'],
      ['deletions', 'delete'],
    ] as const)
      if (Array.isArray(content[field]) && content[field].length > 0)
        this.#access.require(request.caller, `dns.resourceRecordSets.${does}`);
    return { status: 200, body: this.#call(`${collection}.${verb}`, path, content, request.url.searchParams) };
  }

  /** For the name server. */
  readonly lookup: Lookup = async (name) => {
    const [zone] = [...this.#zones.items.values()]
      .filter(({ resource }) => `${name}.`.endsWith(`.${resource.dnsName}`))
      .toSorted((a, b) => String(b.resource.dnsName).length - String(a.resource.dnsName).length);
    if (!zone) return undefined;
    const sets = zone.rrsets
      .filter((one) => one.name.toLowerCase() === `${name}.`)
      .map(({ type, ttl: ttlSeconds, rrdatas, routingPolicy }): RecordSet => {
        const items = routingPolicy?.wrr.items.map(({ weight, rrdatas: item }) => ({ weight, item }));
        const values = (items ? byWeight(items) : rrdatas) ?? [];
        return type === 'TXT'
          ? { type, ttlSeconds, values: values.map(quotedStrings) }
          : { type, ttlSeconds, values: values.map((text) => text.replace(/\.$/, '')) };
      });
    return { zone: String(zone.resource.dnsName).replace(/\.$/, ''), sets };
  };

  #call(method: string, path: Record<string, string>, content: JsonObject, query: URLSearchParams): Json {
    if (method === 'managedZones.create') return this.#create(content);
    if (method === 'managedZones.list') {
      const all = [...this.#zones.items.values()].map(({ resource }) => resource);
      const named = all.filter(({ dnsName }) => !query.has('dnsName') || dnsName === query.get('dnsName'));
      return listed('managedZones', named, query);
    }
    const zone = this.#zones.items.get(path.managedZone ?? '');
    if (!zone)
      throw new GoogleError(
        'notFound',
        `The 'parameters.managedZone' resource named '${path.managedZone}' does not exist.`,
      );
    switch (method) {
      case 'managedZones.get':
        return zone.resource;
      case 'managedZones.delete':
        if (zone.rrsets.length > 0) throw new GoogleError('resourceInUse', 'The resource managed zone is not empty.');
        this.#zones.delete(path.managedZone ?? '');
        return {};
      case 'resourceRecordSets.list': {
        const [name, type] = [query.get('name'), query.get('type')];
        if (type !== null && name === null) throw new GoogleError('invalid', 'type needs a name');
        const some = zone.rrsets.filter((one) => (name ?? one.name) === one.name && (type ?? one.type) === one.type);
        return listed('rrsets', some.map(shownSet), query);
      }
      case 'resourceRecordSets.get': {
        const found = zone.rrsets.find((one) => one.name === path.name && one.type === path.type);
        if (!found)
          throw new GoogleError('notFound', `The resource record set ${path.name} ${path.type} does not exist.`);
        return shownSet(found);
      }
      case 'changes.create':
        return this.#change(zone, content);
      case 'changes.list':
        return listed('changes', zone.changes.map((one) => this.#shown(one)).reverse(), query);
      default: {
        const found = zone.changes.find(({ id }) => id === path.changeId);
        if (!found) throw new GoogleError('notFound', `The change ${path.changeId} does not exist.`);
        return this.#shown(found);
      }
    }
  }

  #create(content: JsonObject): Json {
    const { name, dnsName } = content;
    if (typeof name !== 'string' || !/^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$/.test(name))
      throw new GoogleError('invalid', `Invalid value for 'entity.managedZone.name': '${name}'`);
    if (typeof dnsName !== 'string' || !/^([a-z0-9_]([a-z0-9_-]*[a-z0-9_])?\.)+$/i.test(dnsName))
      throw new GoogleError('invalid', `Invalid value for 'entity.managedZone.dnsName': '${dnsName}'`);
    if (this.#zones.items.has(name))
      throw new GoogleError('duplicate', `The resource 'entity.managedZone' named '${name}' already exists`);
    checkLabels(content.labels);
    const resource: JsonObject = {
      kind: 'dns#managedZone',
      visibility: 'public',
      ...content,
      id: String(Date.now()),
      creationTime: new Date().toISOString(),
      nameServers: [`ns-cloud-l1.${dnsName}`],
    };
    this.#zones.set(name, { resource, rrsets: [], changes: [] });
    return resource;
  }

  #change(zone: Zone, content: JsonObject): Json {
    const additions = parsed(content.additions, String(zone.resource.dnsName));
    const deletions = parsed(content.deletions, String(zone.resource.dnsName));
    if (additions.length + deletions.length === 0)
      throw new GoogleError('required', 'A change adds or deletes something.');
    let rrsets = zone.rrsets;
    for (const [at, gone] of deletions.entries()) {
      const found = rrsets.find((one) => same(one, gone));
      const what = `'entity.change.deletions[${at}]'`;
      if (!found)
        throw new GoogleError('notFound', `The ${what} resource named '${gone.name} (${gone.type})' does not exist.`);
      if (state(found) !== state(gone)) throw new GoogleError('conditionNotMet', `Precondition not met for ${what}`);
      rrsets = rrsets.filter((one) => one !== found);
    }
    for (const [at, made] of additions.entries()) {
      if (rrsets.some((one) => same(one, made)))
        throw new GoogleError(
          'duplicate',
          `The resource 'entity.change.additions[${at}]' named '${made.name} (${made.type})' already exists`,
        );
      if (rrsets.some((one) => one.name === made.name && (one.type === 'CNAME') !== (made.type === 'CNAME')))
        throw new GoogleError(
          'invalid',
          `The resource record set 'entity.change.additions[${at}]' is invalid because the DNS name '${made.name}' may have either one CNAME resource record set or resource record sets of other types, but not both.`,
        );
      rrsets = [...rrsets, made];
    }
    const change = { id: String(zone.changes.length + 1), startTime: new Date().toISOString(), additions, deletions };
    zone.rrsets = rrsets;
    zone.changes.push(change);
    this.#zones.save();
    return this.#shown(change);
  }

  #shown({ id, startTime, additions, deletions }: z.infer<typeof Change>): JsonObject {
    const done = Date.parse(startTime) + this.#operationMs <= Date.now();
    return {
      kind: 'dns#change',
      id,
      startTime,
      status: done ? 'done' : 'pending',
      ...(additions.length > 0 ? { additions: additions.map(shownSet) } : {}),
      ...(deletions.length > 0 ? { deletions: deletions.map(shownSet) } : {}),
    };
  }
}

const same = (a: Rrset, b: Rrset): boolean => a.name.toLowerCase() === b.name.toLowerCase() && a.type === b.type;

/** What a deletion must name exactly. */
const state = ({ ttl, rrdatas, routingPolicy }: Rrset): string =>
  JSON.stringify([
    ttl,
    rrdatas.toSorted(),
    routingPolicy?.wrr.items.map(({ weight, rrdatas: some }) => [weight, some]),
  ]);

const shownSet = ({ routingPolicy, ...set }: Rrset): JsonObject => ({
  kind: 'dns#resourceRecordSet',
  ...set,
  ...(routingPolicy && { routingPolicy }),
});

function listed(collection: string, all: readonly JsonObject[], query: URLSearchParams): Json {
  const { items, next } = page(all, Number(query.get('maxResults') ?? 0) || 100, query.get('pageToken'));
  return { kind: `dns#${collection}ListResponse`, [collection]: items, ...next };
}

function parsed(given: Json | undefined, dnsName: string): Rrset[] {
  const sets = z.array(Rrset).safeParse(given ?? []);
  if (!sets.success)
    throw new GoogleError('invalid', `Invalid value for 'entity.change': ${sets.error.issues[0]?.message}`);
  for (const { name, type, rrdatas } of sets.data) {
    if (!name.endsWith(`.${dnsName}`)) throw new GoogleError('invalid', `${name} is not in the zone ${dnsName}`);
    if (type === 'TXT' && rrdatas.flatMap(quotedStrings).some((text) => text.length > 255))
      throw new GoogleError(
        'invalid',
        `Invalid value for 'entity.change.additions.rrdata': a string of ${name} has more than 255 bytes`,
      );
  }
  return sets.data;
}
