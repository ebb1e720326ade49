/** `deployService`: brings one service to where the estate file wants it. As a child of `deployEstate` it does its slice of that plan. */
import * as wf from '@temporalio/workflow';
import type { LoadedEstate } from '../activities/estate/load.ts';
import { changesAnything, DeployServiceInput, type EstatePlan, type OperationResult } from '../model/operations.ts';
import { control, failure } from './calls.ts';
import { Operation } from './operation.ts';
import { awaitHeadroom, planServices, refuseWithoutRights } from './planning.ts';
import { keepAsIs, provisionService } from './provisioning.ts';

export const plan = wf.defineQuery<EstatePlan | undefined>('plan');

export async function deployService(raw: unknown): Promise<OperationResult> {
  const op = new Operation('deploy');
  let shown: EstatePlan | undefined;
  wf.setHandler(plan, () => shown, { description: 'Every candidate with its scores; every change' });

  return op.run(async () => {
    const input = op.parse(DeployServiceInput, raw);
    if (input.inherited) {
      const { planned, ...holder } = input.inherited;
      if (wf.workflowInfo().parent?.workflowId !== holder.workflowId)
        throw failure(
          'InvalidInput',
          'inherited: only a deployEstate run gives this to the runs that it starts itself; leave the field out.',
        );
      const estate = planned.placements[0]?.placement.owner.estate ?? '';
      op.about(estate, input.service, planned.type);
      op.locks.inherit(holder, input.service);
      op.board.phase('provisioning');
      await provisionService(op, planned);
      return op.result('done');
    }

    op.board.phase('planning');
    const loaded = await control.loadEstate({ estate: input.estate, file: input.file, others: input.others });
    const { estate, approvals } = loaded;
    op.decisions.obey(approvals);
    op.about(estate.name, input.service, estate.services[input.service]?.type);
    let planned = await op.board.step('plan', () => planServices(loaded, input.by, [input.service]));
    const lock = await op.locks.take(input.service, planned.plan.hash);
    if ('attached' in lock) return lock.attached;
    if (lock.revision !== (planned.records[input.service]?.revision ?? 0))
      planned = await planServices(loaded, input.by, [input.service]);
    shown = planned.plan;
    op.board.record(input.by || 'unnamed', 'deploy', input.service);

    refuseWithoutRights(planned.services);
    await awaitHeadroom(op, planned.services);
    await approveWhereAsked(op, input, planned.plan, approvals);
    op.board.phase('provisioning');
    for (const service of planned.services) {
      if (changesAnything(service)) await provisionService(op, service);
      else keepAsIs(op, service);
    }
    return op.result('done');
  });
}

/** Waits for a person to approve this very plan: where the input says so, and where it takes back what another has applied. */
export async function approveWhereAsked(
  op: Operation,
  { approval, revert }: Pick<DeployServiceInput, 'approval' | 'revert'>,
  plan: EstatePlan,
  approvals: LoadedEstate['approvals'],
): Promise<void> {
  const reverts = revert ? [] : plan.reverts;
  if (approval !== 'manual' && reverts.length === 0) return;
  const text = `Approve this plan: ${plan.services.map(({ service, placements }) => `${service} on ${placements.map(({ provider }) => provider).join(', ')}`).join('; ')}; $${plan.monthlyCostUsd.toFixed(2)} a month${reverts.length > 0 ? `. It takes back what others have applied: ${reverts.map(describeRevert).join('; ')}` : ''}`;
  await approved(op, { text, hash: plan.hash }, approvals);
}

/** Waits for people to approve a plan; its rejection, and a deadline that ends the run, are failures. */
export async function approved(
  op: Operation,
  { text, hash }: { text: string; hash: string },
  { deadlineMs, onDeadline }: LoadedEstate['approvals'],
): Promise<void> {
  op.board.phase('waiting for approval of the plan');
  const deadline = new Date(Date.now() + deadlineMs).toISOString();
  const answer = await op.decisions.ask({
    ...{ question: 'plan', text, answers: ['approve', 'reject'] },
    ...{ planHash: hash, deadline, onDeadline },
  });
  if (answer === undefined)
    throw failure('ApprovalExpired', `Nobody approved the plan before ${deadline}; nothing was changed.`);
  if (answer === 'reject') throw failure('ApprovalRejected', 'The plan was rejected; nothing was changed.');
}

const shownValue = (json: string): string => json || 'unset';
const describeRevert = ({ path, from, to, by, at }: EstatePlan['reverts'][number]): string =>
  `${path} from ${shownValue(from)} (by ${by || 'unnamed'}, ${at}) to ${shownValue(to)}`;
