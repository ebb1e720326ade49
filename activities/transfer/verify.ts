/**
 * Compares source and target object by object: what the clouds have calculated where that can be compared, else the bytes
 * themselves. What one listing lacks is looked at again on both sides before it is called a difference.
 */
import { createHash } from 'node:crypto';
import { crc32Combine, crcHex, crcNumber } from '../../model/crc32.ts';
import { mergeListings, type Pair } from '../../model/object-keys.ts';
import type { Difference, VerifiedTransfer } from '../../model/transfer.ts';
import type { StoredObject } from '../providers/object-store.ts';
import { ask, type End, headOf, type Pairing, partBytes } from './copy-object.ts';
import type { LineFiles } from './files.ts';
import { objectsIn } from './listing.ts';
import type { ManifestLine } from './manifest.ts';
import { type Digest, markOf } from './mark.ts';

const mostPending = 500;

type Known = ReadonlyMap<string, Extract<ManifestLine, { how: 'copied' }>>;
export type Verdict = { same: true; read: boolean } | { same: false; what: Difference; detail: string; read: boolean };

const same = (read = false): Verdict => ({ same: true, read });
export const differs = (what: Difference, detail: string, read = false): Verdict => ({
  same: false,
  what,
  detail,
  read,
});

export interface Verification {
  pairing: Pairing;
  bodies: 'needed' | 'all';
}

export const rangePairs = (
  pairing: Pairing,
  range: { after: string; to: string },
): AsyncGenerator<Pair<StoredObject>> =>
  mergeListings(objectsIn(pairing, pairing.source, range), objectsIn(pairing, pairing.target, range));

export interface Judged {
  key: string;
  size: number;
  verdict: Promise<Verdict>;
}

/** `known`: lines of the manifest, by key: our own checksum of what was read when it was copied. */
export async function* verdicts(
  verification: Verification,
  known: Known,
  pairs: AsyncIterable<Pair<StoredObject>>,
): AsyncGenerator<Judged> {
  for await (const pair of pairs) {
    const size = (pair.source ?? pair.target)?.size ?? 0;
    const verdict = verification.pairing.gate.run(Math.min(size, partBytes), () => judge(verification, known, pair));
    yield { key: pair.key, size, verdict };
  }
}

export async function verify(
  judged: AsyncIterable<Judged>,
  { report, beat }: { report: LineFiles; beat: () => void },
): Promise<VerifiedTransfer> {
  const result: Omit<VerifiedTransfer, 'report'> = {
    compared: { objects: 0, bytes: 0 },
    bodiesRead: { objects: 0, bytes: 0 },
    same: 0,
    different: {},
    differentNames: [],
  };
  const pending: Judged[] = [];
  const take = async (): Promise<void> => {
    const [first] = pending;
    if (!first) return;
    const { key, size } = first;
    const verdict = await first.verdict;
    pending.shift();
    result.compared.objects++;
    result.compared.bytes += size;
    if (verdict.read) {
      result.bodiesRead.objects++;
      result.bodiesRead.bytes += size;
    }
    if (verdict.same) result.same++;
    else {
      result.different[verdict.what] = (result.different[verdict.what] ?? 0) + 1;
      if (result.differentNames.length < 5) result.differentNames.push(key);
      await report.add({ key, what: verdict.what, detail: verdict.detail });
    }
    beat();
  };
  try {
    for await (const one of judged) {
      one.verdict.catch(() => {}); // thrown when its turn comes
      pending.push(one);
      while (pending.length >= mostPending) await take();
    }
    while (pending.length > 0) await take();
  } finally {
    await Promise.allSettled(pending.map(({ verdict }) => verdict));
  }
  await report.flush();
  return { ...result, report: report.key };
}

/** Looks at both sides again where a half is missing, and once more where they differ: a live source moves on meanwhile. */
async function judge(verification: Verification, known: Known, pair: Pair<StoredObject>): Promise<Verdict> {
  const { pairing } = verification;
  const again = async (): Promise<Pair<StoredObject>> => {
    const [source, target] = await Promise.all([
      headOf(pairing, pairing.source, pair.key),
      headOf(pairing, pairing.target, pair.key),
    ]);
    return { key: pair.key, source, target };
  };
  const first = await compare(verification, known, pair.source && pair.target ? pair : await again());
  return first.same ? first : compare(verification, known, await again());
}

