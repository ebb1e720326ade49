/** An account and region of AWS registers an authority once: placements that use the same one do not get in each other's way. */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { awsProvider } from '../../activities/providers/aws/provider.ts';
import type { Provider } from '../../activities/providers/driver.ts';
import { Resource, scan } from '../../activities/providers/provision.ts';
import { authority } from '../../emulators/certificates.ts';
import { accounts } from '../../emulators/environment.ts';
import type { Placement } from '../../model/service.ts';

const signal = AbortSignal.timeout(60_000);
const pace = { pollMs: 25, callDeadlineMs: 20_000, heartbeat: () => {} };
const folder = mkdtempSync(join(tmpdir(), 'device-ca-'));
const { cert: ca } = await authority(folder);
let provider: Provider;

beforeAll(() => {
  provider = awsProvider({
    name: 'aws',
    region: 'us-west-2',
    credentials: { access_key_id: 'AKIALOCALTEST', secret_access_key: 'local' },
    deviceCa: ca,
    pollMs: 25,
    callDeadlineMs: 20_000,
  });
});
afterAll(async () => {
  await provider.close();
  rmSync(folder, { recursive: true });
});

/** The resource that begins with this key, where the authority lets newborns in as well if one is asked for that does. */
function authorityOf(service: string, key = 'device_ca') {
  const placement: Placement = {
    owner: { estate: 'shared', uid: randomBytes(16).toString('hex'), service, controller: 'test', generation: 1 },
    type: 'iot_core',
    provider: 'aws',
    providerType: 'aws',
    region: 'us-west-2',
    account: accounts.aws,
    configuration: key === 'device_ca' ? {} : { just_in_time_authority: ca },
  };
  const cell = provider.cells.find(({ type }) => type === 'iot_core');
  const spec = cell?.design(placement).find((one) => one.key.startsWith(key) && one.key !== 'just-in-time-role');
  if (!cell || !spec) throw new Error('iot_core has no device authority');
  return { placement, resource: new Resource(provider, cell, spec, { placement, needs: {}, signal }) };
}

it('the registration lasts as long as one of them needs it', async () => {
  const [first, second] = [authorityOf('first'), authorityOf('second')];
  expect((await first.resource.ensure(pace)).outcome).toBe('created');
  expect((await second.resource.ensure(pace)).outcome).toBe('created');

  const remove = { deleteData: true, retainUntil: '2099-01-01' };
  expect(await first.resource.remove(pace, remove)).toBe('removed');
  expect(await scan(provider, first.placement, signal)).toEqual([]);
  expect(await second.resource.observe()).toMatchObject({
    owner: second.placement.owner,
    properties: { status: 'ACTIVE', mode: 'SNI_ONLY' },
  });

  expect(await second.resource.remove(pace, remove)).toBe('removed');
  // Nobody is left: the next one registers it anew.
  expect((await first.resource.ensure(pace)).outcome).toBe('created');
  expect(await first.resource.remove(pace, remove)).toBe('removed');
});

it('one placement of an account and region lets newborns of an authority in; the registration stays for others when it ends', async () => {
  const user = authorityOf('user');
  const [door, rival] = ['door', 'rival'].map((service) => authorityOf(service, 'just-in-time')) as [
    ReturnType<typeof authorityOf>,
    ReturnType<typeof authorityOf>,
  ];
  const remove = { deleteData: true, retainUntil: '2099-01-01' };
  await user.resource.ensure(pace);
  expect((await user.resource.observe())?.properties).not.toHaveProperty('open');
  await door.resource.ensure(pace);
  expect(await door.resource.observe()).toMatchObject({ owner: door.placement.owner, properties: { open: 'ENABLE' } });
  await expect(rival.resource.ensure(pace)).rejects.toMatchObject({ fields: { kind: 'InvalidInput' } });
  expect(await rival.resource.observe()).toBeUndefined();
  expect(await door.resource.observe()).toMatchObject({ owner: door.placement.owner });

  expect(await door.resource.remove(pace, remove)).toBe('removed');
  expect(await user.resource.observe()).toMatchObject({ properties: { status: 'ACTIVE' } });
  await rival.resource.ensure(pace);
  expect(await user.resource.remove(pace, remove)).toBe('removed');
  expect(await rival.resource.observe()).toMatchObject({ properties: { status: 'ACTIVE', open: 'ENABLE' } });
  expect(await rival.resource.remove(pace, remove)).toBe('removed');
  expect(await scan(provider, user.placement, signal)).toEqual([]);
});
