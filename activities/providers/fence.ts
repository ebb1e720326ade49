/** Fencing a store: writers other than our workers are refused by the cloud, readers go on. What a fence is: `model/fence.ts`. */
import type { FenceOwner, FenceProof, FenceState } from '../../model/fence.ts';
import type { Placement } from '../../model/service.ts';

/** For placements of `storage` and `data_lake`; `NotSupported` for others. Served on the queues of the placement's provider. */
export interface FenceActivities {
  /** Looks, and changes nothing: rights, the undo tried out, who writes, what is under way. */
  proveFence(input: { placement: Placement }): Promise<FenceProof>;
  /**
   * Sets the fence, or takes up what an earlier attempt of the same owner has begun; again with a later `expiresAt` prolongs it.
   * `NotOurs` where another run's fence stands. Ends when the store's rights are as wanted and we can still write; the cloud
   * may need `FenceProof.settles` longer until everybody is refused.
   */
  fenceStore(input: { placement: Placement; owner: FenceOwner; expiresAt: string }): Promise<FenceState>;
  /** Restores what was there before. Nothing where no fence stands; `NotOurs` where another run's does. */
  liftFence(input: { placement: Placement; owner: FenceOwner }): Promise<{ outcome: 'lifted' | 'none' }>;
  fenceState(input: { placement: Placement }): Promise<FenceState>;
}
