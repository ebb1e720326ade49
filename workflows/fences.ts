/** Fences that stand where no operation is at work: their run was lost, and writers are refused for nothing. */
import type { Fence } from '../model/fence.ts';
import type { ServiceRecord } from '../model/record.ts';
import { type Owner, objectTypes, type Placement } from '../model/service.ts';
import { cloud, urgent } from './calls.ts';
import type { Operation } from './operation.ts';
import { placementOf } from './removal.ts';

/**
 * Fences around the current placements of a service. A retained one may be fenced on purpose; a migration or a failover that was
 * interrupted takes its own back.
 */
export async function standingFences(
  owner: Omit<Owner, 'generation'>,
  { placements, intents, migration }: ServiceRecord,
): Promise<{ placement: Placement; fence: Fence }[]> {
  if (migration || intents.some(({ operation }) => operation === 'failover')) return [];
  const stores = placements.filter(({ type, role }) => role === 'current' && objectTypes.includes(type));
  const found = await Promise.all(
    stores.map(async (recorded) => {
      const placement = placementOf(owner, recorded);
      const { fence } = await cloud(placement.provider, `fence of ${owner.service}`).fenceState({ placement });
      return fence ? [{ placement, fence }] : [];
    }),
  );
  return found.flat();
}

/** Lifts them. The caller holds the lock of the service, so no run is at work that needs one. */
export async function liftFences(
  op: Operation,
  owner: Omit<Owner, 'generation'>,
  record: ServiceRecord,
): Promise<void> {
  for (const { placement, fence } of await op.held(owner.service, () => standingFences(owner, record))) {
    const { provider } = placement;
    await op.board.step(`${owner.service}/${provider}/fence`, () =>
      op.held(owner.service, () =>
        urgent(provider, `lift the fence of ${owner.service}`).liftFence({ placement, owner: fence.owner }),
      ),
    );
    op.board.record('run', 'fence lifted', `${owner.service} on ${provider}, of ${fence.owner.workflowId}`);
  }
}
