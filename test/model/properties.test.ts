import fc from 'fast-check';
import { parseEstateFile } from '../../model/estate-file.ts';
import { placeService } from '../../model/placement.ts';
import { priceOf } from '../../model/prices.ts';
import { cheapestKind } from '../../model/sizing.ts';
import { clouds, estateOf, sheets, textOf } from './estates.ts';

const providers = fc.uniqueArray(
  fc.record({
    cloud: fc.constantFrom(...clouds),
    name: fc.stringMatching(/^[a-z][a-z0-9-]{0,8}$/),
    enabled: fc.boolean(),
    priority: fc.integer({ min: 1, max: 5 }),
    far: fc.boolean(),
  }),
  { selector: ({ name }) => name, minLength: 1, maxLength: 7 },
);
const far: Record<string, string> = { aws: 'eu-west-1', azure: 'westeurope', gcp: 'europe-west1' };
const estates = fc
  .record({
    providers,
    redundancy: fc.integer({ min: 1, max: 4 }),
    residency: fc.constantFrom(null, 'us', 'eu', 'eu-west-1'),
    type: fc.constantFrom('iot_core', 'data_lake', 'compute', 'storage', 'database'),
  })
  .map((one) => ({
    providers: one.providers.map(({ cloud, name, enabled, priority, far: away }) => ({
      name,
      type: cloud.type,
      region: away ? far[cloud.type] : cloud.region,
      enabled,
      priority,
    })),
    compliance: { data_residency: { us: ['us-west-2', 'us-central1'], eu: ['eu-west-1', 'westeurope'] } },
    services: { s: { type: one.type, redundancy: one.redundancy, data_residency: one.residency } },
  }));

test('placement never takes a removed candidate, never two of a cloud type, and never too many', () => {
  fc.assert(
    fc.property(estates, (value) => {
      const { candidates, placements, redundancy, error } = placeService(estateOf(value), 's', sheets);
      const chosen = candidates.filter((one) => one.chosen);
      expect(chosen.every((one) => one.removedBy === undefined && one.score !== undefined)).toBe(true);
      expect(new Set(chosen.map((one) => one.providerType)).size).toBe(chosen.length);
      expect(placements.length).toBe(chosen.length);
      expect(placements.length <= redundancy).toBe(true);
      expect(error === undefined).toBe(placements.length === redundancy);
      expect(candidates.every((one) => one.reason !== '')).toBe(true);
    }),
  );
});

test('the order of providers in the file changes nothing', () => {
  fc.assert(
    fc.property(estates, (value) => {
      const turned = { ...value, providers: [...value.providers].reverse() };
      expect(placeService(estateOf(turned), 's', sheets)).toEqual(placeService(estateOf(value), 's', sheets));
    }),
  );
});

test('what is placed stays placed, whatever the file says afterwards', () => {
  fc.assert(
    fc.property(estates, estates, (before, after) => {
      const existing = placeService(estateOf(before), 's', sheets).placements;
      const providersAfter = [
        ...before.providers,
        ...after.providers.filter(({ name }) => !before.providers.some((one) => one.name === name)),
      ].map((one) => ({ ...one, enabled: false }));
      const result = placeService(estateOf({ ...after, providers: providersAfter }), 's', sheets, existing);
      expect(result.placements.map(({ provider, region }) => [provider, region]).sort()).toEqual(
        existing.map(({ provider, region }) => [provider, region]).sort(),
      );
    }),
  );
});

test('the parser answers any text, and never with a thrown error', () => {
  const seed = textOf('test/fixtures/seed.yaml');
  const cut = fc
    .tuple(fc.nat(seed.length), fc.nat(40), fc.string({ unit: 'binary', maxLength: 12 }))
    .map(([from, length, put]) => seed.slice(0, from) + put + seed.slice(from + length));
  const yamlish = fc.string({
    unit: fc.constantFrom(...' \n\t-:[]{}&*!|>"\'#%@`,?ab0~$', '__proto__: ', '<<: ', '\u0000', '💥'),
  });
  fc.assert(
    fc.property(fc.oneof(fc.string(), yamlish, cut), (text) => {
      const result = parseEstateFile(text);
      if (!result.ok) expect(result.errors.length).toBeGreaterThan(0);
    }),
    { numRuns: 200 },
  );
});

test('a tiered price never falls with the quantity, and is the sum of its parts', () => {
  const tiers = [{ up_to: 10, usd: 3 }, { up_to: 100, usd: 2 }, { usd: 1 }];
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 1000 }), fc.integer({ min: 0, max: 1000 }), (a, b) => {
      expect(priceOf(a + b, tiers)).toBeGreaterThanOrEqual(priceOf(a, tiers));
    }),
  );
  expect(priceOf(150, tiers)).toBe(10 * 3 + 90 * 2 + 50);
});

test('the kind that is bought carries the load for the least money', () => {
  const kinds = [
    { capacity: 4, maxUnits: 200, price: 25 },
    { capacity: 60, maxUnits: 200, price: 250 },
    { capacity: 3000, maxUnits: 10, price: 2500 },
  ];
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 40_000 }), (load) => {
      const best = cheapestKind(load, kinds);
      if (!best) throw new Error('nothing was chosen');
      if (best.capped) expect(load).toBeGreaterThan(30_000);
      else expect(best.units * best.kind.capacity).toBeGreaterThanOrEqual(load);
    }),
  );
});
