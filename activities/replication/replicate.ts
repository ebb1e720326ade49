/** Keeping the sides of a service in step: one pump at a time, which owns the books of all of them. */
import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { ApplicationFailure, Context } from '@temporalio/activity';
import type { Client } from '@temporalio/client';
import type { z } from 'zod';
import { settle } from '../../model/capture.ts';
import { conflictRule, successor } from '../../model/conflict.ts';
import { CloudError, type CloudErrorKind } from '../../model/errors.ts';
import { type PumpedSides, type PumpReport, ReplicateSidesInput } from '../../model/replicate.ts';
import type { PlacementRef } from '../../model/transfer.ts';
import { type Names, namesOf, transformOf } from '../../model/transformation.ts';
import { cellOf, ofPlacement, paceOf, providerCalls } from '../providers/calls.ts';
import type { Provider } from '../providers/driver.ts';
import { recordsBuckets } from '../records/bucket.ts';
import { toLines } from '../transfer/files.ts';
import { Gate } from '../transfer/gate.ts';
import type { TransferDependencies } from '../transfer/pairing.ts';
import { Book, Superseded } from './book.ts';
import { replicationMetrics } from './metrics.ts';
import { Pump, type PumpSide } from './pump.ts';
import { resynchronise } from './resynchronise.ts';
import { contentOf, openSide } from './stores.ts';

export interface ReplicateActivities {
  /**
   * Keeps the sides in step for as long as it is told, or until the brake holds a direction. A cancellation ends it between two
   * calls; the next pump goes on from the books.
   */
  replicateSides(input: ReplicateSidesInput): Promise<PumpedSides>;
}

/** Tells the run of a pump by a signal. */
export const reportsBy =
  (client: Pick<Client, 'workflow'>): NonNullable<ReplicateDependencies['report']> =>
  ({ workflowId, runId }, told) =>
    client.workflow.getHandle(workflowId, runId).signal('report', told);

export type ReplicateDependencies = TransferDependencies & {
  /** Tells the run that has started the pump how far it is. */
  report?: (run: { workflowId: string; runId: string }, report: PumpReport) => Promise<void>;
};

/** A side that cannot be asked for one of these is left out until it answers again. */
const awayKinds: readonly CloudErrorKind[] = ['Unavailable', 'Throttled', 'PermissionDenied', 'Unauthenticated'];
/** How often a side that is away is asked again. */
const askAgainMs = 2000;

export function createReplicateActivities({
  pollMs,
  recordsDays = 400,
  report,
  ...dependencies
}: ReplicateDependencies): ReplicateActivities {
  const { atEach, requireAccount } = providerCalls(dependencies);
  const ensureBucket = recordsBuckets({ cellOf, pace: paceOf(pollMs), retentionDays: recordsDays, repair: false });

  async function open(
    provider: Provider,
    placement: PlacementRef,
    input: ReturnType<typeof ReplicateSidesInput.parse>,
    context: { gate: Gate; signal: AbortSignal; shared: (key: string, text: string) => string },
  ): Promise<PumpSide> {
    await requireAccount(provider, ofPlacement(placement), context.signal);
    const { callDeadlineMs } = dependencies;
    const { callsPerSecond } = input;
    const store = await openSide(provider, placement, { ...context, ensureBucket, callDeadlineMs, callsPerSecond });
    const pump = randomUUID();
    const book = await Book.open(store.name, store.files, { epoch: input.epoch, pump, shared: context.shared });
    const feed = input.feeds.includes(store.name) ? provider.feed.open(placement) : undefined;
    return { store, book, feed };
  }

  return {
    async replicateSides(raw) {
      const input = ReplicateSidesInput.parse(raw);
      const names = Object.fromEntries(input.sides.map(({ provider }) => [provider, provider]));
      let pump: Pump | undefined;
      const told = (): PumpReport => ({
        epoch: input.epoch,
        directions: pump?.lag ?? [],
        inStepAt: pump?.inStepAt ?? '',
      });
      const context = Context.current();
      // Only who beats hears that it is to stop.
      const beat = setInterval(() => context.heartbeat(told()), 1000);
      return atEach(
        names,
        async (providers, signal) => {
          const gate = new Gate(signal);
          const sides = new Map<string, PumpSide>();
          const away: Record<string, string> = {};
          const shared = (key: string, text: string): string => {
            for (const { book } of sides.values()) {
              const known = book.textOf(key);
              if (known === text) return known;
            }
            return text;
          };
          const tryOpen = async (placement: PlacementRef): Promise<boolean> => {
            const provider = providers[placement.provider] as Provider;
            try {
              sides.set(placement.provider, await open(provider, placement, input, { gate, signal, shared }));
              return true;
            } catch (error) {
              if (!(error instanceof CloudError) || !awayKinds.includes(error.kind)) throw error;
              away[placement.provider] = error.message;
              return false;
            }
          };
          for (const placement of input.sides) await tryOpen(placement);
          const { edges, rule, source, tombstoneMs, maxDeletes, released, held, compareMs } = input;
          if (!edges.some(({ from, to }) => sides.has(from) && sides.has(to)))
            throw ApplicationFailure.create({
              type: 'Unavailable',
              message: `no two sides can be reached: ${Object.values(away).join('; ')}`,
            });
          const transform = transformOf(input.transformations);
          const naming = namesOf(transform, source);
          const longestMs = Math.max(input.partitionMs, 2 * compareMs);
          const since = Date.now();
          const resynchronised = await resynchronise(sides, { naming, longestMs, epoch: input.epoch, gate, signal });
          const doubted = Object.fromEntries(Object.keys(resynchronised).map((name) => [name, since]));
          for (const name of input.restore) await restore(name, sides, conflictRule(rule, source), naming);

          // Nothing is forgotten while somebody may still come back with it.
          const isWhole = Object.keys(away).length === 0 && Object.keys(doubted).length === 0;
          const options = {
            ...{ edges, rule, source, maxDeletes, released, held, compareMs, transform, naming, doubted },
            tombstoneMs: isWhole ? tombstoneMs : Number.MAX_SAFE_INTEGER,
          };
          const running = new Pump(sides, options, { gate, signal });
          pump = running;
          const ended = new AbortController();
          const watching = [
            tell(told, input, ended.signal, report),
            ...input.sides
              .filter(({ provider }) => provider in away)
              .map((placement) => untilBack(placement, ended.signal, () => running.end())),
          ];
          async function untilBack(placement: PlacementRef, over: AbortSignal, back: () => void): Promise<void> {
            const provider = providers[placement.provider] as Provider;
            const { callDeadlineMs } = dependencies;
            const store = contentOf(provider, placement, { callDeadlineMs, signal: AbortSignal.any([over, signal]) });
            while (!over.aborted) {
              await pause(askAgainMs, undefined, { signal: over }).catch(() => {});
              if (over.aborted) return;
              const here = await store.page({ after: '' }, AbortSignal.any([over, signal])).then(
                () => true,
                () => false,
              );
              if (here) return back();
            }
          }
          try {
            await running.run(Date.now() + input.forMs);
          } finally {
            ended.abort();
            await Promise.all(watching);
          }
          await keepErrors(running, sides);
          const { clamped, unheard } = running;
          return { ...told(), held: running.held, away, clamped, unheard, resynchronised };
        },
        told,
      )
        .catch((error: unknown) => {
          if (error instanceof Superseded) throw ApplicationFailure.nonRetryable(error.message, 'Superseded');
          throw error;
        })
        .finally(() => clearInterval(beat));
    },
  };
}

