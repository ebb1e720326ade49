/** The record of one service: placements, lock, open intents. Long-lived; everybody who decides reads it here. */
import { WorkflowExecutionAlreadyStartedError } from '@temporalio/common';
import * as wf from '@temporalio/workflow';
import { z } from 'zod';
import type { Activities } from '../activities/index.ts';
import { type Acquired, ask, describeHolder, isHolder } from '../model/lock.ts';
import { workflowIds } from '../model/operations.ts';
import {
  applyChange,
  Holder,
  monthlyCost,
  nextRemoval,
  Orphan,
  RecordChange,
  Replicating,
  restingStatus,
  ServiceRecord,
  type ServiceSummary,
  summarise,
} from '../model/record.ts';
import { failure } from './calls.ts';
import { searchAttributes } from './search-attributes.ts';

export interface WriteRequest {
  runId: string;
  /** Unique in the run: a repeated write with the same step changes nothing. */
  step: string;
  change: RecordChange;
}

export const acquire = wf.defineUpdate<Acquired, [Holder]>('acquire');
export const release = wf.defineUpdate<{ revision: number }, [Pick<Holder, 'workflowId' | 'runId'>]>('release');
export const write = wf.defineUpdate<{ revision: number }, [WriteRequest]>('write');
export const noteOrphans = wf.defineUpdate<void, [Orphan[]]>('noteOrphans');
export const noteReplication = wf.defineUpdate<void, [Replicating | null]>('noteReplication');
export const rebuild = wf.defineUpdate<void, [ServiceRecord]>('rebuild');
export const record = wf.defineQuery<ServiceRecord>('record');

/** A history of this many updates is closed and continued; the server's limit is 2,000. */
const updatesPerRun = 500;
/** How long after the lock was taken the record first looks whether its holder still lives; then less and less often. */
const firstLookMs = 60_000;
const longestLookMs = 3_600_000;

const { isRunning } = wf.proxyActivities<Activities>({
  startToCloseTimeout: '20s',
  retry: { maximumInterval: '10s' },
});

