/**
 * How the pumps of a service are supervised: one after the other, again after a failure, not while somebody else has the stores,
 * and not beyond the brake. What pumps do has a suite of its own.
 */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Context } from '@temporalio/activity';
import { ApplicationFailure, type WorkflowHandle } from '@temporalio/client';
import { Book } from '../../activities/replication/book.ts';
import type { Alert } from '../../model/alert.ts';
import { numberOf } from '../../model/book.ts';
import { CloudError } from '../../model/errors.ts';
import { providerQueue, taskQueue, urgentQueue, watchQueue } from '../../model/operations.ts';
import type { Progress } from '../../model/progress.ts';
import { type RecordedPlacement, ServiceRecord } from '../../model/record.ts';
import {
  directionName,
  type PumpedSides,
  type ReplicateSidesInput,
  type ReplicationLag,
} from '../../model/replicate.ts';
import { scale } from '../scale/scale.ts';
import { Stage } from './stage.ts';

const _root = join(import.meta.dirname, '../..');

const placement = (provider: 'aws' | 'gcp' | 'azure', generation = 1): RecordedPlacement => ({
  provider,
  providerType: provider,
  type: 'storage',
  region: 'somewhere',
  account: `account-of-${provider}`,
  generation,
  configuration: {},
  role: 'current',
  resources: [],
  monthlyCostUsd: 1,
  endpoint: '',
  health: '',
  settlesAt: '',
});

type Pumped = (input: ReplicateSidesInput) => Promise<Partial<PumpedSides>>;

/** A record, feeds and pumps, and what was asked of them. */
class World {
  record: ServiceRecord = ServiceRecord.parse({
    v: 1,
    estate: 'kept',
    service: 'firmware',
    type: 'storage',
    status: 'running',
    placements: [placement('aws'), placement('gcp')],
  });
  readonly pumps: ReplicateSidesInput[] = [];
  readonly feeds = new Set<string>();
  readonly noted: unknown[] = [];
  /** Most that ran at once. */
  most = 0;
  running = 0;
  /** What the next pumps do; then they run until they are told to stop. */
  readonly next: Pumped[] = [];
  readonly schedules = new Set<string>();
  readonly alerts: string[] = [];
  /** Hears nothing of changes of the record. */
  deaf = false;
  always: Pumped = () => Context.current().cancelled;

  async pump(input: ReplicateSidesInput): Promise<PumpedSides> {
    this.pumps.push(input);
    this.most = Math.max(this.most, ++this.running);
    const beat = setInterval(() => Context.current().heartbeat(), 20);
    try {
      const told = await (this.next.shift() ?? this.always)(input);
      const lag = { seconds: 0, behind: 0, conflicts: 0, errors: 0, lastAppliedAt: '', held: false };
      const directions = input.edges.map((edge) => ({ ...edge, ...lag, applied: 1 }));
      return {
        ...{ epoch: input.epoch, directions, inStepAt: '', held: [], away: {}, clamped: {}, unheard: {} },
        ...told,
      };
    } finally {
      clearInterval(beat);
      this.running--;
    }
  }

  readonly registry = {
    openEstate: async () => ({ uid: '0'.repeat(32), controller: 'test' }),
    readApplied: async () => undefined,
    readServices: async () => ({ firmware: this.record, fleet: this.record }),
    ensureSchedule: async ({ service }: { service: string }) => void this.schedules.add(service),
    removeSchedule: async ({ service }: { service: string }) => void this.schedules.delete(service),
    alertChannels: async () => ['slack-000000000000'],
    sendAlert: async ({ alert }: { alert: Alert }) => {
      this.alerts.push(`${alert.event} ${alert.direction.from}>${alert.direction.to} ${alert.why ?? ''}`.trim());
      return { how: 'sent' };
    },
    noteReplication: async ({ replication }: { replication: unknown }) => void this.noted.push(replication),
    awaitRecord: async ({ known }: { known: string }) => {
      for (;;) {
        Context.current().heartbeat();
        const now = JSON.stringify([this.record.holder, this.record.placements, this.record.status]);
        if (now !== known && !this.deaf) return now;
        await Context.current().sleep(20);
      }
    },
  };
  readonly cloud = {
    ensureFeed: async ({ placement: { provider } }: { placement: RecordedPlacement }) => {
      this.feeds.add(provider);
      return { outcome: 'created' };
    },
    removeFeed: async ({ placement: { provider } }: { placement: RecordedPlacement }) => {
      this.feeds.delete(provider);
      return 'removed';
    },
    appendAudit: async (_told: unknown) => {},
    keepRecord: async () => {},
  };
}

