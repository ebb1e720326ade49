/**
 * The local Compute Engine: the REST API v1 of the methods in `definitions/compute.v1.json.gz`. Resources are what their
 * schema says; this file holds what is common to all kinds: routing, long-running operations, fingerprints, references.
 */
import type { Json, JsonObject } from '../../model/service.ts';
import { type Called, isObject, loadDefinition } from './compute-definition.ts';
import { matchesFilter } from './compute-filter.ts';
import {
  base,
  ComputeError,
  defaults,
  fingerprint,
  invalid,
  labelled,
  mapReferences,
  needsFingerprint,
  notFound,
  references,
  regions,
} from './compute-kinds.ts';
import { listOf, locations, page } from './compute-lists.ts';
import { kindOf, permissionOf, schemaOf } from './compute-names.ts';
import { Operations } from './compute-operations.ts';
import { Quotas } from './compute-quotas.ts';
import { ComputeState, type Operation } from './compute-state.ts';
import { type Answer, type ApiRequest, mergePatch } from './json-api.ts';

export interface ComputeHooks {
  /** A resource has come, changed or gone for good: groups and load balancers follow. */
  changed(path: string, resource: JsonObject | undefined): void;
  /** A free address for a load balancer in that region. */
  allocateAddress(taken: ReadonlySet<string>): Promise<string>;
  /** What the cloud computes of a resource on each read. */
  computed(path: string, resource: JsonObject): JsonObject;
}

export class Compute {
  readonly state: ComputeState;
  readonly quotas: Quotas;
  readonly #definition = loadDefinition('compute.v1');
  readonly #project: string;
  readonly #operations: Operations;
  readonly #hooks: ComputeHooks;

