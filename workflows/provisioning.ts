/** Bringing planned placements about and taking them away: a graph of resources, each created after what it needs. */
import * as wf from '@temporalio/workflow';
import type { PlannedPlacement, PlannedService } from '../model/operations.ts';
import type { Intent, RecordedPlacement, RecordedResource, RetainedStore } from '../model/record.ts';
import type { Outputs, Owner, Placement, ResourceSpec } from '../model/service.ts';
import { cloud, control, failure, type Operation, urgent } from './operation.ts';

/** A store that an undo or a remove keeps, stays this long unless somebody decides otherwise. */
const retentionDays = 30;

const retainUntil = (): string => new Date(Date.now() + retentionDays * 86_400_000).toISOString().slice(0, 10);

const stepName = (service: string, provider: string, key: string): string => `${service}/${provider}/${key}`;

const recorded = (spec: ResourceSpec, id = '', outputs: Outputs = {}): RecordedResource => ({
  key: spec.key,
  kind: spec.kind,
  name: spec.name,
  id,
  needs: spec.needs,
  holdsData: spec.holdsData,
  outputs,
});

/** Creates what is missing and repairs what differs, on all clouds of the service at once; verifies; writes the record. */
export async function provisionService(op: Operation, planned: PlannedService): Promise<void> {
  const { service, type } = planned;
  op.board.expect(
    planned.placements.flatMap(({ placement, specs }) => [
      ...specs.map(({ key }) => stepName(service, placement.provider, key)),
      stepName(service, placement.provider, 'verify'),
    ]),
  );
  await op.write(service, {
    kind: 'intents',
    type,
    status: 'deploying',
    intents: planned.placements.flatMap((one) => intents(op, one)),
  });
  await settleAll(planned.placements.map((one) => provisionPlacement(op, one)));
}

function intents(op: Operation, { placement, specs, changes }: PlannedPlacement): Intent[] {
  return specs.flatMap((spec) => {
    const action = changes.find(({ key }) => key === spec.key)?.action;
    if (action !== 'create' && action !== 'update') return [];
    const { provider, providerType, region, account, owner } = placement;
    return [
      {
        ...op.holder,
        operation: op.kind,
        provider,
        providerType,
        region,
        account,
        generation: owner.generation,
        resource: recorded(spec),
        undo: action === 'create' ? ('remove' as const) : ('keep' as const),
        at: new Date().toISOString(),
      },
    ];
  });
}

