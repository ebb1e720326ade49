/**
 * What keeps the sides of a service in step, in a worker as it runs in production that is killed with kill -9: before, during and after
 * each activity. Another worker goes on; what users have written is on all sides in the end, once, and nothing else is.
 *
 * `npm test` goes through one case, chosen by the commit; `npm run test:faults` through all.
 */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import { EstateClient, type VerifyResult } from '../../client/index.ts';
import { taskQueue, workflowIds } from '../../model/operations.ts';
import { placementRef } from '../../model/transfer.ts';
import { createNamespace, quietTemporal, writeEstate } from '../e2e/own-worker.ts';
import { writeSettings } from '../e2e/worker-process.ts';
import { localRun } from '../local/stack.ts';
import { Sides } from '../replication/sides.ts';
import { chosen, note } from './choice.ts';
import { GatedWorker, type Question } from './gated-worker.ts';

const name = 'keeping';
const service = 'lake';
const activities = ['replicateSides', 'compareSides', 'repairSides', 'awaitRecord', 'noteReplication'] as const;

interface Case {
  id: string;
  activity: (typeof activities)[number];
  when: Question['when'] | 'during';
}

let client: Client;
let worker: GatedWorker;
let estate: EstateClient;
let sides: Sides;
let fault: Case | undefined;
let hits = 0;
const broken: string[] = [];
let lives = 0;

async function kill(): Promise<void> {
  await worker.kill();
  await worker.start();
}

async function answer({ activityType, when }: Question): Promise<'go'> {
  if (fault?.activity !== activityType || (fault.when === 'during' ? 'before' : fault.when) !== when) return 'go';
  const { when: struck } = fault;
  fault = undefined;
  hits++;
  if (struck === 'during')
    pause(700)
      .then(kill)
      .catch((error: unknown) => broken.push(String(error)));
  else await kill();
  return 'go';
}

beforeAll(async () => {
  quietTemporal();
  const folder = mkdtempSync(join(tmpdir(), 'keeping-'));
  const file = writeEstate(join(folder, 'estate.yaml'), name, {
    [service]: {
      ...{ type: 'storage', preferred_providers: ['aws', 'gcp'], redundancy: 2, protect: false },
      replication: { mode: 'active-active' },
    },
  });
  const { address } = localRun().temporal;
  const connection = await Connection.connect({ address });
  const namespace = `keeping-${Date.now()}`;
  await createNamespace(connection, namespace);
  client = new Client({ connection, namespace });
  const waits = { callDeadlineMs: 5000, settleMs: 200, blockedMs: 300, followMs: 200, fenceMs: 300 };
  const settings = writeSettings(folder, { estateFile: file, temporal: { address, namespace }, waits });
  worker = new GatedWorker({ settings, answer, failed: (error) => broken.push(String(error)), retryMs: 200 });
  await worker.start();
  estate = new EstateClient(client, name, '');
  await (await estate.deploy()).result();
  const { placements = [] } = (await estate.service(service)) ?? {};
  const { uid = '' } = (await estate.estate()) ?? {};
  sides = Sides.at(placements.map((placed) => placementRef({ estate: name, uid, service, controller: '' }, placed)));
  // Again with pumps that are short enough to end by themselves. What is cancelled removes its feeds, whose names then stay taken.
  const { workflow } = client;
  const handle = workflow.getHandle(workflowIds.replicateService(name, service));
  await handle.terminate();
  await workflow.start('replicateService', {
    workflowId: handle.workflowId,
    taskQueue,
    args: [{ estate: name, service, pump: '2s', compare: '1s' }],
  });
}, 120_000);
afterAll(async () => {
  await worker.kill();
  await client.connection.close();
}, 60_000);

/** Users write and delete on both sides; what is missing on one while nobody keeps them in step is repaired. */
async function live(): Promise<void> {
  const run = estate.replication(service);
  const of = `life ${++lives}`;
  await sides.change('aws', `${of} a`, 'write');
  await sides.change('gcp', `${of} g`, 'write');
  await sides.equal(120_000);
  await run.pause('ann');
  while ((await run.progress()).phase !== 'stands still') await pause(100);
  await sides.change('aws', `${of} repaired`, 'write');
  const { verified } = await (await estate.verify({ service, repair: true, by: 'ann' })).outcome<VerifyResult>();
  if (verified?.equal !== true) broken.push(`it was not made equal: ${JSON.stringify(verified)}`);
  await run.resume('ann');
  await sides.change('gcp', `${of} a`, 'delete');
  await sides.change('gcp', `${of} g`, 'write');
  while (fault && (await run.progress()).phase !== 'failed') await pause(100);
  await sides.change('aws', `${of} last`, 'write');
  const began = Date.now();
  while ((await sides.content('gcp')).get(`${of} last`) === undefined) {
    if (Date.now() - began > 120_000) throw new Error('nobody keeps them in step any more');
    await pause(200);
  }
  await sides.equal(60_000);
  const here = [...(await sides.content('aws')).keys()].filter((key) => key.startsWith(`${of} `)).sort();
  if (here.join() !== [`${of} g`, `${of} last`, `${of} repaired`].join()) broken.push(`there is ${here.join()}`);
  for (const id of await sides.silentlyLost()) broken.push(`${id} was lost`);
}

it('goes on whenever its worker is killed, with all that users have written', async () => {
  const cases = activities.flatMap((activity) =>
    (['before', 'during', 'after'] as const).map(
      (when): Case => ({ id: `keeping ${activity} kill -9 ${when}`, activity, when }),
    ),
  );
  const failed: string[] = [];
  for (const one of chosen(cases, () => 'kill -9')) {
    broken.length = 0;
    hits = 0;
    fault = one;
    await live().catch((error: unknown) => broken.push(String(error)));
    if (hits !== 1) broken.push(`the fault hit ${hits} times`);
    fault = undefined;
    note(one.id, broken);
    if (broken.length > 0) failed.push(`${one.id}: ${broken.join('; ')}`);
  }
  expect(failed).toEqual([]);
}, 10_800_000);
