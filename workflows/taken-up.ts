/** Taking up a migration whose run is gone: whatever that run has made of the target is the present one's to take back. */
import * as wf from '@temporalio/workflow';
import type { PlannedPlacement } from '../model/operations.ts';
import type { RecordedPlacement } from '../model/record.ts';
import type { Owner } from '../model/service.ts';
import type { Operation } from './operation.ts';
import { placementOf, removeResources, sweep } from './removal.ts';

/** Runs that took up a migration before left what its target was, and what its way back had begun, as it was. */
export const takenUpWhole = (): boolean => wf.patched('migration-taken-up-whole');

/** The target as one that was only begun: an undo removes it, and does not restore it. */
export function asBegun({ before: _, ...target }: PlannedPlacement): PlannedPlacement {
  return { ...target, begun: target.specs.map(({ key }) => key) };
}

/** Whether the run that is gone was removing the target: what has been deleted keeps its name for a while. */
export const isPartlyGone = ({ before, changes }: PlannedPlacement): boolean =>
  before !== undefined && changes.some(({ action }) => action === 'create');

/** Removes what an earlier run has made of the target, as far as it came; it holds nothing but copies. */
export async function removeTarget(
  op: Operation,
  owner: Omit<Owner, 'generation'>,
  recorded: RecordedPlacement,
): Promise<void> {
  const { provider, generation, resources } = recorded;
  const placement = placementOf(owner, recorded);
  await removeResources(op, { placement, recorded, resources, deleteData: true, undo: true });
  await sweep(op, placement, []);
  await op.write(owner.service, { kind: 'withdrawn', provider, generation, retained: [] });
}
