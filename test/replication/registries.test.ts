/** Device registries that are kept in step by the same pump as objects: whatever is changed on one side comes to be so on the others. */
import { randomBytes } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { MockActivityEnvironment } from '@temporalio/testing';
import type { Ask } from '../../activities/providers/device-registry.ts';
import type { Provider } from '../../activities/providers/driver.ts';
import type { ProviderPool } from '../../activities/providers/pool.ts';
import { createReplicateActivities, errorsKey } from '../../activities/replication/replicate.ts';
import { createSidesActivities } from '../../activities/replication/sides.ts';
import type { Conflict } from '../../model/conflict-view.ts';
import type { ComparedSides, RepairedSides } from '../../model/divergence.ts';
import { CloudError } from '../../model/errors.ts';
import { comparable, type Device, noTexts } from '../../model/fleet.ts';
import { edgesOf, type PumpedSides, type ReplicateSidesInput, type topologies } from '../../model/replicate.ts';
import type { ProviderType } from '../../model/service.ts';
import type { PlacementRef } from '../../model/transfer.ts';
import { chosen } from '../faults/choice.ts';
import { fill, identity, registryOf, type Wanted } from '../fleet/fleets.ts';
import { carried, devicesAt, operators, tagsOf } from '../fleet/operators.ts';
import { pairs, pool, recordsUnder, signal } from '../transfer/stores.ts';

const common = { pollMs: 25, callDeadlineMs: 20_000 };
const { compareSides, repairSides, readConflicts, writeConflictBack } = createSidesActivities({ pool, ...common });

class Fleet {
  readonly sides: PlacementRef[];
  #epoch = 0;

  private constructor(sides: PlacementRef[]) {
    this.sides = sides;
  }

  static async of(names: readonly ProviderType[]): Promise<Fleet> {
    const uid = randomBytes(16).toString('hex');
    return new Fleet(await Promise.all(names.map((name) => registryOf(name, uid))));
  }

  at(name: ProviderType): PlacementRef {
    const found = this.sides.find(({ provider }) => provider === name);
    if (!found) throw new Error(`no side ${name}`);
    return found;
  }

  /** One pump that compares all sides once. */
  pass({
    topology = 'mesh',
    mode = 'active-active',
    from = pool,
    ...rest
  }: Partial<ReplicateSidesInput> & {
    topology?: (typeof topologies)[number];
    mode?: 'active-active' | 'active-passive';
    from?: ProviderPool;
  } = {}): Promise<PumpedSides> {
    const names = this.sides.map(({ provider }) => provider);
    const source = names[0] ?? '';
    const { replicateSides } = createReplicateActivities({ pool: from, ...common });
    return new MockActivityEnvironment().run(() =>
      replicateSides({
        sides: this.sides,
        edges: edgesOf(names, { mode, source, topology }),
        rule: mode === 'active-passive' ? 'source-wins' : 'last-write-wins',
        source,
        tombstoneMs: 3_600_000,
        feeds: [],
        epoch: ++this.#epoch,
        forMs: 0,
        compareMs: 60_000,
        callsPerSecond: 5000,
        ...rest,
      }),
    ) as Promise<PumpedSides>;
  }

  devices(): Promise<Map<string, Device>[]> {
    return Promise.all(this.sides.map(devicesAt));
  }

  change(name: ProviderType, id: string, change: Parameters<(typeof operators)['aws']['change']>[2]): Promise<void> {
    return operators[name].change(this.at(name), id, change);
  }

  remove(name: ProviderType, id: string): Promise<void> {
    return operators[name].remove(this.at(name), id);
  }

  /** What was logged as the loser of a conflict, by the ID of the device. */
  async conflicts(): Promise<Conflict[]> {
    const all = await Promise.all(
      this.sides.map(({ owner, provider, providerType, region, account }) =>
        new MockActivityEnvironment().run(() =>
          readConflicts({
            owner,
            place: { provider, providerType, region, account },
            since: 0,
            until: Date.now() + 60_000,
          }),
        ),
      ),
    );
    return (all as { conflicts: Conflict[] }[]).flatMap(({ conflicts }) => conflicts);
  }

