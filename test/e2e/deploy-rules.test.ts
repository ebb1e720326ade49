/** What `deploy` does to what already runs, and that data is never deleted by accident: each sentence of the contract. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { DeleteDatabaseCommand, GetDatabaseCommand, GlueClient } from '@aws-sdk/client-glue';
import {
  GetBucketTaggingCommand,
  GetBucketVersioningCommand,
  GetObjectCommand,
  HeadBucketCommand,
  PutBucketTaggingCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import { ApplicationFailure } from '@temporalio/activity';
import { WorkflowFailedError } from '@temporalio/client';
import type { Service } from '../../model/estate.ts';
import { type EstatePlan, type OperationResult, taskQueue, workflowIds } from '../../model/operations.ts';
import { planHash } from '../../model/plan-hash.ts';
import type { Progress } from '../../model/progress.ts';
import type { ServiceRecord } from '../../model/record.ts';
import { type OwnWorker, ownWorker, quietTemporal, writeEstate } from './own-worker.ts';

const estate = 'rules';
const s3 = new S3Client({ region: 'us-west-2' });

type ServiceInput = Pick<Service, 'type'> & Partial<Service>;
type Services = Record<string, ServiceInput>;
const onAws: ServiceInput = { type: 'storage', preferred_providers: ['aws'] };
const onGcp: ServiceInput = { type: 'storage', preferred_providers: ['gcp'] };

let worker: OwnWorker;
/** What the workflows have asked the clouds to make, repair or remove: `ensure service/key`. */
let asked: string[] = [];
/** Steps in after a resource was made. */
let after: (service: string, name: string) => Promise<void> = async () => {};

beforeAll(async () => {
  quietTemporal();
  const file = writeEstate(join(mkdtempSync(join(tmpdir(), 'estate-')), 'estate.yaml'), estate, {
    base: onAws,
    open: { ...onAws, protect: false },
  });
  worker = await ownWorker({
    namespace: `rules-${Date.now()}`,
    estateFile: file,
    wrap: (real) => ({
      ...real,
      async ensureResource(request) {
        const { placement, spec } = request;
        asked.push(`ensure ${placement.owner.service}/${spec.key}`);
        const ensured = await real.ensureResource(request);
        await after(placement.owner.service, spec.name);
        return ensured;
      },
      removeResource(request) {
        asked.push(`remove ${request.placement.owner.service}/${request.resource.key}`);
        return real.removeResource(request);
      },
    }),
  });
}, 120_000);
beforeEach(() => {
  asked = [];
  after = async () => {};
});
afterAll(() => worker.close(), 60_000);

let runs = 0;
const start = (type: string, input: object, workflowId = `${type}-${++runs}`) =>
  worker.client.workflow.start(type, { taskQueue, workflowId, args: [input] });
async function run<T = OperationResult>(type: string, input: object): Promise<T> {
  return (await start(type, input)).result() as Promise<T>;
}
/** What a run that fails ends with. */
async function failing(type: string, input: object): Promise<ApplicationFailure> {
  try {
    await run(type, input);
  } catch (error) {
    if (error instanceof WorkflowFailedError && error.cause instanceof ApplicationFailure) return error.cause;
    throw error;
  }
  throw new Error(`${type} succeeded`);
}
const deploy = (services: Services, placement?: object): Promise<OperationResult> =>
  run('deployEstate', { file: { services, ...(placement && { placement }) } });
const plan = (services: Services, placement?: object): Promise<EstatePlan> =>
  run<EstatePlan>('planEstate', { file: { services, ...(placement && { placement }) } });
const record = (service: string): Promise<ServiceRecord> =>
  worker.client.workflow.getHandle(workflowIds.cloudService(estate, service)).query('record');
const providersOf = async (service: string): Promise<string[]> =>
  (await record(service)).placements.map(({ provider }) => provider);
