import fc from 'fast-check';
import { Crc64 } from '../../model/crc64.ts';
import { leastPart, partLimits, partSize } from '../../model/part-size.ts';
import { providerTypes } from '../../model/service.ts';

const TiB = 1024 ** 4;

test('every object that a cloud takes goes there in parts that it takes, of which it counts no more than it allows', () => {
  for (const cloud of providerTypes) {
    const limits = partLimits[cloud];
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1, noNaN: true }), fc.boolean(), (share, flows) => {
        // Most sizes are near neither end: the powers of ten between them are.
        const size = Math.round(limits.object ** share);
        const part = partSize(limits, size, flows);
        expect(part % limits.quantum).toBe(0);
        expect(part).toBeGreaterThanOrEqual(leastPart);
        expect(part).toBeLessThanOrEqual(limits.part);
        expect(Math.ceil(size / part)).toBeLessThanOrEqual(limits.parts);
      }),
    );
    expect(Math.ceil(limits.object / partSize(limits, limits.object, true))).toBeLessThanOrEqual(limits.parts);
  }
});

test('a larger object never has smaller parts, and parts are no larger than they need be', () => {
  const sizes = fc.tuple(fc.nat({ max: 2 ** 31 }), fc.nat({ max: 2 ** 31 })).map((two) => two.map((n) => n * 20_000));
  fc.assert(
    fc.property(sizes, fc.constantFrom(...providerTypes), fc.boolean(), (pair, cloud, flows) => {
      const [small = 0, large = 0] = pair.sort((a, b) => a - b);
      const limits = partLimits[cloud];
      expect(partSize(limits, small, flows)).toBeLessThanOrEqual(partSize(limits, large, flows));
      const part = partSize(limits, large, false);
      const smaller = part - limits.quantum;
      expect(smaller < leastPart || Math.ceil(large / smaller) > limits.parts).toBe(true);
    }),
  );
});

test('the largest objects are those that the vendors name', () => {
  expect(partLimits.aws.object / TiB).toBeCloseTo(48.8, 1);
  expect(partLimits.azure.object / TiB).toBeCloseTo(190.7, 1);
  expect(partLimits.gcp.object / TiB).toBe(5);
});

test('CRC-64/NVME of the check text, whole and in pieces', () => {
  const expected = Buffer.alloc(8);
  expected.writeBigUInt64LE(0xae8b14860a799888n);
  const text = Buffer.from('123456789');
  fc.assert(
    fc.property(fc.array(fc.nat({ max: 9 }), { maxLength: 4 }), (cuts) => {
      const sum = new Crc64();
      const at = [0, ...cuts.sort(), 9];
      for (const [index, from] of at.slice(0, -1).entries()) sum.add(text.subarray(from, at[index + 1]));
      expect(sum.base64).toBe(expected.toString('base64'));
    }),
  );
});
