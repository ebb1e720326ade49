/** `recoverService`: finishes, or takes back, what a run has begun that was terminated, reset or lost; removes what is nobody's. */
import { type OperationResult, type PlannedPlacement, RecoverServiceInput } from '../model/operations.ts';
import {
  type Intent,
  isAtWork,
  type Orphan,
  type RecordedResource,
  type ServiceRecord,
  samePlacement,
} from '../model/record.ts';
import type { Owner } from '../model/service.ts';
import { cloud, control, failure, urgent } from './calls.ts';
import { liftFences } from './fences.ts';
import { Operation } from './operation.ts';
import { provisionService } from './provisioning.ts';
import { recoverMigration } from './recover-migration.ts';
import { placementOf, removeResources, retainUntil } from './removal.ts';
import { removePlacements } from './remove-service.ts';

export async function recoverService(raw: unknown): Promise<OperationResult> {
  const op = new Operation('recover');
  return op.run(async () => {
    const input = op.parse(RecoverServiceInput, raw);
    const { service, direction } = input;
    const loaded = await control.loadEstate({ estate: input.estate });
    const { estate, approvals } = loaded;
    op.decisions.obey(approvals);
    op.about(estate.name, service, estate.services[service]?.type);
    const lock = await op.locks.take(service, `recover/${direction}`);
    if ('attached' in lock) return lock.attached;

    const { [service]: record } = await control.readServices({ estate: estate.name });
    if (!record) throw failure('ServiceNotFound', `The estate ${estate.name} has no record of a service "${service}".`);
    const { uid, controller } = await control.openEstate({ estate: estate.name });
    const owner = { estate: estate.name, service, uid, controller };
    op.board.record(input.by || 'unnamed', `recover (${direction})`, service);

    op.board.phase(direction === 'finish' ? 'finishing' : 'taking back');
    const { migration } = record;
    // What a migration has begun is taken up as a whole, below.
    const intents = record.intents.filter(({ placement }) => !migration || !samePlacement(placement, migration.to));
    const removals = intents.filter(({ operation }) => operation === 'remove');
    const others = intents.filter(({ operation }) => operation !== 'remove');
    if (direction === 'undo' && removals.length > 0)
      throw failure(
        'NotSupported',
        `${service} was being removed, and what is deleted cannot be brought back. Finish it (multi-cloud recover ${service}), or deploy the service again.`,
      );
    for (const deleteData of [true, false]) {
      const open = removals.filter((intent) => intent.deleteData === deleteData).map(({ placement }) => placement);
      if (open.length > 0) await removePlacements(op, owner, record, open, deleteData);
    }
    // The run that is gone may have calls under way that nobody waits for any more.
    if (others.length > 0) op.saga.unsettle();
    if (direction === 'undo') await op.saga.settle();
    if (direction === 'undo') for (const intent of others) await takeBack(op, owner, record, intent);
    else await finish(op, owner, record, others);
    if (migration) await recoverMigration(op, loaded, owner, record, migration, input);
    const { [service]: recovered } = await control.readServices({ estate: estate.name });
    if (!recovered) return op.result('done');
    if (!migration) await liftFences(op, owner, recovered);
    await removeOrphans(op, owner, recovered);
    return op.result('done');
  });
}

/** Brings what was begun to its end: what is there is adopted, what is missing created. */
async function finish(
  op: Operation,
  owner: Omit<Owner, 'generation'>,
  record: ServiceRecord,
  intents: readonly Intent[],
): Promise<void> {
  if (!record.type || intents.length === 0) return;
  const placements = intents.map(async ({ placement: begun, creates }): Promise<PlannedPlacement> => {
    const placement = placementOf(owner, begun);
    const inspect = () =>
      cloud(begun.provider, `inspect ${owner.service}`).inspectPlacement({ placement, existing: true });
    const seen = await op.held(owner.service, inspect);
    const before = record.placements.find((known) => samePlacement(known, begun));
    return { placement, ...(before && { before }), begun: creates, ...seen, monthlyCostUsd: begun.monthlyCostUsd };
  });
  await provisionService(op, { service: owner.service, type: record.type, placements: await Promise.all(placements) });
}

/** Removes what a run has begun to create; what existed before stays as it was recorded. */
async function takeBack(
  op: Operation,
  owner: Omit<Owner, 'generation'>,
  record: ServiceRecord,
  { placement: recorded, creates }: Intent,
): Promise<void> {
  const { provider, generation } = recorded;
  const resources = recorded.resources.filter(({ key }) => creates.includes(key));
  const removal = { placement: placementOf(owner, recorded), recorded, resources, deleteData: false, undo: true };
  const retained = await removeResources(op, removal);
  const before = record.placements.find((known) => samePlacement(known, recorded));
  await op.write(owner.service, { kind: 'withdrawn', provider, generation, ...(before && { before }), retained });
}

/** Looks wherever the service has ever been for what carries its tags and is in no record, and removes it. */
async function removeOrphans(op: Operation, owner: Omit<Owner, 'generation'>, record: ServiceRecord): Promise<void> {
  const { service, type, places, placements, retained } = record;
  if (!type) return;
  const orphans: Orphan[] = [];
  for (const place of places) {
    const { provider } = place;
    const placement = { ...place, type, configuration: {}, owner: { ...owner, generation: 1 } };
    const known = placements.filter((one) => one.provider === provider).flatMap(({ resources }) => resources);
    const found = await op.held(service, () =>
      cloud(provider, `look for strays of ${service}`).findStrays({ placement, known: known.map(mark) }),
    );
    const strays = found.filter((stray) => !isAtWork(record, stray));
    if (strays.length === 0) continue;
    op.board.record('run', 'removes strays', strays.map(({ name }) => name).join(', '));
    const kept = await op.held(service, () =>
      urgent(provider, `remove strays of ${service}`).removeStrays({ placement, strays, retainUntil: retainUntil() }),
    );
    orphans.push(...kept.map(({ kind, name }) => ({ provider, kind, name, reason: 'kept: it holds data' })));
  }
  op.orphans.push(...orphans.filter(({ name }) => !retained.some((store) => store.name === name)));
  await op.write(service, { kind: 'orphans', how: 'found', orphans });
}

const mark = ({ kind, name, id }: RecordedResource) => ({ kind, name, id });
