/**
 * The story of a migration, step by step, against clouds that do what they are told: in which order things are done and
 * taken back, what people are asked, what a failure at each step leaves. The record is the real one; the engine and the
 * clouds have suites of their own.
 */
import { generateKeyPairSync, sign as signature } from 'node:crypto';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { CancelledFailure, Context } from '@temporalio/activity';
import { ApplicationFailure, WorkflowFailedError, type WorkflowHandle } from '@temporalio/client';
import type { AuditLine } from '../../model/audit.ts';
import { planToken } from '../../model/decisions.ts';
import type { EndpointRecord } from '../../model/endpoint-record.ts';
import type { Writer } from '../../model/fence.ts';
import {
  bulkQueue,
  type EstatePlan,
  type OperationResult,
  providerQueue,
  taskQueue,
  urgentQueue,
  type VerifyResult,
  watchQueue,
} from '../../model/operations.ts';
import type { AuditEntry, Progress } from '../../model/progress.ts';
import { applyChange, type RecordChange, type RecordedPlacement, ServiceRecord } from '../../model/record.ts';
import type { FollowStoreInput } from '../../model/replication.ts';
import type { Placement, ResourceSpec } from '../../model/service.ts';
import { signedText } from '../../model/signature.ts';
import type { CopiedDelta, CopiedObjects, Transfer } from '../../model/transfer.ts';
import type { CopiedVersions, CopyVersionsInput } from '../../model/versions.ts';
import { chosen } from '../faults/choice.ts';
import { Stage } from './stage.ts';

const _root = join(import.meta.dirname, '../..');

const spec = (provider: string): ResourceSpec => ({
  key: 'bucket',
  kind: `${provider}.bucket`,
  name: `bucket-on-${provider}`,
  needs: [],
  desired: {},
  holdsData: true,
});
const source: RecordedPlacement = {
  provider: 'aws',
  providerType: 'aws',
  type: 'storage',
  region: 'us-west-2',
  account: 'account-of-aws',
  generation: 1,
  configuration: { storage_size_tb: 0.1 },
  role: 'current',
  resources: [{ ...spec('aws'), id: 'bucket-on-aws', outputs: {} } as never],
  monthlyCostUsd: 2.3,
  endpoint: 'https://aws.test/bucket',
  health: 'healthy: answers',
  settlesAt: '',
};
const { desired: _, ...resource } = spec('aws');
source.resources = [{ ...resource, id: 'bucket-on-aws', outputs: {} }];

const nothing: CopiedObjects = {
  seen: { objects: 0, bytes: 0 },
  copied: { objects: 0, bytes: 0 },
  inStep: { objects: 0, bytes: 0 },
  vanished: 0,
  changed: 0,
  failed: 0,
  failedNames: [],
  unnative: {},
  manifest: '',
  failures: '',
};
const noVersions: CopiedVersions = { ...nothing, deletions: 0, missed: 0 };
const noDelta: CopiedDelta = { ...nothing, deletes: 'applied', deleted: 0, gone: 0, behind: 0, left: 0 };

/** Two clouds, a DNS zone and a record, and everything that was done to them, in order. */
class World {
  readonly done: string[] = [];
  record: ServiceRecord = ServiceRecord.parse({
    v: 1,
    estate: 'moving',
    service: 'firmware',
    type: 'storage',
    status: 'running',
    generations: { aws: 1 },
    placements: [source],
  });
  endpoint: EndpointRecord | null = {
    uid: '0'.repeat(32),
    service: 'firmware',
    ttlSeconds: 1,
    endpoints: [{ provider: 'aws', region: 'us-west-2', url: 'https://aws.test/bucket' }],
  };
  /** What a step answers instead, or throws; by what is noted of it. */
  readonly instead = new Map<string, () => unknown>();
  /** Clouds whose bucket is there. */
  readonly made = new Set(['aws']);
  readonly fences = new Set<string>();
  readonly feeds = new Set<string>();
  /** Clouds that were followed by what they tell. */
  readonly fed = new Set<string>();
  /** Clouds that nothing was to be deleted on, to follow another. */
  readonly keeps = new Set<string>();
  escapes: Writer[] = [];
  largest = 1000;
  /** What the records buckets have been told. */
  readonly trail: string[] = [];
  /** Files of the trail, each written once. */
  readonly files = new Map<string, string>();
  /** So many of the next writes work, and nobody hears of it. */
  unheard = 0;

  async note<T>(what: string, answer: T): Promise<T> {
    this.done.push(what);
    const other = this.instead.get(what);
    return other ? ((await other()) as T) : answer;
  }

  readonly registry = {
    openEstate: async () => ({ uid: '0'.repeat(32), controller: 'test' }),
    readServices: async () => ({ firmware: this.record }),
    readApplied: async () => undefined,
    askToStandAside: async () => {},
    acquireService: async () => ({ granted: true, revision: this.record.revision }),
    releaseService: async () => ({ revision: this.record.revision }),
    writeService: async ({ request }: { request: { change: RecordChange } }) => {
      const { change } = request;
      this.record = applyChange(this.record, change);
      if (change.kind !== 'migration') return;
      const parts = change.roles.map((one) => `${one.provider} ${one.role}`);
      await this.note(`record ${[change.migration?.stage ?? 'over', ...parts].join(', ')}`, undefined);
    },
  };

