import { Context } from '@temporalio/activity';
import { z } from 'zod';
import { inabilityOf } from '../../model/device-abilities.ts';
import { canClaim, claimReason } from '../../model/device-claim.ts';
import { CloudError, type CloudErrorKind } from '../../model/errors.ts';
import {
  Census,
  CensusDevicesInput,
  type CopiedDevices,
  CopyDevicesInput,
  copyMark,
  Device,
  type DeviceActivities,
  DeviceDifference,
  type DeviceRows,
  DiffDevicesInput,
  type DiffedDevices,
  deviceRow,
  firstRows,
  Outcome,
  ReadDevicesInput,
  RemoveCopiedDevicesInput,
  shardDevices,
  withoutTexts,
} from '../../model/fleet.ts';
import { judgeDevice } from '../../model/fleet-mapping.ts';
import { csvRow } from '../../model/text.ts';
import type { PlacementRef } from '../../model/transfer.ts';
import { ofPlacement, providerCalls } from '../providers/calls.ts';
import type { DevicePage, DeviceRegistry, Put } from '../providers/device-registry.ts';
import { allOrFirstError } from '../transfer/copy-object.ts';
import { type Files, fromLines, LineFiles, ordinal, packLines, toLines, unpackLines } from '../transfer/files.ts';
import { asker, Rates } from './ask.ts';
import {
  batches,
  type DeviceDependencies,
  devicesFile,
  devicesIn,
  devicesOf,
  digestsOf,
  expiryOf,
  fieldsBetween,
  fleetFiles,
  parsed,
} from './files.ts';
import { issuedIn, withIssued } from './issued.ts';

const outcomeFile = (shard: number, attempt: number): string =>
  `outcomes/${ordinal(shard)}${attempt > 0 ? `-${ordinal(attempt)}` : ''}`;

/** How far a census has come; what its heartbeats carry. It changes only where the files that it speaks of are written. */
const Counting = Census.omit({ files: true, refusedFiles: true }).extend({
  token: z.string().optional(),
  ended: z.boolean(),
  refusedFiles: z.number(),
  claimFiles: z.number().default(0),
});

const RefusedDevice = z.strictObject({ id: z.string(), why: z.string(), detail: z.string() });

const refusedPrefix = 'refused-';
/** In the order of names they come first. */
const claimingPrefix = `${refusedPrefix}0-claims-`;
const [needsCertificate, needsUpdate] = ['needs a new certificate', 'its firmware has to be updated to claim one'];

/** What another call would not change: that device alone is given up. */
const final: readonly CloudErrorKind[] = ['InvalidInput', 'NotSupported', 'AlreadyExists', 'NotFound'];

/** What another attempt is for. */
const unsettled: readonly Outcome['outcome'][] = ['failed', 'differs'];
/** First of what is left, in an answer. */
const mostLeft = 5;

const add = <K extends string>(counts: Partial<Record<K, number>>, key: K): void => {
  counts[key] = (counts[key] ?? 0) + 1;
};

