/** Device registries that are kept in step by the same pump as objects: whatever is changed on one side comes to be so on the others. */
import { randomBytes } from 'node:crypto';
import { MockActivityEnvironment } from '@temporalio/testing';
import { createReplicateActivities } from '../../activities/replication/replicate.ts';
import { comparable, type Device } from '../../model/fleet.ts';
import { edgesOf, type PumpedSides, type ReplicateSidesInput, type topologies } from '../../model/replicate.ts';
import type { ProviderType } from '../../model/service.ts';
import type { PlacementRef } from '../../model/transfer.ts';
import { fill, registryOf, type Wanted } from '../fleet/fleets.ts';
import { carried, devicesAt, operators } from '../fleet/operators.ts';
import { pool } from '../transfer/stores.ts';

const { replicateSides } = createReplicateActivities({ pool, pollMs: 25, callDeadlineMs: 20_000 });

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
    ...rest
  }: Partial<ReplicateSidesInput> & {
    topology?: (typeof topologies)[number];
    mode?: 'active-active' | 'active-passive';
  } = {}): Promise<PumpedSides> {
    const names = this.sides.map(({ provider }) => provider);
    const source = names[0] ?? '';
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

describe.each<[ProviderType, ProviderType]>([
  ['azure', 'gcp'],
  ['gcp', 'aws'],
  ['aws', 'azure'],
])('%s and %s', (from, to) => {
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
