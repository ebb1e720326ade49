/** Taking resources away: each after everything that needs it; what holds data is kept unless its deletion was confirmed. */
import type { Stray } from '../activities/providers/strays.ts';
import type { PlannedPlacement, PlannedService } from '../model/operations.ts';
import { type RecordedPlacement, type RecordedResource, type RetainedStore, samePlacement } from '../model/record.ts';
import type { Owner, Placement } from '../model/service.ts';
import { control, urgent } from './calls.ts';
import { restoreEndpoint } from './endpoints.ts';
import { inOrder } from './graph.ts';
import type { Operation } from './operation.ts';

/** A store that an undo or a remove keeps, stays this long unless somebody decides otherwise. */
const retentionDays = 30;

export const retainUntil = (): string => new Date(Date.now() + retentionDays * 86_400_000).toISOString().slice(0, 10);

export const stepName = (service: string, provider: string, key: string): string => `${service}/${provider}/${key}`;

/** The placement as drivers know it, from its record. */
export function placementOf(
  owner: Omit<Owner, 'generation'>,
  { provider, providerType, type, region, account, generation, configuration }: RecordedPlacement,
): Placement {
  return { owner: { ...owner, generation }, provider, providerType, type, region, account, configuration };
}

export interface Removal {
  placement: Placement;
  /** The placement as recorded: what each resource needs stands there. */
  recorded: RecordedPlacement;
  /** Which of its resources go. */
  resources: readonly RecordedResource[];
  deleteData: boolean;
  /** Takes back creates that may never have happened: what stands there and is not ours was not made by a run of ours. */
  undo: boolean;
}

/** Removes resources of a placement. Returns the stores that were kept. */
export async function removeResources(op: Operation, removal: Removal): Promise<RetainedStore[]> {
  const { placement, recorded, resources, deleteData, undo } = removal;
  const { provider, owner } = placement;
  const outputs = new Map(recorded.resources.map((resource) => [resource.key, resource.outputs]));
  const kept: RetainedStore[] = [];
  const dependants = ({ key }: RecordedResource): string[] =>
    resources.filter(({ needs }) => needs.includes(key)).map((one) => one.key);
  await inOrder([...resources].reverse(), dependants, async (resource) => {
    const needs = Object.fromEntries(resource.needs.map((key) => [key, outputs.get(key) ?? {}]));
    const until = retainUntil();
    const remove = () =>
      urgent(provider, `remove ${resource.name}`).removeResource({
        placement,
        resource,
        needs,
        deleteData,
        retainUntil: until,
        undo,
      });
    await op.board.step(
      stepName(owner.service, provider, resource.key),
      async () => {
        const removed = await op.held(owner.service, remove);
        if (removed === 'retained') kept.push(keep(op, placement, recorded.monthlyCostUsd, resource, until));
        op.board.record('run', removed, `${resource.kind} ${resource.name}`);
        return removed;
      },
      (removed) => (removed === 'retained' ? `kept until ${until}: it holds data` : `${removed} ${resource.name}`),
    );
  });
  return kept;
}

export function keep(
  op: Operation,
  { provider }: Placement,
  monthlyCostUsd: number,
  { kind, name }: Pick<RecordedResource, 'kind' | 'name'>,
  until: string,
): RetainedStore {
  op.retained.push({ provider, name, until, monthlyCostUsd });
  return { provider, kind, name, until, monthlyCostUsd };
}

/**
 * Removes what calls with lost answers have made besides: a second one of a kind that the cloud names itself, or one too
 * late. Beside resources that stay, only those of the same kinds: others, as feeds, are at work for somebody else. Returns
 * what it had to keep because it holds data.
 */
export async function sweep(op: Operation, placement: Placement, known: readonly RecordedResource[]): Promise<Stray[]> {
  const { provider, owner } = placement;
  const { service } = owner;
  const marks = known.map(({ kind, name, id }) => ({ kind, name, id }));
  const found = await op.held(service, () =>
    urgent(provider, `look for strays of ${service}`).findStrays({ placement, known: marks }),
  );
  const made = new Set(known.map(({ kind }) => kind));
  const strays = found.filter(
    ({ generation, kind }) => generation === owner.generation && (made.size === 0 || made.has(kind)),
  );
  if (strays.length === 0) return [];
  for (const { kind, id } of strays) op.board.record('run', 'removes a stray', `${kind} ${id}`);
  return op.held(service, () =>
    urgent(provider, `remove strays of ${service}`).removeStrays({ placement, strays, retainUntil: retainUntil() }),
  );
}

/** Takes back what a finished child created: its new resources go, what was there before stays as it was recorded. */
export async function takeBack(op: Operation, planned: PlannedService): Promise<string> {
  const { [planned.service]: record } = await control.readServices({ estate: op.estate });
  let removed = 0;
  if (planned.endpoint) await restoreEndpoint(planned);
  for (const one of planned.placements) {
    const { placement, before } = one;
    const { provider, owner } = placement;
    const mark = { provider, generation: owner.generation };
    const recorded = record?.placements.find((known) => samePlacement(known, mark));
    if (!recorded) continue; // the child did not get that far, or has taken it back itself
    const created = new Set(createdBy(one));
    const resources = recorded.resources.filter(({ key }) => created.has(key));
    removed += resources.length;
    const retained = await removeResources(op, { placement, recorded, resources, deleteData: false, undo: true });
    if (!before && recorded.settlesAt) {
      await op.saga.settle(recorded.settlesAt);
      await sweep(op, placement, []);
    }
    await op.write(owner.service, { kind: 'withdrawn', ...mark, ...(before && { before }), retained });
  }
  return removed === 0 ? 'nothing to take back' : `${removed} resources taken back`;
}

/** Keys of the resources that an undo of this plan removes: what it creates, and what an earlier run had begun to. */
export const createdBy = ({ begun, changes }: PlannedPlacement): string[] => [
  ...new Set([...begun, ...changes.filter(({ action }) => action === 'create').map(({ key }) => key)]),
];
