/**
 * The steps of a migration, in the order in which `migrateService` takes them. Each registers how it is taken back before it
 * acts. Until the switch the source serves and the target follows it; from then on it is the other way round, so that going
 * back loses nothing that was written meanwhile.
 */
import * as wf from '@temporalio/workflow';
import type { BulkActivities } from '../activities/index.ts';
import type { EndpointRecord } from '../model/endpoint-record.ts';
import type { EstatePlan, PlannedPlacement } from '../model/operations.ts';
import type { Mark, Migration as MigrationRecord, RecordChange, RecordedPlacement } from '../model/record.ts';
import { type FollowedStore, passesPerPump } from '../model/replication.ts';
import type { ServiceType } from '../model/service.ts';
import {
  type CopiedDelta,
  type CopiedObjects,
  mostDeletes,
  type PlacementRef,
  type PlannedTransfer,
  placementRef,
  type Transfer,
} from '../model/transfer.ts';
import { bulk, cloud, failure, urgent, watch } from './calls.ts';
import { endpointOf } from './endpoints.ts';
import { Feeds, feedsExist } from './feeds.ts';
import { inLanes } from './graph.ts';
import type { Move, Traffic } from './migration-plan.ts';
import {
  brakeText,
  cutoverText,
  deltaText,
  feedText,
  gigabytes,
  objectsText,
  refuseCorrupted,
  refuseDifferent,
  refusedText,
  waitingCost,
} from './migration-text.ts';
import type { Operation } from './operation.ts';
import { provisionService } from './provisioning.ts';
import { placementOf, removeResources, sweep } from './removal.ts';

/** Shards that are copied at the same time. */
const lanes = 4;
/** The target is close enough to ask for the cutover when a pass finds no more than this behind. */
const closeEnough = 100;
/** Passes after the fence until one finds nothing; more of them mean that somebody still writes. */
const mostFinalPasses = 10;
/** A pump returns after this long, so that a run's history stays short over days. */
const pumpMs = 600_000;
/** While a cutover is near, resolvers must not keep the old answer for long. */
const lowTtlSeconds = 5;
/** A fence is found by others only once its run should long have lifted or prolonged it. */
const fenceSlackMs = 86_400_000;

type Part = Extract<RecordChange, { kind: 'migration' }>['roles'][number];

export class Migration {
  readonly #op: Operation;
  readonly #move: Move;
  readonly #source: RecordedPlacement;
  /** As the record has it; absent until it is provisioned. */
  #target: RecordedPlacement | undefined;
  #switched = false;
  /** Names the transfer's files. Not of the run's ID, which a reset changes. */
  readonly #id = wf.uuid4().slice(0, 8);
  /** Pumps so far in the present direction, and what the last one saw. */
  #pumps = 0;
  #followed: FollowedStore | undefined;
  readonly #feeds: Feeds;
  /** Objects that people have decided to go on without: only the source has them. */
  #leftBehind = 0;
  /** Objects under a hold: copied, but their source must not be removed. */
  #holds = 0;
  /** The endpoint record as it was; undefined until it is touched, or where an earlier run has changed it. */
  #endpointBefore: EndpointRecord | null | undefined;
  #asked = 0;
  /** More deletions than this in one pass are asked about. */
  #maxDeletes: number;

  constructor(op: Operation, move: Move) {
    this.#op = op;
    this.#move = move;
    this.#source = move.source;
    this.#feeds = new Feeds(op, move.owner);
    this.#maxDeletes = mostDeletes(move.holds.objects);
  }

