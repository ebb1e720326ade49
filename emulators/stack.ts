/** Everything that the local mode runs: Temporal, the local clouds, the gateway, the worker. Started together, stopped in order. */
import { execFile } from 'node:child_process';
import { globSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import type { WorkerSettings } from '../workers/settings.ts';
import { authority } from './certificates.ts';
import { Child } from './child.ts';
import { type CloudName, type Clouds, cloudNames, nameServers, programSettings, startClouds } from './clouds.ts';
import { accounts, baseEnvironment, localCredentials } from './environment.ts';
import { checkPorts, defaultBase, type Ports, portsFrom, portsPerCloud } from './ports.ts';
import { startOf } from './process-identity.ts';
import { type RedirectKeys, redirectKeys } from './redirect-keys.ts';
import { dropRunFile, type RunFile, writeRunFile } from './run-file.ts';
import { temporalServer } from './temporal-server.ts';

export interface StackSettings {
  /** Root of the project. */
  root: string;
  /** The one folder that holds all state. */
  state: string;
  /** First port. */
  port: number;
  estateFile: string;
  clouds: readonly CloudName[];
  /** How long a long-running operation of a cloud takes, milliseconds. */
  operationMs: number;
  /** How long the clouds hold a deleted name, milliseconds. */
  nameHeldMs: number;
  /** Added to each call, milliseconds. */
  latencyMs: number;
  /** How far the clock of each cloud is ahead, milliseconds. */
  clockMs: Partial<Record<CloudName, number>>;
  /** How often workers look at a long-running operation, milliseconds. */
  pollMs: number;
  waits?: Partial<WorkerSettings['waits']>;
  /** Key file of the payload codec; without one histories are plain. */
  codecKeys?: string;
  /** Told about progress and about processes that die. */
  report: (text: string) => void;
}

function cloudsFrom(list: string | undefined): readonly CloudName[] {
  if (!list) return cloudNames;
  return list.split(',').map((name) => {
    const known = cloudNames.find((cloud) => cloud === name);
    if (!known) throw new Error(`MULTI_CLOUD_CLOUDS may hold ${cloudNames.join(', ')}, not "${name}"`);
    return known;
  });
}

/** `aws=1500,gcp=-500`: milliseconds. */
const clocksFrom = (list: string | undefined): StackSettings['clockMs'] =>
  Object.fromEntries(
    (list ? list.split(',') : []).map((one) => {
      const [, name, ms] = /^(\w+)=(-?\d+)$/.exec(one) ?? [];
      if (!cloudNames.some((cloud) => cloud === name))
        throw new Error(`MULTI_CLOUD_CLOCKS takes aws=1500,gcp=-500 (milliseconds), not "${one}"`);
      return [name, Number(ms)];
    }),
  );

/** What `npm start` and `multi-cloud local up` use; the environment may say otherwise. */
export function settingsFrom(environment: NodeJS.ProcessEnv, report: (text: string) => void): StackSettings {
  const root = resolve(import.meta.dirname, '..');
  const number = (name: string, otherwise: number): number => {
    const text = environment[name];
    if (text === undefined || text === '') return otherwise;
    const value = Number(text);
    if (!Number.isInteger(value) || value < 0) throw new Error(`${name} must be a whole number, not "${text}"`);
    return value;
  };
  return {
    root,
    state: resolve(root, environment.MULTI_CLOUD_STATE ?? '.local'),
    port: number('MULTI_CLOUD_PORT', defaultBase),
    estateFile: resolve(root, environment.MULTI_CLOUD_ESTATE_FILE ?? 'config/multi-cloud.yaml'),
    clouds: cloudsFrom(environment.MULTI_CLOUD_CLOUDS),
    operationMs: number('MULTI_CLOUD_OPERATION_MS', 1500),
    nameHeldMs: number('MULTI_CLOUD_NAME_HELD_MS', 600_000),
    latencyMs: number('MULTI_CLOUD_LATENCY_MS', 0),
    clockMs: clocksFrom(environment.MULTI_CLOUD_CLOCKS),
    pollMs: number('MULTI_CLOUD_POLL_MS', 250),
    ...(environment.MULTI_CLOUD_CODEC_KEYS && { codecKeys: resolve(environment.MULTI_CLOUD_CODEC_KEYS) }),
    report,
  };
}

/** Everything that the local mode runs, as one thing that goes up and down. */
export class LocalStack {
  readonly #settings: StackSettings;
  readonly #ports: Ports;
  readonly #children: Child[] = [];
  #ready = false;

  constructor(settings: StackSettings) {
    this.#settings = settings;
    this.#ports = portsFrom(settings.port);
  }

  /** Resolves when each part can be used. */
  async up(): Promise<RunFile> {
    const { root, state, port, report } = this.#settings;
    await checkPorts(port);
    mkdirSync(state, { recursive: true });
    try {
      const temporal = temporalServer({ root, state, ports: this.#ports, report, onSpawn: this.#save });
      this.#children.push(temporal);
      const [clouds] = await Promise.all([
        this.#timed('AWS, Azure and GCP', this.#clouds()),
        this.#timed('Temporal', temporal.start()),
        this.#timed('broker package', this.#packBroker()),
        authority(join(state, 'device-ca'), 'ca', 'multi-cloud device CA'),
        authority(join(state, 'device-ca'), 'claims', 'multi-cloud claim CA'),
      ]);
      const worker = this.#worker(clouds);
      this.#children.push(worker);
      await this.#timed('worker', worker.start());
      this.#ready = true;
      return this.#save();
    } catch (error) {
      await this.down();
      throw error;
    }
  }

  /** Workers first, so that they can say what they were doing; Temporal last. */
  async down(): Promise<void> {
    const order = (child: Child) => ({ worker: 0, temporal: 2 })[child.settings.name] ?? 1;
    for (const turn of [0, 1, 2])
      await Promise.all(this.#children.filter((child) => order(child) === turn).map((child) => child.stop()));
    this.#children.length = 0;
    dropRunFile(this.#settings.state);
  }

  /** Written whenever a process was started, so that even an unfinished start can be taken down by `local down`. */
  readonly #save = (): RunFile => {
    const run = this.#describe();
    writeRunFile(this.#settings.state, run);
    return run;
  };

  async #timed<T>(name: string, work: Promise<T>): Promise<T> {
    const started = performance.now();
    const result = await work;
    this.#settings.report(`${name} ready (${((performance.now() - started) / 1000).toFixed(1)} s)`);
    return result;
  }

  #clouds(): Promise<Clouds> {
    const { root, state, clouds, operationMs, nameHeldMs, latencyMs, clockMs, report } = this.#settings;
    return startClouds({
      ...{ root, state, portsPerCloud, operationMs, nameHeldMs, latencyMs, clockMs, report },
      clouds,
      port: this.#ports.clouds,
      onChild: (child) => this.#children.push(child),
      onSpawn: this.#save,
    });
  }

  /** The MQTT broker's artifact for GCP's `iot_core`; the same bytes as long as its sources are the same. */
  async #packBroker(): Promise<void> {
    const { root, state } = this.#settings;
    const madeAt = statSync(join(root, '.local/broker/broker.tar.gz'), { throwIfNoEntry: false })?.mtimeMs ?? 0;
    const sources = globSync(['{broker,model}/**/*.ts', 'package-lock.json'], { cwd: root });
    if (sources.every((file) => statSync(join(root, file)).mtimeMs < madeAt)) return;
    await promisify(execFile)(process.execPath, ['broker/pack.ts'], { cwd: root, env: baseEnvironment(state) });
  }

  #worker(clouds: Clouds): Child {
    const { root, state, estateFile, pollMs, waits, codecKeys, report } = this.#settings;
    const settings = {
      estateFile,
      temporal: { address: `127.0.0.1:${this.#ports.temporal}`, namespace: 'default' },
      sheets: join(root, 'config'),
      deviceCa: join(state, 'device-ca', 'ca.pem'),
      redirectKeyFile: this.#keys().keyFile,
      claimAuthority: {
        certificateFile: join(state, 'device-ca', 'claims.pem'),
        keyFile: join(state, 'device-ca', 'claims.key'),
      },
      brokerTarball: join(root, '.local/broker/broker.tar.gz'),
      pollMs,
      // The local clouds obey a change of rights within a second, and are looked at more often than it is polite elsewhere.
      waits: { fenceMs: 1000, followMs: 2000, ...waits },
      ...(codecKeys ? { codecKeys } : {}),
      ui: `http://127.0.0.1:${this.#ports.ui}`,
    };
    writeFileSync(this.#settingsFile(), `${JSON.stringify(settings, null, 2)}\n`);
    const program = programSettings({ name: 'worker', main: 'workers/main.ts', root, state, report });
    return new Child({
      ...program,
      args: ['--import', './workers/network.ts', ...program.args],
      env: {
        ...baseEnvironment(state),
        ...localCredentials(state),
        MULTI_CLOUD_NETWORK: clouds.network,
        MULTI_CLOUD_SETTINGS: this.#settingsFile(),
      },
      onSpawn: this.#save,
    });
  }

  #keys(): RedirectKeys {
    return redirectKeys(join(this.#settings.state, 'redirect-keys'));
  }

  #settingsFile(): string {
    return join(this.#settings.state, 'worker.json');
  }

  #describe(): RunFile {
    const { state, estateFile, codecKeys } = this.#settings;
    const ports = this.#ports;
    const identities = this.#children.flatMap((child) =>
      child.identity ? [[child.settings.name, child.identity]] : [],
    );
    return {
      supervisor: { pid: process.pid, started: startOf(process.pid) ?? '' },
      children: Object.fromEntries(identities),
      ready: this.#ready,
      temporal: {
        address: `127.0.0.1:${ports.temporal}`,
        namespace: 'default',
        ui: `http://127.0.0.1:${ports.ui}`,
        metrics: `http://127.0.0.1:${ports.temporalMetrics}/metrics`,
      },
      network: join(state, 'network.json'),
      control: `http://127.0.0.1:${ports.clouds}`,
      settings: this.#settingsFile(),
      ...(codecKeys ? { codecKeys } : {}),
      dns: nameServers({ port: ports.clouds, portsPerCloud, clouds: this.#settings.clouds }),
      credentials: localCredentials(state),
      accounts: { ...accounts },
      redirectPins: this.#keys().pins,
      estateFile,
      logs: join(state, 'logs'),
    };
  }
}
