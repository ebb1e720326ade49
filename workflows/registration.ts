/** Registering the devices of a census at another placement: people are asked about those that cannot be, and all can be taken back. */
import * as wf from '@temporalio/workflow';
import type { BulkActivities } from '../activities/index.ts';
import { type CopiedDevices, type Outcome, registryCallsPerSecond } from '../model/fleet.ts';
import { type Pace, paceOf } from '../model/fleet-forecast.ts';
import type { PlacementRef } from '../model/transfer.ts';
import { bulk, failure } from './calls.ts';
import { paceText } from './fleet-text.ts';
import { inLanes } from './graph.ts';
import type { Operation } from './operation.ts';

/** Shards that runs of before copied at the same time: a worker of one activity at a time left half of the quota alone. */
const lanesBefore = 2;

export interface Registering {
  service: string;
  source: PlacementRef;
  target: PlacementRef;
  startedAt: string;
  /** Stands on each device that is registered; else the name of its census. */
  mark?: string;
  callsPerSecond?: number | undefined;
  /** Asks people, with no deadline. */
  ask: (text: string) => Promise<string>;
  /** Hears how fast it goes. */
  onPace?: (pace: Pace) => void;
}

const shardsOf = (count: number): number[] => Array.from({ length: count }, (_, shard) => shard);

export class Registration {
  readonly #op: Operation;
  readonly #what: Registering;
  readonly counts = { moved: 0, there: 0, refused: 0 };
  /** Devices that people have decided to go on without. */
  left = 0;

  constructor(op: Operation, what: Registering) {
    this.#op = op;
    this.#what = what;
  }

  /** Registers the devices of so many files of a census of this name. Who can claim a certificate that is valid until then is left out. */
  async register(
    census: string,
    { shards: files, devices }: { shards: number; devices: number },
    validUntil?: string,
  ): Promise<void> {
    const { service } = this.#what;
    let [shards, left] = [shardsOf(files), devices];
    for (let attempt = 0; ; attempt++) {
      const copied = await this.#op.board.step(
        'register',
        () => this.#copyShards({ census, shards, attempt, devices: left, validUntil }),
        (some) => `${this.counts.moved} registered, ${this.counts.there} there before, ${open(some)} left`,
      );
      if (open(copied) === 0) return;
      const answer = await this.#what.ask(openText(copied));
      if (answer === 'undo')
        throw failure('UndoRequested', `${open(copied)} devices of ${service} could not be copied.`);
      if (answer === 'skip') {
        this.left += open(copied);
        return;
      }
      shards = shards.filter((_, at) => open(copied.slice(at, at + 1)) > 0);
      left = open(copied);
    }
  }

  /** Takes back what was registered of these files; tells how many. */
  async remove(census: string, files: number): Promise<number> {
    const removed = await inLanes(shardsOf(files), this.#lanes, (shard) =>
      this.bulk(`remove the devices of shard ${shard}`, (on) =>
        on.removeCopiedDevices({ ...this.#copy(census), shard, callsPerSecond: this.#perLane }),
      ),
    );
    return removed.reduce((sum, one) => sum + one.removed, 0);
  }

  /** Requests a second to the registry of this placement. */
  share(placement: PlacementRef): number {
    return this.#what.callsPerSecond ?? registryCallsPerSecond[placement.providerType];
  }

  bulk<T>(summary: string, act: (on: BulkActivities) => Promise<T>): Promise<T> {
    const { source, target, service } = this.#what;
    return this.#op.held(service, () => act(bulk(source.provider, target.provider, summary)));
  }

  #copyShards({
    census,
    shards,
    attempt,
    devices,
    validUntil,
  }: {
    census: string;
    shards: readonly number[];
    attempt: number;
    devices: number;
    validUntil: string | undefined;
  }): Promise<CopiedDevices[]> {
    const until = validUntil === undefined ? {} : { validUntil };
    const startedAt = Date.now();
    let done = 0;
    return inLanes(shards, this.#lanes, async (shard) => {
      const copied = await this.bulk(`devices of shard ${shard}`, (on) =>
        on.copyDevices({ ...this.#copy(census), shard, attempt, ...until, callsPerSecond: this.#perLane }),
      );
      this.counts.moved += copied.moved;
      this.counts.there += copied.there;
      this.counts.refused += copied.refused;
      done += copied.moved + copied.there + copied.refused + open([copied]);
      const pace = paceOf(done, devices, Date.now() - startedAt);
      if (pace) {
        this.#op.board.mark('register', { detail: paceText(done, devices, pace) });
        this.#what.onPace?.(pace);
      }
      return copied;
    });
  }

  #copy(transfer: string) {
    const { target, startedAt, mark } = this.#what;
    return { target, transfer, startedAt, ...(mark !== undefined && { mark }) };
  }

  get #lanes(): number {
    return wf.patched('one shard at a time') ? 1 : lanesBefore;
  }

  get #perLane(): number {
    return Math.max(1, this.share(this.#what.target) / this.#lanes);
  }
}

const isOpen = (outcome: Outcome['outcome']): boolean => outcome === 'failed' || outcome === 'differs';
const open = (copied: readonly CopiedDevices[]): number =>
  copied.reduce((sum, { failed, differs }) => sum + failed + differs, 0);

function openText(copied: readonly CopiedDevices[]): string {
  const named = copied.flatMap(({ left }) => left).filter(({ outcome }) => isOpen(outcome));
  return `${open(copied)} devices could not be registered: ${named
    .slice(0, 5)
    .map(({ id, why }) => `${id} (${why})`)
    .join(', ')}. Each stands with its reason in the records bucket: ${copied
    .filter((one) => open([one]) > 0)
    .slice(0, 5)
    .map(({ table }) => table)
    .join(', ')}. retry tries these again, skip goes on without them, undo takes everything back.`;
}
