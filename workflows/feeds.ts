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

export class Feeds {
  readonly #op: Operation;
  readonly #owner: Omit<Owner, 'generation'>;
  #open: RecordedPlacement | undefined;
  /** Why the present store is followed by listing it alone; empty where its cloud tells of changes. */
  problem = '';

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
    }
    if (this.problem === '') return true;
    const before = this.problem;
    const { service } = this.#owner;
    const placement = placementOf(this.#owner, store);
    try {
      await this.#op.gate.pass(() => cloud(store.provider, `feed of ${service}`).ensureFeed({ placement }));
      this.problem = '';
    } catch (error) {
      if (wf.isCancellation(error)) throw error;
      if (mayHaveWorked(error)) this.#op.saga.unsettle();
      this.problem = reason(error);
    }
    if (this.problem !== before) {
      const what = this.problem ? `follows by listing alone: ${this.problem}` : 'feed made';
      this.#op.board.record('run', what, `${service} on ${store.provider}`);
    }
    return this.problem === '';
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
