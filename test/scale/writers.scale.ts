/**
 * Two and three writers on two and three clouds whose clocks disagree, kept in step by a worker as it runs in production: its
 * connections are cut at random, it is killed with kill -9, and one cloud is parted from it for a while with writers on all sides.
 * In the end all sides are equal, no write is lost unseen, and nothing comes back. `npm run test:scale` says how much of it.
 */
import { once } from 'node:events';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import { EstateClient } from '../../client/index.ts';
import { placementRef } from '../../model/transfer.ts';
import { createNamespace, quietTemporal, writeEstate } from '../e2e/own-worker.ts';
import { startWorker, writeSettings } from '../e2e/worker-process.ts';
import { calls, localRun } from '../local/stack.ts';
import { type Cloud, Sides } from '../replication/sides.ts';
import { Cables } from './cables.ts';
import { cpuOf, loadNow, memoryOf } from './processes.ts';
import { scale } from './scale.ts';

const { changes, keys, perSecond, partitionMs } = scale;
const service = 'lake';
/** Killed, cut or parted last so long before the last write: what a worker that is gone leaves behind is missed only then. */
const calmMs = 30_000;
const between = (least: number, most: number): number => least + Math.random() * (most - least);

/** A worker that is killed now and then, behind cables that are cut now and then. */
class Worked {
  readonly cables: Cables;
  readonly #start: () => ReturnType<typeof startWorker>;
  #process: Awaited<ReturnType<typeof startWorker>>;
  kills = 0;
  /** CPU seconds of those that are gone. */
  #cpu = 0;
  mostMemory = 0;

  private constructor(cables: Cables, start: Worked['start'], first: Awaited<ReturnType<typeof startWorker>>) {
    this.cables = cables;
    this.#start = start;
    this.#process = first;
  }

  static async of(namespace: string, estateFile: string, folder: string): Promise<Worked> {
    const run = localRun();
    const network = join(folder, 'network.json');
    const cables = await Cables.between(run.network, network);
    const temporal = { address: run.temporal.address, namespace };
    const waits = { callDeadlineMs: 5000, settleMs: 1000, blockedMs: 500, followMs: 200, fenceMs: 300 };
    const settings = writeSettings(folder, { estateFile, temporal, waits });
    const start = () => startWorker(settings, { MULTI_CLOUD_NETWORK: network });
    return new Worked(cables, start, await start());
  }

  get start() {
    return this.#start;
  }

  get cpu(): number {
    const { pid = 0 } = this.#process;
    this.mostMemory = Math.max(this.mostMemory, memoryOf(pid));
    return this.#cpu + (cpuOf({ worker: pid }).worker ?? 0);
  }

  async kill(): Promise<void> {
    this.#cpu = this.cpu;
    this.kills++;
    await this.#end();
    this.#process = await this.#start();
  }

  async #end(): Promise<void> {
    const exit = once(this.#process, 'exit');
    this.#process.kill('SIGKILL');
    await exit;
  }

  async close(): Promise<void> {
    await this.#end();
    this.cables.close();
  }
}

const cases: { names: Cloud[]; topology: 'mesh' | 'ring' }[] = [
  { names: ['aws', 'gcp'], topology: 'mesh' },
  { names: ['aws', 'azure', 'gcp'], topology: 'ring' },
];

