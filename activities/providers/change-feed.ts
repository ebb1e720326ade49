/**
 * What a cloud tells by itself of the changes in a store. A notice says where to look and no more: it comes late, twice, in any
 * order, and now and then not at all, so whoever needs certainty lists the store as well.
 */
import type { Placement, ResourceSpec } from '../../model/service.ts';

export interface ToldChange {
  key: string;
  /** When it happened, as the cloud tells; ISO time. */
  at: string;
  /** The version that it has made, as a store shows it (`StoredObject.version`), where the event tells that much. */
  version?: string | undefined;
  /** Whether it has left nothing under the key. */
  deleted?: boolean | undefined;
  /** Who has deleted it: somebody, or a rule of the bucket; undefined where the cloud does not tell. */
  cause?: 'user' | 'lifecycle' | undefined;
  /** The cloud's own order of the changes of one key. */
  sequence?: string | undefined;
}

/** One message of a feed. */
export interface Notice {
  /** Of the keys that it is about; empty where it is about none, as what a cloud sends to try the way. */
  changes: readonly ToldChange[];
  /** By which it is acknowledged. */
  receipt: string;
}

export interface ChangeFeed {
  /**
   * Some notices, as soon as there are any; none when `waitMs` have passed. They come again after some minutes unless they are
   * acknowledged. Throws "not found" where there is no such feed.
   */
  receive(waitMs: number, signal: AbortSignal): Promise<Notice[]>;
  /** Any number of receipts; what is acknowledged already is fine. */
  acknowledge(receipts: readonly string[], signal: AbortSignal): Promise<void>;
}

/** The feeds of the stores of `storage` and `data_lake` placements. */
export interface FeedDriver {
  /** Pure: the feed of a placement's store. All its parts are one resource, whose driver is among those of the cell. */
  design(placement: Placement): ResourceSpec;
  open(placement: Placement): ChangeFeed;
}

const suffix = 'feed';

/** Ends the name of what a feed is made of, and of nothing else. */
export const feedName = { suffix, is: (name: string): boolean => name.endsWith(`-${suffix}`) };
