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
import { ComputeState, type Operation } from './compute-state.ts';
import type { Answer, ApiRequest } from './json-api.ts';

export interface ComputeHooks {
  /** A resource has come, changed or gone for good: groups and load balancers follow. */
  changed(path: string, resource: JsonObject | undefined): void;
  /** A free address for a load balancer in that region. */
  allocateAddress(taken: ReadonlySet<string>): Promise<string>;
  /** What the cloud computes of a resource on each read. */
  computed(path: string, resource: JsonObject): JsonObject;
}

const schemaOf: Record<string, string> = {
  networks: 'Network',
  subnetworks: 'Subnetwork',
  firewalls: 'Firewall',
  routers: 'Router',
  addresses: 'Address',
  forwardingRules: 'ForwardingRule',
  instanceTemplates: 'InstanceTemplate',
  healthChecks: 'HealthCheck',
  backendServices: 'BackendService',
  instanceGroupManagers: 'InstanceGroupManager',
  autoscalers: 'Autoscaler',
  instances: 'Instance',
  instanceGroups: 'InstanceGroup',
};
/** Resources whose permissions keep `region` in their name. */
const regionalPermissions = new Set(['regionHealthChecks', 'regionBackendServices', 'regionOperations']);
const verbs: Record<string, string> = {
  insert: 'create',
  patch: 'update',
  wait: 'get',
  aggregatedList: 'list',
  getHealth: 'get',
  listManagedInstances: 'get',
  listInstances: 'list',
  listErrors: 'get',
  resize: 'update',
  setInstanceTemplate: 'update',
  recreateInstances: 'update',
};

/** `compute.regionInstanceGroupManagers.insert` needs `compute.instanceGroupManagers.create`. */
function permissionOf(id: string): string {
  const [, collection = '', verb = ''] = id.split('.');
  const plain = collection.replace(/^region(?=[A-Z])/, '');
  const resource = regionalPermissions.has(collection) ? collection : plain.charAt(0).toLowerCase() + plain.slice(1);
  return `compute.${resource}.${verbs[verb] ?? verb}`;
}

/** `compute#network`. */
function kindOf(collection: string): string {
  const schema = schemaOf[collection] ?? '';
  return `compute#${schema.charAt(0).toLowerCase()}${schema.slice(1)}`;
}

export class Compute {
  readonly state: ComputeState;
  readonly #definition = loadDefinition('compute.v1');
  readonly #project: string;
  readonly #operationMs: number;
  readonly #hooks: ComputeHooks;
  readonly #timers = new Set<NodeJS.Timeout>();

  constructor(options: { folder: string; project: string; operationMs: number; hooks: ComputeHooks }) {
    this.state = new ComputeState(options.folder);
    this.#project = options.project;
    this.#operationMs = options.operationMs;
    this.#hooks = options.hooks;
  }

  /** Goes on where the last process ended. */
  start(): void {
    for (const operation of this.state.operations.values()) this.#await(operation);
    for (const [path, resource] of this.state.resources) this.#hooks.changed(path, resource);
  }

  stop(): void {
    for (const timer of this.#timers) clearTimeout(timer);
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
    if (collection.endsWith('Operations')) return this.#operationCall(verb, path, url);
    if (collection === 'regions' || collection === 'zones' || collection === 'machineTypes')
      return this.#locationCall(verb, called, url);
    const repeated = [...this.state.operations.values()].find(
      (operation) => requestId !== undefined && operation.requestId === requestId,
    );
    if (repeated) return this.#show(repeated);
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
        return this.#listOf(
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
    return this.#begin('insert', path, requestId);
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
    if (running?.type === 'delete') return this.#show(running);
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
    return this.#begin('delete', path, requestId);
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
    return this.#begin(verb, path, requestId);
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
    return this.#begin('setLabels', path, requestId);
  }

  #recreate(path: string, body: JsonObject, requestId: string | undefined): Json {
    if (!this.state.resources.has(path)) throw notFound(path);
    for (const link of Array.isArray(body.instances) ? body.instances : []) {
      const instance = String(link).slice(String(link).indexOf('projects/'));
      if (!this.managed(path).some((managed) => String(managed.selfLink).endsWith(instance)))
        throw invalid(`'${instance}' is no instance of this group`);
      this.#hooks.changed(instance, undefined);
    }
    return this.#begin('recreate', path, requestId);
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

  #begin(type: Operation['type'], target: string, requestId: string | undefined): Json {
    const id = this.state.newId();
    const now = Date.now();
    const scope = target
      .split('/')
      .slice(0, target.includes('/global/') ? 3 : 4)
      .join('/');
    const operation: Operation = {
      path: `${scope}/operations/operation-${now}-${id}`,
      target,
      type,
      requestId,
      id,
      targetId: String(this.state.resources.get(target)?.id ?? '0'),
      startedAt: now,
      doneAt: now + this.#operationMs,
    };
    this.state.operations.set(operation.path, operation);
    this.state.save();
    this.#await(operation);
    return this.#show(operation);
  }