const regions: Record<string, string> = { aws: 'us-west-2', gcp: 'us-central1', azure: 'westus2' };
const estateFile = join(mkdtempSync(join(tmpdir(), 'replication-')), 'estate.yaml');
writeFileSync(
  estateFile,
  JSON.stringify({
    name: 'kept',
    providers: ['aws', 'gcp', 'azure'].map((name) => ({ name, type: name, region: regions[name] })),
    services: {
      firmware: { type: 'storage', redundancy: 2, replication: { mode: 'active-active' } },
      fleet: { type: 'iot_core', redundancy: 2, replication: { mode: 'active-active' } },
    },
  }),
);

const stage = new Stage(new World(), {
  namespace: `replication-${Date.now()}`,
  estateFile,
  registry: ({ registry }) => registry,
  queues: {
    ...Object.fromEntries(
      ['aws', 'gcp', 'azure'].flatMap((name) =>
        [providerQueue(name), urgentQueue(name)].map((queue) => [queue, ({ cloud }: World) => cloud]),
      ),
    ),
    [watchQueue]: (world) => ({ replicateSides: (input: ReplicateSidesInput) => world.pump(input) }),
  },
});
beforeAll(() => stage.open(), 60_000);
afterAll(() => stage.close(), 60_000);

async function replicating(
  present: World,
  act: (handle: WorkflowHandle) => Promise<void>,
  input: object = {},
): Promise<WorkflowHandle> {
  stage.world = present;
  const workflowId = `replicate-${Math.random()}`;
  const args = [{ service: 'firmware', ...input }];
  await stage.client.workflow.start('replicateService', { workflowId, taskQueue, args });
  const handle = stage.client.workflow.getHandle(workflowId);
  try {
    await act(handle);
  } catch (error) {
    await handle.terminate();
    throw error;
  }
  if ((await handle.describe()).status.name === 'RUNNING') await handle.cancel();
  await handle.result().catch(() => {});
  expect(present.most).toBe(1);
  expect([[...present.feeds], [...present.schedules]]).toEqual([[], []]);
  expect(present.noted.at(-1)).toBeNull();
  const epochs = present.pumps.map(({ epoch }) => epoch);
  expect(epochs).toEqual([...new Set(epochs)].sort((a, b) => a - b));
  return handle;
}
async function until(holds: () => boolean | Promise<boolean>, ms = 30_000): Promise<void> {
  for (const end = Date.now() + ms; !(await holds()); ) {
    if (Date.now() > end) throw new Error(`waited in vain for ${holds}`);
    await pause(20);
  }
}
const lagOf = (handle: WorkflowHandle) => handle.query<ReplicationLag>('lag');

it('follows one pump by the next, also from history to history, and adds up what they did', async () => {
  const world = new World();
  world.always = async () => ({});
  const handle = await replicating(
    world,
    async (at) => {
      await until(() => world.pumps.length >= 20);
      const { directions, epoch } = await lagOf(at);
      expect(directions).toHaveLength(2);
      for (const { applied } of directions) expect(applied).toBeGreaterThan(15);
      expect(epoch).toBeGreaterThan(world.pumps[0]?.epoch ?? 0);
    },
    { rotate: 8 },
  );
  expect((await handle.describe()).status.name).toBe('CANCELLED');
  const runs: { historyLength: number }[] = [];
  const query = `WorkflowId = "${handle.workflowId}"`;
  await until(async () => {
    runs.length = 0;
    for await (const run of stage.client.workflow.list({ query })) runs.push(run);
    return runs.length >= 3;
  });
  for (const { historyLength } of runs) expect(historyLength).toBeLessThan(1000);
}, 60_000);

