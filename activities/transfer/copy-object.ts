/**
 * One object from one cloud to the other: small ones through memory; larger ones as they come, from socket to socket; the
 * largest in parts that are taken up again after a break. The write has a condition, so that nothing newer at the target is
 * ever lost; both ends' checksums are compared.
 */
import { createHash } from 'node:crypto';
import { crc32 as crc32Of } from 'node:zlib';
import { z } from 'zod';
import { crc32Combine, crc32cCombine, crcBase64, crcHex } from '../../model/crc32.ts';
import { crc32c } from '../../model/crc32c.ts';
import { CloudError, type CloudErrorKind } from '../../model/errors.ts';
import { leastPart, partSize } from '../../model/part-size.ts';
import type { Unnative } from '../../model/transfer.ts';
import type { Provider } from '../providers/driver.ts';
import {
  type Checksums,
  type Expected,
  type FlowingObject,
  md5Of,
  type NewObject,
  type ObjectStore,
  type Part,
  type ReadPiece,
  type StoredObject,
  type Upload,
  type Written,
} from '../providers/object-store.ts';
import { guarded } from '../providers/provision.ts';
import { sha256Of } from './digest.ts';
import type { Files } from './files.ts';
import type { Gate } from './gate.ts';
import { attributesAt, type Digest, isCopy, standsFor } from './mark.ts';
import type { Receipts } from './receipts.ts';

const MiB = 1024 * 1024;
/** Objects up to here are in memory when they are written. */
export const partBytes = leastPart;
/** Objects up to here go in one call, where nothing else is said: what a break costs is to send so much again. */
export const callBytes = 128 * MiB;
/** What of a flow is in memory, between its sockets. */
const flowBytes = 4 * MiB;
/** Uploads of more parts than this leave a note, by which another worker takes them up. */
const notedParts = 8;
/** The note is written again when it is this old. */
const noteMs = 5000;
/** What is edited on its way is in memory whole, before and after. */
export const editedBytes = 16 * MiB;

/** One end of what is asked of a cloud. */
/** Whose errors are told apart. */
export interface Asked {
  provider: Pick<Provider, 'type' | 'classify'>;
}

export interface End {
  provider: Provider;
  store: ObjectStore;
}

export interface Side extends End {
  receipts: Receipts;
}

export interface Pairing {
  source: Side;
  target: Side;
  gate: Gate;
  /** Where notes of uploads in parts are kept. */
  files: Files;
  /** Objects up to here go in one call. */
  callBytes: number;
  /** Whether each object gets a SHA-256 as well. */
  sha256: boolean;
  signal: AbortSignal;
  /** What a copy is written as, where it is not under the name of its original, as it is and without a stamp. */
  as?: { key: string; stamp: string | undefined; edit?: ((bytes: Uint8Array) => Uint8Array) | undefined };
}

export type Outcome =
  | {
      how: 'copied';
      object: StoredObject;
      crc32: string;
      sha256: string | undefined;
      written: { version: string; checksums: Checksums };
      unnative: Unnative[];
      changed: boolean;
    }
  | { how: 'in step'; object: StoredObject; target: StoredObject }
  | { how: 'vanished' }
  | { how: 'failed'; reason: CloudErrorKind | Refused; detail: string };
type Refused = 'archived' | 'customer-key' | 'key' | 'size' | 'content';

/** The source is no longer what was listed. */
class SourceMoved extends Error {}
/** The target is no longer what was expected. */
class TargetMoved extends Error {}
/** What arrived is not what the source's cloud has vouched for. */
class NotTheSame extends Error {}

const mostTries = 4;
const movedKinds: readonly CloudErrorKind[] = ['PreconditionFailed', 'AlreadyExists', 'NotFound'];
/** Kinds that are about one object; all others are about the store, and end the activity. */
const ownKinds: readonly CloudErrorKind[] = ['InvalidInput', 'NotSupported'];

export const ask = <T>(
  pairing: Pick<Pairing, 'gate'>,
  side: Asked,
  operation: string,
  key: string,
  step: () => Promise<T>,
): Promise<T> => pairing.gate.call(() => guarded(side.provider, operation, key, step));