async function bucketOf(service: string, provider = 'aws'): Promise<string> {
  const { placements } = await record(service);
  return placements.find((one) => one.provider === provider)?.resources[0]?.name ?? 'none';
}
const changesOf = (planned: EstatePlan): string[] =>
  planned.services.flatMap(({ service, placements }) =>
    placements.flatMap(({ provider, changes }) =>
      changes
        .filter(({ action }) => action !== 'none')
        .map(({ key, action }) => `${action} ${service}/${provider}/${key}`),
    ),
  );

describe('deploy', () => {
  it('adds a service and a placement that are missing, and leaves alone what is there', async () => {
    await deploy({ first: onAws });
    const kept = await bucketOf('first');
    asked = [];
    const both: ServiceInput = { ...onAws, preferred_providers: ['aws', 'gcp'], redundancy: 2 };
    const result = await deploy({ first: both, second: onAws });
    expect(result.placements.map(({ service, provider }) => `${service} ${provider}`).sort()).toEqual([
      'first aws',
      'first gcp',
      'second aws',
    ]);
    expect(await bucketOf('first')).toBe(kept);
    expect(asked.filter((one) => one.startsWith('remove'))).toEqual([]);
  }, 120_000);

  it('creates again a resource that was deleted behind its back', async () => {
    const lake: ServiceInput = { ...onAws, type: 'data_lake' };
    await deploy({ lake });
    const catalogue = (await record('lake')).placements[0]?.resources.find(({ kind }) => kind.includes('glue'));
    const glue = new GlueClient({ region: 'us-west-2' });
    await glue.send(new DeleteDatabaseCommand({ Name: catalogue?.name }));
    expect(changesOf(await plan({ lake }))).toEqual([`create lake/aws/${catalogue?.key}`]);
    await deploy({ lake });
    await glue.send(new GetDatabaseCommand({ Name: catalogue?.name }));
    expect(changesOf(await plan({ lake }))).toEqual([]);
  }, 120_000);

  it('repairs what was changed behind its back', async () => {
    await deploy({ drifting: onAws });
    const Bucket = await bucketOf('drifting');
    await s3.send(new PutBucketVersioningCommand({ Bucket, VersioningConfiguration: { Status: 'Suspended' } }));
    expect(changesOf(await plan({ drifting: onAws }))).toEqual(['update drifting/aws/bucket']);
    await deploy({ drifting: onAws });
    expect(await s3.send(new GetBucketVersioningCommand({ Bucket }))).toMatchObject({ Status: 'Enabled' });
    expect(changesOf(await plan({ drifting: onAws }))).toEqual([]);
  }, 120_000);

  it('does nothing at all when nothing differs', async () => {
    await deploy({ still: onAws });
    asked = [];
    expect(await deploy({ still: onAws })).toMatchObject({ outcome: 'done', placements: [{ service: 'still' }] });
    expect(asked).toEqual([]);
  }, 120_000);

  it('leaves a placed service although another cloud scores better, and proposes to migrate it', async () => {
    const free: ServiceInput = { type: 'storage', preferred_providers: ['aws', 'gcp'] };
    const best = (await plan({ scored: free })).services[0]?.placements[0]?.provider;
    const other = best === 'aws' ? 'gcp' : 'aws';
    await deploy({ scored: { ...free, preferred_providers: [other] } });
    asked = [];
    const planned = await plan({ scored: free });
    expect(planned.proposals).toContainEqual(
      expect.objectContaining({
        service: 'scored',
        command: `multi-cloud migrate scored --from ${other} --to ${best}`,
      }),
    );
    await deploy({ scored: free });
    expect(await providersOf('scored')).toEqual([other]);
    expect(asked).toEqual([]);
  }, 120_000);

  it('leaves a service that runs where the file would not place it any more', async () => {
    await deploy({ barred: onAws });
    asked = [];
    expect((await plan({ barred: onGcp })).proposals).toContainEqual(
      expect.objectContaining({ command: 'multi-cloud migrate barred --from aws --to gcp' }),
    );
    await deploy({ barred: onGcp });
    expect(await providersOf('barred')).toEqual(['aws']);
    expect(asked).toEqual([]);
  }, 120_000);

  it('keeps every placement when the redundancy gets smaller', async () => {
    const two: ServiceInput = { type: 'storage', preferred_providers: ['aws', 'gcp'], redundancy: 2 };
    await deploy({ shrunk: two });
    asked = [];
    const planned = await plan({ shrunk: { ...two, redundancy: 1 } });
    expect(planned.proposals).toContainEqual(
      expect.objectContaining({ service: 'shrunk', text: expect.stringContaining('asks for 1') }),
    );
    expect(changesOf(planned)).toEqual([]);
    await deploy({ shrunk: { ...two, redundancy: 1 } });
    expect(await providersOf('shrunk')).toEqual(['aws', 'gcp']);
    expect(asked).toEqual([]);
  }, 120_000);

  it('keeps a service that is gone from the file, and names the command that removes it', async () => {
    await deploy({ dropped: onAws, base: onAws });
    asked = [];
    expect((await plan({ base: onAws })).proposals).toContainEqual(
      expect.objectContaining({ service: 'dropped', command: 'multi-cloud remove dropped' }),
    );
    await deploy({ base: onAws });
    expect(await providersOf('dropped')).toEqual(['aws']);
    expect(asked).toEqual([]);
  }, 120_000);

  it('proposes what would replace something that holds data: another type', async () => {
    await deploy({ retyped: onAws });
    const Bucket = await bucketOf('retyped');
    asked = [];
    const other: ServiceInput = { ...onAws, type: 'compute' };
    const planned = await plan({ retyped: other });
    expect(planned.proposals).toContainEqual(
      expect.objectContaining({
        service: 'retyped',
        text: expect.stringContaining('storage'),
        command: 'multi-cloud remove retyped, then multi-cloud deploy',
      }),
    );
    expect(changesOf(planned)).toEqual([]);
    await deploy({ retyped: other });
    expect(asked).toEqual([]);
    expect(await record('retyped')).toMatchObject({ type: 'storage', placements: [{ resources: [{ name: Bucket }] }] });
  }, 120_000);
});

