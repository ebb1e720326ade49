import fc from 'fast-check';
import { admit, type BrakeWindow, brakeLimit, brakeWindowMs } from '../../model/brake.ts';
import { announce, blank, type CaptureContext, capture, type Entry, type Look, settle } from '../../model/capture.ts';
import {
  type Change,
  clampMs,
  compareStamps,
  conflictRule,
  conflictRuleNames,
  covers,
  keptKey,
  successor,
} from '../../model/conflict.ts';
import { readCopyStamp, writeCopyStamp } from '../../model/copy-stamp.ts';
import { decide } from '../../model/in-step.ts';
import { carries, type Edge } from '../../model/routes.ts';
import { mesh, ring } from '../replication/simulation.ts';

const sides = ['aws', 'azure', 'gcp'];
const side = fc.constantFrom(...sides);
/** Few values, so that ties and coverage are met. */
const time = fc.integer({ min: 1, max: 6 });
const change: fc.Arbitrary<Change> = fc
  .record({ time, origin: side, sequence: fc.constantFrom('', '9', '10'), seen: fc.dictionary(side, time) })
  .map(({ time: at, origin, sequence, seen }) => ({
    stamp: { time: at, origin, sequence },
    seen: { ...Object.fromEntries(Object.entries(seen).map(([of, last]) => [of, Math.min(last, at)])), [origin]: at },
  }));
const rule = fc.constantFrom(...conflictRuleNames).map((name) => conflictRule(name, 'azure'));

describe('what stands of several changes is the same', () => {
  test('in whatever order, grouping and repetition they are heard of', () => {
    fc.assert(
      fc.property(rule, change, change, change, ({ outranks }, a, b, c) => {
        const merge = (x: Change, y: Change): Change => (outranks(y, x) ? y : x);
        const same = (x: Change, y: Change) => expect(x.stamp).toEqual(y.stamp);
        same(merge(a, a), a);
        same(merge(a, b), merge(b, a));
        same(merge(merge(a, b), c), merge(a, merge(b, c)));
      }),
    );
  });

  test('to whichever side it is decided, and the target of the winner changes', () => {
    fc.assert(
      fc.property(rule, change, change, (by, a, b) => {
        fc.pre(compareStamps(a.stamp, b.stamp) !== 0);
        const [x, y] = [a, b].map((of, at) => ({ kind: 'object' as const, version: `${at}`, change: of }));
        if (!x || !y) throw new Error('two states');
        const [there, back] = [decide(by, x, y), decide(by, y, x)];
        expect([there.does, back.does].filter((does) => does === 'copy')).toEqual(['copy']);
      }),
    );
  });
});

test('keep-both loses nothing: what the winner did not know becomes an object of its own, on either side', () => {
  const by = conflictRule('keep-both', '');
  fc.assert(
    fc.property(
      fc.array(change, { minLength: 1, maxLength: 6 }),
      fc.array(fc.nat(20), { maxLength: 12 }),
      (all, order) => {
        const key = 'a/b.json';
        const kept = new Set<string | undefined>();
        let standing = all[0] as Change;
        // Twice at least, in any order.
        for (const incoming of [...order.map((at) => all[at % all.length] as Change), ...all, ...all]) {
          const state = (of: Change, version: string) => ({ kind: 'object' as const, version, change: of });
          const decision = decide(by, state(incoming, 'in'), state(standing, 'at'));
          if ('loser' in decision && decision.loser) kept.add(keptKey(key, decision.loser.change.stamp));
          if (decision.does === 'copy') standing = incoming;
        }
        for (const one of all)
          if (
            compareStamps(one.stamp, standing.stamp) !== 0 &&
            !all.some((other) => covers(other, one) && other !== one)
          )
            expect(kept.has(keptKey(key, one.stamp))).toBe(true);
      },
    ),
  );
});

