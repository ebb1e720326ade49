import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { afterSuccess, afterThrottled, concurrencyBounds, startConcurrency } from '../../model/concurrency.ts';
import { crc32Combine, crc32cCombine, crcBase64, crcNumber } from '../../model/crc32.ts';
import { crc32c } from '../../model/crc32c.ts';
import { compareKeys, isBeyond, mergeListings } from '../../model/object-keys.ts';
import { addToShard, forecastSeconds, openShard, type Shard } from '../../model/shards.ts';

const key = fc.string({ unit: 'binary', minLength: 1, maxLength: 8 });
const bytesOrder = (a: string, b: string): number => Math.sign(Buffer.compare(Buffer.from(a), Buffer.from(b)));
const listing = fc
  .uniqueArray(key, { maxLength: 40 })
  .map((keys) => keys.sort(compareKeys).map((name) => ({ key: name, size: 1 })));

async function* given<T>(items: readonly T[]): AsyncGenerator<T> {
  yield* items;
}
async function merged<T extends { key: string }>(a: readonly T[], b: readonly T[]) {
  const pairs = [];
  for await (const pair of mergeListings(given(a), given(b))) pairs.push(pair);
  return pairs;
}

test('keys are in the order of their UTF-8 bytes', () => {
  fc.assert(fc.property(key, key, (a, b) => expect(compareKeys(a, b)).toBe(bytesOrder(a, b))));
});

test('a key is beyond the end of a range in every order or not at all', () => {
  fc.assert(
    fc.property(key, key, (one, end) => {
      expect(isBeyond(one, end)).toBe(one > end && bytesOrder(one, end) > 0);
      expect(isBeyond(one, '')).toBe(false);
    }),
  );
});

test('two listings side by side name each key once, with what each side has', async () => {
  await fc.assert(
    fc.asyncProperty(listing, listing, async (source, target) => {
      const pairs = await merged(source, target);
      const keys = [...new Set([...source, ...target].map((one) => one.key))].sort(compareKeys);
      expect(pairs.map((pair) => pair.key)).toEqual(keys);
      for (const pair of pairs) {
        expect(pair.source?.key).toBe(source.find((one) => one.key === pair.key)?.key);
        expect(pair.target?.key).toBe(target.find((one) => one.key === pair.key)?.key);
      }
    }),
  );
});

test('in whatever order a cloud lists, nothing of either side is passed over', async () => {
  const shuffled = fc.uniqueArray(key, { maxLength: 30 }).map((keys) => keys.map((name) => ({ key: name })));
  await fc.assert(
    fc.asyncProperty(shuffled, shuffled, async (source, target) => {
      const pairs = await merged(source, target);
      expect(pairs.flatMap((pair) => pair.source ?? [])).toEqual(source);
      expect(pairs.flatMap((pair) => pair.target ?? [])).toEqual(target);
    }),
  );
});

test('shards follow each other without a gap, hold all objects, and none too many', () => {
  const sizes = fc.array(fc.integer({ min: 0, max: 50 }), { maxLength: 60 });
  const limits = fc.record({ objects: fc.integer({ min: 1, max: 9 }), bytes: fc.integer({ min: 1, max: 100 }) });
  fc.assert(
    fc.property(sizes, limits, (all, most) => {
      const shards: Shard[] = [];
      let shard = openShard();
      let last = '';
      for (const [n, size] of all.entries()) {
        const next = addToShard(shard, last, { size }, most);
        if (next.closed) shards.push(next.closed);
        shard = next.shard;
        last = String(n).padStart(3, '0');
      }
      shards.push(shard);
      expect(shards.map(({ after }) => after)).toEqual(['', ...shards.slice(0, -1).map(({ to }) => to)]);
      expect(shards.at(-1)?.to).toBe('');
      expect(shards.reduce((sum, { objects }) => sum + objects, 0)).toBe(all.length);
      expect(shards.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(all.reduce((sum, size) => sum + size, 0));
      for (const { objects, bytes } of shards) {
        expect(objects <= most.objects).toBe(true);
        expect(bytes <= most.bytes || objects === 1).toBe(true);
      }
    }),
  );
});

test('the checksum of a whole is that of its parts put together', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.uint8Array({ maxLength: 300 }), (a, b) => {
      const whole = Buffer.concat([a, b]);
      expect(crc32Combine(crc32(a), crc32(b), b.length)).toBe(crc32(whole));
      expect(crc32cCombine(crc32c(a), crc32c(b), b.length)).toBe(crc32c(whole));
    }),
  );
});

test('a checksum in base64 is its four bytes, the largest first', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 0xffffffff }), (crc) => {
      const bytes = Buffer.alloc(4);
      bytes.writeUInt32BE(crc);
      expect(crcBase64(crc)).toBe(bytes.toString('base64'));
      expect(crcNumber(crcBase64(crc))).toBe(crc);
    }),
  );
});

test('a throttled answer halves once a pause, and the limit stays in its bounds whatever comes', () => {
  const events = fc.array(
    fc.record({
      throttled: fc.boolean(),
      delay: fc.integer({ min: 1, max: 5000 }),
      after: fc.integer({ min: 0, max: 3000 }),
    }),
  );
  fc.assert(
    fc.property(events, (all) => {
      let state = startConcurrency();
      let now = 0;
      for (const { throttled, delay, after } of all) {
        now += after;
        const before = state;
        state = throttled ? afterThrottled(state, now, delay) : afterSuccess(state);
        expect(state.limit >= concurrencyBounds.least && state.limit <= concurrencyBounds.most).toBe(true);
        expect(state.pausedUntil >= before.pausedUntil).toBe(true);
        if (throttled) {
          expect(state.pausedUntil >= now + delay).toBe(true);
          expect(state.limit).toBe(now < before.pausedUntil ? before.limit : Math.max(1, Math.floor(before.limit / 2)));
        } else expect(state.limit >= before.limit).toBe(true);
      }
    }),
  );
});

test('the forecast is the slower of objects and bytes, and nothing where nothing was done', () => {
  expect(forecastSeconds({ objects: 100, bytes: 1000 }, { objects: 0, bytes: 0 }, 10)).toBeUndefined();
  expect(forecastSeconds({ objects: 100, bytes: 1000 }, { objects: 50, bytes: 100 }, 10)).toBe(90);
  expect(forecastSeconds({ objects: 100, bytes: 0 }, { objects: 100, bytes: 0 }, 10)).toBe(0);
});
