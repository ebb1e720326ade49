/**
 * The story of a fleet that moves, against clouds that do what they are told: who is told to go when, what becomes of a wave that
 * does not arrive, and that nothing is taken away from devices that are still there. The engine has suites of its own.
 */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { CancelledFailure, Context } from '@temporalio/activity';
import { ApplicationFailure, WorkflowFailedError, type WorkflowHandle } from '@temporalio/client';
import { authority } from '../../emulators/certificates.ts';
import type { SendAlertInput } from '../../model/alert.ts';
import { alertLines } from '../../model/alert-text.ts';
import type { AskClaimsInput, AskedClaims, IssuedCertificates } from '../../model/device-claim.ts';
import type { EndpointRecord } from '../../model/endpoint-record.ts';
import type { CopyDevicesInput, DiffDevicesInput } from '../../model/fleet.ts';
import {
  bulkQueue,
  type OperationResult,
  providerQueue,
  taskQueue,
  urgentQueue,
  watchQueue,
} from '../../model/operations.ts';
import type { AuditEntry, Progress } from '../../model/progress.ts';
import { applyChange, type RecordChange, type RecordedPlacement, ServiceRecord } from '../../model/record.ts';
import type { Placement, ResourceSpec } from '../../model/service.ts';
import type { FollowedTelemetry, FollowTelemetryInput } from '../../model/telemetry-pump.ts';
import {
  type JudgedWave,
  type JudgeWaveInput,
  type PlanWaveInput,
  type SelectDevicesInput,
  type SendRedirectsInput,
  senderQueue,
} from '../../model/waves.ts';
import { Stage } from './stage.ts';

const _root = join(import.meta.dirname, '../..');

const outputs: Record<string, Record<string, string>> = {
  group: { endpoint: 'a1b2-ats.iot.us-west-2.amazonaws.com', group: 'g' },
  'server-key-pair': { serverName: 'core.broker.internal', certificate: 'PEM' },
};
const keys: Record<string, string> = { aws: 'group', gcp: 'server-key-pair' };
const spec = (provider: string): ResourceSpec => ({
  ...{ key: keys[provider] ?? '', kind: `${provider}.part`, name: `part-on-${provider}` },
  ...{ needs: [], desired: {}, holdsData: true },
});
const { desired: _, ...resource } = spec('aws');
const source: RecordedPlacement = {
  ...{ provider: 'aws', providerType: 'aws', type: 'iot_core', region: 'us-west-2', account: 'account-of-aws' },
  ...{ generation: 1, configuration: {}, role: 'current', monthlyCostUsd: 2.3 },
  resources: [{ ...resource, id: 'part-on-aws', outputs: outputs.group ?? {} }],
  ...{ endpoint: 'https://aws.test', health: 'healthy: answers', settlesAt: '' },
};
const devices = Array.from({ length: 10 }, (_, n) => `d${n}`);

/** Two clouds with a fleet between them, and everything that was done, in order. */
class World {
  readonly done: string[] = [];
  record: ServiceRecord = ServiceRecord.parse({
    ...{ v: 1, estate: 'fleets', service: 'iot_core', type: 'iot_core', status: 'running' },
    ...{ generations: { aws: 1 }, placements: [source] },
  });
  endpoint: EndpointRecord | null = {
    ...{ uid: '0'.repeat(32), service: 'iot_core', ttlSeconds: 1 },
    endpoints: [{ provider: 'aws', region: 'us-west-2', url: 'https://aws.test' }],
  };
  readonly fleet = new Map(devices.map((device) => [device, 'aws']));
  readonly registered = new Set<string>();
  /** Devices that came in at the target by themselves and are known there alone. */
  readonly born = new Set<string>();
  /** Devices that go nowhere, whatever they are told. */
  readonly stuck = new Set<string>();
  /** Devices that are heard of no more once they were told to go. */
  readonly lost = new Set<string>();
  /** Devices that need another certificate for the target; those that have sent a request; those for whom one was made. */
  readonly needing = new Set<string>();
  readonly answered = new Set<string>();
  readonly claimed = new Set<string>();
  readonly stayed = new Set<string>();
  authority = true;
  /** Who goes ahead. */
  canaries: string[] = [];
  /** Connections that go wrong in a wave. */
  errors = 0;
  /** What pumps of the source have heard of refused redirects. */
  refused: FollowedTelemetry['refused'];
  readonly alerts: SendAlertInput['alert'][] = [];
  readonly waves: string[][] = [];
  readonly sequences: number[] = [];
  readonly followers = new Set<string>();
  readonly instead = new Map<string, () => unknown>();

  async note<T>(what: string, answer: T): Promise<T> {
    this.done.push(what);
    const other = this.instead.get(what);
    return other ? ((await other()) as T) : answer;
  }