describe.each(cases)('$names.length writers, connected as a $topology', (one) => {
  const { names, topology } = one;
  const name = `writers${names.length}`;
  let worked: Worked;
  let client: Client;
  let estate: EstateClient;
  let sides: Sides;

  beforeAll(async () => {
    quietTemporal();
    const folder = mkdtempSync(join(tmpdir(), 'writers-'));
    const file = writeEstate(join(folder, 'estate.yaml'), name, {
      [service]: { type: 'storage', preferred_providers: names, redundancy: names.length, protect: false },
    });
    const { temporal } = localRun();
    const connection = await Connection.connect({ address: temporal.address });
    const namespace = `${name}-${Date.now()}`;
    await createNamespace(connection, namespace);
    worked = await Worked.of(namespace, file, folder);
    client = new Client({ connection, namespace });
    estate = new EstateClient(client, name, '');
    await (await estate.deploy()).result();
    const { placements = [] } = (await estate.service(service)) ?? {};
    const { uid = '' } = (await estate.estate()) ?? {};
    sides = Sides.at(placements.map((placed) => placementRef({ estate: name, uid, service, controller: '' }, placed)));
    // How much goes and is replaced here is no mistake.
    await estate.replicate({ service, mode: 'active-active', topology, max_deletes: 1_000_000 });
    while ((await estate.replication(service).lag()).inStepAt === '') await pause(200);
  }, 240_000);
  afterAll(async () => {
    await worked.close();
    await client.connection.close();
  }, 60_000);

  it('are equal 10 s after the last write, and no write is lost unseen', async () => {
    const { children } = localRun();
    const pids = Object.fromEntries(Object.entries(children).map(([child, { pid }]) => [child, pid]));
    const before = cpuOf({ ...pids, test: process.pid });
    const cpuBefore = worked.cpu;
    let since = (await calls()).at(-1)?.id ?? 0;
    const done = Object.fromEntries(names.map((side) => [side, 0]));
    /** The gateway remembers the last calls alone: they are counted as they come. */
    const count = async (): Promise<Record<string, number>> => {
      const some = await calls({ since, mutating: true });
      since = some.at(-1)?.id ?? since;
      const counted = await sides.countIn(some);
      for (const side of names) done[side] = (done[side] ?? 0) + (counted[side] ?? 0);
      return counted;
    };
    const began = Date.now();
    const lastsMs = (changes / perSecond) * 1000;
    let made = 0;
    let wrong: unknown;
    const loads: number[] = [];

    const writer = async (side: Cloud): Promise<void> => {
      while (made < changes && wrong === undefined) {
        const due = (made++ / perSecond) * 1000 - (Date.now() - began);
        if (due > 0) await pause(due);
        const key = `k${Math.floor(Math.random() * keys)}`;
        await sides.change(side, key, Math.random() < 0.25 ? 'delete' : 'write');
      }
    };
    const inChaos = () => made < changes && Date.now() - began < lastsMs - calmMs;
    const cuts = async (): Promise<void> => {
      while (inChaos()) {
        await pause(between(200, 1500));
        worked.cables.cut(names[Math.floor(Math.random() * names.length)] ?? 'aws');
      }
    };
    const kills = async (): Promise<void> => {
      for (;;) {
        await pause(between(15_000, 30_000));
        if (!inChaos()) return;
        await worked.kill();
      }
    };
    const partition = async (): Promise<void> => {
      await pause(lastsMs / 4);
      const [first = 'aws'] = names;
      worked.cables.part(first);
      await pause(Math.min(partitionMs, Math.max(0, lastsMs * 0.75 - calmMs)));
      worked.cables.mend(first);
    };
    // Two at a time on each side: who waits for an answer does not hold up the others.
    const writing = Promise.all(names.flatMap((side) => Array.from({ length: 4 }, () => writer(side))));
    let over = false;
    const counting = async (): Promise<void> => {
      while (!over) {
        await pause(2000);
        await count();
        loads.push(loadNow());
      }
    };
    const counted = counting();
    const all = [writing, cuts(), kills(), partition()];
    counted.catch((error: unknown) => {
      wrong ??= error;
    });
    for (const act of all)
      act.catch((error: unknown) => {
        wrong ??= error;
      });
    await Promise.all(all).catch((error: unknown) => {
      over = true;
      throw error;
    });
    const tookMs = Date.now() - began;
    const behind = (await estate.replication(service).lag()).directions.map(({ behind: open }) => open);
    const equalMs = await sides.equal(600_000);
    await pause(1000);
    over = true;
    await counted;
    await count();
    await pause(3000);
    const later = await count();
    const copied = Object.fromEntries(names.map((side) => [side, (done[side] ?? 0) - (sides.made[side] ?? 0)]));
    const { epoch, failures, directions } = await estate.replication(service).lag();
    const cpu = cpuOf({ ...pids, test: process.pid });
    const used = Object.fromEntries(
      Object.entries(cpu).map(([child, seconds]) => [child, Math.round(seconds - (before[child] ?? 0))]),
    );
    const lost = await sides.silentlyLost();
    process.stderr.write(
      `    ${JSON.stringify({
        ...{
          sides: names,
          topology,
          changes,
          writes: sides.writes.size,
          perSecond: Math.round(changes / (tookMs / 1000)),
        },
        ...{ equalMs, lost: lost.length, later, made: sides.made, copied, behind },
        conflicts: directions.reduce((sum, { conflicts }) => sum + conflicts, 0),
        ...{ kills: worked.kills, cuts: worked.cables.cuts, partitionMs, epoch, failures },
        cpuSeconds: { ...used, worker: Math.round(worked.cpu - cpuBefore) },
        workerMB: worked.mostMemory,
        load: Number((loads.reduce((sum, load) => sum + load, 0) / Math.max(1, loads.length)).toFixed(1)),
      })}\n`,
    );
    expect(lost).toEqual([]);
    expect(later).toEqual(Object.fromEntries(names.map((side) => [side, 0])));
    // What users did on the others, and no more: what comes on top would be an echo.
    for (const side of names)
      expect(copied[side]).toBeLessThanOrEqual(
        names.reduce((sum, other) => sum + (other === side ? 0 : (sides.made[other] ?? 0)), 0),
      );
    expect(equalMs).toBeLessThan(10_000);
  }, 7_200_000);
});
