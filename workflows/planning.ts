/** From the estate file and the records to a plan: what would be where, at what cost, and what must change for it. */
import * as wf from '@temporalio/workflow';
import type { LoadedEstate } from '../activities/estate/load.ts';
import type { Move } from '../activities/estate/place.ts';
import { shutDoors } from '../model/just-in-time.ts';
import {
  changesAnything,
  type EstatePlan,
  type PlannedEndpoint,
  type PlannedPlacement,
  type PlannedService,
  type ServicePlan,
} from '../model/operations.ts';
import { planHash } from '../model/plan-hash.ts';
import { type Drawing, remedyOf, type Shortage, shortages, shortageText } from '../model/quota.ts';
import { type ServiceRecord, seenBy } from '../model/record.ts';
import { cloud, control, failure } from './calls.ts';
import { planEndpoints } from './endpoints.ts';
import type { Operation } from './operation.ts';

export interface Planned {
  plan: EstatePlan;
  services: PlannedService[];
  records: Record<string, ServiceRecord>;
}

/** Plans these services, or all of the file, for `by`; with `move` what one of them needs where it is to go. Looks at the clouds, changes nothing. */
export async function planServices(
  loaded: LoadedEstate,
  by: string,
  only?: readonly string[],
  move?: Move,
): Promise<Planned> {
  const { estate } = loaded;
  const names = (only ?? Object.keys(estate.services)).toSorted();
  const [identity, records, lastApplied, accounts] = await Promise.all([
    control.openEstate({ estate: estate.name }),
    control.readServices({ estate: estate.name }),
    control.readApplied({ estate: estate.name }),
    accountsOf(estate.providers),
  ]);
  for (const name of names)
    if (!estate.services[name])
      throw failure(
        'ServiceNotFound',
        `The estate file has no service "${name}"; it has ${Object.keys(estate.services).join(', ')}.`,
      );
  const self = wf.workflowInfo().workflowId;
  const seen = Object.fromEntries(Object.entries(records).map(([name, record]) => [name, seenBy(self, record)]));
  const placed = await control.placeServices({
    loaded,
    only: names,
    records: seen,
    identity,
    accounts,
    lastApplied,
    by,
    ...(move && { move }),
  });
  const inspected = await Promise.all(
    placed.services.map(async ({ service, type, placements }) => ({
      service,
      type,
      placements: await Promise.all(placements.map((one) => inspect(one))),
    })),
  );
  const { endpoints, warnings } = await planEndpoints(estate, identity.uid, accounts, records, names);
  const services = inspected.map((one): PlannedService => ({ ...one, endpoint: endpoints[one.service] }));
  const plans = placed.plan.services.map((view): ServicePlan => {
    const found = services.find(({ service }) => service === view.service);
    const inspected = found?.placements ?? [];
    const stale = found?.endpoint && changesAnything(found) && endpointAction(found.endpoint);
    return {
      ...view,
      ...(stale && { endpoint: stale }),
      placements: view.placements.map((one) => {
        const seen = inspected.find(({ placement }) => placement.provider === one.provider);
        return { ...one, changes: seen?.changes ?? [], quotas: seen?.headroom?.quotas ?? [] };
      }),
    };
  });
  const replacements = services.flatMap(({ service, placements }) =>
    placements.flatMap(({ placement, changes }) =>
      changes
        .filter(({ action }) => action === 'replace')
        .map(({ name, drift }) => ({
          service,
          text: `${name} on ${placement.provider} differs in ${drift.join(', ')}, which cannot change in place; it stays as it is`,
          command: `multi-cloud remove ${service}, then multi-cloud deploy`,
        })),
    ),
  );
  const plan = {
    ...placed.plan,
    services: plans,
    proposals: [...placed.plan.proposals, ...replacements],
    warnings: [...placed.plan.warnings, ...lackingRights(services), ...unknownHeadroom(services), ...warnings],
    accounts,
    short: shortages(services.flatMap(drawingsOf)),
  };
  return { plan: { ...plan, hash: planHash(plan) }, services, records };
}

/** A record that stands there may turn out to say the same. */
const endpointAction = ({ before, stale }: PlannedEndpoint): 'create' | 'update' | undefined =>
  before === null ? 'create' : stale ? 'update' : undefined;

/** What a deployment would be denied, a line for each placement. */
const lackingRights = (services: readonly PlannedService[]): string[] =>
  services.flatMap(({ service, placements }) =>
    placements
      .filter(({ missing }) => missing.length > 0)
      .map(({ placement, missing }) => `${service} on ${placement.provider}: the worker lacks ${missing.join(', ')}`),
  );

/** Refuses before anything exists what could not be made, or not be taken back. */
export function refuseWithoutRights(services: readonly PlannedService[]): void {
  const lacking = lackingRights(services);
  if (lacking.length > 0)
    throw failure(
      'PermissionDenied',
      `${lacking.join('; ')}. Grant these rights and start again; nothing was changed.`,
    );
}

const drawingsOf = (planned: PlannedService): Drawing[] => {
  if (!changesAnything(planned)) return [];
  const { service, placements } = planned;
  return placements.map(({ placement: { provider, account }, headroom }) => ({ service, provider, account, headroom }));
};

const unknownHeadroom = (services: readonly PlannedService[]): string[] =>
  services.flatMap(({ service, placements }) =>
    placements.flatMap(({ placement, headroom }) =>
      (headroom?.unknown ?? []).map(
        (what) => `${service} on ${placement.provider}: what is left is unknown of ${what}`,
      ),
    ),
  );

/** Holds the run before anything exists, as long as a quota has no room for what is to be created. */
export async function awaitHeadroom(op: Operation, services: readonly PlannedService[]): Promise<void> {
  const [first] = shortages(services.flatMap(drawingsOf));
  const [held = ''] = first?.services ?? [];
  if (!first) return;
  op.board.record('run', 'is held before anything is created', shortageText(first));
  await op.held(held, async () => {
    const looked = services.map(async (one) => ({
      ...one,
      placements: await Promise.all(one.placements.map((placement) => inspect(placement))),
    }));
    const short = shortages((await Promise.all(looked)).flatMap(drawingsOf));
    if (short.length > 0) throw failure('QuotaExceeded', tooLittle(short));
  });
}

const tooLittle = (short: readonly Shortage[]): string =>
  `QuotaExceeded: ${short.map((one) => `${shortageText(one)}. Raise it: ${remedyOf(one)}`).join('; ')}. Nothing was created`;

/** The accounts that the credentials of the enabled providers belong to, as the clouds say. */
async function accountsOf(providers: LoadedEstate['estate']['providers']): Promise<Record<string, string>> {
  const entries = await Promise.all(
    providers
      .filter(({ enabled }) => enabled)
      .map(async ({ name }) => [name, await cloud(name, `account of ${name}`).account({ provider: name })] as const),
  );
  return Object.fromEntries(entries);
}

async function inspect(
  one: Omit<PlannedPlacement, 'specs' | 'changes' | 'missing' | 'headroom'>,
): Promise<PlannedPlacement> {
  const { provider, owner } = one.placement;
  const seen = await cloud(provider, `inspect ${owner.service}`).inspectPlacement({
    placement: one.placement,
    existing: one.before !== undefined || one.begun.length > 0,
  });
  const shut = shutDoors(one.before?.resources ?? [], seen.specs);
  const removals = shut.map(({ key, kind, name }) => ({ key, kind, name, action: 'remove' as const, drift: [] }));
  return { ...one, ...seen, changes: [...seen.changes, ...removals] };
}
