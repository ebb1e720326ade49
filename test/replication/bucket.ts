import type { BookFiles } from '../../activities/replication/book.ts';
import { CloudError } from '../../model/errors.ts';

/** Files in memory; `breaks` is asked before each write. */
export class Bucket implements BookFiles {
  readonly files = new Map<string, Uint8Array>();
  breaks: (name: string) => boolean = () => false;

  list = async (prefix: string) => [...this.files.keys()].filter((name) => name.startsWith(prefix)).sort();
  read = async (name: string) => this.files.get(name);
  async create(name: string, bytes: Uint8Array) {
    if (this.breaks(name)) throw new Error('the worker is gone');
    if (this.files.has(name))
      throw new CloudError({ kind: 'PreconditionFailed', provider: 'aws', operation: 'write', resource: name }, '');
    this.files.set(name, bytes);
  }
  async remove(prefix: string, before: string) {
    for (const name of await this.list(prefix)) if (name < before) this.files.delete(name);
  }
}
