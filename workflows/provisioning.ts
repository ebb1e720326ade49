/** Bringing planned placements about: a graph of resources, each created after what it needs, then verified and recorded. */
import type { Ensured } from '../activities/providers/provision.ts';
import { shutDoors } from '../model/just-in-time.ts';
import type { PlannedPlacement, PlannedService } from '../model/operations.ts';
import type { Intent, RecordedPlacement, RecordedResource, RetainedStore } from '../model/record.ts';
import type { Outputs, ResourceSpec } from '../model/service.ts';
import { cloud, failure, urgent } from './calls.ts';
import { publishEndpoint } from './endpoints.ts';
import { inOrder, settleAll } from './graph.ts';
import type { Operation } from './operation.ts';
import { createdBy, keep, removeResources, retainUntil, stepName, sweep } from './removal.ts';

const recorded = (spec: ResourceSpec, id = '', outputs: Outputs = {}): RecordedResource => ({
  key: spec.key,
  kind: spec.kind,
  name: spec.name,
  id,
  needs: spec.needs,
  holdsData: spec.holdsData,
  outputs,
});

/** Creates what is missing and repairs what differs, on all clouds of the service at once; verifies; writes the record, and returns what stands there. */
export async function provisionService(op: Operation, planned: PlannedService): Promise<RecordedPlacement[]> {
  const { service, type } = planned;
  op.board.expect(
    planned.placements.flatMap(({ placement, specs }) => [
      ...specs.map(({ key }) => stepName(service, placement.provider, key)),
      stepName(service, placement.provider, 'verify'),
    ]),
  );
  op.recordsIn(planned.placements.map(({ placement }) => placement));
  const intents = planned.placements.map((one) => intent(op, one));
  await op.write(service, { kind: 'intents', type, status: op.status, intents });
  const placements = await settleAll(planned.placements.map((one) => provisionPlacement(op, one)));
  await publishEndpoint(op, planned, placements);
  for (const one of placements) op.achieved(service, one);
  return placements;
}

const intent = (op: Operation, planned: PlannedPlacement): Intent => ({
  ...op.holder,
  operation: op.kind,
  at: new Date().toISOString(),
  placement: placed(
    planned,
    planned.specs.map((spec) => planned.before?.resources.find(({ key }) => key === spec.key) ?? recorded(spec)),
  ),
  creates: createdBy(planned),
  deleteData: false,
});

/** The record of a placement with these resources. */
const placed = (
  { placement, role, monthlyCostUsd }: PlannedPlacement,
  resources: RecordedResource[],
): RecordedPlacement => ({
  provider: placement.provider,
  providerType: placement.providerType,
  type: placement.type,
  region: placement.region,
  account: placement.account,
  generation: placement.owner.generation,
  configuration: placement.configuration,
  role: role ?? 'current',
  resources,
  monthlyCostUsd,
  endpoint: '',
  health: '',
  settlesAt: '',
});

async function provisionPlacement(op: Operation, planned: PlannedPlacement): Promise<RecordedPlacement> {
  const { placement, specs, before } = planned;
  const { provider, owner } = placement;
  const { service } = owner;
  const retained: RetainedStore[] = [];
  op.saga.add({
    step: stepName(service, provider, 'record'),
    orphan: { provider, kind: 'record', name: service },
    undo: async () => {
      if (op.saga.unsettled && !before) await sweep(op, placement, []);
      const mark = { provider, generation: owner.generation };
      await op.write(service, { kind: 'withdrawn', ...mark, ...(before && { before }), retained });
      return 'record as before';
    },
  });

  // The run that began it may have calls under way that nobody waits for any more.
  if (planned.begun.length > 0) op.saga.unsettle();
  let repeatable = true;
  const resources = await inOrder(
    specs,
    ({ needs }) => needs,
    async (spec, needed: Record<string, RecordedResource>) => {
      const needs = Object.fromEntries(Object.values(needed).map(({ key, outputs }) => [key, outputs]));
      compensate(op, planned, spec, needs, retained);
      const ensure = () => cloud(provider, spec.name).ensureResource({ placement, spec, needs });
      const ensured = await op.board.step(
        stepName(service, provider, spec.key),
        () => op.held(service, ensure),
        (made) => described(made, spec.name),
      );
      if (ensured.outcome !== 'unchanged') op.board.record('run', ensured.outcome, `${spec.kind} ${ensured.id}`);
      if (ensured.unsettled) op.saga.unsettle();
      repeatable &&= ensured.repeatable;
      return recorded(spec, ensured.id, ensured.outputs);
    },
  );
  await shut(op, planned);
  if (op.saga.unsettled && !repeatable) {
    await op.saga.settle();
    await sweep(op, placement, resources);
  }

  const verified = await op.board.step(
    stepName(service, provider, 'verify'),
    async () => {
      const seen = await op.held(service, () =>
        cloud(provider, `verify ${service}`).verifyPlacement({ placement, specs }),
      );
      if (seen.failed.length > 0)
        throw failure(
          'NotCompliant',
          `${service} on ${provider}: ${seen.failed.map(({ name, resource, found }) => `${name} of ${resource}: ${found}`).join('; ')}`,
        );
      if (!seen.healthy) throw failure('VerificationFailed', `${service} on ${provider}: ${seen.health}`);
      return seen;
    },
    ({ health }) => health,
  );

  const after = {
    ...placed(planned, resources),
    endpoint: verified.endpoint,
    settlesAt: await op.saga.settlesAt(),
    health: `healthy: ${verified.health}`.slice(0, 200),
  };
  await op.keepTrail(service);
  await op.write(service, { kind: 'settled', placement: after });
  return after;
}