export const headOf = (
  pairing: Pick<Pairing, 'gate' | 'signal'>,
  side: End,
  key: string,
  at?: string,
): Promise<StoredObject | undefined> => ask(pairing, side, 'head', key, () => side.store.head(key, pairing.signal, at));

/** Whether the target holds this very version of the source, or the source is a copy of what the target holds. */
export async function inStep(
  { source, target, gate }: Pairing,
  here: StoredObject,
  there: StoredObject,
): Promise<boolean> {
  const copies = async (copy: Side, object: StoredObject, from: Side, original: StoredObject): Promise<boolean> => {
    const known = isCopy({ store: copy.store, object }, { store: from.store, object: original });
    const { key, version } = object;
    return known === 'unsure' ? gate.call(() => copy.receipts.tells(key, version, original.version)) : known;
  };
  return (await copies(target, there, source, here)) || copies(source, here, target, there);
}

/** Why an object cannot be at the target as it is at the source, whoever tries. */
export class Refusal extends Error {
  readonly reason: string;

  constructor(reason: string, detail: string) {
    super(detail);
    this.reason = reason;
  }
}

/**
 * This very version of an object, where the target is still what was expected. Undefined where one of the two has changed; then
 * nothing was written. Whoever asks looks again, also after an answer that was lost.
 */
export const copyExactly = async (
  pairing: Pairing,
  object: StoredObject,
  expected: Expected,
): Promise<Written | undefined> => (await copiedExactly(pairing, object, expected))?.written;

export async function copiedExactly(
  pairing: Pairing,
  object: StoredObject,
  expected: Expected,
): Promise<Omit<Copied, 'digest'> | undefined> {
  const { target, as } = pairing;
  const named = { key: as?.key ?? object.key, size: object.size };
  const refused = object.refusal === 'held' ? undefined : object.refusal;
  const reason = refused ?? (target.store.refusal(named) as Refused | undefined);
  if (reason) throw new Refusal(reason, detailOf(reason, target.store));
  if (as?.edit && object.size > editedBytes)
    throw new Refusal('size', `what is changed on its way may have ${editedBytes} bytes at the most`);
  const unchanged = object.size <= partBytes ? whole : object.size <= pairing.callBytes ? flowing : inParts;
  const copy = as?.edit ? whole : unchanged;
  try {
    const { digest, ...copied } = await copy(pairing, object, expected);
    if (!digest || !standsFor(target.store, digest, object.size))
      await target.receipts.keep({ key: named.key, of: object.version, written: copied.written.version });
    return copied;
  } catch (error) {
    if (error instanceof SourceMoved || error instanceof TargetMoved) return undefined;
    if (error instanceof NotTheSame) throw new Refusal('content', error.message);
    if (error instanceof CloudError && (ownKinds.includes(error.kind) || (await isItsOwn(pairing, object, error))))
      throw new Refusal(error.kind, error.message);
    throw error;
  }
}

/** Brings the target's object to what the source has. `known`: what the target holds, as far as a listing has told. */
export async function copyObject(
  pairing: Pairing,
  listed: StoredObject,
  known: StoredObject | undefined,
): Promise<Outcome> {
  const { source, target } = pairing;
  let object = listed;
  let expected: Expected = known ? { version: known.version } : { absent: true };
  let changed = false;
  for (let tries = 1; ; tries++) {
    const refused = object.refusal === 'held' ? undefined : object.refusal;
    const reason = refused ?? (target.store.refusal(object) as Refused | undefined);
    if (reason) return { how: 'failed', reason, detail: detailOf(reason, target.store) };
    try {
      const copy = object.size <= partBytes ? whole : object.size <= pairing.callBytes ? flowing : inParts;
      const { digest, ...copied } = await copy(pairing, object, expected);
      if (!digest || !standsFor(target.store, digest, copied.object.size)) {
        const { key, version: of } = copied.object;
        await target.receipts.keep({ key, of, written: copied.written.version });
      }
      return { how: 'copied', changed, ...copied };
    } catch (error) {
      if (error instanceof NotTheSame) {
        if (tries >= mostTries) return { how: 'failed', reason: 'content', detail: error.message };
      } else if (error instanceof SourceMoved) {
        const now = await headOf(pairing, source, object.key);
        if (!now) return { how: 'vanished' };
        changed ||= now.version !== object.version;
        object = now;
      } else if (error instanceof TargetMoved) {
        const now = await headOf(pairing, target, object.key);
        if (now && (await inStep(pairing, object, now))) return { how: 'in step', object, target: now };
        expected = now ? { version: now.version } : { absent: true };
      } else if (
        error instanceof CloudError &&
        (ownKinds.includes(error.kind) || (await isItsOwn(pairing, object, error)))
      ) {
        return { how: 'failed', reason: error.kind, detail: error.message };
      } else throw error;
      if (tries >= mostTries)
        return { how: 'failed', reason: 'PreconditionFailed', detail: 'it kept changing while it was copied' };
    }
  }
}

