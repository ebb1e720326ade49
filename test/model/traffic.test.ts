/** The spread of traffic over targets, and the steps from one to another. */
import fc from 'fast-check';
import { judgeStep, largestWeight, sharesOf, stepsBetween, weightsOf } from '../../model/traffic.ts';

const providers = ['aws', 'azure', 'gcp', 'other'];
const sum = (amounts: Readonly<Record<string, number>>): number => Object.values(amounts).reduce((a, b) => a + b, 0);
const weights = fc
  .array(fc.integer({ min: 0, max: 1000 }), { minLength: 1, maxLength: providers.length })
  .filter((some) => some.some((weight) => weight > 0))
  .map((some) => Object.fromEntries(some.map((weight, at) => [providers[at] ?? '', weight])));
const limits = fc.constantFrom(...Object.values(largestWeight));

test('shares add up to the whole, each within a thousandth of what its weight asks for', () => {
  fc.assert(
    fc.property(weights, (given) => {
      const shares = sharesOf(given);
      expect(sum(shares)).toBe(1000);
      for (const [key, weight] of Object.entries(given))
        expect(Math.abs((shares[key] ?? 0) - (1000 * weight) / sum(given))).toBeLessThan(1);
    }),
  );
});

test('every cloud can hold the weights of a spread: exactly, or within its rounding, and never none of what is more than that', () => {
  fc.assert(
    fc.property(weights, limits, (given, largest) => {
      const shares = sharesOf(given);
      const held = weightsOf(shares, largest);
      for (const [key, share] of Object.entries(shares)) {
        const weight = held[key] ?? -1;
        expect(Number.isInteger(weight) && weight >= 0 && weight <= largest).toBe(true);
        expect(weight > 0).toBe(share > 0);
        // Each weight is off by at most 1 of a total of at least `largest`.
        expect(Math.abs(weight / sum(held) - share / 1000)).toBeLessThanOrEqual(providers.length / largest);
      }
    }),
  );
  expect(weightsOf({ aws: 990, gcp: 10 }, largestWeight.aws)).toEqual({ aws: 99, gcp: 1 });
  expect(weightsOf({ aws: 999, gcp: 1 }, largestWeight.aws)).toEqual({ aws: 255, gcp: 1 });
  expect(weightsOf({ aws: 1000, gcp: 0 }, largestWeight.aws)).toEqual({ aws: 1, gcp: 0 });
});

test('steps go one way only, add up each, and end exactly where they were to', () => {
  const percents = fc.array(fc.integer({ min: 1, max: 100 }), { maxLength: 6 });
  fc.assert(
    fc.property(weights, weights, percents, (a, b, asked) => {
      const [from, to] = [sharesOf(a), sharesOf(b)];
      const steps = stepsBetween({ from, to, percents: asked });
      let last = from;
      for (const { percent, shares } of steps) {
        expect(sum(shares)).toBe(1000);
        for (const [key, share] of Object.entries(shares)) {
          const [start, end, before] = [from[key] ?? 0, to[key] ?? 0, last[key] ?? 0];
          expect(Math.abs(share - (start + ((end - start) * percent) / 100))).toBeLessThan(1);
          expect((share - before) * (end - start)).toBeGreaterThanOrEqual(start === end ? 0 : -1000);
        }
        last = shares;
      }
      for (const key of providers) expect(last[key] ?? 0).toBe(to[key] ?? 0);
    }),
  );
});

test('the usual steps, from one cloud to another', () => {
  const steps = stepsBetween({ from: { aws: 1000 }, to: { aws: 0, gcp: 1000 }, percents: [1, 10, 50, 100] });
  expect(steps).toEqual([
    { percent: 1, shares: { aws: 990, gcp: 10 } },
    { percent: 10, shares: { aws: 900, gcp: 100 } },
    { percent: 50, shares: { aws: 500, gcp: 500 } },
    { percent: 100, shares: { aws: 0, gcp: 1000 } },
  ]);
  expect(stepsBetween({ from: {}, to: { aws: 1000 }, percents: [1, 10] })).toHaveLength(1);
  expect(stepsBetween({ from: { aws: 1000 }, to: { aws: 1000 }, percents: [1, 10] })).toEqual([]);
});

test('a step is judged by what has come since, also where the counters have begun anew', () => {
  const at = (requests: number, errors: number, down?: string) => [
    { provider: 'gcp', requests, errors, ...(down && { down }) },
  ];
  const judged = (before: ReturnType<typeof at>, after: ReturnType<typeof at>) =>
    judgeStep({ before, after, gaining: ['gcp'], errorShare: 0.01 });
  expect(judged(at(1000, 900), at(2000, 910))).toEqual([]);
  expect(judged(at(1000, 0), at(2000, 11))).toEqual(['gcp failed 11 of 1000 requests, and 1 % are allowed']);
  expect(judged(at(1000, 50), at(10, 5))).toEqual(['gcp failed 5 of 10 requests, and 1 % are allowed']);
  expect(judged(at(5, 0), at(5, 0))).toEqual([]);
  expect(judged(at(5, 0), at(5, 0, 'DOWN'))).toEqual(['gcp is DOWN']);
});