  bear(device: string): void {
    this.born.add(device);
    this.fleet.set(device, 'gcp');
  }

  /** Of the devices, those that the source has. */
  get atSource(): string[] {
    return [...this.fleet.keys()].filter((device) => !this.born.has(device));
  }

  at(provider: string): string[] {
    return [...this.fleet].flatMap(([device, where]) => (where === provider ? [device] : []));
  }

  readonly registry = {
    openEstate: async () => ({ uid: '0'.repeat(32), controller: 'test' }),
    readServices: async () => ({ iot_core: this.record }),
    readApplied: async () => undefined,
    alertChannels: async () => ['webhook-000000000000'],
    sendAlert: async ({ alert }: SendAlertInput) => {
      this.alerts.push(alert);
      return { how: 'sent' };
    },
    askToStandAside: async () => {},
    acquireService: async () => ({ granted: true, revision: this.record.revision }),
    releaseService: async () => ({ revision: this.record.revision }),
    writeService: async ({ request: { change } }: { request: { change: RecordChange } }) => {
      const before = this.record.migration?.stage;
      this.record = applyChange(this.record, change);
      if (change.kind !== 'migration') return;
      const stage = change.migration?.stage ?? 'over';
      const parts = change.roles.map((one) => `${one.provider} ${one.role}`);
      if (stage !== before || parts.length > 0) await this.note(`record ${[stage, ...parts].join(', ')}`, undefined);
    },
  };

  on(provider: string) {
    const at = ({ provider: of }: Placement) => of;
    return {
      account: async () => `account-of-${provider}`,
      inspectPlacement: async ({ placement }: { placement: Placement }) => ({
        specs: [spec(at(placement))],
        changes: [{ ...spec(at(placement)), action: 'create', drift: [] }],
        missing: [],
      }),
      ensureResource: async ({ placement }: { placement: Placement }) =>
        this.note(`create on ${at(placement)}`, {
          ...{ outcome: 'created', id: `part-on-${at(placement)}`, outputs: outputs[spec(at(placement)).key] },
          ...{ drift: [], unsettled: false, repeatable: true },
        }),
      removeResource: async ({ placement }: { placement: Placement }) => {
        expectNobody(this, at(placement));
        return this.note(`remove on ${at(placement)}`, 'gone');
      },
      verifyPlacement: async ({ placement }: { placement: Placement }) => ({
        ...{ failed: [], healthy: true, health: 'answers', endpoint: `https://${at(placement)}.test` },
      }),
      findStrays: async () => [],
      removeStrays: async () => [],
      appendAudit: async () => {},
      keepRecord: async () => {},
      ensureTelemetryFollower: async ({ placement }: { placement: Placement }) => {
        this.followers.add(at(placement));
        return { outcome: 'created' };
      },
      removeTelemetryFollower: async ({ placement }: { placement: Placement }) => {
        this.followers.delete(at(placement));
        return 'removed';
      },
      readEndpointRecord: async () => this.endpoint,
      inspectEndpointRecords: async () => ({ found: { iot_core: this.endpoint }, problems: [] }),
      writeEndpointRecord: async ({ record }: { record: EndpointRecord }) => {
        this.endpoint = record;
        return this.note(`endpoint ${record.endpoints.map((one) => one.provider)} ttl ${record.ttlSeconds}`, {
          ...{ before: null, changed: true },
        });
      },
    };
  }

  readonly devices = {
    censusDevices: async () => {
      const seen = this.fleet.size;
      return {
        devices: seen,
        disabled: 0,
        credentials: {},
        refused: {},
        partly: {},
        shards: 1,
        files: 'f',
        refusedFiles: '',
        first: [],
      };
    },
    copyDevices: async ({ transfer }: CopyDevicesInput) => {
      if (transfer.includes('-born-')) {
        const moved = this.born.size;
        for (const one of this.born) this.registered.add(one);
        this.born.clear();
        return this.note(`register ${moved} at home`, {
          ...{ moved, there: 0, differs: 0, refused: 0, failed: 0, left: [], outcome: 'o', table: 't' },
        });
      }
      const known = this.atSource.filter((one) => !this.registered.has(one));
      const stays = (one: string): boolean => this.needing.has(one) && !this.claimed.has(one);
      const fresh = known.filter((one) => !stays(one));
      for (const one of fresh) this.registered.add(one);
      const refused = known.filter((one) => stays(one) && !this.stayed.has(one));
      for (const one of refused) this.stayed.add(one);
      return this.note(`register ${fresh.length}`, {
        ...{ moved: fresh.length, there: 0, differs: 0, refused: refused.length, failed: 0, left: [] },
        ...{ outcome: 'o', table: 't' },
      });
    },
    removeCopiedDevices: async () => {
      expectNobody(this, 'gcp');
      const removed = this.registered.size;
      this.registered.clear();
      return removed > 0 ? this.note('unregister', { removed }) : { removed };
    },
    diffDevices: async ({ born }: DiffDevicesInput) =>
      this.note('compare', {
        ...{ same: this.registered.size, report: '', first: [] },
        different: this.born.size === 0 ? {} : { [born ? 'born' : 'extra']: this.born.size },
      }),
  };

