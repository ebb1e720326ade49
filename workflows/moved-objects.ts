/** The objects of a store on their way: copied in shards, compared, kept in step by pumps; writers are fenced off while the rest follows. */
import * as wf from '@temporalio/workflow';
import type { BulkActivities } from '../activities/index.ts';
import type { EstatePlan } from '../model/operations.ts';
import type { RecordedPlacement } from '../model/record.ts';
import { type FollowedStore, passesPerPump } from '../model/replication.ts';
import {
  type CopiedDelta,
  type CopiedObjects,
  mostDeletes,
  type PlacementRef,
  type PlannedTransfer,
  placementRef,
  type Transfer,
} from '../model/transfer.ts';
import type { CopiedVersions } from '../model/versions.ts';
import { bulk, failure, urgent, watch } from './calls.ts';
import type { Course } from './course.ts';
import { Feeds, feedsExist } from './feeds.ts';
import { untilGateCloses, whileFollowing } from './following.ts';
import { inLanes } from './graph.ts';
import type { Move } from './migration-plan.ts';
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
  versionsLeftText,
  versionsText,
} from './migration-text.ts';
import type { Moved } from './moved.ts';
import type { Operation } from './operation.ts';
import { placementOf } from './removal.ts';

/** Shards that are copied at the same time. */
const lanes = 4;
/** The target is close enough to ask for the cutover when a pass finds no more than this behind. */
const closeEnough = 100;
/** Passes after the fence until one finds nothing; more of them mean that somebody still writes. */
const mostFinalPasses = 10;
/** A pump returns after this long, so that a run's history stays short over days. */
const pumpMs = 600_000;
/** A fence is found by others only once its run should long have lifted or prolonged it. */
const fenceSlackMs = 86_400_000;

export class MovedObjects implements Moved {
  readonly handing = 'fenced';
  readonly proven = false;
  readonly #course: Course;
  readonly #op: Operation;
  readonly #move: Move;
  /** Names the transfer's files. Not of the run's ID, which a reset changes. */
  readonly #id = wf.uuid4().slice(0, 8);
  /** Pumps so far in the present direction, and what the last one saw. */
  #pumps = 0;
  #followed: FollowedStore | undefined;
  readonly #feeds: Feeds;
  /** Objects that people have decided to go on without: only the source has them. */
  #leftBehind: number;
  /** Older versions that only the source has, by such a decision. */
  #versionsLeft = 0;
  /** Objects under a hold: copied, but their source must not be removed. */
  #holds = 0;
  /** More deletions than this in one pass are asked about. */
  #maxDeletes: number;

  constructor(course: Course) {
    const { op, move } = course;
    this.#course = course;
    this.#op = op;
    this.#move = move;
    this.#feeds = new Feeds(op, move.owner);
    this.#maxDeletes = mostDeletes(move.holds.objects);
    this.#leftBehind = move.sourceOnly;
    this.#count();
  }

  get leftText(): string {
    return `${this.#course.sourceOnly} objects are held, or only there`;
  }

  async release(): Promise<void> {
    await this.#liftFence();
  }

  async admit(): Promise<void> {
    await this.#op.held(this.#move.service, () => this.#lift(this.#course.made));
  }

