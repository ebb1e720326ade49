/** `multi-cloud worker --real`, as it is started in production, deploys and removes: what it has loaded on the way. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { Client, Connection } from '@temporalio/client';
import { dependencies } from '../../bin/dependencies.ts';
import { taskQueue } from '../../model/operations.ts';
import { localRun } from '../local/stack.ts';
import { createNamespace, writeEstate } from './own-worker.ts';
import { writeSettings } from './worker-process.ts';

const root = join(import.meta.dirname, '../..');
const folder = mkdtempSync(join(tmpdir(), 'real-'));
const loaded = join(folder, 'loaded');
const hook = join(import.meta.dirname, 'loaded-modules.mjs');
const namespace = `real-${Date.now()}`;
const services = {
  stores: { type: 'storage', redundancy: 3, protect: false },
  machines: { type: 'compute', preferred_providers: ['gcp'] },
  devices: { type: 'iot_core', preferred_providers: ['aws'], protect: false },
};
let connection: Connection;
let worker: ChildProcess;

beforeAll(async () => {
  const { address } = localRun().temporal;
  connection = await Connection.connect({ address });
  await createNamespace(connection, namespace);
  const estateFile = writeEstate(join(folder, 'estate.yaml'), 'real', services);
  const settings = writeSettings(folder, { estateFile, temporal: { address, namespace } });
  worker = spawn(process.execPath, ['client/cli/main.ts', 'worker', '--real', '--settings', settings], {
    cwd: root,
    env: {
      ...process.env,
      MULTI_CLOUD_LOADED: loaded,
      NODE_OPTIONS: `--import ${pathToFileURL(hook).href} --disable-warning=ExperimentalWarning`,
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await new Promise<void>((resolve, reject) => {
    worker.stdout?.on('data', (chunk: Buffer) => /^ready /m.test(chunk.toString()) && resolve());
    worker.once('exit', (code) => reject(new Error(`the worker ended before it was ready: exit code ${code}`)));
  });
}, 120_000);
afterAll(async () => {
  worker.kill('SIGTERM');
  await Promise.all([once(worker, 'exit'), connection.close()]);
}, 60_000);

it('is no file of the tests or the local clouds, and no package that production does not need', async () => {
  const { workflow } = new Client({ connection, namespace });
  const run = (type: string, input: object) =>
    workflow.execute(type, { taskQueue, workflowId: `${type}-${JSON.stringify(input)}`, args: [input] });
  expect(await run('deployEstate', {})).toMatchObject({ outcome: 'done' });
  for (const service of Object.keys(services))
    expect(await run('removeService', { service })).toMatchObject({ outcome: 'done' });

  const files = [...new Set(readFileSync(loaded, 'utf8').split('\n'))]
    .filter((url) => url.startsWith('file:'))
    .map((url) => fileURLToPath(url));
  const packaged = files.filter((file) => file.includes('/node_modules/'));
  const own = files.filter((file) => file.startsWith(`${root}/`) && !packaged.includes(file) && file !== hook);
  const rooms = new Set(own.map((file) => relative(root, file).split('/')[0]));
  // The command line has started it.
  expect([...rooms].sort()).toEqual(['activities', 'client', 'config', 'model', 'temporal', 'workers', 'workflows']);

  const development = new Set(dependencies().flatMap((one) => (one.development ? [one.name] : [])));
  const production = new Set(dependencies().flatMap((one) => (one.development ? [] : [one.name])));
  const names = packaged.map((file) => /.*\/node_modules\/(@[^/]+\/[^/]+|[^/]+)/.exec(file)?.[1] ?? '');
  expect(names).toEqual(expect.arrayContaining(['@temporalio/worker', '@aws-sdk/client-s3', '@azure/arm-storage']));
  expect([...new Set(names)].filter((name) => development.has(name) && !production.has(name))).toEqual([]);
}, 240_000);