  #await(operation: Operation): void {
    const left = operation.doneAt - Date.now();
    // A finished delete whose effect a kill cut off is caught up on at the next start.
    if (
      left <= 0 &&
      !(operation.type === 'delete' && this.state.resources.get(operation.target)?.id === operation.targetId)
    )
      return;
    const timer = setTimeout(
      () => {
        this.#timers.delete(timer);
        this.#finish(operation);
      },
      Math.max(0, left),
    );
    this.#timers.add(timer);
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

  #show(operation: Operation): JsonObject {
    const now = Date.now();
    const done = now >= operation.doneAt;
    const scope = /\/(regions|zones)\/([^/]+)/.exec(operation.path);
    return {
      kind: 'compute#operation',
      id: operation.id,
      name: operation.path.split('/').at(-1) ?? '',
      operationType: operation.type,
      targetLink: base + operation.target,
      targetId: operation.targetId,
      status: done ? 'DONE' : 'RUNNING',
      progress: done ? 100 : 0,
      insertTime: new Date(operation.startedAt).toISOString(),
      startTime: new Date(operation.startedAt).toISOString(),
      ...(done ? { endTime: new Date(operation.doneAt).toISOString() } : {}),
      selfLink: base + operation.path,
      ...(scope
        ? { [scope[1] === 'zones' ? 'zone' : 'region']: `${base}projects/${this.#project}/${scope[0].slice(1)}` }
        : {}),
    };
  }

  async #operationCall(verb: string, path: string, url: URL): Promise<Json> {
    if (verb === 'list') {
      const all = [...this.state.operations.values()].filter((operation) => operation.path.startsWith(`${path}/`));
      return this.#page(
        'operation',
        path,
        all.map((operation) => this.#show(operation)),
        url,
      );
    }
    const own = verb === 'wait' ? path.replace(/\/wait$/, '') : path;
    const operation = this.state.operations.get(own);
    if (!operation) throw notFound(own);
    // `wait` answers when the operation is done, at the latest after two minutes.
    const left = operation.doneAt - Date.now();
    if (verb === 'wait' && left > 0) await new Promise((resolve) => setTimeout(resolve, Math.min(left + 2, 120_000)));
    return this.#show(operation);
  }

  #locationCall(verb: string, { path, id }: Called, url: URL): Json {
    const project = `projects/${this.#project}`;
    if (id.includes('machineTypes'))
      throw new ComputeError(404, 'notFound', 'machine types are not listed by the local Compute Engine');
    const all = id.includes('regions')
      ? [...regions].map(([name, zones]) => ({
          kind: 'compute#region',
          name,
          status: 'UP',
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
    return verb === 'get' && found ? found : this.#page(id.includes('regions') ? 'region' : 'zone', project, all, url);
  }

  #list(path: string, url: URL): Json {
    const own = path.replace('/instanceGroups', '/instanceGroupManagers');
    const items = [...this.state.resources.keys()]
      .filter((key) => key.slice(0, key.lastIndexOf('/')) === own)
      .sort()
      .map((key) => this.read(key));
    return this.#page(kindOf(path.split('/').at(-1) ?? '').slice('compute#'.length), path, items, url);
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

  #page(kind: string, path: string, all: JsonObject[], url: URL): Json {
    const matching = all.filter((item) => matchesFilter(item, url.searchParams.get('filter')));
    const size = Math.min(Number(url.searchParams.get('maxResults') ?? 500), 500);
    const start = Number(url.searchParams.get('pageToken') ?? 0);
    const next = start + size < matching.length ? { nextPageToken: String(start + size) } : {};
    return {
      ...this.#listOf(`${kind}List`, matching.slice(start, start + size)),
      id: path,
      selfLink: base + path,
      ...next,
    };
  }

  #listOf(kind: string, items: JsonObject[]): JsonObject {
    return { kind: `compute#${kind}`, items };
  }
}

/** Path of the group that made an instance: the metadata item `created-by`. */
export function createdBy(instance: JsonObject): string | undefined {
  const items = isObject(instance.metadata) && Array.isArray(instance.metadata.items) ? instance.metadata.items : [];
  const item = items.find((candidate) => isObject(candidate) && candidate.key === 'created-by');
  return isObject(item) && typeof item.value === 'string' ? item.value : undefined;
}

/** JSON merge patch (RFC 7396). */
function mergePatch(before: Json | undefined, patch: Json): Json {
  if (!isObject(patch)) return patch;
  const merged: JsonObject = isObject(before) ? { ...before } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete merged[key];
    else merged[key] = mergePatch(merged[key], value);
  }
  return merged;
}

const pick = (resource: JsonObject, keys: string[]): JsonObject =>
  Object.fromEntries(Object.entries(resource).filter(([key]) => keys.includes(key)));
