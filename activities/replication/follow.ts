/** Following a store: pass after pass over both listings, and between them what the source's cloud tells, until told to stop. */
import { Context } from '@temporalio/activity';
import { type FollowedFeed, type FollowedStore, FollowStoreInput, passesPerPump } from '../../model/replication.ts';
import type { TransferActivities } from '../../model/transfer.ts';
import { providerCalls } from '../providers/calls.ts';
import { pairings, type TransferDependencies } from '../transfer/pairing.ts';
import { drainFeed } from './drain.ts';

export interface FollowActivities extends Pick<TransferActivities, 'nameWriter'> {
  /**
   * Brings the target to what the source has, again and again. Returns after `forMs`, as soon as little enough is behind, or
   * when more was deleted than may be without asking; a cancellation ends it between two objects.
   */
  followStore(input: FollowStoreInput): Promise<FollowedStore>;
}

type FollowDependencies = TransferDependencies & Pick<TransferActivities, 'copyDelta' | 'nameWriter'>;

export function createFollowActivities({
  copyDelta,
  nameWriter,
  ...dependencies
}: FollowDependencies): FollowActivities {
  const atPair = pairings(dependencies, providerCalls(dependencies));

  return {
    nameWriter,

    async followStore(raw) {
      const { intervalMs, forMs, untilBehind, pump, feed, ...delta } = FollowStoreInput.parse(raw);
      const { maxDeletes, gone, ...transfer } = delta;
      const end = Date.now() + forMs;
      const context = Context.current();
      // Also between two passes: only who beats hears that it is to stop.
      const beat = setInterval(() => context.heartbeat(), 1000);
      const drain = (deleted: number) =>
        atPair(
          transfer,
          () => undefined,
          (pairing) =>
            drainFeed(pairing, pairing.source.provider.feed.open(transfer.source), {
              // However long its pass has taken, what the cloud tells comes for as long.
              until: Math.max(end, Date.now() + forMs),
              untilBehind,
              mayDelete: Math.max(0, maxDeletes - deleted),
              gone,
            }),
        );
      let told: FollowedFeed | undefined;
      try {
        for (let round = pump * passesPerPump; ; round++) {
          const inStepAt = new Date().toISOString();
          const last = await copyDelta({ ...delta, round });
          const close = untilBehind !== undefined && last.behind <= untilBehind;
          const tells = feed && !told?.problem;
          const over = close || last.deletes === 'held' || (Date.now() >= end && !tells);
          if (over || !tells) {
            if (over) return { last, inStepAt, ...(told && { feed: told }) };
            await context.sleep(intervalMs);
            continue;
          }
          const drained = await drain(last.deleted);
          told = drained.told;
          if (drained.held) {
            // Whoever is asked is told of all that is gone, and the brake holds all that is left of it.
            const rest = await copyDelta({ ...delta, round: ++round, maxDeletes: 0 });
            const all = { ...rest, gone: rest.gone + drained.deleted, deleted: drained.deleted };
            if (rest.deletes === 'held') return { last: all, inStepAt, feed: told };
          } else if (!told.problem) return { last, inStepAt, feed: told };
        }
      } finally {
        clearInterval(beat);
      }
    },
  };
}