test('a loser keeps its folder and its ending, as long as a key may be', () => {
  expect(keptKey('ü'.repeat(500), { time: 7, origin: 'gcp', sequence: '' })).toHaveLength(515);
  expect(keptKey('ü'.repeat(505), { time: 7, origin: 'gcp', sequence: '' })).toBeUndefined();
  expect(keptKey('a.b/c', { time: 7, origin: 'gcp', sequence: '' })).toBe('a.b/c.conflict-gcp-7');
  expect(keptKey('a/c.tar', { time: 7, origin: 'gcp', sequence: '' })).toBe('a/c.conflict-gcp-7.tar');
  expect(keptKey('a/.env', { time: 7, origin: 'gcp', sequence: '' })).toBe('a/.env.conflict-gcp-7');
});

describe('a stamp', () => {
  const made = { side: 'aws', sequence: '1', now: 100_000, after: undefined };
  const older: Change = { stamp: { time: 103_000, origin: 'gcp', sequence: '5' }, seen: { gcp: 103_000 } };

  test('is of the cloud’s time, and at most 5 s ahead of the worker’s clock, which is told', () => {
    expect(successor({ ...made, time: 99_000 })).toEqual({
      change: { stamp: { time: 99_000, origin: 'aws', sequence: '1' }, seen: { aws: 99_000 } },
    });
    expect(successor({ ...made, time: 100_000 + clampMs }).clamped).toBeUndefined();
    expect(successor({ ...made, time: 160_000 })).toMatchObject({
      change: { stamp: { time: 105_000 } },
      clamped: { side: 'aws', aheadMs: 60_000 },
    });
  });

  test('is later than what the change replaced on its side, whatever the clocks say, and covers it', () => {
    const { change: later } = successor({ ...made, time: 101_000, after: older });
    expect(later.stamp.time).toBe(103_001);
    expect(covers(later, older)).toBe(true);
    expect(covers(older, later)).toBe(false);
  });

  test('orders by time, then by side, then by the side’s own sequence as a number', () => {
    const at = (ms: number, origin: string, sequence: string) => ({ time: ms, origin, sequence });
    const ordered = [at(1, 'gcp', '9'), at(2, 'aws', ''), at(2, 'aws', '9'), at(2, 'aws', '10'), at(2, 'gcp', '1')];
    expect([...ordered].reverse().sort(compareStamps)).toEqual(ordered);
  });
});

describe('a copy', () => {
  test('says which change it is of, in plain characters, for its own key alone', () => {
    fc.assert(
      fc.property(change, fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (of, key, other) => {
        const text = writeCopyStamp(key, of);
        expect(text).toMatch(/^[!-~ ]{1,1024}$/);
        expect(readCopyStamp(key, text)).toEqual(of);
        if (key !== other) expect(readCopyStamp(other, text)).toBeUndefined();
      }),
    );
  });

  test('is not what only looks like one', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => expect(readCopyStamp('k', text)).toBeUndefined()));
    const text = writeCopyStamp('k', { stamp: { time: 5, origin: 'aws', sequence: '' }, seen: { aws: 5 } });
    for (const [from, to] of [
      ['1 5', '2 5'],
      [' 5 ', ' x '],
      [' 5 ', ' -5 '],
      ['aws ', 'AWS! '],
      ['aws=5', 'aws='],
    ] as const) {
      const wrong = text.replace(from, to);
      expect(wrong).not.toBe(text);
      expect(readCopyStamp('k', wrong)).toBeUndefined();
    }
  });
});

