/** What a workflow asks of one cloud: inspect, ensure, remove, verify, scan. Served on that provider's own queues. */
import { Context } from '@temporalio/activity';
import { CloudError } from '../../model/errors.ts';
import type { ResourceChange } from '../../model/operations.ts';
import { type Identity, neededRights, type Permissions } from '../../model/permissions.ts';
import type { Headroom } from '../../model/quota.ts';
import type { RecordedResource } from '../../model/record.ts';
import type { Outputs, Placement, ProviderType, ResourceSpec, ServiceType } from '../../model/service.ts';
import { recordsBuckets } from '../records/bucket.ts';
import { createRecordsActivities } from '../records/records.ts';
import { createEndpointActivities } from '../traffic/endpoint-records.ts';
import { createZoneWeightActivities } from '../traffic/weights.ts';
import { cellOf, paceOf, providerCalls } from './calls.ts';
import type { Call, Check, Found, Observed, Provider } from './driver.ts';
import { createFeedActivities } from './feed.ts';
import { createFenceActivities } from './fence.ts';
import type { Providers } from './pool.ts';
import { driverOf, type Ensured, guarded, type Removed, Resource, scan } from './provision.ts';
import { findStrays, type KnownResource, removeStrays, type Stray } from './strays.ts';
import { createTelemetryFollowerActivities } from './telemetry.ts';

export interface ProviderDependencies {
  pool: Providers;
  pollMs: number;
  /** Longest that one look or one request may take before the attempt is given up, milliseconds. */
  callDeadlineMs: number;
  /** What each identity needs, and whom this worker is by the queues that it serves: looked at before anything is created. */
  permissions: Permissions;
  identities: readonly Identity[];
  /** How long the records buckets keep what is in them. */
  recordsDays?: number;
}

/** What a look at a placement tells before it is changed. */
export interface Inspected {
  specs: ResourceSpec[];
  changes: ResourceChange[];
  /** Rights that the worker lacks to make the placement or to take it back, in the cloud's own names. */
  missing: string[];
  /** Of the quotas that the changes draw on. */
  headroom: Headroom;
}

export interface Verified {
  failed: Check[];
  healthy: boolean;
  /** One line. */
  health: string;
  endpoint: string;
}