async function compare(
  verification: Verification,
  known: Known,
  { key, source, target }: Pair<StoredObject>,
): Promise<Verdict> {
  const { pairing } = verification;
  if (!source && !target) return same();
  if (!target) return differs('missing', 'the target has no such object');
  if (!source) return differs('extra', 'the source has no such object');
  const there = target.attributes ? target : await headOf(pairing, pairing.target, key);
  if (!there) return differs('missing', 'the target has no such object');
  const [from, to] = [pairing.source.store, pairing.target.store];
  // Of this version of the source by its mark, whatever became of the bytes since: that is what is found out here.
  const mark = markOf(there);
  const current = mark?.from === from.id && mark.version === source.version;
  const back = current
    ? undefined
    : markOf(source.attributes ? source : ((await headOf(pairing, pairing.source, key)) ?? source));
  if (!current && !(back?.from === to.id && back.version === there.version))
    return differs(
      'stale',
      `the source is in version ${source.version}, the target has ${mark ? `a copy of ${mark.version}` : 'no copy of ours'}`,
    );
  if (source.size !== there.size)
    return differs('size', `${source.size} bytes at the source, ${there.size} at the target`);

  const line = known.get(key);
  const ours = line?.version === source.version ? line : undefined;
  return sameBytes(verification, { source, there, ours, digest: current ? mark.digest : undefined });
}

interface Compared {
  source: StoredObject;
  there: StoredObject;
  /** Of the manifest. */
  ours: Pick<Extract<ManifestLine, { how: 'copied' }>, 'crc32' | 'sha256' | 'target'> | undefined;
  /** Of the mark of the copy. */
  digest: Digest | undefined;
}

/** Whether the target holds the bytes of this version of the source; both are of one size. */
export async function sameBytes(
  { pairing, bodies }: Verification,
  { source, there, ours, digest }: Compared,
): Promise<Verdict> {
  const [from, to] = [pairing.source.store, pairing.target.store];
  const expected = new Map<string, string>();
  if (source.checksums.md5 && source.size <= from.vouchedBytes) expected.set('md5', source.checksums.md5);
  for (const sum of ['crc32', 'crc32c'] as const) if (source.checksums[sum]) expected.set(sum, source.checksums[sum]);
  if (digest) expected.set(digest.kind, digest.value);
  if (ours) {
    expected.set('crc32', Buffer.from(ours.crc32, 'hex').toString('base64'));
    // What the target's cloud had calculated when it was written was compared with ours then.
    for (const sum of ['md5', 'crc32c'] as const) {
      const then = ours.target.checksums[sum];
      if (then && !expected.has(sum)) expected.set(sum, then);
    }
  }
  if (bodies === 'needed') {
    // Nobody has written it since its parts were checked one by one as they arrived.
    if (ours && to.uploads.checks === 'parts' && ours.target.version === there.version) return same();
    for (const sum of ['md5', 'crc32', 'crc32c'] as const) {
      const [want, have] = [expected.get(sum), there.checksums[sum]];
      if (!want || !have || (sum === 'md5' && there.size > to.vouchedBytes)) continue;
      return want === have
        ? same()
        : differs('content', `${sum} is ${have} at the target, ${want} is that of the source`);
    }
  }
  const sha256 = ours?.sha256;
  const have = await bodySums(pairing, pairing.target, there, sha256 !== undefined);
  const want = expected.has('crc32')
    ? { crc32: crcHex(crcNumber(expected.get('crc32') ?? '')), sha256 }
    : await bodySums(pairing, pairing.source, source, false);
  for (const kind of ['sha256', 'crc32'] as const)
    if (want[kind] && want[kind] !== have[kind])
      return differs(
        'content',
        `the ${kind} of its bytes is ${have[kind]} at the target, ${want[kind]} at the source`,
        true,
      );
  return same(true);
}

/** Checksums of an object's bytes as they are now, in hex. */
export async function bodySums(
  { gate, signal }: Pick<Pairing, 'gate' | 'signal'>,
  side: End,
  object: StoredObject,
  withSha256: boolean,
): Promise<{ crc32: string; sha256: string | undefined }> {
  let sum = 0;
  const sha256 = withSha256 ? createHash('sha256') : undefined;
  for (let from = 0; from < object.size; from += partBytes) {
    const bytes = Math.min(partBytes, object.size - from);
    const { piece } = await ask({ gate }, side, 'read', object.key, () =>
      side.store.read(object, { from, bytes }, signal),
    );
    for (const chunk of piece.chunks) sha256?.update(chunk);
    sum = from === 0 ? piece.crc32 : crc32Combine(sum, piece.crc32, piece.bytes);
    piece.release();
  }
  return { crc32: crcHex(sum), sha256: sha256?.digest('hex') };
}