describe('a look at a side', () => {
  const context: CaptureContext = {
    side: 'aws',
    rule: conflictRule('last-write-wins', 'aws'),
    now: 1_000_000,
    tombstoneMs: 60_000,
  };
  const of = (origin: string, ms: number, seen = {}): Change => ({
    stamp: { time: ms, origin, sequence: '' },
    seen: { ...seen, [origin]: ms },
  });
  const stored = (version: string, ms: number, copyOf?: Change): Look => ({
    object: { version, time: ms, sequence: '7', copyOf },
  });
  const gone = (ms: number | undefined, sequence = ''): Look => ({
    object: undefined,
    time: ms,
    sequence,
    cause: 'user',
  });
  const holds = (version: string, is: Change): Entry => ({ ...blank, state: { kind: 'object', version, change: is } });
  const buried = (is: Change, recordedAt = 990_000): Entry => ({
    ...blank,
    state: { kind: 'deleted', change: is, cause: 'user', recordedAt },
  });

  test('stamps what a user has written once: the second look finds it in the book', () => {
    const first = capture(context, blank, stored('v1', 900_000));
    expect(first.state).toMatchObject({
      kind: 'object',
      change: { stamp: { time: 900_000, origin: 'aws', sequence: '7' } },
    });
    const again = capture({ ...context, now: 2_000_000 }, first.entry ?? blank, stored('v1', 955_555));
    expect(again).toEqual({ state: first.state });
  });

  test('takes a copy for what it is a copy of, and an older copy that a user has put back for a write of his', () => {
    const copied = of('gcp', 950_000);
    expect(capture(context, blank, stored('v2', 960_000, copied)).state).toMatchObject({
      version: 'v2',
      change: copied,
    });
    const restored = capture(context, holds('v3', of('gcp', 955_000)), stored('v4', 960_000, copied));
    expect(restored.state).toMatchObject({ version: 'v4', change: { stamp: { time: 960_000, origin: 'aws' } } });
    expect(capture(context, buried(of('gcp', 955_000)), stored('v4', 960_000, copied)).state).toMatchObject({
      kind: 'object',
      change: { stamp: { origin: 'aws' } },
    });
  });

  test('finds a copy that came after what deleted it, and has it removed', () => {
    const [copied, deleted] = [of('gcp', 950_000), of('gcp', 955_000)];
    const awaited = announce(buried(deleted), { does: 'copy', change: copied, cause: 'user', at: 999_000 });
    expect(capture(context, awaited, stored('v5', 960_000, copied)).stray).toMatchObject({
      version: 'v5',
      deletedBy: deleted,
    });
  });

  test('forgets a delete in time, and an expiry not before the book does: another side may still have the object', () => {
    const old = buried(of('aws', 955_000), 900_000);
    expect(capture(context, old, gone(undefined)).state).toEqual({ kind: 'nothing' });
    const expired: Entry = { ...old, state: { ...old.state, cause: 'lifecycle' } as Entry['state'] };
    expect(capture(context, expired, gone(undefined)).state).toEqual(expired.state);
  });

  test('gives a delete the time that it is told, and at least one after what was deleted', () => {
    const at = (time: number | undefined) => capture(context, holds('v1', of('gcp', 950_000)), gone(time, '8')).state;
    expect(at(980_000)).toMatchObject({
      kind: 'deleted',
      change: { stamp: { time: 980_000, origin: 'aws', sequence: '8' } },
    });
    expect(at(900_000)).toMatchObject({ kind: 'deleted', change: { stamp: { time: 950_001 } } });
    expect(at(undefined)).toMatchObject({ kind: 'deleted', change: { stamp: { time: 950_001 } } });
  });

  test('takes a delete that a worker has announced for that one, and not for a user’s', () => {
    const ours = of('gcp', 970_000, { gcp: 970_000 });
    const entry = announce(holds('v1', of('gcp', 950_000)), {
      does: 'delete',
      change: ours,
      cause: 'lifecycle',
      at: 999_000,
    });
    const captured = capture(context, entry, gone(985_000));
    expect(captured.state).toMatchObject({ kind: 'deleted', change: ours, cause: 'lifecycle' });
    expect(captured.entry?.announced).toEqual([]);
  });

  test('knows nothing of a key that nobody has told of, and forgets a tombstone when it has expired', () => {
    expect(capture(context, blank, gone(undefined))).toEqual({ state: { kind: 'nothing' } });
    expect(capture(context, buried(of('gcp', 1), 940_000), gone(undefined)).state.kind).toBe('deleted');
    expect(capture(context, buried(of('gcp', 1), 939_999), gone(undefined)).state.kind).toBe('nothing');
  });

  test('hears of a delete twice and records it once; a later one of the same side is another', () => {
    const first = capture(context, holds('v1', of('gcp', 950_000)), gone(960_000, '8'));
    const entry = first.entry ?? blank;
    expect(capture(context, entry, gone(960_000, '8'))).toEqual({ state: first.state });
    expect(capture(context, entry, gone(970_000, '10')).state).toMatchObject({ change: { stamp: { time: 970_000 } } });
  });

  test('remembers an announcement for as long as a call may still land', () => {
    const announced = { does: 'copy', change: of('gcp', 1), cause: 'user', at: 0 } as const;
    const state = { kind: 'nothing' } as const;
    expect(settle(announce(blank, announced), state, 599_999).announced).toEqual([announced]);
    expect(settle(announce(blank, announced), state, 600_000).announced).toEqual([]);
  });
});

