import { listingMs, paceOf, wavesLeftMs } from '../../model/fleet-forecast.ts';

it('says nothing before something is done', () => {
  expect(paceOf(0, 1000, 5000)).toBeUndefined();
  expect(paceOf(500, 1000, 0)).toBeUndefined();
});

it('goes on at the pace so far', () => {
  expect(paceOf(250, 1000, 5000)).toEqual({ perSecond: 50, leftMs: 15_000 });
  expect(paceOf(1000, 1000, 5000)).toEqual({ perSecond: 200, leftMs: 0 });
});

it('lists by the requests that each registry takes', () => {
  expect(listingMs('gcp', 100_000, { perSecond: 500 })).toBe(200_000);
  expect(listingMs('aws', 7000, { perSecond: 10 })).toBe(600_000);
  expect(listingMs('azure', 100_000, { perSecond: 1000 })).toBe(10_000);
});

it('tells the rest of a fleet at its rate, and waits for each wave as for those before', () => {
  expect(wavesLeftMs({ devices: 500, waves: 2 }, 50, [4000, 8000])).toBe(22_000);
  expect(wavesLeftMs({ devices: 500, waves: 2 }, 50, [])).toBe(10_000);
});
