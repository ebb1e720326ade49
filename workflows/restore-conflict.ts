/**
 * `restoreConflict`: gives back what has lost a conflict, as a write of a user's: replication then carries it like any other. Takes
 * no lock, since it changes no resource.
 */
import { RestoreConflictInput, type RestoreResult } from '../model/conflict-view.ts';
import { placementRef } from '../model/transfer.ts';
import { control, failure, watch } from './calls.ts';
import { Operation } from './operation.ts';
import { placementOf } from './removal.ts';

export async function restoreConflict(raw: unknown): Promise<RestoreResult> {
  const op = new Operation('repair');
  return op.run(async () => {
    const { service, id, to, as, by, ...input } = op.parse(RestoreConflictInput, raw);
    op.board.phase('restoring');
    const { estate } = await control.loadEstate({ estate: input.estate });
    op.about(estate.name, service, estate.services[service]?.type);
    const { [service]: record } = await control.readServices({ estate: estate.name });
    const current = (record?.placements ?? []).filter(({ role }) => role === 'current');
    if (!record || current.length === 0)
      throw failure('ServiceNotFound', `${service} runs on no cloud: there is nowhere to restore to.`);
    const { uid, controller } = await control.openEstate({ estate: estate.name });
    const owner = { estate: estate.name, service, uid, controller };
    op.recordsIn(current.map((one) => placementOf(owner, one)));
    op.board.record(by || 'unnamed', `restores the conflict ${id}`, service);
    const restored = await op.board.step(
      'restore',
      () =>
        op.held('', () =>
          watch(`restore: ${service}`).writeConflictBack({
            ...{ id, places: record.places, sides: current.map((one) => placementRef(owner, one)) },
            ...(to !== undefined && { to }),
            ...(as !== undefined && { as }),
          }),
        ),
      ({ side, size }) => `${size} bytes on ${side}`,
    );
    const { side, key, replaced } = restored;
    op.board.record('run', `restored ${id}${replaced ? `; what it replaced is ${replaced}` : ''}`, `${key} on ${side}`);
    await op.keepTrail('');
    return { ...op.result('done'), restored };
  });
}
