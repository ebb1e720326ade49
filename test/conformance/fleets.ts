/** What workers do with a device registry besides making and removing it: list it, register devices there, compare, take back. */
import { hash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import type { Provider } from '../../activities/providers/driver.ts';
import type { ProviderPool } from '../../activities/providers/pool.ts';
import { deviceStore } from '../../activities/replication/device-store.ts';
import { copyMark, type Device, noTexts } from '../../model/fleet.ts';
import { deviceText } from '../../model/replicated-device.ts';
import type { Placement } from '../../model/service.ts';
import { identity, runner } from '../fleet/fleets.ts';
import { madeBy, signal } from '../transfer/stores.ts';
import { withRecords } from './stores.ts';

const startedAt = new Date().toISOString();
const callsPerSecond = 1000;

async function device(id: string, status: Device['status']): Promise<Device> {
  const { thumbprint, der } = await identity(id);
  return {
    id,
    status,
    credential: { type: 'certificates', certificates: [{ thumbprint, der }] },
    groups: ['pumps'],
    attributes: { site: 'Halle 3' },
    desired: { interval: 5 },
    reported: { firmware: '1' },
    permissions: [],
    extras: [],
    lastSeen: '',
    copiedBy: '',
  };
}

/** Who moves content registers devices, finds them there the second time, and takes back its own and no others. */
export async function isRegistered(
  { bulk, ...workers }: { control: Provider; undo: Provider; bulk: ProviderPool },
  placement: Placement,
): Promise<void> {
  const target = await madeBy(workers.control, placement);
  const registry = (await bulk.get(placement.provider)).devices(
    target,
    (_operation, _resource, request) => request(),
    signal,
  );
  const devices = await Promise.all([
    device(`pump-1-${Date.now()}`, 'enabled'),
    device(`pump-2-${Date.now()}`, 'disabled'),
  ]);
  const run = runner(bulk);
  const files = { keptAt: target, placement: target, callsPerSecond };
  await withRecords(workers, placement, async () => {
    // Others may have left devices there.
    const { devices: before } = await run('censusDevices', { ...files, census: 'before' });
    const put = await registry.put(devices, copyMark({ transfer: 'first', startedAt }));
    expect(put).toEqual([{ how: 'moved' }, { how: 'moved' }]);
    for (const census of ['first', 'second'])
      expect(await run('censusDevices', { ...files, census })).toMatchObject({ devices: before + 2, shards: 1 });
    // Who moves a fleet tells devices where to go, and takes that away again; it is no part of the device.
    for (const texts of [
      { claim: 'a request', redirect: null },
      { claim: null, redirect: 'there' },
      { claim: null, redirect: 'elsewhere' },
      noTexts,
    ]) {
      expect(await registry.tell(devices[0]?.id ?? '', texts)).toBe(true);
      expect(await registry.tell('nobody', texts)).toBe(false);
    }
    const again = { target, startedAt, shard: 0, callsPerSecond };
    expect(await run('copyDevices', { ...again, transfer: 'second' })).toMatchObject({
      moved: 0,
      differs: 0,
      failed: 0,
    });
    expect(await run('diffDevices', { keptAt: target, left: 'first', right: 'second' })).toMatchObject({
      same: before + 2,
      different: {},
    });
    const outcomes = { keptAt: target, name: 'second', report: 'outcomes' as const, page: 0 };
    expect(await run('readDevices', outcomes)).toMatchObject({ pages: 1 });
    expect(await run('removeCopiedDevices', { ...again, transfer: 'second' })).toEqual({ removed: 0 });
    expect(await run('removeCopiedDevices', { ...again, transfer: 'first' })).toEqual({ removed: 2 });
    expect(await run('censusDevices', { ...files, census: 'after' })).toMatchObject({ devices: before });
  });
}

/** Who keeps registries in step registers a device, changes all that it carries, finds what it has written, and removes it. */
export async function isKeptInStep(
  { bulk, ...workers }: { control: Provider; bulk: ProviderPool },
  placement: Placement,
): Promise<void> {
  const target = await madeBy(workers.control, placement);
  const provider = await bulk.get(placement.provider);
  const store = deviceStore(provider, target, { callDeadlineMs: 20_000, callsPerSecond: 1000, signal });
  const known = await device(`kept-${Date.now()}`, 'enabled');
  const { id: key } = known;
  const write = (wanted: Device, version?: string) => {
    const bytes = Buffer.from(deviceText(wanted));
    const attributes = { headers: {}, metadata: { multicloudchange: '1 2 aws ~ 0 aws=2' }, tags: {} };
    const expected = version === undefined ? { absent: true as const } : { version };
    const object = { key, size: bytes.length, attributes, expected, md5: hash('md5', bytes, 'base64') };
    return store.write(object, { chunks: [bytes], bytes: bytes.length }, crc32(bytes), signal);
  };
  const first = await write({ ...known, groups: ['pumps', 'old'] });
  const other = await device(key, 'disabled');
  const changed = { ...other, groups: ['pumps', 'new'], attributes: { site: 'Halle 4' }, desired: { night: true } };
  const second = await write(changed, first.version);
  const third = await write({ ...changed, status: 'enabled' }, second.version);
  await expect(write(changed, first.version)).rejects.toMatchObject({ kind: 'PreconditionFailed' });
  const listed = [];
  for (let token: string | undefined; ; ) {
    const page = await store.page({ after: '', token }, signal);
    listed.push(...page.objects.filter((one) => one.key === key));
    if (page.next === undefined) break;
    token = page.next;
  }
  expect(listed).toMatchObject([{ version: third.version }]);
  await store.remove({ key, version: third.version }, signal);
  expect(await store.head(key, signal)).toBeUndefined();
}
