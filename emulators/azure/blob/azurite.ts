/** Azurite as the store behind the blob front: its process, its accounts, and the keys that only the front has. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHmac, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import {
  AccountSASPermissions,
  AccountSASResourceTypes,
  AccountSASServices,
  generateAccountSASQueryParameters,
  StorageSharedKeyCredential,
} from '@azure/storage-blob';
import type { BlobStore } from '../arm/storage.ts';

export interface AzuriteSettings {
  /** Folder of its own. */
  state: string;
  port: number;
  /** Accounts that exist already. */
  accounts: readonly string[];
}

const day = 24 * 3_600_000;

export class Azurite implements BlobStore {
  readonly port: number;
  readonly #master: string;
  readonly #process: ChildProcess;
  readonly #signatures = new Map<string, { query: string; until: number }>();

  constructor({ state, port, accounts }: AzuriteSettings) {
    mkdirSync(state, { recursive: true });
    const file = join(state, 'master.key');
    if (!existsSync(file)) writeFileSync(file, randomBytes(32).toString('hex'), { mode: 0o600 });
    this.#master = readFileSync(file, 'utf8');
    this.port = port;
    // Azurite wants one account at least; nobody can reach this one.
    const known = ['unused', ...accounts].map((name) => this.#line(name)).join(';');
    const args = ['--blobHost', '127.0.0.1', '--blobPort', String(port), '-l', join(state, 'blobs')];
    const flags = ['--skipApiVersionCheck', '--disableTelemetry', '--silent'];
    this.#process = spawn(process.execPath, [join(import.meta.dirname, 'azurite-host.ts'), ...args, ...flags], {
      env: { ...process.env, AZURITE_ACCOUNTS: known },
      stdio: ['pipe', 'ignore', 'inherit'],
    });
    this.#process.once('exit', (code) => {
      process.stderr.write(`Azurite ended (${code})\n`);
      process.exit(1);
    });
  }

  async ready(): Promise<void> {
    await this.#known('unused');
  }

  stop(): void {
    this.#process.removeAllListeners('exit');
    this.#process.kill('SIGTERM');
  }

  /** As `listKeys` shows them; no client can use them here. */
  keys = (account: string): string[] => [this.#key(account), this.#key(`${account}/2`)];

  async addAccount(name: string): Promise<void> {
    this.#process.stdin?.write(`${this.#line(name)}\n`);
    await this.#known(name);
  }

  async addContainer(account: string, container: string): Promise<void> {
    await this.#call('PUT', account, container, [201, 409]);
  }

  async removeContainer(account: string, container: string): Promise<void> {
    await this.#call('DELETE', account, container, [202, 404]);
  }

  /** A signature for everything in the account, to be added to a request's query. */
  signature(account: string): string {
    const known = this.#signatures.get(account);
    if (known && known.until > Date.now()) return known.query;
    const query = generateAccountSASQueryParameters(
      {
        expiresOn: new Date(Date.now() + 2 * day),
        permissions: AccountSASPermissions.parse('rwdxylacupitf'),
        services: AccountSASServices.parse('b').toString(),
        resourceTypes: AccountSASResourceTypes.parse('sco').toString(),
      },
      new StorageSharedKeyCredential(account, this.#key(account)),
    ).toString();
    this.#signatures.set(account, { query, until: Date.now() + day });
    return query;
  }

  #key = (account: string): string => createHmac('sha256', this.#master).update(account).digest('base64');
  #line = (account: string): string => `${account}:${this.#key(account)}`;

  async #call(method: string, account: string, container: string, expected: readonly number[]): Promise<void> {
    const url = `http://127.0.0.1:${this.port}/${account}/${container}?restype=container&${this.signature(account)}`;
    const answer = await fetch(url, { method });
    if (!expected.includes(answer.status))
      throw new Error(`Azurite: ${method} ${account}/${container}: ${answer.status} ${await answer.text()}`);
    await answer.body?.cancel();
  }

  async #known(account: string): Promise<void> {
    const url = `http://127.0.0.1:${this.port}/${account}?comp=list&maxresults=1&${this.signature(account)}`;
    for (const deadline = Date.now() + 30_000; Date.now() < deadline; await setTimeout(25)) {
      const answer = await fetch(url).catch(() => undefined);
      await answer?.body?.cancel();
      if (answer?.ok) return;
    }
    throw new Error(`Azurite does not know the account ${account}`);
  }
}
