/**
 * Compares all sides of a replicated service, each listed once: what their clouds have calculated, and bytes where that says
 * nothing. What differs is looked at again until it has stood still for a while: writers do not wait, and changes are under way.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { crc32 as crc32Of } from 'node:zlib';
import { z } from 'zod';
import { type Change, type ConflictRule, isSame } from '../../model/conflict.ts';
import { crcHex, crcNumber } from '../../model/crc32.ts';
import type { ComparedSide, ComparedSides, DifferingKey } from '../../model/divergence.ts';
import { compareKeys, mergeAll } from '../../model/object-keys.ts';
import type { Difference } from '../../model/transfer.ts';
import { type Edit, editLines, type Names, NoLines, type Transform } from '../../model/transformation.ts';
import type { StoredObject } from '../providers/object-store.ts';
import { allOrFirstError, ask, editedBytes, headOf, type Pairing, partBytes, type Side } from './copy-object.ts';
import { type Files, fromLines, LineFiles } from './files.ts';
import { objectsIn } from './listing.ts';
import { isCopy } from './mark.ts';
import { bodySums } from './verify.ts';

/** Looks at a key that keeps changing. */
const mostLooks = 5;
/** Rows of a listing, or lines of a file, that are worked on at once. */
const mostPending = 500;

export interface ComparedEnd extends Side {
  name: string;
  /** The age at which its cloud deletes objects, ms. */
  expiresMs: number | undefined;
}

export interface SidesComparison<S extends ComparedEnd> extends Pick<Pairing, 'gate' | 'signal'> {
  sides: readonly S[];
  files: Files;
  /** Prefix of the names of its files. */
  prefix: string;
  rule: ConflictRule;
  source: string;
  /** The source's objects alone count. */
  oneWay: boolean;
  transform: Transform;
  naming: Names;
  settleMs: number;
  /** The change that an object is a copy of, as long as its bytes are those that were copied. */
  copyOf(side: S, object: StoredObject): Promise<Change | undefined>;
  /** That, or by when and where a user has made it. */
  changeOf(side: S, object: StoredObject): Promise<Change>;
  beat(): void;
}

/** A key that differed when it was looked at last, with the versions that stood on each side; '' for none. */
const Suspect = z.strictObject({ key: z.string(), versions: z.array(z.string()) });
type Suspect = z.infer<typeof Suspect>;

type Objects = readonly (StoredObject | undefined)[];

export async function compareSides<S extends ComparedEnd>(comparison: SidesComparison<S>): Promise<ComparedSides> {
  const { sides, files, prefix, settleMs, signal } = comparison;
  const result: Omit<ComparedSides, 'report' | 'sides'> & { sides: ComparedSide[] } = {
    ...{ objects: 0, same: 0, changing: 0, bodiesRead: { objects: 0, bytes: 0 } },
    sides: sides.map(({ name }) => ({
      side: name,
      listed: { objects: 0, bytes: 0 },
      different: {},
      differentNames: [],
    })),
  };
  const report = new LineFiles(files, `${prefix}differences-`);
  let suspects = await listAll(comparison, result);

  for (let look = 1; suspects.next > 0; look++) {
    await pause(settleMs, undefined, { signal });
    const again = new LineFiles(files, `${prefix}suspects-${look}-`);
    const judge = async ({ key, versions }: Suspect): Promise<void> => {
      const objects = await headsOf(comparison, key);
      comparison.beat();
      const verdict = await verdictOf(comparison, key, objects, result);
      if (verdict === 'same') result.same++;
      else if (verdict === 'nothing') result.objects--;
      else if (!versionsOf(objects).every((version, side) => version === versions[side])) {
        if (look < mostLooks) await again.add({ key, versions: versionsOf(objects) } satisfies Suspect);
        else result.changing++;
      } else {
        await report.add(verdict);
        for (const { side, what } of verdict.differs) note(result.sides, side, what, key);
      }
    };
    for await (const lines of linesOf(files, suspects))
      await allOrFirstError(lines.map((line) => comparison.gate.run(partBytes, () => judge(Suspect.parse(line)))));
    await again.flush();
    suspects = again;
  }
  await report.flush();
  for (const { differentNames } of result.sides) differentNames.sort(compareKeys).splice(5);
  return { ...result, report: report.key };
}

/**
 * The one listing of each side: counts, and puts aside what is not plainly the same. What a listing does not tell is looked at
 * where the others do not tell it: S3 lists neither checksums nor metadata.
 */
