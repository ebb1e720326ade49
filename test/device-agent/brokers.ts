/** Brokers of ours with a registry and a stream of the test's own, and the sample agent between them as a program. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Passing } from '../../activities/providers/telemetry.ts';
import { type Broker, startBroker } from '../../broker/broker.ts';
import type { Version } from '../../broker/registry.ts';
import type { AgentsFile, DeviceEvent } from '../../client/device-agent/run.ts';
import { issueCertificate, type KeyPair } from '../../emulators/certificates.ts';
import type { DeviceEndpoint } from '../../model/device-endpoint.ts';
import { signRedirect } from '../../model/device-redirect.ts';
import type { RegisteredDevice } from '../../model/registered-device.ts';
import { current, next } from './keys.ts';

/** A broker with a registry and a telemetry stream of the test's own. */
export class Cloud {
  readonly #devices = new Map<string, RegisteredDevice>();
  readonly #versions = new Map<string, Version>();
  /** Keys in the order in which they came, each time. */
  readonly came: string[] = [];
  readonly events: Record<string, unknown>[] = [];
  /** What a pump would see. */
  readonly passing: Passing[] = [];
  readonly #broker: Broker;
  readonly endpoint: DeviceEndpoint;

  static async start(host: string, ca: KeyPair): Promise<Cloud> {
    const server = await issueCertificate(ca, [host]);
    const settings = { server, deviceAuthority: ca.cert, host: '127.0.0.1', mqttPort: 0, healthPort: 0 };
    const made: { cloud?: Cloud } = {};
    const broker = await startBroker(
      { ...settings, registryScanMs: 100 },
      {
        find: async (id) => made.cloud?.find(id),
        versions: async () => new Map(made.cloud?.versions()),
        register: async () => undefined,
      },
      {
        publish: async ({ payload }) => made.cloud?.hear(payload),
        pending: () => 0,
        close: async () => {},
      },
    );
    made.cloud = new Cloud(broker, host, ca);
    return made.cloud;
  }

  private constructor(broker: Broker, host: string, ca: KeyPair) {
    this.#broker = broker;
    const { mqttPort: port } = broker;
    this.endpoint = { dialect: 'gcp', host, port, address: '127.0.0.1', authority: { pem: ca.cert } };
  }

  find = (id: string) => this.#devices.get(id);
  versions = () => this.#versions;
  hear(body: Buffer): void {
    const message: Record<string, unknown> = JSON.parse(body.toString());
    const [device = ''] = String(message.key).split('/');
    this.passing.push({ device, at: Date.now(), body });
    this.came.push(String(message.key));
    if (message.event !== undefined) this.events.push(message);
  }

  /** Trusts the test's authority, or the certificates of these thumbprints alone. */
  register(id: string, redirect?: string, more: { claim?: string; thumbprints?: string[] } = {}): void {
    const { claim, thumbprints } = more;
    const desired = { ...(redirect !== undefined && { redirect }), ...(claim !== undefined && { claim }) };
    const authentication = thumbprints ? { type: 'thumbprint' as const, thumbprints } : { type: 'authority' as const };
    this.#devices.set(id, { v: 1, id, status: 'enabled', authentication, attributes: {}, desired });
    const generation = String(Number(this.#versions.get(id)?.generation ?? 0) + 1);
    this.#versions.set(id, { generation, at: Date.now() });
  }

  close = () => this.#broker.close();
}

/** Writes what a program needs to be this device. */
export async function madeDevice(
  { folder, ca, old, target }: { folder: string; ca: KeyPair; old: Cloud; target: Cloud },
  device: string,
  times: Partial<NonNullable<AgentsFile['times']>> = {},
): Promise<string> {
  const file = (...names: string[]): string => join(folder, ...names);
  const pair = await issueCertificate(ca, [device], true);
  mkdirSync(file(device));
  writeFileSync(file(device, 'cert.pem'), pair.cert);
  writeFileSync(file(device, 'key.pem'), pair.key);
  const agents: AgentsFile = {
    agents: [
      {
        device,
        certificateFile: file(device, 'cert.pem'),
        keyFile: file(device, 'key.pem'),
        stateFile: file(device, 'state.json'),
        outboxFile: file(device, 'outbox'),
      },
    ],
    estate: 'devices',
    pins: [current.pin, next.pin],
    suffixes: ['.broker.internal'],
    authoritiesFile: file('ca.pem'),
    endpoint: old.endpoint,
    everyMs: 100,
    startsPerSecond: 10,
    times: {
      connectMs: 3000,
      acknowledgeMs: 3000,
      trialMs: 10_000,
      returnMs: 500,
      retryMs: 100,
      drainMs: 500,
      ...times,
    },
  };
  writeFileSync(file(device, 'agents.json'), JSON.stringify(agents));
  old.register(device);
  target.register(device);
  return file(device, 'agents.json');
}

/** Runs a device until `end` resolves; its events. */
export async function run(
  program: string,
  args: string[],
  end: (events: DeviceEvent[]) => Promise<void>,
): Promise<DeviceEvent[]> {
  const path = join(import.meta.dirname, '../..', program);
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', path, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  const events: DeviceEvent[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => events.push(JSON.parse(line)));
  await Promise.race([end(events), exited]);
  child.kill('SIGTERM');
  await exited;
  return events;
}

export const redirect = (device: string, sequence: number, endpoint: DeviceEndpoint, certificate?: string): string =>
  signRedirect({
    redirect: {
      ...{ v: 1 as const, estate: 'devices', audience: { device }, sequence, endpoint },
      ...(certificate !== undefined && { certificate }),
    },
    key: current.key,
  });
