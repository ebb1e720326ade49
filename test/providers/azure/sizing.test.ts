import { streamSize } from '../../../activities/providers/azure/event-hubs.ts';
import { hubSize } from '../../../activities/providers/azure/iot-core.ts';

it('a hub is the cheapest edition that takes the messages of a day', () => {
  expect(hubSize(0)).toEqual({ sku: 'S1', units: 1 });
  expect(hubSize(4)).toEqual({ sku: 'S1', units: 1 }); // 345,600 a day of 400,000
  expect(hubSize(100)).toEqual({ sku: 'S2', units: 2 }); // 8.64 million a day: 2 x 6 million for 500 USD, not 22 x S1 for 550
  expect(hubSize(3_000)).toEqual({ sku: 'S3', units: 1 });
  expect(hubSize(1_000_000)).toEqual({ sku: 'S3', units: 10 }); // more than one hub can do: the most there is
});

it('a stream starts at its average and may grow to its peak, within the tier', () => {
  const load = { peakEventsPerSecond: 0, retentionDays: 1 };
  expect(streamSize({ ...load, peakMbytesPerSecond: 10, averageMbytesPerSecond: 0.5 })).toEqual({
    units: 1,
    maxUnits: 10,
  });
  expect(streamSize({ ...load, peakMbytesPerSecond: 125, averageMbytesPerSecond: 6.25 })).toEqual({
    units: 7,
    maxUnits: 40,
  });
});