async function listAll<S extends ComparedEnd>(
  comparison: SidesComparison<S>,
  result: Pick<ComparedSides, 'objects' | 'same' | 'sides'>,
): Promise<LineFiles> {
  const { sides, gate, signal, files, prefix, beat, naming } = comparison;
  const suspects = new LineFiles(files, `${prefix}suspects-0-`);
  /** Pieces of rows that come apart where a cloud lists in another order: they are looked at once. */
  const apart = new Set<string>();
  const listings = sides.map((side, at) => {
    const all = objectsIn({ gate, signal }, side, { after: '', to: '' });
    const listing = counted(side.store.inOrder === false ? inOrder(all) : all, ({ size }) => {
      const listed = result.sides[at]?.listed;
      if (!listed) return;
      listed.objects++;
      listed.bytes += size;
    });
    return named(listing, (name) => naming.keyOf(side.name, name));
  });
  const judge = async (key: string, objects: Objects): Promise<void> => {
    beat();
    if (objects.every((object) => object) && (await isOne(comparison, key, objects))) result.same++;
    else await suspects.add({ key, versions: versionsOf(objects) } satisfies Suspect);
  };
  const pending: Promise<void>[] = [];
  try {
    for await (const { key, at: rows } of mergeAll(listings)) {
      const at = rows.map((row) => row?.object);
      if (mayComeApart(key) && at.some((object) => !object)) {
        if (apart.has(key)) continue;
        apart.add(key);
      }
      result.objects++;
      const judged = gate.run(0, () => judge(key, at));
      judged.catch(() => {}); // thrown when its turn comes
      pending.push(judged);
      if (pending.length >= mostPending) await pending.shift();
    }
    for (const judged of pending) await judged;
  } finally {
    await Promise.allSettled(pending);
  }
  await suspects.flush();
  return suspects;
}

/** Whether what a listing shows of a row is the same everywhere; asks for what it does not show where that may tell. */
async function isOne<S extends ComparedEnd>(
  comparison: SidesComparison<S>,
  key: string,
  objects: Objects,
): Promise<boolean> {
  const { sides } = comparison;
  const standing = standingOf(sides, objects);
  const told = tellsOf(comparison, key);
  if (groupsOf(standing, told).length === 1) return true;
  const bare = standing.filter(({ object }) => !object.attributes);
  if (bare.length === 0) return false;
  for (const one of bare) {
    const now = await headOf(comparison, one.side, one.object.key);
    if (now?.version !== one.object.version) return false;
    one.object = now;
  }
  return groupsOf(standing, told).length === 1;
}

/** Of what a registry lists in an order of its own, in memory. */
async function* inOrder(listing: AsyncIterable<StoredObject>): AsyncGenerator<StoredObject> {
  const all: StoredObject[] = [];
  for await (const object of listing) all.push(object);
  yield* all.sort((a, b) => compareKeys(a.key, b.key));
}

/** Under the names of the source; what goes nowhere is left out. The order stays: only beginnings differ. */
async function* named(
  listing: AsyncIterable<StoredObject>,
  keyOf: (name: string) => string | undefined,
): AsyncGenerator<{ key: string; object: StoredObject }> {
  for await (const object of listing) {
    const key = keyOf(object.key);
    if (key !== undefined) yield { key, object };
  }
}

async function* counted(
  listing: AsyncIterable<StoredObject>,
  count: (object: StoredObject) => void,
): AsyncGenerator<StoredObject> {
  for await (const object of listing) {
    count(object);
    yield object;
  }
}

/** Where the orders of UTF-8 and UTF-16 disagree. */
const mayComeApart = (key: string): boolean => /[\ud800-\uffff]/.test(key);

const versionsOf = (objects: Objects): string[] => objects.map((object) => object?.version ?? '');

const headsOf = <S extends ComparedEnd>(
  { sides, gate, signal, naming }: SidesComparison<S>,
  key: string,
): Promise<Objects> => Promise.all(sides.map((side) => headOf({ gate, signal }, side, naming.nameAt(side.name, key))));

interface Standing<S extends ComparedEnd> {
  side: S;
  object: StoredObject;
}

const standingOf = <S extends ComparedEnd>(sides: readonly S[], objects: Objects): Standing<S>[] =>
  sides.flatMap((side, at) => {
    const object = objects[at];
    return object ? [{ side, object }] : [];
  });

type Sameness = 'yes' | 'size' | 'content' | 'unknown';