  async provisionTarget(type: ServiceType, target: PlannedPlacement): Promise<void> {
    const { service } = this.#move;
    this.#op.board.phase('provisioning the target');
    this.#undoableBegin();
    if (this.#move.stage === 'fenced') await this.#liftFence();
    await this.#note('copying');
    const [made] = await provisionService(this.#op, { service, type, placements: [{ ...target, role: 'target' }] });
    if (!made) throw failure('VerificationFailed', `${service} has no target.`);
    this.#target = made;
  }

  /** Takes up a migration that has come so far: what it did can be taken back, or it goes on. */
  resume(target: RecordedPlacement, stage: MigrationRecord['stage']): void {
    this.#target = target;
    this.#leftBehind = this.#move.sourceOnly;
    this.#undoableBegin();
    this.#undoableTarget();
    this.#undoableEndpoint();
    if (feedsExist()) for (const store of [this.#source, target]) this.#feeds.undoable(store);
    if (stage === 'copying') return;
    this.#undoableFence();
    if (stage === 'fenced') return;
    this.#undoableSwitch();
    this.#turn(true);
  }

  /** Copies in shards, side by side, and compares each with its source. */
  async copy(): Promise<void> {
    const { service } = this.#move;
    this.#op.board.phase('copying');
    const plan = await this.#listed();
    let shards = Array.from({ length: plan.shards }, (_, shard) => shard);
    for (let attempt = 0; ; attempt++) {
      const short = await this.#copyShards(plan, shards, attempt);
      const failed = short.reduce((sum, { copied }) => sum + copied.failed, 0);
      // What was refused when it was listed fails here again, and has been decided about.
      if (failed <= this.#leftBehind) return;
      const results = short.map(({ copied }) => copied);
      const answer = await this.#ask('objects', objectsText(failed, results), ['retry', 'skip', 'undo']);
      if (answer === 'undo') throw failure('UndoRequested', `${failed} objects of ${service} could not be copied.`);
      if (answer === 'skip') {
        this.#leftBehind = failed;
        return;
      }
      shards = short.map(({ shard }) => shard);
    }
  }

  /** Ends when so little is behind that the rest can be copied while writers wait. */
  async follow(): Promise<void> {
    this.#op.board.phase('following the source');
    await this.#op.board.step(
      'follow',
      async () => {
        for (let held = await this.#pump(closeEnough); held; held = await this.#pump(closeEnough))
          await this.#brake(held);
      },
      () => this.#lag,
    );
  }

  /** Asks people, and keeps the target in step while they think. */
  async approveCutover(plan: EstatePlan): Promise<void> {
    const { service, source, hash, approvals } = this.#move;
    const { deadlineMs, onDeadline } = approvals;
    const deadline = new Date(Date.now() + deadlineMs).toISOString();
    this.#op.board.phase('waiting for approval of the cutover');
    const text = cutoverText(this.#move, this.#made, plan, this.#lag);
    const answer = await this.#whileFollowing(() =>
      this.#op.decisions.ask({
        ...{ question: 'cutover', text, answers: ['approve', 'reject'] },
        ...{ planHash: hash, deadline, onDeadline, costPerDayUsd: waitingCost([source, this.#made]) },
      }),
    );
    const kept = `everything was taken back; ${service} stays on ${source.provider}`;
    if (answer === undefined)
      throw failure('ApprovalExpired', `Nobody approved the cutover before ${deadline}; ${kept}.`);
    if (answer === 'reject') throw failure('ApprovalRejected', `The cutover was rejected; ${kept}.`);
  }

  /** Compares all that the target holds with the source, which may have moved on; what has not must be the same. */
  async verify(): Promise<void> {
    const { service } = this.#move;
    this.#op.board.phase('verifying');
    await this.#op.board.step(
      'verify',
      async () => {
        const everything = { ...this.#transfer, what: { kind: 'everything' } as const };
        const seen = await this.#bulk(`verify ${service}`, (on) => on.verifyTransfer(everything));
        refuseCorrupted(service, seen);
        return seen;
      },
      ({ compared }) => `${compared.objects} objects, ${gigabytes(compared.bytes)} GB compared`,
    );
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
        await this.#steer(this.#source, lowTtlSeconds, before);
        if (before) await wf.sleep((stage ? ttlSeconds : before.ttlSeconds) * 1000);
      },
      () => `${lowTtlSeconds} s`,
    );
  }

  /** From here on writers are refused until the switch is done, or taken back. */
  async fenceSource(): Promise<void> {
    const { provider } = this.#source;
    this.#op.board.phase('cutting over');
    this.#undoableFence();
    await this.#op.board.step(
      'fence',
      async () => {
        await this.#note('fenced');
        await this.#fence(this.#source);
      },
      () => `${provider} refuses writers`,
    );
  }

  /** What was written since the last pass; nothing may be missing, or differ, afterwards. */
  async copyRest(): Promise<void> {
    await this.#op.board.step('last delta', () => this.#finalDelta(), deltaText);
  }

  /** Readers and writers go to the target from here on, and the source follows it. */
  async switchOver(): Promise<void> {
    const { service } = this.#move;
    const { provider } = this.#made;
    this.#undoableSwitch();
    await this.#op.board.step(
      'switch',
      async () => {
        // First: readers of the record may go there although its answer gets lost.
        this.#turn(true);
        await this.#note('switched', [
          { ...mark(this.#made), role: 'current' },
          { ...mark(this.#source), role: 'retained' },
        ]);
        await this.#steer(this.#made);
      },
      () => `${service} is on ${provider}`,
    );
    await this.#op.board.step(
      'health',
      async () => {
        const placement = placementOf(this.#move.owner, this.#made);
        const on = cloud(provider, `verify ${service}`);
        const { healthy, health, failed } = await this.#op.held(service, async () => {
          const { specs } = await on.inspectPlacement({ placement, existing: true });
          return on.verifyPlacement({ placement, specs });
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
    const text = `${service} is on ${this.#made.provider}. Until ${until} it can go back to ${source.provider}, with all that was written since; after that only by another migration.`;
    const answer = await this.#whileFollowing(() =>
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
    const sourceOnly = this.#leftBehind + this.#holds;
    const removeAt = sourceOnly > 0 ? undefined : new Date(Date.now() + retentionMs).toISOString();
    const until = removeAt
      ? `until ${removeAt}`
      : `until somebody removes it: ${sourceOnly} objects are held, or only there`;
    await this.#op.board.step(
      'retire the source',
      async () => {
        await this.#steer(this.#made, traffic?.ttlSeconds);
        await this.#feeds.close();
        await this.#op.keepTrail(service);
        await this.#write(undefined, [{ ...mark(source), role: 'retained', removeAt }]);
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
        await this.#write(undefined);
        return `${service} stays on ${source.provider}`;
      },
    });
  }

  /** What an earlier run has made of the target, as far as it came; it holds nothing but copies. */
  #undoableTarget(): void {
    const { service, owner } = this.#move;
    const recorded = this.#made;
    const { provider, generation, resources } = recorded;
    this.#op.saga.add({
      step: 'target',
      orphan: { provider, kind: 'placement', name: service },
      undo: async () => {
        const placement = placementOf(owner, recorded);
        await removeResources(this.#op, { placement, recorded, resources, deleteData: true, undo: true });
        await sweep(this.#op, placement, []);
        await this.#op.write(service, { kind: 'withdrawn', provider, generation, retained: [] });
        return 'gone';
      },
    });
  }

  #undoableEndpoint(): void {
    const { traffic, service } = this.#move;
    if (!traffic) return;
    this.#op.saga.add({
      step: 'endpoint record',
      orphan: { provider: traffic.at.provider, kind: 'endpoint record', name: service },
      undo: () => this.#restoreEndpoint(),
    });
  }

