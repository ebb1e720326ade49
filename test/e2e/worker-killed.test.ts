/** A worker that dies in the middle of a deployment, without a word: the next one finishes it, and nothing is there twice. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { ProviderPool } from '../../activities/providers/pool.ts';
import { scan } from '../../activities/providers/provision.ts';
import { type OperationResult, taskQueue, workflowIds } from '../../model/operations.ts';
import type { ServiceRecord } from '../../model/record.ts';
import { WorkerSettings } from '../../workers/settings.ts';
import { calls, localRun } from '../local/stack.ts';
import { createNamespace, writeEstate } from './own-worker.ts';

const root = join(import.meta.dirname, '../..');
const estate = 'killed';
const services = {
  bucket: { type: 'storage', preferred_providers: ['gcp'] },
  lake: { type: 'data_lake', preferred_providers: ['aws'] },
  machines: { type: 'compute', preferred_providers: ['aws'] },
};
const clouds = { bucket: 'gcp', lake: 'aws', machines: 'aws' };

describe('a worker killed with kill -9', () => {
  const namespace = `killed-${Date.now()}`;
  const folder = mkdtempSync(join(tmpdir(), 'estate-'));
  const file = writeEstate(join(folder, 'estate.yaml'), estate, services);
  const settings = join(folder, 'worker.json');
  let connection: Connection;
  let client: Client;
  let pool: ProviderPool;
  let worker: ChildProcess | undefined;

  /** A worker as it runs in production: a process of its own. */
  async function startWorker(): Promise<ChildProcess> {
    const child = spawn(process.execPath, ['workers/main.ts'], {
      cwd: root,
      env: { ...process.env, MULTI_CLOUD_SETTINGS: settings },
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    worker = child;
    await new Promise<void>((resolve, reject) => {
      child.stdout.on('data', (chunk: Buffer) => /^ready /m.test(chunk.toString()) && resolve());
      child.once('exit', (code) => reject(new Error(`the worker ended before it was ready: exit code ${code}`)));
    });
    return child;
  }

  /** Changing calls that the clouds have had for this estate. */
  const made = async (): Promise<number> =>
    (await calls({ mutating: true })).filter(({ host, path }) => `${host}${path}`.includes(estate)).length;

  beforeAll(async () => {
    const run = localRun();
    const { address } = run.temporal;
    connection = await Connection.connect({ address });
    await createNamespace(connection, namespace);
    client = new Client({ connection, namespace });
    const given = WorkerSettings.parse(JSON.parse(readFileSync(run.settings, 'utf8')));
    const waits = { callDeadlineMs: 5000, settleMs: 1000 };
    writeFileSync(settings, JSON.stringify({ ...given, estateFile: file, temporal: { address, namespace }, waits }));
    pool = new ProviderPool({
      estateFile: file,
      pollMs: given.pollMs,
      callDeadlineMs: 20_000,
      secrets: () => process.env,
    });
  }, 60_000);
  afterAll(async () => {
    worker?.kill('SIGKILL');
    await pool.close();
    await connection.close();
  });

  it('leaves a deployment that the next worker finishes, each resource there once', async () => {
    const first = await startWorker();
    const run = await client.workflow.start('deployEstate', {
      taskQueue,
      workflowId: workflowIds.deployEstate(estate),
      args: [{}],
    });
    while ((await made()) < 4) await new Promise((resolve) => setTimeout(resolve, 20));
    first.kill('SIGKILL');
    await once(first, 'exit');
    expect((await run.describe()).status.name).toBe('RUNNING');

    await startWorker();
    const result: OperationResult = await run.result();
    expect(result).toMatchObject({ outcome: 'done', orphans: [], retained: [], skipped: [] });
    expect(result.placements.map(({ service }) => service).sort()).toEqual(Object.keys(services).sort());

    const { uid }: { uid: string } = await client.workflow.getHandle(workflowIds.cloudEstate(estate)).query('record');
    for (const [service, cloud] of Object.entries(clouds)) {
      const record: ServiceRecord = await client.workflow
        .getHandle(workflowIds.cloudService(estate, service))
        .query('record');
      expect(record).toMatchObject({
        status: 'running',
        intents: [],
        placements: [{ provider: cloud, generation: 1 }],
      });
      const [placement] = record.placements;
      if (!placement) throw new Error(`${service} is nowhere`);
      const { provider, providerType, type, region, account, generation, configuration, resources } = placement;
      const owner = { estate, uid, service, controller: '', generation };
      const found = await scan(
        await pool.get(cloud),
        { owner, provider, providerType, type, region, account, configuration },
        AbortSignal.timeout(30_000),
      );
      const mine = found.filter((one) => one.owner.service === service).map(({ kind, name }) => `${kind} ${name}`);
      expect(mine.length).toBeGreaterThan(0);
      expect(mine.filter((one, at) => mine.indexOf(one) !== at)).toEqual([]);
      const recorded = resources.map(({ kind, name }) => `${kind} ${name}`);
      expect(mine.filter((one) => !recorded.includes(one))).toEqual([]);
    }
  }, 240_000);
});