/** The files of a book, as a records bucket keeps them. */
function bookFiles() {
  const files = new Map<string, Uint8Array>();
  const taken = (name: string) =>
    new CloudError({ kind: 'PreconditionFailed', provider: 'memory', operation: 'write', resource: name });
  return {
    list: async (start: string) => [...files.keys()].filter((name) => name.startsWith(start)).sort(),
    read: async (name: string) => files.get(name),
    async create(name: string, bytes: Uint8Array) {
      if (files.has(name)) throw taken(name);
      files.set(name, bytes);
    },
    async remove(start: string, before: string) {
      for (const name of files.keys()) if (name.startsWith(start) && name < before) files.delete(name);
    },
  };
}

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;
/** What is in use: what the process has besides is V8's to give back. */
function heldMB(): number {
  collect();
  const { heapUsed, external } = process.memoryUsage();
  return (heapUsed + external) / 1024 ** 2;
}

it('goes from pump to pump as often as in a week: one at a time, forward only, in short histories and steady memory', async () => {
  const rotations = scale.on ? scale.rotations : 60;
  const world = new World();
  const files = bookFiles();
  const positions: number[] = [];
  const memory: number[] = [];
  world.always = async ({ epoch }) => {
    // Whoever takes the book over reads what the one before has left; an older one would be refused.
    const book = await Book.open('aws', files, { epoch, pump: `pump ${epoch}` });
    const change = { stamp: { time: epoch, origin: 'aws', sequence: '' }, seen: { aws: epoch } };
    const state = { kind: 'object' as const, version: `${positions.length}`, change };
    book.write(`k${positions.length % 50}`, { state, announced: [] }, book.read(`k${positions.length % 50}`).revision);
    await book.flush();
    if (book.wantsSnapshot) await book.snapshot();
    const last = (await files.list('journal/')).at(-1) ?? '';
    positions.push(numberOf(last));
    if (positions.length % Math.ceil(rotations / 10) === 0) memory.push(heldMB());
    return {};
  };
  const began = Date.now();
  const handle = await replicating(world, () => until(() => world.pumps.length >= rotations, 600_000), {
    rotate: scale.on ? 300 : 20,
  });
  const tookMs = Date.now() - began;
  expect(positions).toEqual(positions.toSorted((a, b) => a - b));
  expect(new Set(positions).size).toBe(positions.length);
  const lengths: number[] = [];
  for await (const run of stage.client.workflow.list({ query: `WorkflowId = "${handle.workflowId}"` }))
    lengths.push(run.historyLength);
  process.stderr.write(
    `    ${positions.length} pumps in ${Math.round(tookMs / 1000)} s, histories of ${lengths.join(', ')} events, memory ${memory.map(Math.round).join(', ')} MB\n`,
  );
  expect(lengths.length).toBeGreaterThan(rotations / 320);
  expect(Math.max(...lengths)).toBeLessThan(10_000);
  // The first tenths are those in which everything is compiled and cached.
  expect((memory.at(-1) ?? 0) - (memory[3] ?? 0)).toBeLessThan(32);
}, 660_000);

it('hears of a cancel also while one history is followed by the next', async () => {
  const world = new World();
  world.always = async () => ({});
  await replicating(
    world,
    async (handle) => {
      world.cloud.appendAudit = async () => {
        await handle.cancel();
        await Context.current().sleep(200);
      };
      await until(async () => (await handle.describe()).status.name !== 'RUNNING');
    },
    { rotate: 1 },
  );
}, 60_000);

it('begins again after failures, counts them, and says what is missing', async () => {
  const world = new World();
  const fail: Pumped = async () => {
    throw ApplicationFailure.create({ type: 'Unavailable', message: 'no two sides can be reached' });
  };
  world.next.push(fail, fail);
  await replicating(world, async (handle) => {
    await until(() => world.pumps.length === 3);
    const { failures, problem } = await lagOf(handle);
    expect([failures, problem]).toEqual([2, 'no two sides can be reached']);
  });
}, 60_000);

it('tells the channels of a lag that stays, once, and that it is over when the run ends', async () => {
  const world = new World();
  await replicating(world, async (handle) => {
    await until(() => world.running === 1);
    const { epoch = 0, edges = [] } = world.pumps[0] ?? {};
    const counts = { behind: 1, applied: 0, conflicts: 0, errors: 0, lastAppliedAt: '', held: false };
    const directions = edges.map((edge) => ({ ...edge, ...counts, seconds: edge.from === 'aws' ? 30 : 0 }));
    await handle.signal('report', { epoch, directions, inStepAt: '' });
    await until(() => world.alerts.length > 0);
    await handle.signal('report', { epoch, directions, inStepAt: '' });
    expect(world.alerts).toEqual(['begin aws>gcp']);
  });
  expect(world.alerts).toEqual(['begin aws>gcp', 'end aws>gcp replication has ended']);
}, 60_000);