/** By sizes, by checksums that both clouds have calculated, and by what a copy says that it is of. */
function told<S extends ComparedEnd>(a: Standing<S>, b: Standing<S>): Sameness {
  if (a.object.size !== b.object.size) return 'size';
  for (const sum of ['md5', 'crc32', 'crc32c'] as const) {
    const [one, other] = [a.object.checksums[sum], b.object.checksums[sum]];
    const vouched = sum !== 'md5' || a.object.size <= Math.min(a.side.store.vouchedBytes, b.side.store.vouchedBytes);
    if (one && other && vouched) return one === other ? 'yes' : 'content';
  }
  return isCopyOf(a, b) === true || isCopyOf(b, a) === true ? 'yes' : 'unknown';
}

const isCopyOf = <S extends ComparedEnd>(
  copy: Standing<S>,
  original: Standing<S>,
  edited = false,
): boolean | 'unsure' =>
  isCopy(
    { store: copy.side.store, object: copy.object },
    { store: original.side.store, object: original.object },
    edited,
  );

/** Of what is changed on its way, the source's object and the others are told by what they are copies of. */
const tellsOf = <S extends ComparedEnd>({ transform, source }: SidesComparison<S>, key: string) => {
  if (transform.editsOf(key).length === 0) return told<S>;
  return (a: Standing<S>, b: Standing<S>): Sameness => {
    const [original, copy] = a.side.name === source ? [a, b] : [b, a];
    if (original.side.name !== source) return told(a, b);
    return isCopyOf(copy, original, true) === true ? 'yes' : 'unknown';
  };
};

/** Those that are the same, each with one of its group at least. */
function groupsOf<S extends ComparedEnd>(
  standing: readonly Standing<S>[],
  sameness: (a: Standing<S>, b: Standing<S>) => Sameness,
): Standing<S>[][] {
  const groups: Standing<S>[][] = [];
  for (const one of standing) {
    const mine = groups.filter((group) => group.some((other) => sameness(one, other) === 'yes'));
    for (const group of mine) groups.splice(groups.indexOf(group), 1);
    groups.push([...mine.flat(), one]);
  }
  return groups;
}

/** What counts by the rule, and which sides have something else. */
async function verdictOf<S extends ComparedEnd>(
  comparison: SidesComparison<S>,
  key: string,
  objects: Objects,
  result: Pick<ComparedSides, 'bodiesRead'>,
): Promise<'same' | 'nothing' | DifferingKey> {
  const { sides, rule, source, oneWay, transform } = comparison;
  const standing = standingOf(sides, objects);
  if (standing.length === 0) return 'nothing';
  const told = tellsOf(comparison, key);
  const isComplete = standing.length === sides.length;
  if (isComplete && groupsOf(standing, told).length === 1) return 'same';
  const known = await pairsOf(comparison, key, standing);
  const groups = groupsOf(standing, known);
  if (isComplete && groups.length === 1) return 'same';

  const changes = new Map<Standing<S>, Change>();
  for (const one of standing) changes.set(one, await comparison.changeOf(one.side, one.object));
  /** What is gone from a side may have gone by its own rule: then nothing is amiss. */
  const mayHaveExpired = (side: S, one: Standing<S>): boolean =>
    side.expiresMs !== undefined && Date.now() - (changes.get(one)?.stamp.time ?? 0) >= side.expiresMs;
  const origin = sides.find(({ name }) => name === source);
  if (oneWay && origin && !standing.some(({ side }) => side === origin)) {
    const extra = standing.filter((one) => !mayHaveExpired(origin, one));
    if (extra.length === 0) return 'nothing';
    const detail = `${source} has no such object`;
    const differs = extra.map(({ side: { name }, object: { version } }) => ({
      ...{ side: name, what: 'extra' as const, detail, version },
    }));
    return { key, counts: source, version: '', differs };
  }
  const candidates = oneWay ? standing.filter(({ side }) => side === origin) : standing;
  const [counts] = candidates.toSorted((a, b) => {
    const [one, other] = [changes.get(a), changes.get(b)];
    return !one || !other || isSame(one, other) ? 0 : rule.outranks(one, other) ? -1 : 1;
  });
  if (!counts || counts.object.size > transform.mostBytes) return 'nothing';
  const same = groups.find((group) => group.includes(counts)) ?? [];
  const differs: DifferingKey['differs'] = [];
  for (const side of sides) {
    const other = standing.find((one) => one.side === side);
    if (other && same.includes(other)) continue;
    if (!other && mayHaveExpired(side, counts)) continue;
    const found = other
      ? await differenceOf(comparison, key, { counts, other }, known(counts, other), result)
      : missing;
    if (found) differs.push({ side: side.name, ...found, version: other?.object.version ?? '' });
  }
  if (differs.length === 0) return 'same';
  return { key, counts: counts.side.name, version: counts.object.version, differs };
}

