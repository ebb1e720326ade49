/** Approvals and their deadlines, on the server that skips time. Files and rules are the real ones; no cloud is reached. */
import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  ApplicationFailure,
  WorkflowFailedError,
  type WorkflowHandle,
  WorkflowUpdateFailedError,
} from '@temporalio/client';
import proto from '@temporalio/proto';
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { Worker, type WorkflowBundleOption } from '@temporalio/worker';
import { createEstateActivities } from '../../activities/estate/load.ts';
import { createPlacementActivities } from '../../activities/estate/place.ts';
import { OperationHandle } from '../../client/index.ts';
import { loadSheets } from '../../config/load.ts';
import { providerQueue, taskQueue, urgentQueue } from '../../model/operations.ts';
import type { AuditEntry, Progress } from '../../model/progress.ts';
import { type Signed, signedText } from '../../model/signature.ts';
import { workflowBundle } from '../../workers/bundle.ts';
import { searchAttributes } from '../../workflows/search-attributes.ts';
import { quietTemporal } from '../e2e/own-worker.ts';

const { temporal } = proto;

const root = join(import.meta.dirname, '../..');
const folder = mkdtempSync(join(tmpdir(), 'approval-'));

const [ann, bob] = [generateKeyPairSync('ed25519'), generateKeyPairSync('ed25519')];
const publicKey = ({ publicKey: key }: typeof ann): string =>
  key.export({ type: 'spki', format: 'der' }).subarray(-32).toString('base64');

function estateFile(rules: 'hold' | 'undo' | 'signed'): string {
  const file = join(folder, `${rules}.yaml`);
  const onDeadline = rules === 'undo' ? 'undo' : 'hold';
  const estate = {
    providers: [{ name: 'aws', type: 'aws', region: 'us-west-2' }],
    services: { firmware: { type: 'storage' } },
    approvals: {
      required: 2,
      approvers: [
        { name: 'ann', key: publicKey(ann) },
        { name: 'bob', key: publicKey(bob) },
      ],
      deadline: '72h',
      remind: '24h',
      on_deadline: onDeadline,
      identity: rules === 'signed' ? 'signed' : 'named',
    },
  };
  writeFileSync(file, JSON.stringify(estate));
  return file;
}

