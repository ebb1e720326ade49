/** The feed of a store that is followed: made when following begins, removed when it ends. What it is on one cloud: its `FeedDriver`. */
import { CloudError } from '../../model/errors.ts';
import type { Placement } from '../../model/service.ts';
import { cellOf } from './calls.ts';
import type { Provider } from './driver.ts';
import type { AtPlacement } from './fence.ts';
import { type Ensured, type Pace, type Removed, Resource } from './provision.ts';

/** For placements of `storage` and `data_lake`. Served on the queues of the placement's provider. */
export interface FeedActivities {
  /**
   * Makes or adopts the feed and waits until it is ready. `NotSupported` where the store cannot have one besides what its owner
   * has set up there; that is never changed.
   */
  ensureFeed(input: { placement: Placement }): Promise<Pick<Ensured, 'outcome'>>;
  /** Removes it with all its parts; what stands under its name and is not ours was not made by us. */
  removeFeed(input: { placement: Placement }): Promise<Removed>;
}

export function createFeedActivities({
  atPlacement,
  pace,
}: {
  atPlacement: AtPlacement;
  pace: () => Pace;
}): FeedActivities {
  const at = <T>(placement: Placement, act: (feed: Resource) => Promise<T>): Promise<T> =>
    atPlacement(placement, (provider: Provider, signal) => {
      const spec = provider.feed.design(placement);
      return act(new Resource(provider, cellOf(provider, placement), spec, { placement, needs: {}, signal }));
    });

  return {
    ensureFeed: ({ placement }) =>
      at(placement, async (feed) => {
        const { outcome } = await feed.ensure(pace());
        return { outcome };
      }),

    removeFeed: ({ placement }) =>
      at(placement, async (feed) => {
        try {
          return await feed.remove(pace(), { deleteData: true, retainUntil: '' });
        } catch (error) {
          if (error instanceof CloudError && error.kind === 'NotOurs') return 'gone';
          throw error;
        }
      }),
  };
}
