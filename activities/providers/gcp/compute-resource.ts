/**
 * What all kinds of Compute Engine have in common, written once: each is asked for by an operation that is then waited for,
 * is owned by its description, and is busy as long as an operation works on it.
 */
import { z } from 'zod';
import { isSought, soughtTag } from '../../../model/names.ts';
import type { JsonObject, Outputs, ResourceSpec } from '../../../model/service.ts';
import type { Call, Observed, ResourceDriver } from '../driver.ts';
import type { ComputeClients, IOperation } from './compute-clients.ts';
import { failureOf, isMissing, refined } from './compute-errors.ts';
import { describeOwner, ownerInDescription } from './ownership.ts';

/** What every resource has, whatever its kind. */
interface Common {
  name?: string | null;
  description?: string | null;
  selfLink?: string | null;
}

export interface At {
  project: string;
  region: string;
  name: string;
}

/** The SDK's answer; its type says less than what is in it. */
type Started = Promise<[{ latestResponse: object }, ...unknown[]]>;
const Accepted = z.object({ name: z.string() });

/** One kind: how its client is called, what of it is compared. */
export interface ComputeKind<R extends Common> {
  kind: string;
  scope: 'global' | 'region';
  immutable: readonly string[];
  get(clients: ComputeClients, at: At): Promise<[R, ...unknown[]]>;
  insert(clients: ComputeClients, at: At, resource: R): Started;
  delete(clients: ComputeClients, at: At): Started;
  /** All whose description holds the text. */
  list(clients: ComputeClients, at: At, filter: string): Promise<[R[], ...unknown[]]>;
  /** What is asked for, without name and description. */
  body(spec: ResourceSpec, call: Call): R;
  properties(resource: R): JsonObject;
  outputs?(resource: R): Outputs;
  /** Changes in place; left out for kinds that have nothing to change. */
  change?(clients: ComputeClients, at: At, spec: ResourceSpec, resource: R, call: Call): Started;
  /** Whether it has come to rest after its operations are done. */
  settled?(resource: R): boolean;
}

export interface ComputeScope {
  project: string;
  clients: () => Promise<ComputeClients>;
  /** Longest that one request may take, milliseconds. */
  deadlineMs: number;
}

export function computeDriver<R extends Common>(kind: ComputeKind<R>, scope: ComputeScope): ResourceDriver {
  const at = ({ name }: Pick<ResourceSpec, 'name'>, call: Pick<Call, 'placement'>): At => ({
    project: scope.project,
    region: call.placement.region,
    name,
  });

  /** The SDK's own limit is ten minutes. */
  const withDeadline = <T>({ signal }: Pick<Call, 'signal'>, work: Promise<T>): Promise<T> =>
    abortable(AbortSignal.any([signal, AbortSignal.timeout(scope.deadlineMs)]), work);

  /** Asks, then waits for the operation: quota and the like are reported by it, not by the first answer. */
  async function carryOut(spec: ResourceSpec, call: Call, start: (clients: ComputeClients) => Started): Promise<void> {
    const clients = await scope.clients();
    try {
      const [{ latestResponse }] = await withDeadline(call, start(clients));
      const { name } = Accepted.parse(latestResponse);
      // `wait` answers after two minutes at the latest, done or not.
      let operation = await wait(clients, call, name);
      while (operation.status !== 'DONE') operation = await wait(clients, call, name);
      const failure = failureOf(operation, spec.name);
      if (failure) throw failure;
    } catch (error) {
      throw refined(error, spec.name);
    }
  }

  async function wait(clients: ComputeClients, call: Call, operation: string): Promise<IOperation> {
    const { project } = scope;
    const region = call.placement.region;
    const [answer] =
      kind.scope === 'global'
        ? await abortable(call.signal, clients.globalOperations.wait({ project, operation }))
        : await abortable(call.signal, clients.regionOperations.wait({ project, region, operation }));
    return answer;
  }

  /** The type of an operation that still works on it. */
  async function running(clients: ComputeClients, call: Call, selfLink: string): Promise<string | undefined> {
    const { project } = scope;
    const filter = `(targetLink = "${selfLink}") (status != "DONE")`;
    const [operations] =
      kind.scope === 'global'
        ? await withDeadline(call, clients.globalOperations.list({ project, filter }))
        : await abortable(
            call.signal,
            clients.regionOperations.list({ project, region: call.placement.region, filter }),
          );
    return operations[0]?.operationType ?? undefined;
  }

  async function read(spec: ResourceSpec, call: Call): Promise<R | undefined> {
    const clients = await scope.clients();
    try {
      const [resource] = await withDeadline(call, kind.get(clients, at(spec, call)));
      return resource;
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  return {
    kind: kind.kind,
    immutable: kind.immutable,
    async observe(spec, call): Promise<Observed | undefined> {
      const resource = await read(spec, call);
      if (!resource) return undefined;
      const selfLink = resource.selfLink ?? '';
      const operation = await running(await scope.clients(), call, selfLink);
      const busy = operation !== undefined || kind.settled?.(resource) === false;
      return {
        id: selfLink,
        owner: ownerInDescription(resource.description),
        state: operation === 'delete' ? 'deleting' : busy ? 'creating' : 'ready',
        properties: kind.properties(resource),
        outputs: { link: selfLink, ...kind.outputs?.(resource) },
      };
    },
    async create(spec, call) {
      const resource = { ...kind.body(spec, call), name: spec.name, description: describeOwner(call.placement.owner) };
      await carryOut(spec, call, (clients) => kind.insert(clients, at(spec, call), resource));
    },
    async update(spec, _observed, _drift, call) {
      const resource = await read(spec, call);
      const { change } = kind;
      if (resource && change)
        await carryOut(spec, call, (clients) => change(clients, at(spec, call), spec, resource, call));
    },
    async remove(spec, _observed, call) {
      try {
        await carryOut(spec, call, (clients) => kind.delete(clients, at(spec, call)));
      } catch (error) {
        if (!isMissing(error)) throw error;
      }
    },
    async list(call) {
      const [, value] = soughtTag(call.placement.owner);
      const clients = await scope.clients();
      const filter = `description:"${value}"`;
      const [resources] = await withDeadline(call, kind.list(clients, at({ name: '' }, call), filter));
      return resources.flatMap((resource) => {
        const owner = ownerInDescription(resource.description);
        if (!isSought(owner, call.placement.owner)) return [];
        return [{ kind: kind.kind, name: resource.name ?? '', id: resource.selfLink ?? '', owner }];
      });
    },
  };
}

/** The SDK takes no signal: the wait ends with it, the call itself ends by its own timeout. */
export async function abortable<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  signal.throwIfAborted();
  let stop: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason);
    signal.addEventListener('abort', stop, { once: true });
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    if (stop) signal.removeEventListener('abort', stop);
  }
}

/** Required outputs of a needed resource; absent only where the caller forgot to hand them over. */
export function need(call: Call, key: string, output = 'link'): string {
  const value = call.needs[key]?.[output];
  if (value === undefined) throw new Error(`${key} has no output ${output}: it must be ready first`);
  return value;
}