describe("a plan's hash", () => {
  it('covers placements and resource changes, and not scores', async () => {
    await deploy({ hashed: { type: 'storage', preferred_providers: ['aws', 'gcp'] } });
    const service: ServiceInput = { type: 'storage', preferred_providers: ['aws', 'gcp'] };
    const now = await plan({ hashed: service });
    const scores = (one: EstatePlan) => one.services[0]?.candidates.map(({ score }) => score);
    const weighed = await plan(
      { hashed: service },
      { weights: { cost: 1, performance: 0, compliance: 0, reliability: 0 } },
    );
    expect(scores(weighed)).not.toEqual(scores(now));
    expect(weighed.hash).toBe(now.hash);
    expect((await plan({ hashed: { ...service, redundancy: 2 } })).hash).not.toBe(now.hash);
    expect((await plan({ hashed: { ...service, configuration: { retention_days: 9 } } })).hash).not.toBe(now.hash);

    const costing = (monthlyCostUsd: number): string =>
      planHash({
        ...now,
        services: now.services.map((one) => ({
          ...one,
          placements: one.placements.map((placement) => ({ ...placement, monthlyCostUsd })),
        })),
      });
    expect(costing(10.2)).toBe(costing(10.4));
    expect(costing(10.2)).not.toBe(costing(11.2));
  }, 120_000);
});

