import fc from 'fast-check';
import { type Kept, progressOf, type Step, stepsBefore } from '../../model/history.ts';

interface Thing {
  version: string;
}
/** A key's life, as a cloud with markers keeps it: writes and deletions. */
const lives = fc.array(fc.constantFrom('write', 'delete'), { maxLength: 12 }).map((acts) => {
  const kept = acts.map(
    (act, at): Kept<Thing> => ({ object: act === 'write' ? { version: `v${at}` } : undefined, current: false }),
  );
  return kept.map((one, at) => ({ ...one, current: at === kept.length - 1 }));
});
const versionsIn = (steps: readonly Step<Thing>[]): string[] =>
  steps.flatMap((step) => (step === 'deleted' ? [] : step.object.version));

/** Does the steps as a store with markers would keep them; then writes what is current. */
function replay(steps: readonly Step<Thing>[], current: Thing | undefined): (Thing | 'deleted')[] {
  return [...steps.map((step) => (step === 'deleted' ? step : step.object)), ...(current ? [current] : [])];
}

test('the steps lead to the same row of bytes, with a deletion wherever one ended what was there', () => {
  fc.assert(
    fc.property(lives, (life) => {
      const current = life.at(-1)?.object;
      const row = life.map(({ object }) => object ?? ('deleted' as const));
      const without = row.filter((one, at) => one !== 'deleted' || (at > 0 && row[at - 1] !== 'deleted'));
      expect(replay(stepsBefore(life), current)).toEqual(without);
    }),
  );
});

test('a cloud that keeps no markers is replayed with the same versions, and what it has deleted is deleted in the end', () => {
  fc.assert(
    fc.property(lives, (life) => {
      const unmarked = life.filter(({ object }) => object);
      const steps = stepsBefore(unmarked);
      expect(versionsIn(steps)).toEqual(versionsIn(stepsBefore(life)));
      const gone = life.at(-1)?.object === undefined && versionsIn(steps).length > 0;
      expect(steps.at(-1) === 'deleted').toBe(gone);
    }),
  );
});

test('however often it breaks off, each version is written once and in its place', () => {
  fc.assert(
    fc.property(lives, fc.array(fc.nat({ max: 12 }), { maxLength: 4 }), (life, breaks) => {
      const steps = stepsBefore(life);
      const target: string[] = [];
      for (const most of [...breaks, steps.length]) {
        const progress = progressOf(steps, target);
        expect(progress?.missed).toBe(0);
        const rest = steps.slice(progress?.next ?? 0);
        for (const step of rest.slice(0, most)) if (step !== 'deleted') target.push(step.object.version);
      }
      expect(target).toEqual(versionsIn(steps));
    }),
  );
});

test('what was passed over is counted; nothing is put before what came later, and what is complete stays so', () => {
  const steps: Step<Thing>[] = ['a', 'b', 'c'].map((version) => ({ object: { version } }));
  expect(progressOf(steps, ['a', 'c'])).toEqual({ next: 3, missed: 1 });
  expect(progressOf(steps, ['a', 'b', 'c', 'current'])).toEqual({ next: 3, missed: 0 });
  expect(progressOf(steps, ['a', 'current'])).toBeUndefined();
  expect(progressOf(steps, [undefined])).toBeUndefined();
  expect(progressOf(['deleted', ...steps, 'deleted'], ['a', 'b', 'c', undefined])).toEqual({ next: 5, missed: 0 });
});
