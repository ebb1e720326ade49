/**
 * Fleets go from each registry to each other: 300 devices with all that belongs to them, and one for each entry of the list
 * of what does not map, which must tell what really happens. `npm test` goes one way to each cloud, with fewer devices.
 */
import { randomBytes } from 'node:crypto';
import { fromLines } from '../../activities/transfer/files.ts';
import { claimReasons } from '../../model/device-claim.ts';
import { Outcome, shardDevices } from '../../model/fleet.ts';
import { fleetGaps, gapsBetween } from '../../model/fleet-mapping.ts';
import type { ProviderType } from '../../model/service.ts';
import type { PlacementRef } from '../../model/transfer.ts';
import { chosen, whole } from '../faults/choice.ts';
import { calls } from '../local/stack.ts';
import { pairs, recordsUnder } from '../transfer/stores.ts';
import { bucketOf, fill, registryOf, run, type Wanted } from './fleets.ts';

const count = whole ? 300 : 60;
const callsPerSecond = 2000;
const startedAt = new Date().toISOString();

/** Ordinary devices, all different. IDs are unique in an account of AWS, so each cloud has its own. */
const ordinary = (from: ProviderType): Wanted[] =>
  Array.from({ length: count }, (_, n) => ({
    id: `${from}-${String(n).padStart(3, '0')}`,
    status: n % 10 === 3 ? 'disabled' : 'enabled',
    groups: n % 3 === 0 ? ['pumps'] : n % 3 === 1 ? ['pumps', 'site:north'] : [],
    attributes: { model: `m-${n % 7}`, serial: `S/${n}` },
    desired: { interval: n, limits: { low: n % 5, high: [1, 2.5, 'x'] } },
    reported: n % 4 === 0 ? { firmware: `1.${n}`, ok: true } : {},
  }));

const large = { text: 'x'.repeat(3000), more: 'y'.repeat(3000), rest: 'z'.repeat(3000) };
/** For each entry of the list that a device can show, one that does. */
const odd: Record<ProviderType, Record<string, Wanted>> = {
  aws: {
    id: { id: '_aws-odd' },
    'no-credential': { id: 'aws-none', credential: 'none' },
    certificates: { id: 'aws-three', credential: 'three' },
    attributes: { id: 'aws-attributes', attributes: { site: 'a', 'site.hall': 'b' } },
    state: { id: 'aws-state', desired: { 'a.b': 1 } },
    permissions: { id: 'aws-permissions', policy: `own-${randomBytes(4).toString('hex')}` },
  },
  azure: {
    id: { id: 'azure@odd' },
    'no-certificate': { id: 'azure-print', credential: 'thumbprint' },
    sha1: { id: 'azure-sha1', credential: 'sha1' },
    key: { id: 'azure-key', credential: 'key' },
    'no-credential': { id: 'azure-none', credential: 'none' },
    attributes: { id: 'azure-attributes', attributes: { text: 'x'.repeat(900) } },
    groups: { id: 'azure-groups', groups: ['with space'] },
    state: { id: 'azure-state', desired: large },
    edge: { id: 'azure-edge', more: { capabilities: { iotEdge: true } } },
    parent: { id: 'azure-parent', more: { deviceScope: 'ms-azure-iot-edge://gateway-1' } },
    'status-reason': { id: 'azure-reason', status: 'disabled', more: { statusReason: 'stolen' } },
    encoded: { id: 'azure-encoded', attributes: { site: 'Halle Süd' } },
    'typed-tags': { id: 'azure-typed', attributes: { floor: 3, site: { hall: 'B', doors: [1, 2] }, open: true } },
  },
  gcp: {
    id: { id: 'gcp.odd' },
    'no-certificate': { id: 'gcp-authority', credential: 'authority' },
    attributes: { id: 'gcp-attributes', attributes: { 'price $': '7' } },
    groups: { id: 'gcp-groups', groups: ['with space'] },
    encoded: { id: 'gcp-encoded', attributes: { site: 'base64:dGVzdA' } },
    state: { id: 'gcp-state', desired: { ...large, 'a.b': 1 } },
  },
};

const sources = {} as Record<ProviderType, PlacementRef>;
beforeAll(async () => {
  for (const from of ['aws', 'azure', 'gcp'] as const) {
    sources[from] = await registryOf(from);
    await fill[from](sources[from], [...ordinary(from), ...Object.values(odd[from])]);
  }
});

const censusOf = (placement: PlacementRef, keptAt: PlacementRef, census: string, to: ProviderType | null = null) =>
  run('censusDevices', { placement, keptAt, census, to, callsPerSecond });

/** Everything a copy does, and what became of each device. */
async function copy(target: PlacementRef, transfer: string, shards: number) {
  const outcomes: Outcome[] = [];
  for (let shard = 0; shard < shards; shard++) {
    const { outcome } = await run('copyDevices', { target, transfer, startedAt, shard, callsPerSecond });
    for (const bytes of (await recordsUnder(target, outcome)).values())
      outcomes.push(...fromLines(bytes).map((line) => Outcome.parse(line)));
  }
  return outcomes;
}
const tally = (outcomes: readonly Outcome[]) =>
  Object.fromEntries(
    Map.groupBy(outcomes, ({ outcome }) => outcome)
      .entries()
      .map(([key, all]) => [key, all.length]),
  );