  readonly watching = {
    censusDevices: this.devices.censusDevices,
    selectDevices: async ({ claims, born }: SelectDevicesInput) => {
      if (born) return { devices: this.born.size, shards: Math.min(1, this.born.size) };
      const fresh = this.atSource.filter((one) => !this.registered.has(one) && !this.stayed.has(one));
      const needing = fresh.filter((one) => this.needing.has(one)).length;
      return { devices: fresh.length, shards: fresh.length > 0 ? 1 : 0, ...(claims && { claims: needing }) };
    },
    planWave: async ({ wave, who, first = 0 }: PlanWaveInput) => {
      const told = new Set(this.waves.slice(first).flat());
      const open = [...this.registered].filter((one) => !told.has(one)).sort();
      if (typeof who === 'object' && 'canary' in who) {
        this.waves[wave] = [...this.canaries];
        return { devices: this.canaries.length, shards: 1, able: this.registered.size, cannot: {} };
      }
      const wanted = typeof who === 'number' ? Math.ceil((this.registered.size * who) / 100) - told.size : open.length;
      this.waves[wave] = open.slice(0, wanted);
      return { devices: this.waves[wave]?.length ?? 0, shards: 1, able: this.registered.size, cannot: {} };
    },
    judgeWave: async ({ waves, what, to, without = [], seen = 1, errors }: JudgeWaveInput): Promise<JudgedWave> => {
      const all = waves.flatMap(({ wave, shards }) => (shards > 0 ? (this.waves[wave] ?? []) : []));
      const told = all.filter((one) => !(without.length > 0 && this.stuck.has(one)));
      // Who was never seen there has nothing to leave.
      const ids = what === 'left' ? told.filter((one) => this.fleet.get(one) !== 'nowhere') : told;
      const there = ids.filter((one) => this.fleet.get(one) === to);
      const missing = ids.filter((one) => !there.includes(one));
      await this.note(`judge ${what} ${there.length} of ${ids.length}`, undefined);
      const failed = what === 'arrived' && errors !== undefined && this.errors > errors * ids.length;
      const enough = what === 'left' ? ids.length : Math.ceil(ids.length * seen);
      const passed = there.length >= enough && !failed;
      // It waits for them as well.
      if (!passed) await setTimeout(200);
      return {
        ...{ passed, failed, devices: ids.length, awake: ids.length },
        ...{ arrived: there.length, rateBefore: 1, rateAfter: 1, errors: this.errors, errorsBefore: 0 },
        ...{ missing: missing.length > 0 ? 'transfers/missing-' : '', first: missing.slice(0, 5) },
      };
    },
    followTelemetry: async ({ from, to, forMs }: FollowTelemetryInput): Promise<FollowedTelemetry> => {
      const answer = { forwarded: 0, messages: 7, devices: 1, newestAt: '', lagMs: 0 };
      const { refused } = this;
      if (refused && from.provider === 'aws' && forMs > 5000) {
        this.refused = undefined;
        return { ...answer, refused };
      }
      if (forMs <= 5000) return this.note(`drain ${from.provider} to ${to?.provider}`, answer);
      if (to) this.done.push(`pump ${from.provider} to ${to.provider}`);
      const { heartbeat, cancelled } = Context.current();
      const beat = setInterval(() => heartbeat(), 50);
      await cancelled.catch(() => {});
      clearInterval(beat);
      throw new CancelledFailure('told to stop');
    },
  };

  readonly sender = {
    askClaims: async ({ retract, sequence }: AskClaimsInput): Promise<AskedClaims> => {
      if (!this.authority) return { asked: 0, gone: 0, failed: 0, unable: true };
      if (!retract) this.sequences.push(sequence);
      const asked = this.needing.size;
      return this.note(retract ? 'ask no more' : `ask ${asked}`, { asked, gone: 0, failed: 0 });
    },
    issueCertificates: async (): Promise<IssuedCertificates> => {
      const made = [...this.needing].filter((one) => this.answered.has(one) && !this.claimed.has(one));
      for (const one of made) this.claimed.add(one);
      const open = this.needing.size - this.claimed.size;
      const answer = { devices: made.length, shards: made.length > 0 ? 1 : 0, open, refused: {} };
      return made.length > 0 ? this.note(`issue ${made.length}`, answer) : answer;
    },
    sendRedirects: async ({ wave, without = [], on, to, sequence }: SendRedirectsInput) => {
      this.sequences.push(sequence);
      const told = (this.waves[wave] ?? []).filter((one) => !(without.length > 0 && this.stuck.has(one)));
      for (const device of told)
        if (this.fleet.get(device) === on.provider && !this.stuck.has(device))
          this.fleet.set(device, this.lost.has(device) ? 'nowhere' : to.provider);
      return this.note(`tell wave ${wave} to ${to.provider}: ${told.length}`, {
        told: told.length,
        gone: 0,
        failed: 0,
      });
    },
  };
}