  /** Compares all sides, as `verify` does. */
  async compare(): Promise<ComparedSides> {
    const environment = new MockActivityEnvironment();
    return (await environment.run(() => compareSides({ ...this.#compared, settleMs: 10 }))) as ComparedSides;
  }

  async repair(report: string): Promise<RepairedSides> {
    return (await new MockActivityEnvironment().run(() => repairSides({ ...this.#compared, report }))) as RepairedSides;
  }

  get #compared() {
    const source = this.sides[0]?.provider ?? '';
    return { sides: this.sides, name: 'compared', rule: 'last-write-wins' as const, source, callsPerSecond: 5000 };
  }

  /** Where two sides differ about what replication carries. */
  async differences(): Promise<string[]> {
    const [first = new Map<string, Device>(), ...others] = await this.devices();
    return others.flatMap((other, at) =>
      [...new Set([...first.keys(), ...other.keys()])].flatMap((id) => {
        const [a, b] = [first.get(id), other.get(id)];
        const name = `${id} on ${this.sides[at + 1]?.provider}`;
        if (!a || !b) return [`${name}: ${a ? 'missing' : 'extra'}`];
        return carried
          .filter((field) => comparable(a, field) !== comparable(b, field))
          .map((field) => `${name}: ${field} ${comparable(b, field)}, not ${comparable(a, field)}`);
      }),
    );
  }
}

const sum = (report: PumpedSides, of: 'applied' | 'conflicts' | 'errors'): number =>
  report.directions.reduce((total, one) => total + one[of], 0);

const ids = { prefix: '' };
beforeEach(() => {
  ids.prefix = `p${randomBytes(3).toString('hex')}`;
});
const named = (name: string): string => `${ids.prefix}-${name}`;
const wanted = (name: string, more: Partial<Wanted> = {}): Wanted => ({ id: named(name), ...more });

/** `npm test` goes one way of each kind. */
const ways = (kind: string): { id: string; from: ProviderType; to: ProviderType }[] =>
  chosen(
    pairs.map(([from, to]) => ({ id: `${kind} ${from} ${to}`, from, to })),
    () => kind,
  );

describe.each(ways('registries'))('$from and $to', ({ from, to }) => {
  it('hold the same after each change, whichever of them was changed, without an echo', async () => {
    const fleet = await Fleet.of([from, to]);
    await fill[from](fleet.at(from), [
      wanted('plain', { attributes: { site: 'Halle 3', model: 'm-1' }, groups: ['pumps'], desired: { interval: 5 } }),
      wanted('off', { status: 'disabled' }),
    ]);
    await fill[to](fleet.at(to), [wanted('there', { desired: { limits: { low: 1, high: [1, 2.5] } } })]);
    const first = await fleet.pass();
    expect(await fleet.differences()).toEqual([]);
    expect([sum(first, 'applied'), sum(first, 'conflicts'), sum(first, 'errors')]).toEqual([3, 0, 0]);
    expect((await fleet.devices()).map((all) => all.get(named('off'))?.status)).toEqual(['disabled', 'disabled']);

    await fleet.change(to, named('plain'), { attributes: { site: 'Halle 4' }, desired: { interval: 9, night: true } });
    await fleet.change(from, named('there'), { status: 'disabled', joins: 'pumps' });
    const second = await fleet.pass();
    expect(await fleet.differences()).toEqual([]);
    expect([sum(second, 'applied'), sum(second, 'errors')]).toEqual([2, 0]);
    const [here] = await fleet.devices();
    expect(here?.get(named('plain'))).toMatchObject({
      attributes: { site: 'Halle 4', model: 'm-1' },
      groups: ['pumps'],
      desired: { interval: 9, night: true },
    });
    expect(here?.get(named('there'))).toMatchObject({ status: 'disabled', groups: ['pumps'] });

    await fleet.change(from, named('there'), { status: 'enabled', leaves: 'pumps' });
    await fleet.remove(to, named('plain'));
    await fleet.remove(from, named('off'));
    const third = await fleet.pass();
    expect(await fleet.differences()).toEqual([]);
    expect((await fleet.devices()).map((all) => [...all.keys()])).toEqual([[named('there')], [named('there')]]);
    expect(sum(third, 'applied')).toBe(3);

    // Nothing is brought twice, and nothing comes back.
    const last = await fleet.pass();
    expect([sum(last, 'applied'), sum(last, 'conflicts'), sum(last, 'errors')]).toEqual([0, 0, 0]);
    expect(await fleet.differences()).toEqual([]);
  }, 60_000);
});

/** The same but for what is given. */
const otherwise = <T extends object>(of: T, own: Partial<T>): T =>
  new Proxy(of, {
    get(target, name) {
      const value = Reflect.get(name in own ? own : target, name) as unknown;
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });

/** A worker that dies before it makes its n-th change at a registry. */
function dying(at: ProviderType, changes: number): ProviderPool {
  let left = changes;
  const mortal =
    (ask: Ask): Ask =>
    (operation, resource, request) => {
      const changing = !/:(Describe|List|Get)|(read|query)$|objects\.(get|list)/.test(operation);
      if (changing && left-- <= 0)
        throw new CloudError({ kind: 'PermissionDenied', provider: at, operation, resource });
      return ask(operation, resource, request);
    };
  return otherwise(pool, {
    get: async (name) => {
      const provider = await pool.get(name);
      const devices: Provider['devices'] = (placement, ask, signal) => provider.devices(placement, mortal(ask), signal);
      return name === at ? otherwise(provider, { devices }) : provider;
    },
  });
}

describe.each(ways('dying'))('$from and $to', ({ from, to }) => {
  it('end the same, and as the user wants it, wherever a worker dies between the calls of one change', async () => {
    const fleet = await Fleet.of([from, to]);
    const identities = { identity: await identity(named('a')) };
    await fill[from](fleet.at(from), [
      wanted('a', { ...identities, groups: ['pumps'], attributes: { n: '0' } }),
      wanted('b', { groups: ['pumps'] }),
    ]);
    let deaths = 0;
    /** As often as it dies one call later, until it does no more. */
    const through = async (): Promise<void> => {
      for (let changes = 0; changes < 40; changes++) {
        const died = await fleet.pass({ from: dying(to, changes) }).then(
          () => false,
          () => true,
        );
        if (!died) return;
        deaths++;
      }
      throw new Error('it never ends');
    };
    await through();
    expect(await fleet.differences()).toEqual([]);
    await fleet.change(from, named('a'), {
      status: 'disabled',
      desired: { interval: 3 },
      attributes: { n: '1' },
      joins: 'north',
      leaves: 'pumps',
    });
    await fleet.remove(from, named('b'));
    await through();
    expect(deaths).toBeGreaterThan(3);
    expect(await fleet.differences()).toEqual([]);
    const [here, there] = await fleet.devices();
    expect([...(here?.keys() ?? [])]).toEqual([named('a')]);
    expect(there?.get(named('a'))).toMatchObject({
      status: 'disabled',
      desired: { interval: 3 },
      attributes: { n: '1' },
      groups: ['north'],
    });
    const last = await fleet.pass();
    expect([sum(last, 'applied'), sum(last, 'conflicts')]).toEqual([0, 0]);
    expect(await fleet.conflicts()).toEqual([]);
  }, 120_000);
});

describe('a ring of three', () => {
  let fleet: Fleet;
  beforeAll(async () => {
    fleet = await Fleet.of(['aws', 'azure', 'gcp']);
  }, 60_000);
  const around = () => fleet.pass({ topology: 'ring' });

  it('passes on what each of them changes, once', async () => {
    for (const name of ['aws', 'azure', 'gcp'] as const) await fill[name](fleet.at(name), [wanted(`of-${name}`)]);
    const first = await around();
    expect(await fleet.differences()).toEqual([]);
    expect([sum(first, 'applied'), sum(first, 'errors')]).toEqual([6, 0]);
    for (const name of ['aws', 'azure', 'gcp'] as const)
      await fleet.change(name, named(`of-${name}`), { desired: { by: name } });
    await fleet.remove('gcp', named('of-aws'));
    expect(sum(await around(), 'applied')).toBeGreaterThanOrEqual(4);
    expect(await fleet.differences()).toEqual([]);
    const last = await around();
    expect([sum(last, 'applied'), sum(last, 'conflicts')]).toEqual([0, 0]);
  }, 60_000);

  it('lets the later of two changes stand, logs the other, and takes it back where it is asked to', async () => {
    await fill.gcp(fleet.at('gcp'), [wanted('both', { attributes: { site: 'one' } })]);
    await around();
    await fleet.change('azure', named('both'), { attributes: { site: 'two' } });
    await pause(20);
    await fleet.change('gcp', named('both'), { attributes: { site: 'three' } });
    await around();
    expect(await fleet.differences()).toEqual([]);
    const siteOf = async () => (await fleet.devices()).map((all) => all.get(named('both'))?.attributes.site);
    expect(await siteOf()).toEqual(['three', 'three', 'three']);
    const lost = (await fleet.conflicts()).filter(({ key }) => key === named('both'));
    expect(lost.map(({ sides, winner }) => [sides, winner.on])).toEqual([[['azure'], 'gcp']]);
    const places = fleet.sides.map(({ provider, providerType, region, account }) => ({
      ...{ provider, providerType, region, account },
    }));
    await new MockActivityEnvironment().run(() =>
      writeConflictBack({ id: lost[0]?.id ?? '', places, sides: fleet.sides }),
    );
    await around();
    expect(await siteOf()).toEqual(['two', 'two', 'two']);
    expect(await fleet.differences()).toEqual([]);
  }, 60_000);

  it('is compared and repaired by the same code as objects', async () => {
    const { objects } = await fleet.compare();
    expect(await fleet.compare()).toMatchObject({ same: objects, report: '' });
    await fill.azure(fleet.at('azure'), [wanted('new')]);
    const found = await fleet.compare();
    expect(found.sides.map(({ different }) => different)).toEqual([{ missing: 1 }, {}, { missing: 1 }]);
    const { sides } = await fleet.repair(found.report);
    expect(sides.map(({ copied, failed }) => [copied.objects, failed])).toEqual([
      [1, 0],
      [0, 0],
      [1, 0],
    ]);
    expect(await fleet.compare()).toMatchObject({ same: objects + 1, report: '' });
    const after = await around();
    expect([sum(after, 'applied'), sum(after, 'conflicts')]).toEqual([0, 0]);
  }, 60_000);
});

describe('azure and gcp, one of which takes the changes', () => {
  const passive = { mode: 'active-passive' as const };

  it('names what the other cloud cannot hold, and leaves it, whatever passes come', async () => {
    const fleet = await Fleet.of(['azure', 'gcp']);
    await fill.azure(fleet.at('azure'), [wanted('key', { credential: 'key' }), wanted('plain')]);
    for (let passes = 0; passes < 2; passes++) {
      const report = await fleet.pass(passive);
      expect(report.directions).toMatchObject([{ errors: 1, conflicts: 0 }]);
    }
    const [, gcp] = await fleet.devices();
    expect([...(gcp?.keys() ?? [])]).toEqual([named('plain')]);
    const [errors] = await recordsUnder(fleet.at('azure'), errorsKey('iot_core', 'azure'));
    expect(Buffer.from(errors?.[1] ?? '').toString()).toMatch(/key: a symmetric key does not leave the cloud/);
  }, 60_000);

  it('leaves each cloud what is its own: what it tells devices from us, reported state, the form of tags', async () => {
    const fleet = await Fleet.of(['azure', 'gcp']);
    await fill.azure(fleet.at('azure'), [
      wanted('typed', { attributes: { floor: 3, site: { hall: 'B', doors: [1, 2] } }, reported: { firmware: '1' } }),
    ]);
    await fleet.pass();
    const [azure, gcp] = await Promise.all(
      fleet.sides.map(async (side) =>
        (await pool.get(side.provider)).devices(side, (_o, _r, request) => request(), signal),
      ),
    );
    await azure?.tell(named('typed'), { ...noTexts, redirect: 'mc1.here' });
    await gcp?.tell(named('typed'), { ...noTexts, claim: 'mc1.there' });
    const idle = await fleet.pass();
    expect(sum(idle, 'applied')).toBe(0);
    await fleet.change('gcp', named('typed'), { desired: { interval: 4 }, attributes: { floor: '4' } });
    await fleet.pass();
    expect(await fleet.differences()).toEqual([]);
    const [here, there] = (await fleet.devices()).map((all) => all.get(named('typed')));
    expect(here).toMatchObject({ desired: { interval: 4, redirect: 'mc1.here' }, reported: { firmware: '1' } });
    expect(there).toMatchObject({ desired: { interval: 4, claim: 'mc1.there' }, reported: {} });
    expect(await tagsOf(fleet.at('azure'), named('typed'))).toMatchObject({
      floor: '4',
      site: { hall: 'B', doors: [1, 2] },
    });
  }, 60_000);

  it('take what both hold already, as after a copy, for the same, and log nothing', async () => {
    const fleet = await Fleet.of(['azure', 'gcp']);
    const same = await Promise.all(
      ['a', 'b'].map(async (name) => wanted(name, { identity: await identity(named(name)), groups: ['pumps'] })),
    );
    for (const name of ['azure', 'gcp'] as const) await fill[name](fleet.at(name), same);
    await fleet.change('gcp', named('b'), { attributes: { site: 'north' } });
    const first = await fleet.pass({ maxDeletes: 1 });
    expect(await fleet.differences()).toEqual([]);
    expect([first.held, sum(first, 'conflicts')]).toEqual([[], 1]);
    expect((await fleet.conflicts()).map(({ key }) => key)).toEqual([named('b')]);
    expect(sum(await fleet.pass(), 'applied')).toBe(0);
  }, 60_000);

  it('are not emptied together: the brake holds, and what is left comes back where that is asked', async () => {
    const fleet = await Fleet.of(['azure', 'gcp']);
    const all = Array.from({ length: 30 }, (_, n) => wanted(`n${n}`));
    await fill.azure(fleet.at('azure'), all);
    await fleet.pass();
    for (const { id } of all) await fleet.remove('azure', id);
    const { held } = await fleet.pass();
    expect(held).toMatchObject([{ direction: { from: 'azure', to: 'gcp' }, does: 'delete', limit: 20 }]);
    expect((await fleet.devices()).map(({ size }) => size)).toEqual([0, 10]);
    await fleet.pass({ restore: ['azure'] });
    expect((await fleet.devices()).map(({ size }) => size)).toEqual([10, 10]);
    expect(await fleet.differences()).toEqual([]);
  }, 60_000);
});
