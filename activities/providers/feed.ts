/** The feed of a store that is followed: made when following begins, removed when it ends. What it is on one cloud: its `FeedDriver`. */
import { CloudError } from '../../model/errors.ts';
import type { Placement, ResourceSpec } from '../../model/service.ts';
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

interface BesideDependencies {
  atPlacement: AtPlacement;
  pace: () => Pace;
}

/** What stands beside a placement for a time, as one resource. */
export function beside(
  { atPlacement, pace }: BesideDependencies,
  design: (provider: Provider, placement: Placement) => ResourceSpec,
): {
  ensure(input: { placement: Placement }): Promise<Pick<Ensured, 'outcome'>>;
  remove(input: { placement: Placement }): Promise<Removed>;
} {
  const at = <T>(placement: Placement, act: (resource: Resource) => Promise<T>): Promise<T> =>
    atPlacement(placement, (provider, signal) => {
      const spec = design(provider, placement);
      return act(new Resource(provider, cellOf(provider, placement), spec, { placement, needs: {}, signal }));
    });

  return {
    ensure: ({ placement }) =>
      at(placement, async (resource) => {
        const { outcome } = await resource.ensure(pace());
        return { outcome };
      }),

    remove: ({ placement }) =>
      at(placement, async (resource) => {
        try {
          return await resource.remove(pace(), { deleteData: true, retainUntil: '' });
        } catch (error) {
          if (error instanceof CloudError && error.kind === 'NotOurs') return 'gone';
          throw error;
        }
      }),
  };
}

export function createFeedActivities(dependencies: BesideDependencies): FeedActivities {
  const { ensure, remove } = beside(dependencies, ({ feed }, placement) => feed.design(placement));
  return { ensureFeed: ensure, removeFeed: remove };
}
