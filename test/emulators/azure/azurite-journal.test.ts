/** What Azurite has answered survives a kill, though its own database is written now and then only. */
import { appendFileSync, existsSync, mkdtempSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type LokiModule, noteChanges, recover } from '../../../emulators/azure/blob/azurite-journal.ts';

interface Document {
  name: string;
  size?: number;
}
interface Blobs {
  insert(document: Document): Document;
  update(document: Document): void;
  remove(document: Document): void;
  findOne(filter: Document): Document | null;
  findAndRemove(filter: Partial<Document>): void;
}
interface Loki {
  addCollection(name: string, options: { indices: string[] }): Blobs;
  getCollection(name: string): Blobs | null;
  loadDatabase(options: object, done: (error?: Error) => void): void;
  saveDatabase(done: (error?: Error) => void): void;
}

const root = join(import.meta.dirname, '../../..');
const loki: LokiModule & (new (file: string) => Loki) = createRequire(join(root, 'node_modules/azurite/package.json'))(
  'lokijs',
);
noteChanges(loki);

const folder = mkdtempSync(join(tmpdir(), 'azurite-'));
const file = join(folder, '__azurite_db_blob__.json');
const save = (database: Loki): Promise<void> =>
  new Promise((resolve, reject) => database.saveDatabase((error) => (error ? reject(error) : resolve())));
const open = async (): Promise<Blobs> => {
  const database = new loki(file);
  await new Promise<void>((resolve, reject) =>
    database.loadDatabase({}, (error) => (error instanceof Error ? reject(error) : resolve())),
  );
  return database.getCollection('blobs') as Blobs;
};
const plain = (document: Document | null): Document | null =>
  document && { name: document.name, size: document.size ?? 0 };

it('has every change after a kill, finds it by its indexes, and goes on', async () => {
  const database = new loki(file);
  const blobs = database.addCollection('blobs', { indices: ['name'] });
  const kept = blobs.insert({ name: 'kept', size: 1 });
  const leaving = blobs.insert({ name: 'leaving' });
  blobs.insert({ name: 'swept' });
  await save(database);
  expect(existsSync(`${file}.journal`)).toBe(false);
  blobs.update(Object.assign(kept, { size: 2 }));
  blobs.remove(leaving);
  blobs.findAndRemove({ name: 'swept' });
  blobs.insert({ name: 'new', size: 3 });
  appendFileSync(`${file}.journal`, '{"collection":"blobs","put":{"$lo');

  recover(folder);
  const after = await open();
  expect(plain(after.findOne({ name: 'kept' }))).toEqual({ name: 'kept', size: 2 });
  expect(plain(after.findOne({ name: 'new' }))).toEqual({ name: 'new', size: 3 });
  expect(after.findOne({ name: 'leaving' })).toBeNull();
  expect(after.findOne({ name: 'swept' })).toBeNull();

  after.insert({ name: 'later', size: 4 });
  recover(folder);
  expect(plain((await open()).findOne({ name: 'later' }))).toEqual({ name: 'later', size: 4 });
});

it('writes all that it has only where the journal has outgrown it', async () => {
  const database = new loki(join(folder, '__azurite_db_other__.json'));
  const journal = join(folder, '__azurite_db_other__.json.journal');
  const blobs = database.addCollection('blobs', { indices: ['name'] });
  await save(database);
  blobs.insert({ name: 'small' });
  await save(database);
  expect(existsSync(journal)).toBe(true);
  for (let count = 0; count < 50; count++) blobs.insert({ name: 'large'.repeat(20_000) });
  await save(database);
  expect(existsSync(journal)).toBe(false);
});
