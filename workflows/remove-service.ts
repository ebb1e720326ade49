/** `removeService`: takes a service off all its clouds, in order. Protected data goes only where the input names it. */
import { isProtected as protectedByFile, type Service } from '../model/estate.ts';
import { type OperationResult, RemoveServiceInput } from '../model/operations.ts';
import type { Intent, RecordedPlacement, ServiceRecord } from '../model/record.ts';
import { statefulTypes } from '../model/service.ts';
import { cloud, control, failure, Operation } from './operation.ts';
import { placementOf, removeResources, settleAll } from './provisioning.ts';

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
    const lock = await op.lock(service, `remove/${input.confirm ?? ''}`);
    if ('attached' in lock) return lock.attached;
    const { [service]: record } = await control.readServices({ estate: estate.name });
    if (!record || (record.placements.length === 0 && record.intents.length === 0)) return op.result('done');

    const confirmed = input.confirm === `${estate.name}/${service}`;
    refuseProtected(estate.name, service, record, estate.services[service], input.confirm);
    op.board.record(input.by || 'unnamed', confirmed ? 'remove with its data' : 'remove', service);

    op.board.phase('removing');
    const identity = await control.openEstate({ estate: estate.name });
    const owner = { estate: estate.name, service, uid: identity.uid, controller: identity.controller };
    const placements = withInterrupted(record);
    if (record.type)
      await op.write(service, {
        kind: 'intents',
        type: record.type,
        status: 'removing',
        intents: placements.flatMap((one) => intents(op, one)),
      });
    await settleAll(
      placements.map(async (before) => {
        const placement = placementOf(owner, before);
        const retained = await removeResources(op, placement, before, before.resources, confirmed);
        await op.write(service, {
          kind: 'withdrawn',
          provider: before.provider,
          generation: before.generation,
          retained,
        });
        const kept = retained.map(({ name }) => name);
        const left = await cloud(before.provider, `look for what is left of ${service}`).scanPlacement({ placement });
        op.orphans.push(...left.filter(({ name }) => !kept.includes(name)));
      }),
    );
    return op.result('done');
  });
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
  const expected = `${estate}/${service}`;
  if (confirm !== undefined && confirm !== expected)
    throw failure(
      'InvalidInput',
      `confirm is "${confirm}"; to remove ${service} with its data it must be "${expected}".`,
    );
  if (isProtected && confirm === undefined)
    throw failure(
      'Protected',
      `${service} is protected because it holds data; nothing was removed. To remove it with its data, start again with "confirm": "${expected}".`,
    );
}

/** The placements of the record, and what an interrupted deployment may have begun. */
function withInterrupted(record: ServiceRecord): RecordedPlacement[] {
  const placements = [...record.placements];
  for (const intent of record.intents) {
    const { provider, generation, resource } = intent;
    const at = placements.findIndex((one) => one.provider === provider && one.generation === generation);
    const known = placements[at];
    if (!known) placements.push(begun(record, intent));
    else if (!known.resources.some(({ key }) => key === resource.key))
      placements[at] = { ...known, resources: [...known.resources, resource] };
  }
  return placements;
}

const begun = (
  record: ServiceRecord,
  { provider, providerType, region, account, generation, resource }: Intent,
): RecordedPlacement => ({
  provider,
  providerType,
  type: record.type ?? 'storage',
  region,
  account,
  generation,
  configuration: {},
  role: 'current',
  resources: [resource],
  monthlyCostUsd: 0,
  endpoint: '',
  health: '',
});

function intents(
  op: Operation,
  { provider, providerType, region, account, generation, resources }: RecordedPlacement,
): Intent[] {
  const at = new Date().toISOString();
  return resources.map((resource) => ({
    ...op.holder,
    operation: op.kind,
    provider,
    providerType,
    region,
    account,
    generation,
    resource,
    undo: 'keep' as const,
    at,
  }));
}