/** Takes away what lets newborns in where that is no longer wanted, or by an authority that is no longer the one; an undo opens it again. */
async function shut(op: Operation, { placement, specs, before }: PlannedPlacement): Promise<void> {
  const doors = shutDoors(before?.resources ?? [], specs);
  if (!before || doors.length === 0) return;
  const { provider, owner } = placement;
  const earlier = { ...placement, configuration: before.configuration };
  const outputs = new Map(before.resources.map((resource) => [resource.key, resource.outputs]));
  for (const { key, kind, name, needs } of [...doors].reverse())
    op.saga.add({
      step: stepName(owner.service, provider, key),
      orphan: { provider, kind, name },
      undo: async () => {
        const needed = Object.fromEntries(needs.map((need) => [need, outputs.get(need) ?? {}]));
        // It is made anew: a right that those who only take back do not have.
        const restored = await cloud(provider, `restore ${name}`).restoreResource({
          ...{ placement: earlier, key, needs: needed },
        });
        return restored.outcome;
      },
    });
  await removeResources(op, {
    ...{ placement: earlier, recorded: before, resources: doors },
    ...{ deleteData: false, undo: false },
  });
}

const described = ({ outcome, drift }: Ensured, name: string): string =>
  outcome === 'updated' ? `repaired ${drift.join(', ')}` : `${outcome} ${name}`;

/** Registers how to take back what will be done to one resource: what is new goes, what is changed becomes as it was. */
function compensate(
  op: Operation,
  planned: PlannedPlacement,
  spec: ResourceSpec,
  needs: Record<string, Outputs>,
  retained: RetainedStore[],
): void {
  const { placement, role, before, changes, monthlyCostUsd } = planned;
  const { provider, owner } = placement;
  const step = stepName(owner.service, provider, spec.key);
  const orphan = { provider, kind: spec.kind, name: spec.name };
  if (createdBy(planned).includes(spec.key))
    op.saga.add({
      step,
      orphan,
      undo: async () => {
        const until = retainUntil();
        const removed = await urgent(provider, `undo ${spec.name}`).removeResource({
          placement,
          resource: recorded(spec),
          needs,
          deleteData: role === 'target',
          retainUntil: until,
          undo: true,
        });
        if (removed === 'retained') retained.push(keep(op, placement, monthlyCostUsd, spec, until));
        return removed;
      },
    });
  else if (before && changes.some(({ key, action }) => key === spec.key && action === 'update'))
    op.saga.add({
      step,
      orphan,
      undo: async () => {
        const earlier = { ...placement, configuration: before.configuration };
        const restored = await urgent(provider, `restore ${spec.name}`).restoreResource({
          placement: earlier,
          key: spec.key,
          needs,
        });
        return restored.outcome === 'unchanged' ? 'as before' : `restored ${restored.drift.join(', ')}`;
      },
    });
}

/** Counts the placements of a service that needs no change into the result. */
export function keepAsIs(op: Operation, { service, placements }: PlannedService): void {
  for (const { before } of placements) if (before) op.achieved(service, before);
}
