/**
 * Managed instance groups: instances come and go until a group is what it asks for, one group at a time, as the real ones do
 * some time after the operation that asked is done. Autoscalers keep a group within its limits; load is not measured.
 */
import { randomInt } from 'node:crypto';
import type { JsonObject } from '../../model/service.ts';
import { createdBy } from './compute.ts';
import { isObject } from './compute-definition.ts';
import { base, mapReferences, regions } from './compute-kinds.ts';
import type { Quotas } from './compute-quotas.ts';
import type { ComputeState } from './compute-state.ts';

export interface Machines {
  /** The instance has booted: run what its metadata says. */
  start(path: string, instance: JsonObject): Promise<void>;
  stop(path: string): Promise<void>;
  /** Health of a running instance, by the health check of its group. */
  healthy(path: string): boolean;
}

export class Groups {
  readonly #state: ComputeState;
  readonly #machines: Machines;
  readonly #bootMs: number;
  readonly #quotas: Quotas;
  readonly #queue = new Map<string, Promise<void>>();
  #stopped = false;

  constructor(state: ComputeState, machines: Machines, bootMs: number, quotas: Quotas) {
    this.#state = state;
    this.#machines = machines;
    this.#bootMs = bootMs;
    this.#quotas = quotas;
  }

  stop(): void {
    this.#stopped = true;
  }

  /** Brings a group to what it asks for; calls for one group follow each other. */
  reconcile(group: string): void {
    const before = this.#queue.get(group) ?? Promise.resolve();
    const next = before.then(() => (this.#stopped ? undefined : this.#reconcile(group)));
    this.#queue.set(group, next);
  }

  /** Shuts the instances of a group down; their records go with the group. */
  release(group: string): void {
    for (const [path] of this.instances(group)) {
      this.#update(path, { status: 'STOPPING' });
      void this.#machines.stop(path);
    }
  }

  instances(group: string): [string, JsonObject][] {
    return [...this.#state.resources].filter(
      ([path, resource]) => path.includes('/instances/') && createdBy(resource) === group,
    );
  }

  /** Deletes one instance and lets its group make another. */
  recreate(path: string): void {
    const instance = this.#state.resources.get(path);
    const group = instance && createdBy(instance);
    if (!group) return;
    void this.#remove(path).then(() => this.reconcile(group));
  }

  /** What `status` and `currentActions` of a group say. */
  describe(group: string, manager: JsonObject): JsonObject {
    const instances = this.instances(group);
    const count = (...states: string[]): number =>
      instances.filter(([, { status }]) => states.includes(String(status))).length;
    const ready = instances.filter(([path, { status }]) => status === 'RUNNING' && this.#machines.healthy(path)).length;
    const wanted = this.#size(group, manager);
    const current = instances.every(([, instance]) => this.#difference(manager, instance) === undefined);
    const isStable = ready === wanted && instances.length === wanted && current;
    const autoscaler = this.#autoscaler(group)?.selfLink;
    return {
      status: {
        isStable,
        versionTarget: { isReached: current },
        allInstancesConfig: { effective: current },
        ...(autoscaler ? { autoscaler } : {}),
      },
      currentActions: {
        none: count('RUNNING'),
        creating: count('PROVISIONING', 'STAGING') + Math.max(0, wanted - instances.length),
        deleting: count('STOPPING'),
        verifying: count('RUNNING') - ready,
        abandoning: 0,
        recreating: 0,
        refreshing: 0,
        restarting: 0,
        creatingWithoutRetries: 0,
      },
    };
  }

  async #reconcile(group: string): Promise<void> {
    const manager = this.#state.resources.get(group);
    if (!manager || this.#state.running(group)?.type === 'delete') return;
    const wanted = this.#size(group, manager);
    if (wanted !== manager.targetSize) this.#update(group, { targetSize: wanted });
    const present = this.instances(group);
    await Promise.all(present.slice(wanted).map(([path]) => this.#remove(path)));
    await Promise.all(present.slice(0, wanted).map(([path, instance]) => this.#continue(path, instance)));
    const more = Math.max(0, wanted - present.length);
    const fitting = Math.min(more, this.#quotas.room(regionOf(group), this.#template(manager)));
    // The others are tried again, until the quota has room for them.
    if (fitting < more) setTimeout(() => this.reconcile(group), retryMs).unref();
    await Promise.all(
      Array.from({ length: fitting }, (_, index) => this.#create(group, manager, present.length + index)),
    );
    if (isObject(manager.updatePolicy) && manager.updatePolicy.type === 'PROACTIVE') await this.#roll(group);
  }

  /** A rolling update: one instance after the other. */
  async #roll(group: string): Promise<void> {
    for (const [path, instance] of this.instances(group)) {
      const manager = this.#state.resources.get(group);
      const difference = manager && this.#difference(manager, instance);
      if (!manager || !difference) continue;
      await this.#machines.stop(path);
      this.#update(path, { ...this.#content(group, manager), status: 'STAGING' });
      await this.#boot(path);
    }
  }

  /** Which part of its group's specification an instance does not have yet. */
  #difference(manager: JsonObject, instance: JsonObject): 'specification' | undefined {
    const { metadata, labels } = this.#content(createdBy(instance) ?? '', manager);
    const same = JSON.stringify([metadata, labels]) === JSON.stringify([instance.metadata, instance.labels]);
    return same ? undefined : 'specification';
  }

  #autoscaler(group: string): JsonObject | undefined {
    return [...this.#state.resources].find(
      ([path, { target }]) => path.includes('/autoscalers/') && target === base + group && !this.#state.running(path),
    )?.[1];
  }

  #size(group: string, manager: JsonObject): number {
    const size = Number(manager.targetSize ?? 0);
    const policy = this.#autoscaler(group)?.autoscalingPolicy;
    if (!isObject(policy) || policy.mode === 'OFF') return size;
    return Math.min(Math.max(size, Number(policy.minNumReplicas)), Number(policy.maxNumReplicas));
  }

  #template(manager: JsonObject): JsonObject {
    let found: JsonObject = {};
    mapReferences({ instanceTemplate: manager.instanceTemplate ?? null }, '', (path) => {
      const properties = this.#state.resources.get(path)?.properties;
      if (isObject(properties)) found = properties;
      return path;
    });
    return found;
  }

  /** What an instance gets from its template and from the group's all-instances configuration. */
  #content(group: string, manager: JsonObject): JsonObject {
    const template = this.#template(manager);
    const own =
      isObject(manager.allInstancesConfig) && isObject(manager.allInstancesConfig.properties)
        ? manager.allInstancesConfig.properties
        : {};
    const items = { ...attributes(template), ...(isObject(own.metadata) ? own.metadata : {}), 'created-by': group };
    return {
      metadata: { kind: 'compute#metadata', items: Object.entries(items).map(([key, value]) => ({ key, value })) },
      labels: { ...(isObject(template.labels) ? template.labels : {}), ...(isObject(own.labels) ? own.labels : {}) },
    };
  }

  async #create(group: string, manager: JsonObject, index: number): Promise<void> {
    const [, project = ''] = /^projects\/([^/]+)\//.exec(group) ?? [];
    const region = regionOf(group);
    const zones = regions.get(region) ?? [];
    const zone = zones[index % Math.max(1, zones.length)] ?? '';
    const random = Array.from({ length: 4 }, () => 'abcdefghijklmnopqrstuvwxyz0123456789'[randomInt(36)]).join('');
    const name = `${String(manager.baseInstanceName)}-${random}`;
    const path = `projects/${project}/zones/${zone}/instances/${name}`;
    const template = this.#template(manager);
    const address = `10.0.${randomInt(256)}.${randomInt(2, 254)}`;
    const [first] = Array.isArray(template.networkInterfaces) ? template.networkInterfaces : [];
    this.#state.resources.set(path, {
      kind: 'compute#instance',
      id: this.#state.newId(),
      creationTimestamp: new Date().toISOString(),
      name,
      zone: `${base}projects/${project}/zones/${zone}`,
      selfLink: base + path,
      machineType: `${base}projects/${project}/zones/${zone}/machineTypes/${String(template.machineType)}`,
      ...Object.fromEntries(copied.flatMap((key) => (template[key] === undefined ? [] : [[key, template[key]]]))),
      networkInterfaces: [{ ...(isObject(first) ? first : {}), name: 'nic0', networkIP: address }],
      ...this.#content(group, manager),
      status: 'PROVISIONING',
    });
    this.#state.save();
    await this.#boot(path);
  }

  /** After a restart of the local cloud: machines that were on are on again. */
  async #continue(path: string, instance: JsonObject): Promise<void> {
    if (instance.status === 'RUNNING') await this.#machines.start(path, instance);
    else if (instance.status === 'STOPPING') await this.#remove(path);
    else await this.#boot(path);
  }

