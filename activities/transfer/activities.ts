/** The activities that move objects between two clouds. Served on the bulk queues: one reads the source, writes the target. */
import { ApplicationFailure, Context } from '@temporalio/activity';
import { z } from 'zod';
import { stepsBefore } from '../../model/history.ts';
import { addToShard, openShard, Shard } from '../../model/shards.ts';
import {
  type CopiedDelta,
  CopyDeltaInput,
  CopySampleInput,
  CopyShardInput,
  type MeasuredStore,
  MeasureStoreInput,
  type PlannedTransfer,
  PlanTransferInput,
  RepairTransferInput,
  refusals,
  type Transfer,
  type TransferActivities,
  VerifyTransferInput,
} from '../../model/transfer.ts';
import { CopyVersionsInput, VersionsHeld } from '../../model/versions.ts';
import { ofPlacement, providerCalls } from '../providers/calls.ts';
import { guarded } from '../providers/provision.ts';
import { allOrFirstError, ask, headOf, type Pairing } from './copy-object.ts';
import { copyRange } from './copy-range.ts';
import { copyVersionsIn } from './copy-versions.ts';
import { type Files, fromLines, LineFiles, ordinal, toLines } from './files.ts';
import { Gate } from './gate.ts';
import { historiesIn } from './histories.ts';
import { objectsIn } from './listing.ts';
import { Manifest, type ManifestLine } from './manifest.ts';
import { pairings, type TransferDependencies } from './pairing.ts';
import { repair } from './repair.ts';
import { copyEveryNth, Sampling } from './sample.ts';
import { rangePairs, verdicts, verify } from './verify.ts';
import { versionVerdicts } from './verify-versions.ts';

/** Shards in one file of a plan. */
const shardsPerFile = 1000;
const planFile = (shard: number): string => `plan/${ordinal(Math.floor(shard / shardsPerFile))}.jsonl`;
const shardScope = (shard: number, attempt = 0): string =>
  `shards/${ordinal(shard)}${attempt > 0 ? `-${ordinal(attempt)}` : ''}`;
const versionScope = (shard: number, attempt: number): string => `versions/${ordinal(shard)}-${ordinal(attempt)}`;
const deltaScope = (round: number): string => `deltas/${ordinal(round)}`;
const everything = { after: '', to: '' };

/** How far a plan has come; what its heartbeats carry. */
const Planning = z.strictObject({
  cursor: z.string(),
  shard: Shard,
  shards: z.number(),
  /** Of the current file of the plan. */
  closed: z.array(Shard),
  objects: z.number(),
  bytes: z.number(),
  refused: z.partialRecord(z.enum(refusals), z.number()),
  refusedFiles: z.number(),
});

const Measuring = z.strictObject({
  cursor: z.string(),
  objects: z.number(),
  bytes: z.number(),
  largest: z.number(),
  versions: VersionsHeld.optional(),
});

const invalidInput = (message: string): ApplicationFailure => ApplicationFailure.nonRetryable(message, 'InvalidInput');

function parsed<T>(schema: z.ZodType<T>, input: unknown): T {
  const { data, error } = schema.safeParse(input);
  if (error) throw invalidInput(z.prettifyError(error));
  return data as T;
}

/** What the heartbeat of an earlier attempt has told, where it can be understood. */
const earlier = <T>(schema: z.ZodType<T>): T | undefined =>
  schema.safeParse(Context.current().info.heartbeatDetails).data;

interface Noted<T> {
  fill: (pairing: Pairing, manifest: Manifest, beat: () => void) => Promise<unknown>;
  told: (pairing: Pairing, manifest: Manifest) => Promise<T>;
}

