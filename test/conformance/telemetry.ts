/** What workers do with a telemetry stream besides reading its canary: who moves content follows it, and writes to it. */
import { cellOf } from '../../activities/providers/calls.ts';
import type { Provider } from '../../activities/providers/driver.ts';
import type { ProviderPool } from '../../activities/providers/pool.ts';
import { driverOf, Resource } from '../../activities/providers/provision.ts';
import type { Placement } from '../../model/service.ts';
import { madeBy } from '../transfer/stores.ts';

const pace = { pollMs: 25, heartbeat: () => {} };
const signal = () => AbortSignal.timeout(60_000);

/**
 * Who creates makes and repairs the follower of a stream, who moves content reads by it what a device sends and writes to the
 * stream what does not come back, who takes back removes it.
 */
export async function isFollowed(
  { control, undo, bulk }: { control: Provider; undo: Provider; bulk: ProviderPool },
  placement: Placement,
  /** A device of the placement sends something. */
  speak: () => Promise<unknown>,
  name = /canary/,
): Promise<void> {
  const made = await madeBy(control, placement);
  const spec = control.telemetry.design(placement);
  const call = () => ({ placement, needs: {}, signal: signal() });
  const follower = (provider: Provider) => new Resource(provider, cellOf(provider, placement), spec, call());
  try {
    expect(await follower(control).ensure(pace)).toMatchObject({ outcome: 'created' });
    const seen = await follower(control).observe();
    if (!seen) throw new Error('the follower is not there');
    const driver = driverOf(cellOf(control, placement), spec.kind);
    const drift = Object.keys(spec.desired).filter((property) => !driver.immutable.includes(property));
    await driver.update(spec, seen, drift, call());
    expect((await follower(control).ensure(pace)).drift).toEqual([]);

    const { telemetry } = await bulk.get(placement.provider);
    const since = new Date();
    const [reader, writer] = [telemetry.read(made, { position: {}, since }), telemetry.write(made)];
    try {
      await writer.write([{ device: 'of-another-cloud', body: Buffer.from('{}'), at: Date.now() }], signal());
      await speak();
      const devices: string[] = [];
      for (const until = Date.now() + 20_000; devices.length === 0 && Date.now() < until; ) {
        const batch = await reader.read(1000, signal());
        devices.push(...(batch?.messages ?? []).map(({ device }) => device));
        if (batch) await reader.done([batch], signal());
      }
      expect(devices).toEqual([expect.stringMatching(name)]);
    } finally {
      await Promise.all([reader.close(), writer.close()]);
    }
  } finally {
    await follower(undo).remove(pace, { deleteData: true, retainUntil: '' });
  }
  expect(await follower(control).observe()).toBeUndefined();
}
