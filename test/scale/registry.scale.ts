/**
 * The registry of a fleet that says nothing is copied to another cloud, and from there back into an emptied one, by a worker as it
 * runs in production, with as many requests a second as the clouds allow: every device with its certificate, in little memory, and
 * the forecast was right.
 */
import type { ChildProcess } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import type { ProviderPool } from '../../activities/providers/pool.ts';
import { EstateClient, type OperationHandle } from '../../client/index.ts';
import { type CopiedFleet, workflowIds } from '../../model/operations.ts';
import type { ProviderType } from '../../model/service.ts';
import type { PlacementRef } from '../../model/transfer.ts';
import { createNamespace, quietTemporal, writeEstate } from '../e2e/own-worker.ts';
import { serviceOn, TalkingFleets } from '../e2e/talking-fleet.ts';
import { startWorker, testPool, writeSettings } from '../e2e/worker-process.ts';
import { fill, identity, type Wanted } from '../fleet/fleets.ts';
import { localRun } from '../local/stack.ts';
import { actionsIn } from './actions.ts';
import { cpuOf, loadNow, memoryOf } from './processes.ts';
import { Quota } from './quota.ts';
import { empty, registryAt, thumbprintsAt } from './registered.ts';
import { scale } from './scale.ts';

const { registered: count, from, to, calls: callsPerSecond } = scale;
const service = 'registry';
const name = 'registries';
const namespace = `${name}-${randomBytes(3).toString('hex')}`;
const folder = mkdtempSync(join(tmpdir(), 'registry-'));

/** Workers in the roles in which they run where it matters how large they are. */
const roles = { control: ['control'], bulk: ['bulk'], others: ['providers', 'watch', 'sender'] };
/** As Node.js sets it by itself in a container that is small. */
const small = { NODE_OPTIONS: `${process.env.NODE_OPTIONS ?? ''} --max-old-space-size=256` };
const mostMB = 512;
let workers: Record<string, ChildProcess> = {};
let connection: Connection;
let client: Client;
let estate: EstateClient;
let fleets: TalkingFleets;
let pool: ProviderPool;

beforeAll(async () => {
  quietTemporal();
  const file = join(folder, 'estate.yaml');
  writeEstate(file, name, { [service]: { ...serviceOn([from, to]), redundancy: 2 } });
  const { address } = localRun().temporal;
  connection = await Connection.connect({ address });
  await createNamespace(connection, namespace);
  client = new Client({ connection, namespace });
  const waits = { callDeadlineMs: 20_000, settleMs: 1000, blockedMs: 500, followMs: 300, fenceMs: 300 };
  const settings = writeSettings(folder, { estateFile: file, temporal: { address, namespace }, waits });
  for (const [role, some] of Object.entries(roles))
    workers[role] = await startWorker(settings, role === 'bulk' ? small : {}, some);
  pool = testPool(file);
  estate = new EstateClient(client, name, '');
  fleets = new TalkingFleets({ client, estate, namespace, folder });
  await (await estate.deploy()).result();
}, 300_000);
afterAll(async () => {
  for (const worker of Object.values(workers)) {
    const exit = once(worker, 'exit');
    worker.kill('SIGKILL');
    await exit;
  }
  workers = {};
  await pool.close();
  await connection.close();
}, 60_000);

/**
 * Devices with certificates that nobody will ever show: one that was signed, with another name in each. Registries take it for what
 * it says.
 */
async function silentDevices(): Promise<Wanted[]> {
  const width = String(count).length;
  const nameOf = (n: number): string => `${service}-${String(n).padStart(width, '0')}`;
  const like = await identity(nameOf(0));
  const at = Buffer.from(like.der, 'base64').indexOf(nameOf(0));
  return Array.from({ length: count }, (_, n): Wanted => {
    const der = Buffer.from(like.der, 'base64');
    for (let place = at; place >= 0; place = der.indexOf(nameOf(0), place + 1)) der.write(nameOf(n), place);
    const thumbprint = createHash('sha256').update(der).digest('hex');
    return {
      id: nameOf(n),
      status: n % 50 === 7 ? 'disabled' : 'enabled',
      groups: n % 3 === 0 ? ['pumps'] : [],
      attributes: { model: `m-${n % 7}`, serial: `S/${n}` },
      desired: { interval: n % 60 },
      identity: { ...like, der: der.toString('base64'), thumbprint },
    };
  });
}

const pids = (): Record<string, number> =>
  Object.fromEntries(Object.entries(workers).map(([role, { pid = 0 }]) => [role, pid]));
const memories = (): Record<string, number> =>
  Object.fromEntries(Object.entries(pids()).map(([role, pid]) => [role, memoryOf(pid)]));

interface Forecast {
  /** Of the time that it took. */
  at: number;
  /** How far it was off, as a share of the time that it took. */
  off: number;
}

/** What a run says of its end while it goes on, by when it says so. */
async function forecasts(handle: OperationHandle, done: () => boolean): Promise<{ at: number; end: number }[]> {
  const said: { at: number; end: number }[] = [];
  while (!done()) {
    const { steps } = await handle.progress();
    const compare = steps.find((step) => step.name === 'compare');
    const end = Date.parse(/done about (\S+)/.exec(compare?.detail ?? '')?.[1] ?? '');
    if (compare?.status !== 'done' && !Number.isNaN(end)) said.push({ at: Date.now(), end });
    await setTimeout(1000);
  }
  return said;
}