  on(provider: string) {
    const at = (placement: Placement) => placement.provider;
    return {
      account: async () => `account-of-${provider}`,
      inspectPlacement: async ({ placement }: { placement: Placement }) => ({
        specs: [spec(at(placement))],
        changes: [{ ...spec(at(placement)), action: this.made.has(at(placement)) ? 'none' : 'create', drift: [] }],
        missing: [],
      }),
      ensureResource: async ({ placement }: { placement: Placement }) => {
        this.made.add(at(placement));
        return this.note(`create on ${at(placement)}`, {
          outcome: 'created',
          id: `bucket-on-${at(placement)}`,
          outputs: {},
          drift: [],
          unsettled: false,
          repeatable: true,
        });
      },
      removeResource: async ({ placement, deleteData }: { placement: Placement; deleteData: boolean }) => {
        this.made.delete(at(placement));
        return this.note(`remove ${deleteData ? 'with data ' : ''}on ${at(placement)}`, 'gone');
      },
      verifyPlacement: async ({ placement }: { placement: Placement }) =>
        this.note(`health of ${at(placement)}`, {
          failed: [],
          healthy: true,
          health: 'answers',
          endpoint: `https://${at(placement)}.test/bucket`,
        }),
      findStrays: async () => [],
      removeStrays: async () => [],
      appendAudit: async ({ placement, lines }: { placement: Placement; lines: AuditLine[] }) => {
        const [key, text] = [`${at(placement)} ${lines[0]?.runId} ${lines[0]?.seq}`, JSON.stringify(lines)];
        const known = this.files.get(key);
        if (known !== undefined && known !== text)
          throw ApplicationFailure.nonRetryable(`${key} is not what this run has written`, 'IntegrityMismatch');
        this.files.set(key, text);
        if (this.unheard-- > 0) throw ApplicationFailure.retryable('no answer came', 'Unavailable');
        this.trail.push(...lines.map(({ what }) => what));
      },
      keepRecord: async () => {},
      proveFence: async () => ({
        missing: [],
        undo: 'nothing to restore',
        writers: [],
        escapes: this.escapes,
        uploads: { count: 0, first: [] },
        unknown: [],
        settles: { source: 'test' },
      }),
      fenceStore: async ({ placement }: { placement: Placement }) => {
        this.fences.add(at(placement));
        return this.note(`fence ${at(placement)}`, {});
      },
      liftFence: async ({ placement }: { placement: Placement }) => {
        this.fences.delete(at(placement));
        return this.note(`lift ${at(placement)}`, { outcome: 'lifted' });
      },
      ensureFeed: async ({ placement }: { placement: Placement }) => {
        this.feeds.add(at(placement));
        return this.note(`feed of ${at(placement)}`, { outcome: 'created' });
      },
      removeFeed: async ({ placement }: { placement: Placement }) => {
        const had = this.feeds.delete(at(placement));
        return had ? this.note(`no feed of ${at(placement)}`, 'removed') : 'gone';
      },
      readEndpointRecord: async () => this.endpoint,
      inspectEndpointRecords: async () => ({ found: { firmware: this.endpoint }, problems: [] }),
      writeEndpointRecord: async ({ record }: { record: EndpointRecord }) => {
        const before = this.endpoint;
        this.endpoint = record;
        const names = record.endpoints.map((one) => one.provider);
        return this.note(`endpoint ${names} ttl ${record.ttlSeconds}`, { before, changed: true });
      },
    };
  }

  bulk(from: string, to: string) {
    const way = `${from} to ${to}`;
    return {
      measureStore: async () => ({ objects: 3, bytes: 3000, largest: this.largest }),
      nameWriter: async () => 'worker',
      planTransfer: async () =>
        this.note(`list ${way}`, { objects: 3, bytes: 3000, shards: 2, plan: 'p', refused: {}, refusedFiles: '' }),
      copyShard: async ({ shard }: { shard: number }) =>
        this.note(`copy ${shard}`, { ...nothing, seen: { objects: 2, bytes: 2000 } }),
      copyVersions: async ({ shard, attempt, passOver }: CopyVersionsInput) =>
        this.note(`versions ${shard}, attempt ${attempt}${passOver ? ', passing over' : ''}`, noVersions),
      verifyTransfer: async ({ what }: Transfer & { what: { kind: string } }) =>
        this.note(`verify ${what.kind} ${way}`, {
          compared: { objects: 3, bytes: 3000 },
          bodiesRead: { objects: 0, bytes: 0 },
          same: 3,
          different: {},
          differentNames: [],
          report: '',
        }),
      repairTransfer: async ({ gone }: { gone: string }) =>
        this.note(`repair ${way}, ${gone}`, {
          copied: { objects: 0, bytes: 0 },
          deleted: gone === 'delete' ? 5000 : 0,
          kept: gone === 'keep' ? 5000 : 0,
          failed: 0,
          failedNames: [],
        }),
      copyDelta: async () => this.note(`delta ${way}`, noDelta),
    };
  }

  async follow({ untilBehind, gone, feed, source: { provider: from }, target: { provider: to } }: FollowStoreInput) {
    if (gone === 'keep') this.keeps.add(to);
    if (feed) this.fed.add(from);
    const way = `${from} to ${to}`;
    const followed = { last: noDelta, inStepAt: new Date().toISOString() };
    if (untilBehind !== undefined) return this.note(`follow ${way}`, followed);
    const other = this.instead.get(`keep ${way}`);
    if (other) {
      this.instead.delete(`keep ${way}`);
      return { ...followed, last: await other() };
    }
    this.done.push(`keep ${way}`);
    const { heartbeat, cancelled } = Context.current();
    const beat = setInterval(() => heartbeat(), 50);
    await cancelled.catch(() => {});
    clearInterval(beat);
    throw new CancelledFailure('told to stop');
  }
}

