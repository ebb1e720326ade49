/**
 * Versions of blobs, which Azurite has none of: where the front says that an account keeps them, what is replaced or deleted
 * stays under the name of its version, as Azurite keeps snapshots. A listing with versions is one page.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { z } from 'zod';

/** Set by the front, and by nobody else. */
export const versionedHeader = 'x-multicloud-versioned';

interface Document {
  name: string;
  accountName: string;
  containerName: string;
  /** '' for what is current. */
  snapshot: string;
  versionId?: string | undefined;
  isCommitted: boolean;
  properties: object;
  $loki?: number;
  meta?: object;
}
type Query = Partial<Pick<Document, 'name' | 'accountName' | 'containerName'>> & { snapshot?: unknown };
interface Collection {
  findOne(query: Query): Document | null;
  insert(document: Document): Document;
  update(document: Document): void;
  remove(document: Document): void;
  findAndRemove(query: Query): void;
  count(query: Query): number;
}
interface Context {
  request?: { getHeader(name: string): string | undefined; getQuery(name: string): string | undefined };
}
interface Store {
  db: { getCollection(name: string): Collection };
  BLOBS_COLLECTION: string;
}
type Method = (this: Store, context: Context, ...args: unknown[]) => Promise<unknown>;
export interface StorePrototype {
  [name: string]: Method;
}

/** Arguments of methods of Azurite's store: account, container, blob and, where it is asked for, snapshot. */
const Place = z.tuple([z.string(), z.string(), z.string(), z.string().optional()]);
const Named = z.object({ name: z.string(), accountName: z.string(), containerName: z.string() });
const Options = z.looseObject({ snapshot: z.string().default('') });

/** What the request of this moment does: only then does a collection keep what it would lose. */
const acting = new AsyncLocalStorage<'replaces' | 'deletes'>();

let last = 0n;
/** As Azure names versions: the time of their writing, to 100 ns; each later than the one before. */
function nextVersion(): string {
  const now = BigInt(Date.now()) * 10_000n;
  last = now > last ? now : last + 1n;
  const whole = new Date(Number(last / 10_000_000n) * 1000).toISOString().slice(0, 19);
  return `${whole}.${String(last % 10_000_000n).padStart(7, '0')}Z`;
}

/** A copy under the name of its version, so that what follows changes only what is current. */
function asVersion({ $loki: _, meta: _meta, ...document }: Document): Document {
  const versionId = document.versionId ?? nextVersion();
  return { ...document, properties: { ...document.properties }, versionId, snapshot: versionId };
}

const known = new WeakSet<Collection>();
function blobsOf({ db, BLOBS_COLLECTION }: Store): Collection {
  const blobs = db.getCollection(BLOBS_COLLECTION);
  if (known.has(blobs)) return blobs;
  known.add(blobs);
  const { insert, remove, findAndRemove, count } = blobs;
  const isCurrent = ({ snapshot, isCommitted }: Document): boolean => snapshot === '' && isCommitted;
  blobs.insert = (document) => {
    if (acting.getStore() === 'replaces' && isCurrent(document)) document.versionId = nextVersion();
    return Reflect.apply(insert, blobs, [document]) as Document;
  };
  blobs.remove = (document) => {
    const kept = acting.getStore() === 'replaces' && isCurrent(document) ? asVersion(document) : undefined;
    Reflect.apply(remove, blobs, [document]);
    if (kept) Reflect.apply(insert, blobs, [kept]);
  };
  // Azurite asks whether there are snapshots, and deletes all that has the name.
  blobs.count = (query) => (acting.getStore() === 'deletes' ? 1 : (Reflect.apply(count, blobs, [query]) as number));
  blobs.findAndRemove = (query) => {
    if (acting.getStore() !== 'deletes') return void Reflect.apply(findAndRemove, blobs, [query]);
    const current = blobs.findOne({ ...query, snapshot: '' });
    if (!current) return;
    Reflect.apply(remove, blobs, [current]);
    if (current.isCommitted) Reflect.apply(insert, blobs, [asVersion(current)]);
  };
  return blobs;
}

