/** Following a store: pass after pass over both listings, until told to stop. */
import { Context } from '@temporalio/activity';
import { type FollowedStore, FollowStoreInput, passesPerPump } from '../../model/replication.ts';
import type { TransferActivities } from '../../model/transfer.ts';

export interface FollowActivities extends Pick<TransferActivities, 'nameWriter'> {
  /**
   * Brings the target to what the source has, again and again. Returns after `forMs`, as soon as little enough is behind, or
   * when more was deleted than may be without asking; a cancellation ends it between two objects.
   */
  followStore(input: FollowStoreInput): Promise<FollowedStore>;
}

export function createFollowActivities({
  copyDelta,
  nameWriter,
}: Pick<TransferActivities, 'copyDelta' | 'nameWriter'>): FollowActivities {
  return {
    nameWriter,

    async followStore(raw) {
      const { intervalMs, forMs, untilBehind, pump, ...delta } = FollowStoreInput.parse(raw);
      const end = Date.now() + forMs;
      const context = Context.current();
      // Also between two passes: only who beats hears that it is to stop.
      const beat = setInterval(() => context.heartbeat(), 1000);
      try {
        for (let pass = 0; ; pass++) {
          const inStepAt = new Date().toISOString();
          const last = await copyDelta({ ...delta, round: pump * passesPerPump + pass });
          const close = untilBehind !== undefined && last.behind <= untilBehind;
          if (close || last.deletes === 'held' || Date.now() >= end) return { last, inStepAt };
          await context.sleep(intervalMs);
        }
      } finally {
        clearInterval(beat);
      }
    },
  };
}