const folder = mkdtempSync(join(tmpdir(), 'migration-'));
const estateFile = join(folder, 'estate.json');
function writeEstateFile(approvals: object): void {
  const estate = {
    name: 'moving',
    providers: ['aws', 'gcp'].map((name) => ({
      name,
      type: name,
      region: name === 'aws' ? 'us-west-2' : 'us-central1',
    })),
    services: { firmware: { type: 'storage' } },
    traffic: { zone: 'iot.example.com', dns: 'aws', ttl: '1s' },
    migration: { soak: '2s', source_retention: '7d' },
    approvals,
  };
  writeFileSync(estateFile, JSON.stringify(estate));
}

const stage = new Stage(new World(), {
  namespace: `migration-${Date.now()}`,
  estateFile,
  registry: ({ registry }) => registry,
  queues: {
    ...Object.fromEntries(
      ['aws', 'gcp'].flatMap((name) =>
        [providerQueue, urgentQueue].map((of) => [of(name), (present: World) => present.on(name)]),
      ),
    ),
    [bulkQueue('aws', 'gcp')]: (present) => present.bulk('aws', 'gcp'),
    [bulkQueue('gcp', 'aws')]: (present) => present.bulk('gcp', 'aws'),
    [watchQueue]: (present) => ({
      followStore: (input: FollowStoreInput) => present.follow(input),
      nameWriter: async () => 'watcher',
    }),
  },
});
beforeAll(() => stage.open(), 60_000);
afterAll(() => stage.close(), 60_000);

/** Runs `act` on a started migration from aws to gcp in this world. */
async function migrating(
  present: World,
  act: (handle: WorkflowHandle) => Promise<void>,
  { approvals = {}, type = 'migrateService', input = {} }: { approvals?: object; type?: string; input?: object } = {},
): Promise<void> {
  stage.world = present;
  writeEstateFile(approvals);
  const move = type === 'migrateService' ? { from: 'aws', to: 'gcp' } : {};
  const args = [{ service: 'firmware', ...move, ...input }];
  await act(await stage.client.workflow.start(type, { workflowId: `${type}-${Math.random()}`, taskQueue, args }));
}

async function asked(handle: WorkflowHandle, question: string): Promise<Progress['waitingFor'][number]> {
  for (;;) {
    const one = (await handle.query<Progress>('progress')).waitingFor.find((each) => each.question === question);
    if (one) return one;
    const { status } = await handle.describe();
    if (status.name !== 'RUNNING')
      throw new Error(`it has ended without asking about ${question}: ${await endOf(handle)}`);
    await setTimeout(100);
  }
}
const answer = async (handle: WorkflowHandle, question: string, given: string, by = 'ann') =>
  handle.executeUpdate('decide', {
    args: [{ question, answer: given, by, plan: (await asked(handle, question)).plan }],
  });
const endOf = (handle: WorkflowHandle): Promise<string> =>
  handle.result().then(
    ({ outcome }: OperationResult) => outcome,
    (error: unknown) =>
      error instanceof WorkflowFailedError && error.cause instanceof ApplicationFailure
        ? (error.cause.type ?? '')
        : String(error instanceof WorkflowFailedError ? error.cause?.name : error),
  );
const refuse = (): never => {
  throw ApplicationFailure.nonRetryable('refused for good', 'VerificationFailed');
};
/** One step of each kind, chosen by the commit; with the whole matrix all of them. */
const sampled = (steps: readonly (readonly [step: string, kind: string])[]): string[] =>
  chosen(
    steps.map(([id, kind]) => ({ id, kind })),
    ({ kind }) => kind,
  ).map(({ id }) => id);

/** Without what only looks; the two shards side by side in the order of their numbers. */
const acts = ({ done }: World): string[] => {
  const shards = ['copy 0', 'copy 1'];
  let next = 0;
  return done
    .filter((what) => !what.startsWith('health'))
    .map((what) => (shards.includes(what) ? (shards[next++ % 2] ?? what) : what));
};

/** The source alone, unfenced, with its endpoint: as if nothing had ever been tried. */
function expectAsBefore(world: World): void {
  const { placements, intents, migration } = world.record;
  expect({ placements, intents, migration }).toEqual({ placements: [source], intents: [], migration: undefined });
  expect([...world.made]).toEqual(['aws']);
  expect(world.fences.has('aws')).toBe(false);
  expect([...world.feeds]).toEqual([]);
  expect(world.endpoint).toMatchObject({ ttlSeconds: 1, endpoints: [{ provider: 'aws' }] });
}

