/** What goes to the other sides of a replicated service, under which names, and without which fields. */
import fc from 'fast-check';
import { compareKeys } from '../../model/object-keys.ts';
import { transformationProblems } from '../../model/replication-wish.ts';
import { editLines, NoLines, redacted, type Transformation, transformOf } from '../../model/transformation.ts';

const part = fc.string({ unit: fc.constantFrom('a', 'b', '/', '.', '\ud83d\ude00', 'é'), minLength: 1, maxLength: 4 });
const step: fc.Arbitrary<Transformation> = fc.oneof(
  fc.record({
    type: fc.constant('prefix' as const),
    remove: fc.option(part, { nil: undefined }),
    add: fc.option(part, { nil: undefined }),
  }),
  fc.record({
    type: fc.constant('filter' as const),
    prefix: fc.option(part, { nil: undefined }),
    suffix: fc.option(part, { nil: undefined }),
  }),
);
const steps = fc.array(step, { maxLength: 4 });
const key = fc.string({ unit: fc.constantFrom('a', 'b', '/', '.', '\ud83d\ude00', 'é'), minLength: 1, maxLength: 8 });

test('names go one to one, and back, in the order that clouds list in', () => {
  fc.assert(
    fc.property(steps, fc.array(key), (all, keys) => {
      const { keyAt, keyFrom } = transformOf(all);
      const went = keys.flatMap((one) => {
        const name = keyAt(one);
        return name === undefined ? [] : [{ one, name }];
      });
      for (const { one, name } of went) expect(keyFrom(name)).toBe(one);
      for (const name of keys) {
        const from = keyFrom(name);
        if (from !== undefined) expect(keyAt(from)).toBe(name);
      }
      for (const a of went)
        for (const b of went) expect(Math.sign(compareKeys(a.name, b.name))).toBe(Math.sign(compareKeys(a.one, b.one)));
    }),
    { numRuns: 300 },
  );
});

test('a filter alone changes no name and says the same on every side, as where all sides are written', () => {
  fc.assert(
    fc.property(fc.array(step.filter(({ type }) => type === 'filter')), key, (all, name) => {
      const { keyAt, keyFrom } = transformOf(all);
      expect([name, undefined]).toContain(keyAt(name));
      expect(keyFrom(name)).toBe(keyAt(name));
    }),
  );
});

test('each step sees the name as the one before has left it, and sizes are those of the source', () => {
  const { keyAt, keyFrom, editsOf, mostBytes } = transformOf([
    { type: 'prefix', remove: 'raw/', add: 'clean/' },
    { type: 'filter', prefix: 'clean/', suffix: '.jsonl', max_mb: 2 },
    { type: 'filter', max_mb: 3 },
    { type: 'drop_field', suffix: '.jsonl', field: 'user.email' },
  ]);
  expect(keyAt('raw/a.jsonl')).toBe('clean/a.jsonl');
  expect(keyFrom('clean/a.jsonl')).toBe('raw/a.jsonl');
  expect([keyAt('a.jsonl'), keyAt('raw/a.csv'), keyFrom('raw/a.jsonl')]).toEqual([undefined, undefined, undefined]);
  expect(editsOf('raw/a.jsonl')).toEqual([{ path: ['user', 'email'], does: 'drop' }]);
  expect(editsOf('raw/a.csv')).toEqual([]);
  expect(mostBytes).toBe(2_000_000);
});

const edits = fc.array(
  fc.record({
    path: fc.array(fc.constantFrom('a', 'b', 'c'), { minLength: 1, maxLength: 3 }),
    does: fc.constantFrom('drop' as const, 'redact' as const),
  }),
  { minLength: 1, maxLength: 3 },
);
const value = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom(null, true, 1.5e300, '', 'x "y" \\ {[', '\n'),
    fc.array(tie('value'), { maxLength: 3 }),
    fc.dictionary(fc.constantFrom('a', 'b', 'c', 'd', '"'), tie('value')),
  ),
})).value;
const spaced = fc.tuple(value, fc.constantFrom(0, 1, '\t')).map(([one, space]) => JSON.stringify(one, null, space));
const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
const edited = (text: string, of: Parameters<typeof editLines>[1]): string =>
  new TextDecoder().decode(editLines(bytesOf(text), of));

type Edits = Parameters<typeof editLines>[1];
/** The same, said plainly. */
function plainly(of: unknown, all: Edits): unknown {
  if (Array.isArray(of)) return of.map((one) => plainly(one, all));
  if (typeof of !== 'object' || of === null) return of;
  return Object.fromEntries(
    Object.entries(of).flatMap(([name, inner]) => {
      const mine = all.filter(({ path }) => path[0] === name);
      const here = mine.filter(({ path }) => path.length === 1);
      if (here.some(({ does }) => does === 'drop')) return [];
      if (here.length > 0) return [[name, redacted]];
      return [
        [
          name,
          plainly(
            inner,
            mine.map(({ path, does }) => ({ path: path.slice(1), does })),
          ),
        ],
      ];
    }),
  );
}

test('fields go or are redacted, wherever they are; a second time changes nothing', () => {
  fc.assert(
    fc.property(fc.array(spaced, { maxLength: 4 }), edits, (texts, all) => {
      const lines = texts.map((text) => text.replaceAll('\n', ' '));
      const once = edited(lines.join('\n'), all);
      expect(
        once
          .split('\n')
          .filter(Boolean)
          .map((line) => JSON.parse(line)),
      ).toEqual(lines.map((line) => plainly(JSON.parse(line), all)));
      expect(edited(once, all)).toBe(once);
    }),
    { numRuns: 500 },
  );
});

test('what no edit names stays as it is, to the character', () => {
  const drop = (field: string): Edits => [{ path: field.split('.'), does: 'drop' }];
  expect(edited('{"id":12345678901234567890,"x":1}\r\n\n{ "y" : 1.0 }\n', drop('x'))).toBe(
    '{"id":12345678901234567890}\r\n\n{ "y" : 1.0 }\n',
  );
  // The same field under another spelling, and twice.
  expect(edited('{"\\u0078":1,"y":2,"x":3}', drop('x'))).toBe('{"y":2}');
  expect(edited('{"x":1,"x":2}', drop('x'))).toBe('{}');
  expect(edited('{"u":[{"x":1,"y":2},[{"x":1}],3]}', drop('u.x'))).toBe('{"u":[{"y":2},[{}],3]}');
  expect(edited('{"x":{"y":1}, "z":2}', [{ path: ['x'], does: 'redact' }])).toBe(`{"x":"${redacted}", "z":2}`);
});

test.each([
  ['{"a":1}\n{"a":', 'line 2 is no JSON'],
  ['no JSON at all', 'line 1 is no JSON'],
])('what cannot be read does not go: %s', (text, why) => {
  expect(() => edited(text, [{ path: ['a'], does: 'redact' }])).toThrow(new NoLines(why));
});
test('nor what is no text', () => {
  expect(() => editLines(Buffer.from([0x7b, 0xff, 0x7d]), [])).toThrow(NoLines);
});

test.each(['prefix', 'drop_field', 'redact_field'])(
  '%s is refused where all sides are written, a filter is not',
  (type) => {
    const wish = (mode: string, of: string) => ({
      mode,
      transformations: [{ type: of, add: 'x', prefix: 'x', field: 'x' }],
    });
    expect(transformationProblems(wish('active-active', type), [])).toMatchObject([
      { path: ['transformations', 0, 'type'] },
    ]);
    expect(transformationProblems(wish('active-active', 'filter'), [])).toEqual([]);
    expect(transformationProblems(wish('active-passive', type), [])).toEqual([]);
  },
);