it('stops its pump for a pause, and for an operation that has the stores, and goes on where the service is then', async () => {
  const world = new World();
  await replicating(world, async (handle) => {
    await until(() => world.running === 1);
    await handle.signal('pause', { by: 'ann' });
    await until(() => world.running === 0);
    await handle.signal('resume', { by: 'ann' });
    await until(() => world.running === 1);

    const holder = { workflowId: 'm', runId: 'r', operation: 'migrate' as const, planHash: '' };
    world.record = { ...world.record, holder };
    await until(() => world.running === 0);
    const held = async () => (await handle.query<Progress>('progress')).held ?? '';
    await until(async () => (await held()).includes('stands aside'));
    const before = world.pumps.length;
    await pause(300);
    expect(world.pumps).toHaveLength(before);
    const { holder: _, ...free } = world.record;
    world.record = { ...free, placements: [placement('aws'), placement('azure')] };
    await until(() => world.running === 1);
    expect(world.pumps.at(-1)?.sides.map(({ provider }) => provider)).toEqual(['aws', 'azure']);
    expect([...world.feeds].sort()).toEqual(['aws', 'azure']);
    // A deployment that repairs has no need of the stores.
    world.record = { ...world.record, holder: { ...holder, operation: 'deploy' } };
    await pause(200);
    await until(() => world.running === 1);
  });
}, 60_000);

it('goes on as it is asked otherwise, also in the next history, and refuses what cannot be', async () => {
  const world = new World();
  world.always = () =>
    Context.current()
      .sleep(50)
      .then(() => ({}));
  await replicating(
    world,
    async (handle) => {
      await until(() => world.pumps.length > 1);
      const ask = (asked: object) => handle.executeUpdate('reconfigure', { args: [{ by: 'ann', ...asked }] });
      const asked = { mode: 'active-passive', source: 'gcp', max_deletes: 7 };
      expect(await ask(asked)).toMatchObject({ ...asked, topology: 'mesh', latency_threshold_ms: 1000 });
      const of = { edges: [{ from: 'gcp', to: 'aws' }], rule: 'source-wins', source: 'gcp', maxDeletes: 7 };
      await until(() => world.pumps.at(-1)?.maxDeletes === 7);
      expect(world.pumps.at(-1)).toMatchObject(of);
      const before = world.pumps.length;
      await until(() => world.pumps.length > before + 8);
      expect(world.pumps.at(-1)).toMatchObject(of);
      expect(await ask({ latency_threshold_ms: 50 })).toMatchObject({ ...asked, latency_threshold_ms: 50 });
      await expect(ask({ mode: 'both ways' })).rejects.toThrow();
      expect(await ask({})).toMatchObject({ ...asked, latency_threshold_ms: 50 });
    },
    { rotate: 4 },
  );
}, 60_000);

it('answers and obeys what it is asked while one history is followed by the next', async () => {
  const world = new World();
  world.always = async () => ({});
  await replicating(
    world,
    async (handle) => {
      let answer: Promise<unknown> | undefined;
      world.registry.readApplied = async () => void (await Context.current().sleep(300));
      world.cloud.appendAudit = async (told) => {
        if (!JSON.stringify(told).includes('goes on in the next run')) return;
        const asked = { by: 'ann', mode: 'active-passive', source: 'gcp' };
        answer ??= handle.executeUpdate('reconfigure', { args: [asked] });
        answer.catch(() => {});
      };
      await until(() => answer !== undefined);
      expect(await answer).toMatchObject({ mode: 'active-passive', source: 'gcp' });
      await until(() => world.pumps.at(-1)?.rule === 'source-wins');
    },
    { rotate: 1 },
  );
}, 60_000);