export function createTransferActivities(dependencies: TransferDependencies): TransferActivities {
  const calls = providerCalls(dependencies);
  const { at, atEach, requireAccount } = calls;
  const atPair = pairings(dependencies, calls);

  async function shardOf(files: Files, shard: number): Promise<Shard> {
    const bytes = await files.read(planFile(shard));
    const line = bytes && fromLines(bytes)[shard % shardsPerFile];
    if (!line) throw invalidInput(`shard ${shard} is not in the plan ${files.key('plan/')}`);
    return Shard.parse(line);
  }

  /** What is done is noted in a manifest, of which an attempt that was cut short has filled a part; heartbeats tell how far it is. */
  function noted<T>(transfer: Transfer, scope: string, { fill, told }: Noted<T>): Promise<T> {
    let seen: unknown;
    return atPair(
      transfer,
      () => seen,
      async (pairing) => {
        const manifest = await Manifest.open(pairing.files, scope);
        const beat = (): void => {
          seen = { cursor: manifest.cursor, seen: manifest.totals.seen };
        };
        if (!manifest.done) {
          await fill(pairing, manifest, beat);
          await manifest.flush(true);
        }
        return told(pairing, manifest);
      },
    );
  }

  return {
    planTransfer(input): Promise<PlannedTransfer> {
      const { shardObjects, shardBytes, ...transfer } = parsed(PlanTransferInput, input);
      const limits = { objects: shardObjects, bytes: shardBytes };
      // What a heartbeat carries must be whole: it changes only where the files that it speaks of are written.
      let saved: z.infer<typeof Planning> = earlier(Planning) ?? {
        cursor: '',
        shard: openShard(),
        shards: 0,
        closed: [],
        objects: 0,
        bytes: 0,
        refused: {},
        refusedFiles: 0,
      };
      return atPair(
        transfer,
        () => saved,
        async (pairing) => {
          const { source, target, files } = pairing;
          const state = structuredClone(saved);
          const refused = new LineFiles(files, 'refused-', state.refusedFiles);
          const close = async (shard: Shard): Promise<void> => {
            state.closed.push(shard);
            await files.write(planFile(state.shards++), toLines(state.closed));
            if (state.closed.length === shardsPerFile) state.closed = [];
          };
          for await (const object of objectsIn(pairing, source, { after: state.cursor, to: '' })) {
            const next = addToShard(state.shard, state.cursor, object, limits);
            if (next.closed) {
              await refused.flush();
              state.refusedFiles = refused.next;
              // Before this object: it is listed again by whoever takes this up.
              await close(next.closed);
              saved = structuredClone({ ...state, shard: openShard(state.cursor) });
            }
            state.shard = next.shard;
            state.cursor = object.key;
            state.objects++;
            state.bytes += object.size;
            const reason = object.refusal ?? target.store.refusal(object);
            if (!reason) continue;
            state.refused[reason] = (state.refused[reason] ?? 0) + 1;
            await refused.add({ key: object.key, size: object.size, reason });
          }
          await refused.flush();
          await close({ ...state.shard, to: '' });
          const { objects, bytes, shards } = state;
          return {
            objects,
            bytes,
            shards,
            plan: files.key('plan/'),
            refused: state.refused,
            refusedFiles: refused.key,
          };
        },
      );
    },

    copyShard(input) {
      const { shard, attempt, ...transfer } = parsed(CopyShardInput, input);
      return noted(transfer, shardScope(shard, attempt), {
        fill: async (pairing, manifest, beat) => {
          const range = await shardOf(pairing.files, shard);
          await copyRange(pairing, range, manifest, { gone: false, changesOnly: false, beat });
        },
        told: async (_, manifest) => manifest.result(),
      });
    },

    copyVersions(input) {
      const { shard, attempt, passOver, ...transfer } = parsed(CopyVersionsInput, input);
      return noted(transfer, versionScope(shard, attempt), {
        fill: async (pairing, manifest, beat) => {
          const range = await shardOf(pairing.files, shard);
          await copyVersionsIn(pairing, range, manifest, { passOver, beat });
        },
        told: async (_, manifest) => manifest.versions(),
      });
    },

    copyDelta(input): Promise<CopiedDelta> {
      const { round, maxDeletes, gone: becomes, ...transfer } = parsed(CopyDeltaInput, input);
      const scope = deltaScope(round);
      return noted(transfer, scope, {
        fill: (pairing, manifest, beat) =>
          copyRange(pairing, everything, manifest, { gone: becomes === 'delete', changesOnly: true, beat }),
        async told(pairing, manifest) {
          const { files, gate, source, target, signal } = pairing;
          const { totals } = manifest;
          const { gone } = totals;
          const held = gone > maxDeletes;
          let deleted = 0;
          const remove = async (key: string, version: string): Promise<void> => {
            // It may have come back, or never have been gone: the listings of a living store are not of one moment.
            if (await headOf(pairing, source, key)) return;
            await ask(pairing, target, 'remove', key, () => target.store.remove({ key, version }, signal));
            deleted++;
          };
          if (gone > 0 && !held) {
            const removals: Promise<void>[] = [];
            for await (const line of Manifest.read(files, scope))
              if (line.how === 'gone') removals.push(gate.run(0, () => remove(line.key, line.version)));
            await allOrFirstError(removals);
          }
          const behind = totals.copied.objects + totals.failed + gone;
          const left = totals.failed + (held ? gone : 0);
          return { ...manifest.result(), deletes: held ? 'held' : 'applied', deleted, gone, behind, left };
        },
      });
    },

    verifyTransfer(input) {
      const { what, bodies, ...transfer } = parsed(VerifyTransferInput, input);
      let compared = 0;
      return atPair(
        transfer,
        () => ({ compared }),
        async (pairing) => {
          const { files } = pairing;
          const activity = Context.current().info.activityId;
          const beat = (): void => void compared++;
          if (what.kind === 'versions') {
            const kept = versionScope(what.shard, what.attempt);
            const report = new LineFiles(files, `${kept}/verify-${activity}-`);
            const range = await shardOf(files, what.shard);
            const lines = Manifest.read(files, kept);
            return verify(versionVerdicts({ pairing, bodies }, range, lines), { report, beat });
          }
          const scope =
            what.kind === 'shard' ? shardScope(what.shard) : what.kind === 'delta' ? deltaScope(what.round) : undefined;
          const known = new Map<string, Extract<ManifestLine, { how: 'copied' }>>();
          const touched: string[] = [];
          if (scope)
            for await (const line of Manifest.read(files, scope)) {
              if (line.how === 'copied') known.set(line.key, line);
              // What could not be copied is told by its count and its file.
              if (line.how !== 'in step' && line.how !== 'failed') touched.push(line.key);
            }
          const pairs =
            what.kind === 'delta'
              ? touchedPairs(touched)
              : rangePairs(pairing, what.kind === 'shard' ? await shardOf(files, what.shard) : everything);
          const name = what.kind === 'everything' ? 'verify' : `${scope}/verify`;
          const report = new LineFiles(files, `${name}-${activity}-`);
          return verify(verdicts({ pairing, bodies }, known, pairs), { report, beat });
        },
      );
    },

    repairTransfer(input) {
      const { report, gone, ...transfer } = parsed(RepairTransferInput, input);
      let looked = 0;
      return atPair(
        transfer,
        () => ({ looked }),
        (pairing) => repair(pairing, { report, gone, beat: () => void looked++ }),
      );
    },

    copySample(input) {
      const { every, ...transfer } = parsed(CopySampleInput, input);
      let saved = earlier(Sampling) ?? { cursor: '', listed: 0, objects: 0, bytes: 0, failed: 0 };
      const save = (state: Sampling): void => {
        saved = state;
      };
      return atPair(
        transfer,
        () => saved,
        (pairing) => copyEveryNth(pairing, every, saved, save),
      );
    },

    measureStore(input): Promise<MeasuredStore> {
      const { placement, versions: withVersions } = parsed(MeasureStoreInput, input);
      const state: z.infer<typeof Measuring> = earlier(Measuring) ?? { cursor: '', objects: 0, bytes: 0, largest: 0 };
      return atEach(
        { only: placement.provider },
        async ({ only: provider }, signal) => {
          await requireAccount(provider, ofPlacement(placement), signal);
          const side = { provider, store: provider.store(placement) };
          const working = { gate: new Gate(signal), signal };
          if (!state.versions)
            for await (const { key, size } of objectsIn(working, side, { after: state.cursor, to: '' })) {
              state.cursor = key;
              state.objects++;
              state.bytes += size;
              state.largest = Math.max(state.largest, size);
            }
          if (withVersions) {
            const held = state.versions ?? { cursor: '', objects: 0, bytes: 0, deletions: 0 };
            state.versions = held;
            for await (const { key, kept } of historiesIn(working, side, { after: held.cursor, to: '' })) {
              for (const step of stepsBefore(kept)) {
                if (step === 'deleted') held.deletions++;
                else {
                  held.objects++;
                  held.bytes += step.object.size;
                  state.largest = Math.max(state.largest, step.object.size);
                }
              }
              held.cursor = key;
            }
          }
          const { cursor: _, versions, ...measured } = state;
          if (!versions) return measured;
          const { cursor: _last, ...held } = versions;
          return { ...measured, versions: held };
        },
        () => structuredClone(state),
      );
    },

    nameWriter(input) {
      const { placement } = parsed(MeasureStoreInput, input);
      return at(placement.provider, (provider, signal) =>
        guarded(provider, 'name the writer', placement.owner.service, () => provider.fence.identity(signal)),
      );
    },
  };
}

/** Looked at on both sides when their turn comes. */
async function* touchedPairs(keys: readonly string[]) {
  for (const key of keys) yield { key, source: undefined, target: undefined };
}
