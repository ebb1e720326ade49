/** What tests know of the local clouds that `npm test` has started for them. */
import { readFileSync } from 'node:fs';
import type { Policy } from '../../emulators/gateway/callers.ts';
import type { Call } from '../../emulators/gateway/calls.ts';
import type { Fault } from '../../emulators/gateway/faults.ts';
import type { QuotaChange } from '../../emulators/quota-limits.ts';
import { RunFile } from '../../emulators/run-file.ts';

/** The stack that this test runs against. */
export function localRun(): RunFile {
  const file = process.env.MULTI_CLOUD_RUN;
  if (!file) throw new Error('This test needs the local clouds: run it with `npm test -- <path of the test>`.');
  return RunFile.parse(JSON.parse(readFileSync(file, 'utf8')));
}

async function control<T>(path: string, method = 'GET', body?: unknown): Promise<T> {
  const answer = await fetch(`${localRun().control}${path}`, {
    method,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`gateway: ${text}`);
  return JSON.parse(text) as T;
}

/** Calls that reached the gateway after the call with the ID `since`. */
export const calls = (filter: { since?: number; mutating?: boolean; cloud?: string } = {}): Promise<Call[]> =>
  control(
    `/calls?${new URLSearchParams(Object.entries(filter).map(([key, value]): [string, string] => [key, `${value}`]))}`,
  );

/** Replaces all faults; an empty list heals everything. */
export const setFaults = (faults: (Pick<Fault, 'effect'> & Partial<Fault>)[]): Promise<unknown> =>
  control('/faults', 'PUT', faults);

/** Of a fault: calls that it looked at, and those that it hit. */
export interface Hits {
  id: number;
  seen: number;
  hits: number;
}

/** Adds one fault beside those of other tests; the answer takes it away again and tells how often it hit. */
export async function armFault(fault: Pick<Fault, 'effect'> & Partial<Fault>): Promise<() => Promise<number>> {
  const { id } = await addFault(fault);
  return async () => (await disarmFault(id)).hits;
}

export const addFault = (fault: Pick<Fault, 'effect'> & Partial<Fault>): Promise<Hits> =>
  control('/faults', 'POST', fault);
export const faults = (): Promise<Hits[]> => control('/faults');
export const disarmFault = (id: number): Promise<Hits> => control(`/faults?id=${id}`, 'DELETE');

/** From now on a quota of a local cloud allows so much in a region; the answer makes it what it was. */
export async function setQuota(change: QuotaChange): Promise<() => Promise<unknown>> {
  await control('/quotas', 'PUT', change);
  return () => control('/quotas', 'PUT', { ...change, limit: null });
}

/** Milliseconds added to each call, by cloud; `*` is every other one. */
export const setLatency = (latency: Record<string, number>): Promise<unknown> => control('/latency', 'PUT', latency);

/** The rights that calls of this access key, application or service account have needed so far. */
export const usedRights = (caller: string): Promise<string[]> => control(`/callers?id=${encodeURIComponent(caller)}`);

/** From now on the access key of AWS may do what these policies say and no more. */
export const holdCaller = (accessKey: string, policies: readonly Policy[]): Promise<unknown> =>
  control(`/callers?id=${encodeURIComponent(accessKey)}`, 'PUT', policies);