describe('data', () => {
  it('is protected: a removal needs a confirmation that names the service', async () => {
    await deploy({ guarded: onAws });
    const Bucket = await bucketOf('guarded');
    await s3.send(new PutObjectCommand({ Bucket, Key: 'reading', Body: 'precious' }));
    asked = [];
    expect(await failing('removeService', { service: 'guarded' })).toMatchObject({
      type: 'Protected',
      message: expect.stringContaining('"confirm": "rules/guarded"'),
    });
    expect(await failing('removeService', { service: 'guarded', confirm: 'rules/other' })).toMatchObject({
      type: 'InvalidInput',
      message: expect.stringContaining('confirm'),
    });
    expect(asked).toEqual([]);
    await s3.send(new GetObjectCommand({ Bucket, Key: 'reading' }));

    expect(await run('removeService', { service: 'guarded', confirm: 'rules/guarded' })).toMatchObject({
      outcome: 'done',
      orphans: [],
      retained: [],
    });
    await expect(s3.send(new HeadBucketCommand({ Bucket }))).rejects.toMatchObject({ name: 'NotFound' });
  }, 120_000);

  it('stays when a service without protection is removed: its store is detached, tagged and listed', async () => {
    await run('deployService', { service: 'open' });
    const Bucket = await bucketOf('open');
    await s3.send(new PutObjectCommand({ Bucket, Key: 'reading', Body: 'precious' }));
    const { retained, orphans } = await run('removeService', { service: 'open' });
    expect(retained).toEqual([
      { provider: 'aws', name: Bucket, until: expect.any(String), monthlyCostUsd: expect.any(Number) },
    ]);
    expect(orphans).toEqual([]);
    await s3.send(new GetObjectCommand({ Bucket, Key: 'reading' }));
    const { TagSet } = await s3.send(new GetBucketTaggingCommand({ Bucket }));
    expect(TagSet).toContainEqual({ Key: 'retained-until', Value: retained[0]?.until });
    expect(await record('open')).toMatchObject({ status: 'removed', placements: [], retained: [{ name: Bucket }] });
  }, 120_000);

  it.each(['deployService', 'deployEstate'])(
    'survives the undo of a %s that failed',
    async (type) => {
      const service = type === 'deployEstate' ? 'kept_estate' : 'kept_service';
      let made = '';
      after = async (of, name) => {
        if (of !== service) return;
        made = name;
        await s3.send(new PutObjectCommand({ Bucket: name, Key: 'reading', Body: 'precious' }));
        throw ApplicationFailure.nonRetryable('refused for good', 'InvalidInput');
      };
      const file = { services: { [service]: onAws } };
      const failed = await failing(type, type === 'deployEstate' ? { file } : { file, service });
      const store = {
        provider: 'aws',
        name: made,
        until: expect.stringMatching(/^\d{4}-\d\d-\d\d$/),
        monthlyCostUsd: expect.any(Number),
      };
      expect(failed).toMatchObject({
        type: 'InvalidInput',
        details: [{ outcome: 'undone', orphans: [], retained: [store] }],
      });
      const known = await record(service);
      expect(known).toMatchObject({ placements: [], intents: [], retained: [store] });
      expect(known.retained[0]?.monthlyCostUsd).toBeGreaterThan(0);

      const object = await s3.send(new GetObjectCommand({ Bucket: made, Key: 'reading' }));
      expect(await object.Body?.transformToString()).toBe('precious');
      const { TagSet } = await s3.send(new GetBucketTaggingCommand({ Bucket: made }));
      expect(TagSet).toContainEqual({ Key: 'retained-until', Value: known.retained[0]?.until });

      after = async () => {};
      await deploy(file.services);
      expect(await bucketOf(service)).not.toBe(made);
    },
    60_000,
  );

  it('of another estate under the same name is never touched', async () => {
    await deploy({ foreign: onAws });
    const Bucket = await bucketOf('foreign');
    asked = [];
    await s3.send(new PutBucketTaggingCommand({ Bucket, Tagging: { TagSet: [{ Key: 'owner', Value: 'else' }] } }));
    expect(await failing('deployEstate', { file: { services: { foreign: onAws } } })).toMatchObject({
      type: 'NotOurs',
    });
    expect(asked).toEqual([]);
  }, 120_000);
});