/** A source that lets itself be looked at and not be read: encrypted with a key that the worker may not use. */
async function isItsOwn(pairing: Pairing, { key }: StoredObject, error: CloudError): Promise<boolean> {
  if (error.kind !== 'PermissionDenied' || error.fields.operation !== 'read') return false;
  return (await headOf(pairing, pairing.source, key).catch(() => undefined)) !== undefined;
}

const detailOf = (reason: Refused, target: ObjectStore): string =>
  ({
    archived: 'it must be restored from its archive tier first',
    'customer-key': 'it is encrypted with a key that only its owner has',
    key: `${target.id.split(':')[0]} takes no object of this name`,
    size: `${target.id.split(':')[0]} takes no object of this size`,
    content: 'what arrived is not what the source has vouched for',
  })[reason];

const partSizeAt = ({ uploads: { limits, flowsFrom } }: ObjectStore, size: number): number =>
  partSize(limits, size, flowsFrom <= leastPart);

/** The checksums by which the source's cloud answers for the bytes: as it has listed the object, and told of it since. */
function vouched({ store }: Side, listed: StoredObject, object: StoredObject): Checksums {
  const checksums = { ...listed.checksums, ...object.checksums };
  return object.size <= store.vouchedBytes ? checksums : { ...checksums, md5: undefined };
}

async function read(
  pairing: Pairing,
  object: StoredObject,
  from: number,
  bytes: number,
): Promise<{ object: StoredObject; piece: ReadPiece }> {
  const { source, signal } = pairing;
  // There is no range of nothing.
  if (bytes === 0) {
    const now = await headOf(pairing, source, object.key, object.at);
    if (!now || now.size > 0 || (pairing.as && now.version !== object.version)) throw new SourceMoved();
    return { object: now, piece: { chunks: [], bytes: 0, crc32: 0, release: () => {} } };
  }
  return orSourceMoved(
    ask(pairing, source, 'read', object.key, async () => {
      const answer = await source.store.read(object, { from, bytes }, signal);
      if (answer.piece.bytes === bytes) return answer;
      throw Object.assign(new Error('the answer was cut short'), { code: 'ECONNRESET' });
    }),
  );
}

async function orSourceMoved<T>(reading: Promise<T>): Promise<T> {
  try {
    return await reading;
  } catch (error) {
    if (error instanceof CloudError && movedKinds.includes(error.kind)) throw new SourceMoved();
    throw error;
  }
}

async function orTargetMoved<T>(operation: string, { expected }: Pick<NewObject, 'expected'>, writing: Promise<T>) {
  try {
    return await writing;
  } catch (error) {
    // "Not found" where nothing was expected is the store itself.
    const isStore = operation === 'write' && 'absent' in expected;
    if (error instanceof CloudError && movedKinds.includes(error.kind) && !(isStore && error.kind === 'NotFound'))
      throw new TargetMoved();
    throw error;
  }
}

const toTarget = <T>(
  pairing: Pairing,
  operation: string,
  asked: Pick<NewObject, 'key' | 'expected'>,
  step: () => Promise<T>,
): Promise<T> => orTargetMoved(operation, asked, ask(pairing, pairing.target, operation, asked.key, step));

type Copied = Omit<Extract<Outcome, { how: 'copied' }>, 'how' | 'changed'> & {
  /** What its mark says of its bytes. */
  digest: Digest | undefined;
};

