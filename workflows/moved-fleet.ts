/**
 * A fleet on its way: its registry is copied and compared while devices stay where they are; then they are told to go, wave by
 * wave, each judged by what the target's stream shows of it. Whoever goes back tells them to come home before anything else.
 */
import * as wf from '@temporalio/workflow';
import { deviceEndpoint } from '../model/device-endpoint.ts';
import { registryParts } from '../model/fleet.ts';
import type { EstatePlan } from '../model/operations.ts';
import type { RecordedPlacement } from '../model/record.ts';
import { type PlacementRef, placementRef } from '../model/transfer.ts';
import { devicesPerSecond, type MovingFleet, type Wave, waveText } from '../model/wave-settings.ts';
import type { JudgedWave, JudgeWaveInput, SentRedirects } from '../model/waves.ts';
import { failure, redirecting, watch } from './calls.ts';
import type { Course } from './course.ts';
import {
  censusText,
  differences,
  fleetCutoverText,
  notHomeText,
  volatileField,
  wavedText,
  waveFailedText,
  waveQuestion,
} from './fleet-text.ts';
import { untilGateCloses } from './following.ts';
import type { FleetMove, Move } from './migration-plan.ts';
import type { Moved } from './moved.ts';
import type { Operation } from './operation.ts';
import { Registration } from './registration.ts';
import { TelemetryPumps } from './telemetry-pumps.ts';

/** A census that finds no more than so many new devices is the last one before the cutover is asked about. */
const fewNew = 10;
const mostCensuses = 10;
/** Between two looks at who has arrived. */
const lookMs = 2000;
/** An activity that looks returns after this long. */
const longestLookMs = 1_800_000;
const answers: [string, ...string[]] = ['retry', 'skip', 'undo'];

export class MovedFleet implements Moved {
  readonly handing = 'moving';
  readonly proven = true;
  readonly #course: Course;
  readonly #op: Operation;
  readonly #move: Move;
  readonly #how: FleetMove;
  /** What the record says of it. */
  readonly #fleet: MovingFleet;
  readonly #pumps: TelemetryPumps;
  #registration: Registration | undefined;
  /** Censuses so far: their number names them. */
  #censuses: number;
  #census = '';
  #known: string | null = null;
  #there = '';
  /** Waves of earlier runs: their devices are told again. */
  readonly #firstWave: number;
  /** Devices that the last verification has left as they are. */
  #accepted = 0;
  /** Files of devices that people have decided to go on without. */
  readonly #without: string[] = [];
  /** Devices that no wave can take. */
  #stay: number;
  /** Whether devices may be at the target, or on their way there. */
  #away: boolean;

  constructor(course: Course) {
    const { op, move } = course;
    if (!move.fleet) throw failure('NotSupported', `${move.service} is no fleet.`);
    this.#course = course;
    this.#op = op;
    this.#move = move;
    this.#how = move.fleet;
    const { begun, lastRedirect } = move.fleet;
    const startedAt = new Date().toISOString();
    this.#fleet = begun
      ? { ...begun, epoch: begun.epoch + 1 }
      : { name: wf.uuid4().slice(0, 8), startedAt, registered: [], told: [], sequence: lastRedirect, epoch: 1 };
    course.fleet = this.#fleet;
    course.sourceOnly = move.sourceOnly;
    this.#censuses = this.#fleet.registered.length;
    this.#firstWave = this.#fleet.told.length;
    this.#stay = move.sourceOnly;
    this.#away = this.#firstWave > 0;
    const { service, owner } = move;
    const { name, epoch } = this.#fleet;
    this.#pumps = new TelemetryPumps(op, { service, owner, name, epoch, keptAt: () => this.#keptAt });
  }

  get leftText(): string {
    return `${this.#course.sourceOnly} devices are only there, or were not seen at ${this.#course.made.provider}`;
  }

  /** They are told to come home once the target is known. */
  async release(): Promise<void> {}