describe('the approval of a plan', () => {
  let environment: TestWorkflowEnvironment;
  let bundle: WorkflowBundleOption;
  let provisioned: string[] = [];
  /** Thrown by the next attempts to provision. */
  let refusals: ApplicationFailure[] = [];
  let statuses: string[] = [];
  /** Rights that the cloud says the worker lacks. */
  let lacking: string[] = [];

  beforeAll(async () => {
    quietTemporal();
    const path = join(root, '.local/python/bin/temporal-test-server');
    environment = await TestWorkflowEnvironment.createTimeSkipping({
      server: { executable: { type: 'existing-path', path } },
    });
    const types = temporal.api.enums.v1.IndexedValueType;
    const typeOf: Record<string, number> = {
      KEYWORD: types.INDEXED_VALUE_TYPE_KEYWORD,
      KEYWORD_LIST: types.INDEXED_VALUE_TYPE_KEYWORD_LIST,
      DOUBLE: types.INDEXED_VALUE_TYPE_DOUBLE,
      BOOL: types.INDEXED_VALUE_TYPE_BOOL,
    };
    await environment.connection.operatorService.addSearchAttributes({
      namespace: 'default',
      searchAttributes: Object.fromEntries(
        Object.values(searchAttributes).map(({ name, type }) => [name, typeOf[type] ?? 0]),
      ),
    });
    bundle = await workflowBundle(root, join(root, '.local/bundles'));
  }, 60_000);
  afterAll(() => environment.teardown());
  beforeEach(() => {
    provisioned = [];
    refusals = [];
    statuses = [];
    lacking = [];
  });

  /** Runs `act` on a started `deployService` with workers around it. */
  async function withRun(
    rules: 'hold' | 'undo' | 'signed',
    approval: 'manual' | 'none',
    act: (handle: WorkflowHandle) => Promise<void>,
  ): Promise<void> {
    const common = { connection: environment.nativeConnection, namespace: 'default' };
    const registry = {
      openEstate: async () => ({ uid: '0'.repeat(32), controller: 'test' }),
      readServices: async () => ({}),
      readApplied: async () => undefined,
      acquireService: async () => ({ granted: true, revision: 0 }),
      releaseService: async () => {},
      writeService: async ({ request }: { request: { change: { status?: string } } }) =>
        void statuses.push(request.change.status ?? ''),
    };
    const clouds = {
      account: async () => '000000000000',
      inspectPlacement: async () => ({
        specs: [{ key: 'bucket', kind: 'aws.s3.bucket', name: 'b', needs: [], desired: {}, holdsData: true }],
        changes: [{ key: 'bucket', kind: 'aws.s3.bucket', name: 'b', action: 'create', drift: [] }],
        missing: lacking,
      }),
      ensureResource: async ({ spec }: { spec: { key: string } }) => {
        const refusal = refusals.shift();
        if (refusal) throw refusal;
        provisioned.push(spec.key);
        return { outcome: 'created', id: 'b', outputs: {}, drift: [], unsettled: false, repeatable: true };
      },
      removeResource: async () => 'gone',
      appendAudit: async () => {},
      keepRecord: async () => {},
      verifyPlacement: async () => ({ failed: [], healthy: true, health: 'answers', endpoint: 'https://b' }),
    };
    const files = createEstateActivities({
      estateFile: estateFile(rules),
      waits: { callDeadlineMs: 1000, settleMs: 1000, blockedMs: 300_000, followMs: 200, fenceMs: 300 },
    });
    const placing = createPlacementActivities({ sheets: loadSheets(join(root, 'config')) });
    const workers = await Promise.all([
      Worker.create({
        ...common,
        taskQueue,
        workflowBundle: bundle,
        activities: { ...registry, ...files, ...placing },
      }),
      Worker.create({ ...common, taskQueue: providerQueue('aws'), activities: clouds }),
      Worker.create({ ...common, taskQueue: urgentQueue('aws'), activities: clouds }),
    ]);
    const running = workers.map((worker) => worker.run());
    try {
      const workflowId = `deploy-${Math.random()}`;
      await act(
        await environment.client.workflow.start('deployService', {
          workflowId,
          taskQueue,
          args: [{ service: 'firmware', approval }],
        }),
      );
    } finally {
      for (const worker of workers) worker.shutdown();
      await Promise.all(running);
    }
  }

  async function question(handle: WorkflowHandle): Promise<Progress['waitingFor'][number]> {
    for (;;) {
      const [asked] = (await handle.query<Progress>('progress')).waitingFor;
      if (asked) return asked;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
  const decide = (handle: WorkflowHandle, decision: object) => handle.executeUpdate('decide', { args: [decision] });
  const failureOf = (handle: WorkflowHandle) =>
    handle.result().then(
      () => 'done',
      (error: unknown) =>
        error instanceof WorkflowFailedError && error.cause instanceof ApplicationFailure ? error.cause.type : error,
    );

  it('is given when as many listed people as required have said so, each for this very plan', async () => {
    await withRun('undo', 'manual', async (handle) => {
      const { plan } = await question(handle);
      const yes = { question: 'plan', answer: 'approve', plan };
      for (const [bad, why] of [
        [{ ...yes, by: 'eve' }, /not listed/],
        [{ ...yes, by: 'ann', plan: '0123456789ab' }, /another plan/],
        [{ ...yes, by: 'ann', answer: 'perhaps' }, /allowed: approve, reject/],
        [{ ...yes, by: 'ann', extra: 1 }, /extra/],
      ] as const) {
        const refused = await decide(handle, bad).catch((error: unknown) => error);
        expect(refused instanceof WorkflowUpdateFailedError && refused.cause?.message).toMatch(why);
      }
      await decide(handle, { ...yes, by: 'ann' });
      const twice = await decide(handle, { ...yes, by: 'ann' }).catch((error: unknown) => error);
      expect(twice).toBeInstanceOf(WorkflowUpdateFailedError);
      await handle.signal('decide', { nonsense: true });
      expect(provisioned).toEqual([]);
      await handle.signal('approvePlan', { by: 'bob', plan });
      expect(await failureOf(handle)).toBe('done');
      expect(provisioned).toEqual(['bucket']);
    });
  });

  it('counts only with the signature of a listed key where the estate asks for it', async () => {
    await withRun('signed', 'manual', async (handle) => {
      const { plan } = await question(handle);
      const { runId } = await handle.describe();
      const { workflowId } = handle;
      const answer = { workflowId, runId, question: 'plan', answer: 'approve', plan };
      const proof = (key: KeyObject, change: Partial<Signed> = {}) =>
        sign(null, signedText({ ...answer, ...change }), key).toString('base64');
      const yes = { question: 'plan', answer: 'approve', plan };
      for (const [by, bad] of [
        ['ann', undefined],
        ['ann', 'not base64'],
        ['ann', proof(bob.privateKey)],
        ['bob', proof(ann.privateKey)],
        ['eve', proof(ann.privateKey)],
        ['ann', proof(ann.privateKey, { runId: 'another run' })],
        ['ann', proof(ann.privateKey, { workflowId: 'another' })],
        ['ann', proof(ann.privateKey, { answer: 'reject' })],
        ['ann', proof(ann.privateKey, { plan: '0123456789ab' })],
      ] as const) {
        const refused = await decide(handle, { ...yes, by, ...(bad && { proof: bad }) }).catch(
          (error: unknown) => error,
        );
        expect(refused).toBeInstanceOf(WorkflowUpdateFailedError);
        await handle.signal('decide', { ...yes, by, ...(bad && { proof: bad }) });
      }
      expect(provisioned).toEqual([]);
      const given = await decide(handle, { ...yes, by: 'ann', proof: proof(ann.privateKey) });
      expect(given).toMatchObject({ verified: true, obeyed: true });
      await new OperationHandle(handle).approve({ by: 'bob', plan, key: bob.privateKey });
      expect(await failureOf(handle)).toBe('done');
      const who = (await handle.query<AuditEntry[]>('audit')).filter(({ what }) => what === 'plan: approve');
      expect(who.map((entry) => entry.who)).toEqual(['ann (VERIFIED)', 'bob (VERIFIED)']);
    });
  });

  it('is not asked for what the worker may not do: the run is refused with every missing right, before anything exists', async () => {
    lacking = ['s3:CreateBucket', 's3:DeleteBucket'];
    await withRun('undo', 'manual', async (handle) => {
      const failed = await handle.result().catch((error: WorkflowFailedError) => error.cause);
      expect(failed).toMatchObject({
        type: 'PermissionDenied',
        message: expect.stringContaining('firmware on aws: the worker lacks s3:CreateBucket, s3:DeleteBucket'),
      });
      expect([provisioned, statuses]).toEqual([[], []]);
    });
  });

  it('ends the run when one person rejects', async () => {
    await withRun('undo', 'manual', async (handle) => {
      const { plan } = await question(handle);
      await handle.signal('rejectPlan', { by: 'bob', plan });
      expect(await failureOf(handle)).toBe('ApprovalRejected');
      expect(provisioned).toEqual([]);
    });
  });

  it('expires after its deadline where the estate says undo', async () => {
    await withRun('undo', 'manual', async (handle) => {
      expect(await failureOf(handle)).toBe('ApprovalExpired');
      expect(provisioned).toEqual([]);
    });
  });

  it('is waited for beyond its deadline where the estate says hold, and people are reminded', async () => {
    await withRun('hold', 'manual', async (handle) => {
      const { plan } = await question(handle);
      await environment.sleep('100h');
      const { reminders, costPerDayUsd } = await question(handle);
      // Four, and where the deadline falls between two of them one of it.
      expect([4, 5]).toContain(reminders);
      expect(costPerDayUsd).toBeUndefined();
      for (const by of ['ann', 'bob']) await decide(handle, { question: 'plan', answer: 'approve', by, plan });
      expect(await failureOf(handle)).toBe('done');
    });
  }, 120_000);

  it('is not needed to hold a run that lacks a right: it is blocked, looks again after five minutes and goes on alone', async () => {
    refusals = [1, 2].map(() => ApplicationFailure.nonRetryable('missing s3:CreateBucket', 'PermissionDenied'));
    await withRun('hold', 'none', async (handle) => {
      expect(await failureOf(handle)).toBe('done');
      expect(provisioned).toEqual(['bucket']);
      expect(statuses.filter((status) => status === 'blocked')).toHaveLength(2);
    });
  });
});
