import { machineType } from '../../activities/providers/gcp/machine-types.ts';
import { messageRetentionDays } from '../../activities/providers/gcp/topic.ts';
import { egress, estimate } from '../../model/cost.ts';
import { sheets } from './estates.ts';

const { facts, prices } = sheets;

test('every type has a price in every region that is said to offer it, for every instance type', () => {
  const gaps = facts.regions.flatMap(({ provider, region, types }) =>
    types.flatMap((type) => {
      const wanted = type === 'compute' ? facts.instanceTypes.map(({ name }) => ({ instance_type: name })) : [{}];
      return wanted.flatMap((configuration) => {
        const answer = estimate(prices[provider], region, type, configuration);
        return 'unpriced' in answer ? [`${provider} ${region} ${type}: ${answer.unpriced}`] : [];
      });
    }),
  );
  expect(gaps).toEqual([]);
});

test('what is priced is what the drivers create', () => {
  for (const { name, sizes } of facts.instanceTypes) expect([name, machineType(name)]).toEqual([name, sizes.gcp]);
});

test('what a topic keeps is billed for as long as the driver keeps it', () => {
  const asked = { message_rate: 1000, retention_days: 3650 };
  const answer = estimate(prices.gcp, 'us-central1', 'iot_core', asked);
  const kept = 'lines' in answer ? answer.lines.find(({ item }) => item.includes('kept in the topic')) : undefined;
  // 1000 messages of 1 KB a second are 86.4 GB a day.
  const gib = (86.4 * messageRetentionDays(asked.retention_days)) / 1.073741824;
  expect(kept?.quantity).toBeCloseTo(gib, 2);
});

test('32 machines at most pay for a NAT gateway of GCP', () => {
  const nat = (instance_count: number): number | undefined => {
    const answer = estimate(prices.gcp, 'us-central1', 'compute', { instance_type: 't3.large', instance_count });
    return 'lines' in answer ? answer.lines.find(({ item }) => item === 'Cloud NAT')?.monthlyUsd : undefined;
  };
  // 32 x 730 h x 0.0014
  expect([nat(10), nat(32), nat(100)]).toEqual([10.22, 32.7, 32.7]);
});

test('what was compared is a region or an area that has a price', () => {
  const strange = Object.values(prices).flatMap((sheet) =>
    [sheet.egress, ...sheet.rows].flatMap(({ item, usd, checked }) =>
      (Array.isArray(checked) ? checked : [])
        .filter((place) => !usd[place] && !usd[sheet.areas[place] ?? ''])
        .map((place) => `${item}: ${place}`),
    ),
  );
  expect(strange).toEqual([]);
});

test('a price is in doubt in those regions alone where nobody has compared it', () => {
  const sheet = prices.aws;
  if (!sheet) throw new Error('there is no price sheet for aws');
  const noteIn = (region: string, checked: typeof sheet.egress.checked): string => {
    const answer = egress({ ...sheet, egress: { ...sheet.egress, checked, date: '2026-01-31' } }, region, 1, '');
    return 'note' in answer ? answer.note : answer.unpriced;
  };
  const doubt = 'price of 2026-01-31, unverified';
  expect([noteIn('us-west-2', 'unverified'), noteIn('us-west-2', 'verified')]).toEqual([doubt, '']);
  expect(['us-east-1', 'us-west-2', 'eu-west-1'].map((region) => noteIn(region, ['us-east-1', 'eu']))).toEqual([
    '',
    doubt,
    '',
  ]);
});
