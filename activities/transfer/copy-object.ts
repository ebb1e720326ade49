/**
 * One object from one cloud to the other, through memory: whole where it fits into a part, else in parts that are taken up
 * again after a break. The write has a condition, so that nothing newer at the target is ever lost; both ends' checksums
 * are compared.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { crc32Combine, crc32cCombine, crcBase64, crcHex } from '../../model/crc32.ts';
import { CloudError, type CloudErrorKind } from '../../model/errors.ts';
import type { Unnative } from '../../model/transfer.ts';
import type { Provider } from '../providers/driver.ts';
import {
  type Checksums,
  type Expected,
  md5Of,
  type NewObject,
  type ObjectStore,
  type Part,
  type ReadPiece,
  type StoredObject,
  type Upload,
} from '../providers/object-store.ts';
import { guarded } from '../providers/provision.ts';
import { crc32cOf, tailOf } from './digest.ts';
import type { Files } from './files.ts';
import { type Gate, memoryBytes } from './gate.ts';
import { attributesAt, inStep } from './mark.ts';

/** Objects up to here go in one call; larger ones in parts of at least this size. */
export const partBytes = 8 * 1024 * 1024;
/** Uploads of more parts than this leave a note, by which another worker takes them up. */
const notedParts = 8;
/** The note is written again when it is this old. */
const noteMs = 5000;

export interface Side {
  provider: Provider;
  store: ObjectStore;
}

export interface Pairing {
  source: Side;
  target: Side;
  gate: Gate;
  /** Where notes of uploads in parts are kept. */
  files: Files;
  signal: AbortSignal;
}

export type Outcome =
  | {
      how: 'copied';
      object: StoredObject;
      crc32: string;
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
  side: Side,
  operation: string,
  key: string,
  step: () => Promise<T>,
): Promise<T> => pairing.gate.call(() => guarded(side.provider, operation, key, step));

export const headOf = (
  pairing: Pick<Pairing, 'gate' | 'signal'>,
  side: Side,
  key: string,
): Promise<StoredObject | undefined> => ask(pairing, side, 'head', key, () => side.store.head(key, pairing.signal));

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
    const reason =
      refused ?? (target.store.refusal(object) as Refused | undefined) ?? tooLarge(target.store, object.size);
    if (reason) return { how: 'failed', reason, detail: detailOf(reason, target.store) };
    try {
      const copied =
        object.size <= partBytes ? await whole(pairing, object, expected) : await inParts(pairing, object, expected);
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
        if (now && inStep({ store: source.store, object }, { store: target.store, object: now }))
          return { how: 'in step', object, target: now };
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
    size: `${target.id.split(':')[0]} takes no object of this size, or the engine can hold no part of it`,
    content: 'what arrived is not what the source has vouched for',
  })[reason];

const partSize = ({ uploads: { quantum, maxParts } }: ObjectStore, size: number): number =>
  Math.max(partBytes, Math.ceil(size / maxParts / quantum) * quantum);
export const tooLarge = (target: ObjectStore, size: number): 'size' | undefined =>
  partSize(target, size) > memoryBytes ? 'size' : undefined;

/** The MD5 by which the source's cloud answers for the bytes. */
const vouched = ({ store }: Side, { size, checksums }: StoredObject): string | undefined =>
  size <= store.vouchedBytes ? checksums.md5 : undefined;

async function read(
  pairing: Pairing,
  object: StoredObject,
  from: number,
  bytes: number,
): Promise<{ object: StoredObject; piece: ReadPiece }> {
  const { source, signal } = pairing;
  // There is no range of nothing.
  if (bytes === 0) {
    const now = await headOf(pairing, source, object.key);
    if (!now || now.size > 0) throw new SourceMoved();
    return { object: now, piece: { chunks: [], bytes: 0, crc32: 0, release: () => {} } };
  }
  try {
    return await ask(pairing, source, 'read', object.key, async () => {
      const answer = await source.store.read(object, { from, bytes }, signal);
      if (answer.piece.bytes === bytes) return answer;
      throw Object.assign(new Error('the answer was cut short'), { code: 'ECONNRESET' });
    });
  } catch (error) {
    if (error instanceof CloudError && movedKinds.includes(error.kind)) throw new SourceMoved();
    throw error;
  }
}

async function toTarget<T>(
  pairing: Pairing,
  operation: string,
  asked: Pick<NewObject, 'key' | 'expected'>,
  step: () => Promise<T>,
): Promise<T> {
  try {
    return await ask(pairing, pairing.target, operation, asked.key, step);
  } catch (error) {
    // "Not found" where nothing was expected is the store itself.
    const isStore = operation === 'write' && 'absent' in asked.expected;
    if (error instanceof CloudError && movedKinds.includes(error.kind) && !(isStore && error.kind === 'NotFound'))
      throw new TargetMoved();
    throw error;
  }
}

type Copied = Pick<Extract<Outcome, { how: 'copied' }>, 'object' | 'crc32' | 'written' | 'unnative'>;

