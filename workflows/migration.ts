/**
 * The steps of a migration, in the order in which `migrateService` takes them. Each registers how it is taken back before it
 * acts. Until the switch the source serves and the target follows it; from then on it is the other way round, so that going
 * back loses nothing that was written meanwhile.
 */
import * as wf from '@temporalio/workflow';
import type { EndpointRecord } from '../model/endpoint-record.ts';
import type { EstatePlan, PlannedPlacement } from '../model/operations.ts';
import type { Migration as MigrationRecord, RecordedPlacement } from '../model/record.ts';
import { objectTypes, type ServiceType } from '../model/service.ts';
import { cloud, failure, urgent } from './calls.ts';
import { Course, lowTtlSeconds, mark } from './course.ts';
import type { Move } from './migration-plan.ts';
import { waitingCost } from './migration-text.ts';
import type { Moved } from './moved.ts';
import { MovedFleet } from './moved-fleet.ts';
import { MovedObjects } from './moved-objects.ts';
import type { Operation } from './operation.ts';
import { provisionService } from './provisioning.ts';
import { placementOf } from './removal.ts';
import { asBegun, removeTarget, takenUpWhole } from './taken-up.ts';

export class Migration {
  readonly #op: Operation;
  readonly #move: Move;
  readonly #course: Course;
  readonly #moved: Moved;
  /** The endpoint record as it was; undefined until it is touched, or where an earlier run has changed it. */
  #endpointBefore: EndpointRecord | null | undefined;
  #endpointUndoable = false;

