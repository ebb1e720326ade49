/** The record of one service: placements, lock, open intents. Long-lived; everybody who decides reads it here. */
import * as wf from '@temporalio/workflow';
import type { Activities } from '../activities/index.ts';
import { type Acquired, asksForTheSame, isHolder } from '../model/lock.ts';
import {
  applyChange,
  Holder,
  monthlyCost,
  RecordChange,
  restingStatus,
  ServiceRecord,
  type ServiceSummary,
  summarise,
} from '../model/record.ts';
import { searchAttributes } from './search-attributes.ts';

export interface WriteRequest {
  runId: string;
  /** Unique in the run: a repeated write with the same step changes nothing. */
  step: string;
  change: RecordChange;
}

export const acquire = wf.defineUpdate<Acquired, [Holder]>('acquire');
export const release = wf.defineUpdate<void, [Pick<Holder, 'workflowId' | 'runId'>]>('release');
export const write = wf.defineUpdate<{ revision: number }, [WriteRequest]>('write');
export const record = wf.defineQuery<ServiceRecord>('record');

/** A history of this many updates is closed and continued; the server's limit is 2,000. */
const updatesPerRun = 500;

const { isRunning } = wf.proxyActivities<Activities>({
  startToCloseTimeout: '20s',
  retry: { maximumInterval: '10s' },
});

export async function cloudService(input: ServiceRecord): Promise<void> {
  let state = ServiceRecord.parse(input);
  let updates = 0;
  let shown: ServiceSummary | undefined;
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
    ]);
  };

  wf.setHandler(record, () => state);
  wf.setHandler(
    acquire,
    (asker) =>
      turns.next(async () => {
        updates++;
        const holder = state.holder;
        if (holder && !isHolder(holder, asker)) {
          const alive = await isRunning({ workflowId: holder.workflowId, runId: holder.runId });
          if (alive) return { granted: false, holder, same: asksForTheSame(holder, asker) };
        }
        state = { ...state, holder: asker, applied: { [asker.runId]: state.applied[asker.runId] ?? [] } };
        show();
        return { granted: true, revision: state.revision };
      }),
    { validator: (asker) => void Holder.parse(asker) },
  );
  wf.setHandler(release, (asker) =>
    turns.next(async () => {
      updates++;
      if (!isHolder(state.holder, asker)) return;
      const { holder: _, ...rest } = state;
      const settling = ['deploying', 'removing', 'blocked', 'migrating', 'failing-over'].includes(state.status);
      state = { ...rest, applied: {}, waitingFor: '', ...(settling && { status: restingStatus(state) }) };
      show();
    }),
  );
  wf.setHandler(
    write,
    ({ runId, step, change }) =>
      turns.next(async () => {
        updates++;
        const applied = state.applied[runId] ?? [];
        if (!applied.includes(step)) {
          state = applyChange(state, runId, RecordChange.parse(change));
          state = { ...state, applied: { ...state.applied, [runId]: [...applied, step] } };
          show();
        }
        return { revision: state.revision };
      }),
    { validator: ({ change }) => void RecordChange.parse(change) },
  );

  show();
  await wf.condition(() => (updates >= updatesPerRun || wf.workflowInfo().continueAsNewSuggested) && turns.idle);
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
