/** `deployEstate`: brings the whole estate to what its file says. Adds what is missing and repairs drift; never moves or removes. */
import * as wf from '@temporalio/workflow';
import type { Estate } from '../model/estate.ts';
import {
  changesAnything,
  DeployEstateInput,
  type EstatePlan,
  type OperationResult,
  type PlannedService,
  workflowIds,
} from '../model/operations.ts';
import { objectTypes, replicatedTypes, type ServiceType } from '../model/service.ts';
import { control, failure } from './calls.ts';
import { approveWhereAsked, deployService } from './deploy-service.ts';
import { settleAll } from './graph.ts';
import { Operation } from './operation.ts';
import { awaitHeadroom, planServices, refuseWithoutRights } from './planning.ts';
import { keepAsIs } from './provisioning.ts';
import { takeBack } from './removal.ts';

export const plan = wf.defineQuery<EstatePlan | undefined>('plan');

export async function deployEstate(raw: unknown): Promise<OperationResult> {
  const op = new Operation('deploy');
  let shown: EstatePlan | undefined;
  wf.setHandler(plan, () => shown, { description: 'Every candidate with its scores; every change' });

  return op.run(async () => {
    const input = op.parse(DeployEstateInput, raw);

    op.board.phase('planning');
    const loaded = await control.loadEstate({ estate: input.estate, file: input.file, others: input.others });
    const { estate, approvals } = loaded;
    op.decisions.obey(approvals);
    op.about(estate.name);
    let planned = await op.board.step('plan', () => planServices(loaded, input.by));
    const lock = await op.locks.take(undefined, planned.plan.hash);
    if ('attached' in lock) return lock.attached;
    const { stale, free } = await lockServices(op, planned);
    if (stale) planned = await planServices(loaded, input.by);
    shown = planned.plan;
    op.board.record(input.by || 'unnamed', 'deploy the estate', estate.name);
    if (estate.cost.enforce && planned.plan.cost.budget?.state === 'over')
      throw failure(
        'OverBudget',
        `The plan costs $${planned.plan.monthlyCostUsd.toFixed(2)} a month, the budget is $${estate.cost.budget} and cost.enforce is true; nothing was changed.`,
      );

    const mine = planned.services.filter(({ service }) => free.includes(service));
    refuseWithoutRights(mine);
    await awaitHeadroom(op, mine);
    await approveWhereAsked(op, input, planned.plan, approvals);

    op.board.phase('deploying');
    const changing = planned.services.filter((one) => changesAnything(one) && free.includes(one.service));
    op.board.expect(changing.map(({ service }) => service));
    op.recordsIn(changing.flatMap(({ placements }) => placements.map(({ placement }) => placement)));
    await settleAll(changing.map((one) => deployChild(op, one)));
    for (const one of planned.services) if (!changing.includes(one)) keepAsIs(op, one);
    const changed = await control.recordApplied({
      estate: estate.name,
      file: {
        hash: loaded.hash,
        by: input.by,
        services: estate.services,
        cost: estate.cost,
        replicationUsd: planned.plan.cost.replicationUsd,
      },
    });
    await startReplications(op, planned, estate);
    // What is applied now is kept wherever something runs, although nothing there has changed.
    if (changed)
      op.recordsIn(planned.services.flatMap(({ placements }) => placements.map(({ placement }) => placement)));
    return op.result('done');
  });
}

/** What the file wishes to be kept in step begins as soon as it is on two clouds; where it runs already it goes on. */
async function startReplications(
  op: Operation,
  planned: Awaited<ReturnType<typeof planServices>>,
  { services }: Pick<Estate, 'services'>,
): Promise<void> {
  if (!wf.patched('replication-wishes')) return;
  const of = (types: readonly ServiceType[]): string[] =>
    planned.services
      .filter(({ service, placements }) => {
        const wish = services[service];
        return wish?.replication && types.includes(wish.type) && placements.length > 1;
      })
      .map(({ service }) => service);
  const served = of(replicatedTypes);
  const objects = of(objectTypes);
  const wished = served.length === objects.length || wf.patched('fleet-replications') ? served : objects;
  if (wished.length > 0) await control.startReplications({ estate: op.estate, services: wished });
}

/** Takes the locks of the services that will change, in name order and before any effect; leaves alone what another run holds. */
async function lockServices(
  op: Operation,
  planned: Awaited<ReturnType<typeof planServices>>,
): Promise<{ stale: boolean; free: string[] }> {
  let stale = false;
  const free: string[] = [];
  for (const one of planned.services) {
    if (!changesAnything(one)) continue;
    try {
      const lock = await op.locks.take(one.service, '');
      if ('revision' in lock && lock.revision !== (planned.records[one.service]?.revision ?? 0)) stale = true;
      free.push(one.service);
    } catch (error) {
      if (!(error instanceof wf.ApplicationFailure) || error.type !== 'OperationInProgress') throw error;
      op.skipped.push({ service: one.service, heldBy: error.message });
      op.board.mark(one.service, { status: 'skipped', detail: error.message });
    }
  }
  return { stale, free };
}

async function deployChild(op: Operation, planned: PlannedService): Promise<void> {
  const { service } = planned;
  // Not of the run's ID: a reset gives the run another one and replays the child's start.
  const workflowId = `${workflowIds.deployService(op.estate, service)}-${wf.uuid4().slice(0, 8)}`;
  op.board.child(service, workflowId);
  // A child that fails takes back its own; one that was done is taken back here when a sister fails.
  op.saga.add({
    step: service,
    orphan: { provider: '', kind: 'service', name: service },
    undo: () => takeBack(op, planned),
  });
  await op.board.step(
    service,
    async () => {
      const child = await wf.startChild(deployService, {
        workflowId,
        args: [{ v: 1, service, inherited: { ...op.holder, planned } }],
        staticSummary: `${service} on ${planned.placements.map(({ placement }) => placement.provider).join(', ')}`,
      });
      op.decisions.passOn(child);
      op.locks.leaveTo(service, child);
      const result = await child
        .result()
        .catch((error: unknown) => {
          op.inheritLeftovers(error);
          throw error;
        })
        .finally(() => op.locks.takenBack(service));
      op.include(result.placements, result.monthlyCostUsd);
      return result;
    },
    ({ placements }) => `on ${placements.map(({ provider }) => provider).join(', ')}`,
  );
}