describe('two operations on one service', () => {
  /** Stops the first run at work on a service, after its resource was made, until it is released. */
  function gated(service: string): { busy: Promise<void>; release: () => void; fail: () => void } {
    const gate = Promise.withResolvers<void>();
    const busy = Promise.withResolvers<void>();
    after = async (of) => {
      if (of !== service) return;
      busy.resolve();
      await gate.promise;
    };
    const fail = () => gate.reject(ApplicationFailure.nonRetryable('refused for good', 'InvalidInput'));
    return { busy: busy.promise, release: gate.resolve, fail };
  }

  it('never run at once: another is refused, the same attaches, an estate run leaves it alone', async () => {
    const { busy, release } = gated('slow');
    const file = { services: { slow: onAws, quick: onAws } };
    const holder = await start('deployService', { service: 'slow', file });
    await busy;
    try {
      expect(await failing('removeService', { service: 'slow', confirm: 'rules/slow' })).toMatchObject({
        type: 'OperationInProgress',
        message: expect.stringContaining(holder.workflowId),
      });
      const same = await start('deployService', { service: 'slow', file });
      expect(await run('deployEstate', { file })).toMatchObject({
        placements: [{ service: 'quick' }],
        skipped: [{ service: 'slow', heldBy: expect.stringContaining(holder.workflowId) }],
      });
      release();
      expect(await same.result()).toEqual(await holder.result());
    } finally {
      release();
    }
    expect(asked.filter((one) => one.includes('slow'))).toEqual(['ensure slow/bucket']);
  }, 120_000);

  it('fail together when the first does', async () => {
    const { busy, fail } = gated('doomed');
    const file = { services: { doomed: onAws } };
    const holder = await start('deployEstate', { file });
    await busy;
    const same = await start('deployEstate', { file });
    const phase = async () => (await same.query<Progress>('progress')).phase;
    while (!(await phase()).includes(holder.workflowId)) await setTimeout(100);
    fail();
    for (const one of [holder, same])
      await expect(one.result()).rejects.toMatchObject({ cause: { type: 'InvalidInput' } });
    expect(asked).toEqual(['ensure doomed/bucket', 'remove doomed/bucket']);
  }, 120_000);
});

describe('a wrong input', () => {
  it.each<[string, string, object, string, string]>([
    ['a service that the file does not have', 'deployService', { service: 'nothing' }, 'ServiceNotFound', 'nothing'],
    ['a service that nobody knows', 'removeService', { service: 'nothing' }, 'ServiceNotFound', 'nothing'],
    ['the name of another estate', 'deployEstate', { estate: 'other' }, 'InvalidInput', 'estate: found "other"'],
    ['providers', 'deployEstate', { providers: [] }, 'InvalidInput', 'providers'],
    ['providers in the file', 'deployEstate', { file: { providers: [] } }, 'InvalidInput', 'providers'],
    [
      'providers in the file',
      'deployService',
      { service: 'base', file: { providers: [] } },
      'InvalidInput',
      'providers',
    ],
    ['providers in the file', 'planEstate', { file: { providers: [] } }, 'InvalidInput', 'providers'],
    ['no service', 'deployService', {}, 'InvalidInput', 'service'],
    [
      'a service of a wrong shape',
      'deployEstate',
      { file: { services: { x: { typ: 'storage' } } } },
      'InvalidInput',
      'services.x',
    ],
    [
      'locks that nobody handed down',
      'deployService',
      { service: 'base', inherited: { workflowId: 'x', runId: 'y', planned: { placements: [] } } },
      'InvalidInput',
      'inherited',
    ],
  ])('%s is refused by %s, which names the field', async (_, type, input, error, field) => {
    const failed = await failing(type, input);
    expect(failed).toMatchObject({ type: error, message: expect.stringContaining(field) });
    expect(asked).toEqual([]);
  });
});