describe('a migration', () => {
  it('follows by listing alone where its source cannot tell of changes, and says why', async () => {
    const world = new World();
    world.instead.set('feed of aws', () => {
      throw ApplicationFailure.nonRetryable('s3:PutBucketNotification is missing', 'PermissionDenied');
    });
    await migrating(world, async (handle) => {
      const { text } = await asked(handle, 'cutover');
      expect(text).toContain('by listing alone, since its cloud tells of no changes: s3:PutBucketNotification');
      await answer(handle, 'cutover', 'reject');
      expect(await endOf(handle)).toBe('ApprovalRejected');
    });
    expect(world.fed.size).toBe(0);
    expectAsBefore(world);
  }, 120_000);

  it('goes through its steps in order, and leaves the target current and the source kept', async () => {
    const world = new World();
    await migrating(world, async (handle) => {
      const { text } = await asked(handle, 'cutover');
      expect(text).toContain('Cut firmware over from aws to gcp?');
      await answer(handle, 'cutover', 'approve');
      expect(await endOf(handle)).toBe('done');
      const result = (await handle.result()) as OperationResult;
      expect(result).toMatchObject({
        placements: [{ provider: 'gcp' }],
        retained: [{ provider: 'aws', name: 'bucket-on-aws' }],
      });
    });
    expect(acts(world)).toEqual([
      'record copying',
      'create on gcp',
      'list aws to gcp',
      'copy 0',
      'copy 1',
      'verify shard aws to gcp',
      'verify shard aws to gcp',
      'feed of aws',
      'follow aws to gcp',
      'keep aws to gcp',
      'verify everything aws to gcp',
      'endpoint aws ttl 5',
      'record fenced',
      'fence aws',
      'delta aws to gcp',
      'verify delta aws to gcp',
      'record switched, gcp current, aws retained',
      'endpoint gcp ttl 5',
      'no feed of aws',
      'feed of gcp',
      'keep gcp to aws',
      'endpoint gcp ttl 1',
      'no feed of gcp',
      'record over, aws retained',
    ]);
    expect(world.fed).toEqual(new Set(['aws', 'gcp']));
    const roles = world.record.placements.map(({ provider, role, removeAt }) => [
      provider,
      role,
      removeAt !== undefined,
    ]);
    expect(roles).toEqual([
      ['aws', 'retained', true],
      ['gcp', 'current', false],
    ]);
    expect(world.record.migration).toBeUndefined();
  }, 120_000);

  it('that takes older versions along copies them first, asks about what it cannot, and then keeps the source', async () => {
    const world = new World();
    let tries = 0;
    world.instead.set('versions 1, attempt 0', () => ({ ...noVersions, failed: 1, failedNames: ['frozen'] }));
    world.instead.set('versions 1, attempt 1', () => ({ ...noVersions, failed: ++tries, failedNames: ['frozen'] }));
    world.instead.set('versions 1, attempt 2, passing over', () => ({ ...noVersions, failed: 1 }));
    await migrating(
      world,
      async (handle) => {
        const { text } = await asked(handle, 'versions');
        expect(text).toContain('1 versions in the way: frozen');
        expect(world.record.migration).toMatchObject({ versions: true });
        await answer(handle, 'versions', 'retry');
        while (tries === 0) await setTimeout(50);
        await answer(handle, 'versions', 'skip');
        await answer(handle, 'cutover', 'approve');
        expect(await endOf(handle)).toBe('done');
      },
      { input: { versions: true } },
    );
    const first = acts(world).findIndex((what) => what.startsWith('copy'));
    const before = acts(world).slice(acts(world).indexOf('list aws to gcp') + 1, first);
    const verified = 'verify versions aws to gcp';
    expect(before.slice(0, 4).sort()).toEqual(
      ['versions 0, attempt 0', 'versions 1, attempt 0', verified, verified].sort(),
    );
    expect(before.slice(4)).toEqual([
      'versions 1, attempt 1',
      verified,
      'versions 1, attempt 2, passing over',
      verified,
    ]);
    const retained = world.record.placements.find(({ role }) => role === 'retained');
    expect([retained?.provider, retained?.removeAt]).toEqual(['aws', undefined]);
  }, 120_000);

  it('says beforehand that an object is larger than the target takes', async () => {
    const world = new World();
    world.largest = 6 * 1024 ** 4;
    await migrating(world, async (handle) => {
      await asked(handle, 'cutover');
      const { warnings } = await handle.query<EstatePlan>('plan');
      expect(warnings.join('\n')).toContain('the largest object has 6597.070 GB, and gcp takes none over 5497.558 GB');
      await answer(handle, 'cutover', 'reject');
      expect(await endOf(handle)).toBe('ApprovalRejected');
    });
  }, 120_000);

  it.each(
    sampled([
      ['create on gcp', 'before the approval'],
      ['list aws to gcp', 'before the approval'],
      ['copy 1', 'before the approval'],
      ['verify shard aws to gcp', 'before the approval'],
      ['follow aws to gcp', 'before the approval'],
      ['verify everything aws to gcp', 'before the fence'],
      ['endpoint aws ttl 5', 'before the fence'],
      ['fence aws', 'before the fence'],
      ['delta aws to gcp', 'under the fence'],
      ['verify delta aws to gcp', 'under the fence'],
      ['record switched, gcp current, aws retained', 'at the switch'],
      ['endpoint gcp ttl 5', 'at the switch'],
    ]),
  )(
    'that fails for good at "%s" is taken back wholly',
    async (step) => {
      const world = new World();
      world.instead.set(step, refuse);
      await migrating(world, async (handle) => {
        const cutover = asked(handle, 'cutover').then(() => answer(handle, 'cutover', 'approve'));
        cutover.catch(() => {});
        expect(await endOf(handle)).toBe('VerificationFailed');
      });
      expectAsBefore(world);
      expect(world.done.filter((what) => what.startsWith('remove'))).toEqual(['remove with data on gcp']);
    },
    120_000,
  );

  it('whose target is unhealthy after the switch brings back what was written there first', async () => {
    const world = new World();
    let looks = 0;
    const healthy = { failed: [], healthy: true, health: 'answers', endpoint: 'https://gcp.test/bucket' };
    world.instead.set('health of gcp', () =>
      ++looks > 1 ? { ...healthy, healthy: false, health: 'is down' } : healthy,
    );
    await migrating(world, async (handle) => {
      await answer(handle, 'cutover', 'approve');
      expect(await endOf(handle)).toBe('VerificationFailed');
    });
    const back = acts(world).slice(acts(world).indexOf('endpoint gcp ttl 5') + 1);
    expect(back).toEqual([
      'fence gcp',
      'delta gcp to aws',
      'verify delta gcp to aws',
      'endpoint aws ttl 5',
      'record fenced, aws current, gcp target',
      'lift aws',
      'record copying',
      'endpoint aws ttl 1',
      'no feed of aws',
      'remove with data on gcp',
      'record over',
    ]);
    expectAsBefore(world);
  }, 120_000);

  it('does not remove the target while what was written there cannot be brought back', async () => {
    const world = new World();
    world.instead.set('delta gcp to aws', refuse);
    await migrating(
      world,
      async (handle) => {
        await answer(handle, 'cutover', 'approve');
        await asked(handle, 'undo');
        await answer(handle, 'undo', 'approve');
        for (;;) {
          const { blocked } = await handle.query<Progress>('progress');
          if (blocked?.includes('left behind')) break;
          await setTimeout(100);
        }
        expect(world.done).not.toContain('remove with data on gcp');
        expect(world.fences).toEqual(new Set(['aws', 'gcp']));
        world.instead.clear();
        await handle.signal('retryCompensation', { by: 'ann' });
        expect(await endOf(handle)).toBe('UndoRequested');
      },
      { input: { soak: '1h' } },
    );
    expectAsBefore(world);
  }, 120_000);

  it('is over once, also where the fence of its source could be lifted last of all', async () => {
    const world = new World();
    world.instead.set('lift aws', refuse);
    await migrating(
      world,
      async (handle) => {
        await answer(handle, 'cutover', 'approve');
        await answer(handle, 'undo', 'approve');
        while (!(await handle.query<Progress>('progress')).blocked?.includes('left behind')) await setTimeout(100);
        expect(world.record.migration).toBeUndefined();
        world.instead.clear();
        await handle.signal('retryCompensation', { by: 'ann' });
        expect(await endOf(handle)).toBe('UndoRequested');
      },
      { input: { soak: '1h' } },
    );
    expectAsBefore(world);
  }, 120_000);

  it.each(['reject', 'cancel', 'undo'] as const)(
    'can be ended by %s while it waits',
    async (how) => {
      const world = new World();
      await migrating(world, async (handle) => {
        const { plan } = await asked(handle, 'cutover');
        if (how === 'reject') await handle.signal('rejectCutover', { by: 'ann', plan });
        else if (how === 'cancel') await handle.cancel();
        else await handle.signal('undo', { by: 'ann' });
        const ends = { reject: 'ApprovalRejected', cancel: 'CancelledFailure', undo: 'UndoRequested' };
        expect(await endOf(handle)).toBe(ends[how]);
      });
      expectAsBefore(world);
    },
    120_000,
  );

  it('takes the switch back in the soak when somebody answers so; the command alone does not', async () => {
    const world = new World();
    await migrating(
      world,
      async (handle) => {
        const { plan } = await asked(handle, 'cutover');
        await handle.signal('approveCutover', { by: 'ann', plan });
        await asked(handle, 'undo');
        await handle.signal('undo', { by: 'bob' });
        await setTimeout(300);
        expect((await handle.describe()).status.name).toBe('RUNNING');
        const audit = await handle.query<AuditEntry[]>('audit');
        expect(audit.map(({ what }) => what)).toContain(
          'undo not obeyed: after the switch answer the question "undo" instead',
        );
        await answer(handle, 'undo', 'approve', 'bob');
        expect(await endOf(handle)).toBe('UndoRequested');
      },
      { input: { soak: '1h' } },
    );
    expectAsBefore(world);
  }, 120_000);

  it('obeys an approval only for this plan, by who is listed, as many as are required', async () => {
    const world = new World();
    world.escapes = [{ identity: 'the-owner-of-the-project', by: 'roles/owner' }];
    const approvals = { required: 2, approvers: [{ name: 'ann' }, { name: 'bob' }] };
    await migrating(
      world,
      async (handle) => {
        const { plan, text } = await asked(handle, 'cutover');
        expect(text).toContain('The fence does not stop the-owner-of-the-project');
        await handle.signal('approveCutover', { by: 'eve', plan });
        await handle.signal('approveCutover', { by: 'ann', plan: '0123456789ab' });
        await handle.signal('approveCutover', { by: 'ann', plan });
        await handle.signal('approveCutover', { by: 'ann', plan });
        await setTimeout(300);
        expect(world.done).not.toContain('fence aws');
        const refused = (await handle.query<AuditEntry[]>('audit')).filter(({ what }) => what.includes('not obeyed'));
        expect(refused).toHaveLength(3);
        await handle.signal('approveCutover', { by: 'bob', plan });
        expect(await endOf(handle)).toBe('done');
      },
      { approvals },
    );
  }, 120_000);

  it('shows who said what and does not obey: the run before, an older plan, who is not listed, twice the same, not signed', async () => {
    const [ann, bob] = [generateKeyPairSync('ed25519'), generateKeyPairSync('ed25519')];
    const key = ({ publicKey }: typeof ann) =>
      publicKey.export({ type: 'spki', format: 'der' }).subarray(-32).toString('base64');
    const approvers = [
      { name: 'ann', key: key(ann) },
      { name: 'bob', key: key(bob) },
    ];
    const approvals = { required: 2, approvers, identity: 'signed' };
    const sign = async (handle: WorkflowHandle, plan: string, { privateKey } = ann): Promise<string> => {
      const { runId } = await handle.describe();
      const answer = { workflowId: handle.workflowId, runId, question: 'cutover', answer: 'approve', plan };
      return signature(null, signedText(answer), privateKey).toString('base64');
    };
    let before = { plan: '', proof: '' };
    await migrating(
      new World(),
      async (handle) => {
        const { plan } = await asked(handle, 'cutover');
        before = { plan, proof: await sign(handle, plan) };
        await handle.signal('undo', { by: 'ann' });
        expect(await endOf(handle)).toBe('UndoRequested');
      },
      { approvals },
    );
    const world = new World();
    await migrating(
      world,
      async (handle) => {
        const { plan, required } = await asked(handle, 'cutover');
        expect(required).toBe(2);
        const older = planToken('of an older plan', (await handle.describe()).runId, 'cutover');
        const good = { by: 'ann', plan, proof: await sign(handle, plan) };
        for (const bad of [
          { by: 'ann', ...before },
          { ...good, plan: older, proof: await sign(handle, older) },
          { ...good, by: 'eve' },
          { ...good, proof: undefined },
          { ...good, proof: await sign(handle, plan, bob) },
          { ...good, proof: before.proof },
          good,
          good,
        ])
          await handle.signal('approveCutover', bad);
        while ((await asked(handle, 'cutover')).given.length < 8) await setTimeout(50);
        const { given } = await asked(handle, 'cutover');
        const signed = expect.stringContaining('is "signed" and "proof" is missing or wrong');
        expect(given.map(({ by, obeyed, verified, reason }) => [by, obeyed, verified, reason])).toEqual([
          ['ann', false, false, expect.stringContaining('another plan or run')],
          ['ann', false, true, expect.stringContaining('another plan or run')],
          ['eve', false, false, expect.stringContaining('not listed')],
          ...Array(3).fill(['ann', false, false, signed]),
          ['ann', true, true, undefined],
          ['ann', false, true, expect.stringContaining('already answered')],
        ]);
        const audit = await handle.query<AuditEntry[]>('audit');
        expect(audit.filter(({ what }) => what.includes('not obeyed'))).toHaveLength(7);
        expect(audit.filter(({ who }) => who === 'eve (UNVERIFIED)')).toHaveLength(1);
        expect(world.done).not.toContain('fence aws');
        await handle.signal('approveCutover', { by: 'bob', plan, proof: await sign(handle, plan, bob) });
        expect(await endOf(handle)).toBe('done');
      },
      { approvals },
    );
    expect(world.trail.filter((what) => what.includes('not obeyed'))).toHaveLength(7);
  }, 120_000);

  it('reminds while it waits, says since when and what that costs, and stays in step when the deadline has passed', async () => {
    const world = new World();
    const approvals = { remind: '1s', deadline: '2s', on_deadline: 'hold' };
    await migrating(
      world,
      async (handle) => {
        const { since, deadline, reminders, remindAt = '', costPerDayUsd } = await asked(handle, 'cutover');
        expect(reminders).toBe(0);
        expect(Date.parse(remindAt) - Date.parse(since)).toBeLessThan(2000);
        const { placements } = world.record;
        expect(costPerDayUsd).toBe(placements.reduce((sum, one) => sum + one.monthlyCostUsd, 0) / 30);
        expect(placements).toHaveLength(2);
        while ((await asked(handle, 'cutover')).reminders < 3) await setTimeout(50);
        expect(world.record).toMatchObject({
          status: 'migrating',
          waitingFor: expect.stringContaining(`since ${since}; deadline ${deadline} has passed, it is still held`),
        });
        const reminded = (lines: readonly string[]) => lines.filter((what) => what.startsWith('reminder '));
        const audit = (await handle.query<AuditEntry[]>('audit')).map(({ what }) => what);
        expect(reminded(audit)[2]).toMatch(
          /^reminder 3: cutover: a person is asked since .*; next reminder .*; a day of waiting costs \$0\.1\d$/,
        );
        expect(reminded(world.trail).length).toBeGreaterThanOrEqual(2);
        expect(world.done.at(-1)).toBe('keep aws to gcp');
        await answer(handle, 'cutover', 'approve');
        await asked(handle, 'undo');
        expect(world.record.waitingFor).toBe('');
        expect(await endOf(handle)).toBe('done');
      },
      { approvals },
    );
  }, 120_000);

  it('asks about objects that cannot be copied, and tries again only the shards that have any', async () => {
    const world = new World();
    let failing = 2;
    world.instead.set('copy 1', () => ({
      ...nothing,
      failed: failing-- > 0 ? 1 : 0,
      failedNames: ['x'],
      failures: 'failures/1',
    }));
    await migrating(world, async (handle) => {
      expect((await asked(handle, 'objects')).text).toContain('failures/1');
      await answer(handle, 'objects', 'retry');
      await setTimeout(200);
      await answer(handle, 'objects', 'retry', 'bob');
      await answer(handle, 'cutover', 'reject');
      expect(await endOf(handle)).toBe('ApprovalRejected');
    });
    expect(world.done.filter((what) => what.startsWith('copy')).sort()).toEqual([
      'copy 0',
      'copy 1',
      'copy 1',
      'copy 1',
    ]);
  }, 120_000);

  it('that goes on without some objects deletes nothing at the source, and keeps it until somebody removes it', async () => {
    const world = new World();
    world.instead.set('copy 1', () => ({ ...nothing, failed: 1, failedNames: ['x'], failures: 'failures/1' }));
    await migrating(world, async (handle) => {
      expect((await asked(handle, 'objects')).text).toContain('keeps the source until somebody removes it');
      await answer(handle, 'objects', 'skip');
      await answer(handle, 'cutover', 'approve');
      expect(await endOf(handle)).toBe('done');
    });
    expect(world.keeps).toEqual(new Set(['aws']));
    const [kept] = world.record.placements;
    expect([kept?.provider, kept?.role, kept?.removeAt]).toEqual(['aws', 'retained', undefined]);
  }, 120_000);

  it('is refused while another one of the service is interrupted', async () => {
    const world = new World();
    const mark = { provider: 'aws', generation: 1 };
    const migration = { workflowId: 'w', runId: 'r', from: mark, to: { ...mark, provider: 'azure' } } as const;
    world.record = { ...world.record, migration: { ...migration, stage: 'copying', sourceOnly: 0 } };
    await migrating(world, async (handle) => expect(await endOf(handle)).toBe('OperationInProgress'));
    expect(world.done).toEqual([]);
  }, 120_000);

  it('stops and asks when much is gone at once, also while it waits for the approval', async () => {
    const world = new World();
    world.instead.set('keep aws to gcp', () => ({ ...noDelta, deletes: 'held', gone: 5000 }));
    await migrating(world, async (handle) => {
      expect((await asked(handle, 'brake')).text).toContain('5000 objects are gone');
      await answer(handle, 'brake', 'continue');
      await answer(handle, 'cutover', 'approve');
      expect(await endOf(handle)).toBe('done');
    });
  }, 120_000);

  it('pauses in the middle of following, and goes on', async () => {
    const world = new World();
    await migrating(world, async (handle) => {
      await asked(handle, 'cutover');
      while (!world.done.includes('keep aws to gcp')) await setTimeout(20);
      await handle.signal('pause', { by: 'ann' });
      await setTimeout(500);
      const before = world.done.length;
      await setTimeout(500);
      expect(world.done).toHaveLength(before);
      await handle.signal('resume', { by: 'ann' });
      await answer(handle, 'cutover', 'approve');
      expect(await endOf(handle)).toBe('done');
    });
  }, 120_000);

  it('repeats word for word what it has told a records bucket and had no answer to', async () => {
    const world = new World();
    world.instead.set('feed of aws', () => {
      world.unheard = 6; // all attempts at both buckets
      return { outcome: 'created' };
    });
    await migrating(world, async (handle) => {
      const blocked = async () => (await handle.query<Progress>('progress')).blocked;
      const held = (async () => {
        while (!(await blocked())?.includes('no answer came')) await setTimeout(20);
        await handle.signal('retryStep', { by: 'ann' });
      })();
      await answer(handle, 'cutover', 'approve');
      await held;
      expect(await endOf(handle)).toBe('done');
    });
    expect(world.unheard).toBeLessThan(0);
    for (const bucket of ['aws', 'gcp']) {
      const lines = [...world.files].filter(([key]) => key.startsWith(bucket)).flatMap(([, text]) => JSON.parse(text));
      expect(lines.map(({ seq }: AuditLine) => seq)).toEqual(lines.map((_, at) => at + 1));
    }
  }, 120_000);

  it('is resumed before what it followed with has heard of the pause', async () => {
    const world = new World();
    await migrating(world, async (handle) => {
      await asked(handle, 'cutover');
      const pumps = () => world.done.filter((one) => one === 'keep aws to gcp').length;
      while (pumps() < 1) await setTimeout(20);
      await handle.signal('pause', { by: 'ann' });
      await handle.signal('resume', { by: 'ann' });
      while (pumps() < 2) await setTimeout(20);
      await answer(handle, 'cutover', 'approve');
      expect(await endOf(handle)).toBe('done');
    });
  }, 120_000);

  it('refuses what cannot be: the same cloud, one that holds it, one that it is not on, a type without a mover', async () => {
    for (const [input, type] of [
      [{ to: 'aws' }, 'InvalidInput'],
      [{ from: 'gcp', to: 'aws' }, 'InvalidInput'],
      [{ to: 'mars' }, 'Unplaceable'],
      [{ to: undefined }, 'InvalidInput'],
      [{ soak: 'soon' }, 'InvalidInput'],
    ] as const) {
      const world = new World();
      await migrating(world, async (handle) => expect(await endOf(handle)).toBe(type), { input });
      expect(world.done).toEqual([]);
    }
  }, 120_000);
});