/** Tells now and then, and at once where something has begun or ended. */
async function tell(
  told: () => PumpReport,
  { sides: [first], reportMs: everyMs }: Pick<z.output<typeof ReplicateSidesInput>, 'sides' | 'reportMs'>,
  over: AbortSignal,
  report: ReplicateDependencies['report'],
): Promise<void> {
  const { workflowId, runId } = Context.current().info.workflowExecution ?? { workflowId: '', runId: '' };
  const measured = replicationMetrics(first?.owner.estate ?? '', first?.owner.service ?? '');
  let last = '';
  let inStepAt = '';
  for (let at = 0; !over.aborted; ) {
    const now = told();
    measured(now.directions);
    const text = JSON.stringify(now.directions);
    if ((Date.now() - at >= everyMs && text !== last) || (inStepAt === '' && now.inStepAt !== '')) {
      // Who is not told now is told with the next one.
      await report?.({ workflowId, runId }, now).catch(() => {});
      [at, last, inStepAt] = [Date.now(), text, now.inStepAt];
    }
    await pause(Math.min(everyMs, 200), undefined, { signal: over }).catch(() => {});
  }
}

/**
 * Takes back what was deleted on a side and has not gone everywhere yet: what another side still has is a change of its own
 * from now on, made by somebody who knew of the delete.
 */
async function restore(
  name: string,
  sides: ReadonlyMap<string, PumpSide>,
  rule: ReturnType<typeof conflictRule>,
  { keyOf, nameAt }: Names,
): Promise<void> {
  const emptied = sides.get(name);
  if (!emptied) return;
  for (const at of [...emptied.book.keys()]) {
    const deleted = emptied.book.state(at);
    if (deleted.kind !== 'deleted' || deleted.cause !== 'user' || deleted.change.stamp.origin !== name) continue;
    const source = keyOf(name, at);
    for (const [side, { book }] of source === undefined ? [] : sides) {
      const key = nameAt(side, source ?? at);
      const { entry, revision } = book.read(key);
      const { state } = entry;
      if (state.kind !== 'object' || !rule.outranks(deleted.change, state.change)) continue;
      const now = Date.now();
      const { change } = successor({ side, time: now, sequence: '', after: deleted.change, now });
      const seen = { ...change.seen };
      for (const [other, at] of Object.entries(state.change.seen)) seen[other] = Math.max(seen[other] ?? 0, at);
      book.write(key, settle(entry, { ...state, change: { ...change, seen } }, now), revision);
      break;
    }
  }
  for (const { book } of sides.values()) await book.flush();
}

/** What cannot be brought is named in a file in the records bucket of the side that it comes from. */
async function keepErrors({ errors }: Pump, sides: ReadonlyMap<string, PumpSide>): Promise<void> {
  for (const [name, { store }] of sides) {
    const own = [...errors.values()].filter(({ from }) => from === name);
    if (own.length > 0) await store.put(errorsKey(store.placement.owner.service, name), toLines(own));
  }
}

export const errorsKey = (service: string, side: string): string => `replication/${service}/errors-${side}.jsonl`;
