/**
 * The portable half of provisioning: what is the same for every kind of resource on every cloud. Create or adopt, wait
 * until it is ready, find drift and repair it, remove and wait until it is gone; each step may be repeated at any point.
 */
import { setTimeout } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { CloudError, type CloudErrorFields } from '../../model/errors.ts';
import type { ResourceChange } from '../../model/operations.ts';
import type { Outputs, Owner, Placement, ResourceSpec } from '../../model/service.ts';
import type { Call, Cell, Found, Observed, Provider, ResourceDriver } from './driver.ts';

/** How the surrounding activity is told that work goes on, and how long to wait between two looks. */
export interface Pace {
  pollMs: number;
  heartbeat: (detail: string) => void;
}

export interface Ensured {
  outcome: 'created' | 'updated' | 'unchanged';
  id: string;
  outputs: Outputs;
  /** Names of the properties that were repaired. */
  drift: string[];
}

export type Removed = 'removed' | 'gone' | 'retained';

export function driverOf(cell: Cell, kind: string): ResourceDriver {
  const driver = cell.resources.find((candidate) => candidate.kind === kind);
  if (!driver) throw new Error(`the cell ${cell.provider}/${cell.type} has no driver of kind ${kind}`);
  return driver;
}

/** Runs one SDK-using step; whatever it throws leaves as a `CloudError` made of our own fields. */
export async function guarded<T>(
  provider: Pick<Provider, 'type' | 'classify'>,
  operation: string,
  resource: string,
  step: () => Promise<T>,
): Promise<T> {
  try {
    return await step();
  } catch (error) {
    if (error instanceof CloudError) throw error;
    throw new CloudError({ provider: provider.type, operation, resource, ...provider.classify(error) });
  }
}

const sameOwner = (a: Owner | undefined, b: Owner): boolean => a !== undefined && isDeepStrictEqual({ ...a }, { ...b });

/** One resource driver with one spec and one call: the three always travel together. */
export class Resource {
  readonly #provider: Provider;
  readonly #driver: ResourceDriver;
  readonly #spec: ResourceSpec;
  readonly #call: Call;

  constructor(provider: Provider, cell: Cell, spec: ResourceSpec, call: Call) {
    this.#provider = provider;
    this.#driver = driverOf(cell, spec.kind);
    this.#spec = spec;
    this.#call = call;
  }

  /** What is there under this name, whoever owns it. */
  observe(): Promise<Observed | undefined> {
    return this.#run('observe', () => this.#driver.observe(this.#spec, this.#call));
  }

  /** What `ensure` would do now. */
  async plan(): Promise<ResourceChange> {
    const { key, kind, name } = this.#spec;
    const observed = await this.observe();
    if (!observed || observed.state === 'deleting') return { key, kind, name, action: 'create', drift: [] };
    this.#refuseForeign(observed);
    const drift = this.#drift(observed);
    const action = drift.length === 0 ? 'none' : this.#immutable(drift).length > 0 ? 'replace' : 'update';
    return { key, kind, name, action, drift };
  }

