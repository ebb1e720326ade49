/** `steerService`: spreads the traffic of a service with a front of its own over its placements, in steps; without weights it looks only. */
import { durationMs } from '../model/duration.ts';
import { type SteerResult, SteerServiceInput } from '../model/operations.ts';
import type { ServiceRecord } from '../model/record.ts';
import { type Shares, sharesOf, shownShares, shownTargets } from '../model/traffic.ts';
import { control, failure } from './calls.ts';
import { approved } from './deploy-service.ts';
import { Operation } from './operation.ts';
import { placementOf } from './removal.ts';
import { readWeights, type Steering, steer, steered, steeringOf, turnTo } from './steering.ts';

export async function steerService(raw: unknown): Promise<SteerResult> {
  const op = new Operation('steer');
  return op.run(async () => {
    const input = op.parse(SteerServiceInput, raw);
    const { service, weights } = input;
    const { estate, approvals } = await control.loadEstate({ estate: input.estate });
    op.decisions.obey(approvals);
    op.about(estate.name, service, estate.services[service]?.type);

    const record = await readRecord(estate.name, service);
    const identity = await control.openEstate({ estate: estate.name });
    const steering = await steeringOf(estate, { service, uid: identity.uid });
    if (!steering)
      throw failure(
        'InvalidInput',
        estate.traffic?.fronts?.[service]
          ? `traffic.dns names ${estate.traffic.dns}, which is not enabled.`
          : `traffic.fronts of the estate file has no entry for ${service}; name the address of its front on each cloud, as in \`fronts: { ${service}: { aws: web-aws.example.com } }\`.`,
      );
    op.board.phase('looking');
    if (!weights) {
      const found = await op.board.step(`${service}/traffic`, () => readWeights(steering));
      return { ...op.result('done'), traffic: steered(steering, found) };
    }

    const to = sharesOf(weights);
    refuseElsewhere(steering, record, to);
    const lock = await op.locks.take(service, JSON.stringify([to, input.steps, input.hold, input.max_errors]));
    if ('attached' in lock) return lock.attached;
    op.recordsIn(
      (record?.placements ?? []).map((one) =>
        placementOf({ estate: estate.name, service, uid: identity.uid, controller: identity.controller }, one),
      ),
    );
    const before = await op.board.step(
      `${service}/traffic`,
      () => op.held(service, () => readWeights(steering)),
      (found) => (found ? shownTargets(found.targets) : 'nothing is set yet'),
    );
    const watched = { before, holdMs: durationMs(input.hold), errorShare: input.max_errors };
    const turn = turnTo(steering, watched, { to, percents: input.steps });
    op.board.record(input.by || 'unnamed', `steer to ${shownShares(to)}`, service);
    if (input.approval === 'manual') {
      const ways = turn.steps.map(({ shares }) => shownShares(shares)).join('; then ');
      const now = before ? shownTargets(before.targets) : 'not set';
      const text = `Approve the traffic of ${service}, now ${now}: ${ways}`;
      await approved(op, { text, hash: JSON.stringify(turn.steps) }, approvals);
    }
    op.board.phase('steering');
    const after = await steer(op, steering, turn);
    return { ...op.result('done'), traffic: steered(steering, after) };
  });
}

async function readRecord(estate: string, service: string): Promise<ServiceRecord> {
  const { [service]: record } = await control.readServices({ estate });
  if (!record?.placements.some(({ role }) => role === 'current'))
    throw failure('ServiceNotFound', `${service} of the estate ${estate} runs nowhere: deploy it first.`);
  return record;
}

/** Traffic goes only where the service is, and where its front is known. */
function refuseElsewhere({ fronts, service }: Steering, { placements }: ServiceRecord, to: Shares): void {
  const current = placements.filter(({ role }) => role === 'current').map(({ provider }) => provider);
  for (const [provider, share] of Object.entries(to)) {
    if (share > 0 && !current.includes(provider))
      throw failure('InvalidInput', `weights.${provider}: ${service} is not there; it runs on ${current.join(', ')}.`);
    if (!fronts[provider])
      throw failure(
        'InvalidInput',
        `weights.${provider}: traffic.fronts.${service} names no address there; it has ${Object.keys(fronts).join(', ')}.`,
      );
  }
}
