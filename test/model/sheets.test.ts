import { machineType } from '../../activities/providers/gcp/machine-types.ts';
import { estimate } from '../../model/cost.ts';
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
