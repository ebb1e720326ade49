import { Rates } from '../../activities/devices/ask.ts';

const { signal } = new AbortController();

it('lets what follows use what was left of the time before, up to a quarter of a second', async () => {
  const rates = new Rates();
  const all = async (count: number): Promise<number> => {
    const rate = rates.of('registry', 500);
    const began = performance.now();
    await Promise.all(Array.from({ length: count }, () => rate.take(signal)));
    return performance.now() - began;
  };
  await all(125);
  // Nothing is left of the first quarter.
  expect(await all(50)).toBeGreaterThan(60);
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(await all(125)).toBeLessThan(150);
});

it('keeps the registries apart', async () => {
  const rates = new Rates();
  const began = performance.now();
  await rates.of('one', 4).take(signal);
  const waiting = rates.of('one', 4).take(signal);
  await rates.of('other', 4).take(signal);
  expect(performance.now() - began).toBeLessThan(150);
  await waiting;
  expect(performance.now() - began).toBeGreaterThan(200);
});
