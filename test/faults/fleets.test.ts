/**
 * The worker is killed with kill -9 while a fleet moves, in each of its waves and on the way home: every acknowledged message arrives, each
 * once, each device is on one cloud at a time, and all end where they have to.
 *
 * `npm test` goes through one case, chosen by the commit; `npm run test:faults` through all.
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import { EstateClient, OperationFailed, type OperationHandle } from '../../client/index.ts';
import type { ProviderType } from '../../model/service.ts';
import { createNamespace, quietTemporal, writeEstate } from '../e2e/own-worker.ts';
import { expectAll, placesOf, serviceOn, TalkingFleets } from '../e2e/talking-fleet.ts';
import { startWorker, writeSettings } from '../e2e/worker-process.ts';
import { localRun } from '../local/stack.ts';
import { chosen, note } from './choice.ts';

const clouds: ProviderType[] = ['aws', 'azure', 'gcp'];
/** Steps of the run that the worker is killed in. */
const steps = ['canary', 'wave 1: 50 %', 'wave 2: all that is left', 'the way home'];
const cases = clouds.flatMap((from) =>
  clouds
    .filter((to) => to !== from)
    .flatMap((to) =>
      steps.map((step, at) => ({
        id: `fleet kill -9 in ${step}, ${from} to ${to}`,
        from,
        to,
        step,
        service: `k${at}_${from}_${to}`,
      })),
    ),
);
const mine = chosen(cases, () => 'killed');
const name = 'killed-fleets';
const folder = mkdtempSync(join(tmpdir(), 'fleet-'));
const namespace = `killed-fleets-${Date.now()}`;

let settings: string;
let connection: Connection;
let estate: EstateClient;
let fleets: TalkingFleets;
let worker: ChildProcess;

beforeAll(async () => {
  quietTemporal();
  const file = join(folder, 'estate.yaml');
  writeEstate(file, name, Object.fromEntries(mine.map((one) => [one.service, serviceOn([one.from, one.to])])));
  const { address } = localRun().temporal;
  connection = await Connection.connect({ address });
  await createNamespace(connection, namespace);
  const client = new Client({ connection, namespace });
  const waits = { callDeadlineMs: 10_000, settleMs: 1000, blockedMs: 500, followMs: 300, fenceMs: 300 };
  settings = writeSettings(folder, { estateFile: file, temporal: { address, namespace }, waits });
  worker = await startWorker(settings);
  estate = new EstateClient(client, name, '');
  fleets = new TalkingFleets({ client, estate, namespace, folder });
}, 120_000);
afterAll(async () => {
  await fleets?.stop();
  worker?.kill('SIGKILL');
  await connection.close();
}, 60_000);

async function killed(): Promise<void> {
  worker.kill('SIGKILL');
  await once(worker, 'exit');
  worker = await startWorker(settings);
}

async function killedIn(step: string, handle: OperationHandle): Promise<void> {
  for (;;) {
    const { steps: all, waitingFor } = await handle.progress();
    const found = all.find((one) => one.name === step);
    if (found?.status === 'running') return killed();
    const later = waitingFor.find(({ question }) => question !== 'cutover');
    if (later) throw new Error(`${step} is over: ${later.text}`);
    await setTimeout(50);
  }
}

it.each(mine)(
  '$id: all arrive and come home, and nothing that was acknowledged is lost',
  async ({ id, service, from, to, step }) => {
    const run = await fleets.running(service, from, 8);
    const { fleet } = run;
    const migration = await estate.migrate({
      ...{ service, from, to, soak: '1h', by: 'ann' },
      ...{ waves: [50, 100], wave_window: '120s', wave_seen: 1, wave_rate: 0, wave_errors: 10 },
    });
    const cutover = await fleets.asked(migration, 'cutover');
    const approved = migration.approve({ by: 'ann', plan: cutover.plan });
    if (step !== 'the way home') await Promise.all([approved, killedIn(step, migration)]);
    const back = await fleets.asked(migration, 'undo');
    expect(placesOf(fleet)).toEqual([to]);
    await migration.approve({ by: 'ann', plan: back.plan });
    if (step === 'the way home') {
      await setTimeout(1000);
      await killed();
    }
    const ended = await migration.result().catch((error: unknown) => error);
    expect(ended instanceof OperationFailed && [ended.type, ended.result?.orphans]).toEqual(['UndoRequested', []]);
    expect(placesOf(fleet)).toEqual([from]);
    await expectAll(run);
    await fleets.remove(service);
    note(id, []);
  },
  400_000,
);
