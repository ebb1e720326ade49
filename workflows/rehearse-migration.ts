/**
 * `rehearseMigration`: the whole story of a migration on a sample, under a name of its own, ended by its own undo. The service
 * itself is only read.
 */
import * as wf from '@temporalio/workflow';
import type { LoadedEstate } from '../activities/estate/load.ts';
import { type EstatePlan, type RehearsalResult, RehearseMigrationInput } from '../model/operations.ts';
import type { RecordedPlacement } from '../model/record.ts';
import { everyNth, forecastOf, type Rehearsal, rehearsalOf } from '../model/rehearsal.ts';
import { objectTypes } from '../model/service.ts';
import { type Amount, type PlacementRef, placementRef } from '../model/transfer.ts';
import { bulk, control, failure } from './calls.ts';
import { cutOver, fill } from './migrate-service.ts';
import { Migration } from './migration.ts';
import { planMigration } from './migration-plan.ts';
import { gigabytes } from './migration-text.ts';
import { Operation } from './operation.ts';
import { planServices, refuseWithoutRights } from './planning.ts';
import { provisionService } from './provisioning.ts';

export const plan = wf.defineQuery<EstatePlan | undefined>('plan');

/** Long enough that the sample is followed back once. */
const soak = '5s';

export async function rehearseMigration(raw: unknown): Promise<RehearsalResult> {
  const op = new Operation('migrate');
  let shown: EstatePlan | undefined;
  wf.setHandler(plan, () => shown, { description: 'What moving the whole would make and cost' });

  return op.run(async () => {
    const input = op.parse(RehearseMigrationInput, raw);
    const { service, from, to, by } = input;
    const shadow = rehearsalOf(service);
    op.board.phase('planning');
    const loaded = await control.loadEstate({ estate: input.estate });
    op.decisions.obey(loaded.approvals);
    op.about(loaded.estate.name, shadow, loaded.estate.services[service]?.type);
    const whole = await lookAtWhole(op, loaded, input);
    shown = whole.plan;

    const lock = await op.locks.take(shadow, `rehearse/${service}/${from}/${to}/${input.sample}`);
    if ('attached' in lock) return lock.attached;
    await refuseLeftovers(op, shadow, loaded);
    op.board.record(by || 'unnamed', `rehearse with ${input.sample} from ${from} to ${to}`, service);
    const rehearsed = withShadow(loaded, service, shadow);
    const sample = await makeSample(op, rehearsed, { ...input, shadow, whole });

    const planned = await planMigration(op, { v: 1, service: shadow, from, to, soak, by }, rehearsed);
    if ('attached' in planned) return planned.attached;
    const migration = new Migration(op, planned);
    await fill(migration, planned);
    // Nobody is asked: what moves is a copy, and whoever has started this has asked for all of it.
    await cutOver(migration);
    const { steps } = op.board.snapshot();

    op.board.phase('taking back');
    op.orphans.push(...(await op.saga.undo()));
    const { objects, bytes } = whole.holds;
    const moved = { service, from, to, sample, whole: { objects, bytes } };
    return {
      ...op.result('done'),
      placements: [],
      monthlyCostUsd: 0,
      rehearsal: forecastOf(moved, steps, whole.listMs, whole.cost),
    };
  });
}

interface Whole {
  plan: EstatePlan;
  source: PlacementRef;
  holds: Amount;
  listMs: number;
  cost: Pick<Rehearsal['forecast'], 'oneTimeUsd' | 'monthlyUsd'>;
}

