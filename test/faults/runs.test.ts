/**
 * Runs that are cancelled, terminated and recovered, reset, throttled, or whose cloud is away for a while, at every one of
 * their steps: each ends done or undone, nothing is left over, and the same input succeeds again.
 *
 * `npm test` goes through one step of each kind, chosen by the commit; `npm run test:faults` through all of them.
 */
import { ApplicationFailure, Context } from '@temporalio/activity';
import { TerminatedFailure } from '@temporalio/client';
import type { OperationResult } from '../../model/operations.ts';
import { CellsEstate, cells, cellsEstate, type TestCell } from '../e2e/cells.ts';
import { type OwnWorker, ownWorker, quietTemporal } from '../e2e/own-worker.ts';
import { chosen, note } from './choice.ts';

const estate = 'runs';
const waits = { callDeadlineMs: 1000, settleMs: 200, blockedMs: 300, followMs: 200, fenceMs: 300 };
const fates = ['cancel', 'terminate', 'reset', 'throttle', 'away', 'lose'] as const;
type Fate = (typeof fates)[number];
/** A fate at the n-th call of a run to a cloud; `before` the call or after it took effect. */
interface Case {
  id: string;
  fate: Fate;
  at: number;
  when: 'before' | 'after';
}
/** One cell of each cloud, with few and with many resources. */
const mine = cells.filter(({ service }) => ['aws_compute', 'azure_data_lake', 'gcp_storage'].includes(service));

