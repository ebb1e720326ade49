/**
 * One instance as a process: does what the start-up script of its template would do on a real machine. A machine whose
 * metadata names a program (`program-source`, `program-sha256`, `program-main`) fetches that object with the token of its
 * service account, checks its SHA-256, unpacks it and keeps it running. Any other instance is a record only.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, openSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { join } from 'node:path';
import { extract } from 'tar';

export interface MachineSettings {
  /** Folder of its own, removed when it is shut down. */
  folder: string;
  name: string;
  zone: string;
  project: string;
  /** Items of the instance's metadata. */
  attributes: Record<string, string>;
  serviceAccount: string;
  /** Access token of that service account, as the metadata server hands it out. */
  token(): { access_token: string; expires_in: number };
  /** 127.0.0.1 port that serves a host of this cloud over plain HTTP. */
  portOf(host: string): number;
  /** File for `MULTI_CLOUD_NETWORK`: routes this cloud's hosts to their TLS front. */
  network: string;
  ports: { metadata: number; mqtt: number; health: number };
  log(message: string): void;
}

const restartMs = 1000;
const root = join(import.meta.dirname, '../..');

export class Machine {
  readonly ports: MachineSettings['ports'];
  readonly #settings: MachineSettings;
  readonly #metadata: http.Server;
  #child: ChildProcess | undefined;
  #stopped = false;
  #restart: NodeJS.Timeout | undefined;

  constructor(settings: MachineSettings) {
    this.#settings = settings;
    this.ports = settings.ports;
    this.#metadata = http.createServer((request, response) => {
      const body = request.headers['metadata-flavor'] === 'Google' ? this.#answer(request.url ?? '') : undefined;
      response.writeHead(body === undefined ? 404 : 200, { 'metadata-flavor': 'Google', 'content-type': 'text/plain' });
      response.end(body);
    });
  }

  async start(): Promise<void> {
    const { folder, ports } = this.#settings;
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    await new Promise<void>((resolve, reject) => {
      this.#metadata.once('error', reject);
      this.#metadata.listen(ports.metadata, '127.0.0.1', resolve);
    });
    await this.#boot();
  }

  /** Ends it as a machine is shut down: SIGTERM, and SIGKILL for what does not listen. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#restart);
    const child = this.#child;
    if (child && child.exitCode === null && child.signalCode === null) {
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), 5000);
      await ended;
      clearTimeout(timer);
    }
    this.#metadata.closeAllConnections();
    await new Promise((resolve) => this.#metadata.close(resolve));
    rmSync(this.#settings.folder, { recursive: true, force: true });
  }

  /** A start-up script that fails is tried again, as systemd does. */
  async #boot(): Promise<void> {
    if (this.#stopped) return;
    try {
      await this.#install();
      if (this.#stopped) return;
      this.#run();
    } catch (error) {
      this.#settings.log(`start-up failed: ${error instanceof Error ? error.message : 'unknown'}`);
      this.#again();
    }
  }

  #again(): void {
    if (this.#stopped) return;
    this.#restart = setTimeout(() => void this.#boot(), restartMs);
  }

  async #install(): Promise<void> {
    const { attributes, folder } = this.#settings;
    const [, bucket = '', object = ''] = /^gs:\/\/([^/]+)\/(.+)$/.exec(attributes['program-source'] ?? '') ?? [];
    const bytes = await this.#download(bucket, object);
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    if (sha256 !== attributes['program-sha256']) throw new Error(`the SHA-256 of ${object} is not the expected one`);
    const file = join(folder, 'program.tar.gz');
    writeFileSync(file, bytes);
    await extract({ file, cwd: folder });
  }

  #download(bucket: string, object: string): Promise<Buffer> {
    const host = 'storage.googleapis.com';
    const path = `/storage/v1/b/${encodeURIComponent(bucket)}/o/${encodeURIComponent(object)}?alt=media`;
    const headers = { host, authorization: `Bearer ${this.#settings.token().access_token}` };
    return new Promise((resolve, reject) => {
      const request = http.get({ host: '127.0.0.1', port: this.#settings.portOf(host), path, headers }, (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () =>
          response.statusCode === 200
            ? resolve(Buffer.concat(chunks))
            : reject(new Error(`reading ${object} was answered with ${response.statusCode}`)),
        );
      });
      request.on('error', reject);
    });
  }

  #run(): void {
    const { folder, attributes, ports, network, name } = this.#settings;
    const output = openSync(join(folder, 'program.log'), 'a');
    const preloads = ['workers/network.ts', 'emulators/gcp/compute-guest.ts'];
    const main = join(folder, attributes['program-main'] ?? '');
    const child = spawn(process.execPath, [...preloads.flatMap((file) => ['--import', join(root, file)]), main], {
      cwd: folder,
      // The machine's whole environment: nothing of the user's shell gets in.
      env: {
        PATH: process.env.PATH,
        HOME: folder,
        NODE_NO_WARNINGS: '1',
        GCE_METADATA_HOST: `127.0.0.1:${ports.metadata}`,
        MULTI_CLOUD_NETWORK: network,
        BROKER_HOST: '127.0.0.1',
        BROKER_MQTT_PORT: String(ports.mqtt),
        BROKER_HEALTH_PORT: String(ports.health),
        BROKER_DRAIN_MS: '200',
      },
      stdio: ['pipe', output, output],
    });
    this.#child = child;
    child.on('error', (error) => this.#settings.log(`${name}: ${error.message}`));
    child.on('exit', () => this.#again());
  }

  /** The part of the metadata server's tree that programs read: https://cloud.google.com/compute/docs/metadata/predefined-metadata-keys. */
  #answer(url: string): string | undefined {
    const { attributes, project, name, zone, serviceAccount, token } = this.#settings;
    const path = new URL(url, 'http://metadata').pathname.replace('/computeMetadata/v1/', '').replace(/\/$/, '');
    const attribute = /^instance\/attributes\/(.+)$/.exec(path)?.[1];
    if (attribute !== undefined) return attributes[attribute];
    const account = /^instance\/service-accounts\/(?:default|[^/]+@[^/]+)\/(email|token|scopes)$/.exec(path)?.[1];
    if (account === 'email') return serviceAccount;
    if (account === 'scopes') return 'https://www.googleapis.com/auth/cloud-platform';
    if (account === 'token') return JSON.stringify({ ...token(), token_type: 'Bearer' });
    const fixed: Record<string, string> = {
      '/computeMetadata/v1': 'instance/\nproject/\n',
      instance: 'attributes/\nname\nservice-accounts/\nzone\n',
      'instance/name': name,
      'instance/zone': `projects/1/zones/${zone}`,
      'project/project-id': project,
      'universe/universe-domain': 'googleapis.com',
    };
    return fixed[path];
  }
}