describe('changes of each side reach every other once', () => {
  test.each<[string, Edge[]]>([
    ['a pair', mesh(['aws', 'gcp'])],
    ['a mesh of three', mesh(sides)],
    ['a ring of three', ring(sides)],
    ['a ring of three in both directions', [...ring(sides), ...ring([...sides].reverse())]],
    ['a star', mesh(sides).filter(({ from, to }) => from === 'aws' || to === 'aws')],
  ])('in %s', (_, edges) => {
    for (const origin of new Set(edges.map(({ from }) => from))) {
      const reached = edges.filter((edge) => carries(edges, edge, origin)).map(({ to }) => to);
      expect(reached.sort()).toEqual([...new Set(edges.map(({ to }) => to))].filter((to) => to !== origin).sort());
    }
  });
});

describe('the brake', () => {
  const empty = (): BrakeWindow => ({ delete: new Map(), overwrite: new Map() });

  test('holds what is more than the limit in 10 minutes, each kind for itself, and lets go after them', () => {
    const window = empty();
    const asks = (key: string, does: keyof BrakeWindow, at: number) => admit(window, { key, does, at, limit: 3 });
    expect(['a', 'b', 'c', 'd'].map((key, at) => asks(key, 'delete', at))).toEqual([true, true, true, false]);
    expect(asks('d', 'overwrite', 4)).toBe(true);
    expect(asks('d', 'delete', brakeWindowMs - 1)).toBe(false);
    expect(asks('d', 'delete', brakeWindowMs)).toBe(true);
    expect(asks('e', 'delete', brakeWindowMs)).toBe(false);
  });

  test('counts a key once, however often it is written', () => {
    const window = empty();
    for (let at = 0; at < 100; at++) expect(admit(window, { key: 'hot', does: 'overwrite', at, limit: 1 })).toBe(true);
  });

  test('never lets more than its limit through in any 10 minutes', () => {
    const asked = fc.array(fc.tuple(fc.nat(30), fc.nat(brakeWindowMs)), { maxLength: 200 });
    fc.assert(
      fc.property(asked, fc.integer({ min: 1, max: 8 }), (all, limit) => {
        const window = empty();
        let at = 0;
        const through: [number, string][] = [];
        for (const [key, later] of all) {
          at += Math.floor(later / 20);
          if (admit(window, { key: `k${key}`, does: 'delete', at, limit })) through.push([at, `k${key}`]);
        }
        for (const [from] of through) {
          const within = through.filter(([one]) => one >= from && one - from < brakeWindowMs);
          expect(new Set(within.map(([, key]) => key)).size).toBeLessThanOrEqual(limit);
        }
      }),
    );
  });

  test('is at 1,000 or 1 % of the objects, whichever is more, where the file says nothing', () => {
    expect([brakeLimit(undefined, 10), brakeLimit(undefined, 2_000_000), brakeLimit(5, 2_000_000)]).toEqual([
      1000, 20_000, 5,
    ]);
  });
});