  constructor(op: Operation, move: Move) {
    this.#op = op;
    this.#move = move;
    this.#course = new Course(op, move);
    this.#moved = objectTypes.includes(move.source.type)
      ? new MovedObjects(this.#course)
      : new MovedFleet(this.#course);
  }

  async provisionTarget(type: ServiceType, target: PlannedPlacement): Promise<void> {
    const { service } = this.#move;
    this.#op.board.phase('provisioning the target');
    this.#undoableBegin();
    if (this.#move.stage === this.#moved.handing) await this.#moved.release();
    await this.#course.note('copying');
    const takenUp = this.#move.stage !== undefined && takenUpWhole();
    if (takenUp) this.#undoableEndpoint(); // its TTL may be low already
    const placements = [{ ...(takenUp ? asBegun(target) : target), role: 'target' as const }];
    const [made] = await provisionService(this.#op, { service, type, placements });
    if (!made) throw failure('VerificationFailed', `${service} has no target.`);
    this.#course.target = made;
    if (takenUp) await this.#moved.admit();
  }

  /** Takes up a migration that has come so far: what it did can be taken back, or it goes on. */
  resume(target: RecordedPlacement, stage: MigrationRecord['stage']): void {
    this.#course.target = target;
    this.#undoableBegin();
    this.#undoableTarget();
    this.#undoableEndpoint();
    this.#moved.undoable('begun');
    if (stage === 'copying') return;
    this.#moved.undoable('handing');
    if (stage === this.#moved.handing) return;
    this.#undoableSwitch();
    this.#turn(true);
  }

  /** Readers and writers are where the record says: the run that is gone may have been on its way to there, or back. */
  async serve(): Promise<void> {
    if (!takenUpWhole()) return;
    await this.#moved.admit();
    await this.#course.steer(this.#course.made);
  }

  copy(): Promise<void> {
    return this.#moved.copy();
  }

  follow(): Promise<void> {
    return this.#moved.follow();
  }

  /** Asks people, and keeps the target in step while they think. */
  async approveCutover(plan: EstatePlan): Promise<void> {
    const { service, source, hash, approvals } = this.#move;
    const { deadlineMs, onDeadline } = approvals;
    const deadline = new Date(Date.now() + deadlineMs).toISOString();
    this.#op.board.phase('waiting for approval of the cutover');
    const text = this.#moved.cutoverText(plan);
    const answer = await this.#moved.whileFollowing(() =>
      this.#op.decisions.ask({
        ...{ question: 'cutover', text, answers: ['approve', 'reject'] },
        ...{ planHash: hash, deadline, onDeadline, costPerDayUsd: waitingCost([source, this.#course.made]) },
      }),
    );
    const kept = `everything was taken back; ${service} stays on ${source.provider}`;
    if (answer === undefined)
      throw failure('ApprovalExpired', `Nobody approved the cutover before ${deadline}; ${kept}.`);
    if (answer === 'reject') throw failure('ApprovalRejected', `The cutover was rejected; ${kept}.`);
  }

  verify(): Promise<void> {
    return this.#moved.verify();
  }

  /** Makes resolvers ask again soon, and waits until none of them keeps what they were told before. */
  async lowerTtl(): Promise<void> {
    const { traffic, service, owner, stage } = this.#move;
    if (!traffic) return;
    const { at, ttlSeconds } = traffic;
    await this.#op.board.step(
      'lower the TTL',
      async () => {
        const on = cloud(at.provider, `endpoint record of ${service}`);
        const before = await this.#op.held(service, () => on.readEndpointRecord({ at, service, uid: owner.uid }));
        // An earlier run has lowered it already.
        this.#endpointBefore = before && stage ? { ...before, ttlSeconds } : before;
        this.#undoableEndpoint();
        await this.#course.steer(this.#course.source, lowTtlSeconds, before);
        if (before) await wf.sleep((stage ? ttlSeconds : before.ttlSeconds) * 1000);
      },
      () => `${lowTtlSeconds} s`,
    );
  }

  /** Writers leave the source, and nothing that they wrote stays only there. */
  handOver(): Promise<void> {
    return this.#moved.handOver();
  }

  /** Readers and writers go to the target from here on, and the source follows it. */
  async switchOver(): Promise<void> {
    const { service } = this.#move;
    const { provider } = this.#course.made;
    this.#undoableSwitch();
    await this.#op.board.step(
      'switch',
      async () => {
        // First: readers of the record may go there although its answer gets lost.
        this.#turn(true);
        await this.#course.note('switched', [
          { ...mark(this.#course.made), role: 'current' },
          { ...mark(this.#course.source), role: 'retained' },
        ]);
        await this.#course.steer(this.#course.made);
      },
      () => `${service} is on ${provider}`,
    );
    await this.#op.board.step(
      'health',
      async () => {
        const placement = placementOf(this.#move.owner, this.#course.made);
        const on = cloud(provider, `verify ${service}`);
        const { healthy, health, failed } = await this.#op.held(service, async () => {
          const { specs } = await on.inspectPlacement({ placement, existing: true });
          return on.verifyPlacement({ placement, specs, ...(this.#moved.proven && { tried: true }) });
        });
        if (!healthy || failed.length > 0)
          throw failure('VerificationFailed', `${service} on ${provider}: ${health}; traffic goes back.`);
        return health;
      },
      (health) => health,
    );
  }

  /** The source is kept, follows the target, and can be gone back to until this ends. */
  async soak(): Promise<void> {
    const { service, soakMs, hash, source } = this.#move;
    const until = new Date(Date.now() + soakMs).toISOString();
    this.#op.board.phase('soaking');
    this.#op.decisions.askBeforeUndo();
    const text = `${service} is on ${this.#course.made.provider}. Until ${until} it can go back to ${source.provider}, with all that was written since; after that only by another migration.`;
    const answer = await this.#moved.whileFollowing(() =>
      this.#op.decisions.ask({
        ...{ question: 'undo', text, answers: ['approve'], planHash: hash },
        ...{ deadline: until, onDeadline: 'undo', optional: true },
      }),
    );
    if (answer !== undefined)
      throw failure('UndoRequested', `The switch was taken back; ${service} is on ${source.provider} again.`);
  }

  /** The source stays, read-only, as long as the estate says; then its record removes it. */
  async retireSource(): Promise<void> {
    const { service, retentionMs, source, traffic } = this.#move;
    await this.#moved.settle();
    const removeAt = this.#course.sourceOnly > 0 ? undefined : new Date(Date.now() + retentionMs).toISOString();
    const until = removeAt ? `until ${removeAt}` : `until somebody removes it: ${this.#moved.leftText}`;
    await this.#op.board.step(
      'retire the source',
      async () => {
        await this.#course.steer(this.#course.made, traffic?.ttlSeconds);
        await this.#moved.close();
        await this.#op.keepTrail(service);
        await this.#course.write(undefined, [{ ...mark(source), role: 'retained', removeAt }]);
      },
      () => `${source.provider} keeps it read-only ${until}`,
    );
    const { provider, monthlyCostUsd } = source;
    for (const { name, holdsData } of source.resources)
      if (holdsData) this.#op.retained.push({ provider, name, until: removeAt ?? 'it is removed', monthlyCostUsd });
  }

  #undoableBegin(): void {
    const { service, source } = this.#move;
    this.#op.saga.add({
      step: 'migration',
      orphan: { provider: source.provider, kind: 'migration', name: service },
      undo: async () => {
        await this.#course.write(undefined);
        return `${service} stays on ${source.provider}`;
      },
    });
  }

  /** What an earlier run has made of the target, as far as it came; it holds nothing but copies. */
  #undoableTarget(): void {
    const { service, owner } = this.#move;
    const recorded = this.#course.made;
    this.#op.saga.add({
      step: 'target',
      orphan: { provider: recorded.provider, kind: 'placement', name: service },
      undo: async () => {
        await removeTarget(this.#op, owner, recorded);
        return 'gone';
      },
    });
  }

  #undoableEndpoint(): void {
    const { traffic, service } = this.#move;
    if (!traffic || this.#endpointUndoable) return;
    this.#endpointUndoable = true;
    this.#op.saga.add({
      step: 'endpoint record',
      orphan: { provider: traffic.at.provider, kind: 'endpoint record', name: service },
      undo: () => this.#restoreEndpoint(),
    });
  }

  #undoableSwitch(): void {
    this.#op.saga.add({
      step: 'switch',
      orphan: { provider: this.#course.made.provider, kind: 'switch', name: this.#move.service },
      first: true,
      undo: () => this.#switchBack(),
    });
  }
  /** Brings back what was written on the target, then makes the source current. */
  async #switchBack(): Promise<string> {
    const { source } = this.#move;
    const brought = await this.#moved.handBack();
    await this.#course.steer(source);
    await this.#course.note(this.#moved.handing, [
      { ...mark(source), role: 'current' },
      { ...mark(this.#course.made), role: 'target' },
    ]);
    this.#turn(false);
    return `back on ${source.provider}: ${brought}`;
  }

  async #restoreEndpoint(): Promise<string> {
    const { traffic, service, owner, source } = this.#move;
    if (!traffic) return 'none';
    const { at, ttlSeconds } = traffic;
    const before = this.#endpointBefore;
    if (before) await this.#course.writeEndpoint(traffic, before);
    else if (before === undefined) await this.#course.steer(source, ttlSeconds);
    else {
      const on = urgent(at.provider, `endpoint record of ${service}`);
      await on.removeEndpointRecord({ at, service, uid: owner.uid });
    }
    return 'as before';
  }

  #turn(switched: boolean): void {
    this.#course.switched = switched;
    this.#moved.turned();
  }
}
