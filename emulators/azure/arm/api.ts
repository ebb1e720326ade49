/** The HTTP API of ARM over its core: which path means what. */

import { roleDefinition } from '../iot-hub/role-assignments.ts';
import { asObject, type Properties, Refusal } from './accept.ts';
import type { ArmCore, Outcome } from './core.ts';
import type { Conditions } from './envelope.ts';
import type { ArmKind, Stored } from './kind.ts';
import { resourceGroupKind } from './resource-groups.ts';
import { keyOf, normalId, parsePath, within } from './resource-id.ts';
import type { RolePermissions } from './role-definitions.ts';

export interface Request {
  method: string;
  /** Decoded, without a slash at its end. */
  path: string;
  query: URLSearchParams;
  conditions: Conditions;
  body: Properties;
  /** Object ID of whoever asks. */
  principal: string;
}

export interface Answer extends Outcome {
  headers?: Record<string, string>;
}

const host = 'https://management.azure.com';
const pageSize = 100;

const notFound = (what: string): Refusal => new Refusal(404, 'NotFound', `${what} was not found.`);
const notAllowed = (method: string): Refusal =>
  new Refusal(405, 'MethodNotAllowed', `The HTTP method ${method} is not served here.`);

export class ArmApi {
  readonly #core: ArmCore;
  readonly #granted: (principal: string) => RolePermissions[];

  constructor(core: ArmCore, granted: (principal: string) => RolePermissions[]) {
    this.#core = core;
    this.#granted = granted;
  }

  answer(request: Request): Promise<Answer> {
    return this.#core.inTurn(() => this.#route(request));
  }

