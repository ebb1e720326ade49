/** The activities that look at all sides of a replicated service beside its pump: comparisons, repairs, the log of conflicts. */
import { ApplicationFailure, Context } from '@temporalio/activity';
import { z } from 'zod';
import { conflictRule } from '../../model/conflict.ts';
import {
  type Conflict,
  ReadConflictsInput,
  type RestoredConflict,
  WriteConflictBackInput,
} from '../../model/conflict-view.ts';
import { type ComparedSides, CompareSidesInput, type RepairedSides, RepairSidesInput } from '../../model/divergence.ts';
import { recordsPlacement } from '../../model/records.ts';
import type { PlacementRef } from '../../model/transfer.ts';
import { namesOf, type Transformation, transformOf } from '../../model/transformation.ts';
import { cellOf, ofPlacement, paceOf, providerCalls } from '../providers/calls.ts';
import type { Provider } from '../providers/driver.ts';
import { recordsBuckets } from '../records/bucket.ts';
import { compareSides } from '../transfer/compare-sides.ts';
import { Refusal } from '../transfer/copy-object.ts';
import { copiesIn, type Files, filesOf } from '../transfer/files.ts';
import { Gate } from '../transfer/gate.ts';
import type { TransferDependencies } from '../transfer/pairing.ts';
import { Receipts } from '../transfer/receipts.ts';
import { conflictsIn, type RecordsSide, wayBack } from './conflicts.ts';
import { changeOf, type Working } from './losers.ts';
import { repairSides } from './repair-sides.ts';
import { copyOf, openSide, type SideStore } from './stores.ts';

export interface SidesActivities {
  /** Lists each side once, and names what is not the same everywhere. Changes nothing. */
  compareSides(input: CompareSidesInput): Promise<ComparedSides>;
  /** Makes what a comparison has named the same, by the rule; what has changed since is left. */
  repairSides(input: RepairSidesInput): Promise<RepairedSides>;
  /** A page of the log of one place. */
  readConflicts(input: ReadConflictsInput): Promise<{ conflicts: Conflict[]; more: boolean }>;
  /** Writes what has lost a conflict back, as a change of its own. */
  writeConflictBack(input: WriteConflictBackInput): Promise<RestoredConflict>;
}

interface Opened extends Working {
  sides: SideStore[];
  beat(): void;
}

export function createSidesActivities({
  pollMs,
  recordsDays = 400,
  ...dependencies
}: TransferDependencies): SidesActivities {
  const { callDeadlineMs } = dependencies;
  const { atEach, atPlacement, requireAccount } = providerCalls(dependencies);
  const ensureBucket = recordsBuckets({ cellOf, pace: paceOf(pollMs), retentionDays: recordsDays, repair: false });

  /** Runs an act on all sides; `more`: providers that it needs besides. */
  function atSides<T>(
    { sides: placements, callsPerSecond }: { sides: readonly PlacementRef[]; callsPerSecond?: number | undefined },
    act: (opened: Opened, providers: Readonly<Record<string, Provider>>) => Promise<T>,
    more: readonly string[] = [],
  ): Promise<T> {
    const names = [...placements.map(({ provider }) => provider), ...more];
    let seen = 0;
    return atEach(
      Object.fromEntries(names.map((name) => [name, name])),
      async (providers, signal) => {
        const gate = new Gate(signal);
        const sides: SideStore[] = [];
        for (const placement of placements) {
          const provider = providers[placement.provider] as Provider;
          await requireAccount(provider, ofPlacement(placement), signal);
          sides.push(
            await openSide(provider, placement, { gate, signal, ensureBucket, callDeadlineMs, callsPerSecond }),
          );
        }
        return act({ sides, gate, signal, beat: () => void seen++ }, providers);
      },
      () => ({ seen }),
    );
  }

  /** In the records bucket of the first side's place. */
  function filesAt({ sides: [first], signal }: Opened, transfer: string): Files {
    if (!first) throw invalidInput('sides: there is none');
    return filesOf(first.provider, { target: first.placement, transfer }, signal);
  }

  return {
    compareSides(raw) {
      const { name, rule, source, settleMs, ...how } = parsed(CompareSidesInput, raw);
      const { activityId, attempt } = Context.current().info;
      return atSides(how, (opened) =>
        compareSides({
          ...opened,
          ...{ copyOf, changeOf, settleMs, source, rule: conflictRule(rule, source) },
          ...{ oneWay: how.oneWay, ...transforming(how.transformations, source) },
          files: filesAt(opened, name),
          prefix: `${activityId}-${attempt}-`,
        }),
      );
    },

    repairSides(raw) {
      const { name, report, source, transformations, ...at } = parsed(RepairSidesInput, raw);
      return atSides(at, (opened) => {
        const files = filesAt(opened, name);
        if (!report.startsWith(files.key('')))
          throw invalidInput(`report: found ${report}; it must be of this comparison, ${files.key('')}`);
        return repairSides({ ...opened, files, report, source, ...transforming(transformations, source) });
      });
    },

    readConflicts(raw) {
      const { owner, place, ...which } = parsed(ReadConflictsInput, raw);
      const bucket = recordsPlacement(owner, place);
      return atPlacement(bucket, (provider, signal) =>
        conflictsIn(provider, bucket, { service: owner.service, ...which }, signal),
      );
    },

    writeConflictBack(raw) {
      const { id, places, sides: placements, to, as } = parsed(WriteConflictBackInput, raw);
      const [first] = placements;
      if (!first) throw invalidInput('sides: there is none');
      const { owner } = first;
      return atSides(
        { sides: placements },
        async (opened, providers) => {
          const records: RecordsSide[] = [];
          for (const place of places) {
            const provider = providers[place.provider] as Provider;
            const bucket = recordsPlacement(owner, place);
            await requireAccount(provider, ofPlacement(bucket), opened.signal);
            const resources = [...(await ensureBucket(provider, bucket, opened.signal))];
            const store = provider.store({ ...bucket, resources });
            const receipts = new Receipts(copiesIn(provider, { ...first, ...place }, opened.signal), store);
            records.push({ provider, store, receipts, bucket });
          }
          try {
            return await wayBack({ ...opened, id, service: owner.service, records, to, as });
          } catch (error) {
            if (!(error instanceof Refusal)) throw error;
            throw ApplicationFailure.nonRetryable(`It cannot be restored: ${error.message}.`, 'NotSupported');
          }
        },
        places.map(({ provider }) => provider),
      );
    },
  };
}

function transforming(transformations: readonly Transformation[], source: string) {
  const transform = transformOf(transformations);
  return { transform, naming: namesOf(transform, source) };
}

const invalidInput = (message: string): ApplicationFailure => ApplicationFailure.nonRetryable(message, 'InvalidInput');

function parsed<T>(schema: z.ZodType<T>, input: unknown): T {
  const { data, error } = schema.safeParse(input);
  if (error) throw invalidInput(z.prettifyError(error));
  return data as T;
}
