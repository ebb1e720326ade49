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
let provider: Provider;

beforeAll(async () => {
  provider = awsProvider({
    name: 'aws',
    region: 'us-west-2',
    credentials: { access_key_id: 'AKIALOCALTEST', secret_access_key: 'local' },
    deviceCa: (await authority(folder)).cert,
    pollMs: 25,
    callDeadlineMs: 20_000,
  });
});
afterAll(async () => {
  await provider.close();
  rmSync(folder, { recursive: true });
});

function deviceCaOf(service: string) {
  const placement: Placement = {
    owner: { estate: 'shared', uid: randomBytes(16).toString('hex'), service, controller: 'test', generation: 1 },
    type: 'iot_core',
    provider: 'aws',
    providerType: 'aws',
    region: 'us-west-2',
    account: accounts.aws,
    configuration: {},
  };
  const cell = provider.cells.find(({ type }) => type === 'iot_core');
  const spec = cell?.design(placement).find(({ key }) => key === 'device_ca');
  if (!cell || !spec) throw new Error('iot_core has no device authority');
  return { placement, resource: new Resource(provider, cell, spec, { placement, needs: {}, signal }) };
}

it('the registration lasts as long as one of them needs it', async () => {
  const [first, second] = [deviceCaOf('first'), deviceCaOf('second')];
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