describe('a migration whose run was terminated', () => {
  /** Ends it at the first of these, and recovers. */
  async function recovering(
    stop: string,
    direction: 'finish' | 'undo',
    act: (handle: WorkflowHandle) => Promise<void>,
    { back = false }: { back?: boolean } = {},
  ) {
    const world = new World();
    await migrating(
      world,
      async (handle) => {
        const stopped = new Promise<void>((resolve) => {
          world.instead.set(stop, async () => {
            await handle.terminate();
            resolve();
            throw new CancelledFailure('terminated');
          });
        });
        const cutover = asked(handle, 'cutover').then(() => answer(handle, 'cutover', 'approve'));
        cutover.catch(() => {});
        if (back) await answer(handle, 'undo', 'approve');
        await stopped;
      },
      { input: { soak: '1h' } },
    );
    world.instead.clear();
    await migrating(world, act, { type: 'recoverService', input: { direction } });
    return world;
  }

  it.each(
    sampled([
      ['record copying', 'at the begin'],
      ['create on gcp', 'before'],
      ['copy 1', 'before'],
      ['fence aws', 'after'],
      ['endpoint gcp ttl 5', 'after'],
    ]),
  )(
    'at "%s" is taken back by recover --undo',
    async (stop) => {
      const world = await recovering(stop, 'undo', async (handle) => expect(await endOf(handle)).toBe('done'));
      expectAsBefore(world);
    },
    120_000,
  );

  it.each(
    sampled([
      ['create on gcp', 'before'],
      ['copy 1', 'before'],
      ['fence aws', 'before'],
    ]),
  )(
    'at "%s" is brought to its end by recover, with another approval',
    async (stop) => {
      const world = await recovering(stop, 'finish', async (handle) => {
        await answer(handle, 'cutover', 'approve');
        expect(await endOf(handle)).toBe('done');
      });
      expect(world.record).toMatchObject({ placements: [{ role: 'retained' }, { provider: 'gcp', role: 'current' }] });
    },
    120_000,
  );

  it.each(['create on gcp', 'copy 1', 'fence aws'])(
    'at "%s", taken up and then rejected, leaves nothing of its target',
    async (stop) => {
      const world = await recovering(stop, 'finish', async (handle) => {
        await answer(handle, 'cutover', 'reject');
        expect(await endOf(handle)).toBe('ApprovalRejected');
      });
      expectAsBefore(world);
    },
    120_000,
  );

  it('while it removed the target again begins anew with another one', async () => {
    const finish = async (handle: WorkflowHandle) => {
      await answer(handle, 'cutover', 'approve');
      expect(await endOf(handle)).toBe('done');
    };
    const world = await recovering('remove with data on gcp', 'finish', finish, { back: true });
    expect(world.record.placements).toMatchObject([{ role: 'retained' }, { provider: 'gcp', generation: 2 }]);
    expect(world.record.migration).toBeUndefined();
  }, 120_000);

  it('while it creates the target is taken back only once what it had asked for can come no more', async () => {
    let began = 0;
    await recovering('create on gcp', 'undo', async (handle) => {
      began = Date.now();
      expect(await endOf(handle)).toBe('done');
    });
    expect(Date.now() - began).toBeGreaterThan(2000); // the deadline of a call, and the time to settle
  }, 120_000);

  it.each(['delta gcp to aws', 'record fenced, aws current, gcp target', 'lift aws'])(
    'on its way back at "%s" is brought to its end with writers let in at the target',
    async (stop) => {
      const finish = async (handle: WorkflowHandle) => {
        if (stop !== 'delta gcp to aws') await answer(handle, 'cutover', 'approve');
        await asked(handle, 'undo');
        expect(stage.world.fences).toEqual(new Set(['aws']));
        expect(stage.world.endpoint).toMatchObject({ endpoints: [{ provider: 'gcp' }] });
        expect(await endOf(handle)).toBe('done');
      };
      await recovering(stop, 'finish', finish, { back: true });
    },
    120_000,
  );

  it('before its endpoint was written sends everybody to the target during the soak', async () => {
    await recovering('record switched, gcp current, aws retained', 'finish', async (handle) => {
      await asked(handle, 'undo');
      expect(stage.world.endpoint).toMatchObject({ endpoints: [{ provider: 'gcp' }] });
      expect(await endOf(handle)).toBe('done');
    });
  }, 120_000);

  it('after the switch goes on with the soak', async () => {
    const world = await recovering('endpoint gcp ttl 5', 'finish', async (handle) => {
      await asked(handle, 'undo');
      expect(await endOf(handle)).toBe('done');
    });
    expect(world.record).toMatchObject({ placements: [{ role: 'retained' }, { provider: 'gcp', role: 'current' }] });
    expect(world.endpoint).toMatchObject({ ttlSeconds: 1, endpoints: [{ provider: 'gcp' }] });
  }, 120_000);
});

