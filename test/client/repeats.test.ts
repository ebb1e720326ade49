/** Each message once, none lost, whatever the streams do to them. */
import fc from 'fast-check';
import { Repeats } from '../../client/repeats.ts';
import { type Arrived, readTelemetry, type TelemetryStream } from '../../client/telemetry.ts';

/** What devices have said in their lives, in the order in which an at-least-once stream brings it: with repeats, out of order. */
const streams = fc
  .array(
    fc.record({
      key: fc
        .tuple(fc.constantFrom('a', 'b'), fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 60 }))
        .map((parts) => parts.join('/')),
      at: fc.double({ noNaN: true }),
      again: fc.array(fc.double({ noNaN: true }), { maxLength: 3 }),
    }),
    { maxLength: 200 },
  )
  .map((messages) =>
    messages
      .flatMap(({ key, at, again }) => [at, ...again].map((time) => ({ key, time })))
      .sort((x, y) => x.time - y.time)
      .map(({ key }) => key),
  );

test('each key is new once, and a repeat ever after', () => {
  fc.assert(
    fc.property(streams, (keys) => {
      const repeats = new Repeats();
      const seen = new Set<string>();
      for (const key of keys) {
        expect(repeats.judge(key)).toBe(seen.has(key) ? 'repeat' : 'new');
        repeats.record(key);
        seen.add(key);
      }
    }),
  );
});

test('a consumer that starts again from what it saved goes on as if it had not stopped', () => {
  fc.assert(
    fc.property(streams, fc.nat(), (keys, cut) => {
      const at = keys.length === 0 ? 0 : cut % keys.length;
      const whole = new Repeats();
      let restarted = new Repeats();
      for (const [index, key] of keys.entries()) {
        if (index === at) restarted = new Repeats({ from: JSON.parse(JSON.stringify(restarted)) });
        expect(restarted.judge(key)).toBe(whole.judge(key));
        whole.record(key);
        restarted.record(key);
      }
    }),
  );
});

test('with too little memory, nothing that was not seen is taken for a repeat, and nothing that was seen for new', () => {
  fc.assert(
    fc.property(streams, (keys) => {
      const repeats = new Repeats({ gaps: 2, lives: 1 });
      const seen = new Set<string>();
      for (const key of keys) {
        const verdict = repeats.judge(key);
        expect(verdict).not.toBe(seen.has(key) ? 'new' : 'repeat');
        repeats.record(key);
        seen.add(key);
      }
    }),
  );
});

test('what it remembers stays within its bounds', () => {
  const repeats = new Repeats({ gaps: 10, lives: 2, devices: 3 });
  for (let device = 0; device < 20; device++)
    for (let boot = 1; boot < 6; boot++)
      for (let sequence = 1; sequence < 200; sequence += 2) repeats.record(`d${device}/${boot}/${sequence}`);
  repeats.record(`d19/5/${Number.MAX_SAFE_INTEGER}`);
  const saved = repeats.toJSON();
  expect(saved.map(([device]) => device)).toEqual(['d17', 'd18', 'd19']);
  for (const [, , lives] of saved) {
    expect(lives).toHaveLength(2);
    for (const [, , , gaps] of lives) expect(gaps).toHaveLength(10);
  }
});

test.each(['', 'a', 'a/1', 'a/0/1', 'a/1/x', '../1/1'])('%j is no key, and changes nothing', (key) => {
  const repeats = new Repeats();
  repeats.record(key);
  expect(repeats.judge(key)).toBe('malformed');
  expect(repeats.toJSON()).toEqual([]);
});

describe('reading streams', () => {
  const streamOf =
    (batches: Arrived[][]): TelemetryStream =>
    async (take) => {
      for (const batch of batches)
        for (;;) {
          const failed = await take(batch).then(
            () => false,
            () => true,
          );
          if (!failed) break;
        }
    };
  const message = (key: string, device = 'a'): Arrived => ({ device, data: { key } });
  const { signal } = new AbortController();

  it('delivers once what two streams bring at the same time', async () => {
    const got: string[] = [];
    const repeats = new Repeats();
    const batches = [[message('a/1/1'), message('a/1/2')]];
    const onMessage = async ({ key }: { key: string }): Promise<void> => {
      await new Promise((resolve) => setTimeout(resolve, 5));
      got.push(key);
    };
    const counts = await Promise.all(
      [1, 2].map(() => readTelemetry({ stream: streamOf(batches), repeats, onMessage, signal })),
    );
    expect(got).toEqual(['a/1/1', 'a/1/2']);
    expect(counts.map((count) => count.new + count.repeat)).toEqual([2, 2]);
  });

  it('delivers again what could not be handled, and only that', async () => {
    const got: string[] = [];
    let failures = 2;
    const onMessage = ({ key }: { key: string }): void => {
      if (key === 'a/1/2' && failures-- > 0) throw new Error('the database is away');
      got.push(key);
    };
    const stream = streamOf([[message('a/1/1'), message('a/1/2'), message('a/1/3')]]);
    const counts = await readTelemetry({ stream, repeats: new Repeats(), onMessage, signal });
    expect(got).toEqual(['a/1/1', 'a/1/2', 'a/1/3']);
    expect(counts).toEqual({ new: 3, late: 0, repeat: 2, other: 0 });
  });

  it('never lets a device speak for another, and tells of what bears no key', async () => {
    const got: string[] = [];
    const others: unknown[] = [];
    const odd = [message('a/1/1', 'b'), message('ab/1/1'), { device: 'a', data: 'text' }, { device: 'a', data: [1] }];
    const counts = await readTelemetry({
      stream: streamOf([[...odd, message('a/1/1')]]),
      repeats: new Repeats(),
      onMessage: ({ key }) => void got.push(key),
      onOther: (other) => void others.push(other),
      signal,
    });
    expect(got).toEqual(['a/1/1']);
    expect(others).toEqual(odd);
    expect(counts).toEqual({ new: 1, late: 0, repeat: 0, other: 4 });
  });
});
