/** `replicateService`: keeps the sides of a service in step for as long as it lives. Holds no lock, and stands aside for what does. */
import * as wf from '@temporalio/workflow';
import type { Activities, WatchActivities } from '../activities/index.ts';
import { brakeWindowMs } from '../model/brake.ts';
import { durationMs } from '../model/duration.ts';
import type { Service } from '../model/estate.ts';
import { incidentRule } from '../model/incident.ts';
import { describeHolder } from '../model/lock.ts';
import { type OperationResult, watchQueue } from '../model/operations.ts';
import type { Holder, RecordedPlacement, ServiceRecord } from '../model/record.ts';
import {
  type Asked,
  addedLag,
  compareEvery,
  type DirectionLag,
  directionName,
  edgesOf,
  type Held,
  lagBand,
  type PumpedSides,
  PumpReport,
  Reconfiguration,
  type Reconfigured,
  ReplicateServiceInput,
  type ReplicateSidesInput,
  type ReplicationLag,
  StandAside,
  worstLag,
} from '../model/replicate.ts';
import { fleetProblems, Replication, transformationProblems } from '../model/replication-wish.ts';
import { type Owner, objectTypes, replicatedTypes, type ServiceType } from '../model/service.ts';
import { sha256Hex } from '../model/sha256.ts';
import { placementRef } from '../model/transfer.ts';
import { applicationFailure, control, failure } from './calls.ts';
import { Feeds } from './feeds.ts';
import { Incidents } from './incidents.ts';
import { standsAsideFor } from './locks.ts';
import { Operation } from './operation.ts';
import { reason } from './progress.ts';
import { placementOf } from './removal.ts';

export const lag = wf.defineQuery<ReplicationLag>('lag');
export const report = wf.defineSignal<[PumpReport]>('report');
/** Asks the run for something else than it does, and what the estate file wishes by now; answers what is in force. */
export const reconfigure = wf.defineUpdate<Reconfigured, [Reconfiguration]>('reconfigure');
/** Of an operation that has the lock: answered once no pump is at work. It goes on when the lock is given back. */
export const standAside = wf.defineUpdate<void, [StandAside]>('standAside');

/** One try: this run counts the failures, and begins the next pump under another epoch. */
const pumpOf = (summary: string): WatchActivities =>
  wf.proxyActivities<WatchActivities>({
    taskQueue: watchQueue,
    startToCloseTimeout: '30 days',
    // It beats every second: until a worker that is gone is missed, nobody keeps the sides in step.
    heartbeatTimeout: '10s',
    cancellationType: wf.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    retry: { maximumAttempts: 1 },
    summary,
  });
/** Waits for a change of the record; as long as that takes. */
const waiting = wf.proxyActivities<Activities>({ startToCloseTimeout: '30 days', heartbeatTimeout: '30s' });

/**
 * A pump that failed is followed by the next one after so long, and twice as long after each further failure in a row. Clouds that
 * cannot be reached are asked again soon: what has been written meanwhile waits for them.
 */
const backoffMs = { first: 1000, most: 60_000, unavailable: 4000 };
/** Another run writes the same books, and does not stop. */
const mostSuperseded = 4;

export async function replicateService(raw: unknown): Promise<OperationResult> {
  const op = new Operation('repair', { inRecord: false });
  let told: () => ReplicationLag = () => ({ epoch: 0, failures: 0, problem: '', inStepAt: '', directions: [] });
  wf.setHandler(lag, () => told(), { description: 'How far behind each direction is' });
  const begun = new wf.Trigger<Replicating>();
  wf.setHandler(reconfigure, async (raw) => (await begun).reconfigure(Reconfiguration.parse(raw)), {
    validator: (raw) => void Reconfiguration.parse(raw),
  });
  wf.setHandler(standAside, async (raw) => (await begun).standAside(StandAside.parse(raw)), {
    validator: (raw) => void StandAside.parse(raw),
  });
  return op.run(async () => {
    const input = op.parse(ReplicateServiceInput, raw);
    op.board.phase('starting');
    const { estate, approvals } = await control.loadEstate({ estate: input.estate });
    op.decisions.obey(approvals);
    op.about(estate.name, input.service, estate.services[input.service]?.type);
    const applied = await control.readApplied({ estate: estate.name });
    const wish = wishOf(applied?.services[input.service] ?? estate.services[input.service], input);
    const { uid, controller } = await control.openEstate({ estate: estate.name });
    const owner = { estate: estate.name, service: input.service, uid, controller };
    if (!input.carried) op.board.record(input.by || 'unnamed', 'keep in step', input.service);
    const pumps = new Replicating(op, owner, input, wish);
    begun.resolve(pumps);
    told = () => pumps.told;
    await pumps.run();
    return op.result('done');
  });
}