  undoable(what: 'begun' | 'handing'): void {
    const { service, source } = this.#move;
    if (what === 'handing') {
      this.#op.saga.add({
        step: 'waves',
        orphan: { provider: source.provider, kind: 'devices', name: service },
        first: true,
        undo: () => this.#allHome(),
      });
      return;
    }
    this.#op.saga.add({
      step: 'register',
      orphan: { provider: this.#course.made.provider, kind: 'devices', name: service },
      undo: async () => {
        let removed = 0;
        for (const [n, files] of this.#fleet.registered.entries())
          removed += await this.#registering.remove(this.#newOf(n), files);
        return `${removed} devices removed`;
      },
    });
    this.#pumps.undoable([this.#course.source, this.#course.made]);
  }

  async copy(): Promise<void> {
    this.#op.board.phase('copying the registry');
    this.undoable('begun');
    await this.#pumps.prepare([this.#course.source, this.#course.made]);
    if (this.#away) await this.#allHome();
    // From the beginning, so that it is known what devices say before they are told to go.
    await this.#follow();
    await this.#registerNew();
  }

  /** Ends when a census finds few devices that are new. */
  async follow(): Promise<void> {
    this.#op.board.phase('following the source');
    let found = Number.POSITIVE_INFINITY;
    for (let left = mostCensuses; found > fewNew && left > 0; left--) found = await this.#registerNew();
    this.#op.board.mark('follow', { status: 'done', detail: `the last census found ${found} new devices` });
  }

  cutoverText(plan: EstatePlan): string {
    return fleetCutoverText(this.#move, this.#course.made, plan, this.#registering.counts);
  }

  async whileFollowing<T>(ask: () => Promise<T>): Promise<T> {
    await this.#follow();
    return ask();
  }

  /** Compares both registries. What is different is asked about; what was refused is known to be missing. */
  async verify(): Promise<void> {
    const { service } = this.#move;
    this.#op.board.phase('verifying');
    for (;;) {
      await this.#registerNew();
      const { wrong, text } = await this.#op.board.step(
        'verify',
        () => this.#compare(),
        ({ same, text: found }) => `${same} devices are the same${found && `; ${found}`}`,
      );
      if (wrong <= this.#accepted) return;
      const told = `The registries of ${service} differ: ${text}. skip goes on and leaves these devices where they are, retry compares again, undo takes everything back.`;
      const answer = await this.#course.ask('devices', told, answers);
      if (answer === 'undo') throw failure('UndoRequested', `The registries of ${service} differ: ${text}.`);
      if (answer === 'skip') {
        this.#accepted = wrong;
        return;
      }
    }
  }

  async handOver(): Promise<void> {
    this.#op.board.phase('moving the fleet');
    this.undoable('handing');
    const { waves } = this.#how;
    const all: (Wave | 'rest')[] = [...waves.filter((wave) => wave !== 100), 'rest'];
    this.#op.board.expect(all.map(stepOf));
    for (const [at, who] of all.entries()) {
      if (who === 'rest' && at > 0) {
        await this.#registerNew();
        await this.#compare();
      }
      if (at > 0) await this.#approve(at, who);
      await this.#send(this.#firstWave + at, who, stepOf(who, at));
    }
  }

  async handBack(): Promise<string> {
    await this.#follow();
    const home = await this.#home();
    this.#away = false;
    return home;
  }

  turned(): void {}

  async settle(): Promise<void> {
    this.#without.length = 0;
    const judged = await this.#judge({
      ...{ waves: this.#waves, from: this.#course.source, to: this.#course.made, what: 'arrived' },
      ...{ toldAt: this.#fleet.startedAt, forMs: 0, seen: 1, report: 'sleepers' },
    });
    const missing = judged.devices - judged.arrived;
    this.#course.sourceOnly = missing + this.#stay;
    if (missing > 0) this.#op.board.record('run', `${missing} devices were not seen there`, judged.missing);
  }

  async close(): Promise<void> {
    const { source, made } = this.#course;
    await this.#pumps.drain(this.#ref(source), this.#ref(made));
    await this.#pumps.close([source, made]);
  }

  /** Registers what is new since the last census; tells how many that are. */
  async #registerNew(): Promise<number> {
    const n = this.#censuses++;
    const { name, registered } = this.#fleet;
    this.#census = `${name}-${n}`;
    const { target, source } = this.#registries;
    await this.#op.board.step(
      'census',
      () =>
        this.#registering.bulk('census', (on) =>
          on.censusDevices({
            ...{ placement: source, keptAt: target, census: this.#census, to: target.providerType },
            callsPerSecond: this.#registering.share(source),
          }),
        ),
      censusText,
    );
    const [census, before, into] = [this.#census, this.#known, this.#newOf(n)];
    const found = await this.#op.held(this.#move.service, () =>
      watch('what is new').selectDevices({ keptAt: this.#keptAt, census, before, into }),
    );
    this.#known = census;
    registered[n] = found.shards;
    if (found.devices === 0) return 0;
    await this.#note();
    await this.#registering.register(into, found.shards);
    return found.devices;
  }

  #newOf(n: number): string {
    return `${this.#fleet.name}-new-${n}`;
  }

  async #compare(): Promise<{ same: number; wrong: number; text: string }> {
    const { target } = this.#registries;
    this.#there = `${this.#census}-there`;
    const there = { placement: target, keptAt: target, census: this.#there };
    const registering = this.#registering;
    await registering.bulk('census of the target', (on) =>
      on.censusDevices({ ...there, callsPerSecond: registering.share(target) }),
    );
    const diff = await registering.bulk('compare', (on) =>
      on.diffDevices({ keptAt: target, left: this.#census, right: this.#there }),
    );
    const { missing = 0, [volatileField]: _, ...fields } = diff.different;
    const unknown = Math.max(0, missing - registering.counts.refused - registering.left);
    const others = Object.values(fields).reduce((sum, count) => sum + count, 0);
    const wrong = unknown + Math.max(0, others - registering.left);
    return { same: diff.same, wrong, text: wrong > 0 ? `${differences(diff)} (${diff.report})` : '' };
  }

  /** Asks before a wave, where the estate wants that. */
  async #approve(at: number, who: Wave | 'rest'): Promise<void> {
    if (!this.#how.approveWaves) return;
    const { service, source, hash, approvals } = this.#move;
    const deadline = new Date(Date.now() + approvals.deadlineMs).toISOString();
    this.#op.board.phase(`waiting for approval of wave ${at + 1}`);
    const answer = await this.#op.decisions.ask({
      ...{ question: `wave-${at + 1}`, text: waveQuestion(service, at, who), answers: ['approve', 'reject'] },
      ...{ planHash: hash, deadline, onDeadline: approvals.onDeadline },
    });
    const kept = `all devices came home; ${service} stays on ${source.provider}`;
    if (answer === undefined) throw failure('ApprovalExpired', `Nobody approved wave ${at + 1}; ${kept}.`);
    if (answer === 'reject') throw failure('ApprovalRejected', `Wave ${at + 1} was rejected; ${kept}.`);
    this.#op.board.phase('moving the fleet');
  }

  /** A wave goes, is judged, and comes back where it has not arrived; then people decide. */
  async #send(wave: number, who: Wave | 'rest', step: string): Promise<void> {
    const { service } = this.#move;
    const { name } = this.#fleet;
    const { windowMs, seen, rate } = this.#how;
    const planned = await this.#op.held(service, () =>
      watch(step).planWave({
        ...{ keptAt: this.#keptAt, name, wave, first: this.#firstWave, who },
        ...{ source: this.#census, target: this.#there, to: this.#course.made.providerType },
      }),
    );
    this.#fleet.told[wave] = planned.shards;
    const { disabled: _, ...cannot } = planned.cannot;
    this.#stay = Object.values(cannot).reduce((sum, count) => sum + count, 0);
    this.#course.sourceOnly = this.#stay;
    if (planned.devices === 0) {
      this.#op.board.mark(step, { status: 'skipped', detail: 'nobody is left for it' });
      return;
    }
    const files = { wave, shards: planned.shards };
    const { source, made } = this.#course;
    for (;;) {
      this.#op.board.mark(step, { status: 'running', startedAt: new Date().toISOString() });
      this.#away = true;
      const toldAt = new Date().toISOString();
      const sent = await this.#tell(files, { on: source, to: made });
      const judged = await this.#judge({
        ...{ waves: [files], from: source, to: made, what: 'arrived', toldAt, forMs: windowMs, seen, rate },
        report: `missing-${wave}-${this.#fleet.sequence}`,
      });
      const detail = wavedText(planned, sent, judged);
      if (judged.passed) {
        this.#op.board.mark(step, { status: 'done', finishedAt: new Date().toISOString(), detail });
        return;
      }
      this.#op.board.mark(step, { status: 'failed', detail });
      const back = await this.#back([files]);
      this.#op.board.record('run', `wave ${wave + 1} went back`, detail);
      const answer = await this.#course.ask('devices', waveFailedText(wave, judged, back), answers);
      if (answer === 'undo')
        throw failure('UndoRequested', `Wave ${wave + 1} of ${service} did not arrive: ${detail}.`);
      this.#op.board.phase('moving the fleet');
      if (answer === 'retry') continue;
      if (judged.missing) this.#without.push(judged.missing);
      await this.#tell(files, { on: source, to: made });
      const left = `${judged.devices - judged.arrived} were left where they are`;
      this.#op.board.mark(step, { status: 'done', finishedAt: new Date().toISOString(), detail: left });
      return;
    }
  }

  /** With a sequence above all before it, which is in the record before anything is told. */
  async #tell(
    files: { wave: number; shards: number },
    { on, to }: { on: RecordedPlacement; to: RecordedPlacement },
  ): Promise<SentRedirects> {
    const { owner, service } = this.#move;
    this.#fleet.sequence = Math.max(this.#fleet.sequence + 1, Date.now());
    await this.#note();
    const endpoint = deviceEndpoint({ placement: to, ...owner });
    if (!endpoint) throw failure('VerificationFailed', `${service} on ${to.provider} has no endpoint for devices.`);
    const { sequence, name } = this.#fleet;
    return this.#atSafePoints(() =>
      redirecting(`wave ${files.wave + 1} to ${to.provider}`, (sender) =>
        sender.sendRedirects({
          ...{ keptAt: this.#keptAt, name, ...files, without: this.#without, sequence, endpoint, estate: owner.estate },
          ...{ on: this.#registry(on), to: this.#registry(to) },
          devicesPerSecond: this.#how.devicesPerSecond ?? devicesPerSecond[to.providerType],
        }),
      ),
    );
  }

  async #judge({
    from,
    to,
    forMs,
    ...more
  }: Pick<JudgeWaveInput, 'waves' | 'what' | 'toldAt' | 'seen' | 'rate' | 'report'> & {
    from: RecordedPlacement;
    to: RecordedPlacement;
    forMs: number;
  }): Promise<JudgedWave> {
    const { name } = this.#fleet;
    let end = 0;
    for (;;) {
      const judged = await this.#atSafePoints((again) => {
        // The time that a pause has taken is none of theirs.
        if (end === 0 || again) end = Date.now() + forMs;
        const untilAt = new Date(Math.min(end, Date.now() + longestLookMs)).toISOString();
        return watch(`who is at ${to.provider}`).judgeWave({
          ...{ keptAt: this.#keptAt, name, sightings: name, without: this.#without, ...more },
          ...{ from: from.provider, to: to.provider, windowMs: this.#how.windowMs, untilAt, everyMs: lookMs },
        });
      });
      if (judged.passed || Date.now() >= end) return judged;
    }
  }

  /** What takes long stops where the run has to stop, and is done again once it goes on: all of it may be repeated. */
  async #atSafePoints<T>(act: (again: boolean) => Promise<T>): Promise<T> {
    for (let again = false; ; again = true) {
      const done = await this.#op.held(this.#move.service, () => untilGateCloses(this.#op, () => act(again)));
      if (done === 'told to end') throw new wf.CancelledFailure('it is not to go on');
      if (done !== 'gate closed') return done;
    }
  }

  /** Tells these waves to come home, and waits until they are seen to have left. */
  async #back(waves: { wave: number; shards: number }[]): Promise<JudgedWave> {
    const { source, made } = this.#course;
    for (const files of waves) if (files.shards > 0) await this.#tell(files, { on: made, to: source });
    const toldAt = new Date().toISOString();
    return this.#judge({
      ...{ waves, from: made, to: source, what: 'left', toldAt, forMs: this.#how.windowMs },
      report: `away-${this.#fleet.sequence}`,
    });
  }

  /** All that were ever told to go; a device that was seen at the target and not at home since then holds everything. */
  async #home(): Promise<string> {
    // Who was left out may have gone all the same.
    this.#without.length = 0;
    const back = await this.#back(this.#waves);
    if (!back.passed) throw failure('VerificationFailed', notHomeText(this.#course.made.provider, back));
    return `${back.arrived} devices came home`;
  }

  async #allHome(): Promise<string> {
    const { source, made } = this.#course;
    if (!this.#away) {
      await this.#pumps.drain(this.#ref(made), this.#ref(source));
      return 'all devices are at home';
    }
    await this.#follow();
    const home = await this.#home();
    this.#away = false;
    await this.#pumps.drain(this.#ref(made), this.#ref(source));
    return home;
  }

  /** What comes to the one that follows goes to the one that serves; both are watched. */
  #follow(): Promise<void> {
    return this.#pumps.start(this.#ref(this.#course.to), this.#ref(this.#course.from));
  }

  get #waves(): { wave: number; shards: number }[] {
    return this.#fleet.told.map((shards, wave) => ({ wave, shards }));
  }

  #note(): Promise<void> {
    return this.#course.note(this.#course.switched ? 'switched' : this.#away ? this.handing : 'copying');
  }

  #ref(recorded: RecordedPlacement): PlacementRef {
    return placementRef(this.#move.owner, recorded);
  }

  /** Without what is no part of the registry: it would be told again and again in the run's history. */
  #registry(recorded: RecordedPlacement): PlacementRef {
    const resources = recorded.resources.filter(({ key }) => registryParts[recorded.providerType].includes(key));
    return this.#ref({ ...recorded, resources });
  }

  get #registries(): { source: PlacementRef; target: PlacementRef } {
    return { source: this.#registry(this.#course.source), target: this.#registry(this.#course.made) };
  }

  get #keptAt(): PlacementRef {
    return this.#ref({ ...this.#course.made, resources: [] });
  }

  get #registering(): Registration {
    const { service } = this.#move;
    const { name: mark, startedAt } = this.#fleet;
    const ask = (text: string) => this.#course.ask('devices', text, answers);
    this.#registration ??= new Registration(this.#op, { service, ...this.#registries, startedAt, mark, ask });
    return this.#registration;
  }
}

const stepOf = (who: Wave | 'rest', at: number): string => `wave ${at + 1}: ${waveText(who)}`;
