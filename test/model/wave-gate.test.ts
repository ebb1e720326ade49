/** Whether a wave has arrived, by what the streams have shown. */
import type { Sightings } from '../../model/telemetry-pump.ts';
import { judgeArrival } from '../../model/wave-gate.ts';

const start = Date.parse('2026-01-01T00:00:00.000Z');
const iso = (s: number): string => new Date(start + 1000 * s).toISOString();
/** Told after ten minutes of a message every five seconds. */
const toldAt = 600;
const rules = { what: 'arrived', toldAt: iso(toldAt), windowMs: 240_000, seen: 0.8, rate: 0.5, now: start } as const;

const seen = (provider: string, until: number, devices: Record<string, [at: number, messages: number]>): Sightings => ({
  head: {
    ...{ provider, since: iso(0), until: iso(until) },
    messages: Object.values(devices).reduce((sum, [, messages]) => sum + messages, 0),
  },
  devices: new Map(Object.entries(devices).map(([device, [at, messages]]) => [device, { at: iso(at), messages }])),
});
const five = ['a', 'b', 'c', 'd', 'e'];
const each = <T>(names: readonly string[], value: T): Record<string, T> =>
  Object.fromEntries(names.map((name) => [name, value]));
const before = seen('azure', 630, each(five, [toldAt, 120]));

describe('a wave', () => {
  it('has arrived once enough of those awake are there and say as much as before', () => {
    const first = judgeArrival(
      five,
      { from: before, to: seen('gcp', 620, each(five.slice(0, 4), [615, 3])) },
      undefined,
      rules,
    );
    expect(first).toMatchObject({ passed: false, awake: 5, arrived: 4, missing: ['e'] });
    const soon = seen('gcp', 640, each(five.slice(0, 4), [639, 6]));
    expect(judgeArrival(five, { from: before, to: soon }, first.measuredFrom, rules).passed).toBe(false);
    const later = seen('gcp', 690, each(five.slice(0, 4), [689, 17]));
    const verdict = judgeArrival(five, { from: before, to: later }, first.measuredFrom, rules);
    expect(verdict).toMatchObject({ passed: true, rateBefore: 12 });
    expect(verdict.rateAfter).toBeCloseTo(12, 1);
  });

  it('has not where those who are there say too little', () => {
    const first = judgeArrival(five, { from: before, to: seen('gcp', 620, each(five, [615, 3])) }, undefined, rules);
    const quiet = seen('gcp', 690, each(five, [689, 5]));
    expect(judgeArrival(five, { from: before, to: quiet }, first.measuredFrom, rules)).toMatchObject({ passed: false });
  });

  it('has not where connections go wrong more often than before, as soon as that is clear', () => {
    const many = Array.from({ length: 100 }, (_, n) => `d${n}`);
    const ms = (s: number): number => start + 1000 * s;
    const calm = seen('azure', 630, each(many, [toldAt, 120]));
    const there = (bad: number): Sightings => {
      const sightings = seen('gcp', 620, each(many, [615, 3]));
      for (const device of many.slice(0, bad)) {
        const found = sightings.devices.get(device);
        if (found) sightings.devices.set(device, { ...found, troubles: [ms(612)] });
      }
      return sightings;
    };
    const strict = { ...rules, rate: 0, errors: 0.05 };
    const judge = (from: Sightings, to: Sightings) => judgeArrival(many, { from, to }, to, strict);
    expect(judge(calm, there(5))).toMatchObject({ passed: true, failed: false, errors: 5, errorsBefore: 0 });
    // A cloud that refuses one connect in ten.
    expect(judge(calm, there(10))).toMatchObject({ passed: false, failed: true, errors: 10, arrived: 100 });
    expect(judgeArrival(many, { from: calm, to: there(10) }, there(10), { ...rules, rate: 0 }).passed).toBe(true);
    // Those who were cut off as often where they came from, and those that have come back.
    const rough = seen('azure', 630, each(many, [toldAt, 120]));
    for (const [n, device] of many.slice(0, 8).entries())
      rough.devices.set(device, { at: iso(toldAt), messages: 120, troubles: [ms(n === 0 ? 620 : 500), ms(100)] });
    expect(judge(rough, there(9))).toMatchObject({ passed: true, errors: 10, errorsBefore: 7 });
    // Of a few devices one or two tell nothing.
    const few = judgeArrival(['d0', 'd1', 'd2'], { from: calm, to: there(2) }, there(2), strict);
    expect(few).toMatchObject({ passed: true, errors: 2 });
  });

  it('does not wait for who sleeps, and proves nothing where all do', () => {
    const sleepy = seen('azure', 630, { ...each(five.slice(0, 4), [toldAt, 120]), e: [100, 20] });
    const there = seen('gcp', 620, each(five.slice(0, 4), [615, 3]));
    const strict = { ...rules, seen: 1, rate: 0 };
    const first = judgeArrival(five, { from: sleepy, to: there }, undefined, strict);
    expect(judgeArrival(five, { from: sleepy, to: there }, first.measuredFrom, strict)).toMatchObject({
      ...{ passed: true, awake: 4, arrived: 4, missing: ['e'] },
    });
    const asleep = seen('azure', 630, each(five, [100, 20]));
    const nobody = seen('gcp', 700, {});
    const none = judgeArrival(five, { from: asleep, to: nobody }, nobody, strict);
    expect(none).toMatchObject({ passed: false, awake: 0, arrived: 0 });
  });

  it('does not count whom the target saw before, or who was seen at home since', () => {
    const there = seen('gcp', 700, { a: [500, 3], b: [650, 3], c: [650, 3] });
    const home = seen('azure', 700, { a: [599, 100], b: [660, 100], c: [601, 100] });
    expect(judgeArrival(['a', 'b', 'c'], { from: home, to: there }, undefined, rules).missing).toEqual(['a', 'b']);
  });

  it('is home once each that was away was seen at home since, and a moment has passed for those under way', () => {
    const away = seen('gcp', 700, { a: [650, 3], b: [650, 3] });
    const rest = { ...rules, what: 'left' } as const;
    const judge = (at: Sightings, now: number) =>
      judgeArrival(five, { from: away, to: at }, undefined, { ...rest, now: start + 1000 * now });
    const half = seen('azure', 700, { ...each(five, [600, 100]), a: [660, 101] });
    expect(judge(half, 900)).toMatchObject({ passed: false, awake: 2, arrived: 1, missing: ['b'] });
    const all = seen('azure', 700, { ...each(five, [600, 100]), a: [660, 101], b: [661, 101] });
    expect(judge(all, toldAt + 30).passed).toBe(false);
    expect(judge(all, toldAt + 60)).toMatchObject({ passed: true, arrived: 2, missing: [] });
  });
});
