/** What the steps of one migration share: which placement serves and which follows, what the record says, how people are asked. */
import * as wf from '@temporalio/workflow';
import type { EndpointRecord } from '../model/endpoint-record.ts';
import type { Mark, Migration as MigrationRecord, RecordChange, RecordedPlacement } from '../model/record.ts';
import { failure, urgent } from './calls.ts';
import { endpointOf } from './endpoints.ts';
import type { Move, Traffic } from './migration-plan.ts';
import { waitingCost } from './migration-text.ts';
import type { Operation } from './operation.ts';

/** While a cutover is near, resolvers must not keep the old answer for long. */
export const lowTtlSeconds = 5;

type Part = Extract<RecordChange, { kind: 'migration' }>['roles'][number];

export class Course {
  readonly op: Operation;
  readonly move: Move;
  /** As the record has it; absent until it is provisioned. */
  target: RecordedPlacement | undefined;
  switched = false;
  /** What only the source has: it is not removed by itself then. */
  sourceOnly = 0;
  /** What the record says besides of a fleet that moves. */
  fleet: MigrationRecord['fleet'];
  #asked = 0;
  /** The record knows of no migration any more. */
  #over = false;

  constructor(op: Operation, move: Move) {
    this.op = op;
    this.move = move;
    this.fleet = move.fleet?.begun;
  }

  get source(): RecordedPlacement {
    return this.move.source;
  }

  get made(): RecordedPlacement {
    if (!this.target) throw failure('VerificationFailed', `${this.move.service} has no target yet.`);
    return this.target;
  }

  /** The one that serves. */
  get from(): RecordedPlacement {
    return this.switched ? this.made : this.source;
  }

  /** The one that follows. */
  get to(): RecordedPlacement {
    return this.switched ? this.source : this.made;
  }

  /** Asks with no deadline: what happened must be decided by somebody. Each time anew: an answer was to what had happened then. */
  async ask(question: string, text: string, answers: [string, ...string[]]): Promise<string> {
    const hash = `${this.move.hash} ${++this.#asked}`;
    this.op.board.phase(`waiting for a decision about ${question}`);
    const costPerDayUsd = waitingCost([this.source, this.target]);
    return (await this.op.decisions.ask({ question, text, answers, planHash: hash, costPerDayUsd })) ?? 'undo';
  }

  note(stage: MigrationRecord['stage'], roles: Part[] = []): Promise<void> {
    // What could not be taken back at first, and is once all else was, has nothing to say of it any more.
    if (this.#over && roles.length === 0 && wf.patched('migration-stays-over')) return Promise.resolve();
    const { holder, to } = this.move;
    const { sourceOnly, fleet } = this;
    const { versions } = this.move;
    return this.write(
      {
        ...{ ...holder, from: mark(this.source), to, stage, sourceOnly },
        ...(fleet && { fleet }),
        ...(versions && { versions }),
      },
      roles,
    );
  }

  async write(migration: MigrationRecord | undefined, roles: Part[] = []): Promise<void> {
    await this.op.write(this.move.service, { kind: 'migration', ...(migration && { migration }), roles });
    this.#over = migration === undefined;
  }

  /** The endpoint record with this placement and those that the service keeps, where the estate keeps such records. */
  async steer(
    placement: RecordedPlacement,
    ttlSeconds = lowTtlSeconds,
    expected?: EndpointRecord | null,
  ): Promise<void> {
    const { traffic, service, owner } = this.move;
    if (!traffic) return;
    const placements = [...traffic.others, placement];
    const endpoints = placements.flatMap(endpointOf);
    const record = { uid: owner.uid, service, ttlSeconds, endpoints };
    if (endpoints.length > 0) await this.writeEndpoint(traffic, record, expected);
  }

  async writeEndpoint({ at }: Traffic, record: EndpointRecord, expected?: EndpointRecord | null): Promise<void> {
    const on = urgent(at.provider, `endpoint record of ${record.service}`);
    const input = { at, record, ...(expected !== undefined && { expected }) };
    await this.op.held(record.service, () => on.writeEndpointRecord(input));
  }
}

export const mark = ({ provider, generation }: Mark): Mark => ({ provider, generation });