  async #boot(path: string): Promise<void> {
    await sleep(this.#bootMs);
    const instance = this.#update(path, { status: 'RUNNING', lastStartTimestamp: new Date().toISOString() });
    if (instance) await this.#machines.start(path, instance);
  }

  async #remove(path: string): Promise<void> {
    this.#update(path, { status: 'STOPPING' });
    await this.#machines.stop(path);
    await sleep(this.#bootMs / 2);
    this.#state.resources.delete(path);
    this.#state.save();
  }

  /** Changes a resource unless it is gone or being shut down. */
  #update(path: string, change: JsonObject): JsonObject | undefined {
    const before = this.#state.resources.get(path);
    if (!before || this.#stopped || (before.status === 'STOPPING' && change.status !== 'STOPPING')) return undefined;
    const after = { ...before, ...change };
    this.#state.resources.set(path, after);
    this.#state.save();
    return after;
  }
}

const retryMs = 1000;
const regionOf = (group: string): string => /\/regions\/([^/]+)\//.exec(group)?.[1] ?? '';

const copied = [
  'description',
  'tags',
  'disks',
  'serviceAccounts',
  'shieldedInstanceConfig',
  'scheduling',
  'canIpForward',
];

/** Metadata items as a record. */
export function attributes(resource: JsonObject): Record<string, string> {
  const items = isObject(resource.metadata) && Array.isArray(resource.metadata.items) ? resource.metadata.items : [];
  return Object.fromEntries(
    items.flatMap((item) => (isObject(item) && typeof item.key === 'string' ? [[item.key, String(item.value)]] : [])),
  );
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