async function provisionPlacement(op: Operation, planned: PlannedPlacement): Promise<void> {
  const { placement, specs, changes, before } = planned;
  const { provider, owner, configuration } = placement;
  const { service } = owner;
  const mark = { provider, generation: owner.generation };
  const retained: RetainedStore[] = [];
  op.saga.add({
    step: stepName(service, provider, 'record'),
    orphan: { provider, kind: 'record', name: service },
    undo: async () => {
      await op.write(service, { kind: 'withdrawn', ...mark, ...(before && { before }), retained });
      return 'record as before';
    },
  });

  const resources = await inOrder(
    specs,
    ({ needs }) => needs,
    async (spec, needs: Record<string, RecordedResource>) => {
      const outputs = Object.fromEntries(Object.values(needs).map((resource) => [resource.key, resource.outputs]));
      const change = changes.find(({ key }) => key === spec.key);
      const step = stepName(service, provider, spec.key);
      if (change?.action === 'create')
        op.saga.add({
          step,
          orphan: { provider, kind: spec.kind, name: spec.name },
          undo: async () => {
            const resource = recorded(spec, '', {});
            const until = retainUntil();
            const removed = await urgent(provider, `undo ${spec.name}`).removeResource({
              placement,
              resource,
              needs: outputs,
              deleteData: false,
              retainUntil: until,
              undo: true,
            });
            if (removed === 'retained') retained.push(keep(op, planned, spec, until));
            return removed;
          },
        });
      return op.board
        .step(
          step,
          async () => {
            const ensured = await op.held(
              service,
              () => cloud(provider, spec.name).ensureResource({ placement, spec, needs: outputs }),
              'deploying',
            );
            if (ensured.outcome !== 'unchanged') op.board.record('run', ensured.outcome, `${spec.kind} ${ensured.id}`);
            return { resource: recorded(spec, ensured.id, ensured.outputs), ensured };
          },
          ({ ensured }) =>
            ensured.outcome === 'updated' ? `repaired ${ensured.drift.join(', ')}` : `${ensured.outcome} ${spec.name}`,
        )
        .then(({ resource }) => resource);
    },
  );

  const verified = await op.board.step(
    stepName(service, provider, 'verify'),
    async () => {
      const seen = await op.held(
        service,
        () => cloud(provider, `verify ${service}`).verifyPlacement({ placement, specs }),
        'deploying',
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

  const after: RecordedPlacement = {
    provider,
    providerType: placement.providerType,
    type: placement.type,
    region: placement.region,
    account: placement.account,
    generation: owner.generation,
    configuration,
    role: 'current',
    resources,
    monthlyCostUsd: planned.monthlyCostUsd,
    endpoint: verified.endpoint,
    health: `healthy: ${verified.health}`.slice(0, 200),
  };
  await op.write(service, { kind: 'settled', placement: after });
  op.achieved(
    [{ service, provider, region: placement.region, id: resources.at(-1)?.id ?? '' }],
    planned.monthlyCostUsd,
  );
}

function keep(
  op: Operation,
  { placement, monthlyCostUsd }: Pick<PlannedPlacement, 'placement' | 'monthlyCostUsd'>,
  { kind, name }: Pick<RecordedResource, 'kind' | 'name'>,
  until: string,
): RetainedStore {
  const store = { provider: placement.provider, kind, name, until, monthlyCostUsd };
  op.retained.push({ provider: store.provider, name, until, monthlyCostUsd });
  return store;
}

/** Counts the placements of a service that needs no change into the result. */
export function keepAsIs(op: Operation, { service, placements }: PlannedService): void {
  for (const { placement, before } of placements)
    if (before)
      op.achieved(
        [{ service, provider: placement.provider, region: placement.region, id: before.resources.at(-1)?.id ?? '' }],
        before.monthlyCostUsd,
      );
}

/** Takes back what a finished child created: its new resources go, what was there before stays as it was recorded. */
export async function takeBack(op: Operation, planned: PlannedService): Promise<string> {
  const records = await control.readServices({ estate: op.estate });
  let removed = 0;
  for (const { placement, before, changes } of planned.placements) {
    const { provider, owner } = placement;
    const now = records[owner.service]?.placements.find(
      (one) => one.provider === provider && one.generation === owner.generation,
    );
    if (!now) continue; // the child did not get that far, or has taken it back itself
    const created = now.resources.filter(({ key }) =>
      changes.some((change) => change.key === key && change.action === 'create'),
    );
    removed += created.length;
    const retained = await removeResources(op, placement, now, created, false);
    await op.write(owner.service, {
      kind: 'withdrawn',
      provider,
      generation: owner.generation,
      ...(before && { before }),
      retained,
    });
  }
  return removed === 0 ? 'nothing to take back' : `${removed} resources taken back`;
}

/** The placement as drivers know it, from its record. */
export function placementOf(
  owner: Omit<Owner, 'generation'>,
  { provider, providerType, type, region, account, generation, configuration }: RecordedPlacement,
): Placement {
  return { owner: { ...owner, generation }, provider, providerType, type, region, account, configuration };
}

/** Removes resources of a recorded placement, each after everything that needs it. Returns the stores that were kept. */
export async function removeResources(
  op: Operation,
  placement: Placement,
  before: RecordedPlacement,
  resources: readonly RecordedResource[],
  deleteData: boolean,
): Promise<RetainedStore[]> {
  const { service } = placement.owner;
  const outputs = new Map(before.resources.map((resource) => [resource.key, resource.outputs]));
  const kept: RetainedStore[] = [];
  const dependants = ({ key }: RecordedResource): string[] =>
    resources.filter(({ needs }) => needs.includes(key)).map((one) => one.key);
  await inOrder([...resources].reverse(), dependants, async (resource) => {
    const needs = Object.fromEntries(resource.needs.map((key) => [key, outputs.get(key) ?? {}]));
    const until = retainUntil();
    await op.board.step(
      stepName(service, placement.provider, resource.key),
      async () => {
        const removed = await op.held(
          service,
          () =>
            urgent(placement.provider, `remove ${resource.name}`).removeResource({
              placement,
              resource,
              needs,
              deleteData,
              retainUntil: until,
              undo: false,
            }),
          'removing',
        );
        if (removed === 'retained')
          kept.push(keep(op, { placement, monthlyCostUsd: before.monthlyCostUsd }, resource, until));
        op.board.record('run', removed, `${resource.kind} ${resource.name}`);
        return removed;
      },
      (removed) => (removed === 'retained' ? `kept until ${until}: it holds data` : `${removed} ${resource.name}`),
    );
  });
  return kept;
}

/** Runs one act a node, each after the nodes it depends on; independent ones at the same time. */
async function inOrder<N extends { key: string }, R>(
  nodes: readonly N[],
  dependsOn: (node: N) => readonly string[],
  act: (node: N, needs: Record<string, R>) => Promise<R>,
): Promise<R[]> {
  const running = new Map<string, Promise<R>>();
  const start = async (node: N): Promise<R> => {
    const needs: Record<string, R> = {};
    for (const key of dependsOn(node)) {
      const need = running.get(key);
      if (need) needs[key] = await need;
    }
    return act(node, needs);
  };
  for (const node of nodes) {
    const started = start(node);
    started.catch(() => {}); // reported by settleAll
    running.set(node.key, started);
  }
  return settleAll([...running.values()]);
}

/**
 * All results; or, when one fails, its error once none of the others is at work any more: what a compensation takes back
 * must not still be in the making.
 */
export async function settleAll<R>(all: readonly Promise<R>[]): Promise<R[]> {
  const scope = wf.CancellationScope.current();
  let first: { error: unknown } | undefined;
  await Promise.all(
    all.map((one) =>
      one.catch((error: unknown) => {
        if (first) return;
        first = { error };
        scope.cancel();
      }),
    ),
  );
  if (first) throw first.error;
  return Promise.all(all);
}