/** Whatever a device needs where it is must not be taken away. */
function expectNobody(world: World, provider: string): void {
  if (world.at(provider).length > 0) throw ApplicationFailure.nonRetryable(`devices are on ${provider}`, 'Stranded');
}

const estateFile = join(mkdtempSync(join(tmpdir(), 'fleets-')), 'estate.json');
const { cert: factory } = await authority(mkdtempSync(join(tmpdir(), 'factory-')));
/** Whether a factory's devices are let in by themselves. */
const factoryOpen = (open: boolean): void => writeEstateFile(open ? { just_in_time_authority: factory } : {});
const writeEstateFile = (configuration: object): void =>
  writeFileSync(
    estateFile,
    JSON.stringify({
      name: 'fleets',
      providers: [
        { name: 'aws', type: 'aws', region: 'us-west-2' },
        { name: 'gcp', type: 'gcp', region: 'us-central1' },
      ],
      services: { iot_core: { type: 'iot_core', redundancy: 1, configuration } },
      traffic: { zone: 'iot.example.com', dns: 'aws', ttl: '1s' },
      migration: { soak: '2s', source_retention: '7d', waves: [20, 100], wave_window: '2s' },
    }),
  );
writeEstateFile({});

const stage = new Stage(new World(), {
  namespace: `fleet-story-${Date.now()}`,
  estateFile,
  waits: { unservedMs: 1500 },
  registry: ({ registry }) => registry,
  queues: {
    ...Object.fromEntries(
      ['aws', 'gcp'].flatMap((name) =>
        [providerQueue, urgentQueue].map((of) => [of(name), (present: World) => present.on(name)]),
      ),
    ),
    [bulkQueue('aws', 'gcp')]: ({ devices }) => devices,
    [bulkQueue('gcp', 'aws')]: ({ devices }) => devices,
    [watchQueue]: ({ watching }) => watching,
  },
});
const playSender = () => stage.play(senderQueue, ({ sender }) => sender);
let stopSender: () => Promise<void>;
beforeAll(async () => {
  await stage.open();
  stopSender = await playSender();
}, 60_000);
afterAll(async () => {
  await stopSender();
  await stage.close();
}, 60_000);

async function start(present: World, input: object = {}, type = 'migrateService'): Promise<WorkflowHandle> {
  stage.world = present;
  const move = type === 'migrateService' ? { from: 'aws', to: 'gcp' } : {};
  const args = [{ service: 'iot_core', ...move, ...input }];
  return stage.client.workflow.start(type, { workflowId: `${type}-${Math.random()}`, taskQueue, args });
}
async function asked(handle: WorkflowHandle, question: string): Promise<Progress['waitingFor'][number]> {
  for (;;) {
    const one = (await handle.query<Progress>('progress')).waitingFor.find((each) => each.question === question);
    if (one) return one;
    const { status } = await handle.describe();
    if (status.name !== 'RUNNING')
      throw new Error(`it has ended without asking about ${question}: ${await endOf(handle)}`);
    await setTimeout(50);
  }
}
const answer = async (handle: WorkflowHandle, question: string, given: string) =>
  handle.executeUpdate('decide', {
    args: [{ question, answer: given, by: 'ann', plan: (await asked(handle, question)).plan }],
  });
const endOf = (handle: WorkflowHandle): Promise<string> =>
  handle.result().then(
    ({ outcome }: OperationResult) => outcome,
    (error: unknown) =>
      error instanceof WorkflowFailedError && error.cause instanceof ApplicationFailure
        ? (error.cause.type ?? '')
        : String(error instanceof WorkflowFailedError ? error.cause?.name : error),
  );

/** The source alone with all devices, as if nothing had ever been tried. */
function expectAsBefore({ record, fleet, registered, followers, endpoint }: World): void {
  const { placements, intents, migration } = record;
  expect({ placements, intents, migration }).toEqual({ placements: [source], intents: [], migration: undefined });
  expect(new Set(fleet.values())).toEqual(new Set(['aws']));
  expect([registered.size, followers.size]).toEqual([0, 0]);
  expect(endpoint).toMatchObject({ ttlSeconds: 1, endpoints: [{ provider: 'aws' }] });
}
async function expectEventually(holds: () => Promise<boolean>): Promise<void> {
  for (let left = 200; !(await holds()); left--) {
    expect(left).toBeGreaterThan(0);
    await setTimeout(50);
  }
}
const acts = ({ done }: World): string[] => done.filter((what) => !what.startsWith('pump'));