async function copied(source: ProviderType, target: ProviderType): Promise<{ figures: object; verdict: () => void }> {
  const { ref } = await fleets.placed(service, target);
  const quotas = await Promise.all([
    Quota.of(await fleets.placed(service, source), callsPerSecond),
    Quota.of({ ref }, callsPerSecond),
  ]);
  const cpu = cpuOf(pids());
  const began = Date.now();
  const handle = await estate.copyFleet({ service, from: source, to: target, calls_per_second: callsPerSecond });
  let over = false;
  const atRestMB = memories();
  const memoryMB = { ...atRestMB };
  const watching = (async () => {
    for (; !over; await setTimeout(500))
      for (const [role, now] of Object.entries(memories())) memoryMB[role] = Math.max(memoryMB[role] ?? 0, now);
  })();
  const said = forecasts(handle, () => over);
  const result = (await handle.result().finally(() => {
    over = true;
  })) as CopiedFleet;
  const ended = Date.now();
  await watching;
  expect(result.copy).toMatchObject({ moved: count, there: 0, refused: 0, left: 0 });
  const [asked, changed] = await Promise.all([quotas[0].end(), quotas[1].end()]);
  const ms = ended - began;
  const run = client.workflow.getHandle(workflowIds.copyFleet(name, service));
  const history = await run.fetchHistory();
  const { steps } = await handle.progress();
  const { events = [] } = history;
  const actions = actionsIn(history);
  const forecastsMade = (await said).map(
    ({ at, end }): Forecast => ({ at: (at - began) / ms, off: (end - ended) / ms }),
  );
  const verdict = () => {
    expect(memoryMB.bulk).toBeLessThan(mostMB);
    expect(memoryMB.control).toBeLessThan(mostMB);
    expect(events?.length).toBeLessThan(10_000);
    expect(actions).toBeLessThanOrEqual(1500);
    // In a short run a second more or less is much.
    const late = forecastsMade.filter(({ at }) => at >= 0.5 && ms > 60_000);
    expect(late.filter(({ off }) => Math.abs(off) > 0.1)).toEqual([]);
    for (const { calls, throttled } of [asked, changed]) expect(throttled).toBeLessThan(Math.max(1, calls / 1000));
  };
  const figures = {
    from: source,
    to: target,
    devices: count,
    seconds: ms / 1000,
    steps: Object.fromEntries(
      steps.map((step) => [
        step.name,
        { seconds: (Date.parse(step.finishedAt ?? '') - Date.parse(step.startedAt ?? '')) / 1000, detail: step.detail },
      ]),
    ),
    calls: { [source]: asked, [target]: changed },
    forecasts: forecastsMade,
    ...{ atRestMB, memoryMB },
    cpuSeconds: Object.fromEntries(
      Object.entries(cpuOf(pids())).map(([role, seconds]) => [role, Math.round(seconds - (cpu[role] ?? 0))]),
    ),
    events: events?.length,
    actions,
    load: loadNow(),
  };
  return { figures, verdict };
}

/** What a bare loop of the same calls reaches, a second: the driver alone, as many at once as an activity makes. */
async function peer({ ref }: { ref: PlacementRef }, like: Wanted[]): Promise<number> {
  const registry = await registryAt(pool, ref);
  const devices = like.map(({ identity: own }, n) => ({
    id: `peer-${n}`,
    status: 'enabled' as const,
    credential: {
      type: 'certificates' as const,
      certificates: [{ thumbprint: own?.thumbprint ?? '', der: own?.der ?? '' }],
    },
    ...{
      groups: [],
      attributes: {},
      desired: {},
      reported: {},
      permissions: [],
      extras: [],
      lastSeen: '',
      copiedBy: '',
    },
  }));
  const waiting = [...devices];
  const began = performance.now();
  const lane = async (): Promise<void> => {
    for (let some = waiting.splice(0, registry.atOnce); some.length > 0; some = waiting.splice(0, registry.atOnce))
      await registry.put(some, 'peer@2026-01-01T00:00:00.000Z');
  };
  await Promise.all(Array.from({ length: 32 }, lane));
  const perSecond = (1000 * devices.length) / registry.atOnce / (performance.now() - began);
  for (let at = 0; at < devices.length; at += registry.atOnce)
    await registry.remove(devices.slice(at, at + registry.atOnce), 'peer@2026-01-01T00:00:00.000Z');
  return perSecond;
}

it(`${count} devices are registered at ${to}, and from there at ${from} again`, async () => {
  const [source, target] = [await fleets.placed(service, from), await fleets.placed(service, to)];
  const wanted = await silentDevices();
  const own = Object.fromEntries(wanted.map(({ id, identity: one }) => [id, one?.thumbprint]));
  const filling = performance.now();
  await fill[from](source.ref, wanted);
  process.stdout.write(`filled ${from} in ${Math.round((performance.now() - filling) / 1000)} s\n`);
  const load = loadNow();
  const bare = { [to]: await peer(target, wanted.slice(0, 2000)), [from]: await peer(source, wanted.slice(0, 2000)) };
  process.stdout.write(`${JSON.stringify({ bareCallsPerSecond: bare, load })}\n`);
  const there = await copied(from, to);
  process.stdout.write(`${JSON.stringify(there.figures, null, 1)}\n`);
  await empty(pool, source.ref);
  expect(await thumbprintsAt(pool, source.ref)).toEqual({});
  const back = await copied(to, from);
  process.stdout.write(`${JSON.stringify(back.figures, null, 1)}\n`);
  expect(await thumbprintsAt(pool, source.ref)).toEqual(own);
  there.verdict();
  back.verdict();
}, 14_400_000);
