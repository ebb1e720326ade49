/**
 * Every call that changes a cloud is lost before its effect, lost after it, and carried out too late: each run ends done,
 * or wholly undone, nothing is left over, and the same input succeeds again.
 *
 * A run bears several, each with another call; where they break one, each is tried alone.
 *
 * `npm test` runs one case of each cell, CI all of two clouds, chosen by the commit; `npm run test:faults` all.
 */
import { setTimeout } from 'node:timers/promises';
import { ApplicationFailure, type WorkflowHandle } from '@temporalio/client';
import type { OperationResult } from '../../model/operations.ts';
import { providerTypes } from '../../model/service.ts';
import { CellsEstate, cells, cellsEstate, type TestCell } from '../e2e/cells.ts';
import { type OwnWorker, ownWorker, quietTemporal } from '../e2e/own-worker.ts';
import { armFault, calls } from '../local/stack.ts';
import { type FaultCase, faultCases, recordedCalls } from './cases.ts';
import { byCommit, chosen, inLots, note } from './choice.ts';

const estate = 'faults';
const clouds = (process.env.MULTI_CLOUD_FAULTS_CLOUDS ?? providerTypes.join(',')).split(',');
/** Of whose cells CI goes through one case alone. */
const spared = process.env.MULTI_CLOUD_TESTS === 'all' ? byCommit(providerTypes) : undefined;
/** A lost call is given up, and can take effect, so much sooner than in real clouds. */
const waits = { callDeadlineMs: 3000, settleMs: 500, blockedMs: 300, followMs: 200, fenceMs: 300 };

const isAnotherCall = (one: FaultCase, other: FaultCase): boolean =>
  JSON.stringify(one.call.match) !== JSON.stringify(other.call.match);

describe('a call that changes a cloud and is lost, or comes late', () => {
  let worker: OwnWorker;
  let all: CellsEstate;
  const outcomes = new Map<string, Promise<{ cases: number; broken: string[] }>>();

  beforeAll(async () => {
    quietTemporal();
    worker = await ownWorker({ namespace: `faults-${Date.now()}`, estateFile: cellsEstate(estate), waits });
    all = new CellsEstate(worker, estate);
    // Faults are told apart by cloud: cells of one cloud go one after another, the three clouds side by side.
    for (const provider of providerTypes.filter((one) => clouds.includes(one))) {
      // The first run on a cloud makes its records bucket, which stays: no other one will.
      const first = cells.find((one) => one.provider === provider)?.service ?? '';
      let before: Promise<unknown> = liveThrough(first);
      for (const cell of cells.filter((one) => one.provider === provider)) {
        const outcome = before.then(() => throughCases(cell));
        outcomes.set(cell.service, outcome);
        before = outcome.catch(() => {});
      }
    }
  }, 120_000);
  afterAll(() => worker.close(), 60_000);

  const settled = async (run: WorkflowHandle): Promise<OperationResult | string> => {
    try {
      return (await run.result()) as OperationResult;
    } catch (error) {
      const cause = error instanceof Error ? error.cause : undefined;
      return cause instanceof ApplicationFailure && cause.details?.[0]
        ? (cause.details[0] as OperationResult)
        : String(cause ?? error);
    }
  };

  async function liveThrough(service: string): Promise<void> {
    await all.run('deployService', { service });
    await all.run('removeService', { service });
  }

  async function throughCases(cell: TestCell): Promise<{ cases: number; broken: string[] }> {
    const { service, provider } = cell;
    const since = Math.max(0, ...(await calls({ cloud: provider })).map(({ id }) => id));
    await liveThrough(service);
    const made = await calls({ since, cloud: provider, mutating: true });
    // Its keys name the run, so no two runs write the same; what becomes of a bucket that is away has a test of its own.
    const recorded = recordedCalls(made.filter(({ host, path }) => !/records/.test(`${host}${path}`)));
    const every = faultCases(service, recorded);
    const some = chosen(every, ({ id }) => (spared && provider !== spared ? id : 'one'));
    const broken: string[] = [];
    for (const lot of inLots(some, 8, isAnotherCall)) {
      // What the test itself could not find out is no word on the cases after it.
      const struck = (cases: readonly FaultCase[]) => oneRun(cell, cases).catch((error: unknown) => [String(error)]);
      const together = await struck(lot);
      for (const one of lot) {
        const found = together.length === 0 || lot.length === 1 ? together : await struck([one]);
        note(one.id, found);
        if (found.length > 0) broken.push(`${one.id}: ${found.join('; ')}`);
      }
    }
    return { cases: some.length, broken };
  }

  /** Deploys and removes with these faults on the way; returns what differs from the promise. */
  async function oneRun(cell: TestCell, lot: readonly FaultCase[]): Promise<string[]> {
    const { service } = cell;
    const broken: string[] = [];
    const armed = await Promise.all(
      lot.map(async ({ id, call, effect }) => {
        const delayMs = Math.floor(Math.random() * (waits.callDeadlineMs + waits.settleMs));
        const disarm = await armFault({ match: call.match, skip: call.occurrence, times: 1, effect, delayMs });
        return { id, disarm, lateMs: effect === 'late' ? delayMs : 0 };
      }),
    );
    const expectDone = async (type: string, undone: boolean): Promise<boolean> => {
      const result = await settled(await all.start(type, { service }));
      if (typeof result === 'string') broken.push(`${type}: ${result}`);
      else if (result.orphans.length > 0) broken.push(`${type}: orphans ${JSON.stringify(result.orphans)}`);
      else if (result.outcome !== 'done' && !undone) broken.push(`${type}: ${result.outcome}`);
      const left = await all.left(cell);
      if (left.length > 0) broken.push(`${type} left ${left.join(', ')}`);
      return typeof result !== 'string' && result.outcome === 'done';
    };
    const first = await expectDone('deployService', true);
    if (!first) await expectDone('deployService', false);
    await expectDone('removeService', false);
    for (const { id, disarm } of armed) {
      const hits = await disarm();
      if (hits !== 1) broken.push(`${id} hit ${hits} times`);
    }
    const lateMs = Math.max(...armed.map((one) => one.lateMs));
    if (lateMs > 0) {
      await setTimeout(lateMs);
      const left = await all.left(cell);
      if (left.length > 0) broken.push(`what came ${lateMs} ms late is left: ${left.join(', ')}`);
    }
    return broken;
  }

  it.each(cells.filter(({ provider }) => clouds.includes(provider)))(
    '$type on $provider: ends done or undone, leaves nothing, and succeeds again',
    async ({ service }) => {
      const outcome = await outcomes.get(service);
      expect(outcome?.broken).toEqual([]);
      expect(outcome?.cases).toBeGreaterThan(0);
    },
    5_400_000,
  );
});
