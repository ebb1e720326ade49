/** Taking up a migration whose run is gone: back to where it began, or on to its end. */
import type { LoadedEstate } from '../activities/estate/load.ts';
import { durationMs } from '../model/duration.ts';
import type { RecoverServiceInput } from '../model/operations.ts';
import { type Migration as MigrationRecord, type ServiceRecord, samePlacement } from '../model/record.ts';
import type { Owner } from '../model/service.ts';
import { sha256Hex } from '../model/sha256.ts';
import { cloud, failure } from './calls.ts';
import { planEndpoints } from './endpoints.ts';
import { carryOut } from './migrate-service.ts';
import { Migration } from './migration.ts';
import { fleetMove, type Move, planMigration } from './migration-plan.ts';
import type { Operation } from './operation.ts';
import { takenUpWhole } from './taken-up.ts';

export async function recoverMigration(
  op: Operation,
  { estate, approvals }: LoadedEstate,
  owner: Omit<Owner, 'generation'>,
  record: ServiceRecord,
  begun: MigrationRecord,
  { direction, by }: RecoverServiceInput,
): Promise<void> {
  const { service } = owner;
  const { from, to, stage } = begun;
  if (direction === 'finish' && stage !== 'switched') {
    const planned = await planMigration(op, { v: 1, service, from: from.provider, to: to.provider, by });
    if ('attached' in planned) return;
    return carryOut(op, planned);
  }
  const known = [...record.placements, ...record.intents.map(({ placement }) => placement)];
  const source = known.find((one) => samePlacement(one, from));
  const target = known.find((one) => samePlacement(one, to));
  if (source && !target && stage === 'copying' && takenUpWhole())
    return op.write(service, { kind: 'migration', roles: [] }); // nothing of it was begun
  if (!source || !target)
    throw failure(
      'ServiceNotFound',
      `The record of ${service} has lost a placement of its migration; see multi-cloud doctor.`,
    );
  const others = record.placements.filter((one) => one.role === 'current' && one !== source && one !== target);
  const accounts = estate.traffic && {
    [estate.traffic.dns]: await cloud(estate.traffic.dns, 'account').account({ provider: estate.traffic.dns }),
  };
  const { endpoints } = await planEndpoints(estate, owner.uid, accounts ?? {}, { [service]: record }, [service]);
  const endpoint = endpoints[service];
  const { followMs, fenceMs } = await op.waits();
  const move: Move = {
    service,
    owner,
    holder: { workflowId: begun.workflowId, runId: begun.runId },
    source,
    to,
    holds: { objects: 0, bytes: 0, largest: 0 },
    hash: sha256Hex([begun.runId, from.provider, to.provider].join('\n')),
    approvals,
    soakMs: durationMs(estate.migration.soak),
    retentionMs: durationMs(estate.migration.source_retention),
    digest: estate.migration.digest,
    versions: begun.versions ?? false,
    followMs,
    fenceMs,
    escapes: [],
    sourceOnly: begun.sourceOnly,
    ...(endpoint && { traffic: { ...endpoint, others } }),
    ...(begun.fleet && { fleet: fleetMove(estate.migration, {}, record) }),
  };
  const migration = new Migration(op, move);
  migration.resume(target, stage);
  if (direction === 'undo') {
    // The run that is gone may have calls under way that nobody waits for any more.
    if (takenUpWhole()) op.saga.unsettle();
    op.orphans.push(...(await op.saga.undo()));
    return;
  }
  await migration.serve();
  await migration.soak();
  await migration.retireSource();
}