  async #route(request: Request): Promise<Answer> {
    const { path } = request;
    const { subscription, tenant } = this.#core.settings;
    const shown = {
      id: `/subscriptions/${subscription}`,
      subscriptionId: subscription,
      tenantId: tenant,
      displayName: 'local',
      state: 'Enabled',
    };
    if (/^\/subscriptions$/i.test(path)) return { status: 200, body: { value: [shown] } };
    const [, asked, rest = ''] = /^\/subscriptions\/([^/]+)(\/.*)?$/i.exec(path) ?? [];
    if (!asked) throw notFound(path);
    if (asked.toLowerCase() !== subscription.toLowerCase())
      throw new Refusal(404, 'SubscriptionNotFound', `The subscription '${asked}' could not be found.`);
    if (!rest) return { status: 200, body: shown };
    return this.#inSubscription(request, rest);
  }

  async #inSubscription(request: Request, rest: string): Promise<Answer> {
    const { path, query } = request;
    if (/^\/resourcegroups$/i.test(rest))
      return this.#list(request, this.#filtered(this.#all(resourceGroupKind), query));
    if (/^\/resourcegroups\/[^/]+$/i.test(rest)) return this.#resource(request, resourceGroupKind);
    if (/^(\/resourcegroups\/[^/]+)?\/resources$/i.test(rest)) return this.#list(request, this.#resources(path, query));
    const operation = /^\/providers\/[^/]+\/locations\/[^/]+\/(operationStatuses|operationResults)\/([^/]+)$/i.exec(
      rest,
    );
    if (operation?.[1] && operation[2])
      return this.#operation(operation[2], operation[1].toLowerCase() === 'operationstatuses', path);
    const check = /^\/providers\/([^/]+)\/checkNameAvailability$/i.exec(rest);
    if (check?.[1]) return this.#checkName(check[1], request);
    const usages = /^\/providers\/([^/]+)(?:\/locations\/([^/]+))?\/usages$/i.exec(rest);
    if (usages?.[1]) return { status: 200, body: { value: this.#core.settings.usages.of(usages[1], usages[2]) } };
    const parsed = parsePath(path);
    if (!parsed) throw notFound(path);
    const { type, scope, name, parent, last } = parsed;
    if (/^Microsoft\.Resources\/tags$/i.test(type)) return this.#tags(request, scope);
    if (/^Microsoft\.Authorization\/permissions$/i.test(type))
      return { status: 200, body: { value: this.#granted(request.principal) } };
    const role = /^Microsoft\.Authorization\/roleDefinitions$/i.test(type) && name ? roleDefinition(name) : undefined;
    if (role)
      return {
        status: 200,
        body: { id: path, name, type: 'Microsoft.Authorization/roleDefinitions', properties: role },
      };
    const kind = this.#core.kind(type);
    if (kind && name !== undefined) return this.#resource(request, kind);
    if (kind) return this.#collection(request, kind, type.split('/').length > 2 ? parent : scope);
    return this.#action(request, parent, last.toLowerCase());
  }

  async #resource({ method, path, conditions, body, query }: Request, kind: ArmKind): Promise<Answer> {
    const core = this.#core;
    switch (method) {
      case 'HEAD':
      case 'GET': {
        if (method === 'HEAD') return { status: core.find(path) ? 204 : 404 };
        return { status: 200, body: core.show(core.get(path, kind)) };
      }
      case 'PUT': {
        const outcome = await core.put(path, path.split('/').at(-1) ?? '', kind, body, conditions);
        return this.#withOperation(outcome, kind, query);
      }
      case 'PATCH':
        return this.#withOperation(await core.patch(path, kind, body, conditions), kind, query);
      case 'DELETE':
        return this.#withOperation(await core.delete(path, kind, conditions), kind, query);
      default:
        throw notAllowed(method);
    }
  }

  /** Names the operation as each style does: 202 has a Location, everything else an Azure-AsyncOperation. */
  #withOperation(outcome: Outcome, kind: ArmKind, query: URLSearchParams): Answer {
    const { operation, status } = outcome;
    // Resource groups are made and changed at once as far as anybody can see.
    if (!operation || (kind === resourceGroupKind && !operation.deletes)) return outcome;
    const namespace = kind.type.split('/')[0];
    const { subscription } = this.#core.settings;
    const style = status === 202 ? 'operationResults' : 'operationStatuses';
    const url = `${host}/subscriptions/${subscription}/providers/${namespace}/locations/global/${style}/${operation.id}?api-version=${query.get('api-version')}`;
    const headers = status === 202 ? { location: url } : { 'azure-asyncoperation': url };
    return { ...outcome, ...(status === 202 ? { body: undefined } : {}), headers };
  }

  #operation(id: string, status: boolean, path: string): Answer {
    const operation = this.#core.settings.store.operation(id);
    if (!operation) throw notFound(`The operation ${id}`);
    const done = operation.until <= Date.now();
    if (status) return { status: 200, body: { id: path, name: id, status: done ? 'Succeeded' : 'InProgress' } };
    if (!done) return { status: 202, headers: { location: `${host}${path}?api-version=2024-01-01` } };
    const stored = this.#core.find(operation.resource);
    return operation.deletes || !stored ? { status: 204 } : { status: 200, body: this.#core.show(stored) };
  }

  #collection(request: Request, kind: ArmKind, scope: string): Answer {
    if (request.method !== 'GET') throw notAllowed(request.method);
    return this.#list(request, this.#core.inScope(scope, kind));
  }

  async #action({ method, path }: Request, parent: string, action: string): Promise<Answer> {
    const stored = this.#core.find(parent);
    const answer = stored && this.#core.kind(stored.type ?? '')?.actions?.[action];
    if (!stored || !answer || !['GET', 'POST'].includes(method)) throw notFound(path);
    return { status: 200, body: answer(stored) };
  }

  #list({ path, query }: Request, all: readonly Stored[]): Answer {
    const from = Number(query.get('$skiptoken') ?? 0);
    const value = all.slice(from, from + pageSize).map((stored) => this.#core.show(stored));
    if (all.length <= from + pageSize) return { status: 200, body: { value } };
    const next = new URLSearchParams(query);
    next.set('$skiptoken', String(from + pageSize));
    return { status: 200, body: { value, nextLink: `${host}${path}?${next}` } };
  }

  #all(kind: ArmKind): Stored[] {
    return [...this.#core.settings.store.list(kind.type)];
  }

  /** Top-level resources, in a group or in the whole subscription. */
  #resources(path: string, query: URLSearchParams): Stored[] {
    const scope = path.slice(0, path.lastIndexOf('/'));
    const group = /\/resourcegroups\//i.test(scope);
    if (group && !this.#core.find(scope))
      this.#core.get(scope, { ...resourceGroupKind, codes: { missing: 'ResourceGroupNotFound' } });
    const all = this.#core.settings.store.all().filter(({ id, type = '' }) => {
      const kind = this.#core.kind(type);
      return kind?.tracked && kind !== resourceGroupKind && within(scope, id);
    });
    return this.#filtered(all, query);
  }

  /** `tagName eq 'a' and tagValue eq 'b'`, the one filter that is served. */
  #filtered(all: Stored[], query: URLSearchParams): Stored[] {
    const filter = query.get('$filter');
    if (!filter) return all;
    const [, name = '', value] = /^tagName eq '([^']+)'(?: and tagValue eq '([^']*)')?$/i.exec(filter) ?? [];
    if (!name) throw new Refusal(400, 'InvalidFilterInQueryString', `The filter '${filter}' is not served here.`);
    return all.filter(({ tags }) => tags?.[name] !== undefined && (value === undefined || tags[name] === value));
  }

  #tags({ method, path }: Request, scope: string): Answer {
    if (method !== 'GET') throw notAllowed(method);
    const stored = this.#core.find(scope);
    if (!stored) throw new Refusal(404, 'ResourceNotFound', `The Resource '${scope}' was not found.`);
    const tags = stored.tags ?? {};
    return {
      status: 200,
      body: { id: normalId(path), name: 'default', type: 'Microsoft.Resources/tags', properties: { tags } },
    };
  }

  #checkName(namespace: string, { body }: Request): Answer {
    const kind = this.#core.settings.kinds.find(
      (one) => one.global && keyOf(one.type.split('/')[0] ?? '') === keyOf(namespace),
    );
    const { name } = asObject(body);
    if (!kind || typeof name !== 'string') throw new Refusal(400, 'BadRequest', 'The name to check is missing.');
    const free = !this.#core.isTaken(kind, name);
    return {
      status: 200,
      body: free ? { nameAvailable: true } : { nameAvailable: false, reason: 'AlreadyExists', message: 'It is taken.' },
    };
  }
}