  #undoableFence(): void {
    const { service, source } = this.#move;
    this.#op.saga.add({
      step: 'fence',
      orphan: { provider: source.provider, kind: 'fence', name: service },
      undo: () => this.#liftFence(),
    });
  }

  #undoableSwitch(): void {
    this.#op.saga.add({
      step: 'switch',
      orphan: { provider: this.#made.provider, kind: 'switch', name: this.#move.service },
      first: true,
      undo: () => this.#switchBack(),
    });
  }

  async #listed(): Promise<PlannedTransfer> {
    const { service } = this.#move;
    for (;;) {
      const plan = await this.#op.board.step(
        'list',
        () => this.#bulk(`list ${service}`, (on) => on.planTransfer(this.#transfer)),
        ({ objects, bytes, shards }) => `${objects} objects, ${gigabytes(bytes)} GB in ${shards} shards`,
      );
      // What is held can be copied; it only keeps its source from being removed.
      const { held = 0, ...refused } = plan.refused;
      this.#holds = held;
      const count = Object.values(refused).reduce((sum, one) => sum + one, 0);
      if (count === 0) return plan;
      const answer = await this.#ask('objects', refusedText(refused, plan.refusedFiles), ['retry', 'skip', 'undo']);
      if (answer === 'undo') throw failure('UndoRequested', `${count} objects of ${service} cannot be at the target.`);
      if (answer === 'retry') continue;
      this.#leftBehind = count;
      return plan;
    }
  }

  /** Returns the shards that have objects left which could not be copied. */
  #copyShards(
    plan: PlannedTransfer,
    shards: readonly number[],
    attempt: number,
  ): Promise<{ shard: number; copied: CopiedObjects }[]> {
    const { service } = this.#move;
    const started = Date.now();
    let objects = 0;
    let bytes = 0;
    return this.#op.board.step('copy', async () => {
      const results = await inLanes(shards, lanes, async (shard) => {
        const which = `shard ${shard + 1} of ${plan.shards}`;
        const copied = await this.#bulk(`copy ${which}`, (on) => on.copyShard({ ...this.#transfer, shard, attempt }));
        const compare = { ...this.#transfer, what: { kind: 'shard', shard } as const, bodies: this.#bodies };
        refuseCorrupted(service, await this.#bulk(`verify ${which}`, (on) => on.verifyTransfer(compare)));
        objects += copied.seen.objects;
        bytes += copied.seen.bytes;
        const leftMs = ((Date.now() - started) / Math.max(1, bytes)) * Math.max(0, plan.bytes - bytes);
        const forecast =
          objects < plan.objects ? `, about ${Math.ceil(leftMs / 1000)} s left` : ', compared one by one';
        const detail = `${objects} of ${plan.objects} objects, ${gigabytes(bytes)} GB${forecast}`;
        this.#op.board.mark('copy', { detail });
        return { shard, copied };
      });
      return results.filter(({ copied }) => copied.failed > 0);
    });
  }

  /** Follows until no more than so much is behind; for ever where none is given. Returns what it did not delete without being told to. */
  async #pump(untilBehind?: number): Promise<CopiedDelta | undefined> {
    const { service, followMs } = this.#move;
    for (;;) {
      const feed = await this.#feeds.of(this.#from);
      const followed = await this.#op.held(service, () =>
        this.#untilGateCloses(() =>
          watch(`keep ${service} in step`).followStore({
            ...this.#transfer,
            pump: this.#pumps++,
            maxDeletes: this.#maxDeletes,
            gone: this.#gone,
            ...(feed && { feed }),
            intervalMs: followMs,
            forMs: pumpMs,
            ...(untilBehind !== undefined && { untilBehind }),
          }),
        ),
      );
      if (followed === 'gate closed') continue; // it goes on once the gate is open
      if (followed === 'told to end') throw new wf.CancelledFailure('it is not to follow any longer');
      this.#followed = followed;
      this.#op.board.mark(this.#switched ? 'soak' : 'follow', { detail: this.#lag });
      const { last } = followed;
      if (last.deletes === 'held') return last;
      const close =
        followed.feed && !followed.feed.problem ? followed.feed.caughtUp : last.behind <= (untilBehind ?? -1);
      if (untilBehind !== undefined && close) return undefined;
    }
  }

  async #brake(delta: CopiedDelta): Promise<void> {
    const { service } = this.#move;
    const answer = await this.#ask('brake', brakeText(delta, this.#maxDeletes), ['continue', 'undo']);
    if (answer === 'undo') throw failure('UndoRequested', `${delta.gone} objects of ${service} were gone at once.`);
    this.#maxDeletes = Math.max(this.#maxDeletes, delta.gone);
  }

  /** A pump is long; it ends early where the run is paused or has to yield. Either end is a clean one: no call of it is lost. */
  async #untilGateCloses<T>(act: () => Promise<T>): Promise<T | 'gate closed' | 'told to end'> {
    const scope = new wf.CancellationScope();
    // By the time that it has ended the gate may be open again.
    let closed = false;
    try {
      return await scope.run(async () => {
        const closing = wf
          .condition(() => this.#op.gate.isClosed)
          .then(() => {
            closed = true;
            scope.cancel();
          });
        closing.catch(() => {}); // cancelled together with the scope
        return act();
      });
    } catch (error) {
      if (wf.isCancellation(error)) return closed ? 'gate closed' : 'told to end';
      throw error;
    } finally {
      scope.cancel();
    }
  }

  /** Follows as long as `ask` waits for people. Where following has to ask something itself, that goes first; answers that were given stay. */
  async #whileFollowing<T>(ask: () => Promise<T>): Promise<T> {
    for (;;) {
      const asking = new wf.CancellationScope();
      const pumping = new wf.CancellationScope();
      const [answer, pump] = await Promise.allSettled([
        asking.run(ask).finally(() => pumping.cancel()),
        pumping.run(() => this.#pump()).finally(() => asking.cancel()),
      ]);
      if (pump.status === 'rejected' && !wf.isCancellation(pump.reason)) throw pump.reason;
      if (answer.status === 'fulfilled') return answer.value;
      if (pump.status === 'rejected' || !pump.value) throw answer.reason;
      await this.#brake(pump.value);
    }
  }

  /** One pass after the other with nobody writing, until one finds nothing; then the proof that nothing is left behind. */
  async #finalDelta(): Promise<CopiedDelta> {
    const { service } = this.#move;
    const passes: { round: number; delta: CopiedDelta }[] = [];
    while (passes.length < mostFinalPasses) {
      const round = passesPerPump * this.#pumps++;
      const input = { ...this.#transfer, round, maxDeletes: this.#maxDeletes, gone: this.#gone };
      const delta = await this.#bulk(`last delta of ${service}`, (on) => on.copyDelta(input));
      if (delta.deletes === 'held') {
        await this.#brake(delta);
        continue;
      }
      passes.push({ round, delta });
      // What cannot be copied is found again by every pass there, and is no object of the way back.
      const accepted = this.#switched ? 0 : this.#leftBehind;
      if (delta.copied.objects + delta.gone > 0 || delta.failed > accepted) continue;
      for (const { round: done } of passes) {
        const compare = { ...this.#transfer, what: { kind: 'delta', round: done } as const, bodies: this.#bodies };
        const seen = await this.#bulk(`verify the last delta of ${service}`, (on) => on.verifyTransfer(compare));
        refuseDifferent(service, seen);
      }
      const deltas = passes.map((one) => one.delta);
      const sum = (of: (one: CopiedDelta) => number) => deltas.reduce((total, one) => total + of(one), 0);
      const copied = { objects: sum((one) => one.copied.objects), bytes: sum((one) => one.copied.bytes) };
      return { ...delta, copied, deleted: sum((one) => one.deleted) };
    }
    const last = passes.map(
      ({ delta }) => `${delta.copied.objects} copied, ${delta.gone} gone, ${delta.failed} failed`,
    );
    throw failure(
      'VerificationFailed',
      `${service} still changes on ${this.#from.provider} although writers are refused there (the last pass: ${last.at(-1)}): somebody writes with rights that come from above the store.`,
    );
  }

  /** Brings back what was written on the target, then makes the source current. */
  async #switchBack(): Promise<string> {
    const { source } = this.#move;
    await this.#fence(this.#made);
    const delta = await this.#finalDelta();
    await this.#steer(source);
    await this.#note('fenced', [
      { ...mark(source), role: 'current' },
      { ...mark(this.#made), role: 'target' },
    ]);
    this.#turn(false);
    return `back on ${source.provider}: ${deltaText(delta)}`;
  }

  /** The endpoint record with this placement and those that the service keeps, where the estate keeps such records. */
  async #steer(
    placement: RecordedPlacement,
    ttlSeconds = lowTtlSeconds,
    expected?: EndpointRecord | null,
  ): Promise<void> {
    const { traffic, service, owner } = this.#move;
    if (!traffic) return;
    const placements = [...traffic.others, placement];
    const endpoints = placements.flatMap(endpointOf);
    const record = { uid: owner.uid, service, ttlSeconds, endpoints };
    if (endpoints.length > 0) await this.#writeEndpoint(traffic, record, expected);
  }

  async #writeEndpoint({ at }: Traffic, record: EndpointRecord, expected?: EndpointRecord | null): Promise<void> {
    const on = urgent(at.provider, `endpoint record of ${record.service}`);
    const input = { at, record, ...(expected !== undefined && { expected }) };
    await this.#op.held(record.service, () => on.writeEndpointRecord(input));
  }

  async #restoreEndpoint(): Promise<string> {
    const { traffic, service, owner, source } = this.#move;
    if (!traffic) return 'none';
    const { at, ttlSeconds } = traffic;
    const before = this.#endpointBefore;
    if (before) await this.#writeEndpoint(traffic, before);
    else if (before === undefined) await this.#steer(source, ttlSeconds);
    else {
      const on = urgent(at.provider, `endpoint record of ${service}`);
      await on.removeEndpointRecord({ at, service, uid: owner.uid });
    }
    return 'as before';
  }

  async #fence(recorded: RecordedPlacement): Promise<void> {
    const { service, owner, soakMs, retentionMs } = this.#move;
    const placement = placementOf(owner, recorded);
    const expiresAt = new Date(Date.now() + soakMs + retentionMs + fenceSlackMs).toISOString();
    const on = urgent(recorded.provider, `fence ${service}`);
    const { settles } = await this.#op.held(service, () => on.proveFence({ placement }));
    const exempt = await this.#writers(placementRef(owner, recorded));
    await this.#op.held(service, () => on.fenceStore({ placement, owner: this.#move.holder, expiresAt, exempt }));
    const { fenceMs } = await this.#op.waits();
    const settleMs = Math.min(settles.longestMs ?? 0, fenceMs);
    if (settleMs > 0) await wf.sleep(settleMs);
  }

  /** As whom those that copy and follow write: they may have credentials of their own. */
  async #writers(placement: PlacementRef): Promise<string[]> {
    const summary = `who writes to ${placement.provider}`;
    const names = await this.#op.held(this.#move.service, () =>
      Promise.all([this.#queue(summary), watch(summary)].map((on) => on.nameWriter({ placement }))),
    );
    return [...new Set(names)].sort();
  }

  async #liftFence(): Promise<string> {
    const { service, owner, source, holder } = this.#move;
    const placement = placementOf(owner, source);
    await urgent(source.provider, `lift the fence of ${service}`).liftFence({ placement, owner: holder });
    await this.#note('copying');
    return 'writers are let in again';
  }

  /** Asks with no deadline: what happened must be decided by somebody. Each time anew: an answer was to what had happened then. */
  async #ask(question: string, text: string, answers: [string, ...string[]]): Promise<string> {
    const hash = `${this.#move.hash} ${++this.#asked}`;
    this.#op.board.phase(`waiting for a decision about ${question}`);
    const costPerDayUsd = waitingCost([this.#source, this.#target]);
    return (await this.#op.decisions.ask({ question, text, answers, planHash: hash, costPerDayUsd })) ?? 'undo';
  }

  #note(stage: MigrationRecord['stage'], roles: Part[] = []): Promise<void> {
    const { holder, to } = this.#move;
    const sourceOnly = this.#leftBehind + this.#holds;
    return this.#write({ ...holder, from: mark(this.#source), to, stage, sourceOnly }, roles);
  }

  #write(migration: MigrationRecord | undefined, roles: Part[] = []): Promise<void> {
    return this.#op.write(this.#move.service, { kind: 'migration', ...(migration && { migration }), roles });
  }

  get #made(): RecordedPlacement {
    if (!this.#target) throw failure('VerificationFailed', `${this.#move.service} has no target yet.`);
    return this.#target;
  }

  get #from(): RecordedPlacement {
    return this.#switched ? this.#made : this.#source;
  }

  get #to(): RecordedPlacement {
    return this.#switched ? this.#source : this.#made;
  }

  /** On the way back, what only the source has was never copied, where something was not. */
  get #gone(): 'delete' | 'keep' {
    return this.#switched && this.#leftBehind > 0 ? 'keep' : 'delete';
  }

  /** From the one that serves to the one that follows. */
  get #transfer(): Transfer {
    const { owner } = this.#move;
    const way = this.#switched ? 'back' : 'there';
    const [source, target] = [placementRef(owner, this.#from), placementRef(owner, this.#to)];
    return { source, target, transfer: `${this.#id}-${way}`, digest: this.#move.digest };
  }

  /** A SHA-256 is of use only where somebody compares it. */
  get #bodies(): 'all' | 'needed' {
    return this.#move.digest === 'sha256' ? 'all' : 'needed';
  }

  #turn(switched: boolean): void {
    this.#switched = switched;
    this.#pumps = 0;
    this.#followed = undefined;
  }

  #queue(summary: string): BulkActivities {
    return bulk(this.#from.provider, this.#to.provider, summary);
  }

  #bulk<T>(summary: string, act: (on: BulkActivities) => Promise<T>): Promise<T> {
    return this.#op.held(this.#move.service, () => act(this.#queue(summary)));
  }

  /** How far the one that follows is behind, in words. */
  get #lag(): string {
    if (!this.#followed) return 'not followed yet';
    const told = feedText(this.#followed.feed, this.#feeds.problem);
    const { last, inStepAt } = this.#followed;
    return `the last pass found ${last.behind} objects behind; in step with what was written before ${inStepAt}${told}`;
  }
}

const mark = ({ provider, generation }: Mark): Mark => ({ provider, generation });
