/** The providers of the estate file, made when first used; one whose credentials were refused is made anew from fresh values. */
import { readFileSync } from 'node:fs';
import { CloudError } from '../../model/errors.ts';
import type { Estate } from '../../model/estate.ts';
import { parseEstateFile } from '../../model/estate-file.ts';
import type { Provider, ProviderSettings } from './driver.ts';
import { providers } from './index.ts';

export interface PoolSettings {
  estateFile: string;
  allowedNames?: readonly string[] | undefined;
  deviceCa?: string | undefined;
  brokerTarball?: string | undefined;
  pollMs: number;
  callDeadlineMs: number;
  /** Where `${NAME}` is looked up; read again whenever credentials are no longer valid. */
  secrets: () => Readonly<Record<string, string | undefined>>;
}

type ProviderEntry = Estate['providers'][number];

/** What activities need of it. */
export type Providers = Pick<ProviderPool, 'get' | 'account' | 'forget'>;

export class ProviderPool {
  readonly #settings: PoolSettings;
  readonly #made = new Map<string, Promise<Provider>>();
  readonly #accounts = new Map<string, Promise<string>>();

  constructor(settings: PoolSettings) {
    this.#settings = settings;
  }

  /** Names of the enabled providers. */
  names(): string[] {
    return this.#entries()
      .filter(({ enabled }) => enabled)
      .map(({ name }) => name);
  }

  get(name: string): Promise<Provider> {
    const made = this.#made.get(name) ?? this.#make(name);
    this.#made.set(name, made);
    made.catch(() => this.#made.delete(name)); // a missing credential may be there the next time
    return made;
  }

  /**
   * The account that the credentials of a provider belong to, asked of the cloud once for each set of credentials. Refused
   * where the estate file says another one.
   */
  account(name: string, signal: AbortSignal): Promise<string> {
    const asked = this.#accounts.get(name) ?? this.#ask(name, signal);
    this.#accounts.set(name, asked);
    asked.catch(() => this.#accounts.delete(name));
    return asked;
  }

  async #ask(name: string, signal: AbortSignal): Promise<string> {
    const account = await (await this.get(name)).account(signal);
    const entry = this.#entries().find((candidate) => candidate.name === name);
    for (const field of ['account', 'subscription', 'project'] as const)
      if (entry?.[field] !== undefined && entry[field] !== account)
        throw new CloudError(
          { kind: 'InvalidInput', provider: name, operation: 'account', resource: `providers.${name}.${field}` },
          `the estate file says ${entry[field]}, the credentials belong to ${account}; nothing was changed`,
        );
    return account;
  }

  async #make(name: string): Promise<Provider> {
    const entry = this.#entries().find((candidate) => candidate.name === name);
    if (!entry)
      throw new CloudError(
        { kind: 'InvalidInput', provider: name, operation: 'connect', resource: name },
        'the estate file of this worker has no such provider',
      );
    return providers[entry.type](this.#providerSettings(entry));
  }

  /** Makes a provider anew when it is next asked for: its credentials are no longer valid. Calls under way may end. */
  async forget(name: string, stale: Provider): Promise<void> {
    const made = this.#made.get(name);
    if ((await made?.catch(() => undefined)) !== stale || this.#made.get(name) !== made) return; // another call was faster
    this.#made.delete(name);
    this.#accounts.delete(name);
    setTimeout(() => void stale.close(), 10 * this.#settings.callDeadlineMs).unref();
  }

  async close(): Promise<void> {
    await Promise.all([...this.#made.values()].map(async (made) => (await made).close()));
  }

  #entries(): ProviderEntry[] {
    const { estateFile, allowedNames } = this.#settings;
    const parsed = parseEstateFile(readFileSync(estateFile, 'utf8'), allowedNames && { allowedNames });
    if (!parsed.ok) throw new Error(`${estateFile}: ${parsed.errors.map(({ message }) => message).join('; ')}`);
    return parsed.estate.providers;
  }

  #providerSettings(entry: ProviderEntry): ProviderSettings {
    const { deviceCa, brokerTarball, pollMs, callDeadlineMs } = this.#settings;
    const { name, region, credentials } = entry;
    const account = entry.account ?? entry.subscription ?? entry.project;
    return {
      name,
      region,
      account,
      credentials: credentials && this.#resolve(name, credentials),
      deviceCa,
      brokerTarball,
      pollMs,
      callDeadlineMs,
    };
  }

  /** `${NAME}` becomes the value of that variable, here and nowhere earlier: history holds the placeholder. */
  #resolve(provider: string, credentials: Readonly<Record<string, string>>): Record<string, string> {
    const secrets = this.#settings.secrets();
    return Object.fromEntries(
      Object.entries(credentials).map(([key, placeholder]) => {
        const variable = /^\$\{(\w+)\}$/.exec(placeholder)?.[1] ?? '';
        const value = secrets[variable];
        if (!value)
          throw new CloudError({
            kind: 'Unauthenticated',
            provider,
            operation: 'connect',
            resource: `providers.${provider}.credentials.${key}`,
            missing: `${variable} in the worker's secrets file or environment`,
          });
        return [key, value];
      }),
    );
  }
}