it('has no pump at work once an operation was told that it stands aside, until the lock is given back', async () => {
  const world = new World();
  await replicating(world, async (handle) => {
    await until(() => world.running === 1);
    const holder = { workflowId: 'm', runId: 'r', operation: 'migrate' as const, planHash: '' };
    world.deaf = true;
    world.record = { ...world.record, holder };
    await handle.executeUpdate('standAside', { args: [{ holder }] });
    expect(world.running).toBe(0);
    const before = world.pumps.length;
    await pause(300);
    expect(world.pumps).toHaveLength(before);
    const { holder: _, ...free } = world.record;
    world.record = free;
    world.deaf = false;
    await until(() => world.running === 1);
    // Told late, when the lock has been given back: it goes on by itself.
    await handle.executeUpdate('standAside', { args: [{ holder }] });
    await until(() => world.pumps.length > before + 1 && world.running === 1);
  });
}, 60_000);

it('says in its trail which side was out of sight for too long, and what was doubtful there', async () => {
  const world = new World();
  world.next.push(async () => ({ resynchronised: { aws: { missing: 3, forgotten: 4, report: 'replication/x-' } } }));
  await replicating(world, async (handle) => {
    await until(() => world.pumps.length === 2);
    const trail = await handle.query<{ what: string }[]>('audit');
    expect(trail.map(({ what }) => what)).toContainEqual(
      expect.stringMatching(/^aws was out of sight for longer than 24h: 3 objects .* 4 were .* replication\/x-$/),
    );
  });
}, 60_000);

it.each(['continue', 'restore'] as const)(
  'asks where the brake holds a direction, and obeys: %s',
  async (given) => {
    const world = new World();
    const direction = { from: 'aws', to: 'gcp' };
    world.next.push(async () => ({ held: [{ direction, origin: 'aws', does: 'delete', limit: 5 }] }));
    await replicating(world, async (handle) => {
      await until(() => world.pumps.length === 2);
      expect(world.pumps[1]?.held).toEqual([directionName(direction)]);
      const [question] = (await handle.query<Progress>('progress')).waitingFor;
      expect(question).toMatchObject({ question: 'brake', answers: ['continue', 'restore'] });
      await handle.signal('decide', { question: 'brake', answer: given, by: 'ann', plan: question?.plan });
      await until(() => world.pumps.length === 3);
      const { held, restore, released = {} } = world.pumps[2] as ReplicateSidesInput;
      expect(held).toEqual([]);
      expect(restore).toEqual(given === 'restore' ? ['aws'] : []);
      expect(Object.keys(released)).toEqual(given === 'continue' ? ['gcp'] : []);
    });
  },
  60_000,
);

it('lists registries often, asks no feed of them, and keeps to the rate that it is asked for', async () => {
  const world = new World();
  const placements = [placement('aws'), placement('gcp')].map((one) => ({ ...one, type: 'iot_core' as const }));
  world.record = { ...world.record, type: 'iot_core', placements };
  await replicating(
    world,
    async (handle) => {
      await until(() => world.running === 1);
      expect(world.pumps[0]).toMatchObject({ feeds: [], compareMs: 10_000 });
      expect([...world.feeds]).toEqual([]);
      await handle.executeUpdate('reconfigure', { args: [{ by: 'ann', callsPerSecond: 7 }] });
      await until(() => world.pumps.at(-1)?.callsPerSecond === 7);
      const asked = { by: 'ann', conflict_resolution: 'keep-both' };
      await expect(handle.executeUpdate('reconfigure', { args: [asked] })).rejects.toMatchObject({
        cause: { message: expect.stringContaining('a device cannot be there twice') },
      });
    },
    { service: 'fleet' },
  );
}, 60_000);

it('ends when the service is gone', async () => {
  const world = new World();
  await replicating(world, async (handle) => {
    await until(() => world.running === 1);
    world.record = { ...world.record, status: 'removed', placements: [] };
    expect(await handle.result()).toMatchObject({ outcome: 'done' });
  });
}, 60_000);

it('refuses what no file wishes and nobody has asked for', async () => {
  const handle = await stage.client.workflow.start('replicateService', {
    workflowId: `replicate-${Math.random()}`,
    taskQueue,
    args: [{ service: 'unknown' }],
  });
  await expect(handle.result()).rejects.toMatchObject({ cause: { type: 'ServiceNotFound' } });
});
