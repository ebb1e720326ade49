/** What goes by a rule of its bucket is no delete of a user's: the other sides have rules of their own, and the brake does not count it. */
import { setTimeout as pause } from 'node:timers/promises';
import { DeleteObjectCommand, S3Client } from '@aws-sdk/client-s3';
import type { PlacementRef } from '../../model/transfer.ts';
import { type Cloud, Sides } from './sides.ts';

/** As S3 does by a rule of the bucket. */
async function expire({ resources, region }: PlacementRef, Key: string): Promise<void> {
  const s3 = new S3Client({ region });
  const command = new DeleteObjectCommand({ Bucket: resources[0]?.outputs.bucket ?? '', Key });
  command.middlewareStack.add(
    (next) => (asked) => {
      (asked.request as { headers: Record<string, string> }).headers['x-local-expiry'] = 'yes';
      return next(asked);
    },
    { step: 'build' },
  );
  await s3.send(command);
}

/** With rules that delete after so many days; without a rule where none is given. */
const ruled = (sides: Sides, days: Partial<Record<Cloud, number>>): PlacementRef[] =>
  sides.placements.map((placement) => {
    const { retention_days: _, ...configuration } = placement.configuration;
    const own = days[placement.provider as Cloud];
    return { ...placement, configuration: { ...configuration, ...(own !== undefined && { retention_days: own }) } };
  });
const keysOf = async (sides: Sides, name: Cloud): Promise<string[]> => [...(await sides.content(name)).keys()].sort();
const keys = ['a', 'b', 'c', 'd'];
const all = { forMs: 0, feeds: [] };

async function filled(side: Cloud): Promise<Sides> {
  const sides = await Sides.of(['aws', 'gcp']);
  for (const key of keys) await sides.change(side, key, 'write');
  await sides.pump(all).ended;
  expect(await keysOf(sides, side === 'aws' ? 'gcp' : 'aws')).toEqual(keys);
  return sides;
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  for (const end = Date.now() + 15_000; !(await holds()); await pause(100))
    if (Date.now() > end) throw new Error(`waited in vain for ${holds}`);
}

it('what S3 tells to have expired stays on the side with a rule of its own, and does not come back from there', async () => {
  const sides = await filled('aws');
  const rules = ruled(sides, { aws: 90, gcp: 90 });
  for (const key of ['a', 'b', 'c']) await expire(sides.side('aws'), key);
  await sides.change('aws', 'd', 'delete');
  const pump = sides.pump({ sides: rules, maxDeletes: 1 });
  await until(async () => (await keysOf(sides, 'gcp')).join() === 'a,b,c');
  await pump.stop();
  const last = await sides.pump({ sides: rules, maxDeletes: 1, forMs: 0, tombstoneMs: 0 }).ended;
  expect(last.held).toEqual([]);
  await sides.pump({ sides: rules, maxDeletes: 1, forMs: 0, tombstoneMs: 0 }).ended;
  expect([await keysOf(sides, 'aws'), await keysOf(sides, 'gcp')]).toEqual([[], ['a', 'b', 'c']]);
  // Whoever writes there again writes for all.
  await sides.change('gcp', 'a', 'write');
  await sides.pump({ sides: rules, ...all }).ended;
  expect(await keysOf(sides, 'aws')).toEqual(['a']);
}, 60_000);

it('it goes to a side without such a rule, past the brake', async () => {
  const sides = await filled('aws');
  for (const key of keys) await expire(sides.side('aws'), key);
  const pump = sides.pump({ sides: ruled(sides, { aws: 90 }), maxDeletes: 1 });
  await until(async () => (await keysOf(sides, 'gcp')).length === 0);
  await pump.stop();
}, 60_000);

it('where the cloud does not tell, age does: what was as old as the rule says has expired, what was younger was deleted', async () => {
  const sides = await filled('gcp');
  await pause(1500);
  await sides.change('gcp', 'a', 'delete');
  await sides.change('gcp', 'b', 'delete');
  const second = 1 / 86_400;
  const { held } = await sides.pump({ sides: ruled(sides, { aws: second, gcp: second }), ...all, maxDeletes: 1 }).ended;
  expect([held, await keysOf(sides, 'aws')]).toEqual([[], keys]);
  await sides.change('gcp', 'c', 'delete');
  await sides.pump({ sides: ruled(sides, { aws: 90, gcp: 90 }), ...all }).ended;
  expect(await keysOf(sides, 'aws')).toEqual(['a', 'b', 'd']);
}, 60_000);
