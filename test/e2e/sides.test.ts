/** The sides of a replicated service, compared by hand and by a Schedule, repaired by the rule; conflicts listed and restored. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { z } from 'zod';
import type { ObjectStore } from '../../activities/providers/object-store.ts';
import { createScheduleActivities } from '../../activities/registry/schedules.ts';
import { type ConflictPage, EstateClient, type VerifyResult } from '../../client/index.ts';
import { divergenceSchedule } from '../../model/divergence.ts';
import { placementRef } from '../../model/transfer.ts';
import { jsonLines, multiCloud } from '../client/command.ts';
import { localRun } from '../local/stack.ts';
import { contents, fill, signal } from '../transfer/stores.ts';
import { type OwnWorker, ownWorker, quietTemporal, writeEstate } from './own-worker.ts';

/** What `conflicts restore --json` ends with. */
const Restored = z.object({
  restored: z.object({ side: z.string(), key: z.string(), size: z.number(), replaced: z.string() }),
});

let worker: OwnWorker;
let estate: EstateClient;
let stores: Record<'aws' | 'gcp', ObjectStore>;
const name = 'sides';
const service = 'lake';
const namespace = `sides-${Date.now()}`;

beforeAll(async () => {
  quietTemporal();
  const file = writeEstate(join(mkdtempSync(join(tmpdir(), 'sides-')), 'estate.yaml'), name, {
    [service]: {
      ...{ type: 'storage', redundancy: 2, preferred_providers: ['aws', 'gcp'], protect: false },
      replication: { mode: 'active-active', latency_threshold_ms: 200 },
    },
  });
  worker = await ownWorker({ namespace, estateFile: file, moves: (real) => real });
  estate = new EstateClient(worker.client, name, '');
  await (await estate.deployService(service)).result();
  const { placements = [] } = (await estate.service(service)) ?? {};
  const { uid = '' } = (await estate.estate()) ?? {};
  const owner = { estate: name, uid, service, controller: '' };
  const open = async (provider: 'aws' | 'gcp'): Promise<ObjectStore> => {
    const placed = placements.find((one) => one.provider === provider);
    if (!placed) throw new Error(`${service} is not on ${provider}`);
    return (await worker.pool.get(provider)).store(placementRef(owner, placed));
  };
  stores = { aws: await open('aws'), gcp: await open('gcp') };
}, 120_000);
afterAll(async () => {
  await (await estate.remove({ service, confirm: `${name}/${service}` })).result();
  await worker.close();
}, 60_000);

const verify = async (input: { repair?: boolean } = {}) =>
  (await (await estate.verify({ service, ...input, by: 'ann' })).outcome<VerifyResult>()).verified;
const command = (...args: string[]) =>
  multiCloud(['conflicts', ...args, '--estate', name, '--json'], {
    MULTI_CLOUD_ADDRESS: localRun().temporal.address,
    MULTI_CLOUD_NAMESPACE: namespace,
  });

it('what differs is named for each side and made the same by the rule; what is replaced can be restored', async () => {
  await fill(stores.aws, 'both', Buffer.from('first'));
  await setTimeout(1100); // S3 tells the time to the second
  await fill(stores.gcp, 'both', Buffer.from('later!'));
  await fill(stores.aws, 'on aws', Buffer.from('a'));
  const found = await verify();
  expect(found).toMatchObject({
    ...{ from: 'aws', rule: 'last-write-wins', equal: false },
    comparisons: [
      { provider: 'aws', role: 'current', found: { objects: 2, same: 1, different: { size: 1 } } },
      { provider: 'gcp', role: 'current', found: { objects: 2, same: 1, different: { missing: 1 } } },
    ],
  });
  const repaired = await verify({ repair: true });
  expect(repaired?.equal).toBe(true);
  expect(repaired?.comparisons.map((one) => one.repaired?.copied.objects)).toEqual([1, 1]);
  expect(await contents(stores.aws)).toEqual(await contents(stores.gcp));

  const listed = await command(service, '--since', '1h');
  expect([listed.code, listed.err]).toEqual([0, '']);
  const { conflicts }: ConflictPage = JSON.parse(listed.out);
  expect(conflicts).toEqual([
    expect.objectContaining({ key: 'both', sides: ['aws'], size: 5, winner: expect.objectContaining({ on: 'gcp' }) }),
  ]);
  const restored = await command('restore', service, conflicts[0]?.id ?? '', '--yes');
  expect(restored.code).toBe(0);
  const result = Restored.parse(jsonLines(restored.out).at(-1));
  expect(result.restored).toMatchObject({ side: 'aws', key: 'both', size: 5 });
  expect((await stores.aws.head('both', signal))?.size).toBe(5);
  const after = await estate.conflicts({ service });
  expect(after.conflicts.map(({ id }) => id)).toContain(result.restored.replaced);

  expect(await command('restore', service, `2026-01-01/1-aws-${'0'.repeat(16)}-00000000`, '--yes')).toMatchObject({
    code: 1,
  });
  expect(await command('restore', service, 'x', '--yes')).toMatchObject({ code: 2 });
  expect(await command(service, '--since', 'yesterday')).toMatchObject({ code: 2 });
}, 120_000);

it('a Schedule compares all sides again and again, is made once, and goes', async () => {
  const { ensureSchedule, removeSchedule } = createScheduleActivities({ client: worker.client });
  const of = { estate: name, service };
  await ensureSchedule({ ...of, everyMs: 3_600_000 });
  await ensureSchedule({ ...of, everyMs: 3_600_000 });
  const schedule = worker.client.schedule.getHandle(divergenceSchedule(name, service));
  const first = await schedule.describe();
  expect(first.spec.intervals).toEqual([expect.objectContaining({ every: 3_600_000 })]);
  expect(first.info.lastUpdatedAt).toBeUndefined();
  await ensureSchedule({ ...of, everyMs: 7_200_000 });
  expect((await schedule.describe()).spec.intervals?.[0]?.every).toBe(7_200_000);

  await schedule.trigger();
  let started: string | undefined;
  for (let look = 0; !started && look < 100; look++) {
    await setTimeout(100);
    started = (await schedule.describe()).info.recentActions[0]?.action.workflow.workflowId;
  }
  expect(started).toMatch(/^verify\/sides\/lake-/);
  const { verified } = await estate.handle(started ?? '').outcome<VerifyResult>();
  expect(verified).toMatchObject({ rule: 'last-write-wins', comparisons: [{}, {}] });

  await removeSchedule(of);
  await removeSchedule(of);
  await expect(schedule.describe()).rejects.toThrow();
}, 60_000);