describe('a fleet', () => {
  it('goes in waves once its registry is the same at both; who came meanwhile goes last', async () => {
    const world = new World();
    const handle = await start(world);
    const { text } = await asked(handle, 'cutover');
    expect(text).toContain('10 devices are registered there; 0 cannot go');
    world.fleet.set('late', 'aws');
    await answer(handle, 'cutover', 'approve');
    while (!world.done.includes('tell wave 0 to gcp: 3')) await setTimeout(20);
    world.fleet.set('later', 'aws');
    expect(await endOf(handle)).toBe('done');
    expect(acts(world)).toEqual([
      'record copying',
      'create on gcp',
      'register 10',
      'register 1',
      'compare',
      'endpoint aws ttl 5',
      'record moving',
      'tell wave 0 to gcp: 3',
      'judge arrived 3 of 3',
      'register 1',
      'compare',
      'tell wave 1 to gcp: 9',
      'judge arrived 9 of 9',
      'record switched, gcp current, aws retained',
      'endpoint gcp ttl 5',
      'judge arrived 12 of 12',
      'endpoint gcp ttl 1',
      'drain aws to gcp',
      'drain aws to gcp',
      'record over, aws retained',
    ]);
    expect(world.done.filter((what) => what.startsWith('pump'))).toEqual(['pump gcp to aws', 'pump aws to gcp']);
    expect(world.at('gcp')).toHaveLength(12);
    expect(
      world.record.placements.map(({ provider, role, removeAt }) => [provider, role, removeAt !== undefined]),
    ).toEqual([
      ['aws', 'retained', true],
      ['gcp', 'current', false],
    ]);
    expect(world.sequences).toEqual(world.sequences.toSorted((a, b) => a - b));
    expect(world.record.lastRedirect).toBe(world.sequences.at(-1));
  }, 60_000);

  it.each([
    ['rejected', 'cutover', 'ApprovalRejected'],
    ['undone in the soak', 'undo', 'UndoRequested'],
  ])(
    'takes a device home that came in at the new door by itself where the move is %s',
    async (_, question, end) => {
      const world = new World();
      factoryOpen(true);
      try {
        const handle = await start(world, { waves: [100], canary: false, soak: '1h' });
        const { text } = await asked(handle, 'cutover');
        expect(text).toContain("the factory's new door is https://gcp.test on gcp, open from now on");
        world.bear('newborn');
        if (question === 'undo') {
          await answer(handle, 'cutover', 'approve');
          await asked(handle, 'undo');
          // Nobody takes it for a stranger, or for one that is left behind.
          expect(world.at('gcp')).toHaveLength(11);
          const { steps, waitingFor } = await handle.query<Progress>('progress');
          expect(waitingFor.map((one) => one.question)).toEqual(['undo']);
          expect(steps.find(({ name }) => name === 'verify')?.detail).toBe('10 devices are the same; 1 came in there');
        }
        await answer(handle, question, question === 'undo' ? 'approve' : 'reject');
        expect(await endOf(handle)).toBe(end);
        expect(acts(world)).toContain('register 1 at home');
        expect(world.at('aws')).toHaveLength(11);
        expectAsBefore(world);
      } finally {
        factoryOpen(false);
      }
    },
    60_000,
  );

  it('has no place for what is at the target alone where nobody is let in by himself', async () => {
    const world = new World();
    const handle = await start(world, { waves: [100], canary: false });
    await asked(handle, 'cutover');
    world.bear('stranger');
    await answer(handle, 'cutover', 'approve');
    expect((await asked(handle, 'devices')).text).toContain('1 × extra');
    world.fleet.delete('stranger');
    world.born.clear();
    await answer(handle, 'devices', 'undo');
    expect(await endOf(handle)).toBe('UndoRequested');
  }, 60_000);

  it('takes those along that claim another certificate, when they answer', async () => {
    const world = new World();
    for (const device of ['d3', 'd4']) world.needing.add(device);
    world.answered.add('d3');
    const handle = await start(world, { waves: [100], canary: false });
    const { text } = await asked(handle, 'cutover');
    expect(text).toContain('9 devices are registered there; 1 cannot go');
    const { steps } = await handle.query<Progress>('progress');
    expect(steps.find(({ name }) => name === 'claim')?.detail).toBe(
      '2 were asked for a certificate request, 1 have a new certificate, 1 have not answered yet',
    );
    // One that was asleep wakes, and is told with the wave.
    world.answered.add('d4');
    world.fleet.set('late', 'aws');
    await answer(handle, 'cutover', 'approve');
    expect(await endOf(handle)).toBe('done');
    expect(acts(world).slice(0, 6)).toEqual([
      'record copying',
      'create on gcp',
      'register 8',
      'ask 2',
      'issue 1',
      'register 1',
    ]);
    expect(acts(world)).toContain('issue 1');
    expect(world.at('gcp')).toHaveLength(11);
    expect(world.sequences).toEqual(world.sequences.toSorted((a, b) => a - b));
  }, 60_000);

  it('asks nobody where nobody can make certificates, and asks no more where all is taken back', async () => {
    const without = new World();
    without.needing.add('d3');
    without.authority = false;
    const alone = await start(without);
    expect((await asked(alone, 'cutover')).text).toContain('9 devices are registered there; 1 cannot go');
    await answer(alone, 'cutover', 'reject');
    expect(await endOf(alone)).toBe('ApprovalRejected');
    expectAsBefore(without);
    expect(acts(without).filter((what) => what.includes('ask'))).toEqual([]);

    const world = new World();
    world.needing.add('d3');
    const handle = await start(world);
    await answer(handle, 'cutover', 'reject');
    expect(await endOf(handle)).toBe('ApprovalRejected');
    expectAsBefore(world);
    expect(acts(world).filter((what) => what.startsWith('ask'))).toEqual(['ask 1', 'ask no more']);
  }, 60_000);

  it('whose wave does not arrive comes back, and people decide: again, then without those', async () => {
    const world = new World();
    world.stuck.add('d1');
    const handle = await start(world, { wave_seen: 1 });
    await answer(handle, 'cutover', 'approve');
    const { text, answers } = await asked(handle, 'devices');
    expect(text).toMatch(/Wave 1 did not arrive .* 1 of 2 .*transfers\/missing-\*/);
    expect(answers).toEqual(['retry', 'skip', 'undo']);
    expect(world.at('gcp')).toEqual([]);
    await answer(handle, 'devices', 'retry');
    await setTimeout(300);
    await answer(handle, 'devices', 'skip');
    expect(await endOf(handle)).toBe('done');
    const told = acts(world).filter((what) => /^tell wave 0/.test(what));
    expect(told).toEqual([
      ...Array(2).fill(['tell wave 0 to gcp: 2', 'tell wave 0 to aws: 2']).flat(),
      'tell wave 0 to gcp: 1',
    ]);
    expect(world.at('aws')).toEqual(['d1']);
    // The one that was left keeps its registry.
    const [kept] = world.record.placements;
    expect([kept?.provider, kept?.role, kept?.removeAt]).toEqual(['aws', 'retained', undefined]);
  }, 60_000);

  it('sends one of each group ahead, who comes back before the first wave and goes again in it', async () => {
    const world = new World();
    world.canaries = ['d1', 'd7'];
    const handle = await start(world);
    await answer(handle, 'cutover', 'approve');
    expect(await endOf(handle)).toBe('done');
    expect(acts(world).filter((what) => /^(tell|judge)/.test(what))).toEqual([
      'tell wave 0 to gcp: 2',
      'judge arrived 2 of 2',
      'tell wave 0 to aws: 2',
      'judge left 2 of 2',
      'tell wave 1 to gcp: 2',
      'judge arrived 2 of 2',
      'tell wave 2 to gcp: 8',
      'judge arrived 8 of 8',
      'judge arrived 10 of 10',
    ]);
  }, 60_000);

  it('asks about a canary that does not arrive, by name, and before anybody else is told', async () => {
    const world = new World();
    world.canaries = ['d1', 'd7'];
    world.stuck.add('d7');
    const handle = await start(world);
    await answer(handle, 'cutover', 'approve');
    const { text, answers } = await asked(handle, 'devices');
    expect(text).toMatch(/^Before the first wave .* 1 were not seen there: d7/);
    expect(answers).toEqual(['retry', 'skip', 'undo']);
    expect(world.at('gcp')).toEqual([]);
    world.stuck.clear();
    await answer(handle, 'devices', 'retry');
    expect(await endOf(handle)).toBe('done');
    const told = acts(world).filter((what) => what.startsWith('tell'));
    const there = ['tell wave 0 to gcp: 2', 'tell wave 0 to aws: 2'];
    expect(told).toEqual([...there, ...there, 'tell wave 1 to gcp: 2', 'tell wave 2 to gcp: 8']);
  }, 60_000);

  it('sends no canary where the estate wants none, or the input', async () => {
    const world = new World();
    world.canaries = ['d1'];
    const handle = await start(world, { canary: false });
    await answer(handle, 'cutover', 'approve');
    expect(await endOf(handle)).toBe('done');
    expect(acts(world).filter((what) => what.startsWith('tell'))).toEqual([
      'tell wave 0 to gcp: 2',
      'tell wave 1 to gcp: 8',
    ]);
  }, 60_000);

  it('whose target refuses one connect in ten comes back, and the run waits', async () => {
    const world = new World();
    world.errors = 1;
    const handle = await start(world, { waves: [100] });
    await answer(handle, 'cutover', 'approve');
    const { text } = await asked(handle, 'devices');
    expect(text).toContain('10 of 10 that were awake were seen there');
    expect(text).toContain('1 connections went wrong, 0 before');
    expect(world.at('aws')).toHaveLength(10);
    world.errors = 0;
    await answer(handle, 'devices', 'retry');
    expect(await endOf(handle)).toBe('done');
  }, 60_000);

  it('of which a fifth never comes back stops there, with the list; undo brings home all others', async () => {
    const world = new World();
    for (const device of ['d3', 'd4']) world.lost.add(device);
    const handle = await start(world, { waves: [100] });
    await answer(handle, 'cutover', 'approve');
    const { text } = await asked(handle, 'devices');
    expect(text).toMatch(/Wave 1 did not arrive .* 8 of 10 .* 2 were not seen: d3, d4; .*transfers\/missing-\*/);
    expect(text).toContain('Those that had arrived are back');
    expect([world.at('aws').length, world.at('gcp')]).toEqual([8, []]);
    await answer(handle, 'devices', 'undo');
    expect(await endOf(handle)).toBe('UndoRequested');
    expect(world.at('aws')).toHaveLength(8);
    expect(world.record.placements).toEqual([source]);
  }, 60_000);

  it('takes those along that come during the last wave, and those that come in the soak', async () => {
    const world = new World();
    world.instead.set('tell wave 1 to gcp: 8', () => {
      world.fleet.set('late', 'aws');
      return { told: 8, gone: 0, failed: 0 };
    });
    const handle = await start(world, { soak: '6s', wave_window: '1s' });
    await answer(handle, 'cutover', 'approve');
    await asked(handle, 'undo');
    expect(world.done).toContain('tell wave 2 to gcp: 1');
    world.fleet.set('newborn', 'aws');
    while (world.fleet.get('newborn') !== 'gcp') await setTimeout(50);
    expect((await handle.query<Progress>('progress')).waitingFor.map(({ question }) => question)).toEqual(['undo']);
    expect(await endOf(handle)).toBe('done');
    expect(world.at('aws')).toEqual([]);
    const [kept] = world.record.placements;
    expect([kept?.provider, kept?.removeAt !== undefined]).toEqual(['aws', true]);
  }, 60_000);

  it('keeps the source for one that came at the very end of the soak and was not seen at the target', async () => {
    const world = new World();
    world.stuck.add('newborn');
    const handle = await start(world, { soak: '2s', wave_window: '1s' });
    await answer(handle, 'cutover', 'approve');
    while (!world.done.includes('endpoint gcp ttl 5')) await setTimeout(20);
    world.fleet.set('newborn', 'aws');
    expect(await endOf(handle)).toBe('done');
    expect(world.done).toContain('tell wave 2 to gcp: 1');
    const [kept] = world.record.placements;
    expect([kept?.provider, kept?.removeAt]).toEqual(['aws', undefined]);
  }, 60_000);

  it('is held where nobody plays the sender, which it names, and goes on once somebody does', async () => {
    const world = new World();
    await stopSender();
    try {
      const handle = await start(world);
      await answer(handle, 'cutover', 'approve');
      for (;;) {
        const { blocked } = await handle.query<Progress>('progress');
        if (blocked?.includes('No worker plays the role "sender"')) break;
        expect((await handle.describe()).status.name).toBe('RUNNING');
        await setTimeout(100);
      }
      expect(world.record.status).toBe('blocked');
      expect(world.at('gcp')).toEqual([]);
      stopSender = await playSender();
      await handle.signal('retryStep', { by: 'ann' });
      expect(await endOf(handle)).toBe('done');
    } finally {
      if (world.at('gcp').length === 0) stopSender = await playSender();
    }
  }, 60_000);

  it('shows and writes down that a device was told to go by somebody else', async () => {
    const world = new World();
    world.refused = [{ device: 'd4', reason: 'signature' }];
    const handle = await start(world);
    await asked(handle, 'cutover');
    await expectEventually(async () => {
      const { steps } = await handle.query<Progress>('progress');
      return steps.some(({ name, detail }) => name === 'refused redirects' && detail === 'd4 (signature) on aws');
    });
    const trail = await handle.query<AuditEntry[]>('audit');
    expect(trail).toContainEqual(
      expect.objectContaining({ what: 'devices refused a redirect: d4 (signature) on aws' }),
    );
    await answer(handle, 'cutover', 'reject');
    expect(await endOf(handle)).toBe('ApprovalRejected');
    const [alert, ...more] = world.alerts;
    expect([more, alert && alertLines(alert)]).toEqual([
      [],
      expect.arrayContaining([
        '[fleets] 1 device of iot_core on aws refused to go where they were told',
        'Devices, and why: d4 (signature)',
      ]),
    ]);
  }, 60_000);

  it.each(['reject', 'undo'] as const)(
    'comes home when somebody says %s between two waves',
    async (how) => {
      const world = new World();
      const handle = await start(world, { approve_waves: true });
      await answer(handle, 'cutover', 'approve');
      await asked(handle, 'wave-2');
      expect(world.at('gcp')).toHaveLength(2);
      if (how === 'reject') await answer(handle, 'wave-2', 'reject');
      else await handle.signal('undo', { by: 'ann' });
      expect(await endOf(handle)).toBe(how === 'reject' ? 'ApprovalRejected' : 'UndoRequested');
      expectAsBefore(world);
      const back = acts(world).slice(acts(world).indexOf('tell wave 0 to aws: 2'));
      expect(back).toEqual([
        'tell wave 0 to aws: 2',
        'judge left 2 of 2',
        'drain gcp to aws',
        'drain gcp to aws',
        'endpoint aws ttl 1',
        'unregister',
        'remove on gcp',
        'record over',
      ]);
    },
    60_000,
  );

  it('comes home from half-way when somebody says no', async () => {
    const world = new World();
    const handle = await start(world, { waves: [50, 100], approve_waves: true });
    await answer(handle, 'cutover', 'approve');
    await asked(handle, 'wave-2');
    expect(world.at('gcp')).toHaveLength(5);
    await answer(handle, 'wave-2', 'reject');
    expect(await endOf(handle)).toBe('ApprovalRejected');
    expectAsBefore(world);
  }, 60_000);

  it('comes home in the soak before the service goes back', async () => {
    const world = new World();
    const handle = await start(world, { soak: '1h' });
    await answer(handle, 'cutover', 'approve');
    await answer(handle, 'undo', 'approve');
    expect(await endOf(handle)).toBe('UndoRequested');
    expectAsBefore(world);
    const after = acts(world).slice(acts(world).indexOf('endpoint gcp ttl 5') + 1);
    expect(after.slice(0, 5)).toEqual([
      'tell wave 0 to aws: 2',
      'tell wave 1 to aws: 8',
      'judge left 10 of 10',
      'endpoint aws ttl 5',
      'record moving, aws current, gcp target',
    ]);
  }, 60_000);

  it('keeps the target as long as one of its devices is still there', async () => {
    const world = new World();
    const handle = await start(world, { soak: '1h', wave_window: '1s' });
    await answer(handle, 'cutover', 'approve');
    await asked(handle, 'undo');
    world.stuck.add('d3');
    await answer(handle, 'undo', 'approve');
    for (;;) {
      const { blocked } = await handle.query<Progress>('progress');
      if (blocked?.includes('1 devices were last seen on gcp')) break;
      await setTimeout(50);
    }
    expect(world.done).not.toContain('remove on gcp');
    expect(world.done).not.toContain('unregister');
    world.stuck.clear();
    await handle.signal('retryCompensation', { by: 'ann' });
    expect(await endOf(handle)).toBe('UndoRequested');
    expectAsBefore(world);
  }, 60_000);

  it('is brought home by recover --undo where its run was terminated between two waves', async () => {
    const world = new World();
    const handle = await start(world, { approve_waves: true });
    await answer(handle, 'cutover', 'approve');
    await asked(handle, 'wave-2');
    await handle.terminate();
    const recovery = await start(world, { direction: 'undo' }, 'recoverService');
    expect(await endOf(recovery)).toBe('done');
    expectAsBefore(world);
  }, 60_000);

  it('is brought to the end by recover, with another approval, after its devices have come home', async () => {
    const world = new World();
    const handle = await start(world, { approve_waves: true });
    await answer(handle, 'cutover', 'approve');
    await asked(handle, 'wave-2');
    await handle.terminate();
    const before = world.done.length;
    const recovery = await start(world, { direction: 'finish' }, 'recoverService');
    await asked(recovery, 'cutover');
    expect(world.at('gcp')).toEqual([]);
    await answer(recovery, 'cutover', 'approve');
    expect(await endOf(recovery)).toBe('done');
    const told = world.done.slice(before).filter((what) => what.startsWith('tell'));
    expect(told).toEqual(['tell wave 0 to aws: 2', 'tell wave 1 to gcp: 2', 'tell wave 2 to gcp: 8']);
    expect(world.at('gcp')).toHaveLength(devices.length);
    expect(world.sequences).toEqual([...new Set(world.sequences)].sort((a, b) => a - b));
  }, 60_000);
});
