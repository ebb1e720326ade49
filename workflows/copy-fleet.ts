/**
 * `copyFleet`: registers the devices of one placement of an `iot_core` service at another of its placements. Devices that are
 * there already are left as they are; what it has registered can be taken back until it has ended. No device is told to move.
 */
import * as wf from '@temporalio/workflow';
import type { BulkActivities } from '../activities/index.ts';
import {
  type Census,
  type CopiedDevices,
  type DiffedDevices,
  type Outcome,
  registryCallsPerSecond,
} from '../model/fleet.ts';
import { type CopiedFleet, CopyFleetInput } from '../model/operations.ts';
import type { PlacementRef } from '../model/transfer.ts';
import { bulk, control, failure } from './calls.ts';
import { Fleet } from './fleet.ts';
import { inLanes } from './graph.ts';
import { Operation } from './operation.ts';

/** Shards that are copied at the same time; they share the quota. */
const lanes = 2;

export async function copyFleet(raw: unknown): Promise<CopiedFleet> {
  const op = new Operation('repair');
  return op.run(async () => {
    const input = op.parse(CopyFleetInput, raw);
    const { service, from, to } = input;
    const { estate, approvals } = await control.loadEstate({ estate: input.estate });
    op.decisions.obey(approvals);
    op.about(estate.name, service, 'iot_core');
    if (from === to) throw failure('InvalidInput', `to: devices are to go from ${from} to ${to}, which is the same.`);
    const planHash = `devices/${from}/${to}`;
    const lock = await op.locks.take(service, planHash);
    if ('attached' in lock) return lock.attached;
    op.board.record(input.by || 'unnamed', `copy devices from ${from} to ${to}`, service);

    const identity = await control.openEstate({ estate: estate.name });
    const record = (await control.readServices({ estate: estate.name }))[service];
    const fleet = new Fleet({ estate: estate.name, service, ...identity }, record);
    const copy = new FleetCopy(op, {
      service,
      planHash,
      source: fleet.at(from),
      target: fleet.at(to),
      callsPerSecond: input.calls_per_second,
    });
    op.recordsIn([fleet.at(to)]);
    await copy.census();
    await copy.register();
    await copy.compare();
    return { ...op.result('done'), copy: copy.result };
  });
}

interface Move {
  service: string;
  /** What answers are bound to. */
  planHash: string;
  source: PlacementRef;
  target: PlacementRef;
  callsPerSecond: number | undefined;
}

/** The steps, in their order. */
class FleetCopy {
  readonly #op: Operation;
  readonly #move: Move;
  /** Names the files, and stands on each device that is registered. Not of the run's ID, which a reset changes. */
  readonly #transfer = wf.uuid4().slice(0, 8);
  readonly #startedAt = new Date().toISOString();
  #census: Census | undefined;
  readonly #counts = { moved: 0, there: 0, refused: 0 };
  /** Devices that people have decided to go on without. */
  #left = 0;
  #asked = 0;

  constructor(op: Operation, move: Move) {
    this.#op = op;
    this.#move = move;
  }

