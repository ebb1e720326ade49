/** What people and programs send that nobody expects: a list of known nasties, and generators that mix them in. */
import fc from 'fast-check';

export const planted = 'AKIAHOSTILEHOSTILE42';

export const nasties: readonly string[] = [
  '',
  ' ',
  '\u0000',
  '../../../etc/passwd',
  '..\\..\\windows',
  '__proto__',
  'constructor',
  'prototype',
  'toString',
  '${AWS_SECRET_ACCESS_KEY}',
  '${PATH}',
  '$(id)',
  '`id`',
  "'; DROP TABLE estates; --",
  '=cmd|"/c calc"!A1',
  '<script>alert(1)</script>',
  '[click](javascript:alert(1))',
  '```\n# heading\n```',
  '\u001b[2J\u001b]0;owned\u0007',
  '\r\nfake log line: all is well',
  '‮evil',
  '\ud800',
  'ﬀ',
  'é',
  '%s%n%x',
  '-1',
  '1e400',
  'NaN',
  '9007199254740993',
  '0x7f',
  'null',
  'true',
  'yes',
  '!!js/function "function(){}"',
  '&a [*a]',
  '<<: *x',
  planted,
  'a'.repeat(5000),
  '{'.repeat(200),
  'http://169.254.169.254/latest/meta-data',
  'arn:aws:s3:::somebody-elses',
];

const key = fc.oneof(
  fc.constantFrom(...nasties),
  fc.constantFrom('estate', 'service', 'services', 'file', 'by', 'v', 'approval', 'confirm', 'inherited', 'providers'),
  fc.string({ maxLength: 12 }),
);
const scalar = fc.oneof(
  fc.constantFrom<unknown>(...nasties, null, true, false, 0, -1, 1e308, -0, 1.5, 2 ** 53),
  fc.string({ unit: 'binary', maxLength: 30 }),
);

/** Any JSON value, nasties and known names of fields mixed in. */
export const json: fc.Arbitrary<unknown> = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    scalar,
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(key, tie('value'), { maxKeys: 5, noNullPrototype: true }),
  ),
})).value;

export const object = fc.dictionary(key, json, { maxKeys: 6, noNullPrototype: true });