describe('a run that something happens to', () => {
  let worker: OwnWorker;
  let all: CellsEstate;
  /** By service: what is to happen, and the calls so far. */
  const planned = new Map<string, Omit<Case, 'id'>>();
  const count = new Map<string, number>();
  const outcomes = new Map<string, Promise<{ cases: number; broken: string[] }>>();

  async function strike({ fate }: Pick<Case, 'fate'>): Promise<void> {
    const { workflowId = '', runId = '' } = Context.current().info.workflowExecution ?? {};
    const run = worker.client.workflow.getHandle(workflowId, runId);
    if (fate === 'cancel') await run.cancel();
    if (fate === 'terminate') await run.terminate();
    if (fate === 'reset') {
      const { events } = await run.fetchHistory();
      const completed = events?.findLast(({ workflowTaskCompletedEventAttributes: done }) => done)?.eventId;
      await worker.client.workflowService.resetWorkflowExecution({
        namespace: worker.client.options.namespace,
        workflowExecution: { workflowId, runId },
        workflowTaskFinishEventId: completed ?? null,
        requestId: `${runId}-${Math.random()}`,
        reason: 'test',
      });
    }
    if (fate === 'throttle')
      throw ApplicationFailure.create({ type: 'Throttled', message: 'slow down', nextRetryDelay: '300ms' });
    if (fate === 'away' || fate === 'lose') throw ApplicationFailure.retryable('the cloud is away', 'Unavailable');
  }

  beforeAll(async () => {
    quietTemporal();
    const watched = async <T>(service: string, act: () => Promise<T>): Promise<T> => {
      const at = (count.get(service) ?? 0) + 1;
      count.set(service, at);
      const fault = planned.get(service);
      // A cloud that is away stays away for some calls; everything else happens once.
      const hit = fault && (fault.fate === 'away' ? at >= fault.at && at < fault.at + 3 : at === fault.at);
      if (hit && fault.when === 'before') await strike(fault);
      const result = await act();
      if (hit && fault.when === 'after') await strike(fault);
      return result;
    };
    worker = await ownWorker({
      namespace: `runs-${Date.now()}`,
      estateFile: cellsEstate(estate),
      wrap: (real) => ({
        ...real,
        ensureResource: (request) => watched(request.placement.owner.service, () => real.ensureResource(request)),
        removeResource: (request) => watched(request.placement.owner.service, () => real.removeResource(request)),
        verifyPlacement: (request) => watched(request.placement.owner.service, () => real.verifyPlacement(request)),
        findStrays: (request) => watched(request.placement.owner.service, () => real.findStrays(request)),
      }),
      waits,
    });
    all = new CellsEstate(worker, estate);
    for (const cell of mine) outcomes.set(cell.service, throughCases(cell));
  }, 120_000);
  afterAll(() => worker.close(), 60_000);

  const settled = async (type: string, service: string): Promise<OperationResult | string> => {
    const { workflowId, firstExecutionRunId } = await all.start(type, { service });
    const run = worker.client.workflow.getHandle(workflowId);
    try {
      return (await run.result()) as OperationResult;
    } catch (error) {
      const cause = error instanceof Error ? error.cause : undefined;
      // A run that was reset ends, and goes on as another of the same workflow.
      if (cause instanceof TerminatedFailure && (await run.describe()).runId !== firstExecutionRunId)
        return (await run.result().catch(String)) as OperationResult | string;
      if (cause instanceof ApplicationFailure && cause.details?.[0]) return cause.details[0] as OperationResult;
      return cause instanceof Error ? cause.name : String(error);
    }
  };

  async function throughCases(cell: TestCell): Promise<{ cases: number; broken: string[] }> {
    const { service } = cell;
    await settled('deployService', service);
    await settled('removeService', service);
    const calls = count.get(service) ?? 0;
    const every = Array.from({ length: calls }, (_, at): Case[] =>
      fates.flatMap((fate) =>
        (['before', 'after'] as const).map((when) => ({
          id: `${service} ${fate} ${when} call ${at + 1}`,
          fate,
          at: at + 1,
          when,
        })),
      ),
    ).flat();
    const some = chosen(every, ({ fate }) => fate);
    const broken: string[] = [];
    for (const one of some) {
      // What the test itself could not find out is no word on the cases after it.
      const found = await oneCase(cell, one).catch((error: unknown) => [String(error)]);
      note(one.id, found);
      if (found.length > 0) broken.push(`${one.id}: ${found.join('; ')}`);
    }
    return { cases: some.length, broken };
  }

  async function oneCase(cell: TestCell, fault: Case): Promise<string[]> {
    const { service } = cell;
    const broken: string[] = [];
    count.set(service, 0);
    planned.set(service, fault);
    const go = async (type: string, placements: number): Promise<void> => {
      const result = await settled(type, service);
      const ended = typeof result === 'string' ? result : result.outcome;
      if (ended === 'TerminatedFailure') await settled('recoverService', service);
      else if (ended !== 'done' && ended !== 'undone' && ended !== 'CancelledFailure') broken.push(`${type}: ${ended}`);
      if (typeof result !== 'string' && result.orphans.length > 0) broken.push(`${type}: orphans`);
      const left = await all.left(cell);
      // A removal that is cancelled stops half-way: what is left stands in the record, to be taken up again.
      const stopped = type === 'removeService' && ended === 'CancelledFailure';
      if (left.length > 0 && !stopped) broken.push(`${type} left ${left.join(', ')}`);
      // The same again succeeds, whatever became of the first.
      const again = await settled(type, service);
      if (typeof again === 'string' || again.outcome !== 'done') broken.push(`${type} again: ${JSON.stringify(again)}`);
      const record = await all.record(service);
      if (record.placements.length !== placements) broken.push(`${type}: ${record.placements.length} placements`);
      if (record.holder) broken.push(`${type}: held by ${record.holder.workflowId}`);
    };
    await go('deployService', 1);
    await go('removeService', 0);
    planned.delete(service);
    const left = await all.left(cell);
    if (left.length > 0) broken.push(`left in the end: ${left.join(', ')}`);
    return broken;
  }

  it.each(mine)(
    '$type on $provider: ends done or undone, leaves nothing, and succeeds again',
    async ({ service }) => {
      const outcome = await outcomes.get(service);
      expect(outcome?.broken).toEqual([]);
      expect(outcome?.cases).toBeGreaterThan(0);
    },
    5_400_000,
  );
});