async function whole(pairing: Pairing, listed: StoredObject, expected: Expected): Promise<Copied> {
  const { source, target, signal } = pairing;
  const { key, size } = listed;
  const { object, piece } = await read(pairing, listed, 0, size);
  const { crc32 } = piece;
  const claimed = vouched(source, { ...object, checksums: { ...listed.checksums, ...object.checksums } });
  const md5 = claimed ?? (target.store.digest === 'md5' ? md5Of(piece) : undefined);
  const digest = target.store.digest === 'md5' ? (md5 ?? '') : crcBase64(crc32);
  const { attributes, unnative } = attributesAt(target.store, source.store.id, object, digest);
  const asked: NewObject = { key, size, attributes, expected, md5 };
  try {
    const written = await toTarget(pairing, 'write', asked, () => target.store.write(asked, piece, crc32, signal));
    piece.release();
    return { object, crc32: crcHex(crc32), written, unnative };
  } catch (error) {
    // Of what it refuses, a cloud says the same of a wrong checksum as of anything else: our own tells.
    if (error instanceof CloudError && error.kind === 'InvalidInput' && claimed && claimed !== md5Of(piece))
      throw new NotTheSame('what arrived is not what the source has vouched for');
    throw error;
  }
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
  const { key, size } = listed;
  const noted = size > notedParts * partBytes;
  const known = noted ? await readNote(files, key) : undefined;
  // Attributes come with bytes: those of an object that was listed without them are asked for.
  const object = listed.attributes ? listed : await headOf(pairing, source, key);
  if (!object || object.size !== size || object.version !== listed.version) throw new SourceMoved();
  const { attributes, unnative } = attributesAt(target.store, source.store.id, object, '');
  const md5 = vouched(source, { ...object, checksums: { ...listed.checksums, ...object.checksums } });
  const asked: NewObject = { key, size, attributes, expected, md5 };

  const parts = new Map<number, Part>();
  let upload: Upload | undefined;
  let from = 0;
  if (known?.version === object.version) {
    const { upload: begun } = known;
    const received = await ask(pairing, target, 'look at the upload', key, () =>
      uploads.received(asked, begun, signal),
    );
    if (received) {
      upload = begun;
      from = received.bytes;
      // Where the cloud keeps parts apart it knows better than the note what it has.
      const whole = known.parts.filter(([number]) => (number + 1) * begun.partBytes <= from);
      for (const [number, part] of uploads.order === 'any' ? received.parts : whole) parts.set(number, part);
    }
  }
  if (!upload) {
    parts.clear();
    upload = await toTarget(pairing, 'begin the upload', asked, () =>
      uploads.begin(asked, partSize(target.store, size), signal),
    );
  }
  const begun = upload;
  const count = Math.ceil(size / begun.partBytes);

  let written = Promise.resolve();
  let writtenAt = 0;
  /** One note at a time; whoever comes meanwhile is in the next. */
  const note = (): void => {
    if (!noted || Date.now() - writtenAt < noteMs) return;
    writtenAt = Date.now();
    const text = JSON.stringify({ version: object.version, upload: begun, parts: [...parts] });
    // Without it an upload begins anew: no reason to end it.
    written = written.then(() => files.write(noteName(key), Buffer.from(text))).catch(() => {});
  };
  note();
  await written;

  const bytesOf = (number: number): number => Math.min(begun.partBytes, size - number * begun.partBytes);
  const readPart = async (number: number) => {
    const { piece } = await read(pairing, object, number * begun.partBytes, bytesOf(number));
    const sums = { crc32: piece.crc32, ...(uploads.checks === 'crc32c' && !md5 && { crc32c: crc32cOf(piece) }) };
    return { piece, sums };
  };
  const send = async (number: number, { piece, sums }: Awaited<ReturnType<typeof readPart>>): Promise<void> => {
    const start = number * begun.partBytes;
    const skip = Math.max(0, from - start);
    // What the cloud has already, of a part whose checksum was not noted, is only read.
    const part =
      skip >= piece.bytes
        ? { crc32: 0, receipt: '' }
        : await toTarget(pairing, 'write a part', asked, () =>
            uploads.put(
              asked,
              begun,
              { number, from: start + skip, piece: tailOf(piece, skip), crc32: sums.crc32 },
              signal,
            ),
          );
    piece.release();
    parts.set(number, { ...part, ...sums });
    note();
  };
  const missing = Array.from({ length: count }, (_, number) => number).filter((number) => !parts.has(number));
  try {
    if (uploads.order === 'any')
      await allOrFirstError(
        missing.map((number) => gate.run(bytesOf(number), async () => send(number, await readPart(number)))),
      );
    else await inOrder(missing, (number) => gate.run(2 * bytesOf(number), () => readPart(number)), send);
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
  const done = await toTarget(pairing, 'complete the upload', asked, () =>
    uploads.complete(asked, begun, { parts: all, crc32 }, signal),
  );
  const castagnoli = all.flatMap((part) => part.crc32c ?? []);
  const crc32c = castagnoli.length === count ? crcBase64(ofAll(castagnoli, crc32cCombine)) : undefined;
  const { checksums } = done;
  const differs =
    (md5 && checksums.md5 && checksums.md5 !== md5) || (crc32c && checksums.crc32c && checksums.crc32c !== crc32c);
  if (differs) {
    const { version } = done;
    await ask(pairing, target, 'remove', key, () => target.store.remove({ key, version }, signal));
    throw new NotTheSame('what the target has is not what the source has vouched for; it was removed');
  }
  return { object, crc32: crcHex(crc32), written: done, unnative };
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

/** The next part is read while the one before it is sent. */
async function inOrder<T>(
  numbers: readonly number[],
  get: (number: number) => Promise<T>,
  send: (number: number, got: T) => Promise<void>,
): Promise<void> {
  const [first] = numbers;
  let next = first === undefined ? undefined : get(first);
  for (const [at, number] of numbers.entries()) {
    const got = await (next as Promise<T>);
    const following = numbers[at + 1];
    next = following === undefined ? undefined : get(following);
    next?.catch(() => {}); // thrown when its turn comes
    await send(number, got);
  }
}
