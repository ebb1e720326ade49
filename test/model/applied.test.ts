import { changesAfter, revertsOf } from '../../model/applied.ts';
import type { Service } from '../../model/estate.ts';

const compute = (instance_count: number, redundancy = 1): Record<string, Service> => ({
  compute: { type: 'compute', redundancy, data_residency: null, configuration: { instance_count } },
});
const path = 'services.compute.configuration.instance_count';

describe('deploying an older file', () => {
  const first = { services: compute(10), changes: changesAfter(undefined, compute(10), { by: 'ann', at: '1' }) };
  const second = { services: compute(12), changes: changesAfter(first, compute(12), { by: 'ben', at: '2' }) };

  test('lists what it would take back of what somebody else has applied since', () => {
    expect(revertsOf(second, compute(10), 'ann')).toEqual([{ path, from: '12', to: '10', by: 'ben', at: '2' }]);
    expect(revertsOf(second, compute(10, 2), 'ann')).toHaveLength(1);
  });

  test('is silent about own changes, new values, and services that the file no longer has', () => {
    expect(revertsOf(undefined, compute(10), 'ann')).toEqual([]);
    expect(revertsOf(second, compute(10), 'ben')).toEqual([]);
    expect(revertsOf(second, compute(14), 'ann')).toEqual([]);
    expect(revertsOf(second, compute(12, 2), 'ann')).toEqual([]);
    expect(revertsOf(second, {}, 'ann')).toEqual([]);
  });

  test('is asked about even when other values were applied in between', () => {
    const third = { services: compute(12, 2), changes: changesAfter(second, compute(12, 2), { by: 'cat', at: '3' }) };
    expect(revertsOf(third, compute(10), 'ann').map(({ path, by }) => [path, by])).toEqual([
      [path, 'ben'],
      ['services.compute.redundancy', 'cat'],
    ]);
  });
});