  constructor(options: {
    folder: string;
    /** Folder of the local Google Cloud, where limits of quotas are set. */
    cloud: string;
    project: string;
    operationMs: number;
    hooks: ComputeHooks;
  }) {
    this.state = new ComputeState(options.folder);
    this.quotas = new Quotas(options.cloud, this.state.resources);
    this.#project = options.project;
    this.#operations = new Operations({
      state: this.state,
      project: options.project,
      operationMs: options.operationMs,
      finished: (operation) => this.#finish(operation),
    });
    this.#hooks = options.hooks;
  }

  /** Goes on where the last process ended. */
  start(): void {
    this.#operations.start();
    for (const [path, resource] of this.state.resources) this.#hooks.changed(path, resource);
  }

  stop(): void {
    this.#operations.stop();
  }

  /** `may` throws where the caller lacks a permission. */
  async handle(
    { method, url, body }: Pick<ApiRequest, 'method' | 'url' | 'body'>,
    may: (permission: string) => void,
  ): Promise<Answer> {
    try {
      const called = this.#definition.match(method, url.pathname);
      if (!called) throw new ComputeError(404, 'notFound', 'this method is not served by the local Compute Engine');
      const problem =
        this.#definition.checkQuery(called, url.searchParams) ??
        (called.requestSchema && isObject(body) ? this.#definition.checkBody(called.requestSchema, body) : undefined);
      if (problem) throw invalid(`Invalid value for field: ${problem}`);
      if (called.path.project !== this.#project) throw notFound(`projects/${called.path.project}`);
      this.#checkLocation(called);
      may(permissionOf(called.id));
      return { status: 200, body: await this.#call(called, url, isObject(body) ? body : {}) };
    } catch (error) {
      if (!(error instanceof ComputeError)) throw error;
      const { code, reason, message } = error;
      return { status: code, body: { error: { code, message, errors: [{ message, domain: 'global', reason }] } } };
    }
  }

  #checkLocation({ path }: Called): void {
    const region = path.region ?? path.zone?.replace(/-[a-z]$/, '');
    if (region !== undefined && !regions.has(region)) throw invalid(`Unknown region '${region}'`);
    if (path.zone !== undefined && region !== undefined && !regions.get(region)?.includes(path.zone))
      throw invalid(`Unknown zone '${path.zone}'`);
  }

  async #call(called: Called, url: URL, body: JsonObject): Promise<Json> {
    const path = decodeURIComponent(url.pathname.replace('/compute/v1/', ''));
    const verb = called.id.split('.').at(-1) ?? '';
    const collection = called.id.split('.')[1] ?? '';
    const requestId = url.searchParams.get('requestId') ?? undefined;
    const parent = path.slice(0, path.lastIndexOf('/'));
    if (collection.endsWith('Operations')) return this.#operations.call(verb, path, url);
    if (collection === 'regions' || collection === 'zones' || collection === 'machineTypes')
      return locations(verb, called, url, (region) => this.quotas.of(region));
    if (collection === 'projects')
      return {
        kind: 'compute#project',
        name: this.#project,
        selfLink: `${base}projects/${this.#project}`,
        quotas: this.quotas.of(undefined),
      };
    const repeated = this.#operations.repeated(requestId);
    if (repeated) return this.#operations.show(repeated);
    switch (verb) {
      case 'insert':
        return this.#insert(`${path}/${String(body.name)}`, body, requestId);
      case 'get':
        return this.read(path);
      case 'list':
        return this.#list(path, url);
      case 'aggregatedList':
        return this.#aggregate(collection, url);
      case 'delete':
        return this.#delete(path, requestId);
      case 'patch':
      case 'update': {
        const named = url.searchParams.get('autoscaler') ?? (typeof body.name === 'string' ? body.name : '');
        return this.#change(collection === 'regionAutoscalers' ? `${path}/${named}` : path, verb, body, requestId);
      }
      case 'setLabels':
        return this.#setLabels(parent, body, requestId);
      case 'setTarget':
        return this.#change(parent, 'patch', { backendService: body.target ?? null }, requestId);
      case 'resize':
        return this.#change(parent, 'resize', { targetSize: Number(url.searchParams.get('size')) }, requestId);
      case 'setInstanceTemplate':
        return this.#change(parent, 'patch', body, requestId);
      case 'recreateInstances':
        return this.#recreate(parent, body, requestId);
      case 'listManagedInstances':
        return { managedInstances: this.managed(parent).map((instance) => this.#managed(parent, instance)) };
      case 'listInstances':
        return listOf(
          'regionInstanceGroupsListInstances',
          this.managed(parent.replace('instanceGroups', 'instanceGroupManagers')).map(({ selfLink, status }) => ({
            instance: selfLink ?? '',
            status: status ?? '',
          })),
        );
      case 'listErrors':
        return { items: [] };
      case 'getHealth':
        return this.#hooks.computed(`${parent}/getHealth`, body);
      default:
        throw new ComputeError(404, 'notFound', `${called.id} is not served by the local Compute Engine`);
    }
  }

  read(path: string): JsonObject {
    const resource = this.state.resources.get(path);
    if (!resource) throw notFound(path);
    return { ...resource, ...this.#hooks.computed(path, resource) };
  }

  async #insert(path: string, body: JsonObject, requestId: string | undefined): Promise<Json> {
    const collection = path.split('/').at(-2) ?? '';
    const name = path.split('/').at(-1) ?? '';
    if (!/^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$/.test(name))
      throw invalid(
        `Invalid value for field 'resource.name': '${name}'. Must be a match of regex '(?:[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?)'`,
      );
    if (this.state.resources.has(path))
      throw new ComputeError(409, 'alreadyExists', `The resource '${path}' already exists`);
    const content = this.#resolve(defaults[collection]?.(body) ?? body);
    this.#checkReferences(content);
    this.quotas.check(path, content);
    const region = /regions\/([^/]+)/.exec(path)?.[1];
    const resource: JsonObject = {
      kind: kindOf(collection),
      id: this.state.newId(),
      creationTimestamp: new Date().toISOString(),
      ...content,
      selfLink: base + path,
      ...(region ? { region: `${base}projects/${this.#project}/regions/${region}` } : {}),
    };
    if (collection === 'addresses') resource.address = await this.#freeAddress();
    if (collection === 'forwardingRules') Object.assign(resource, await this.#claimAddress(path, resource));
    if (collection === 'instanceGroupManagers')
      resource.instanceGroup = base + path.replace('instanceGroupManagers', 'instanceGroups');
    this.#seal(collection, resource);
    if (this.state.resources.has(path))
      throw new ComputeError(409, 'alreadyExists', `The resource '${path}' already exists`);
    this.state.resources.set(path, resource);
    return this.#operations.begin('insert', path, requestId);
  }

  async #freeAddress(): Promise<string> {
    const taken = new Set<string>();
    for (const { address, IPAddress } of this.state.resources.values())
      for (const used of [address, IPAddress]) if (typeof used === 'string') taken.add(used);
    return this.#hooks.allocateAddress(taken);
  }

  /** A forwarding rule takes a reserved address, named by value or by reference, or gets an ephemeral one. */
  async #claimAddress(path: string, rule: JsonObject): Promise<JsonObject> {
    const wanted = typeof rule.IPAddress === 'string' ? rule.IPAddress : undefined;
    if (wanted === undefined) return { IPAddress: await this.#freeAddress() };
    for (const [addressPath, address] of this.state.resources) {
      if (!addressPath.includes('/addresses/')) continue;
      if (address.address !== wanted && !wanted.endsWith(addressPath) && address.selfLink !== wanted) continue;
      if (address.status === 'IN_USE')
        throw new ComputeError(400, 'invalid', `Specified IP address is in-use and would result in a conflict.`);
      Object.assign(address, { status: 'IN_USE', users: [base + path] });
      return { IPAddress: address.address ?? null };
    }
    throw invalid(`Invalid value for field 'resource.IPAddress': '${wanted}'`);
  }

  #seal(collection: string, resource: JsonObject): void {
    const { fingerprint: _, labelFingerprint: __, ...content } = resource;
    const known = this.#definition.properties(schemaOf[collection] ?? '');
    if (known.includes('fingerprint')) resource.fingerprint = fingerprint(content);
    if (labelled.has(collection)) resource.labelFingerprint = fingerprint(content.labels ?? {});
  }

  /** Full URLs in place of references, whatever form the caller used. */
  #resolve(body: JsonObject): JsonObject {
    const resolved = mapReferences(body, this.#project, (path) => base + path);
    return isObject(resolved) ? resolved : body;
  }

  #checkReferences(content: JsonObject): void {
    for (const path of references(content, this.#project)) {
      const kept = path.replace('/instanceGroups/', '/instanceGroupManagers/');
      if (!this.state.resources.has(kept)) throw notFound(path);
      const operation = this.state.running(kept);
      if (operation?.type === 'insert' || operation?.type === 'delete')
        throw new ComputeError(400, 'resourceNotReady', `The resource '${path}' is not ready`);
    }
  }

  #delete(path: string, requestId: string | undefined): Json {
    const resource = this.state.resources.get(path);
    if (!resource) throw notFound(path);
    const running = this.state.running(path);
    if (running?.type === 'insert')
      throw new ComputeError(400, 'resourceNotReady', `The resource '${path}' is not ready`);
    if (running?.type === 'delete') return this.#operations.show(running);
    const wanted = path.replace('/instanceGroupManagers/', '/instanceGroups/');
    for (const [other, referring] of this.state.resources) {
      // Templates name a network without using it; an autoscaler goes with its group.
      if (other === path || /\/(instanceTemplates|autoscalers)\//.test(other)) continue;
      const user = references(referring, this.#project);
      if (user.includes(wanted) || user.includes(path))
        throw new ComputeError(
          400,
          'resourceInUseByAnotherResource',
          `The resource '${path}' is already being used by '${other}'`,
        );
    }
    if (Array.isArray(resource.users) && resource.users.length > 0)
      throw new ComputeError(
        400,
        'resourceInUseByAnotherResource',
        `The resource '${path}' is already being used by '${String(resource.users[0])}'`,
      );
    if (path.includes('/instanceGroupManagers/')) this.#hooks.changed(path, undefined);
    return this.#operations.begin('delete', path, requestId);
  }

  #change(path: string, verb: 'patch' | 'update' | 'resize', body: JsonObject, requestId: string | undefined): Json {
    const resource = this.state.resources.get(path);
    if (!resource) throw notFound(path);
    const collection = path.split('/').at(-2) ?? '';
    const given = body.fingerprint;
    if (
      (needsFingerprint.has(collection) && verb !== 'resize' && given === undefined) ||
      (given !== undefined && given !== resource.fingerprint)
    )
      throw new ComputeError(412, 'conditionNotMet', `Invalid fingerprint.`);
    if (this.state.running(path))
      throw new ComputeError(400, 'resourceNotReady', `The resource '${path}' is not ready`);
    const before =
      verb === 'update'
        ? pick(resource, ['kind', 'id', 'creationTimestamp', 'selfLink', 'region', 'name', 'instanceGroup'])
        : resource;
    const merged = mergePatch(before, body);
    const content = this.#resolve(isObject(merged) ? (defaults[collection]?.(merged) ?? merged) : resource);
    this.#checkReferences(content);
    this.#seal(collection, content);
    this.state.resources.set(path, content);
    return this.#operations.begin(verb, path, requestId);
  }

  #setLabels(path: string, body: JsonObject, requestId: string | undefined): Json {
    const resource = this.state.resources.get(path);
    if (!resource) throw notFound(path);
    if (body.labelFingerprint !== resource.labelFingerprint)
      throw new ComputeError(
        412,
        'conditionNotMet',
        'Labels fingerprint either invalid or resource labels have changed',
      );
    const changed = { ...resource, labels: body.labels ?? {} };
    this.#seal(path.split('/').at(-2) ?? '', changed);
    this.state.resources.set(path, changed);
    return this.#operations.begin('setLabels', path, requestId);
  }

  #recreate(path: string, body: JsonObject, requestId: string | undefined): Json {
    if (!this.state.resources.has(path)) throw notFound(path);
    for (const link of Array.isArray(body.instances) ? body.instances : []) {
      const instance = String(link).slice(String(link).indexOf('projects/'));
      if (!this.managed(path).some((managed) => String(managed.selfLink).endsWith(instance)))
        throw invalid(`'${instance}' is no instance of this group`);
      this.#hooks.changed(instance, undefined);
    }
    return this.#operations.begin('recreate', path, requestId);
  }

  /** The instances of a group. */
  managed(group: string): JsonObject[] {
    return [...this.state.resources]
      .filter(([path, instance]) => path.includes('/instances/') && createdBy(instance) === group)
      .map(([, instance]) => instance);
  }

  #managed(group: string, instance: JsonObject): JsonObject {
    const status = instance.status ?? 'PROVISIONING';
    const action = status === 'RUNNING' ? 'NONE' : status === 'STOPPING' ? 'DELETING' : 'CREATING';
    const template = this.state.resources.get(group)?.instanceTemplate ?? null;
    return {
      id: instance.id ?? '',
      instance: instance.selfLink ?? '',
      instanceStatus: status,
      currentAction: action,
      version: { instanceTemplate: template },
      ...this.#hooks.computed(`${group}/listManagedInstances`, instance),
    };
  }

  #finish({ type, target, targetId }: Operation): void {
    const resource = this.state.resources.get(target);
    if (type === 'delete' && resource?.id === targetId) {
      if (target.includes('/instanceGroupManagers/')) this.#removeWithGroup(target);
      this.state.resources.delete(target);
      for (const address of this.state.resources.values())
        if (Array.isArray(address.users) && address.users.includes(base + target))
          Object.assign(address, { status: 'RESERVED', users: [] });
      this.state.save();
    }
    this.#hooks.changed(target, this.state.resources.get(target));
  }

  #removeWithGroup(group: string): void {
    for (const [path, resource] of this.state.resources)
      if (path.includes('/autoscalers/') && resource.target === base + group) this.state.resources.delete(path);
    for (const instance of this.managed(group))
      this.state.resources.delete(String(instance.selfLink).slice(base.length));
  }

  #aggregate(collection: string, url: URL): Json {
    const items: Record<string, Json> = {};
    for (const [path, resource] of this.state.resources) {
      if (path.split('/').at(-2) !== collection || !matchesFilter(resource, url.searchParams.get('filter'))) continue;
      const scope = path.split('/').slice(2, 4).join('/');
      const entry = items[scope];
      const before = isObject(entry) && Array.isArray(entry[collection]) ? entry[collection] : [];
      items[scope] = { [collection]: [...before, resource] };
    }
    return {
      kind: `${kindOf(collection)}AggregatedList`,
      id: `projects/${this.#project}/aggregated/${collection}`,
      items,
    };
  }

  #list(path: string, url: URL): Json {
    const own = path.replace('/instanceGroups', '/instanceGroupManagers');
    const items = [...this.state.resources.keys()]
      .filter((key) => key.slice(0, key.lastIndexOf('/')) === own)
      .sort()
      .map((key) => this.read(key));
    return page(kindOf(path.split('/').at(-1) ?? '').slice('compute#'.length), path, items, url);
  }
}

/** Path of the group that made an instance: the metadata item `created-by`. */
export function createdBy(instance: JsonObject): string | undefined {
  const items = isObject(instance.metadata) && Array.isArray(instance.metadata.items) ? instance.metadata.items : [];
  const item = items.find((candidate) => isObject(candidate) && candidate.key === 'created-by');
  return isObject(item) && typeof item.value === 'string' ? item.value : undefined;
}

const pick = (resource: JsonObject, keys: string[]): JsonObject =>
  Object.fromEntries(Object.entries(resource).filter(([key]) => keys.includes(key)));
