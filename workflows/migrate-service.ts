/** `migrateService`: moves a service from one cloud to another while it goes on working; can be taken back from any step. */
import * as wf from '@temporalio/workflow';
import { type EstatePlan, MigrateServiceInput, type OperationResult } from '../model/operations.ts';
import { Migration } from './migration.ts';
import { type PlannedMigration, planMigration } from './migration-plan.ts';
import { Operation } from './operation.ts';

export const plan = wf.defineQuery<EstatePlan | undefined>('plan');

export async function migrateService(raw: unknown): Promise<OperationResult> {
  const op = new Operation('migrate');
  let shown: EstatePlan | undefined;
  wf.setHandler(plan, () => shown, { description: 'Why it may go there, what is made there, what it costs' });

  return op.run(async () => {
    const input = op.parse(MigrateServiceInput, raw);
    op.board.phase('planning');
    const planned = await planMigration(op, input);
    if ('attached' in planned) return planned.attached;
    shown = planned.plan;
    await carryOut(op, planned);
    return op.result('done');
  });
}

export async function carryOut(op: Operation, planned: PlannedMigration): Promise<void> {
  const migration = new Migration(op, planned);
  await fill(migration, planned);
  await migration.approveCutover(planned.plan);
  await cutOver(migration);
  await migration.retireSource();
}

/** Until the target is close behind the source. */
export async function fill(migration: Migration, { type, target }: PlannedMigration): Promise<void> {
  await migration.provisionTarget(type, target);
  await migration.copy();
  await migration.follow();
}

/** Until nothing can be lost any more by staying on the target. */
export async function cutOver(migration: Migration): Promise<void> {
  await migration.verify();
  await migration.lowerTtl();
  await migration.handOver();
  await migration.switchOver();
  await migration.soak();
}
