/** Placements that let devices in which nobody has registered: what a factory ships with the placement as its endpoint. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { connectAsync, type MqttClient } from 'mqtt';
import type { Provider } from '../../activities/providers/driver.ts';
import type { ProviderPool } from '../../activities/providers/pool.ts';
import { authority, issueCertificate, type KeyPair } from '../../emulators/certificates.ts';
import { type DeviceEndpoint, deviceEndpoint, dialectOf } from '../../model/device-endpoint.ts';
import type { Device } from '../../model/fleet.ts';
import type { Placement } from '../../model/service.ts';
import { madeBy, signal } from '../transfer/stores.ts';
import type { cases } from './cases.ts';
import { isFollowed } from './telemetry.ts';

const made = (name: string) => authority(mkdtempSync(join(tmpdir(), 'factory-')), 'ca', name);
const factory = await made(`a factory ${process.pid}`);

const newborns = { just_in_time_authority: factory.cert };

/** The same case, whose placement lets newborns of the factory in where devices are. */
export const lettingNewbornsIn = (test: (typeof cases)[number]): (typeof cases)[number] =>
  test.type === 'iot_core'
    ? {
        ...test,
        configuration: { ...test.configuration, ...newborns },
        changed: { ...test.changed, ...newborns },
      }
    : test;

const issue = (id: string, by = factory): Promise<KeyPair> => issueCertificate(by, [id], true);

/** As firmware does it: a first connection may be cut off while the device is registered. */
async function connect(endpoint: DeviceEndpoint, id: string, pair: KeyPair, tries = 5): Promise<MqttClient> {
  const { clientId } = dialectOf(endpoint, id);
  const address = endpoint.dialect === 'gcp' ? (endpoint.address ?? endpoint.host) : endpoint.host;
  const { authority: server } = endpoint;
  for (let attempt = 1; ; attempt++)
    try {
      return await connectAsync(
        `mqtts://${address}:${endpoint.port}`,
        {
          ...{ servername: endpoint.host, clientId, ...pair, protocolVersion: 4 as const },
          ...(server && 'pem' in server && { ca: server.pem }),
          ...{ reconnectPeriod: 0, connectTimeout: 10_000 },
        },
        false,
      );
    } catch (error) {
      if (attempt >= tries) throw error;
      await setTimeout(200);
    }
}

/** It speaks and is in the registry with its certificate; strangers are neither; one that was put out of use or removed stays away. */
export async function letsNewbornsIn(
  { bulk, ...workers }: { control: Provider; undo: Provider; bulk: ProviderPool },
  placement: Placement,
): Promise<void> {
  const target = await madeBy(workers.control, placement);
  const provider = await bulk.get(placement.provider);
  const registry = provider.devices(target, (_operation, _resource, request) => request(), signal);
  const { estate, uid, service } = placement.owner;
  const endpoint = deviceEndpoint({ placement: target, estate, uid, service });
  if (!endpoint) throw new Error('devices find no way to it');
  const id = `newborn-${Date.now()}`;
  const find = async (): Promise<Device | undefined> => (await registry.standing.find(id))?.device;
  const pair = await issue(id);

  await expect(connect(endpoint, id, await issue(id, await made('another factory')), 2)).rejects.toThrow();
  expect(await find()).toBeUndefined();

  const speak = async (): Promise<void> => {
    const client = await connect(endpoint, id, pair);
    await client.publishAsync(dialectOf(endpoint, id).telemetry, '{"born":true}', { qos: 1 });
    await client.endAsync();
  };
  await isFollowed({ ...workers, bulk }, placement, speak, /^newborn-/);
  const device = await find();
  if (device?.credential.type !== 'certificates') throw new Error('it is not registered by its certificate');
  expect(device).toMatchObject({ status: 'enabled', groups: [], attributes: {}, copiedBy: '' });
  expect(device.credential.certificates).toEqual([
    { thumbprint: expect.stringMatching(/^[0-9a-f]{64}$/), der: expect.any(String) },
  ]);

  // Another certificate of the factory for the same device is not the device's.
  await expect(connect(endpoint, id, await issue(id), 2)).rejects.toThrow();

  for (const change of ['disabled', 'removed'] as const) {
    const standing = await registry.standing.find(id);
    if (!standing) throw new Error('it is not there any more');
    const over = { standing, version: 'test' };
    if (change === 'disabled') await registry.standing.write({ ...device, status: 'disabled' }, {}, over);
    else await registry.standing.drop(over);
    await expect(connect(endpoint, id, pair, 2)).rejects.toThrow();
    expect((await find())?.status).toBe(change === 'disabled' ? 'disabled' : undefined);
  }
}