export function createProviderActivities(dependencies: ProviderDependencies) {
  const { pool, pollMs, callDeadlineMs, permissions, identities, recordsDays = 400 } = dependencies;
  const { at, accountOf, atAccount, atPlacement } = providerCalls({ pool, callDeadlineMs });
  const pace = paceOf(pollMs);
  const isRepeated = (): boolean => Context.current().info.attempt > 1;

  const needed = (provider: ProviderType, type: ServiceType): string[] =>
    neededRights(permissions[provider], identities, type);
  const ensureBucket = recordsBuckets({
    cellOf,
    pace,
    retentionDays: recordsDays,
    repair: identities.includes('control'),
  });

  /** What exists of a placement, level by level, since a look may need the outputs of what comes before. */
  async function observeAll(
    provider: Provider,
    placement: Placement,
    specs: readonly ResourceSpec[],
    signal: AbortSignal,
  ) {
    const cell = cellOf(provider, placement);
    const looks = new Map<string, Promise<Observed | undefined>>();
    for (const spec of specs) {
      const look = (async () => {
        const needs: Record<string, Outputs> = {};
        for (const key of spec.needs) needs[key] = (await looks.get(key))?.outputs ?? {};
        const call: Call = { placement, needs, signal };
        return new Resource(provider, cell, spec, call).observe();
      })();
      look.catch(() => {}); // the first failure is reported below
      looks.set(spec.key, look);
    }
    const observed: Record<string, Observed> = {};
    for (const [key, look] of looks) {
      const seen = await look;
      if (seen) observed[key] = seen;
    }
    return { cell, observed };
  }

  return {
    ...createRecordsActivities({ atPlacement, ensureBucket }),
    ...createFenceActivities({ atPlacement, ensureBucket, needed }),
    ...createFeedActivities({ atPlacement, pace }),
    ...createTelemetryFollowerActivities({ atPlacement, pace }),
    ...createEndpointActivities({ atAccount, isRepeated }),
    ...createZoneWeightActivities({ atAccount, isRepeated }),

    /** The account that the credentials really belong to. */
    account({ provider: name }: { provider: string }): Promise<string> {
      return at(name, (provider, signal) => accountOf(name, provider, signal));
    },

    /**
     * The resources of a placement, and how they differ from what is there. A new placement is not looked at, since its names
     * are fresh; but the rights to make it and to take it back, and the room in the quotas, are asked for before anything exists.
     */
    inspectPlacement({ placement, existing }: { placement: Placement; existing: boolean }): Promise<Inspected> {
      return atPlacement(placement, async (provider, signal) => {
        const cell = cellOf(provider, placement);
        const specs = cell.design(placement);
        const preflight = <T>(look: () => Promise<T>): Promise<T> =>
          guarded(provider, 'preflight', placement.owner.service, look);
        const headroom = (observed: Record<string, Observed>): Promise<Headroom> =>
          preflight(() => provider.quotas({ placement, specs, observed }, signal));
        if (!existing) {
          const [missing, room] = await Promise.all([
            preflight(() => provider.missingPermissions(needed(provider.type, cell.type), placement, signal)),
            headroom({}),
          ]);
          return {
            specs,
            changes: specs.map(({ key, kind, name }) => ({ key, kind, name, action: 'create' as const, drift: [] })),
            missing,
            headroom: room,
          };
        }
        const { observed } = await observeAll(provider, placement, specs, signal);
        const outputs = Object.fromEntries(Object.entries(observed).map(([key, one]) => [key, one.outputs]));
        const changes = await Promise.all(
          specs.map((spec) => {
            const needs = Object.fromEntries(spec.needs.map((key) => [key, outputs[key] ?? {}]));
            return new Resource(provider, cell, spec, { placement, needs, signal }).plan();
          }),
        );
        return { specs, changes, missing: [], headroom: await headroom(observed) };
      });
    },

    /**
     * Creates or adopts one resource, waits until it is ready, repairs drift. `unsettled` where a call of an
     * earlier attempt may still take effect; not `repeatable` where that makes a second one.
     */
    ensureResource({
      placement,
      spec,
      needs,
    }: {
      placement: Placement;
      spec: ResourceSpec;
      needs: Record<string, Outputs>;
    }): Promise<Ensured & { unsettled: boolean; repeatable: boolean }> {
      return atPlacement(placement, async (provider, signal) => {
        const cell = cellOf(provider, placement);
        const ensured = await new Resource(provider, cell, spec, { placement, needs, signal }).ensure(pace());
        const unsettled = Context.current().info.attempt > 1;
        return { ...ensured, unsettled, repeatable: driverOf(cell, spec.kind).identity === undefined };
      });
    },

    /** Brings one resource back to what its placement's earlier configuration says; nothing where that has no such resource. */
    restoreResource({
      placement,
      key,
      needs,
    }: {
      placement: Placement;
      key: string;
      needs: Record<string, Outputs>;
    }): Promise<Pick<Ensured, 'outcome' | 'drift'>> {
      return atPlacement(placement, async (provider, signal) => {
        const cell = cellOf(provider, placement);
        const spec = cell.design(placement).find((one) => one.key === key);
        if (!spec) return { outcome: 'unchanged', drift: [] };
        const { outcome, drift } = await new Resource(provider, cell, spec, { placement, needs, signal }).ensure(
          pace(),
        );
        return { outcome, drift };
      });
    },

    /** Removes one resource and waits until it is gone; what holds data stays unless `deleteData`. */
    removeResource(input: {
      placement: Placement;
      resource: RecordedResource;
      needs: Record<string, Outputs>;
      deleteData: boolean;
      retainUntil: string;
      /** Takes back a create that may never have happened: what stands there and is not ours was not made by this run. */
      undo: boolean;
    }): Promise<Removed> {
      const { placement, resource, needs, deleteData, retainUntil, undo } = input;
      return atPlacement(placement, async (provider, signal) => {
        const cell = cellOf(provider, placement);
        const designed = cell.design(placement).find(({ key }) => key === resource.key);
        const spec: ResourceSpec = { ...resource, desired: designed?.desired ?? {} };
        const target = new Resource(provider, cell, spec, { placement, needs, signal });
        try {
          return await target.remove(pace(), { deleteData, retainUntil });
        } catch (error) {
          if (undo && error instanceof CloudError && error.kind === 'NotOurs') return 'gone';
          throw error;
        }
      });
    },

    /**
     * Judges what really exists: compliance, health, and for what can be tried out, that it works. `tried`: it is known to work,
     * and among what comes out of it already, what is tried out would not be found.
     */
    verifyPlacement({
      placement,
      specs,
      tried = false,
    }: {
      placement: Placement;
      specs: ResourceSpec[];
      tried?: boolean;
    }): Promise<Verified> {
      return atPlacement(placement, async (provider, signal) => {
        const { cell, observed } = await observeAll(provider, placement, specs, signal);
        const missing = specs.filter(({ key }) => observed[key]?.state !== 'ready');
        if (missing.length > 0)
          return {
            failed: missing.map(
              ({ name }): Check => ({ name: 'ownership', resource: name, ok: false, found: 'not there or not ready' }),
            ),
            healthy: false,
            health: 'incomplete',
            endpoint: '',
          };
        const failed = cell.verify(placement, observed).filter(({ ok }) => !ok);
        const health = await guarded(provider, 'health', placement.owner.service, () =>
          cell.health(placement, observed, signal),
        );
        const canary =
          cell.canary && health.healthy && !tried
            ? await guarded(
                provider,
                'canary',
                placement.owner.service,
                () => cell.canary?.(placement, observed, signal) ?? Promise.resolve(health),
              )
            : health;
        return { failed, healthy: canary.healthy, health: canary.detail, endpoint: cell.endpoint(placement, observed) };
      });
    },

    /** What bears the estate's UID in the placement's account and region and is not among what is known; of one service, or of all. */
    findStrays({
      placement,
      known,
      everyService,
    }: {
      placement: Placement;
      known: readonly KnownResource[];
      everyService?: boolean;
    }): Promise<Stray[]> {
      return atPlacement(placement, async (provider, signal) => {
        const strays = await findStrays(provider, placement, known, signal);
        return everyService ? strays : strays.filter(({ service }) => service === placement.owner.service);
      });
    },

    /** All that bears the estate's UID in the placement's account and region; with an empty UID, its name. */
    findOwned({ placement }: { placement: Placement }): Promise<Found[]> {
      return atPlacement(placement, (provider, signal) => scan(provider, placement, signal));
    },

    /** Removes strays of the placement's service; returns those that were kept because they hold data. */
    removeStrays({
      placement,
      strays,
      retainUntil,
    }: {
      placement: Placement;
      strays: readonly Stray[];
      retainUntil: string;
    }): Promise<Stray[]> {
      return atPlacement(placement, (provider, signal) =>
        removeStrays(provider, cellOf(provider, placement), placement, strays, retainUntil, { signal, pace: pace() }),
      );
    },
  };
}
