/**
 * What every cell promises, whichever cloud it is on. Runs against the real servers of the local clouds, through the
 * same providers that the workers use, as identities that may do what the sheets in config/permissions say and no more. A
 * cell adds nothing to this suite but the configurations it is run with.
 */
import { randomBytes } from 'node:crypto';
import type { Call, Cell, Observed, Provider } from '../../activities/providers/driver.ts';
import type { ProviderPool } from '../../activities/providers/pool.ts';
import { driverOf, Resource, scan } from '../../activities/providers/provision.ts';
import { CloudError } from '../../model/errors.ts';
import { justInTimeAuthority } from '../../model/just-in-time.ts';
import { type Identity, identities } from '../../model/permissions.ts';
import type { Configuration, Outputs, Placement, ProviderType, ResourceSpec } from '../../model/service.ts';
import { poolOf } from '../transfer/stores.ts';
import { isKeptInStep, isRegistered } from './fleets.ts';
import { calledRights, limitedProvider, listedRights, placeholders, record, recording } from './identities.ts';
import { letsNewbornsIn } from './newborns.ts';
import { isCopied, isFenced, isReplicated, isTold } from './stores.ts';
import { isFollowed } from './telemetry.ts';

export interface ConformanceCase {
  cloud: ProviderType;
  type: Cell['type'];
  region: string;
  account: string;
  configuration: Configuration;
  /** Differs from `configuration` in at least one property that can change in place. */
  changed: Configuration;
  /** Changes resources, by their keys, behind their owner's back. */
  tamper?: (region: string, observed: Readonly<Record<string, Observed>>) => Promise<void>;
  /** Takes all rights that stand on the store itself away, where a fence then is the only one. */
  bare?: (region: string, observed: Readonly<Record<string, Observed>>) => Promise<void>;
}

const pace = { pollMs: 25, heartbeat: () => {} };
const retainUntil = '2099-01-01';
const estate = 'conformance';

