/** What a pump writes down of the devices that it sees, and reads again. */
import { readSightings, Seen } from '../../activities/telemetry/sightings.ts';
import { filesInMemory } from './memory-files.ts';

const at = (s: number): number => Date.parse('2026-01-01T00:00:00Z') + 1000 * s;
const says = (device: string, s: number, message: object) => ({
  ...{ device, at: at(s), body: Buffer.from(JSON.stringify(message)) },
});

it('notes connections that went wrong, the last ones of each device, and the next pump goes on from there', async () => {
  const files = filesInMemory();
  const first = await Seen.open(files, 'gcp');
  first.add(says('calm', 1, { temperature: 21 }));
  first.add(says('cut-off', 2, { event: 'reconnected', failed: 2 }));
  await first.save(files);
  const next = await Seen.open(files, 'gcp');
  next.add(says('cut-off', 3, { event: 'returned' }));
  next.add(says('wild', 4, { event: 'reconnected', failed: 50 }));
  next.add(says('wild', 5, { event: 'reconnected', failed: 1 }));
  await next.save(files);
  const { devices } = (await readSightings(files)).get('gcp') ?? { devices: new Map() };
  expect(devices.get('calm')).toEqual({ at: new Date(at(1)).toISOString(), messages: 1 });
  expect(devices.get('cut-off')).toMatchObject({ messages: 2, troubles: [at(2), at(2), at(3)] });
  expect(devices.get('wild')?.troubles).toEqual([...Array<number>(19).fill(at(4)), at(5)]);
});

it('names the redirects that were refused, until somebody has told of them', async () => {
  const files = filesInMemory();
  const first = await Seen.open(files, 'aws');
  first.add(says('d1', 1, { event: 'redirect-refused', reason: 'signature', digest: 'x' }));
  expect(first.alarmed).toBe(true);
  // It was told to stop.
  await first.save(files);
  const next = await Seen.open(files, 'aws');
  expect(next.takeRefused()).toEqual([{ device: 'd1', reason: 'signature' }]);
  await next.save(files);
  expect((await Seen.open(files, 'aws')).alarmed).toBe(false);
});
