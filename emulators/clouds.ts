/** Starts local clouds and the gateway before them, each with its folder and its ports. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { authority } from './certificates.ts';
import { Child, type ChildSettings } from './child.ts';
import { accounts, baseEnvironment } from './environment.ts';
import type { GatewaySettings } from './gateway/settings.ts';
import { dnsPort, type Listener, type LocalCloudSettings } from './local-cloud.ts';

export const cloudNames = ['aws', 'azure', 'gcp'] as const;
export type CloudName = (typeof cloudNames)[number];

export interface CloudsSettings {
  /** Root of the project. */
  root: string;
  /** Folder for all state. */
  state: string;
  clouds: readonly CloudName[];
  /** First of the ports; the gateway takes ten, each cloud `portsPerCloud`. */
  port: number;
  portsPerCloud: number;
  operationMs: number;
  nameHeldMs: number;
  latencyMs: number;
  /** How far the clock of each is ahead, milliseconds. */
  clockMs?: Partial<Record<CloudName, number>> | undefined;
  report: (text: string) => void;
  /** Told of each process before it is started. */
  onChild?: ((child: Child) => void) | undefined;
  /** Told each time one of the processes was started. */
  onSpawn?: (() => void) | undefined;
}

export interface Clouds {
  children: Child[];
  /** The connection map file that makes a process see these clouds. */
  network: string;
  /** Address of the gateway's control API. */
  control: string;
}

const gatewayPorts = 10;

/** Where each cloud's ports begin. */
const cloudPort = ({ port, portsPerCloud }: Pick<CloudsSettings, 'port' | 'portsPerCloud'>, name: CloudName): number =>
  port + gatewayPorts + cloudNames.indexOf(name) * portsPerCloud;

/** Addresses of the clouds' name servers. */
export const nameServers = (
  settings: Pick<CloudsSettings, 'port' | 'portsPerCloud' | 'clouds'>,
): Record<string, string> =>
  Object.fromEntries(
    settings.clouds.map((name) => {
      const port = dnsPort({ port: cloudPort(settings, name), ports: settings.portsPerCloud });
      return [name, `127.0.0.1:${port}`];
    }),
  );

/** All clouds start at once; the gateway after them, since it must know who answers for which host. */
export async function startClouds(settings: CloudsSettings): Promise<Clouds> {
  const { root, state, port, portsPerCloud, report } = settings;
  const certificates = join(state, 'certificates');
  mkdirSync(state, { recursive: true });
  await authority(certificates);
  const children: Child[] = [];
  const program = (name: string, main: string, env: Record<string, string>): Child => {
    const child = new Child({
      ...programSettings({ name, main, root, state, report }),
      env: { ...baseEnvironment(state), ...env },
      onSpawn: settings.onSpawn,
    });
    children.push(child);
    settings.onChild?.(child);
    return child;
  };
  try {
    const answers = settings.clouds.map(async (name) => {
      const cloud: LocalCloudSettings = {
        state: join(state, name),
        port: cloudPort(settings, name),
        ports: portsPerCloud,
        certificates,
        operationMs: settings.operationMs,
        nameHeldMs: settings.nameHeldMs,
        account: accounts[name],
        clockMs: settings.clockMs?.[name] ?? 0,
      };
      mkdirSync(cloud.state, { recursive: true });
      const child = program(name, `emulators/${name}/main.ts`, { LOCAL_CLOUD: JSON.stringify(cloud) });
      return [name, JSON.parse(await child.start()) as Listener[]] as const;
    });
    const outcomes = await Promise.allSettled(answers);
    const failed = outcomes.find((outcome) => outcome.status === 'rejected');
    if (failed) throw failed.reason;
    const gateway: GatewaySettings = {
      port,
      certificates,
      network: join(state, 'network.json'),
      state,
      latencyMs: settings.latencyMs,
      clouds: Object.fromEntries(await Promise.all(answers)),
    };
    const child = program('gateway', 'emulators/gateway/main.ts', { GATEWAY: JSON.stringify(gateway) });
    const { control } = JSON.parse(await child.start()) as { control: string };
    return { children, network: gateway.network, control };
  } catch (error) {
    await Promise.all(children.map((child) => child.stop()));
    throw error;
  }
}

/** What every program of ours has in common. */
export function programSettings(of: {
  name: string;
  main: string;
  root: string;
  state: string;
  report: (text: string) => void;
}): Omit<ChildSettings, 'env'> {
  return {
    name: of.name,
    command: process.execPath,
    args: ['--disable-warning=ExperimentalWarning', of.main],
    cwd: of.root,
    log: join(of.state, 'logs', `${of.name}.log`),
    readyMs: 60_000,
    graceMs: 5000,
    report: of.report,
  };
}