async function whole(pairing: Pairing, listed: StoredObject, expected: Expected): Promise<Copied> {
  const { source, target, signal } = pairing;
  const { key, size } = listed;
  const { object, piece: original } = await read(pairing, listed, 0, size);
  const vouchedFor = vouched(source, listed, object).md5;
  const { edit } = pairing.as ?? {};
  if (edit && vouchedFor && vouchedFor !== md5Of(original)) throw new NotTheSame(notVouched);
  const piece = edit ? editedPiece(original, edit, object) : original;
  const { crc32 } = piece;
  const claimed = edit ? undefined : vouchedFor;
  const md5 = claimed ?? (target.store.digest === 'md5' ? md5Of(piece) : undefined);
  const digest: Digest = {
    kind: target.store.digest,
    value: (target.store.digest === 'md5' && md5) || crcBase64(crc32),
  };
  const { attributes, unnative } = attributesAt(target.store, source.store.id, object, digest, pairing.as?.stamp);
  const asked: NewObject = { key: pairing.as?.key ?? key, size: piece.bytes, attributes, expected, md5 };
  try {
    const written = await toTarget(pairing, 'write', asked, () => target.store.write(asked, piece, crc32, signal));
    const sha256 = pairing.sha256 ? sha256Of(piece) : undefined;
    piece.release();
    return { object, crc32: crcHex(crc32), sha256, written, unnative, digest };
  } catch (error) {
    // Of what it refuses, a cloud says the same of a wrong checksum as of anything else: our own tells.
    if (error instanceof CloudError && error.kind === 'InvalidInput' && claimed && claimed !== md5Of(piece))
      throw new NotTheSame(notVouched);
    throw error;
  }
}

const notVouched = 'what arrived is not what the source has vouched for';

function editedPiece(
  { chunks, release }: ReadPiece,
  edit: (bytes: Uint8Array) => Uint8Array,
  { attributes }: StoredObject,
): ReadPiece {
  if (attributes?.headers['content-encoding'])
    throw new Refusal('content', 'it is compressed: what is in it cannot be changed on its way');
  const edited = edit(Buffer.concat(chunks));
  release();
  return {
    chunks: edited.length > 0 ? [edited] : [],
    bytes: edited.length,
    crc32: crc32Of(edited),
    release: () => {},
  };
}

/** From socket to socket. Reading and writing are one call: where one of them breaks, both are done again. */
function flowing(pairing: Pairing, listed: StoredObject, expected: Expected): Promise<Copied> {
  const { source, target, gate, signal } = pairing;
  const { key: from, size } = listed;
  const key = pairing.as?.key ?? from;
  const once = async (): Promise<Copied> => {
    const range = { from: 0, bytes: size };
    const opening = guarded(source.provider, 'read', from, () => source.store.open(listed, range, signal));
    const { object, flow } = await orSourceMoved(opening);
    try {
      if (flow.bytes !== size) throw new SourceMoved();
      const known = vouched(source, listed, object);
      const [digest] = target.store.compares.flatMap((kind): Digest[] => {
        const value = known[kind];
        return value ? [{ kind, value }] : [];
      });
      const md5 = digest || target.store.digest !== 'md5' ? undefined : flow.hash('md5');
      const sha256 = pairing.sha256 ? flow.hash('sha256') : undefined;
      const { attributes, unnative } = attributesAt(target.store, source.store.id, object, digest, pairing.as?.stamp);
      const asked: FlowingObject = { key, size, attributes, expected, known };
      const writing = guarded(target.provider, 'write', key, () => target.store.stream(asked, flow, signal));
      const written = await orTargetMoved('write', asked, writing).catch((error: unknown) => {
        // All has come, and the cloud refuses it: what it was told of it is not so.
        const refused = error instanceof CloudError && error.kind === 'InvalidInput' && flow.passed === size;
        throw refused ? new NotTheSame(error.message) : error;
      });
      const read = { crc32: crcBase64(flow.crc32), md5: md5?.().toString('base64') };
      const differs = [known, read].some((sums) => !agree(sums, written.checksums)) || !agree(known, read);
      if (differs) return await takenBack(pairing, key, written);
      const sums = { crc32: crcHex(flow.crc32), sha256: sha256?.().toString('hex') };
      return { object, ...sums, written, unnative, digest };
    } finally {
      flow.cancel();
    }
  };
  return gate.run(flowBytes, () => gate.call(once));
}