/** Whether a request went to a registry, and not to the records beside it. */
const isOf = (target: PlacementRef, host: string, path: string): boolean =>
  target.providerType === 'gcp' ? path.includes(bucketOf(target).name) : /^(iot|data-ats)\.|azure-devices/.test(host);

it('has a device for each entry of the list that one can show', () => {
  const shown = new Set(
    Object.entries(odd).flatMap(([from, devices]) => Object.keys(devices).map((name) => `${from} ${name}`)),
  );
  // No device API sets a model; the others are said of every device.
  const said = ['model', 'last-seen', 'versions', 'groups-aside', 'delivery'];
  const missing = fleetGaps
    .filter(({ name }) => !said.includes(name))
    .flatMap(({ name, from }) => from.map((one) => `${one} ${name}`))
    .filter((gap) => !shown.has(gap));
  expect(missing).toEqual([]);
});

const ways = chosen(
  pairs.map(([from, to]) => ({ id: `fleet from ${from} to ${to}`, from, to })),
  ({ to }) => to,
);
describe.each(ways)('from $from to $to', ({ from, to }) => {
  let target: PlacementRef;
  const total = count + Object.keys(odd[from]).length;
  const gaps = gapsBetween(from, to);
  const stays = Object.entries(odd[from]).filter(([name]) =>
    gaps.some((gap) => gap.name === name && gap.becomes === 'refused'),
  );
  let shards = 0;

  beforeAll(async () => {
    target = await registryOf(to);
  });

  it('lists first what the target cannot hold, with the reasons that are published', async () => {
    const census = await censusOf(sources[from], target, 'first', to);
    expect(census).toMatchObject({ devices: total, credentials: { certificates: expect.any(Number) } });
    expect(census.refused).toEqual(Object.fromEntries(stays.map(([name]) => [name, 1])));
    const mended = stays.filter(([name]) => claimReasons.some((reason) => reason === name));
    expect(census.claims ?? {}).toEqual(Object.fromEntries(mended.map(([name]) => [name, 1])));
    const named = [...(await recordsUnder(target, census.refusedFiles || 'none')).values()].flatMap(fromLines);
    // Those that another certificate mends come first.
    expect(new Set(named.slice(0, mended.length).map((line) => (line as { why: string }).why))).toEqual(
      new Set(mended.map(([name]) => name)),
    );
    expect(new Set(named.map((line) => (line as { id: string }).id))).toEqual(new Set(stays.map(([, { id }]) => id)));
    shards = census.shards;
    expect(shards).toBeGreaterThanOrEqual(total / shardDevices);
  });

  it('copies every other device; what differs afterwards is what was refused', async () => {
    const outcomes = await copy(target, 'first', shards);
    expect(tally(outcomes)).toEqual({
      moved: total - stays.length,
      ...(stays.length > 0 && { refused: stays.length }),
    });
    for (const [name, { id }] of stays)
      expect(outcomes.find((one) => one.id === id)).toMatchObject({
        outcome: 'refused',
        why: expect.stringMatching(`^${name}`),
      });
    for (const { name } of gaps.filter(({ becomes }) => becomes === 'lost')) {
      const device = odd[from][name];
      if (device) expect(outcomes.find(({ id }) => id === device.id)?.without).toEqual([name]);
    }
    const there = await censusOf(target, target, 'there');
    expect(there.devices).toBe(total - stays.length);
    const diff = await run('diffDevices', { keptAt: target, left: 'first', right: 'there' });
    expect(diff).toMatchObject({
      same: total - stays.length,
      different: stays.length > 0 ? { missing: stays.length } : {},
    });
    expect(there.disabled).toBeGreaterThanOrEqual(count / 10);
  });

  it('copies nothing a second time', async () => {
    const again = await censusOf(sources[from], target, 'again', to);
    const since = (await calls()).at(-1)?.id ?? 0;
    const outcomes = await copy(target, 'again', again.shards);
    expect(tally(outcomes)).toEqual({
      there: total - stays.length,
      ...(stays.length > 0 && { refused: stays.length }),
    });
    const changes = (await calls({ since, mutating: true, cloud: to })).filter(
      ({ status, path, host }) => status !== undefined && status < 400 && isOf(target, host, path),
    );
    expect(changes.map(({ method, host, path }) => `${method} ${host}${path}`)).toEqual([]);
  });

  it('takes back what it has made, and nothing else', async () => {
    const own: Wanted = { id: `${to}-own-${from}`, attributes: { model: 'own' } };
    await fill[to](target, [own]);
    const undone = { target, startedAt, callsPerSecond };
    const remove = async (transfer: string) => {
      let removed = 0;
      for (let shard = 0; shard < shards; shard++)
        removed += (await run('removeCopiedDevices', { ...undone, transfer, shard })).removed;
      return removed;
    };
    expect(await remove('again')).toBe(0);
    expect(await remove('first')).toBe(total - stays.length);
    expect(await remove('first')).toBe(0);
    const left = await censusOf(target, target, 'left');
    expect(left).toMatchObject({ devices: 1, first: [{ id: own.id }] });
  });
});