  /** Creates or adopts it, waits until it is ready, repairs what differs and can change in place (unless not to `repair`). */
  async ensure(pace: Pace, { repair = true }: { repair?: boolean } = {}): Promise<Ensured> {
    let created = false;
    const repaired = new Set<string>();
    for (let repairs = 0; ; ) {
      const observed = await this.observe();
      if (!observed) {
        created = (await this.#create()) || created;
      } else if (observed.state === 'deleting') {
        pace.heartbeat(`${this.#spec.name}: waits until the old one is deleted`);
      } else {
        this.#refuseForeign(observed);
        if (observed.state === 'failed') {
          await this.#run('remove', () => this.#driver.remove(this.#spec, observed, this.#call));
        } else if (observed.state === 'ready') {
          const drift = repair
            ? this.#drift(observed).filter((property) => !this.#driver.immutable.includes(property))
            : [];
          if (drift.length === 0 || repairs >= 3) {
            if (drift.length > 0)
              throw this.#error('Unavailable', 'update', `still differs after repair: ${drift.join(', ')}`);
            const outcome = created ? 'created' : repaired.size > 0 ? 'updated' : 'unchanged';
            return { outcome, id: observed.id, outputs: observed.outputs, drift: [...repaired] };
          }
          repairs++;
          for (const property of drift) repaired.add(property);
          await this.#run('update', () => this.#driver.update(this.#spec, observed, drift, this.#call));
          continue; // look again at once: most updates are immediate
        }
      }
      await this.#pause(pace, observed?.state ?? 'asked for');
    }
  }

  /**
   * Removes it and waits until it is gone. Waits first for what is still being created, else the create would land after
   * the delete. A store that is not empty is deleted only with `deleteData`; otherwise it is kept and tagged.
   */
  async remove(pace: Pace, options: { deleteData: boolean; retainUntil: string }): Promise<Removed> {
    for (let asked = false; ; ) {
      const observed = await this.observe();
      if (!observed) return asked ? 'removed' : 'gone';
      if (observed.state !== 'deleting' && observed.state !== 'creating') {
        this.#refuseForeign(observed);
        const store = this.#driver.store;
        if (store && !asked && !(await this.#run('isEmpty', () => store.isEmpty(this.#spec, this.#call)))) {
          if (!options.deleteData) {
            await this.#run('retain', () => store.retain(this.#spec, options.retainUntil, this.#call));
            return 'retained';
          }
          while (!(await this.#run('empty', () => store.empty(this.#spec, this.#call))))
            pace.heartbeat(`${this.#spec.name}: deletes its content`);
        }
        await this.#run('remove', () => this.#driver.remove(this.#spec, observed, this.#call));
        asked = true;
        if (!(await this.observe())) return 'removed';
      }
      await this.#pause(pace, 'being deleted');
    }
  }

  /** Removes exactly the one with this ID, which carries our tags and is in no record. */
  async removeStray(id: string, pace: Pace, options: { deleteData: boolean; retainUntil: string }): Promise<Removed> {
    if (this.#driver.identity !== 'from the cloud') return this.remove(pace, options);
    const observed = await this.observe();
    if (!observed) return 'gone';
    await this.#run('remove', () => this.#driver.remove(this.#spec, { ...observed, id }, this.#call));
    return 'removed';
  }

  async #create(): Promise<boolean> {
    try {
      await this.#run('create', () => this.#driver.create(this.#spec, this.#call));
      return true;
    } catch (error) {
      // Somebody was faster: an earlier attempt of ours whose answer got lost, or a stranger. Looking again tells which.
      if (!(error instanceof CloudError) || error.kind !== 'AlreadyExists') throw error;
      const observed = await this.observe();
      if (observed) return sameOwner(observed.owner, this.#call.placement.owner);
      throw this.#error(
        'Unavailable',
        'create',
        'the name is taken but nothing can be seen there: it belongs to another account, or was deleted a short while ago',
      );
    }
  }

  #drift(observed: Observed): string[] {
    return Object.entries(this.#spec.desired)
      .filter(([property, value]) => !isDeepStrictEqual(value, observed.properties[property]))
      .map(([property]) => property);
  }

  #immutable(drift: readonly string[]): string[] {
    return drift.filter((property) => this.#driver.immutable.includes(property));
  }

  #refuseForeign(observed: Observed): void {
    if (sameOwner(observed.owner, this.#call.placement.owner)) return;
    throw this.#error(
      'NotOurs',
      'observe',
      'it exists and does not carry the tags of this estate; it was not touched. A new placement takes another name when it is deployed again; in the place of an existing one it must be removed by its owner',
    );
  }

  #error(kind: CloudErrorFields['kind'], operation: string, explanation: string): CloudError {
    return new CloudError(
      { kind, provider: this.#provider.type, operation: `${this.#spec.kind} ${operation}`, resource: this.#spec.name },
      explanation,
    );
  }

  #run<T>(operation: string, step: () => Promise<T>): Promise<T> {
    this.#call.signal.throwIfAborted();
    return guarded(this.#provider, `${this.#spec.kind} ${operation}`, this.#spec.name, step);
  }

  async #pause(pace: Pace, state: string): Promise<void> {
    pace.heartbeat(`${this.#spec.name}: ${state}`);
    await setTimeout(pace.pollMs, undefined, { signal: this.#call.signal });
  }
}

/** Every resource of the estate in the account and region of this placement, with what kind and cell it belongs to. */
export async function scan(provider: Provider, placement: Placement, signal: AbortSignal): Promise<Found[]> {
  const drivers = new Map(provider.cells.flatMap((cell) => cell.resources).map((driver) => [driver.kind, driver]));
  const found = await Promise.all(
    [...drivers.values()].map((driver) =>
      guarded(provider, `${driver.kind} list`, placement.region, () => driver.list({ placement, signal })),
    ),
  );
  return found.flat();
}
