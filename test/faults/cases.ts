/** The cases of the fault matrix, made from a recorded run: every call that changed a cloud, and all that can happen to it. */
import type { Call } from '../../emulators/gateway/calls.ts';
import type { Fault } from '../../emulators/gateway/faults.ts';

/** One changing call of a run, known by what is the same in every run. */
export interface RecordedCall {
  /** For people: `POST ec2.us-west-2.amazonaws.com / CreateVpc`. */
  label: string;
  match: Fault['match'];
  /** Which of the calls that look alike: from 0. */
  occurrence: number;
}

export interface FaultCase {
  id: string;
  call: RecordedCall;
  effect: 'lose-request' | 'lose-answer' | 'late';
}

const escaped = (text: string): string => text.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&');
/** Hashes, UUIDs and IDs that a cloud gives differ from run to run. */
const changing = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{6,}|\d{6,}/gi;
const pattern = (text: string): string => `/^${text.split(changing).map(escaped).join('[0-9a-fA-F-]+')}$/`;

/** `byCaller`: calls that others make besides are told apart by who makes them. */
export function recordedCalls(calls: readonly Call[], byCaller = false): RecordedCall[] {
  const seen = new Map<string, number>();
  return calls
    .filter(({ mutating, status }) => mutating && status !== undefined && status < 400)
    .map(({ cloud, method, host, path, action, caller }) => {
      const match = {
        cloud,
        method,
        host: pattern(host),
        path: pattern(path),
        ...(action !== undefined && { action }),
        ...(byCaller && caller !== undefined && { caller }),
        mutating: true,
      };
      const key = JSON.stringify(match);
      const occurrence = seen.get(key) ?? 0;
      seen.set(key, occurrence + 1);
      const name = `${method} ${host}${path}`.replaceAll(changing, '*');
      return { label: action === undefined ? name : `${name} ${action}`, match, occurrence };
    });
}

const effects: FaultCase['effect'][] = ['lose-request', 'lose-answer', 'late'];

export const faultCases = (service: string, calls: readonly RecordedCall[]): FaultCase[] =>
  calls.flatMap((call) =>
    effects.map((effect) => ({ id: `${service} ${effect} ${call.label} #${call.occurrence}`, call, effect })),
  );