/** Whether the service itself may go there, what it holds and what that would cost. */
async function lookAtWhole(
  op: Operation,
  loaded: LoadedEstate,
  { service, from, to, by }: Pick<RehearseMigrationInput, 'service' | 'from' | 'to' | 'by'>,
): Promise<Whole> {
  const { estate } = loaded;
  if (from === to) throw failure('InvalidInput', `to: ${service} is to move from ${from} to ${to}, which is the same.`);
  const planned = await op.board.step('plan', () => planServices(loaded, by, [service], { from, to }));
  const [moved] = planned.services;
  const target = moved?.placements.find(({ placement }) => placement.provider === to);
  const source = planned.records[service]?.placements.find((one) => one.provider === from && one.role === 'current');
  if (!moved || !target || !source) throw failure('Unplaceable', `${service} cannot go from ${from} to ${to}.`);
  if (!objectTypes.includes(moved.type))
    throw failure(
      'NotSupported',
      `${service} is a ${moved.type}; this release rehearses ${objectTypes.join(' and ')}.`,
    );
  refuseWithoutRights([{ ...moved, placements: [target] }]);
  const { uid, controller } = target.placement.owner;
  const ref = placementRef({ estate: estate.name, service, uid, controller }, source);
  const measure = bulk(from, to, `measure ${service} on ${from}`);
  const started = Date.now();
  const holds = await op.board.step(
    'measure the whole',
    () => op.held('', () => measure.measureStore({ placement: ref })),
    ({ objects, bytes }) => `${objects} objects, ${gigabytes(bytes)} GB`,
  );
  const listMs = Date.now() - started;
  if (holds.objects === 0)
    throw failure('InvalidInput', `service: ${service} on ${from} holds no object to rehearse with.`);
  const egress = await control.priceEgress({ from: source, bytes: holds.bytes });
  const cost = { monthlyUsd: target.monthlyCostUsd, ...('monthlyUsd' in egress && { oneTimeUsd: egress.monthlyUsd }) };
  return { plan: planned.plan, source: ref, holds, listMs, cost };
}

async function refuseLeftovers(op: Operation, shadow: string, { estate }: LoadedEstate): Promise<void> {
  if (estate.services[shadow])
    throw failure(
      'InvalidInput',
      `service: a rehearsal would be named ${shadow}, and the estate file has a service of that name.`,
    );
  const { [shadow]: record } = await control.readServices({ estate: op.estate });
  if (record && record.placements.length + record.intents.length > 0)
    throw failure(
      'OperationInProgress',
      `An earlier rehearsal was interrupted. Take it back first: multi-cloud recover ${shadow} --undo, then multi-cloud remove ${shadow} --confirm ${op.estate}/${shadow}`,
    );
}

/** The estate with the service once more, under the name of its rehearsal. */
function withShadow(loaded: LoadedEstate, service: string, shadow: string): LoadedEstate {
  const { estate } = loaded;
  const { [service]: wish } = estate.services;
  if (!wish) return loaded;
  return { ...loaded, estate: { ...estate, services: { ...estate.services, [shadow]: { ...wish, redundancy: 1 } } } };
}

/** A store of its own beside the source, with every n-th of its objects: nothing but copies, so its undo deletes it. */
async function makeSample(
  op: Operation,
  rehearsed: LoadedEstate,
  { shadow, from, to, by, sample, whole }: RehearseMigrationInput & { shadow: string; whole: Whole },
): Promise<Amount> {
  const { estate } = rehearsed;
  const { [shadow]: wish } = estate.services;
  const here = wish && {
    ...estate,
    services: { ...estate.services, [shadow]: { ...wish, preferred_providers: [from] } },
  };
  const { services } = await planServices({ ...rehearsed, estate: here ?? estate }, by, [shadow]);
  const [planned] = services;
  if (!planned) throw failure('Unplaceable', `${shadow} cannot be on ${from}.`);
  refuseWithoutRights(services);
  op.board.phase('making the sample');
  const placements = planned.placements.map((one) => ({ ...one, role: 'target' as const }));
  const [made] = await provisionService(op, { ...planned, placements });
  if (!made) throw failure('VerificationFailed', `${shadow} has no store on ${from}.`);
  const current: RecordedPlacement = { ...made, role: 'current' };
  const { provider, generation } = current;
  await op.write(shadow, { kind: 'migration', roles: [{ provider, generation, role: 'current' }] });

  const target = placementRef({ ...whole.source.owner, service: shadow }, current);
  const transfer = { source: whole.source, target, transfer: `sample-${wf.uuid4().slice(0, 8)}` };
  const every = everyNth(whole.holds.objects, sample);
  const copied = await op.board.step(
    'sample',
    () => op.held(shadow, () => bulk(from, to, `sample for ${shadow}`).copySample({ ...transfer, every })),
    ({ objects, bytes, failed }) =>
      `${objects} of ${whole.holds.objects} objects, ${gigabytes(bytes)} GB${failed > 0 ? `, ${failed} cannot be copied` : ''}`,
  );
  return { objects: copied.objects, bytes: copied.bytes };
}
