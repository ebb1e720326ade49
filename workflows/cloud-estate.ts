/** The record of the estate: its identity, the last applied file, who changes it now. */
import * as wf from '@temporalio/workflow';
import type { Activities } from '../activities/index.ts';
import { changesAfter } from '../model/applied.ts';
import { type Acquired, isHolder, judge } from '../model/lock.ts';
import { EstateRecord, Holder } from '../model/record.ts';
import { searchAttributes } from './search-attributes.ts';

/** What was applied; the record adds when, and what that changed. */
export type Applied = Omit<NonNullable<EstateRecord['lastApplied']>, 'at' | 'changes'>;

export const open = wf.defineUpdate<{ uid: string; controller: string }, []>('open');
export const acquire = wf.defineUpdate<Acquired, [Holder]>('acquire');
export const release = wf.defineUpdate<void, [Pick<Holder, 'workflowId' | 'runId'>]>('release');
export const applied = wf.defineUpdate<boolean, [Applied]>('applied');
export const rebuild = wf.defineUpdate<void, [EstateRecord]>('rebuild');
export const confirm = wf.defineUpdate<void, []>('confirm');
export const record = wf.defineQuery<EstateRecord>('record');

const updatesPerRun = 500;

const { isRunning } = wf.proxyActivities<Activities>({
  startToCloseTimeout: '20s',
  retry: { maximumInterval: '10s' },
});

export async function cloudEstate(input: EstateRecord): Promise<void> {
  let state = EstateRecord.parse(input);
  let updates = 0;

  wf.setHandler(record, () => state);
  wf.setHandler(open, () => {
    updates++;
    // Random, but the same at every replay.
    if (!state.uid) state = { ...state, uid: wf.uuid4().replaceAll('-', '') };
    return { uid: state.uid, controller: state.controller };
  });
  wf.setHandler(
    acquire,
    async (asker) => {
      updates++;
      for (let holder = state.holder; holder && !isHolder(holder, asker); holder = state.holder) {
        if (await isRunning({ workflowId: holder.workflowId, runId: holder.runId }))
          return { granted: false, holder, verdict: judge(holder, asker) };
        if (state.holder === holder) break; // nobody else took it over while we looked
      }
      state = { ...state, holder: asker };
      return { granted: true, revision: 0 };
    },
    { validator: (asker) => void Holder.parse(asker) },
  );
  wf.setHandler(release, (asker) => {
    updates++;
    if (!isHolder(state.holder, asker)) return;
    const { holder: _, ...rest } = state;
    state = rest;
  });
  wf.setHandler(applied, (file) => {
    updates++;
    const at = new Date().toISOString();
    const changed = state.lastApplied?.hash !== file.hash;
    const changes = changesAfter(state.lastApplied, file.services, { by: file.by, at });
    state = {
      ...state,
      lastApplied: { ...file, at, changes },
      services: [...new Set([...state.services, ...Object.keys(file.services)])].sort(),
      revision: state.revision + 1,
    };
    return changed;
  });
  wf.setHandler(
    rebuild,
    ({ holder: _, ...record }) => {
      updates++;
      state = { ...record, ...(state.holder && { holder: state.holder }) };
    },
    { validator: (record) => void EstateRecord.parse(record) },
  );
  wf.setHandler(confirm, () => {
    updates++;
    state = { ...state, unconfirmed: false };
  });

  wf.upsertSearchAttributes([{ key: searchAttributes.estate, value: state.estate }]);
  await wf.condition(() => updates >= updatesPerRun || wf.workflowInfo().continueAsNewSuggested);
  await wf.condition(wf.allHandlersFinished);
  await wf.continueAsNew<typeof cloudEstate>(state);
}