/** What the estate file wishes, but for what this run is asked otherwise. */
function wishOf(known: Service | undefined, input: Asked & { service: string }): Replication {
  const { service, mode, source, conflict_resolution, latency_threshold_ms, max_deletes } = input;
  if (!known) throw failure('ServiceNotFound', `The estate file has no service ${service}.`);
  if (!replicatedTypes.includes(known.type))
    throw failure(
      'NotSupported',
      `${service} is a ${known.type}; this release replicates ${replicatedTypes.join(', ')}.`,
    );
  const wished = known.replication;
  if (!wished && mode === undefined)
    throw failure(
      'InvalidInput',
      `mode: the estate file wishes no replication of ${service}; say active-active or active-passive.`,
    );
  const asked = { mode, source, conflict_resolution, latency_threshold_ms, max_deletes };
  const wish = Replication.parse({
    ...wished,
    ...Object.fromEntries(Object.entries(asked).filter(([, value]) => value !== undefined)),
  });
  const [problem] = [
    ...transformationProblems(wish, []),
    ...(known.type === 'iot_core' ? fleetProblems(wish, []) : []),
  ];
  if (problem)
    throw failure('InvalidInput', `${problem.path.join('.')}: found ${problem.found}; allowed: ${problem.allowed}.`);
  return wish;
}

class Replicating {
  readonly #op: Operation;
  readonly #owner: Omit<Owner, 'generation'>;
  #input: ReplicateServiceInput;
  #wish: Replication;
  /** By provider and generation: the feed of a side belongs to what it was made for. */
  readonly #feeds = new Map<string, { feeds: Feeds; store: RecordedPlacement }>();
  #sides: RecordedPlacement[] = [];
  #gone = false;
  #epoch: number;
  #failures: number;
  #failedInARow = 0;
  #superseded = 0;
  #pumps = 0;
  #problem = '';
  readonly #released: Record<string, number>;
  #held: Held[];
  #restore: string[] = [];
  /** Whether what the present pump was told no longer holds. */
  #stale = true;
  /** Whether a pump is at work, or about to be. */
  #pumping = false;
  #asking = false;
  readonly #beside = new wf.CancellationScope();
  #watchesRelease = false;
  /** Whether who sends may have changed since the feeds were made. */
  #reconfigured = false;
  /** As it was asked when feeds were last closed. */
  #obeyed: ReplicateServiceInput;
  /** For what it stands aside. */
  #aside = '';
  #seen = '';
  /** Of the pumps that have ended, and of the present one as it has told. */
  #before: DirectionLag[];
  #now: DirectionLag[] = [];
  #inStepAt = '';
  #noted = '';
  readonly #incidents: Incidents;
  /** Since when no pump has told how far it is, because they fail. */
  #silentSince: number | undefined;

  constructor(op: Operation, owner: Omit<Owner, 'generation'>, input: ReplicateServiceInput, wish: Replication) {
    this.#op = op;
    this.#owner = owner;
    this.#input = input;
    this.#obeyed = input;
    this.#wish = wish;
    const { epoch = 0, failures = 0, released = {}, held = [], directions = [] } = input.carried ?? {};
    this.#epoch = epoch;
    this.#failures = failures;
    this.#released = { ...released };
    this.#held = [...held];
    this.#before = [...directions];
    this.#incidents = new Incidents(
      {
        ...{ estate: owner.estate, service: owner.service },
        rule: incidentRule(wish.latency_threshold_ms),
        note: (what) => op.board.record('run', what, owner.service),
      },
      input.carried?.incidents,
    );
    wf.setHandler(report, (raw) => {
      const parsed = PumpReport.safeParse(raw);
      // Of a pump that has been given up there may still come a word.
      if (!parsed.success || parsed.data.epoch !== this.#epoch) return;
      this.#now = parsed.data.directions;
      this.#inStepAt = parsed.data.inStepAt || this.#inStepAt;
      this.#problem = '';
      this.#observe(this.#now);
    });
  }