describe('a verification', () => {
  const target: RecordedPlacement = { ...source, provider: 'gcp', providerType: 'gcp', role: 'current' };
  const kept: RecordedPlacement = { ...source, role: 'retained', removeAt: '2999-01-01T00:00:00.000Z' };
  const much = {
    compared: { objects: 5003, bytes: 3000 },
    bodiesRead: { objects: 0, bytes: 0 },
    same: 3,
    different: { extra: 5000 },
    differentNames: ['x'],
    report: 'report',
  };
  const verifying = (world: World, input: object, act: (handle: WorkflowHandle) => Promise<void>) =>
    migrating(world, act, { type: 'verifyService', input });
  function differing(placements: RecordedPlacement[]): World {
    const world = new World();
    world.record = { ...world.record, placements };
    let looks = 0;
    world.instead.set('verify shard gcp to aws', () =>
      ++looks > 2 ? { ...much, same: 5003, different: {}, differentNames: [], report: '' } : much,
    );
    return world;
  }

  it('asks before a repair deletes much, and does nothing where somebody says no', async () => {
    const world = differing([kept, target]);
    await verifying(world, { repair: true }, async (handle) => {
      expect((await asked(handle, 'brake')).text).toContain('10000 objects that the current placement lacks');
      await answer(handle, 'brake', 'undo');
      expect(await endOf(handle)).toBe('UndoRequested');
    });
    expect(world.done.filter((what) => what.startsWith('repair'))).toEqual([]);
    await verifying(differing([kept, target]), { repair: true }, async (handle) => {
      await answer(handle, 'brake', 'continue');
      const { verified } = (await handle.result()) as VerifyResult;
      expect(verified).toMatchObject({ from: 'gcp', equal: true, comparisons: [{ repaired: { deleted: 10_000 } }] });
    });
  }, 120_000);

  it('deletes nothing of what a migration went on without, and only looks unless it is asked to repair', async () => {
    const world = differing([{ ...kept, removeAt: undefined }, target]);
    await verifying(world, { repair: true }, async (handle) => expect(await endOf(handle)).toBe('done'));
    expect(world.done.filter((what) => what.startsWith('repair'))).toEqual(Array(2).fill('repair gcp to aws, keep'));
    const looked = differing([kept, target]);
    await verifying(looked, {}, async (handle) => {
      const { verified } = (await handle.result()) as VerifyResult;
      expect(verified).toMatchObject({
        equal: false,
        comparisons: [{ role: 'retained', found: { different: { extra: 10_000 } } }],
      });
    });
    expect(looked.record.revision).toBe(0);
  }, 120_000);

  it('repairs no current placement, and none of a migration that was interrupted', async () => {
    const both = differing([{ ...source, role: 'current' }, target]);
    const interrupted = differing([kept, target]);
    const mark = { provider: 'aws', generation: 1 };
    interrupted.record.migration = {
      ...{ workflowId: 'w', runId: 'r', from: mark, to: { ...mark, provider: 'gcp' } },
      ...{ stage: 'switched', sourceOnly: 0 },
    };
    for (const [world, type] of [
      [both, 'NotSupported'],
      [interrupted, 'OperationInProgress'],
    ] as const) {
      await verifying(world, { repair: true, from: 'gcp' }, async (handle) => expect(await endOf(handle)).toBe(type));
      expect(world.done).toEqual([]);
    }
  }, 120_000);
});