/** Of what both tell. */
const agree = (one: Checksums, other: Checksums): boolean =>
  (['md5', 'crc32', 'crc32c'] as const).every((kind) => !one[kind] || !other[kind] || one[kind] === other[kind]);

async function takenBack(pairing: Pairing, key: string, { version }: Written): Promise<never> {
  const { target, signal } = pairing;
  await guarded(target.provider, 'remove', key, () => target.store.remove({ key, version }, signal));
  throw new NotTheSame('what the target has is not what the source has vouched for; it was removed');
}

/** What another worker needs to take up an upload. */
const Note = z.object({
  version: z.string(),
  upload: z.object({ id: z.string(), partBytes: z.number() }),
  parts: z.array(
    z.tuple([z.number(), z.object({ crc32: z.number(), crc32c: z.number().optional(), receipt: z.string() })]),
  ),
});

const noteName = (key: string): string => `uploads/${createHash('sha256').update(key).digest('hex').slice(0, 32)}.json`;

async function inParts(pairing: Pairing, listed: StoredObject, expected: Expected): Promise<Copied> {
  const { source, target, files, gate, signal } = pairing;
  const { uploads } = target.store;
  const { size } = listed;
  const key = pairing.as?.key ?? listed.key;
  const noted = size > notedParts * partBytes;
  const known = noted ? await readNote(files, key) : undefined;
  // Attributes come with bytes: those of an object that was listed without them are asked for.
  const object = listed.attributes ? listed : await headOf(pairing, source, listed.key, listed.at);
  if (!object || object.size !== size || object.version !== listed.version) throw new SourceMoved();
  const { attributes, unnative } = attributesAt(target.store, source.store.id, object, undefined, pairing.as?.stamp);
  const vouches = vouched(source, listed, object);
  const { md5 } = vouches;
  const asked: NewObject = { key, size, attributes, expected, md5 };

  const parts = new Map<number, Part>();
  let upload: Upload | undefined;
  /** Bytes from the start. */
  let received = 0;
  if (known?.version === object.version) {
    const { upload: begun } = known;
    const has = await ask(pairing, target, 'look at the upload', key, () => uploads.received(asked, begun, signal));
    if (has) {
      upload = begun;
      received = has.bytes;
      // Where the cloud keeps parts apart it knows better than the note what it has.
      const whole = known.parts.filter(([number]) => (number + 1) * begun.partBytes <= received);
      const told = known.parts.filter(([, { receipt }]) => has.receipts.has(receipt));
      for (const [number, part] of uploads.order === 'any' ? [...told, ...has.parts] : whole) parts.set(number, part);
    }
  }
  if (!upload) {
    parts.clear();
    upload = await toTarget(pairing, 'begin the upload', asked, () =>
      uploads.begin(asked, partSizeAt(target.store, size), signal),
    );
  }
  const begun = upload;
  const count = Math.ceil(size / begun.partBytes);

  let written = Promise.resolve();
  let writtenAt = 0;
  const noteOf = (version: string): Buffer =>
    Buffer.from(JSON.stringify({ version, upload: begun, parts: [...parts] }));
  /** One note at a time; whoever comes meanwhile is in the next. */
  const note = (): void => {
    if (!noted || Date.now() - writtenAt < noteMs) return;
    writtenAt = Date.now();
    const text = noteOf(object.version);
    // Without it an upload begins anew: no reason to end it.
    written = written.then(() => files.write(noteName(key), text)).catch(() => {});
  };
  note();
  await written;

  // Of bytes in their order, as they are read: also of those that have been sent before.
  let sha256 = pairing.sha256 ? createHash('sha256') : undefined;
  const bytesOf = (number: number): number => Math.min(begun.partBytes, size - number * begun.partBytes);
  const putPart = async (number: number): Promise<void> => {
    const from = number * begun.partBytes;
    const { piece } = await read(pairing, object, from, bytesOf(number));
    const { crc32 } = piece;
    const put = () => uploads.put(asked, begun, { number, from, piece, crc32 }, signal);
    const part = await toTarget(pairing, 'write a part', asked, put);
    piece.release();
    parts.set(number, part);
    note();
  };
  /** From socket to socket; reading and writing are one call, as of an object that flows whole. */
  const flowPart = async (number: number): Promise<void> => {
    const range = { from: number * begun.partBytes, bytes: bytesOf(number) };
    // What the cloud has already is only read, for what is not known of it.
    const sent = parts.get(number) ?? (range.from + range.bytes <= received ? { crc32: 0, receipt: '' } : undefined);
    const part = await gate.call(async () => {
      const opening = guarded(source.provider, 'read', listed.key, () => source.store.open(object, range, signal));
      const { flow } = await orSourceMoved(opening);
      try {
        if (flow.bytes !== range.bytes) throw new SourceMoved();
        // A break must leave it as it was.
        const sum = sha256?.copy();
        if (sum) flow.watch((chunk) => void sum.update(chunk));
        let castagnoli: number | undefined;
        if (uploads.checks === 'crc32c' && !md5)
          flow.watch((chunk) => {
            castagnoli = crc32c(chunk, castagnoli);
          });
        const passing = guarded(target.provider, 'write a part', key, async () => {
          if (!sent) return uploads.stream(asked, begun, number, flow, signal);
          await flow.run(async () => {});
          return sent;
        });
        const { receipt } = await orTargetMoved('write a part', asked, passing);
        sha256 = sum;
        return { crc32: flow.crc32, receipt, ...(castagnoli !== undefined && { crc32c: castagnoli }) };
      } finally {
        flow.cancel();
      }
    });
    parts.set(number, part);
    note();
  };
  const flows = sha256 !== undefined || begun.partBytes >= uploads.flowsFrom;
  const needed = Array.from({ length: count }, (_, number) => number).filter((number) => sha256 || !parts.has(number));
  try {
    if (!flows) await allOrFirstError(needed.map((number) => gate.run(bytesOf(number), () => putPart(number))));
    else if (uploads.order === 'any' && !sha256)
      await allOrFirstError(needed.map((number) => gate.run(flowBytes, () => flowPart(number))));
    else for (const number of needed) await gate.run(flowBytes, () => flowPart(number));
  } catch (error) {
    // Parts of what the source no longer has are of no use to anybody.
    if (error instanceof SourceMoved)
      await ask(pairing, target, 'give up the upload', key, () => uploads.abandon(asked, begun, signal));
    throw error;
  } finally {
    await written;
  }

  const all = Array.from({ length: count }, (_, number) => parts.get(number) as Part);
  const ofAll = (sums: readonly number[], combine: typeof crc32Combine): number =>
    sums.reduce((sum, part, number) => (number === 0 ? part : combine(sum, part, bytesOf(number))), 0);
  const crc32 = ofAll(
    all.map((part) => part.crc32),
    crc32Combine,
  );
  const sums = all.flatMap((part) => part.crc32c ?? []);
  const castagnoli = sums.length === count ? crcBase64(ofAll(sums, crc32cCombine)) : undefined;
  if (!agree(vouches, { crc32: crcBase64(crc32), crc32c: castagnoli })) {
    await ask(pairing, target, 'give up the upload', key, () => uploads.abandon(asked, begun, signal));
    if (noted) await files.write(noteName(key), noteOf(''));
    throw new NotTheSame('what arrived is not what the source has vouched for');
  }
  const done = await toTarget(pairing, 'complete the upload', asked, () =>
    uploads.complete(asked, begun, { parts: all, crc32 }, signal),
  );
  if (!agree({ md5, crc32c: castagnoli }, done.checksums)) return takenBack(pairing, key, done);
  return { object, crc32: crcHex(crc32), sha256: sha256?.digest('hex'), written: done, unnative, digest: undefined };
}

async function readNote(files: Files, key: string): Promise<z.infer<typeof Note> | undefined> {
  const bytes = await files.read(noteName(key));
  return bytes && Note.parse(JSON.parse(Buffer.from(bytes).toString()));
}

/** Waits for all of them, so that nothing works on unseen, and then throws what went wrong first. */
export async function allOrFirstError(acts: readonly Promise<void>[]): Promise<void> {
  let failed: { error: unknown } | undefined;
  await Promise.all(
    acts.map((act) =>
      act.catch((error: unknown) => {
        failed ??= { error };
      }),
    ),
  );
  if (failed) throw failed.error;
}
