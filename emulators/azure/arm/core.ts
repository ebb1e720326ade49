/**
 * The core of Azure Resource Manager: what is the same for every resource type. Pure but for its store; `server.ts` puts it
 * on HTTP. Resource providers describe their types as `ArmKind`s and are asked for nothing else.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { accept, type Properties, Refusal } from './accept.ts';
import { type Conditions, checkConditions, Envelope, place } from './envelope.ts';
import type { ArmKind, Asked, Made, Stored } from './kind.ts';
import { resourceGroupKind } from './resource-groups.ts';
import { keyOf, normalId, resourceGroupOf, within } from './resource-id.ts';
import type { ArmStore, Operation } from './store.ts';
import type { Usages } from './usages.ts';

export interface CoreSettings {
  store: ArmStore;
  kinds: readonly ArmKind[];
  usages: Usages;
  subscription: string;
  tenant: string;
  operationMs: number;
  nameHeldMs: number;
}

export interface Outcome {
  status: number;
  body?: unknown;
  /** To be named in `Azure-AsyncOperation` or `Location`. */
  operation?: Operation | undefined;
}

export class ArmCore {
  readonly settings: CoreSettings;
  readonly #kinds: ReadonlyMap<string, ArmKind>;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(settings: CoreSettings) {
    this.settings = settings;
    const kinds = [...settings.kinds, resourceGroupKind];
    this.#kinds = new Map(kinds.map((kind) => [kind.type.toLowerCase(), kind]));
  }

  kind(type: string): ArmKind | undefined {
    return this.#kinds.get(type.toLowerCase());
  }

  /** Changes are made one after the other; what is over by now is settled before each. */
  inTurn<T>(change: () => Promise<T>): Promise<T> {
    const next = this.#turn.then(async () => {
      await this.settle();
      return change();
    });
    this.#turn = next.catch(() => undefined);
    return next;
  }

  /** Ends the operations whose time has come. */
  async settle(): Promise<void> {
    for (const stored of this.settings.store.all()) {
      if (!stored.phase || stored.phase.until > Date.now()) continue;
      if (stored.phase.state === 'Deleting') await this.#erase(stored);
      else this.settings.store.put({ ...stored, phase: undefined });
    }
  }

  /** A resource, also one that exists with its parent alone. */
  find(id: string): Stored | undefined {
    const known = this.settings.store.get(id);
    if (known) return known;
    const [, parentId = '', type = ''] = /^(.*)\/([^/]+)\/default$/i.exec(id) ?? [];
    const parent = this.settings.store.get(parentId);
    const kind = parent && this.kind(`${parent.type}/${type}`);
    if (!parent || !kind?.implicit) return undefined;
    return { id: normalId(id), name: 'default', type: kind.type, ...kind.implicit(parent) };
  }

  get(id: string, kind: ArmKind): Stored {
    const stored = this.find(id);
    if (stored) return stored;
    this.#needGroup(id);
    throw new Refusal(404, kind.codes?.missing ?? 'ResourceNotFound', `The Resource '${id}' was not found.`);
  }

  /** Of a type, in a scope; for nested types the scope is the parent. */
  inScope(scope: string, kind: ArmKind): Stored[] {
    if (keyOf(scope) !== keyOf(`/subscriptions/${this.settings.subscription}`) && !this.find(scope))
      this.#needGroup(scope);
    return [...this.settings.store.list(kind.type)].filter(
      ({ id, properties }) => within(scope, id) || (kind.inherited && within(String(properties.scope), scope)),
    );
  }

  async put(path: string, name: string, kind: ArmKind, body: Properties, conditions: Conditions): Promise<Outcome> {
    const id = normalId(path);
    const before = this.settings.store.get(id);
    const envelope = accept(Envelope, body);
    if (kind !== resourceGroupKind) this.#needGroup(id);
    const shown = before ?? this.find(id);
    checkConditions(before, conditions, kind.ifMatch);
    this.#needIdle(before, id);
    if (kind.tracked) this.#checkTracked(kind, id, name, envelope.location, before);
    const made = kind.make(this.#asked(id, before, body));
    const stored = this.#keep(kind, before?.id ?? id, name, made, {
      location: kind.tracked ? (before?.location ?? envelope.location) : undefined,
      tags: kind.tracked ? (envelope.tags ?? {}) : undefined,
      phase: before ? (kind.longRunning === true ? 'Updating' : undefined) : kind.longRunning ? 'Creating' : undefined,
    });
    this.settings.usages.check(stored, before);
    await kind.made?.(stored);
    this.settings.store.put(stored);
    if (!before) for (const child of kind.children?.() ?? []) this.#bear(stored, child);
    const status = shown ? kind.statuses.updated : kind.statuses.created;
    return { status, body: this.show(stored), operation: this.#operation(stored, false) };
  }

  async patch(id: string, kind: ArmKind, body: Properties, conditions: Conditions): Promise<Outcome> {
    const before = this.get(id, kind);
    const envelope = accept(Envelope, body);
    checkConditions(before, conditions, false);
    this.#needIdle(before, id);
    const more = Object.keys(body).some((key) => !['tags', 'id', 'name', 'type', 'location'].includes(key));
    if (more && !kind.patch)
      throw new Refusal(400, 'InvalidRequestContent', `A PATCH of ${kind.type} takes tags only.`);
    const made = more && kind.patch ? kind.patch(this.#asked(before.id, before, body)) : before;
    const stored = this.#keep(kind, before.id, before.name, made, {
      location: before.location,
      tags: envelope.tags === undefined ? before.tags : (envelope.tags ?? {}),
      phase: kind.longRunning === true ? 'Updating' : undefined,
    });
    this.settings.usages.check(stored, before);
    await kind.made?.(stored);
    this.settings.store.put(stored);
    return { status: 200, body: this.show(stored), operation: this.#operation(stored, false) };
  }

  async delete(id: string, kind: ArmKind, conditions: Conditions): Promise<Outcome> {
    const stored = this.settings.store.get(id);
    if (!stored) {
      if (kind === resourceGroupKind) this.#needGroup(id);
      return { status: 204 };
    }
    checkConditions(stored, conditions, false);
    if (stored.phase?.state === 'Deleting') return { status: 202, operation: this.#operation(stored, true) };
    this.#needIdle(stored, id);
    kind.checkRemoval?.(stored, (type) => this.settings.store.list(type));
    if (kind.longRunning !== true) {
      await this.#erase(stored);
      return { status: kind.statuses.deleted };
    }
    const leaving: Stored = { ...stored, phase: { state: 'Deleting', until: Date.now() + this.settings.operationMs } };
    this.settings.store.put(leaving);
    return { status: kind.statuses.deleted, operation: this.#operation(leaving, true) };
  }

  /** As a GET answers it. */
  show(stored: Stored): Properties {
    const kind = this.kind(stored.type ?? '');
    const provisioningState = stored.phase?.state ?? 'Succeeded';
    const { sku, identity, zones, kind: variant, properties } = kind?.show?.(stored, provisioningState) ?? stored;
    const { id, name, type, location, tags, etag } = stored;
    const shown = kind?.longRunning ? { ...properties, provisioningState } : properties;
    const all = { id, name, type, location, tags, etag, sku, identity, kind: variant, zones, properties: shown };
    return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
  }

  isTaken(kind: ArmKind, name: string, except?: string): boolean {
    if (this.settings.store.isHeld(`${kind.type}/${name}`)) return true;
    for (const other of this.settings.store.list(kind.type))
      if (other.name.toLowerCase() === name.toLowerCase() && keyOf(other.id) !== keyOf(except ?? '')) return true;
    return false;
  }

  #asked(id: string, before: Stored | undefined, body: Properties): Asked {
    const { subscription, tenant, store } = this.settings;
    const parents: Stored[] = [];
    for (let up = id; up.includes('/'); ) {
      up = up.slice(0, up.lastIndexOf('/'));
      const parent = this.find(up);
      if (parent && parent.type !== resourceGroupKind.type) parents.push(parent);
    }
    const busy = parents.find(({ phase }) => phase && phase.state !== 'Updating');
    if (busy) throw new Refusal(409, 'Conflict', `The resource '${busy.id}' is in the state ${busy.phase?.state}.`);
    const name = id.split('/').at(-1) ?? '';
    return {
      subscription,
      tenant,
      name: before?.name ?? name,
      id,
      body,
      before,
      parents,
      list: (type) => store.list(type),
    };
  }

  #keep(
    kind: ArmKind,
    id: string,
    name: string,
    made: Made,
    rest: {
      location?: string | undefined;
      tags?: Record<string, string> | undefined;
      phase: 'Creating' | 'Updating' | undefined;
    },
  ): Stored {
    const { sku, identity, zones, kind: variant, properties } = made;
    const phase = rest.phase && { state: rest.phase, until: Date.now() + this.settings.operationMs };
    const { location, tags } = rest;
    const etag = `"${randomBytes(8).toString('hex')}"`;
    return { id, name, type: kind.type, location, tags, sku, identity, zones, kind: variant, etag, properties, phase };
  }

  #bear(parent: Stored, child: { type: string; name: string; properties: Properties }): void {
    const id = `${parent.id}/${child.type.split('/').at(-1)}/${child.name}`;
    this.settings.store.put({ id, name: child.name, type: child.type, properties: child.properties });
  }

  #operation({ id, phase }: Stored, deletes: boolean): Operation | undefined {
    if (!phase) return undefined;
    const operation = { id: randomUUID(), resource: id, until: phase.until, deletes };
    this.settings.store.addOperation(operation);
    return operation;
  }

  /** With all that lies in it, the innermost first. */
  async #erase(stored: Stored): Promise<void> {
    const inner = this.settings.store.all().filter(({ id }) => within(stored.id, id));
    for (const one of inner.toSorted((a, b) => b.id.length - a.id.length)) {
      const kind = this.kind(one.type ?? '');
      await kind?.removed?.(one);
      if (kind?.global) this.settings.store.hold(`${kind.type}/${one.name}`, Date.now() + this.settings.nameHeldMs);
      this.settings.store.remove(one.id);
    }
  }

  #needGroup(id: string): void {
    const wanted = resourceGroupOf(id);
    if (!wanted) return;
    const group = this.settings.store.get(wanted);
    const name = wanted.split('/').at(-1) ?? '';
    if (!group) throw new Refusal(404, 'ResourceGroupNotFound', `Resource group '${name}' could not be found.`);
    if (group.phase?.state === 'Deleting' && keyOf(id) !== keyOf(wanted))
      throw new Refusal(409, 'ResourceGroupBeingDeleted', `The resource group '${name}' is in deprovisioning state.`);
  }

  #needIdle(stored: Stored | undefined, id: string): void {
    if (!stored?.phase) return;
    throw new Refusal(
      409,
      'AnotherOperationInProgress',
      `Another operation is in progress on '${id}': ${stored.phase.state}.`,
    );
  }

  #checkTracked(
    kind: ArmKind,
    id: string,
    name: string,
    location: string | undefined,
    before: Stored | undefined,
  ): void {
    if (!location) throw new Refusal(400, 'LocationRequired', 'The location property is required for this definition.');
    if (before && place(before.location) !== place(location))
      throw new Refusal(
        409,
        'InvalidResourceLocation',
        `The resource '${name}' already exists in location '${before.location}'.`,
      );
    if (!before && kind.global && this.isTaken(kind, name))
      throw new Refusal(409, kind.codes?.taken ?? 'NameNotAvailable', `The name '${name}' of ${id} is already taken.`);
  }
}
