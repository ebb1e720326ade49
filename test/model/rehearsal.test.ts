/** How large a sample is, and what its measures say of the whole. */
import type { Step } from '../../model/progress.ts';
import { everyNth, forecastOf, rehearsalOf } from '../../model/rehearsal.ts';

it.each([
  [1_000_000, '1%', 10_000],
  [1_000_000, '0.01%', 100],
  [1000, '1%', 10],
  [100, '1%', 10],
  [15, '1%', 15],
  [3, '50%', 3],
  [80, '100%', 80],
  [1000, '30%', 250],
])('of %i objects %s are %i', (objects, share, sample) => {
  expect(Math.ceil(objects / everyNth(objects, share))).toBe(sample);
});

it('a name stays one that a service can have', () => {
  expect(rehearsalOf('firmware')).toBe('firmware-rehearsal');
  expect(rehearsalOf('a'.repeat(31))).toMatch(/^[a-z][a-z0-9_-]{0,30}$/);
});

it('what the whole takes follows from objects or bytes, whichever is more, and the refusal lies between two bounds', () => {
  const at = (name: string, from: number, to: number): Step => ({
    name,
    status: 'done',
    startedAt: new Date(from).toISOString(),
    finishedAt: new Date(to).toISOString(),
  });
  const steps = [at('copy', 0, 2000), at('fence', 3000, 3100), at('last delta', 3100, 3500), at('switch', 3500, 4000)];
  const moved = { service: 'x', from: 'aws', to: 'gcp', sample: { objects: 10, bytes: 100 } };
  const whole = { objects: 1000, bytes: 50_000 };
  const forecast = forecastOf({ ...moved, whole }, steps, 700, { monthlyUsd: 2 });
  expect(forecast.measured).toEqual({
    copyMs: 2000,
    objectsPerSecond: 5,
    bytesPerSecond: 50,
    refusedMs: 1000,
    listMs: 700,
  });
  expect(forecast.forecast).toEqual({ copyMs: 1_000_000, refusedMs: [1700, 1000 + 400 * 99], monthlyUsd: 2 });
  const small = forecastOf({ ...moved, whole: moved.sample }, steps, 700, { monthlyUsd: 2 });
  expect(small.forecast.refusedMs).toEqual([1700, 1700]);
});
