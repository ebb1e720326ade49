/** What a device may rely on, proven with real TLS connections against the broker; registry and Pub/Sub are the test's own. */
import { createHash, X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tls from 'node:tls';
import mqtt, { type MqttClient } from 'mqtt';
import { type Broker, startBroker } from '../../broker/broker.ts';
import type { Registry, Version } from '../../broker/registry.ts';
import type { Telemetry, TelemetryMessage } from '../../broker/telemetry.ts';
import { authority, issueCertificate, type KeyPair } from '../../emulators/certificates.ts';
import type { RegisteredDevice } from '../../model/registered-device.ts';

const folder = mkdtempSync(join(tmpdir(), 'broker-'));
const devices = new Map<string, RegisteredDevice>();
const versions = new Map<string, Version>();
const published: TelemetryMessage[] = [];
/** What Pub/Sub does with the next messages. */
let takeOver: () => Promise<void> = async () => {};

/** What happens while the registry is asked for a device. */
let asked: (id: string) => Promise<void> = async () => {};

/** What happens while a device is registered, and what was taken out of the registry. */
let raced: (device: RegisteredDevice) => Promise<void> = async () => {};
const removed = new Set<string>();

const registry: Registry = {
  async find(id) {
    await asked(id);
    return devices.get(id);
  },
  versions: async () => new Map(versions),
  async register(device) {
    await raced(device);
    if (removed.has(device.id)) return undefined;
    if (!devices.has(device.id)) devices.set(device.id, device);
    return devices.get(device.id);
  },
};
const telemetry: Telemetry = {
  async publish(message) {
    await takeOver();
    published.push(message);
  },
  pending: () => 0,
  close: async () => {},
};

let broker: Broker;
let ca: KeyPair;
let stranger: KeyPair;
/** Of the factory. */
let born: KeyPair;
let server: KeyPair;
const clients: MqttClient[] = [];

const thumbprint = ({ cert }: KeyPair): string =>
  createHash('sha256').update(new X509Certificate(cert).raw).digest('hex');

function register(
  id: string,
  authentication: RegisteredDevice['authentication'],
  status: 'enabled' | 'disabled' = 'enabled',
  desired?: RegisteredDevice['desired'],
  at = Date.now(),
): void {
  devices.set(id, { v: 1, id, status, authentication, attributes: {}, ...(desired && { desired }) });
  const generation = String(Number(versions.get(id)?.generation ?? 0) + 1);
  versions.set(id, { generation, at });
}

async function connect(id: string, pair: Partial<KeyPair>): Promise<MqttClient> {
  const client = await mqtt.connectAsync(
    `mqtts://127.0.0.1:${broker.mqttPort}`,
    { clientId: id, ca: ca.cert, servername: 'broker.test', ...pair, reconnectPeriod: 0, connectTimeout: 3000 },
    false,
  );
  clients.push(client);
  return client;
}

const closed = (client: MqttClient): Promise<void> => new Promise((resolve) => client.once('close', () => resolve()));

beforeAll(async () => {
  ca = await authority(join(folder, 'ca'));
  stranger = await authority(join(folder, 'stranger'));
  // A name of its own: two authorities of one name would be told apart by their keys alone, which another test is about.
  born = await authority(join(folder, 'born'), 'ca', 'factory');
  server = await issueCertificate(ca, ['broker.test']);
  broker = await startBroker(
    {
      server,
      deviceAuthority: ca.cert,
      justInTimeAuthority: born.cert,
      host: '127.0.0.1',
      mqttPort: 0,
      healthPort: 0,
      registryScanMs: 100,
    },
    registry,
    telemetry,
  );
});
beforeEach(() => {
  published.length = 0;
  takeOver = async () => {};
  asked = async () => {};
  raced = async () => {};
});
afterAll(async () => {
  for (const client of clients) await client.endAsync(true);
  await broker.close();
  rmSync(folder, { recursive: true });
});

describe('a device that nobody has registered', () => {
  it('is registered by the certificate of the factory that it comes with, and known by that one from then on', async () => {
    const pair = await issueCertificate(born, ['newborn'], true);
    await connect('newborn', pair);
    const der = new X509Certificate(pair.cert).raw.toString('base64');
    expect(devices.get('newborn')).toMatchObject({
      status: 'enabled',
      authentication: { type: 'thumbprint', thumbprints: [thumbprint(pair)] },
      certificates: { [thumbprint(pair)]: der },
    });
    await expect(connect('newborn', await issueCertificate(born, ['newborn'], true))).rejects.toThrow();
    await expect(connect('newborn', pair)).resolves.toBeDefined();
  });

  it('stays outside with a certificate of another authority, of one with the same name, for another name, or of no end user', async () => {
    const [impostor, byDevice] = await Promise.all([
      authority(join(folder, 'impostor'), 'ca', 'factory'),
      issueCertificate(born, ['factory'], true),
    ]);
    for (const pair of [
      await issueCertificate(stranger, ['outsider'], true),
      await issueCertificate(ca, ['outsider'], true),
      await issueCertificate(impostor, ['outsider'], true),
      await issueCertificate(born, ['another'], true),
      await issueCertificate(byDevice, ['outsider'], true),
    ])
      await expect(connect('outsider', pair)).rejects.toThrow();
    await expect(connect('factory', born)).rejects.toThrow();
    expect(devices.has('outsider') || devices.has('factory')).toBe(false);
  });

  it('does not come back once it was disabled or removed', async () => {
    const pair = await issueCertificate(born, ['dismissed'], true);
    const client = await connect('dismissed', pair);
    const known = devices.get('dismissed');
    if (!known) throw new Error('it was not registered');
    devices.set('dismissed', { ...known, status: 'disabled' });
    await client.endAsync(true);
    await expect(connect('dismissed', pair)).rejects.toThrow();
    devices.delete('dismissed');
    removed.add('dismissed');
    await expect(connect('dismissed', pair)).rejects.toThrow();
    expect(devices.has('dismissed')).toBe(false);
  });

  it('is what another machine, or a person, was faster with', async () => {
    const pair = await issueCertificate(born, ['raced'], true);
    raced = async ({ id }) => register(id, { type: 'thumbprint', thumbprints: ['0'.repeat(64)] });
    await expect(connect('raced', pair)).rejects.toThrow();
    expect(devices.get('raced')?.authentication).toEqual({ type: 'thumbprint', thumbprints: ['0'.repeat(64)] });
  });
});

describe('a device is who its certificate says, as far as the registry agrees', () => {
  it('lets in a registered certificate, self-signed or of a stranger authority alike', async () => {
    const pair = await issueCertificate(stranger, ['pinned'], true);
    register('pinned', { type: 'thumbprint', thumbprints: [thumbprint(pair)] });
    await expect(connect('pinned', pair)).resolves.toBeDefined();
  });

  it('lets in what the device authority has signed, where the registry says so', async () => {
    register('signed', { type: 'authority' });
    await expect(connect('signed', await issueCertificate(ca, ['signed'], true))).resolves.toBeDefined();
    await expect(connect('signed', await issueCertificate(stranger, ['signed'], true))).rejects.toThrow();
  });

  it('refuses an unknown device, another certificate, another client ID, a disabled device, no certificate', async () => {
    const pair = await issueCertificate(ca, ['known'], true);
    await expect(connect('known', pair)).rejects.toThrow();
    register('known', { type: 'thumbprint', thumbprints: ['0'.repeat(64)] });
    await expect(connect('known', pair)).rejects.toThrow();
    register('known', { type: 'thumbprint', thumbprints: [thumbprint(pair)] });
    register('other', { type: 'thumbprint', thumbprints: [thumbprint(pair)] });
    await expect(connect('other', pair)).rejects.toThrow();
    register('known', { type: 'thumbprint', thumbprints: [thumbprint(pair)] }, 'disabled');
    await expect(connect('known', pair)).rejects.toThrow();
    await expect(connect('known', {})).rejects.toThrow();
  });

  it('does not collect megabytes from somebody it does not know yet', async () => {
    const pair = await issueCertificate(stranger, ['flood'], true);
    const socket = tls.connect({ port: broker.mqttPort, ca: ca.cert, servername: 'broker.test', ...pair });
    socket.on('error', () => {});
    const gone = new Promise((resolve) => socket.once('close', resolve));
    // CONNECT with a remaining length of 256 MiB.
    socket.write(Buffer.from([0x10, 0xff, 0xff, 0xff, 0x7f]));
    socket.write(Buffer.alloc(1024 * 1024));
    await gone;
  });

  it('cuts off a connected device that is disabled or removed', async () => {
    const pair = await issueCertificate(ca, ['cut'], true);
    for (const change of ['disabled', 'removed'] as const) {
      register('cut', { type: 'authority' });
      const client = await connect('cut', pair);
      const gone = closed(client);
      if (change === 'disabled') register('cut', { type: 'authority' }, 'disabled');
      else {
        devices.delete('cut');
        versions.delete('cut');
      }
      await gone;
    }
  });
});

describe('telemetry', () => {
  let client: MqttClient;
  beforeEach(async () => {
    register('sensor', { type: 'authority' });
    client = await connect('sensor', await issueCertificate(ca, ['sensor'], true));
  });
  afterEach(() => client.endAsync(true));

  it('is acknowledged only after Pub/Sub has taken it over', async () => {
    let release = (): void => {};
    takeOver = () => new Promise((resolve) => (release = resolve));
    let acknowledged = false;
    const done = client.publishAsync('devices/sensor/telemetry/room', 'hot', { qos: 1 }).then(() => {
      acknowledged = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(acknowledged).toBe(false);
    release();
    await done;
    expect(published.map(({ device, topic, payload }) => [device, topic, payload.toString()])).toEqual([
      ['sensor', 'devices/sensor/telemetry/room', 'hot'],
    ]);
  });

  it('is never acknowledged when Pub/Sub fails: the device is cut off and sends it again', async () => {
    takeOver = async () => {
      throw new Error('unavailable');
    };
    let acknowledged = false;
    client.publishAsync('devices/sensor/telemetry', '1', { qos: 1 }).then(
      () => (acknowledged = true),
      () => {},
    );
    await closed(client);
    expect(acknowledged).toBe(false);
  });

  it.each(['devices/other/telemetry', 'devices/sensor/commands', 'devices/sensor/telemetryX', '$SYS/x'])(
    'is refused on %s: the connection ends and nothing is handed over',
    async (topic) => {
      client.publish(topic, 'x', { qos: 1 });
      await closed(client);
      expect(published).toEqual([]);
    },
  );

  it('cannot be listened to by devices, nor the commands of another', async () => {
    const granted = async (filter: string): Promise<boolean> => {
      try {
        return (await client.subscribeAsync(filter, { qos: 1 })).every(({ qos }) => qos < 128);
      } catch {
        return false;
      }
    };
    expect(await granted('devices/sensor/commands/#')).toBe(true);
    expect(await granted('devices/sensor/config')).toBe(true);
    for (const filter of ['#', 'devices/#', 'devices/+/commands', 'devices/other/commands', 'devices/sensor/telemetry'])
      expect(await granted(filter)).toBe(false);
  });
});

describe('the desired state', () => {
  it('is told to a device that asks, and at each change; not twice, and not to who has not asked', async () => {
    const told: string[] = [];
    const hear = async (id: string): Promise<MqttClient> => {
      const client = await connect(id, await issueCertificate(ca, [id], true));
      client.on('message', (topic, payload) => told.push(`${id} ${topic} ${payload.toString()}`));
      return client;
    };
    register('asks', { type: 'authority' }, 'enabled', { level: 1 });
    register('does-not', { type: 'authority' }, 'enabled', { level: 1 });
    const client = await hear('asks');
    await hear('does-not');
    await client.subscribeAsync('devices/asks/config', { qos: 1 });
    const scans = (n: number) => new Promise((resolve) => setTimeout(resolve, n * 100 + 50));
    await scans(2);
    register('asks', { type: 'authority' }, 'enabled', { level: 2 });
    register('does-not', { type: 'authority' }, 'enabled', { level: 2 });
    await scans(3);
    expect(told).toEqual(['asks devices/asks/config {"level":1}', 'asks devices/asks/config {"level":2}']);
    expect(client.connected).toBe(true);
  });

  it('comes to devices as far apart as it was written, not at once to all that a scan has found', async () => {
    const ids = ['paced-1', 'paced-2', 'paced-3'];
    const heard: { id: string; at: number }[] = [];
    for (const id of ids) {
      register(id, { type: 'authority' }, 'enabled', { level: 1 });
      const client = await connect(id, await issueCertificate(ca, [id], true));
      client.on('message', (_, payload) => payload.includes('2') && heard.push({ id, at: performance.now() }));
      await client.subscribeAsync(`devices/${id}/config`, { qos: 1 });
    }
    await new Promise((resolve) => setTimeout(resolve, 250));
    const written = Date.now();
    for (const [n, id] of ids.toReversed().entries())
      register(id, { type: 'authority' }, 'enabled', { level: 2 }, written + 40 * n);
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(heard.map(({ id }) => id)).toEqual(ids.toReversed());
    expect((heard[2]?.at ?? 0) - (heard[0]?.at ?? 0)).toBeGreaterThan(60);
  });

  it.each(['goes', 'is not answered for'])(
    'comes to the others where one %s while a scan is under way',
    async (how) => {
      const ids = ['before', 'between', 'after'].map((name) => `${name}-${how.length}`);
      const heard: string[] = [];
      const connected: MqttClient[] = [];
      for (const id of ids) {
        register(id, { type: 'authority' }, 'enabled', { level: 1 });
        const client = await connect(id, await issueCertificate(ca, [id], true));
        client.on('message', (_, payload) => payload.includes('2') && heard.push(id));
        await client.subscribeAsync(`devices/${id}/config`, { qos: 1 });
        connected.push(client);
      }
      await new Promise((resolve) => setTimeout(resolve, 250));
      let times = 0;
      asked = async (id) => {
        if (id !== ids[1] || times++ > 0) return;
        if (how !== 'goes') throw new Error('the registry does not answer');
        await connected[1]?.endAsync(true);
        await new Promise((resolve) => setTimeout(resolve, 50));
      };
      for (const id of ids) register(id, { type: 'authority' }, 'enabled', { level: 2 });
      await new Promise((resolve) => setTimeout(resolve, 600));
      expect(times).toBeGreaterThan(0);
      expect(heard.toSorted()).toEqual(ids.filter((_, n) => how !== 'goes' || n !== 1).toSorted());
    },
  );
});

it('says that it drains before it closes', async () => {
  const status = (): Promise<number | undefined> =>
    new Promise((resolve) =>
      http.get({ port: broker.healthPort, path: '/healthz', agent: false }, ({ statusCode }) => resolve(statusCode)),
    );
  expect(await status()).toBe(200);
  broker.drain();
  expect(await status()).toBe(503);
});
