/**
 * What every cell promises, whichever cloud it is on. Runs against the real servers of the local clouds, through the
 * same provider that the workers use. A cell adds nothing to this suite but the configurations it is run with.
 */
import { randomBytes } from 'node:crypto';
import type { Call, Cell, Observed, Provider } from '../../activities/providers/driver.ts';
import { Resource, scan } from '../../activities/providers/provision.ts';
import { CloudError } from '../../model/errors.ts';
import type { Configuration, Outputs, Placement, ResourceSpec } from '../../model/service.ts';

export interface ConformanceCase {
  provider: () => Provider;
  type: Cell['type'];
  region: string;
  account: string;
  configuration: Configuration;
  /** Differs from `configuration` in at least one property that can change in place. */
  changed: Configuration;
}

const pace = { pollMs: 25, heartbeat: () => {} };
const retainUntil = '2099-01-01';

export function conformance(title: string, test: ConformanceCase): void {
  describe(title, () => {
    let provider: Provider;
    let cell: Cell;
    const placements: Placement[] = [];

    const place = (overrides: Partial<Placement['owner']> = {}, configuration = test.configuration): Placement => ({
      owner: {
        estate: 'conformance',
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
    ): Promise<{ observed: Record<string, Observed>; outputs: Record<string, Outputs> }> {
      const observed: Record<string, Observed> = {};
      const outputs: Record<string, Outputs> = {};
      for (const spec of cell.design(placement)) {
        const seen = await new Resource(provider, cell, spec, call(placement, spec, outputs)).observe();
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
        const ensured = await new Resource(provider, cell, spec, call(placement, spec, outputs)).ensure(pace);
        outputs[spec.key] = ensured.outputs;
        outcomes[spec.key] = ensured.outcome;
      }
      return outcomes;
    }

    async function removeAll(placement: Placement): Promise<Record<string, string>> {
      const { outputs } = await observeAll(placement);
      const outcomes: Record<string, string> = {};
      for (const spec of cell.design(placement).toReversed())
        outcomes[spec.key] = await new Resource(provider, cell, spec, call(placement, spec, outputs)).remove(pace, {
          deleteData: true,
          retainUntil,
        });
      return outcomes;
    }

    const every = (keys: Record<string, unknown>, value: string) =>
      Object.fromEntries(Object.keys(keys).map((key) => [key, value]));

    beforeAll(() => {
      provider = test.provider();
      const found = provider.cells.find((candidate) => candidate.type === test.type);
      if (!found) throw new Error(`no cell for ${test.type}`);
      cell = found;
    });
    afterAll(async () => {
      for (const placement of placements) await removeAll(placement).catch(() => {});
      await provider.close();
    }, 120_000);

    it('tells the account that its credentials belong to', async () => {
      expect(await provider.account(AbortSignal.timeout(20_000))).toBe(test.account);
    });

    it('has the rights to do and to undo that it names, as far as the cloud tells', async () => {
      const { do: doing, undo } = cell.permissions;
      const missing = await provider.missingPermissions([...doing, ...undo], place(), AbortSignal.timeout(20_000));
      expect(missing).toEqual([]);
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

      it('plans to create all of it, and creates it', async () => {
        expect((await observeAll(placement)).observed).toEqual({});
        const outcomes = await ensureAll(placement);
        expect(outcomes).toEqual(every(outcomes, 'created'));
      }, 120_000);

      it('finds it ready, owned, without drift; creating again changes nothing', async () => {
        const { observed, outputs } = await observeAll(placement);
        for (const spec of cell.design(placement)) {
          expect(observed[spec.key]?.state).toBe('ready');
          expect(observed[spec.key]?.owner).toEqual(placement.owner);
          const change = await new Resource(provider, cell, spec, call(placement, spec, outputs)).plan();
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
            .catch((error: unknown) => expect(provider.classify(error).kind).toBe('AlreadyExists'));
        }
        const outcomes = await ensureAll(placement);
        expect(outcomes).toEqual(every(outcomes, 'unchanged'));
        const found = (await scan(provider, placement, AbortSignal.timeout(30_000))).filter(
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
        expect(await cell.health(placement, observed, AbortSignal.timeout(30_000))).toMatchObject({ healthy: true });
        expect(cell.endpoint(placement, observed)).toMatch(/\S/);
      }, 60_000);

      if (test.type === 'iot_core')
        it('is proven by a device: it connects with its certificate and its telemetry comes out at the other end', async () => {
          const { observed } = await observeAll(placement);
          expect(await cell.canary?.(placement, observed, AbortSignal.timeout(60_000))).toMatchObject({
            healthy: true,
          });
        }, 90_000);

      it('finds and repairs what was changed behind its back', async () => {
        const outcomes = await ensureAll({ ...placement, configuration: test.changed });
        expect(Object.values(outcomes)).toContain('updated');
        const { outputs } = await observeAll(placement);
        const actions: string[] = [];
        for (const spec of cell.design(placement))
          actions.push((await new Resource(provider, cell, spec, call(placement, spec, outputs)).plan()).action);
        expect(actions).toContain('update');
        expect(Object.values(await ensureAll(placement))).toContain('updated');
        const again = await ensureAll(placement);
        expect(again).toEqual(every(again, 'unchanged'));
      }, 120_000);

      it('is found by its owner; another estate does not see it', async () => {
        const found = await scan(provider, placement, AbortSignal.timeout(30_000));
        const specs = cell.design(placement);
        expect(found.length).toBeGreaterThan(0);
        expect(found.every(({ owner }) => owner.uid === placement.owner.uid)).toBe(true);
        expect(found.every(({ name, kind }) => specs.some((spec) => spec.name === name && spec.kind === kind))).toBe(
          true,
        );
        expect(await scan(provider, place(), AbortSignal.timeout(30_000))).toEqual([]);
      }, 60_000);

      it('is found by the name of its estate alone, where nobody knows its UID any more', async () => {
        const unknown = { ...placement, owner: { ...placement.owner, uid: '' } };
        const [known, found] = await Promise.all(
          [placement, unknown].map((one) => scan(provider, one, AbortSignal.timeout(30_000))),
        );
        const mine = found?.filter(({ owner }) => owner.uid === placement.owner.uid);
        const ids = (some: typeof known) => some?.map(({ kind, id }) => `${kind} ${id}`).sort();
        expect(ids(mine)).toEqual(ids(known));
        const other = { ...unknown, owner: { ...unknown.owner, estate: 'unheard-of' } };
        expect(await scan(provider, other, AbortSignal.timeout(30_000))).toEqual([]);
      }, 60_000);

      it('refuses to touch what is not ours', async () => {
        const stranger: Placement = { ...placement, owner: { ...placement.owner, controller: 'another-installation' } };
        const { outputs } = await observeAll(placement);
        for (const spec of cell.design(placement)) {
          const resource = new Resource(provider, cell, spec, call(stranger, spec, outputs));
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
        expect(await scan(provider, placement, AbortSignal.timeout(30_000))).toEqual([]);
        const again = await removeAll(placement);
        expect(again).toEqual(every(again, 'gone'));
      }, 120_000);

      it('comes back at once as its next generation, while the old names may still be held', async () => {
        const next = keep({ ...placement, owner: { ...placement.owner, generation: 2 } });
        const outcomes = await ensureAll(next);
        expect(outcomes).toEqual(every(outcomes, 'created'));
        await removeAll(next);
        expect(await scan(provider, next, AbortSignal.timeout(30_000))).toEqual([]);
      }, 180_000);
    });
  });
}