export function createDeviceActivities(dependencies: DeviceDependencies): DeviceActivities {
  const { callDeadlineMs } = dependencies;
  const { atEach, requireAccount } = providerCalls(dependencies);
  const filesAt = fleetFiles(dependencies);
  const rates = new Rates();

  /** With the registry of one placement, and the files of a census that are kept at another. */
  function atRegistry<T>(
    {
      placement,
      keptAt,
      name,
      callsPerSecond,
    }: {
      placement: PlacementRef;
      keptAt: PlacementRef;
      name: string;
      callsPerSecond: number;
    },
    details: () => unknown,
    act: (at: { registry: DeviceRegistry; files: Files; signal: AbortSignal }) => Promise<T>,
  ): Promise<T> {
    return atEach(
      { at: placement.provider, kept: keptAt.provider },
      async ({ at, kept }, signal) => {
        await requireAccount(at, ofPlacement(placement), signal);
        const files = await filesAt(kept, keptAt, name, signal);
        const { account, region, owner } = placement;
        const rate = rates.of(`${at.type} ${account} ${region} ${owner.uid} ${owner.service}`, callsPerSecond);
        const { ask } = asker(at, { rate, deadlineMs: callDeadlineMs, signal });
        return act({ registry: at.devices(placement, ask, signal), files, signal });
      },
      details,
    );
  }

  return {
    censusDevices(raw): Promise<Census> {
      const { placement, keptAt, census, to, validUntil, callsPerSecond } = parsed(CensusDevicesInput, raw);
      const untilMs = Date.parse(validUntil ?? '');
      let saved: z.infer<typeof Counting> = Counting.safeParse(Context.current().info.heartbeatDetails).data ?? {
        ended: false,
        devices: 0,
        disabled: 0,
        credentials: {},
        refused: {},
        partly: {},
        shards: 0,
        refusedFiles: 0,
        claimFiles: 0,
        first: [],
      };
      return atRegistry(
        { placement, keptAt, name: census, callsPerSecond },
        () => saved,
        async ({ registry, files }) => {
          // The next page is on its way while this one is written.
          let coming = saved.ended ? undefined : registry.page(saved.token);
          while (coming) {
            const state = structuredClone(saved);
            const refused = new LineFiles(files, refusedPrefix, state.refusedFiles);
            const claiming = new LineFiles(files, claimingPrefix, state.claimFiles);
            const { devices, next }: DevicePage = await coming;
            coming = next === undefined ? undefined : registry.page(next);
            coming?.catch(() => {}); // told where it is waited for
            for (const device of devices) {
              state.devices++;
              if (device.status === 'disabled') state.disabled++;
              add(state.credentials, device.credential.type);
              if (state.first.length < firstRows) state.first.push(deviceRow(device));
              if (to === null) continue;
              const { refusal, detail, without } = judgeDevice(device, to);
              for (const loss of refusal ? [] : without) add(state.partly, loss);
              if (refusal) add(state.refused, refusal);
              const unable =
                validUntil === undefined || refusal
                  ? undefined
                  : inabilityOf(device, { dialect: to }, { untilMs, expiryOf });
              if (unable) {
                state.unable ??= {};
                add(state.unable, unable);
              }
              const why = refusal ?? unable;
              if (!why) continue;
              const row: z.infer<typeof RefusedDevice> = { id: device.id, why, detail };
              const mended = claimReason(device, { to, untilMs, expiryOf });
              if (!mended) await refused.add(row);
              else if (!canClaim(device)) await refused.add({ ...row, detail: needsUpdate });
              else {
                state.claims ??= {};
                add(state.claims, mended);
                await claiming.add({ ...row, detail: needsCertificate });
              }
            }
            await refused.flush();
            await claiming.flush();
            for (let at = 0; at < devices.length; at += shardDevices)
              await files.write(devicesFile(state.shards++), packLines(devices.slice(at, at + shardDevices)));
            const { next: refusedFiles } = refused;
            saved = { ...state, refusedFiles, claimFiles: claiming.next, token: next, ended: next === undefined };
          }
          const { token: _, ended: __, refusedFiles, claimFiles, ...counted } = saved;
          return {
            ...counted,
            files: files.key('devices/'),
            refusedFiles: refusedFiles + claimFiles > 0 ? files.key(refusedPrefix) : '',
          };
        },
      );
    },

    copyDevices(raw): Promise<CopiedDevices> {
      const {
        target,
        transfer,
        startedAt,
        mark: named,
        shard,
        attempt,
        validUntil,
        callsPerSecond,
      } = parsed(CopyDevicesInput, raw);
      const untilMs = Date.parse(validUntil ?? '');
      const mark = copyMark({ transfer: named ?? transfer, startedAt });
      let done = 0;
      const at = { placement: target, keptAt: target, name: transfer, callsPerSecond };
      return atRegistry(
        at,
        () => ({ done }),
        async ({ registry, files }) => {
          const all = (await devicesOf(files, shard)).map((device) => ({
            ...device,
            desired: withoutTexts(device.desired),
          }));
          const again = attempt > 0 ? await unsettledOf(files, shard, attempt - 1) : undefined;
          const devices = all.filter(({ id }) => again?.has(id) ?? true);
          const outcomes = new Map<string, Outcome>();
          const fitting: Device[] = [];
          for (const device of devices) {
            const { id } = device;
            const { refusal, detail, without } = judgeDevice(device, target.providerType);
            const claims =
              validUntil !== undefined && canClaim(device)
                ? claimReason(device, { to: target.providerType, untilMs, expiryOf })
                : undefined;
            const why = [refusal ?? claims, detail].filter(Boolean).join(': ');
            outcomes.set(id, { id, outcome: 'refused', why, without });
            if (!refusal && !claims) fitting.push(device);
          }
          const put = async (some: readonly Device[]): Promise<void> => {
            let answers: Put[];
            try {
              answers = await registry.put(some, mark);
            } catch (error) {
              if (!(error instanceof CloudError) || !final.includes(error.kind)) throw error;
              // One of them spoils a request that they share.
              if (some.length > 1) return allOrFirstError(some.map((one) => put([one])));
              // What was begun of it would stay behind where people go on without it.
              await registry.remove(some, mark);
              answers = [{ how: 'failed', why: error.kind }];
            }
            for (const [index, answer] of answers.entries()) {
              const outcome = outcomes.get(some[index]?.id ?? '');
              if (outcome) Object.assign(outcome, { outcome: answer.how, why: reasonOf(answer) });
            }
            done += some.length;
          };
          await allOrFirstError(batches(fitting, registry.atOnce).map(put));
          return report(files, outcomeFile(shard, attempt), [...outcomes.values()]);
        },
      );
    },

    removeCopiedDevices(raw) {
      const { target, transfer, startedAt, mark: named, shard, callsPerSecond } = parsed(RemoveCopiedDevicesInput, raw);
      const mark = copyMark({ transfer: named ?? transfer, startedAt });
      let removed = 0;
      const at = { placement: target, keptAt: target, name: transfer, callsPerSecond };
      return atRegistry(
        at,
        () => ({ removed }),
        async ({ registry, files }) => {
          // No other can have been registered, and AWS takes a name that no thing can have for a wrong request.
          const devices = (await devicesOf(files, shard)).filter(
            (device) => !judgeDevice(device, target.providerType).refusal,
          );
          const remove = async (some: readonly Device[]): Promise<void> => {
            const gone = await registry.remove(some, mark);
            removed += gone;
          };
          await allOrFirstError(batches(devices, registry.atOnce).map(remove));
          return { removed };
        },
      );
    },

    diffDevices(raw): Promise<DiffedDevices> {
      const { keptAt, left, right, born, claimed } = parsed(DiffDevicesInput, raw);
      let compared = 0;
      return atEach(
        { kept: keptAt.provider },
        async ({ kept }, signal) => {
          const [here, there] = [await filesAt(kept, keptAt, left, signal), await filesAt(kept, keptAt, right, signal)];
          const digests = new Map<string, string>();
          const issued = await issuedIn(
            claimed === undefined ? undefined : await filesAt(kept, keptAt, claimed, signal),
          );
          for await (const device of devicesIn(here)) digests.set(device.id, digestsOf(withIssued(device, issued)));
          const lines = new LineFiles(here, `diff-${right}-`);
          const answer: Omit<DiffedDevices, 'report'> = { same: 0, different: {}, first: [] };
          const note = async (difference: DeviceDifference): Promise<void> => {
            for (const what of difference.differs) add(answer.different, what);
            if (answer.first.length < firstRows) answer.first.push(difference);
            await lines.add(difference);
          };
          for await (const device of devicesIn(there)) {
            compared++;
            const known = digests.get(device.id);
            digests.delete(device.id);
            const own = digestsOf(device);
            if (known === own) answer.same++;
            else if (known === undefined)
              await note({ id: device.id, differs: [born && device.copiedBy === '' ? 'born' : 'extra'] });
            else await note({ id: device.id, differs: fieldsBetween(known, own) });
          }
          for (const id of digests.keys()) await note({ id, differs: ['missing'] });
          await lines.flush();
          return { ...answer, report: lines.key };
        },
        () => ({ compared }),
      );
    },

    readDevices(raw): Promise<DeviceRows> {
      const { keptAt, name, report: which, page } = parsed(ReadDevicesInput, raw);
      return atEach({ kept: keptAt.provider }, async ({ kept }, signal) => {
        const files = await filesAt(kept, keptAt, name, signal);
        const { files: pattern, rows } = rowsOf[which];
        const names = (await files.list('')).filter((file) => pattern.test(file));
        const file = names[page];
        const bytes = file && (await files.read(file));
        return { rows: bytes ? rows(bytes) : [], pages: names.length };
      });
    },
  };
}