/** Makes every store of this process keep versions. */
export function keepVersions(store: StorePrototype): void {
  const isVersioned = ({ request }: Context): boolean => request?.getHeader(versionedHeader) === 'true';
  const wrap = (
    name: string,
    how: (this: Store, original: () => Promise<unknown>, context: Context, args: unknown[]) => Promise<unknown>,
  ): void => {
    const original = store[name] as Method;
    store[name] = function (context, ...args) {
      blobsOf(this);
      const carryOut = () => Reflect.apply(original, this, [context, ...args]) as Promise<unknown>;
      return Reflect.apply(how, this, [carryOut, context, args]) as Promise<unknown>;
    };
  };

  for (const name of ['createBlob', 'startCopyFromURL', 'copyFromURL'])
    wrap(name, (original, context) => (isVersioned(context) ? acting.run('replaces', original) : original()));

  const currentOf = (blobs: Collection, place: Query): Document | undefined => {
    const found = blobs.findOne({ ...place, snapshot: '' });
    return found?.isCommitted ? found : undefined;
  };
  /** These change the document that is there. */
  const inPlace = async (blobs: Collection, place: Query, original: () => Promise<unknown>): Promise<unknown> => {
    const before = currentOf(blobs, place);
    const kept = before && asVersion(before);
    const answer = await original();
    const now = currentOf(blobs, place);
    if (now) {
      now.versionId = nextVersion();
      blobs.update(now);
    }
    if (kept) blobs.insert(kept);
    return answer;
  };
  wrap('commitBlockList', function (original, context, [blob]) {
    const place = Named.parse(blob);
    return isVersioned(context) ? inPlace(blobsOf(this), place, original) : original();
  });
  wrap('setBlobMetadata', function (original, context, args) {
    const [accountName, containerName, name] = Place.parse(args.slice(0, 3));
    const place = { name, accountName, containerName };
    return isVersioned(context) ? inPlace(blobsOf(this), place, original) : original();
  });

  wrap('deleteBlob', (original, context, [, , , options]) => {
    const { snapshot } = Options.parse(options ?? {});
    return isVersioned(context) && snapshot === '' ? acting.run('deletes', original) : original();
  });

  const { listBlobs, getBlobWithLeaseUpdated } = store;
  store.listBlobs = async function (context, ...args) {
    const include = context.request?.getQuery('include')?.toLowerCase().split(',') ?? [];
    const versions = isVersioned(context) && include.includes('versions');
    if (versions) {
      args[5] = Number.MAX_SAFE_INTEGER;
      args[7] = true;
    }
    const [items, ...rest] = (await Reflect.apply(listBlobs as Method, this, [context, ...args])) as [
      Document[],
      ...unknown[],
    ];
    const shown = items
      .filter(({ snapshot, versionId }) => versions || snapshot === '' || snapshot !== versionId)
      .map((item) =>
        versions
          ? { ...item, snapshot: '', ...(item.snapshot === '' && { isCurrentVersion: true }) }
          : { ...item, versionId: undefined },
      );
    const order = ({ name, versionId = '' }: Pick<Document, 'name' | 'versionId'>): string => `${name}\n${versionId}`;
    if (versions) shown.sort((a, b) => (a.name === b.name ? (order(a) < order(b) ? -1 : 1) : 0));
    return [shown, ...rest];
  };

  // The version that is current is not found under its name as a snapshot would be.
  store.getBlobWithLeaseUpdated = function (...args) {
    const [accountName, containerName, name, snapshot] = Place.parse(args.slice(0, 4));
    const blobs = blobsOf(this);
    const place = { accountName, containerName, name };
    const isCurrent =
      snapshot && !blobs.findOne({ ...place, snapshot }) && currentOf(blobs, place)?.versionId === snapshot;
    const found = isCurrent ? args.with(3, '') : args;
    return Reflect.apply(getBlobWithLeaseUpdated as Method, this, found) as Promise<unknown>;
  };
}
