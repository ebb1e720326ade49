/**
 * What the mark of a copy cannot say where no checksum was known before its bytes: in which version the cloud has them. A
 * file for each such copy, in the records bucket of the copy's place; one that is missing costs another copy.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { ObjectStore } from '../providers/object-store.ts';
import type { Files } from './files.ts';

/** `of`: version of the original; `written`: what the cloud has answered to the write. */
const Receipt = z.object({ key: z.string(), of: z.string(), written: z.string() });

export class Receipts {
  readonly #files: Files;
  readonly #store: ObjectStore;

  constructor(files: Files, store: ObjectStore) {
    this.#files = files;
    this.#store = store;
  }

  async keep(receipt: z.infer<typeof Receipt>): Promise<void> {
    await this.#files.write(this.#name(receipt.key), Buffer.from(JSON.stringify(receipt)));
  }

  /** Whether what stands under the key in this version is what was written as a copy of that one. */
  async tells(key: string, version: string, of: string): Promise<boolean> {
    const bytes = await this.#files.read(this.#name(key));
    const receipt = bytes && Receipt.parse(JSON.parse(Buffer.from(bytes).toString()));
    return receipt?.of === of && this.#store.isAnswered(receipt.written, version);
  }

  #name(key: string): string {
    return `${createHash('sha256').update(`${this.#store.id}\n${key}`).digest('hex').slice(0, 32)}.json`;
  }
}
