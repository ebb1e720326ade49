/** `removeService`: takes a service off all its clouds, in order. Protected data goes only where the input names it. */
import { isProtected as protectedByFile, type Service } from '../model/estate.ts';
import { type OperationResult, RemoveServiceInput } from '../model/operations.ts';
import {
  begunPlacements,
  type Intent,
  type RecordedPlacement,
  type ServiceRecord,
  samePlacement,
} from '../model/record.ts';
import { type Owner, statefulTypes } from '../model/service.ts';
import { control, failure } from './calls.ts';
import { withdrawEndpoint } from './endpoints.ts';
import { feedsExist, removeFeed } from './feeds.ts';
import { settleAll } from './graph.ts';
import { Operation } from './operation.ts';
import { placementOf, removeResources, sweep } from './removal.ts';
import { steeringOf, withdrawWeights } from './steering.ts';

export async function removeService(raw: unknown): Promise<OperationResult> {
  const op = new Operation('remove');
  return op.run(async () => {
    const input = op.parse(RemoveServiceInput, raw);
    const { service } = input;
    const { estate } = await control.loadEstate({ estate: input.estate });
    op.about(estate.name, service, estate.services[service]?.type);

    const { [service]: known } = await control.readServices({ estate: estate.name });
    if (!known && !estate.services[service])
      throw failure('ServiceNotFound', `There is no service "${service}" in the estate ${estate.name}.`);
    const lock = await op.locks.take(service, `remove/${input.retained ? 'retained/' : ''}${input.confirm ?? ''}`);
    if ('attached' in lock) return lock.attached;
    const { [service]: record } = await control.readServices({ estate: estate.name });
    if (!record || (record.placements.length === 0 && record.intents.length === 0)) return op.result('done');

    const identity = await control.openEstate({ estate: estate.name });
    const owner = { estate: estate.name, service, uid: identity.uid, controller: identity.controller };
    if (input.retained) {
      const now = new Date().toISOString();
      const confirmed = isConfirmed(estate.name, service, input.confirm);
      const over = record.placements.filter(
        ({ role, removeAt }) => role === 'retained' && (confirmed || (removeAt !== undefined && removeAt <= now)),
      );
      op.board.record(input.by || 'unnamed', 'remove what was kept until now', service);
      op.board.phase('removing');
      await removePlacements(op, owner, record, over, true);
      return op.result('done');
    }

    const confirmed = isConfirmed(estate.name, service, input.confirm);
    refuseProtected(estate.name, service, record, estate.services[service], input.confirm);
    op.board.record(input.by || 'unnamed', confirmed ? 'remove with its data' : 'remove', service);

    op.board.phase('removing');
    const steering = await op.held(service, () => steeringOf(estate, { service, uid: identity.uid }));
    await withdrawWeights(op, steering);
    await withdrawEndpoint(op, estate, service, identity.uid);
    await removePlacements(op, owner, record, withInterrupted(record), confirmed);
    return op.result('done');
  });
}

/** Removes placements of a service, and looks for what is left of them. */
export async function removePlacements(
  op: Operation,
  owner: Omit<Owner, 'generation'>,
  record: ServiceRecord,
  placements: readonly RecordedPlacement[],
  deleteData: boolean,
): Promise<void> {
  const { service } = owner;
  if (record.type)
    await op.write(service, {
      kind: 'intents',
      type: record.type,
      status: 'removing',
      intents: placements.map((one) => intent(op, one, deleteData)),
    });
  await settleAll(
    placements.map(async (recorded) => {
      const { provider, generation, resources } = recorded;
      const placement = placementOf(owner, recorded);
      op.recordsIn([placement]);
      // What a run only began to create may never have come to be.
      const undo = !record.placements.some((known) => samePlacement(known, recorded));
      // A migration that was interrupted may have left it; nothing that it is in can go before it.
      if (record.migration && feedsExist()) await op.held(service, () => removeFeed(owner, recorded));
      const retained = await removeResources(op, { placement, recorded, resources, deleteData, undo });
      await op.saga.settle(recorded.settlesAt);
      const left = await sweep(op, placement, []);
      await op.keepTrail(service);
      await op.write(service, { kind: 'withdrawn', provider, generation, retained });
      const kept = retained.map(({ name }) => name);
      op.orphans.push(
        ...left
          .filter(({ name }) => !kept.includes(name))
          .map(({ kind, name }) => ({ provider, kind, name, reason: 'still there after the removal' })),
      );
    }),
  );
}

function refuseProtected(
  estate: string,
  service: string,
  record: ServiceRecord,
  wished: Service | undefined,
  confirm: string | undefined,
): void {
  const isProtected = wished
    ? protectedByFile(wished)
    : record.type !== undefined && statefulTypes.includes(record.type);
  if (isProtected && !isConfirmed(estate, service, confirm))
    throw failure(
      'Protected',
      `${service} is protected because it holds data; nothing was removed. To remove it with its data, start again with "confirm": "${estate}/${service}".`,
    );
}

/** Whether the input names what it takes the data of; refused where it names something else. */
function isConfirmed(estate: string, service: string, confirm: string | undefined): boolean {
  const expected = `${estate}/${service}`;
  if (confirm !== undefined && confirm !== expected)
    throw failure(
      'InvalidInput',
      `confirm is "${confirm}"; to remove ${service} with its data it must be "${expected}".`,
    );
  return confirm !== undefined;
}

/** The placements of the record, with what an interrupted deployment may have begun. */
function withInterrupted(record: ServiceRecord): RecordedPlacement[] {
  const placements = record.placements.map((known) => {
    const open = record.intents.find(({ placement }) => samePlacement(placement, known));
    const more = open?.placement.resources.filter(({ key }) => !known.resources.some((one) => one.key === key)) ?? [];
    return { ...known, resources: [...known.resources, ...more] };
  });
  return [...placements, ...begunPlacements(record)];
}

const intent = (op: Operation, placement: RecordedPlacement, deleteData: boolean): Intent => ({
  ...op.holder,
  operation: 'remove',
  at: new Date().toISOString(),
  placement,
  creates: [],
  deleteData,
});
