/**
 * A fleet of the sample agent moves from one local cloud to another and back, over MQTT and mutual TLS, while it talks: every
 * acknowledged message arrives, each once, and each device is on one cloud.
 */
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { type AgentEvent, DeviceAgent, usualTimes } from '../../client/device-agent/agent.ts';
import { EstateClient, OperationFailed, type OperationHandle } from '../../client/index.ts';
import { sampleZone } from '../../emulators/environment.ts';
import type { WaitingFor } from '../../model/decisions.ts';
import { type DeviceEndpoint, deviceEndpoint } from '../../model/device-endpoint.ts';
import type { ProviderType } from '../../model/service.ts';
import { type PlacementRef, placementRef } from '../../model/transfer.ts';
import { until } from '../device-agent/keys.ts';
import { authoritiesFile, suffixes } from '../device-agent/places.ts';
import { chosen, whole } from '../faults/choice.ts';
import { fill, type Identity, identity, type Wanted } from '../fleet/fleets.ts';
import { localRun } from '../local/stack.ts';
import { FleetReader } from './fleet-readers.ts';
import { type OwnWorker, ownWorker, quietTemporal, writeEstate } from './own-worker.ts';

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

class Device {
  readonly id: string;
  readonly events: (AgentEvent & { at: number })[] = [];
  readonly #agent: DeviceAgent;
  readonly #running: Promise<void>;
  readonly #timer: NodeJS.Timeout;

