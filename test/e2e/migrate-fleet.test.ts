/**
 * A fleet of the sample agent moves from one local cloud to another and back, over MQTT and mutual TLS, while it talks: every
 * acknowledged message arrives, each once, and each device is on one cloud.
 */
import { randomBytes } from 'node:crypto';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { EstateClient, OperationFailed } from '../../client/index.ts';
import { sampleZone } from '../../emulators/environment.ts';
import type { ProviderType } from '../../model/service.ts';
import { until } from '../device-agent/keys.ts';
import { chosen, whole } from '../faults/choice.ts';
import { fill, type Identity, identity, type Wanted } from '../fleet/fleets.ts';
import { type OwnWorker, ownWorker, quietTemporal, writeEstate } from './own-worker.ts';
import { Device, expectAll, placesOf, serviceOn, TalkingFleets } from './talking-fleet.ts';

const clouds: ProviderType[] = ['azure', 'gcp', 'aws'];
/** The second takes minutes, and is for the whole matrix alone. */
const ends = ['undone in the soak', ...(whole ? ['done after a wave that came back'] : [])];
const cases = clouds.flatMap((from) =>
  clouds
    .filter((to) => to !== from)
    .flatMap((to) =>
      ends.map((end, at) => ({ id: `${from} to ${to}, ${end}`, from, to, end, service: `f${at}_${from}_${to}` })),
    ),
);
const mine = chosen(cases, ({ end }) => end);
const count = 12;
const name = 'fleets';
const suffix = randomBytes(3).toString('hex');
const folder = mkdtempSync(join(tmpdir(), 'fleet-'));

let worker: OwnWorker;
let estate: EstateClient;
let fleets: TalkingFleets;

beforeAll(async () => {
  quietTemporal();
  const file = join(folder, 'estate.yaml');
  writeEstate(file, name, Object.fromEntries(mine.map((one) => [one.service, serviceOn([one.from, one.to])])), {
    traffic: { zone: sampleZone, dns: 'gcp', ttl: '2s' },
  });
  const waits = { callDeadlineMs: 10_000, settleMs: 1000, blockedMs: 500, followMs: 300, fenceMs: 300 };
  worker = await ownWorker({ namespace: `fleets-${suffix}`, estateFile: file, waits, moves: (real) => real });
  estate = new EstateClient(worker.client, name, '');
  fleets = new TalkingFleets({ client: worker.client, estate, namespace: `fleets-${suffix}`, folder });
}, 120_000);
afterAll(async () => {
  await fleets.stop();
  await worker.close();
}, 60_000);

const select = (end: string) => mine.filter((one) => one.end === end);

it.each(select('undone in the soak'))(
  'from $id: what was acknowledged arrives once',
  async ({ service, from, to }) => {
    const run = await fleets.running(service, from, count);
    const { fleet } = run;
    const migration = await estate.migrate({
      ...{ service, from, to, soak: '1h', by: 'ann' },
      ...{ waves: [10, 100], wave_window: '60s', wave_seen: 1, wave_rate: 0, wave_errors: 10 },
    });
    const cutover = await fleets.asked(migration, 'cutover');
    expect(placesOf(fleet)).toEqual([from]);
    await migration.approve({ by: 'ann', plan: cutover.plan });
    const back = await fleets.asked(migration, 'undo');
    expect(placesOf(fleet)).toEqual([to]);
    const { steps } = await migration.progress();
    expect(steps.find((one) => one.name === 'canary')?.detail).toBe('1 of 1 were seen there, 0 are not back');
    expect(steps.filter((one) => one.name.startsWith('wave')).map(({ detail }) => detail)).toEqual([
      expect.stringMatching(/^2 of 2 that were awake/),
      expect.stringMatching(/^10 of 10 that were awake/),
    ]);
    await setTimeout(3000);
    await migration.approve({ by: 'ann', plan: back.plan });
    const ended = await migration.result().catch((error: unknown) => error);
    expect(ended instanceof OperationFailed && [ended.type, ended.result?.orphans]).toEqual(['UndoRequested', []]);
    expect(placesOf(fleet)).toEqual([from]);
    expect((await estate.service(service))?.placements.map(({ provider }) => provider)).toEqual([from]);
    await expectAll(run);
    await fleets.remove(service);
  },
  400_000,
);

const failing = select('done after a wave that came back');
if (failing.length > 0)
  it.each(failing)(
    'from $id: what was acknowledged arrives once',
    async ({ service, from, to }) => {
      const run = await fleets.running(service, from, count);
      const { fleet, source, identities } = run;
      const migration = await estate.migrate({
        ...{ service, from, to, soak: '5s', source_retention: '1h', by: 'ann' },
        ...{ waves: [100], wave_window: '60s', wave_seen: 1, wave_rate: 0, wave_errors: 10, canary: false },
      });
      const cutover = await fleets.asked(migration, 'cutover');
      // It was awake a moment ago, and is not heard of again.
      const [first] = fleet as [Device];
      await first.stop();
      await migration.approve({ by: 'ann', plan: cutover.plan });
      const failed = await fleets.asked(migration, 'devices');
      expect(failed.text).toContain('11 of 12 that were awake');
      expect(failed.text).toContain(`1 were not seen: ${first.id}`);
      expect(failed.text).toContain('Those that had arrived are back');
      expect(placesOf(fleet.slice(1))).toEqual([from]);
      const again = new Device(first.id, identities[0] as Identity, source);
      fleets.open.push(again);
      fleet[0] = again;
      await until('it talks again', () => again.acknowledged.length > 3);
      // One that is registered where they come from after the last census goes with them.
      const late: Wanted = { id: `${service}-late`, identity: await identity(`${service}-late`) };
      await fill[from](source.ref, [late]);
      const newborn = new Device(late.id, late.identity as Identity, source);
      fleets.open.push(newborn);
      fleet.push(newborn);
      await migration.decide({ question: 'devices', answer: 'retry', by: 'ann', plan: failed.plan });
      expect(await migration.result()).toMatchObject({ outcome: 'done', placements: [{ provider: to }], orphans: [] });
      expect(placesOf(fleet)).toEqual([to]);
      const { placements = [] } = (await estate.service(service)) ?? {};
      expect(placements.map(({ provider, role, removeAt }) => [provider, role, removeAt !== undefined]).sort()).toEqual(
        [
          [from, 'retained', true],
          [to, 'current', false],
        ].sort(),
      );
      await expectAll(run, [first]);
      await fleets.remove(service);
    },
    400_000,
  );