  get result(): CopiedFleet['copy'] {
    return { provider: this.#move.target.provider, name: this.#transfer, ...this.#counts, left: this.#left };
  }

  /** Lists the source, and first of all who cannot go. */
  async census(): Promise<void> {
    const { source, target } = this.#move;
    this.#op.board.phase('census');
    this.#census = await this.#op.board.step(
      'census',
      () =>
        this.#bulk('census', (on) =>
          on.censusDevices({
            placement: source,
            keptAt: target,
            census: this.#transfer,
            to: target.providerType,
            callsPerSecond: this.#share(source),
          }),
        ),
      ({ devices, refused, refusedFiles }) => {
        const cannot = Object.entries(refused).map(([why, count]) => `${count} × ${why}`);
        return `${devices} devices${cannot.length > 0 ? `; cannot go: ${cannot.join(', ')} (${refusedFiles})` : ''}`;
      },
    );
  }

  async register(): Promise<void> {
    const { service } = this.#move;
    this.#op.board.phase('registering devices');
    this.#undoable();
    let shards = Array.from({ length: this.#census?.shards ?? 0 }, (_, shard) => shard);
    for (let attempt = 0; ; attempt++) {
      const copied = await this.#op.board.step(
        'register',
        () => this.#copyShards(shards, attempt),
        (some) => `${this.#counts.moved} registered, ${this.#counts.there} there before, ${open(some)} left`,
      );
      if (open(copied) === 0) return;
      const answer = await this.#ask(copied);
      if (answer === 'undo')
        throw failure('UndoRequested', `${open(copied)} devices of ${service} could not be copied.`);
      if (answer === 'skip') {
        this.#left = open(copied);
        return;
      }
      shards = shards.filter((_, at) => open(copied.slice(at, at + 1)) > 0);
    }
  }

  /** Lists the target as well, and compares: nothing may be missing but what is known to be. */
  async compare(): Promise<void> {
    const { service, target } = this.#move;
    this.#op.board.phase('comparing');
    const there = `${this.#transfer}-there`;
    await this.#op.board.step(
      'compare',
      async () => {
        await this.#bulk('census of the target', (on) =>
          on.censusDevices({ placement: target, keptAt: target, census: there, callsPerSecond: this.#share(target) }),
        );
        const diff = await this.#bulk('compare', (on) =>
          on.diffDevices({ keptAt: target, left: this.#transfer, right: there }),
        );
        const { missing = 0, extra: _, ...fields } = diff.different;
        const others = Object.values(fields).reduce((sum, count) => sum + count, 0);
        // What was skipped is missing, or stands there as something else.
        if (missing > this.#counts.refused + this.#left || (others > 0 && this.#left === 0))
          throw failure(
            'VerificationFailed',
            `${service} on ${target.provider}: ${differences(diff)}; see ${diff.report}.`,
          );
        return diff;
      },
      ({ same }) => `${same} devices are the same`,
    );
  }

  #copyShards(shards: readonly number[], attempt: number): Promise<CopiedDevices[]> {
    const { target } = this.#move;
    const callsPerSecond = Math.max(1, this.#share(target) / lanes);
    return inLanes(shards, lanes, async (shard) => {
      const copied = await this.#bulk(`devices of shard ${shard}`, (on) =>
        on.copyDevices({ ...this.#copy, target, shard, attempt, callsPerSecond }),
      );
      this.#counts.moved += copied.moved;
      this.#counts.there += copied.there;
      this.#counts.refused += copied.refused;
      return copied;
    });
  }

  #undoable(): void {
    const { service, target } = this.#move;
    const shards = Array.from({ length: this.#census?.shards ?? 0 }, (_, shard) => shard);
    const callsPerSecond = Math.max(1, this.#share(target) / lanes);
    this.#op.saga.add({
      step: 'register',
      orphan: { provider: target.provider, kind: 'devices', name: service },
      undo: async () => {
        const removed = await inLanes(shards, lanes, (shard) =>
          this.#bulk(`remove the devices of shard ${shard}`, (on) =>
            on.removeCopiedDevices({ ...this.#copy, target, shard, callsPerSecond }),
          ),
        );
        return `${removed.reduce((sum, one) => sum + one.removed, 0)} devices removed`;
      },
    });
  }

  async #ask(copied: readonly CopiedDevices[]): Promise<string> {
    const named = copied.flatMap(({ left }) => left).filter(({ outcome }) => isOpen(outcome));
    const text = `${open(copied)} devices could not be registered: ${named
      .slice(0, 5)
      .map(({ id, why }) => `${id} (${why})`)
      .join(', ')}. Each stands with its reason in the records bucket: ${copied
      .filter((one) => open([one]) > 0)
      .slice(0, 5)
      .map(({ table }) => table)
      .join(', ')}. retry tries these again, skip goes on without them, undo takes everything back.`;
    this.#op.board.phase('waiting for a decision about devices');
    const hash = `${this.#move.planHash} ${this.#transfer} ${++this.#asked}`;
    const answer = await this.#op.decisions.ask({
      ...{ question: 'devices', text, answers: ['retry', 'skip', 'undo'] },
      ...{ planHash: hash, deadline: undefined, onDeadline: 'hold' },
    });
    return answer ?? 'undo';
  }

  get #copy(): { transfer: string; startedAt: string } {
    return { transfer: this.#transfer, startedAt: this.#startedAt };
  }

  #share(placement: PlacementRef): number {
    return this.#move.callsPerSecond ?? registryCallsPerSecond[placement.providerType];
  }

  #bulk<T>(summary: string, act: (on: BulkActivities) => Promise<T>): Promise<T> {
    const { source, target, service } = this.#move;
    return this.#op.held(service, () => act(bulk(source.provider, target.provider, summary)));
  }
}

const isOpen = (outcome: Outcome['outcome']): boolean => outcome === 'failed' || outcome === 'differs';
const open = (copied: readonly CopiedDevices[]): number =>
  copied.reduce((sum, { failed, differs }) => sum + failed + differs, 0);

const differences = ({ different }: DiffedDevices): string =>
  Object.entries(different)
    .map(([what, count]) => `${count} × ${what}`)
    .join(', ');