type Rows = DeviceRows['rows'];

/** What a line of each report shows. */
const rowsOf: Record<ReadDevicesInput['report'], { files: RegExp; rows: (bytes: Uint8Array) => Rows }> = {
  devices: {
    files: /^devices\/.*\.gz$/,
    rows: (bytes) => unpackLines(bytes).map((line) => deviceRow(Device.parse(line))),
  },
  refused: { files: /^refused-.*\.jsonl$/, rows: (bytes) => fromLines(bytes).map((line) => RefusedDevice.parse(line)) },
  diff: {
    files: /^diff-.*\.jsonl$/,
    rows: (bytes) =>
      fromLines(bytes).map((line) => {
        const { id, differs } = DeviceDifference.parse(line);
        return { id, differs: differs.join(' ') };
      }),
  },
  outcomes: {
    files: /^outcomes\/.*\.jsonl$/,
    rows: (bytes) =>
      fromLines(bytes).map((line) => {
        const { without, ...row } = Outcome.parse(line);
        return { ...row, without: without.join(' ') };
      }),
  },
};

async function unsettledOf(files: Files, shard: number, attempt: number): Promise<Set<string>> {
  const bytes = await files.read(`${outcomeFile(shard, attempt)}.jsonl`);
  const outcomes = bytes ? fromLines(bytes).map((line) => Outcome.parse(line)) : [];
  return new Set(outcomes.filter(({ outcome }) => unsettled.includes(outcome)).map(({ id }) => id));
}

const reasonOf = (put: Put): string => {
  if (put.how === 'failed') return put.why;
  if (put.how !== 'differs') return '';
  return put.fields.length > 0 ? put.fields.join(' ') : 'its name is taken by something else';
};

async function report(files: Files, name: string, outcomes: readonly Outcome[]): Promise<CopiedDevices> {
  const rows = outcomes.map(({ id, outcome, why, without }) => [id, outcome, why, without.join(' ')]);
  const table = [['device', 'outcome', 'why', 'without'], ...rows].map(csvRow).join('');
  await allOrFirstError([
    files.write(`${name}.csv`, Buffer.from(table)),
    files.write(`${name}.jsonl`, toLines(outcomes)),
  ]);
  const counts = { moved: 0, there: 0, differs: 0, refused: 0, failed: 0 };
  for (const { outcome } of outcomes) counts[outcome]++;
  const left = outcomes.filter(({ outcome }) => unsettled.includes(outcome)).slice(0, mostLeft);
  return { ...counts, left, outcome: files.key(`${name}.jsonl`), table: files.key(`${name}.csv`) };
}