export function conformance(title: string, test: ConformanceCase): void {
  describe(title, () => {
    /** Creates, repairs and verifies; takes back; looks only. */
    let control: Provider;
    let undo: Provider;
    let watch: Provider;
    /** Of what copies content. */
    let bulk: ProviderPool;
    const holdsObjects = test.type === 'storage' || test.type === 'data_lake';
    const holdsDevices = test.type === 'iot_core';
    const letsNewborns = justInTimeAuthority(test.configuration) !== undefined;
    const callers: Partial<Record<Identity, string>> = {};
    let cell: Cell;
    const placements: Placement[] = [];

    const place = (overrides: Partial<Placement['owner']> = {}, configuration = test.configuration): Placement => ({
      owner: {
        estate,
        uid: randomBytes(16).toString('hex'),
        service: test.type,
        controller: 'test-controller',
        generation: 1,
        ...overrides,
      },
      type: test.type,
      provider: cell.provider,
      providerType: cell.provider,
      region: test.region,
      account: test.account,
      configuration,
    });
    const keep = (placement: Placement): Placement => {
      placements.push(placement);
      return placement;
    };

    const call = (placement: Placement, spec: ResourceSpec, outputs: Record<string, Outputs>): Call => ({
      placement,
      needs: Object.fromEntries(spec.needs.map((key) => [key, outputs[key] ?? {}])),
      signal: AbortSignal.timeout(60_000),
    });

    /** Observed resources with the outputs that dependants need, in order. */
    async function observeAll(
      placement: Placement,
      provider = control,
    ): Promise<{ observed: Record<string, Observed>; outputs: Record<string, Outputs> }> {
      const observed: Record<string, Observed> = {};
      const outputs: Record<string, Outputs> = {};
      for (const spec of cell.design(placement)) {
        const seen = await new Resource(provider, cellOf(provider), spec, call(placement, spec, outputs)).observe();
        if (!seen) continue;
        observed[spec.key] = seen;
        outputs[spec.key] = seen.outputs;
      }
      return { observed, outputs };
    }

    async function ensureAll(placement: Placement): Promise<Record<string, string>> {
      const outputs: Record<string, Outputs> = {};
      const outcomes: Record<string, string> = {};
      for (const spec of cell.design(placement)) {
        const ensured = await new Resource(control, cell, spec, call(placement, spec, outputs)).ensure(pace);
        outputs[spec.key] = ensured.outputs;
        outcomes[spec.key] = ensured.outcome;
      }
      return outcomes;
    }

    async function removeAll(placement: Placement): Promise<Record<string, string>> {
      const { outputs } = await observeAll(placement, undo);
      const outcomes: Record<string, string> = {};
      for (const spec of cell.design(placement).toReversed())
        outcomes[spec.key] = await new Resource(undo, cellOf(undo), spec, call(placement, spec, outputs)).remove(pace, {
          deleteData: true,
          retainUntil,
        });
      return outcomes;
    }

    const every = (keys: Record<string, unknown>, value: string) =>
      Object.fromEntries(Object.keys(keys).map((key) => [key, value]));

    function cellOf(provider: Provider): Cell {
      const found = provider.cells.find((candidate) => candidate.type === test.type);
      if (!found) throw new Error(`no cell for ${test.type}`);
      return found;
    }

    beforeAll(async () => {
      const made = async (identity: Identity) => {
        const limited = await limitedProvider(test.cloud, test.type, identity, estate);
        callers[identity] = limited.caller;
        return limited;
      };
      control = (await made('control')).provider;
      undo = (await made('undo')).provider;
      watch = (await made('watch')).provider;
      if (holdsObjects || holdsDevices) {
        const { provider, credentials } = await made('bulk');
        await provider.close();
        bulk = poolOf(placeholders(test.cloud, credentials));
      }
      cell = cellOf(control);
    });
    afterAll(async () => {
      for (const placement of placements) await removeAll(placement).catch(() => {});
      if (recording) await record(test.cloud, test.type, callers);
      await Promise.all([control, undo, watch, bulk].map((one) => one?.close()));
    }, 120_000);

    it('tells the account that its credentials belong to', async () => {
      for (const provider of [control, undo, watch])
        expect(await provider.account(AbortSignal.timeout(20_000))).toBe(test.account);
    });

    it('knows as whom it has which rights, as far as the cloud tells', async () => {
      const [own, others] = [
        listedRights(test.cloud, test.type, 'control'),
        listedRights(test.cloud, test.type, 'undo'),
      ];
      const missing = await control.missingPermissions(
        [...own, ...others],
        place({ estate }),
        AbortSignal.timeout(20_000),
      );
      if (recording) return;
      expect(missing.toSorted()).toEqual(others.filter((right) => !own.includes(right)));
    });

    it('changes nothing as who only looks: the refusal names the right that is missing', async () => {
      if (recording) return;
      const placement = place();
      const [spec] = cell.design(placement);
      if (!spec) throw new Error('nothing is designed');
      const refused = await new Resource(watch, cellOf(watch), spec, call(placement, spec, {})).ensure(pace).then(
        () => Promise.reject(new Error(`${spec.key} was created`)),
        (error: unknown) => (error instanceof CloudError ? error.fields : Promise.reject(error)),
      );
      expect(refused.kind).toBe('PermissionDenied');
      expect(listedRights(test.cloud, test.type, 'control')).toContain(refused.missing);
    });

    it('names resources within the limits for the longest names, differently for each owner, the same each time', () => {
      const longest = place({ estate: `e${'x'.repeat(23)}`, service: `s${'_y'.repeat(15)}` });
      const specs = cell.design(longest);
      expect(cell.design(longest)).toEqual(specs);
      expect(new Set(specs.map((spec) => spec.key)).size).toBe(specs.length);
      const next = cell.design({ ...longest, owner: { ...longest.owner, generation: 2 } });
      for (const [index, spec] of specs.entries()) {
        expect(spec.needs.every((need) => specs.slice(0, index).some((earlier) => earlier.key === need))).toBe(true);
        expect(`${spec.kind} ${spec.name}`).not.toBe(`${next[index]?.kind} ${next[index]?.name}`);
      }
    });

    describe('one placement through its life', () => {
      let placement: Placement;
      beforeAll(() => {
        placement = keep(place());
      });

      it('plans to create all of it, and creates it; the quotas tell what it takes', async () => {
        const { observed } = await observeAll(placement);
        expect(observed).toEqual({});
        const specs = cell.design(placement);
        const quotas = (seen: Record<string, Observed>) =>
          control.quotas({ placement, specs, observed: seen }, AbortSignal.timeout(20_000));
        const before = await quotas(observed);
        expect(before.unknown).toEqual([]);
        for (const { needs, limit, used } of before.quotas) expect(needs).toBeLessThanOrEqual(limit - used);
        const outcomes = await ensureAll(placement);
        expect(outcomes).toEqual(every(outcomes, 'created'));
        const after = await quotas({});
        expect(after.quotas).toEqual(before.quotas.map((quota) => ({ ...quota, used: quota.used + quota.needs })));
        expect(await quotas((await observeAll(placement)).observed)).toEqual({ quotas: [], unknown: [] });
      }, 120_000);

      it('finds it ready, owned, without drift; creating again changes nothing', async () => {
        const { observed, outputs } = await observeAll(placement);
        for (const spec of cell.design(placement)) {
          expect(observed[spec.key]?.state).toBe('ready');
          expect(observed[spec.key]?.owner).toEqual(placement.owner);
          const change = await new Resource(control, cell, spec, call(placement, spec, outputs)).plan();
          expect(change).toEqual({ ...change, action: 'none', drift: [] });
        }
        const outcomes = await ensureAll(placement);
        expect(outcomes).toEqual(every(outcomes, 'unchanged'));
      }, 60_000);

      it('is adopted when the answer to a create got lost', async () => {
        const { outputs } = await observeAll(placement);
        for (const spec of cell.design(placement)) {
          const driver = cell.resources.find((candidate) => candidate.kind === spec.kind);
          // The very call that was made already; the cloud may answer "already exists" or accept it as the same.
          await driver
            ?.create(spec, call(placement, spec, outputs))
            .catch((error: unknown) => expect(control.classify(error).kind).toBe('AlreadyExists'));
        }
        const outcomes = await ensureAll(placement);
        expect(outcomes).toEqual(every(outcomes, 'unchanged'));
        const found = (await scan(undo, placement, AbortSignal.timeout(30_000))).filter(
          ({ owner }) => owner.uid === placement.owner.uid,
        );
        const kinds = cell.design(placement).map((spec) => spec.kind);
        for (const { kind } of found)
          expect(found.filter((one) => one.kind === kind)).toHaveLength(kinds.filter((one) => one === kind).length);
      }, 60_000);

      it('passes the compliance checks on what exists, is healthy, has an endpoint', async () => {
        const { observed } = await observeAll(placement);
        expect(cell.verify(placement, observed).filter(({ ok }) => !ok)).toEqual([]);
        expect(cell.verify(placement, observed).length).toBeGreaterThan(0);
        for (const provider of [control, watch]) {
          const seen = (await observeAll(placement, provider)).observed;
          const health = await cellOf(provider).health(placement, seen, AbortSignal.timeout(30_000));
          expect(health).toMatchObject({ healthy: true });
        }
        expect(cell.endpoint(placement, observed)).toMatch(/\S/);
      }, 60_000);

      it('follows a changed configuration, and back again', async () => {
        const outcomes = await ensureAll({ ...placement, configuration: test.changed });
        expect(Object.values(outcomes)).toContain('updated');
        const { outputs } = await observeAll(placement);
        const actions: string[] = [];
        for (const spec of cell.design(placement)) {
          const { action } = await new Resource(control, cell, spec, call(placement, spec, outputs)).plan();
          actions.push(action);
          // An undo gives back what a deployment has changed.
          if (action === 'update')
            await new Resource(undo, cellOf(undo), spec, call(placement, spec, outputs)).ensure(pace);
        }
        expect(actions).toContain('update');
        const again = await ensureAll(placement);
        expect(again).toEqual(every(again, 'unchanged'));
      }, 120_000);

      it('finds and repairs what was changed behind its back, keeps what holds data', async () => {
        await test.tamper?.(test.region, (await observeAll(placement)).observed);
        await ensureAll(placement);
        const { observed, outputs } = await observeAll(placement);
        for (const spec of cell.design(placement)) {
          const driver = driverOf(cell, spec.kind);
          const drift = Object.keys(spec.desired).filter((property) => !driver.immutable.includes(property));
          const seen = observed[spec.key];
          if (!seen || drift.length === 0) continue;
          // Whatever can change in place can be repaired; a cloud may say that this or that is so already.
          await driver
            .update(spec, seen, drift, call(placement, spec, outputs))
            .catch((error: unknown) => expect(control.classify(error).kind).toBe('AlreadyExists'));
          await new Resource(control, cell, spec, call(placement, spec, outputs)).ensure(pace);
        }
        for (const spec of cell.design(placement)) {
          const { store } = driverOf(cellOf(undo), spec.kind);
          if (!store) continue;
          await store.retain(spec, retainUntil, call(placement, spec, outputs));
          const kept = await new Resource(control, cell, spec, call(placement, spec, outputs)).observe();
          expect(kept?.retainedUntil).toBe(retainUntil);
        }
        const again = await ensureAll(placement);
        expect(again).toEqual(every(again, 'unchanged'));
      }, 120_000);

      if (test.type === 'iot_core')
        it('is proven by a device: it connects with its certificate and its telemetry comes out at the other end', async () => {
          const { observed } = await observeAll(placement);
          expect(await cell.canary?.(placement, observed, AbortSignal.timeout(60_000))).toMatchObject({
            healthy: true,
          });
        }, 90_000);

      if (test.type === 'storage')
        it('keeps small objects: each written once, or over the very version that was read', async () => {
          const { objects } = control;
          const within = () => AbortSignal.timeout(20_000);
          const bytes = Buffer.from('one');
          const version = await objects.put(placement, 'audit/1', bytes, { absent: true }, within());
          const again = await objects.put(placement, 'audit/1', bytes, { absent: true }, within()).then(
            () => 'written twice',
            (error: unknown) => control.classify(error).kind,
          );
          expect(['AlreadyExists', 'PreconditionFailed']).toContain(again);
          expect(await objects.get(placement, 'audit/1', within())).toMatchObject({ version });
          expect(await objects.get(placement, 'audit/2', within())).toBeUndefined();
          await objects.put(placement, 'audit/1', Buffer.from('two'), { version }, within());
          expect(await objects.list(placement, 'audit/', within())).toEqual(['audit/1']);
        }, 60_000);

      if (holdsObjects) {
        it('is fenced and let go by who takes back; who creates sees the fence', async () => {
          const { observed, outputs } = await observeAll(placement);
          const { bare, region } = test;
          await isFenced({ control, undo }, placement, outputs, bare && (() => bare(region, observed)));
          const again = await ensureAll(placement);
          expect(Object.values(again).filter((outcome) => !['unchanged', 'updated'].includes(outcome))).toEqual([]);
        }, 120_000);

        it('tells who moves content of a change in it, by a feed that comes and goes', async () => {
          await isTold({ control, undo, bulk }, placement);
        }, 120_000);

        it('is copied to another store, kept in step and compared by who moves content', async () => {
          const to = keep(place());
          await isCopied({ control, undo, bulk }, { from: placement, to });
          await removeAll(to);
        }, 180_000);

        it('is one of two that are kept in step, conflicts and all, by who moves content', async () => {
          // Sides are known by their providers; the name of a records bucket that is gone may still be held.
          const [one, other] = [keep(place()), keep({ ...place(), provider: `${cell.provider}2` })];
          await isReplicated({ control, undo, bulk }, [one, other]);
          await removeAll(one);
          await removeAll(other);
        }, 180_000);
      }

      if (holdsDevices)
        it('has its devices listed, registered, compared and taken back by who moves content', async () => {
          await isRegistered({ control, undo, bulk }, placement);
        }, 120_000);

      if (holdsDevices)
        it('has its devices kept in step by who moves content', async () => {
          await isKeptInStep({ control, bulk }, placement);
        }, 60_000);

      // Its telemetry is followed there as well: the name of a follower may be held for a while.
      if (letsNewborns)
        it('registers a device of the authority that nobody has registered, and nobody else; follows what it says', async () => {
          await letsNewbornsIn({ control, undo, bulk }, placement);
        }, 120_000);

      if (holdsDevices && !letsNewborns)
        it('has its telemetry followed and written to by who moves content', async () => {
          const { observed } = await observeAll(placement);
          const speak = () => cell.canary?.(placement, observed, AbortSignal.timeout(60_000)) ?? Promise.resolve();
          await isFollowed({ control, undo, bulk }, placement, speak);
        }, 120_000);

      it('is found by its owner; another estate does not see it', async () => {
        const found = await scan(watch, placement, AbortSignal.timeout(30_000));
        const specs = cell.design(placement);
        expect(found.length).toBeGreaterThan(0);
        expect(found.every(({ owner }) => owner.uid === placement.owner.uid)).toBe(true);
        expect(found.every(({ name, kind }) => specs.some((spec) => spec.name === name && spec.kind === kind))).toBe(
          true,
        );
        expect(await scan(watch, place(), AbortSignal.timeout(30_000))).toEqual([]);
      }, 60_000);

      it('is found by the name of its estate alone, where nobody knows its UID any more', async () => {
        const unknown = { ...placement, owner: { ...placement.owner, uid: '' } };
        const [known, found] = await Promise.all(
          [placement, unknown].map((one) => scan(watch, one, AbortSignal.timeout(30_000))),
        );
        const mine = found?.filter(({ owner }) => owner.uid === placement.owner.uid);
        const ids = (some: typeof known) => some?.map(({ kind, id }) => `${kind} ${id}`).sort();
        expect(ids(mine)).toEqual(ids(known));
        const other = { ...unknown, owner: { ...unknown.owner, estate: 'unheard-of' } };
        expect(await scan(watch, other, AbortSignal.timeout(30_000))).toEqual([]);
      }, 60_000);

      it('refuses to touch what is not ours', async () => {
        const stranger: Placement = { ...placement, owner: { ...placement.owner, controller: 'another-installation' } };
        const { outputs } = await observeAll(placement);
        for (const spec of cell.design(placement)) {
          const resource = new Resource(control, cell, spec, call(stranger, spec, outputs));
          if (!(await resource.observe())) continue; // found by its owner tags only: a stranger cannot even see it
          const notOurs = (error: unknown): void => expect(error instanceof CloudError && error.kind).toBe('NotOurs');
          await resource.ensure(pace).then(() => Promise.reject(new Error(`${spec.key} was taken over`)), notOurs);
          await resource
            .remove(pace, { deleteData: true, retainUntil })
            .then(() => Promise.reject(new Error(`${spec.key} was removed`)), notOurs);
        }
        const outcomes = await ensureAll(placement);
        expect(outcomes).toEqual(every(outcomes, 'unchanged'));
      }, 60_000);

      it('is removed, leaves nothing behind, and can be removed again', async () => {
        const outcomes = await removeAll(placement);
        expect(Object.values(outcomes).every((outcome) => outcome === 'removed' || outcome === 'gone')).toBe(true);
        expect(await scan(undo, placement, AbortSignal.timeout(30_000))).toEqual([]);
        const again = await removeAll(placement);
        expect(again).toEqual(every(again, 'gone'));
      }, 120_000);

      it('comes back at once as its next generation, while the old names may still be held', async () => {
        const next = keep({ ...placement, owner: { ...placement.owner, generation: 2 } });
        const outcomes = await ensureAll(next);
        expect(outcomes).toEqual(every(outcomes, 'created'));
        await removeAll(next);
        expect(await scan(undo, next, AbortSignal.timeout(30_000))).toEqual([]);
      }, 180_000);

      it('has called what the sheet lists for each identity, nothing less and nothing more', async () => {
        if (recording) return;
        for (const identity of identities) {
          const caller = callers[identity];
          if (caller === undefined) continue;
          const called = await calledRights(test.cloud, identity, caller);
          expect([identity, ...called]).toEqual([identity, ...listedRights(test.cloud, test.type, identity)]);
        }
      });
    });
  });
}