export async function cloudService(input: ServiceRecord): Promise<void> {
  let state = ServiceRecord.parse(input);
  let updates = 0;
  let shown: ServiceSummary | undefined;
  let lagShown = false;
  const turns = new Turns();

  const show = () => {
    const summary = summarise(state);
    if (JSON.stringify(summary) === JSON.stringify(shown)) return;
    shown = summary;
    wf.upsertMemo({ summary });
    wf.upsertSearchAttributes([
      { key: searchAttributes.estate, value: state.estate },
      { key: searchAttributes.serviceName, value: state.service },
      { key: searchAttributes.serviceType, value: state.type ?? null },
      { key: searchAttributes.cloudProvider, value: summary.placements.map(({ provider }) => provider) },
      { key: searchAttributes.serviceStatus, value: state.status },
      { key: searchAttributes.monthlyCostUsd, value: monthlyCost(state) },
      { key: searchAttributes.waitingForPerson, value: state.waitingFor !== '' },
      ...(state.replication || lagShown
        ? [{ key: searchAttributes.replicationLagSeconds, value: state.replication?.lagSeconds ?? null }]
        : []),
    ]);
    lagShown = state.replication !== undefined;
  };

  wf.setHandler(record, () => state);
  /** Runs of this lock that have ended without giving it back: terminated, or lost. */
  const dead = async (): Promise<string[]> => {
    const runs = [state.holder, state.next].filter((one) => one !== undefined);
    const alive = await Promise.all(runs.map(({ workflowId, runId }) => isRunning({ workflowId, runId })));
    return runs.filter((_, at) => !alive[at]).map(({ runId }) => runId);
  };
  const free = () => {
    const { holder: _, ...rest } = state;
    const working = ['deploying', 'removing', 'blocked', 'migrating', 'failing-over', 'needs-operator'];
    const settling = working.includes(state.status);
    state = { ...rest, applied: {}, waitingFor: '', ...(settling && { status: restingStatus(state) }) };
    show();
  };

  wf.setHandler(
    acquire,
    (asker) =>
      turns.next(async () => {
        updates++;
        const mine = isHolder(state.holder, asker) || (!state.holder && !state.next);
        const { lock, refused, verdict } = ask(state, asker, mine ? [] : await dead());
        const taken = state.holder !== undefined && !isHolder(state.holder, asker);
        state = { ...state, ...lock };
        if (refused && verdict) return { granted: false, holder: refused, verdict };
        // Plans were made as long as the run that is gone was at work: they are stale.
        if (taken) state = { ...state, revision: state.revision + 1 };
        state = { ...state, applied: { [asker.runId]: state.applied[asker.runId] ?? [] } };
        show();
        return { granted: true, revision: state.revision };
      }),
    { validator: (asker) => void Holder.parse(asker) },
  );
  wf.setHandler(release, (asker) =>
    turns.next(async () => {
      updates++;
      if (isHolder(state.holder, asker)) free();
      return { revision: state.revision };
    }),
  );
  wf.setHandler(
    write,
    ({ runId, step, change }) =>
      turns.next(async () => {
        updates++;
        const applied = state.applied[runId] ?? [];
        if (!applied.includes(step)) {
          state = applyChange(state, RecordChange.parse(change));
          state = { ...state, applied: { ...state.applied, [runId]: [...applied, step] } };
          show();
        }
        return { revision: state.revision };
      }),
    { validator: ({ change }) => void RecordChange.parse(change) },
  );

  wf.setHandler(
    noteOrphans,
    (orphans) =>
      turns.next(async () => {
        updates++;
        if (state.holder) return;
        state = applyChange(state, { kind: 'orphans', how: 'found', orphans: z.array(Orphan).parse(orphans) });
        show();
      }),
    { validator: (orphans) => void z.array(Orphan).parse(orphans) },
  );

  wf.setHandler(
    noteReplication,
    (replicating) =>
      turns.next(async () => {
        updates++;
        const { replication: _, ...rest } = state;
        state = { ...rest, ...(replicating && { replication: Replicating.parse(replicating) }) };
        show();
      }),
    { validator: (replicating) => void Replicating.nullable().parse(replicating) },
  );

  /** The last removal that was started, and when. */
  let started = { removal: '', at: 0 };
  /** Starts what takes a migration's source away once its time has come, as long as nobody works on the service. */
  const awaitRemovals = async (changed: () => boolean): Promise<void> => {
    const removal = nextRemoval(state);
    if (removal === undefined) return wf.condition(() => changed() || nextRemoval(state) !== undefined);
    // One that has come to nothing is not started again and again.
    const again = removal === started.removal ? started.at + longestLookMs : 0;
    const wait = Math.max(Date.parse(removal), again) - Date.now();
    if (await wf.condition(() => changed() || nextRemoval(state) !== removal, Math.max(1, wait))) return;
    started = { removal, at: Date.now() };
    const { estate, service } = state;
    try {
      await wf.startChild('removeService', {
        workflowId: `${workflowIds.removeService(estate, service)}-retained`,
        args: [{ v: 1, estate, service, retained: true, by: 'the record of the service' }],
        parentClosePolicy: 'ABANDON',
        staticSummary: `what a migration of ${service} had kept`,
      });
    } catch (error) {
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
    }
  };
  wf.setHandler(
    rebuild,
    (record) =>
      turns.next(async () => {
        updates++;
        if (state.holder)
          throw failure(
            'OperationInProgress',
            `${state.service} is held by ${describeHolder(state.holder)}; its record was not rebuilt.`,
          );
        state = record;
        show();
      }),
    { validator: (record) => void ServiceRecord.parse(record) },
  );

  show();
  const full = () => (updates >= updatesPerRun || wf.workflowInfo().continueAsNewSuggested) && turns.idle;
  while (!full()) {
    const held = state.holder?.runId;
    const changed = () => full() || state.holder?.runId !== held;
    if (held === undefined) await awaitRemovals(changed);
    else
      for (let wait = firstLookMs; !(await wf.condition(changed, wait)); wait = Math.min(2 * wait, longestLookMs))
        await turns.next(async () => {
          // A holder that was terminated gives nothing back: the service must not look busy for ever.
          if (state.holder?.runId === held && (await dead()).includes(held)) free();
        });
  }
  await wf.condition(wf.allHandlersFinished);
  await wf.continueAsNew<typeof cloudService>(state);
}

/** Handlers that await take turns, in the order in which they came. */
class Turns {
  #last: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  get idle(): boolean {
    return this.#waiting === 0;
  }

  next<T>(turn: () => Promise<T>): Promise<T> {
    this.#waiting++;
    const result = this.#last.then(turn).finally(() => this.#waiting--);
    this.#last = result.catch(() => {});
    return result;
  }
}
