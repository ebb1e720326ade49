/** The feeds of stores that are followed. There is one at a time, and none where nothing is followed. */
import * as wf from '@temporalio/workflow';
import type { RecordedPlacement } from '../model/record.ts';
import type { Owner } from '../model/service.ts';
import { cloud, mayHaveWorked, urgent } from './calls.ts';
import type { Operation } from './operation.ts';
import { reason } from './progress.ts';
import { placementOf } from './removal.ts';

/** Runs that began without feeds go on without. */
export const feedsExist = (): boolean => wf.patched('change-feeds');

const soonMs = 60_000;

export class Feeds {
  readonly #op: Operation;
  readonly #owner: Omit<Owner, 'generation'>;
  #open: RecordedPlacement | undefined;
  /** Why the present store is followed by listing it alone; empty where its cloud tells of changes. */
  problem = '';
  /** How often in a row it could not be made. */
  #refused = 0;

  constructor(op: Operation, owner: Omit<Owner, 'generation'>) {
    this.#op = op;
    this.#owner = owner;
  }

  /**
   * Whether the cloud of this store tells of its changes, for which it is asked until it does; the feed of the store that was
   * followed before goes. Without a feed following only takes longer: that holds up nothing.
   */
  async of(store: RecordedPlacement): Promise<boolean> {
    if (!feedsExist()) return false;
    if (this.#open !== store) {
      await this.close();
      this.undoable(store);
      this.#open = store;
      this.problem = 'it was not asked yet';
      this.#refused = 0;
    }
    if (this.problem === '') return true;
    const before = this.problem;
    const { service } = this.#owner;
    const placement = placementOf(this.#owner, store);
    try {
      // What is to wait, as for a name that is not free yet, is asked for again later.
      const calls = cloud(store.provider, `feed of ${service}`, { nonRetryableErrorTypes: ['Throttled'] });
      await this.#op.gate.pass(() => calls.ensureFeed({ placement }));
      this.problem = '';
      this.#refused = 0;
    } catch (error) {
      if (wf.isCancellation(error)) throw error;
      if (mayHaveWorked(error)) this.#op.saga.unsettle();
      this.problem = reason(error);
      this.#refused++;
    }
    if (this.problem !== before) {
      const what = this.problem ? `follows by listing alone: ${this.problem}` : 'feed made';
      this.#op.board.record('run', what, `${service} on ${store.provider}`);
    }
    return this.problem === '';
  }

  /** How long a pump that could go for so long goes before the feed is asked for again: where there is none, a minute at first. */
  pumpMs(longestMs: number): number {
    return this.problem === '' ? longestMs : Math.min(longestMs, soonMs * 2 ** (this.#refused - 1));
  }

  /** The feed of a store, whether it was made or not, is taken back with everything else. */
  undoable(store: RecordedPlacement): void {
    const { provider } = store;
    const { service } = this.#owner;
    this.#op.saga.add({
      step: `feed of ${service} on ${provider}`,
      orphan: { provider, kind: 'feed', name: service },
      undo: () => removeFeed(this.#owner, store),
    });
  }

  async close(): Promise<void> {
    const open = this.#open;
    if (!open) return;
    await this.#op.held(this.#owner.service, () => removeFeed(this.#owner, open));
    this.#open = undefined;
    this.problem = '';
  }
}

export function removeFeed(owner: Omit<Owner, 'generation'>, store: RecordedPlacement): Promise<string> {
  const on = urgent(store.provider, `remove the feed of ${owner.service}`);
  return on.removeFeed({ placement: placementOf(owner, store) });
}