/** What is known of each pair, also by receipts and by the changes that copies are of. */
async function pairsOf<S extends ComparedEnd>(
  comparison: SidesComparison<S>,
  key: string,
  standing: readonly Standing<S>[],
) {
  const { copyOf, gate, source, transform } = comparison;
  const told = tellsOf(comparison, key);
  const isEdited = (original: Standing<S>): boolean =>
    original.side.name === source && transform.editsOf(key).length > 0;
  const found = new Map<string, Sameness>();
  const nameOf = (a: Standing<S>, b: Standing<S>): string => [a.side.name, b.side.name].sort().join(' ');
  const tells = (copy: Standing<S>, original: Standing<S>): Promise<boolean> =>
    isCopyOf(copy, original, isEdited(original)) === 'unsure'
      ? gate.call(() => copy.side.receipts.tells(copy.object.key, copy.object.version, original.object.version))
      : Promise.resolve(false);
  for (const [at, a] of standing.entries())
    for (const b of standing.slice(at + 1)) {
      let how = told(a, b);
      if (how === 'unknown') {
        const [one, other] = await Promise.all([a, b].map(({ side, object }) => copyOf(side, object)));
        const ofOne = one !== undefined && other !== undefined && isSame(one, other);
        if (ofOne || (await tells(a, b)) || (await tells(b, a))) how = 'yes';
      }
      found.set(nameOf(a, b), how);
    }
  return (a: Standing<S>, b: Standing<S>): Sameness => found.get(nameOf(a, b)) ?? 'unknown';
}

const missing = { what: 'missing' as const, detail: 'there is no such object' };

async function differenceOf<S extends ComparedEnd>(
  comparison: SidesComparison<S>,
  key: string,
  { counts, other }: { counts: Standing<S>; other: Standing<S> },
  how: Sameness,
  { bodiesRead }: Pick<ComparedSides, 'bodiesRead'>,
): Promise<{ what: Difference; detail: string } | undefined> {
  const [a, b] = [counts.object, other.object];
  const side = counts.side.name;
  if (how === 'size') return { what: 'size', detail: `${b.size} bytes, ${a.size} on ${side}` };
  if (how === 'content') return { what: 'content', detail: `its checksum is not that of ${side}` };
  const edits = side === comparison.source ? comparison.transform.editsOf(key) : [];
  const sum = async (one: Standing<S>): Promise<string> => {
    const { crc32 } = one.object.checksums;
    if (crc32 && (one === other || edits.length === 0)) return crcHex(crcNumber(crc32));
    bodiesRead.objects++;
    bodiesRead.bytes += one.object.size;
    if (one === counts && edits.length > 0) return editedSum(comparison, one, edits);
    return (await bodySums(comparison, one.side, one.object, false)).crc32;
  };
  let [want, have] = ['', ''];
  try {
    [want, have] = [await sum(counts), await sum(other)];
  } catch (error) {
    if (!(error instanceof NoLines)) throw error;
    return { what: 'content', detail: `that of ${side} cannot be changed on its way: ${error.message}` };
  }
  return want === have
    ? undefined
    : { what: 'content', detail: `the crc32 of its bytes is ${have}, ${want} on ${side}` };
}

/** Of what the object becomes on its way. */
async function editedSum<S extends ComparedEnd>(
  { gate, signal }: SidesComparison<S>,
  { side, object }: Standing<S>,
  edits: readonly Edit[],
): Promise<string> {
  if (object.size > editedBytes) throw new NoLines('it is too large');
  if (object.size === 0) return crcHex(0);
  const { piece } = await ask({ gate }, side, 'read', object.key, () =>
    side.store.read(object, { from: 0, bytes: object.size }, signal),
  );
  const edited = editLines(Buffer.concat(piece.chunks), edits);
  piece.release();
  return crcHex(crc32Of(edited));
}

function note(sides: readonly ComparedSide[], name: string, what: Difference, key: string): void {
  const side = sides.find((one) => one.side === name);
  if (!side) return;
  side.different[what] = (side.different[what] ?? 0) + 1;
  // The first by name: what is found does not come in that order.
  side.differentNames.push(key);
  if (side.differentNames.length > 100) side.differentNames.sort(compareKeys).splice(5);
}

/** The lines of files, some at a time. */
export async function* linesOf(files: Files, { key }: Pick<LineFiles, 'key'>): AsyncGenerator<unknown[]> {
  for (const name of await files.list(key.slice(files.key('').length))) {
    const lines = fromLines((await files.read(name)) ?? Buffer.alloc(0));
    for (let at = 0; at < lines.length; at += mostPending) yield lines.slice(at, at + mostPending);
  }
}
