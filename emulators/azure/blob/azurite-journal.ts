/**
 * Azurite keeps what it knows of blobs in memory and writes all of it every five seconds: a kill loses what was
 * answered since, and nothing is answered meanwhile, which takes seconds where there are tens of thousands of blobs. This
 * notes each change in a journal before it is answered, puts the journal into the snapshot before
 * Azurite starts, and has a snapshot written only where the journal has outgrown the last one. The content of blobs is in files of its own
 * and needs no help.
 */
import {
  appendFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';

const Document = z.looseObject({ $loki: z.number() });
const Line = z.union([
  z.object({ collection: z.string(), put: Document }),
  z.object({ collection: z.string(), remove: z.array(z.number()) }),
]);
type Line = z.infer<typeof Line>;
const Snapshot = z.looseObject({
  collections: z.array(z.looseObject({ name: z.string(), data: z.array(Document), maxId: z.number().default(0) })),
});

/** The parts of LokiJS, Azurite's database, whose calls are noted. */
interface Collection {
  name: string;
  idIndex: number[];
  ensureId(): void;
  ensureAllIndexes(force: boolean): void;
}
interface Database {
  filename: string;
  collections: Collection[];
}
type Method<This> = (this: This, ...args: never[]) => unknown;
export interface LokiModule {
  prototype: {
    addCollection: (this: Database, ...args: never[]) => Collection;
    loadJSONObject: (this: Database, ...args: never[]) => void;
    saveDatabaseInternal: (this: Database, callback?: (error?: unknown) => void) => void;
  };
  Collection: { prototype: Record<'insertOne' | 'update' | 'remove' | 'removeBatchByPositions', Method<Collection>> };
}

const journalOf = (database: string): string => `${database}.journal`;
/** What was in the journal when a snapshot was begun; gone once that is written. */
const savingOf = (database: string): string => `${database}.journal.saving`;

/** Less than this is read again in no time. */
const leastJournalBytes = 4 * 1024 * 1024;
const sizeOf = (file: string): number => statSync(file, { throwIfNoEntry: false })?.size ?? 0;

/** Puts into each snapshot of the folder what came after it. */
export function recover(folder: string): void {
  if (!existsSync(folder)) return;
  for (const name of readdirSync(folder))
    if (/^__azurite_db_\w+\.json$/.test(name)) recoverDatabase(join(folder, name));
}

function recoverDatabase(file: string): void {
  const lines = [savingOf(file), journalOf(file)].flatMap(linesIn);
  if (lines.length === 0) return;
  const snapshot = Snapshot.parse(JSON.parse(readFileSync(file, 'utf8')));
  for (const collection of snapshot.collections) {
    const documents = new Map(collection.data.map((document) => [document.$loki, document]));
    for (const line of lines) {
      if (line.collection !== collection.name) continue;
      if ('put' in line) documents.set(line.put.$loki, line.put);
      else for (const id of line.remove) documents.delete(id);
    }
    collection.data = [...documents.values()].toSorted((a, b) => a.$loki - b.$loki);
    collection.idIndex = collection.data.map(({ $loki }) => $loki);
    collection.maxId = Math.max(collection.maxId, ...collection.data.slice(-1).map(({ $loki }) => $loki));
  }
  writeFileSync(`${file}.new`, JSON.stringify(snapshot));
  renameSync(`${file}.new`, file);
  for (const journal of [savingOf(file), journalOf(file)]) rmSync(journal, { force: true });
}

/** A line that a kill has torn was never answered. */
function linesIn(journal: string): Line[] {
  if (!existsSync(journal)) return [];
  const complete = readFileSync(journal, 'utf8').split('\n').slice(0, -1);
  return complete.map((line) => Line.parse(JSON.parse(line)));
}

/** Makes every database of this process note its changes. */
export function noteChanges({ prototype: database, Collection: { prototype: collections } }: LokiModule): void {
  const files = new WeakMap<Collection, string>();
  const note = (collection: Collection, change: { put: unknown } | { remove: number[] }): void => {
    const file = files.get(collection);
    if (file) appendFileSync(journalOf(file), `${JSON.stringify({ collection: collection.name, ...change })}\n`);
  };

  const { addCollection, loadJSONObject, saveDatabaseInternal } = database;
  database.addCollection = function (...args) {
    const collection = Reflect.apply(addCollection, this, args);
    files.set(collection, this.filename);
    return collection;
  };
  // Indexes of a snapshot know nothing of what was put into it.
  database.loadJSONObject = function (...args) {
    Reflect.apply(loadJSONObject, this, args);
    for (const collection of this.collections) collection.ensureAllIndexes(true);
  };
  database.saveDatabaseInternal = function (callback) {
    const [journal, saving] = [journalOf(this.filename), savingOf(this.filename)];
    const outgrown = sizeOf(journal) + sizeOf(saving) > Math.max(leastJournalBytes, sizeOf(this.filename));
    if (existsSync(this.filename) && !outgrown) return callback?.();
    if (existsSync(journal)) {
      // One is left where the last snapshot could not be written.
      appendFileSync(saving, readFileSync(journal));
      rmSync(journal);
    }
    Reflect.apply(saveDatabaseInternal, this, [
      (error?: unknown) => {
        if (!error) rmSync(saving, { force: true });
        if (callback) callback(error);
        else if (error) throw error;
      },
    ]);
  };

  const { insertOne, update, remove, removeBatchByPositions } = collections;
  for (const [name, method] of Object.entries({ insertOne, update }))
    collections[name as 'insertOne' | 'update'] = function (...args) {
      const document = Reflect.apply(method, this, args);
      // `update` of a list calls itself for each of them and answers nothing.
      if (document) note(this, { put: document });
      return document;
    };
  collections.remove = function (...args) {
    const [document] = args as unknown[];
    const id = typeof document === 'number' ? document : Document.safeParse(document).data?.$loki;
    const result = Reflect.apply(remove, this, args);
    if (id !== undefined && typeof document !== 'number') note(this, { remove: [id] });
    return result;
  };
  collections.removeBatchByPositions = function (...args) {
    const [positions] = args as unknown[];
    this.ensureId();
    const ids = z
      .array(z.number())
      .parse(positions)
      .map((position) => this.idIndex[position]);
    const result = Reflect.apply(removeBatchByPositions, this, args);
    note(this, { remove: ids.filter((id) => id !== undefined) });
    return result;
  };
}
