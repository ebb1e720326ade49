/** A worker that dies in the middle of a deployment, without a word: the next one finishes it, and nothing is there twice. */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import type { ProviderPool } from '../../activities/providers/pool.ts';
import { scan } from '../../activities/providers/provision.ts';
import { type OperationResult, taskQueue, workflowIds } from '../../model/operations.ts';
import type { ServiceRecord } from '../../model/record.ts';
import { calls, localRun } from '../local/stack.ts';
import { createNamespace, writeEstate } from './own-worker.ts';
import { startWorker, testPool, writeSettings } from './worker-process.ts';

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
  let settings: string;
  let connection: Connection;
  let client: Client;
  let pool: ProviderPool;
  let worker: ChildProcess | undefined;

  /** Changing calls that the clouds have had for this estate. */
  const made = async (): Promise<number> =>
    (await calls({ mutating: true })).filter(({ host, path }) => `${host}${path}`.includes(estate)).length;

  beforeAll(async () => {
    const { address } = localRun().temporal;
    connection = await Connection.connect({ address });
    await createNamespace(connection, namespace);
    client = new Client({ connection, namespace });
    const waits = { callDeadlineMs: 5000, settleMs: 1000, blockedMs: 1000, followMs: 200, fenceMs: 300 };
    settings = writeSettings(folder, { estateFile: file, temporal: { address, namespace }, waits });
    pool = testPool(file);
  }, 60_000);
  afterAll(async () => {
    worker?.kill('SIGKILL');
    await pool.close();
    await connection.close();
  });

  it('leaves a deployment that the next worker finishes, each resource there once', async () => {
    const first = await startWorker(settings);
    const run = await client.workflow.start('deployEstate', {
      taskQueue,
      workflowId: workflowIds.deployEstate(estate),
      args: [{}],
    });
    while ((await made()) < 4) await new Promise((resolve) => setTimeout(resolve, 20));
    first.kill('SIGKILL');
    await once(first, 'exit');
    expect((await run.describe()).status.name).toBe('RUNNING');

    worker = await startWorker(settings);
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