  undoable(what: 'begun' | 'handing'): void {
    if (what === 'handing') this.#undoableFence();
    else if (feedsExist()) for (const store of [this.#course.source, this.#course.made]) this.#feeds.undoable(store);
  }

  cutoverText(plan: EstatePlan): string {
    return cutoverText(this.#move, this.#course.made, plan, this.#lag);
  }

  whileFollowing<T>(ask: () => Promise<T>): Promise<T> {
    return whileFollowing(
      ask,
      () => this.#pump(),
      (held) => this.#brake(held),
    );
  }

  /** Copies in shards, side by side, and compares each with its source. */
  async copy(): Promise<void> {
    const { service } = this.#move;
    this.#op.board.phase('copying');
    const plan = await this.#listed();
    if (this.#move.versions) await this.#copyVersions(plan);
    let shards = Array.from({ length: plan.shards }, (_, shard) => shard);
    for (let attempt = 0; ; attempt++) {
      const short = await this.#copyShards(plan, shards, attempt);
      const failed = short.reduce((sum, { copied }) => sum + copied.failed, 0);
      // What was refused when it was listed fails here again, and has been decided about.
      if (failed <= this.#leftBehind) return;
      const results = short.map(({ copied }) => copied);
      const answer = await this.#course.ask('objects', objectsText(failed, results), ['retry', 'skip', 'undo']);
      if (answer === 'undo') throw failure('UndoRequested', `${failed} objects of ${service} could not be copied.`);
      if (answer === 'skip') {
        this.#leftBehind = failed;
        this.#count();
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

  /** From here on writers are refused until the switch is done, or taken back; nothing may be missing, or differ, afterwards. */
  async handOver(): Promise<void> {
    const { provider } = this.#course.source;
    this.#op.board.phase('cutting over');
    this.#undoableFence();
    await this.#op.board.step(
      'fence',
      async () => {
        await this.#course.note('fenced');
        await this.#fence(this.#course.source);
      },
      () => `${provider} refuses writers`,
    );
    await this.#op.board.step('last delta', () => this.#finalDelta(), deltaText);
  }

  async handBack(): Promise<string> {
    await this.#fence(this.#course.made);
    return deltaText(await this.#finalDelta());
  }

  turned(): void {
    this.#pumps = 0;
    this.#followed = undefined;
  }

  async settle(): Promise<void> {}

  close(): Promise<void> {
    return this.#feeds.close();
  }

  #undoableFence(): void {
    const { service, source } = this.#move;
    this.#op.saga.add({
      step: 'fence',
      orphan: { provider: source.provider, kind: 'fence', name: service },
      undo: () => this.#liftFence(),
    });
  }

  #count(): void {
    this.#course.sourceOnly = this.#leftBehind + this.#holds + this.#versionsLeft;
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
      this.#count();
      const count = Object.values(refused).reduce((sum, one) => sum + one, 0);
      if (count === 0) return plan;
      const answer = await this.#course.ask('objects', refusedText(refused, plan.refusedFiles), [
        'retry',
        'skip',
        'undo',
      ]);
      if (answer === 'undo') throw failure('UndoRequested', `${count} objects of ${service} cannot be at the target.`);
      if (answer === 'retry') continue;
      this.#leftBehind = count;
      this.#count();
      return plan;
    }
  }

  /** What is kept behind the current objects goes first, since nothing can be put before what stands there already. */
  async #copyVersions(plan: PlannedTransfer): Promise<void> {
    const { service } = this.#move;
    let shards = Array.from({ length: plan.shards }, (_, shard) => shard);
    for (let [attempt, passOver] = [0, false]; ; attempt++) {
      const step = { ...this.#transfer, attempt, passOver };
      const results = await this.#op.board.step('versions', () => this.#versionsOf(shards, plan, step), versionsText);
      const short = results.filter(({ copied }) => copied.failed > 0);
      const failed = short.reduce((sum, { copied }) => sum + copied.failed, 0);
      if (passOver) this.#versionsLeft = failed;
      this.#count();
      if (failed === 0 || passOver) return;
      const answer = await this.#course.ask('versions', versionsLeftText(failed, short), ['retry', 'skip', 'undo']);
      if (answer === 'undo') throw failure('UndoRequested', `${failed} versions of ${service} could not be copied.`);
      passOver = answer === 'skip';
      shards = short.map(({ shard }) => shard);
    }
  }

  #versionsOf(
    shards: readonly number[],
    plan: PlannedTransfer,
    step: Transfer & { attempt: number; passOver: boolean },
  ): Promise<{ shard: number; copied: CopiedVersions }[]> {
    const { service } = this.#move;
    const { attempt } = step;
    return inLanes(shards, lanes, async (shard) => {
      const which = `versions of shard ${shard + 1} of ${plan.shards}`;
      const copied = await this.#bulk(`copy ${which}`, (on) => on.copyVersions({ ...step, shard }));
      const compare = {
        ...{ ...this.#transfer, bodies: this.#bodies },
        what: { kind: 'versions', shard, attempt } as const,
      };
      // A version does not change: nothing may differ.
      refuseDifferent(service, await this.#bulk(`verify ${which}`, (on) => on.verifyTransfer(compare)));
      return { shard, copied };
    });
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
      const feed = await this.#feeds.of(this.#course.from);
      const followed = await this.#op.held(service, () =>
        untilGateCloses(this.#op, () =>
          watch(`keep ${service} in step`).followStore({
            ...this.#transfer,
            pump: this.#pumps++,
            maxDeletes: this.#maxDeletes,
            gone: this.#gone,
            ...(feed && { feed }),
            intervalMs: followMs,
            forMs: this.#feeds.pumpMs(pumpMs),
            ...(untilBehind !== undefined && { untilBehind }),
          }),
        ),
      );
      if (followed === 'gate closed') continue; // it goes on once the gate is open
      if (followed === 'told to end') throw new wf.CancelledFailure('it is not to follow any longer');
      this.#followed = followed;
      this.#op.board.mark(this.#course.switched ? 'soak' : 'follow', { detail: this.#lag });
      const { last } = followed;
      if (last.deletes === 'held') return last;
      const close =
        followed.feed && !followed.feed.problem ? followed.feed.caughtUp : last.behind <= (untilBehind ?? -1);
      if (untilBehind !== undefined && close) return undefined;
    }
  }

  async #brake(delta: CopiedDelta): Promise<void> {
    const { service } = this.#move;
    const answer = await this.#course.ask('brake', brakeText(delta, this.#maxDeletes), ['continue', 'undo']);
    if (answer === 'undo') throw failure('UndoRequested', `${delta.gone} objects of ${service} were gone at once.`);
    this.#maxDeletes = Math.max(this.#maxDeletes, delta.gone);
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
      const accepted = this.#course.switched ? 0 : this.#leftBehind;
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
      `${service} still changes on ${this.#course.from.provider} although writers are refused there (the last pass: ${last.at(-1)}): somebody writes with rights that come from above the store.`,
    );
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
    await this.#lift(this.#move.source);
    await this.#course.note('copying');
    return 'writers are let in again';
  }

  #lift(recorded: RecordedPlacement): Promise<unknown> {
    const { service, owner, holder } = this.#move;
    const placement = placementOf(owner, recorded);
    return urgent(recorded.provider, `lift the fence of ${service}`).liftFence({ placement, owner: holder });
  }

  /** On the way back, what only the source has was never copied, where something was not. */
  get #gone(): 'delete' | 'keep' {
    return this.#course.switched && this.#leftBehind > 0 ? 'keep' : 'delete';
  }

  /** From the one that serves to the one that follows. */
  get #transfer(): Transfer {
    const { owner } = this.#move;
    const way = this.#course.switched ? 'back' : 'there';
    const [source, target] = [placementRef(owner, this.#course.from), placementRef(owner, this.#course.to)];
    return { source, target, transfer: `${this.#id}-${way}`, digest: this.#move.digest };
  }

  /** A SHA-256 is of use only where somebody compares it. */
  get #bodies(): 'all' | 'needed' {
    return this.#move.digest === 'sha256' ? 'all' : 'needed';
  }

  #queue(summary: string): BulkActivities {
    return bulk(this.#course.from.provider, this.#course.to.provider, summary);
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
