/** What two registries must agree on, and which device fits where, in which form. */
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { type Device, fleetDifferences, withoutNulls } from '../../model/fleet.ts';
import {
  fleetGaps,
  fromThingAttributes,
  fromTwinTags,
  judgeDevice,
  toThingAttributes,
  toTwinTags,
} from '../../model/fleet-mapping.ts';
import { csvRow } from '../../model/text.ts';

const thumbprint = 'ab'.repeat(32);
const device = (change: Partial<Device> = {}): Device => ({
  id: 'pump-1',
  status: 'enabled',
  credential: { type: 'certificates', certificates: [{ thumbprint, der: 'MAA=' }] },
  groups: [],
  attributes: {},
  desired: {},
  reported: {},
  permissions: [],
  extras: [],
  lastSeen: '',
  copiedBy: '',
  ...change,
});

it('names the fields that differ, whatever the order of their parts', () => {
  const one = device({ attributes: { a: '1', b: '2' }, desired: { x: { y: 1, z: 2 } } });
  expect(fleetDifferences(one, device({ attributes: { b: '2', a: '1' }, desired: { x: { z: 2, y: 1 } } }))).toEqual([]);
  const other = device({ status: 'disabled', credential: { type: 'authority' }, groups: ['g'], reported: { v: 1 } });
  expect(fleetDifferences(one, other)).toEqual(['status', 'credential', 'groups', 'attributes', 'desired', 'reported']);
});

it('takes a certificate and its thumbprint alone for the same', () => {
  const known = device({ credential: { type: 'certificates', certificates: [{ thumbprint }] } });
  expect(fleetDifferences(device(), known)).toEqual([]);
});

it('drops nulls, at every level, as the clouds do', () => {
  expect(withoutNulls({ a: null, b: { c: null, d: 1 }, e: [null, 1] })).toEqual({ b: { d: 1 }, e: [null, 1] });
});

const texts = fc.dictionary(fc.stringMatching(/^[a-z]{1,8}$/), fc.string({ unit: 'grapheme', maxLength: 60 }));

it('gives attributes back from a thing as they were, and only what AWS takes stands there', () => {
  fc.assert(
    fc.property(texts, (attributes) => {
      const written = toThingAttributes(device({ attributes }), 'copy@2026-11-28T00:00:00Z');
      for (const value of Object.values(written)) expect(value).toMatch(/^[a-zA-Z0-9_.,@/:#=[\]-]+$/);
      expect(fromThingAttributes(written)).toEqual({ attributes, copiedBy: 'copy@2026-11-28T00:00:00Z' });
    }),
  );
});

it('gives attributes, groups and certificates back from the tags of a twin', () => {
  fc.assert(
    fc.property(texts, (plain) => {
      const attributes = { ...plain, 'site.hall': 'B', 'site.floor.room': '3' };
      const tags = toTwinTags(device({ attributes, groups: ['pumps'] }), 'copy@x');
      if (typeof tags === 'string') return expect(plain).toHaveProperty('site');
      const certificates = { [thumbprint]: 'MAA=' };
      expect(fromTwinTags(tags)).toEqual({ attributes, groups: ['pumps'], copiedBy: 'copy@x', certificates });
    }),
  );
});

it('refuses a name that would be a value and a level of tags at once', () => {
  expect(toTwinTags(device({ attributes: { 'a.b': '1', a: '2' } }), '')).toBe('a');
  expect(toTwinTags(device({ attributes: { a: '2', 'a.b': '1' } }), '')).toBe('a.b');
  expect(toTwinTags(device({ attributes: { multiCloud: '1' } }), '')).toBe('multiCloud');
});

it.each<[string, Partial<Device>, Partial<Record<'aws' | 'azure' | 'gcp', string>>]>([
  ['an ordinary one', {}, {}],
  ['an ID with a dot', { id: 'a.b' }, { aws: 'id' }],
  ['an ID with an at', { id: 'a@b' }, { aws: 'id', gcp: 'id' }],
  ['an ID with a space', { id: 'a b' }, { aws: 'id', azure: 'id', gcp: 'id' }],
  [
    'one whose certificate is not known',
    { credential: { type: 'certificates', certificates: [{ thumbprint }] } },
    { aws: 'no-certificate' },
  ],
  ['one that a CA vouches for', { credential: { type: 'authority' } }, { aws: 'no-certificate' }],
  [
    'a SHA-1 thumbprint',
    { credential: { type: 'certificates', certificates: [{ thumbprint: 'ab'.repeat(20) }] } },
    { aws: 'sha1', gcp: 'sha1' },
  ],
  [
    'a shadow of 9 KB',
    { desired: { x: 'y'.repeat(3000), z: 'y'.repeat(3000), w: 'y'.repeat(3000) } },
    { aws: 'state' },
  ],
  ['a long value', { desired: { x: 'y'.repeat(5000) } }, { azure: 'state' }],
  ['a deep state', { desired: { a: { b: { c: { d: { e: { f: { g: { h: { i: 1 } } } } } } } } } }, { aws: 'state' }],
  [
    'fifty attributes',
    { attributes: Object.fromEntries(Array.from({ length: 50 }, (_, n) => [`a${n}`, '1'])) },
    { aws: 'attributes' },
  ],
  ['ten groups', { groups: Array.from({ length: 10 }, (_, n) => `g${n}`) }, { aws: 'groups' }],
])('%s goes where it fits', (_, change, refused) => {
  for (const to of ['aws', 'azure', 'gcp'] as const)
    expect([to, judgeDevice(device(change), to).refusal]).toEqual([to, refused[to]]);
});

it('publishes no entry from a cloud to itself alone', () => {
  for (const { name, from, to } of fleetGaps)
    expect([name, from.some((one) => to.some((other) => other !== one))]).toEqual([name, true]);
});

it('writes CSV that no spreadsheet takes for a formula', () => {
  expect(csvRow(['=1+1', '@x', 'a "b", c', '-2'])).toBe(`"'=1+1","'@x","a ""b"", c","'-2"\r\n`);
});

it('has its list of what does not map in the documentation, word for word', () => {
  const rows = fleetGaps.map(
    ({ name, from, to, becomes, text }) => `| ${name} | ${from.join(', ')} | ${to.join(', ')} | ${becomes} | ${text} |`,
  );
  const table = ['| what | from | to | | |', '|---|---|---|---|---|', ...rows].join('\n');
  expect(readFileSync('docs/fleet.md', 'utf8')).toContain(table);
});