  #observe(directions: readonly DirectionLag[]): void {
    this.#silentSince = undefined;
    for (const { from, to, seconds } of directions) this.#incidents.observe({ from, to }, seconds * 1000);
  }

  get told(): ReplicationLag {
    return {
      epoch: this.#epoch,
      failures: this.#failures,
      problem: this.#problem,
      inStepAt: this.#inStepAt,
      directions: this.#now.length > 0 ? addedLag(this.#before, this.#now) : this.#before,
    };
  }

  async run(): Promise<void> {
    await this.#lookAtRecord();
    const { estate, service } = this.#owner;
    await control.ensureSchedule({ estate, service, everyMs: durationMs(this.#wish.verify_every ?? '24h') });
    const watching = [this.#watchRecord, this.#note].map((act) => this.#beside.run(() => act.call(this)).catch(ended));
    try {
      while (!this.#gone) {
        if (this.#stale) await this.#situation();
        if (this.#gone) break;
        const { gate } = this.#op;
        if (gate.isClosed || this.#sides.length < 2) {
          this.#op.board.phase('stands still');
          await wf.condition(() => this.#stale || (!gate.isClosed && this.#sides.length >= 2));
          continue;
        }
        this.#ask();
        await this.#pump();
        const { continueAsNewSuggested } = wf.workflowInfo();
        const full = continueAsNewSuggested || (this.#pumps >= this.#input.rotate && !this.#asking);
        if (full && !gate.isClosed) await this.#goOn();
      }
      this.#op.gate.openAll();
      await this.#closeFeeds(() => true);
    } finally {
      this.#beside.cancel();
      await wf.CancellationScope.nonCancellable(async () => {
        await Promise.all(watching);
        if (this.#goesOn) return;
        await this.#incidents.end('replication has ended', 60_000);
        await control.removeSchedule({ estate: this.#owner.estate, service: this.#owner.service });
        await this.#tell(null);
      });
    }
  }

  #goesOn = false;

  /** The same run under another history; between two pumps. */
  async #goOn(): Promise<void> {
    await wf.condition(wf.allHandlersFinished);
    // What was asked in the last moment is obeyed first: the next run does not know which feeds it leaves over.
    if (this.#input !== this.#obeyed) return;
    this.#op.trail.end('goes on in the next run');
    await this.#op.keepTrail('').catch(() => {});
    const { directions, epoch, failures } = this.told;
    const incidents = await this.#incidents.handOver();
    // What is asked meanwhile is answered here, and obeyed by the next run but for the feeds, which that does not know.
    for (;;) {
      await wf.condition(wf.allHandlersFinished);
      if (this.#input === this.#obeyed) break;
      await this.#closeUnheardFeeds();
    }
    // The next run would not know of a cancel that came meanwhile.
    if (wf.CancellationScope.current().consideredCancelled) throw new wf.CancelledFailure('it is not to go on');
    this.#goesOn = true;
    const carried = { epoch, failures, released: this.#released, held: this.#held, directions, incidents };
    await wf.continueAsNew({ ...this.#input, carried });
  }

  // What it is asked.

  async reconfigure({ by, ...asked }: ReturnType<typeof Reconfiguration.parse>): Promise<Reconfigured> {
    const { estate, service } = this.#owner;
    const given = Object.fromEntries(Object.entries(asked).filter(([, value]) => value !== undefined));
    const { estate: file } = await control.loadEstate({ estate });
    const applied = await control.readApplied({ estate });
    const input = { ...this.#input, ...given };
    const wish = wishOf(applied?.services[service] ?? file.services[service], input);
    const shown = (of: Replication, { topology, callsPerSecond }: typeof input): string =>
      JSON.stringify({ ...of, topology, callsPerSecond });
    if (shown(wish, input) !== shown(this.#wish, this.#input)) {
      const every = wish.verify_every !== this.#wish.verify_every;
      this.#input = input;
      this.#wish = wish;
      this.#reconfigured = true;
      this.#incidents.obey(incidentRule(wish.latency_threshold_ms));
      const text = Object.entries(given).map(([name, value]) => `${name} ${value}`);
      this.#op.board.record(by || 'unnamed', `asks for ${text.join(', ') || 'what the file wishes'}`, service);
      this.#stale = true;
      if (every) await control.ensureSchedule({ estate, service, everyMs: durationMs(wish.verify_every ?? '24h') });
    }
    return { ...wish, topology: input.topology };
  }

  async standAside({ holder }: StandAside): Promise<void> {
    this.#hold(holder);
    this.#stale = true;
    void this.#beside.run(() => this.#watchRelease()).catch(ended);
    await wf.condition(() => !this.#pumping);
  }

  /** The lock may come and go between two looks of the other watch, which then has no change to tell of. */
  async #watchRelease(): Promise<void> {
    if (this.#watchesRelease) return;
    this.#watchesRelease = true;
    const { estate, service } = this.#owner;
    for (let known = ''; this.#aside !== ''; await wf.condition(() => !this.#stale)) {
      known = await waiting.awaitRecord({ estate, service, known });
      this.#stale = true;
    }
    this.#watchesRelease = false;
  }

  // Where it is.

  async #watchRecord(): Promise<void> {
    for (;;) {
      await this.#lookAtRecord();
      this.#stale = true;
    }
  }

  async #lookAtRecord(): Promise<void> {
    const { estate, service } = this.#owner;
    this.#seen = await waiting.awaitRecord({ estate, service, known: this.#seen });
  }

  async #situation(): Promise<void> {
    const { estate, service } = this.#owner;
    // Before it is read: what changes meanwhile is looked at again.
    this.#stale = false;
    const { [service]: record } = await control.readServices({ estate });
    this.#standAside(record);
    const current = (record?.placements ?? []).filter(
      ({ role, type }) => role === 'current' && replicatedTypes.includes(type),
    );
    this.#gone = record?.status === 'removed' && current.length === 0;
    const known = (one: RecordedPlacement) => this.#feeds.get(markOf(one))?.store ?? one;
    this.#sides = current.map(known);
    this.#op.recordsIn(this.#sides.map((one) => placementOf(this.#owner, one)));
    if (this.#sides.length < 2 && !this.#gone)
      this.#problem = `${service} is on ${this.#sides.length} clouds; two are needed`;
  }

  #standAside(record: ServiceRecord | undefined): void {
    const holder = record?.holder;
    if (holder && standsAsideFor.includes(holder.operation)) this.#hold(holder);
    else {
      this.#op.gate.open('operation');
      this.#aside = '';
    }
  }

  #hold(holder: Holder): void {
    const text = `stands aside for ${describeHolder(holder)}`;
    this.#op.gate.close('operation', text);
    if (this.#aside !== text) this.#op.board.record('run', text, this.#owner.service);
    this.#aside = text;
  }

  // Feeds.

  async #feedsOf(): Promise<string[]> {
    const sending = new Set(this.#edges().map(({ from }) => from));
    const told: string[] = [];
    for (const store of this.#sides) {
      // A registry tells of no change that could be waited for on all clouds.
      if (!sending.has(store.provider) || !objectTypes.includes(store.type)) continue;
      const known = this.#feeds.get(markOf(store)) ?? { feeds: new Feeds(this.#op, this.#owner), store };
      this.#feeds.set(markOf(store), known);
      if (await known.feeds.of(known.store)) told.push(store.provider);
    }
    return told;
  }

  async #closeFeeds(which: (mark: string) => boolean): Promise<void> {
    for (const [mark, { feeds }] of this.#feeds)
      if (which(mark)) {
        await feeds.close();
        this.#feeds.delete(mark);
      }
  }

  /** Of sides that tell nobody any more. */
  async #closeUnheardFeeds(): Promise<void> {
    this.#obeyed = this.#input;
    const sending = this.#sides.filter(({ provider }) => this.#edges().some(({ from }) => from === provider));
    const needed = this.#reconfigured ? sending : this.#sides;
    await this.#closeFeeds((mark) => !needed.some((one) => markOf(one) === mark));
  }

  // Pumps.

  #edges() {
    const names = this.#sides.map(({ provider }) => provider);
    return edgesOf(names, { mode: this.#wish.mode, source: this.#source, topology: this.#input.topology });
  }

  get #things(): string {
    return this.#type === 'iot_core' ? 'devices' : 'objects';
  }

  get #type(): ServiceType {
    return this.#sides[0]?.type ?? 'storage';
  }

  get #source(): string {
    const { source } = this.#wish;
    const first = this.#sides[0]?.provider ?? '';
    return this.#sides.some(({ provider }) => provider === source) && source !== undefined ? source : first;
  }

  async #pump(): Promise<void> {
    const { board, gate } = this.#op;
    const { service } = this.#owner;
    await this.#closeUnheardFeeds();
    const feeds = await this.#feedsOf();
    if (gate.isClosed || this.#stale) return;
    // Later than that of any earlier run of the same name as well.
    this.#epoch = Math.max(this.#epoch + 1, Math.floor(Date.now() / 1000));
    this.#pumps++;
    const { mode, conflict_resolution, tombstones, max_deletes, partition, transformations } = this.#wish;
    const input: ReplicateSidesInput = {
      sides: this.#sides.map((one) => placementRef(this.#owner, one)),
      edges: this.#edges(),
      rule: mode === 'active-passive' ? 'source-wins' : conflict_resolution,
      source: this.#source,
      tombstoneMs: durationMs(tombstones),
      partitionMs: durationMs(partition),
      transformations,
      maxDeletes: max_deletes,
      released: this.#released,
      held: this.#held.map(({ direction }) => directionName(direction)),
      restore: this.#restore,
      feeds,
      epoch: this.#epoch,
      forMs: [...this.#feeds.values()].reduce((ms, { feeds }) => feeds.pumpMs(ms), durationMs(this.#input.pump)),
      compareMs: durationMs(this.#input.compare ?? compareEvery(this.#type)),
      callsPerSecond: this.#input.callsPerSecond,
    };
    board.phase(this.#asking ? 'in step, and asks' : 'keeps in step');
    const scope = new wf.CancellationScope();
    let over = false;
    this.#pumping = true;
    const pumping = scope
      .run(() => pumpOf(`${service} on ${feedsText(this.#sides)}`).replicateSides(input))
      .finally(() => {
        over = true;
      });
    pumping.catch(ended); // looked at below
    try {
      await wf.condition(() => over || gate.isClosed || this.#stale);
    } finally {
      if (!over) scope.cancel();
      // No other pump before this one has ended.
      await wf.CancellationScope.nonCancellable(() => pumping.then(ended, ended));
      this.#pumping = false;
    }
    try {
      this.#take(await pumping);
    } catch (error) {
      if (wf.isCancellation(error)) this.#endPump();
      else await this.#failed(error);
    }
  }

  /** What the present pump has told last is added to what was before. */
  #endPump(directions: DirectionLag[] = this.#now): void {
    this.#before = addedLag(this.#before, directions);
    this.#now = [];
  }

  #take({ directions, inStepAt, held, away, clamped, resynchronised = {} }: PumpedSides): void {
    const { board } = this.#op;
    this.#endPump(directions);
    this.#observe(directions);
    this.#failedInARow = 0;
    this.#superseded = 0;
    this.#restore = [];
    this.#inStepAt = inStepAt || this.#inStepAt;
    this.#problem = Object.entries(away)
      .map(([side, why]) => `${side} cannot be reached: ${why}`)
      .join('; ');
    if (this.#problem) board.record('run', this.#problem.slice(0, 500), this.#owner.service);
    for (const [side, aheadMs] of Object.entries(clamped))
      board.record(
        'run',
        `the clock of ${side}, or that of the worker, is wrong by ${aheadMs} ms`,
        this.#owner.service,
      );
    for (const [side, { missing, forgotten, report: file }] of Object.entries(resynchronised))
      board.record(
        'run',
        `${side} was out of sight for longer than ${this.#wish.partition}: ${missing} ${this.#things} were gone there and come back, ${forgotten} were known nowhere else and go there; named in ${file}`,
        this.#owner.service,
      );
    for (const one of held) {
      const text = `the brake holds ${directionName(one.direction)}: more than ${one.limit} ${this.#things} to ${one.does}`;
      board.record('run', text, this.#owner.service);
      this.#held.push(one);
    }
  }

  async #failed(error: unknown): Promise<void> {
    this.#endPump();
    this.#failures++;
    this.#failedInARow++;
    // What nobody brings over waits for as long as that.
    this.#silentSince ??= Date.now();
    for (const edge of this.#edges()) this.#incidents.observe(edge, Date.now() - this.#silentSince);
    this.#problem = reason(error);
    this.#op.board.record('run', `pump ${this.#epoch} failed: ${this.#problem}`.slice(0, 500), this.#owner.service);
    const type = applicationFailure(error)?.type;
    this.#superseded = type === 'Superseded' ? this.#superseded + 1 : 0;
    if (this.#superseded >= mostSuperseded)
      throw failure(
        'OperationInProgress',
        `Another run keeps ${this.#owner.service} in step: this one has ended. Look for it: multi-cloud status`,
      );
    const most = type === 'Unavailable' ? backoffMs.unavailable : backoffMs.most;
    const wait = Math.min(most, backoffMs.first * 2 ** (this.#failedInARow - 1));
    await wf.condition(() => this.#op.gate.isClosed || this.#stale, wait);
  }

  // The brake.

  /** Asks about what is held, while the other directions go on. */
  #ask(): void {
    const [first] = this.#held;
    if (!first || this.#asking) return;
    this.#asking = true;
    const { service } = this.#owner;
    const many = first.does === 'delete' ? 'deletes' : `replaced ${this.#things}`;
    const asked = this.#op.decisions.ask({
      question: 'brake',
      text: `More than ${first.limit} ${many} in 10 minutes came from ${first.origin}; ${directionName(first.direction)} of ${service} is held. Continue, or restore ${first.origin} from the other sides?`,
      answers: ['continue', 'restore'],
      planHash: sha256Hex([service, directionName(first.direction), first.origin, first.does, first.limit].join('\n')),
    });
    asked
      .then((answer) => {
        for (const { direction } of this.#held)
          if (answer === 'continue') this.#released[direction.to] = Date.now() + brakeWindowMs;
        if (answer === 'restore') this.#restore = [...new Set(this.#held.map(({ origin }) => origin))];
        this.#held = [];
        this.#stale = true;
      })
      .catch(ended)
      .finally(() => {
        this.#asking = false;
      });
  }

  // What lists show.

  /** Writes the band of the lag into the record when it changes, and what is asked. */
  async #note(): Promise<void> {
    const text = () => {
      const [first] = this.#held;
      const waitingFor = first
        ? `answer to brake: ${directionName(first.direction)} is held`
        : this.#op.gate.isClosed
          ? 'it is paused'
          : this.#problem;
      return JSON.stringify({
        lagSeconds: lagBand(worstLag(this.told.directions)),
        waitingFor: waitingFor.slice(0, 300),
      });
    };
    for (;;) {
      await wf.condition(() => text() !== this.#noted);
      this.#noted = text();
      await this.#tell(JSON.parse(this.#noted));
      // Not more often than somebody looks.
      await wf.sleep('5s');
    }
  }

  #tell(shown: { lagSeconds: number; waitingFor: string } | null): Promise<void> {
    const { estate, service } = this.#owner;
    const { workflowId } = wf.workflowInfo();
    return control.noteReplication({ estate, service, replication: shown && { workflowId, ...shown } });
  }
}

const markOf = ({ provider, generation }: RecordedPlacement): string => `${provider}/${generation}`;
const feedsText = (sides: readonly RecordedPlacement[]): string => sides.map(({ provider }) => provider).join(', ');
const ended = (): void => {};