  constructor(id: string, { pem, key }: Identity, endpoint: DeviceEndpoint) {
    const [current, next] = localRun().redirectPins ?? ['', ''];
    this.id = id;
    mkdirSync(join(folder, id), { recursive: true });
    this.#agent = new DeviceAgent({
      ...{ estate: name, device: id, certificate: pem, key, cohorts: [], pins: [current, next], suffixes, endpoint },
      authorities: [readFileSync(authoritiesFile(), 'utf8')],
      stateFile: join(folder, id, 'state.json'),
      outbox: { limit: 1000 },
      times: { ...usualTimes, connectMs: 10_000, trialMs: 30_000, returnMs: 2000, retryMs: 300 },
      onEvent: (event) => this.events.push({ at: Date.now(), ...event }),
    });
    this.#running = this.#agent.run();
    this.#timer = setInterval(() => this.#agent.send({ temperature: 21.5 }), 1000);
  }

  /** Where it is connected now. */
  get dialect(): string {
    const last = this.events.findLast(({ event }) => event === 'connected' || event === 'closed');
    return last?.event === 'connected' ? last.dialect : '';
  }

  get acknowledged(): string[] {
    return this.events.flatMap((one) => (one.event === 'acknowledged' ? [one.key] : []));
  }

  /** Says nothing more, and ends when all was acknowledged. */
  async end(): Promise<void> {
    clearInterval(this.#timer);
    await until(`${this.id} has nothing left to say`, () => this.#agent.waiting.messages === 0);
    await this.stop();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#agent.stop();
    await this.#running;
  }
}

const serviceOn = (preferred: string[]) => ({
  ...{ type: 'iot_core', redundancy: 1, preferred_providers: preferred, protect: false },
});

async function asked(handle: OperationHandle, question: string): Promise<WaitingFor> {
  for (;;) {
    const { waitingFor, blocked } = await handle.progress();
    const one = waitingFor.find((each) => each.question === question);
    if (one) return one;
    if (waitingFor.length > 0 || blocked) throw new Error(blocked ?? waitingFor[0]?.text);
    const { status } = await worker.client.workflow.getHandle(handle.workflowId).describe();
    if (status.name !== 'RUNNING') await handle.result();
    await setTimeout(100);
  }
}

beforeAll(async () => {
  quietTemporal();
  const file = join(folder, 'estate.yaml');
  writeEstate(file, name, Object.fromEntries(mine.map((one) => [one.service, serviceOn([one.from, one.to])])));
  const written = JSON.parse(readFileSync(file, 'utf8'));
  writeFileSync(file, JSON.stringify({ ...written, traffic: { zone: sampleZone, dns: 'gcp', ttl: '2s' } }));
  const waits = { callDeadlineMs: 10_000, settleMs: 1000, blockedMs: 500, followMs: 300, fenceMs: 300 };
  worker = await ownWorker(`fleets-${suffix}`, file, undefined, undefined, waits, undefined, (real) => real);
  estate = new EstateClient(worker.client, name, '');
}, 120_000);
/** What a test that failed has left running. */
const open: { stop(): Promise<void> }[] = [];
afterAll(async () => {
  await Promise.all(open.map((one) => one.stop()));
  await worker.close();
}, 60_000);

async function placed(service: string, provider: string): Promise<{ ref: PlacementRef; endpoint: DeviceEndpoint }> {
  const [record, { uid = '' } = {}] = await Promise.all([estate.service(service), estate.estate()]);
  const found = record?.placements.find((one) => one.provider === provider);
  const endpoint = found && deviceEndpoint({ placement: found, estate: name, uid, service });
  if (!found || !endpoint) throw new Error(`${service} is not on ${provider}`);
  const { namespaceInfo } = await worker.client.workflowService.describeNamespace({ namespace: `fleets-${suffix}` });
  return { ref: placementRef({ estate: name, service, uid, controller: namespaceInfo?.id ?? '' }, found), endpoint };
}

interface Running {
  source: { ref: PlacementRef; endpoint: DeviceEndpoint };
  identities: Identity[];
  fleet: Device[];
  reader: FleetReader;
}

/** The service on its source, with a fleet that talks, and somebody who reads what it says. */
async function running(service: string, from: ProviderType): Promise<Running> {
  const deployed = await estate.deployService(service, { file: { services: { [service]: serviceOn([from]) } } });
  expect(await deployed.result()).toMatchObject({ outcome: 'done', placements: [{ provider: from }] });
  const source = await placed(service, from);
  const identities = await Promise.all(Array.from({ length: count }, (_, n) => identity(`${service}-${n}`)));
  const wanted = identities.map((own, n): Wanted => ({ id: `${service}-${n}`, identity: own, groups: ['pumps'] }));
  await fill[from](source.ref, [...wanted, { id: `${service}-off`, status: 'disabled' }]);
  const fleet = wanted.map(({ id }, n) => new Device(id, identities[n] as Identity, source.endpoint));
  const reader = new FleetReader(estate, service);
  open.push(reader, ...fleet);
  await until('all talk', () => fleet.every(({ acknowledged }) => acknowledged.length > 3));
  return { source, identities, fleet, reader };
}

/** Each message that a cloud has acknowledged came once, and each device was on one cloud at a time. */
async function expectAll({ fleet, reader }: Running, others: readonly Device[] = []): Promise<void> {
  await Promise.all(fleet.map((device) => device.end()));
  const keys = [...fleet, ...others].flatMap(({ acknowledged }) => acknowledged);
  await until('all has arrived', () => keys.every((key) => reader.delivered.has(key)));
  expect(keys.filter((key) => reader.delivered.get(key) !== 1)).toEqual([]);
  await reader.stop();
  for (const { events } of fleet) {
    const moves = events.flatMap(({ event }) => (event === 'connected' || event === 'closed' ? [event] : []));
    expect(moves).toEqual(moves.map((_, n) => (n % 2 === 0 ? 'connected' : 'closed')));
    expect(events.filter(({ event }) => event === 'refused')).toEqual([]);
  }
}

const placesOf = (fleet: readonly Device[]): string[] => [...new Set(fleet.map(({ dialect }) => dialect))];

async function remove(service: string): Promise<void> {
  const removed = await estate.remove({ service, confirm: `${name}/${service}` });
  expect(await removed.result()).toMatchObject({ outcome: 'done', orphans: [] });
}

const select = (end: string) => mine.filter((one) => one.end === end);

it.each(select('undone in the soak'))(
  'from $id: what was acknowledged arrives once',
  async ({ service, from, to }) => {
    const run = await running(service, from);
    const { fleet } = run;
    const migration = await estate.migrate({
      ...{ service, from, to, soak: '1h', by: 'ann' },
      ...{ waves: [10, 100], wave_window: '60s', wave_seen: 1, wave_rate: 0, wave_errors: 10 },
    });
    const cutover = await asked(migration, 'cutover');
    expect(placesOf(fleet)).toEqual([from]);
    await migration.approve({ by: 'ann', plan: cutover.plan });
    const back = await asked(migration, 'undo');
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
    await remove(service);
  },
  240_000,
);

const failing = select('done after a wave that came back');
if (failing.length > 0)
  it.each(failing)(
    'from $id: what was acknowledged arrives once',
    async ({ service, from, to }) => {
      const run = await running(service, from);
      const { fleet, source, identities } = run;
      const migration = await estate.migrate({
        ...{ service, from, to, soak: '5s', source_retention: '1h', by: 'ann' },
        ...{ waves: [100], wave_window: '60s', wave_seen: 1, wave_rate: 0, wave_errors: 10, canary: false },
      });
      const cutover = await asked(migration, 'cutover');
      // It was awake a moment ago, and is not heard of again.
      const [first] = fleet as [Device];
      await first.stop();
      await migration.approve({ by: 'ann', plan: cutover.plan });
      const failed = await asked(migration, 'devices');
      expect(failed.text).toContain('11 of 12 that were awake');
      expect(failed.text).toContain(`1 were not seen: ${first.id}`);
      expect(failed.text).toContain('Those that had arrived are back');
      expect(placesOf(fleet.slice(1))).toEqual([from]);
      const again = new Device(first.id, identities[0] as Identity, source.endpoint);
      open.push(again);
      fleet[0] = again;
      await until('it talks again', () => again.acknowledged.length > 3);
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
      await remove(service);
    },
    400_000,
  );
