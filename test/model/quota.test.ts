import fc from 'fast-check';
import { familyOf, vcpusOf } from '../../activities/providers/azure/vm-sizes.ts';
import { vcpusOf as gcpVcpusOf } from '../../activities/providers/gcp/machine-types.ts';
import { loadSheets } from '../../config/load.ts';
import {
  created,
  type Drawing,
  growth,
  left,
  type Quota,
  remedyOf,
  shortages,
  shortageText,
} from '../../model/quota.ts';
import type { ResourceSpec } from '../../model/service.ts';

const vpcs: Quota = {
  name: 'L-F678F1CE',
  title: 'VPCs per Region',
  unit: 'VPCs',
  where: 'us-west-2',
  needs: 1,
  limit: 5,
  used: 4,
  raise: 'aws … --desired-value <value>',
};
const drawing = (service: string, quota: Quota, account = '1'): Drawing => ({
  service,
  provider: 'aws',
  account,
  headroom: { quotas: [quota], unknown: [] },
});

it('says what is needed, what is left, which quota, and how to make room', () => {
  const [short] = shortages([drawing('compute', { ...vpcs, unit: 'vCPUs', needs: 8, limit: 32, used: 28 })]);
  if (!short) throw new Error('it fits');
  expect(shortageText(short)).toBe(
    'compute on aws needs 8 vCPUs, 4 of 32 left: quota L-F678F1CE (VPCs per Region) of us-west-2',
  );
  expect(remedyOf(short)).toBe('aws … --desired-value 36');
});

it('judges what several services take of one quota together, and of others apart', () => {
  expect(shortages([drawing('a', vpcs)])).toEqual([]);
  expect(shortages([drawing('b', vpcs), drawing('a', vpcs)])).toMatchObject([{ services: ['a', 'b'], needs: 2 }]);
  expect(shortages([drawing('a', vpcs), drawing('b', { ...vpcs, where: 'us-east-1' })])).toEqual([]);
  expect(shortages([drawing('a', vpcs), drawing('b', vpcs, '2')])).toEqual([]);
});

it('holds nothing for what could not be looked at', () => {
  const unknown = { quotas: [], unknown: ['CPUS of us-central1: PermissionDenied'] };
  expect(
    shortages([
      { ...drawing('a', vpcs), headroom: unknown },
      { ...drawing('b', vpcs), headroom: undefined },
    ]),
  ).toEqual([]);
});

it('is short of a quota exactly where all that is needed is more than what is left', () => {
  const quota = fc.record({ needs: fc.nat(50), limit: fc.nat(100), used: fc.nat(120) });
  fc.assert(
    fc.property(fc.array(fc.nat(50), { minLength: 1, maxLength: 5 }), quota, (needs, { limit, used }) => {
      const all = needs.map((one, at) => drawing(`s${at}`, { ...vpcs, limit, used, needs: one }));
      const total = needs.reduce((sum, one) => sum + one, 0);
      const short = shortages(all);
      expect(short).toHaveLength(total > Math.max(0, limit - used) ? 1 : 0);
      for (const one of short) {
        expect(left(one)).toBeGreaterThanOrEqual(0);
        expect(left({ limit: used + total, used })).toBeGreaterThanOrEqual(total); // raised as it says, it fits
        expect(remedyOf(one)).toContain(` ${used + total}`);
      }
    }),
  );
});

it('needs only what does not exist yet: all of a new group, of an older one what it lacks', () => {
  const specs = ['a', 'b'].map(
    (key): ResourceSpec => ({ key, kind: 'k', name: key, needs: [], desired: {}, holdsData: false }),
  );
  expect(created(specs, {}, 'k')).toBe(2);
  expect(created(specs, { a: {} }, 'k')).toBe(1);
  expect(created(specs, {}, 'other')).toBe(0);
  fc.assert(
    fc.property(fc.nat(100), fc.nat(100), fc.nat(100), (present, start, least) => {
      expect(growth({ present: undefined, start, least })).toBe(start);
      const more = growth({ present, start, least });
      expect(more).toBeGreaterThanOrEqual(0);
      expect(present + more).toBe(Math.max(present, least));
    }),
  );
});

it('knows the vCPUs of each size as the sheet of instance types does', () => {
  for (const { vcpu, sizes } of loadSheets('config').facts.instanceTypes) {
    expect(vcpusOf(sizes.azure ?? '')).toBe(vcpu);
    expect(gcpVcpusOf(sizes.gcp ?? '')).toBe(vcpu);
    expect(familyOf(sizes.azure ?? '')).toBe(
      sizes.azure?.startsWith('Standard_B') ? 'standardBsv2Family' : 'standardDSv5Family',
    );
  }
});
