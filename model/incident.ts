/**
 * When the lag of a direction is an incident: above the threshold for a while it begins, clearly below it for a while it
 * ends. What swings about the threshold is one incident, not many. Pure; the caller has the clock.
 */
import { z } from 'zod';
import { SideName } from './conflict.ts';

/** All in milliseconds. */
export interface IncidentRule {
  thresholdMs: number;
  /** How long the lag must stay above the threshold, from one observation at least to another. */
  beginsAfterMs: number;
  /** How long it must stay below 80 % of it. */
  endsAfterMs: number;
}

export const incidentRule = (thresholdMs: number): IncidentRule => ({
  thresholdMs,
  beginsAfterMs: 10_000,
  endsAfterMs: 60_000,
});

/** Below this share of the threshold an incident may end. */
const calm = 0.8;

export const LagDirection = z.strictObject({ from: SideName, to: SideName });
export type LagDirection = z.infer<typeof LagDirection>;

const Ms = z.number().min(0);

/** `begunAt`: when the lag rose above the threshold, ms since 1970. `worstMs`: the longest lag since. */
export const Incident = z.strictObject({ id: z.string().min(1).max(200), begunAt: Ms, worstMs: Ms });
export type Incident = z.infer<typeof Incident>;

/** What is known of one direction. */
export const Watched = z.discriminatedUnion('is', [
  z.strictObject({ is: z.literal('calm') }),
  z.strictObject({ is: z.literal('rising'), since: Ms, worstMs: Ms }),
  z.strictObject({ is: z.literal('incident'), incident: Incident }),
  z.strictObject({ is: z.literal('falling'), incident: Incident, since: Ms }),
]);
export type Watched = z.infer<typeof Watched>;

/** No name has a dot, so that no two directions share an ID. The same for whoever works it out again. */
export const incidentId = (service: string, { from, to }: LagDirection, begunAt: number): string =>
  `${service}.${from}.${to}.${new Date(begunAt).toISOString().replace(/[-:.]/g, '')}`;

export interface Observed {
  watched: Watched;
  /** What this observation has brought about. */
  event?: 'begin' | 'end' | undefined;
}

/** `idOf`: the ID of an incident by when it has begun. Observations come in the order of time. */
export function observe(
  rule: IncidentRule,
  watched: Watched,
  { lagMs, at }: { lagMs: number; at: number },
  idOf: (begunAt: number) => string,
): Observed {
  if (watched.is === 'calm' || watched.is === 'rising') {
    if (lagMs <= rule.thresholdMs) return { watched: { is: 'calm' } };
    const { since, worstMs } = watched.is === 'rising' ? watched : { since: at, worstMs: 0 };
    const worst = Math.max(worstMs, lagMs);
    if (at - since < rule.beginsAfterMs) return { watched: { is: 'rising', since, worstMs: worst } };
    const incident = { id: idOf(since), begunAt: since, worstMs: worst };
    return { watched: { is: 'incident', incident }, event: 'begin' };
  }
  const incident = { ...watched.incident, worstMs: Math.max(watched.incident.worstMs, lagMs) };
  if (lagMs >= rule.thresholdMs * calm) return { watched: { is: 'incident', incident } };
  const since = watched.is === 'falling' ? watched.since : at;
  if (at - since < rule.endsAfterMs) return { watched: { is: 'falling', incident, since } };
  return { watched: { is: 'calm' }, event: 'end' };
}
