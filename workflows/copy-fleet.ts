/**
 * `copyFleet`: registers the devices of one placement of an `iot_core` service at another of its placements. Devices that are
 * there already are left as they are; what it has registered can be taken back until it has ended. No device is told to move.
 */
import * as wf from '@temporalio/workflow';
import { listingMs, type Pace } from '../model/fleet-forecast.ts';
import { type CopiedFleet, CopyFleetInput } from '../model/operations.ts';
import type { PlacementRef } from '../model/transfer.ts';
import { control, failure } from './calls.ts';
import { Fleet } from './fleet.ts';
import { aboutText, censusText, differences } from './fleet-text.ts';
import { Operation } from './operation.ts';
import { Registration } from './registration.ts';

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
    op.board.expect(['census', 'register', 'compare']);
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
  readonly #registration: Registration;
  #listed = { shards: 0, devices: 0 };
  #asked = 0;

  constructor(op: Operation, move: Move) {
    this.#op = op;
    this.#move = move;
    const startedAt = new Date().toISOString();
    const onPace = (pace: Pace): void => {
      const leftMs = pace.leftMs + listingMs(move.target.providerType, this.#listed.devices, pace);
      op.board.mark('compare', { detail: aboutText(leftMs) });
    };
    this.#registration = new Registration(op, { ...move, startedAt, ask: (text) => this.#ask(text), onPace });
  }

  get result(): CopiedFleet['copy'] {
    const { counts, left } = this.#registration;
    return { provider: this.#move.target.provider, name: this.#transfer, ...counts, left };
  }

  /** Lists the source, and first of all who cannot go. */
  async census(): Promise<void> {
    const { source, target } = this.#move;
    this.#op.board.phase('census');
    this.#listed = await this.#op.board.step(
      'census',
      () =>
        this.#registration.bulk('census', (on) =>
          on.censusDevices({
            placement: source,
            keptAt: target,
            census: this.#transfer,
            to: target.providerType,
            callsPerSecond: this.#registration.share(source),
          }),
        ),
      censusText,
    );
  }

  async register(): Promise<void> {
    const { service, target } = this.#move;
    this.#op.board.phase('registering devices');
    this.#op.saga.add({
      step: 'register',
      orphan: { provider: target.provider, kind: 'devices', name: service },
      undo: async () => `${await this.#registration.remove(this.#transfer, this.#listed.shards)} devices removed`,
    });
    await this.#registration.register(this.#transfer, this.#listed);
  }

  /** Lists the target as well, and compares: nothing may be missing but what is known to be. */
  async compare(): Promise<void> {
    const { service, target } = this.#move;
    const registration = this.#registration;
    this.#op.board.phase('comparing');
    const there = `${this.#transfer}-there`;
    await this.#op.board.step(
      'compare',
      async () => {
        const callsPerSecond = registration.share(target);
        await registration.bulk('census of the target', (on) =>
          on.censusDevices({ placement: target, keptAt: target, census: there, callsPerSecond }),
        );
        const diff = await registration.bulk('compare', (on) =>
          on.diffDevices({ keptAt: target, left: this.#transfer, right: there }),
        );
        const { missing = 0, extra: _, ...fields } = diff.different;
        const others = Object.values(fields).reduce((sum, count) => sum + count, 0);
        const { counts, left } = registration;
        // What was skipped is missing, or stands there as something else.
        if (missing > counts.refused + left || (others > 0 && left === 0))
          throw failure(
            'VerificationFailed',
            `${service} on ${target.provider}: ${differences(diff)}; see ${diff.report}.`,
          );
        return diff;
      },
      ({ same }) => `${same} devices are the same`,
    );
  }

  async #ask(text: string): Promise<string> {
    this.#op.board.phase('waiting for a decision about devices');
    const hash = `${this.#move.planHash} ${this.#transfer} ${++this.#asked}`;
    const answer = await this.#op.decisions.ask({
      ...{ question: 'devices', text, answers: ['retry', 'skip', 'undo'] },
      ...{ planHash: hash, deadline: undefined, onDeadline: 'hold' },
    });
    return answer ?? 'undo';
  }
}
