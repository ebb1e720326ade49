/** The registries of all hubs, opened when first asked for. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { IotHub } from './entities.ts';
import { Registry } from './registry.ts';

export class Hubs {
  readonly #folder: string;
  readonly #registries = new Map<string, Registry>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  registry({ id }: Pick<IotHub, 'id'>): Registry {
    let registry = this.#registries.get(id);
    if (!registry) {
      registry = new Registry(join(this.#folder, id, 'devices.jsonl'));
      this.#registries.set(id, registry);
    }
    return registry;
  }

  /** Of a deleted hub. */
  drop(id: string): void {
    this.#registries.get(id)?.drop();
    this.#registries.delete(id);
    rmSync(join(this.#folder, id), { recursive: true, force: true });
  }

  close(): void {
    for (const registry of this.#registries.values()) registry.close();
    this.#registries.clear();
  }
}
