/** When the lag of a direction is an incident. */
import fc from 'fast-check';
import { type IncidentRule, incidentId, observe, type Watched } from '../../model/incident.ts';

const rule: IncidentRule = { thresholdMs: 1000, beginsAfterMs: 10_000, endsAfterMs: 60_000 };
const direction = { from: 'aws', to: 'gcp' };
const idOf = (begunAt: number): string => incidentId('data_lake', direction, begunAt);

interface Seen {
  lagMs: number;
  at: number;
}
const told = (seen: readonly Seen[]): { event: string; at: number; watched: Watched }[] => {
  const events = [];
  let watched: Watched = { is: 'calm' };
  for (const one of seen) {
    const after = observe(rule, watched, one, idOf);
    if (after.event) events.push({ event: after.event, at: one.at, watched });
    ({ watched } = after);
  }
  return events;
};

/** Lags about the threshold, at any distance in time. */
const observations = fc
  .array(fc.record({ lagMs: fc.integer({ min: 0, max: 2000 }), afterMs: fc.integer({ min: 1, max: 40_000 }) }), {
    maxLength: 200,
  })
  .map((all) => {
    let at = 1_700_000_000_000;
    return all.map(({ lagMs, afterMs }): Seen => {
      at += afterMs;
      return { lagMs, at };
    });
  });

it('begins and ends in turn, and each only after the lag has stayed where it is for so long', () => {
  fc.assert(
    fc.property(observations, (seen) => {
      const events = told(seen);
      expect(events.map(({ event }) => event)).toEqual(events.map((_, at) => (at % 2 ? 'end' : 'begin')));
      for (const { event, at } of events) {
        const [ms, holds] =
          event === 'begin'
            ? [rule.beginsAfterMs, (lagMs: number) => lagMs > rule.thresholdMs]
            : [rule.endsAfterMs, (lagMs: number) => lagMs < rule.thresholdMs * 0.8];
        const before = seen.filter((one) => one.at > at - ms && one.at <= at);
        expect(before.every(({ lagMs }) => holds(lagMs))).toBe(true);
      }
    }),
    { numRuns: 500 },
  );
});

it('no lag between 80 % of the threshold and the threshold changes anything', () => {
  fc.assert(
    fc.property(observations, fc.boolean(), (seen, open) => {
      const before: Watched = open
        ? { is: 'incident', incident: { id: 'x', begunAt: 0, worstMs: 5000 } }
        : { is: 'calm' };
      let watched: Watched = before;
      for (const { at, lagMs } of seen)
        watched = observe(rule, watched, { at, lagMs: 800 + (lagMs % 201) }, idOf).watched;
      expect(watched).toEqual(before);
    }),
  );
});

it('an incident has the time at which the lag rose, and the longest lag since', () => {
  const [begin, end, more] = told([
    { lagMs: 1500, at: 1000 },
    { lagMs: 1200, at: 11_000 },
    { lagMs: 9000, at: 12_000 },
    { lagMs: 100, at: 13_000 },
    { lagMs: 100, at: 73_000 },
  ]);
  expect([begin?.at, end?.at, more]).toEqual([11_000, 73_000, undefined]);
  const incident = { id: 'data_lake.aws.gcp.19700101T000001000Z', begunAt: 1000, worstMs: 9000 };
  expect(end?.watched).toEqual({ is: 'falling', incident, since: 13_000 });
});

it('no two directions of no two services share the ID of an incident', () => {
  const name = fc.stringMatching(/^[a-z][a-z0-9_-]{0,30}$/);
  fc.assert(
    fc.property(fc.tuple(name, name, name), fc.tuple(name, name, name), (a, b) => {
      fc.pre(a.join('\n') !== b.join('\n'));
      const [one, other] = [a, b].map(([service, from, to]) => incidentId(service, { from, to }, 0));
      expect(one).not.toBe(other);
    }),
  );
});
