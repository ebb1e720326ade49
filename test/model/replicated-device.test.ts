/** A device that replication carries reads the same wherever it has been, and what turns one state into another does just that. */
import fc from 'fast-check';
import type { Device } from '../../model/fleet.ts';
import {
  begunTag,
  fromThingAttributes,
  fromThingBesides,
  fromTwinTags,
  judgeDevice,
  knownInTags,
  toReplicatedTags,
  toThingAttributes,
  toThingBesides,
} from '../../model/fleet-mapping.ts';
import {
  deviceFromText,
  deviceText,
  keepingForm,
  patchBetween,
  type ReplicatedDevice,
} from '../../model/replicated-device.ts';
import { fleetProblems } from '../../model/replication-wish.ts';
import type { Json, JsonObject } from '../../model/service.ts';

const name = fc.stringMatching(/^[a-z]{1,4}$/);
const { tree: json } = fc.letrec<{ tree: Json; bag: JsonObject }>((tie) => ({
  tree: fc.oneof(
    { maxDepth: 3 },
    fc.integer(),
    fc.boolean(),
    fc.string({ maxLength: 5 }),
    tie('bag'),
    fc.array(fc.integer()),
  ),
  bag: fc.dictionary(name, tie('tree'), { maxKeys: 4 }),
}));
const bag = fc.dictionary(name, json, { maxKeys: 4 });
const isBag = (value: Json | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const certificate = fc.record({
  thumbprint: fc.stringMatching(/^[0-9a-f]{64}$/),
  der: fc.constantFrom('MAA=', 'MAE='),
});
const device: fc.Arbitrary<ReplicatedDevice> = fc.record({
  status: fc.constantFrom('enabled' as const, 'disabled' as const),
  credential: fc.record({
    type: fc.constant('certificates' as const),
    certificates: fc.uniqueArray(certificate, { minLength: 1, maxLength: 2, selector: ({ thumbprint }) => thumbprint }),
  }),
  groups: fc.array(name, { maxLength: 4 }),
  attributes: fc.dictionary(name, fc.string({ unit: 'grapheme', maxLength: 20 })),
  desired: bag,
});
const whole = (carried: ReplicatedDevice): Device => ({
  ...{ id: 'pump-1', reported: {}, permissions: [], extras: [], lastSeen: '', copiedBy: '' },
  ...carried,
});
const known = fc.dictionary(name, fc.string({ unit: 'grapheme', maxLength: 40 }), { maxKeys: 2 });

/** As every cloud merges: null takes a name away. */
function merged(base: JsonObject, patch: JsonObject): JsonObject {
  const all = { ...base };
  for (const [key, value] of Object.entries(patch)) {
    const before = all[key];
    if (value === null) delete all[key];
    else all[key] = isBag(value) ? merged(isBag(before) ? before : {}, value) : value;
  }
  return all;
}

it('reads the same from its own text, whatever the order of its parts, and without what stays with a cloud', () => {
  fc.assert(
    fc.property(device, (one) => {
      const text = deviceText(one);
      const read = deviceFromText(text);
      expect(read && deviceText(read)).toBe(text);
      const turned = {
        ...one,
        groups: one.groups.toReversed(),
        desired: { ...one.desired, redirect: 'mc1.x', nothing: {} },
      };
      expect(deviceText(turned)).toBe(deviceText({ ...one, desired: { ...one.desired, redirect: 'mc1.y' } }));
    }),
  );
  expect(deviceFromText('{"status":"enabled"}')).toBeUndefined();
  expect(deviceFromText('no JSON')).toBeUndefined();
});

it('comes back the same from a thing and from a twin, with what is known of it beside', () => {
  fc.assert(
    fc.property(device, known, (one, beside) => {
      const carried = deviceFromText(deviceText(one)) as ReplicatedDevice;
      const at = { ...toThingAttributes(whole(carried), ''), ...toThingBesides(beside, 'abc') };
      for (const value of Object.values(toThingBesides(beside))) expect(value).toMatch(/^[A-Za-z0-9_-]*$/);
      expect(fromThingAttributes(at).attributes).toEqual(carried.attributes);
      expect(fromThingBesides(at)).toEqual({ known: beside, begun: 'abc' });

      if (judgeDevice(whole(carried), 'azure').refusal) return;
      const tags = toReplicatedTags(whole(carried), beside) as JsonObject;
      const { attributes, groups } = fromTwinTags(tags);
      expect([attributes, groups]).toEqual([carried.attributes, carried.groups]);
      expect(knownInTags(tags)).toEqual({ known: beside, begun: undefined });
      const begun = merged(tags, begunTag('abc'));
      expect(knownInTags(begun).begun).toBe('abc');
      // What is written over it says that it is whole.
      expect(knownInTags(merged(begun, patchBetween(begun, tags))).begun).toBeUndefined();
    }),
  );
});

it('patches one state to another, and says nothing where they are the same', () => {
  fc.assert(
    fc.property(bag, bag, (from, to) => {
      expect(patchBetween(to, to)).toEqual({});
      const patch = patchBetween(from, to);
      expect(merged(from, patch)).toEqual(to);
    }),
  );
});

it('keeps the form of tags that say the same', () => {
  const there = { floor: 3, open: true, site: { doors: [1, 2], hall: 'B' }, text: '7' };
  const wanted = { floor: '3', open: 'false', site: { doors: '[1,2]', hall: 'C' }, text: '7', more: '1' };
  expect(keepingForm(wanted, there)).toEqual({
    ...{ floor: 3, open: 'false', text: '7', more: '1' },
    site: { doors: [1, 2], hall: 'C' },
  });
});

it('refuses of a fleet what would make two of a device, or half of one', () => {
  const replication = {
    mode: 'active-passive',
    conflict_resolution: 'keep-both',
    transformations: [
      { type: 'filter', prefix: 'pump-' },
      { type: 'drop_field', field: 'site' },
    ],
  };
  expect(fleetProblems(replication, ['at']).map(({ path }) => path.join('.'))).toEqual([
    'at.conflict_resolution',
    'at.transformations.1.type',
  ]);
});
