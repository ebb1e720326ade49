/** Devices on their way, wave by wave: they are told to go, judged by what the target's stream shows of them, and told to come home. */
import * as wf from '@temporalio/workflow';
import { type DeviceEndpoint, deviceEndpoint } from '../model/device-endpoint.ts';
import { wavesLeftMs } from '../model/fleet-forecast.ts';
import type { RecordedPlacement } from '../model/record.ts';
import { devicesPerSecond, type MovingFleet, type Wave, waveText } from '../model/wave-settings.ts';
import type { JudgedWave, JudgeWaveInput, PlannedWave, PlanWaveInput, SentRedirects } from '../model/waves.ts';
import { failure, redirecting, watch } from './calls.ts';
import type { Course } from './course.ts';
import type { FleetPlaces } from './fleet-places.ts';
import {
  canaryFailedText,
  canaryText,
  notHomeText,
  stayText,
  wavedText,
  waveFailedText,
  waveQuestion,
  wavingText,
} from './fleet-text.ts';
import { atSafePoints } from './following.ts';
import type { FleetMove, Move } from './migration-plan.ts';
import type { Operation } from './operation.ts';

/** Between two looks at who has arrived. */
const lookMs = 2000;
/** An activity that looks returns after this long. */
const longestLookMs = 1_800_000;

/** How long a canary is waited for that has just fallen asleep. */
const longestWakeMs = 60_000;
/** Devices that go on coming are left to the soak. */
const mostLate = 10;
const canaryStep = 'canary';

/** Names of the last census of either registry. */
interface Censuses {
  source: string;
  target: string;
}

/** Files of the devices of one wave. */
interface Files {
  wave: number;
  shards: number;
}

export class Waves {
  readonly #course: Course;
  readonly #op: Operation;
  readonly #move: Move;
  readonly #how: FleetMove;
  /** What the record says of it. */
  readonly #fleet: MovingFleet;
  readonly #places: FleetPlaces;
  /** Waves of earlier runs, and those who went ahead: their devices are told again. */
  #first: number;
  /** Files of devices that people have decided to go on without. */
  readonly #without: string[] = [];
  /** Devices that no wave can take. */
  #stay: number;
  /** Whether devices may be at the target, or on their way there. */
  #away: boolean;
  /** Devices of the waves that are over, and how long each was judged. */
  #arrived = 0;
  readonly #judgedMs: number[] = [];

  constructor(course: Course, { how, fleet, places }: { how: FleetMove; fleet: MovingFleet; places: FleetPlaces }) {
    this.#course = course;
    this.#op = course.op;
    this.#move = course.move;
    this.#how = how;
    this.#fleet = fleet;
    this.#places = places;
    this.#first = fleet.told.length;
    this.#stay = course.sourceOnly;
    this.#away = this.#first > 0;
  }

  get away(): boolean {
    return this.#away;
  }

  /**
   * All of them, in their order; before the last one, and after it until nobody has come, `catchUp` brings in who came meanwhile,
   * and tells how many. `censuses`: names of the last of both.
   */
  async send(catchUp: (how: 'always' | 'if new') => Promise<number>, censuses: () => Censuses): Promise<void> {
    const all: (Wave | 'rest')[] = [...this.#how.waves.filter((wave) => wave !== 100), 'rest'];
    this.#op.board.expect([...(this.#how.canary ? [canaryStep] : []), ...all.map(stepOf)]);
    if (this.#how.canary) await this.#goAhead(censuses());
    for (const [at, who] of all.entries()) {
      if (who === 'rest' && at > 0) await catchUp('always');
      if (at > 0) await this.#approve(at, who);
      await this.#send({ at, who, censuses: censuses(), toCome: all.length - at });
    }
    if (!wf.patched('late devices')) return;
    for (let at = all.length; at < all.length + mostLate && (await catchUp('if new')) > 0; at++)
      await this.#send({ at, who: 'rest', censuses: censuses(), late: true });
  }

  /** After the switch: tells those that have come to the source since. Nobody is called back; `forMs`: how long they are waited for. */
  async sendLate(censuses: Censuses, forMs: number): Promise<void> {
    const wave = this.#fleet.told.length;
    const planned = await this.#plan('late devices', { wave, first: 0, who: 'rest', censuses });
    if (planned.devices === 0) return;
    const { source, made } = this.#course;
    const files = { wave, shards: planned.shards };
    const toldAt = new Date().toISOString();
    await this.#tell(files, { on: source, to: made });
    const told = `${planned.devices} devices that have come to ${source.provider} since the last wave were told to go`;
    this.#op.board.record('run', told, made.provider);
    if (forMs === 0) return;
    await this.#judge({
      ...{ waves: [files], from: source, to: made, what: 'arrived', toldAt, forMs, seen: 1, rate: 0 },
      report: `late-${this.#fleet.sequence}`,
    });
  }

  /** Counts those among the devices at the target whom no wave has told to go there. */
  async take(censuses: Censuses): Promise<void> {
    const wave = this.#fleet.told.length;
    await this.#plan('who came in there', { wave, first: 0, who: 'rest', censuses });
    this.#away = true;
    await this.note();
  }

  /** Tells all that were ever told to go to come home; one that was seen at the target and not at home since then holds everything. */
  async home(): Promise<string> {
    // Who was left out may have gone all the same.
    this.#without.length = 0;
    const back = await this.#back(this.#all);
    if (!back.passed) throw failure('VerificationFailed', notHomeText(this.#course.made.provider, back));
    this.#away = false;
    return `${back.arrived} devices came home`;
  }

  /** At the end: how many devices are only at the source, or were not seen at the target. */
  async countLeft(): Promise<void> {
    this.#without.length = 0;
    const judged = await this.#judge({
      ...{ waves: this.#all, from: this.#course.source, to: this.#course.made, what: 'arrived' },
      ...{ toldAt: this.#fleet.startedAt, forMs: 0, seen: 1, report: 'sleepers' },
    });
    const missing = judged.devices - judged.arrived;
    this.#course.sourceOnly = missing + this.#stay;
    if (missing > 0) this.#op.board.record('run', `${missing} devices were not seen there`, judged.missing);
  }

  note(): Promise<void> {
    return this.#course.note(this.#course.switched ? 'switched' : this.#away ? 'moving' : 'copying');
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

  async #plan(
    summary: string,
    { wave, first, who, censuses }: Pick<PlanWaveInput, 'wave' | 'first' | 'who'> & { censuses: Censuses },
  ): Promise<PlannedWave> {
    const { service, soakMs } = this.#move;
    const untilAt = new Date(Date.now() + soakMs).toISOString();
    const planned = await this.#op.held(service, () =>
      watch(summary).planWave({
        ...{ keptAt: this.#places.keptAt, name: this.#fleet.name, wave, first, who },
        ...{ ...censuses, to: this.#course.made.providerType },
        able: { endpoint: this.#endpoint(this.#course.made), untilAt },
      }),
    );
    this.#fleet.told[wave] = planned.shards;
    const { disabled: _, ...cannot } = planned.cannot;
    const stay = Object.values(cannot).reduce((sum, count) => sum + count, 0);
    if (stay > 0 && stay !== this.#stay) this.#op.board.record('run', stayText(cannot), planned.cannotFiles);
    this.#stay = stay;
    this.#course.sourceOnly = stay;
    return planned;
  }

  /** One device of each group goes there for a moment and comes back, so that a wave need not find out what one device can. */
  async #goAhead(censuses: Censuses): Promise<void> {
    const [wave, { windowMs }] = [this.#first, this.#how];
    const untilAt = new Date(Date.now() + Math.min(windowMs / 4, longestWakeMs)).toISOString();
    const { source, made } = this.#course;
    const canary = { sightings: this.#fleet.name, from: source.provider, windowMs, untilAt, everyMs: lookMs };
    const planned = await this.#plan(canaryStep, { wave, first: wave, who: { canary }, censuses });
    if (planned.devices === 0) {
      const detail = planned.silent?.length ? `nobody is awake of ${planned.silent.join(', ')}` : 'there are no groups';
      this.#op.board.mark(canaryStep, { status: 'skipped', detail });
      return;
    }
    this.#first++;
    const files = { wave, shards: planned.shards };
    for (;;) {
      this.#op.board.mark(canaryStep, { status: 'running', startedAt: new Date().toISOString() });
      this.#away = true;
      const toldAt = new Date().toISOString();
      await this.#tell(files, { on: source, to: made });
      const there = await this.#judge({
        ...{ waves: [files], from: source, to: made, what: 'arrived', toldAt, forMs: windowMs, seen: 1, rate: 0 },
        report: `canary-${this.#fleet.sequence}`,
      });
      // Where all of them were seen there, nobody is on the way any more.
      const back = await this.#back([files], there.passed ? 0 : windowMs);
      const detail = canaryText(planned, there, back);
      if (there.passed && back.passed) {
        // At home, and told again in its wave.
        this.#fleet.told[wave] = 0;
        this.#op.board.mark(canaryStep, { status: 'done', finishedAt: new Date().toISOString(), detail });
        return;
      }
      this.#op.board.mark(canaryStep, { status: 'failed', finishedAt: new Date().toISOString(), detail });
      this.#op.board.record('run', 'the canary did not go there and back', detail);
      const answer = await this.#course.ask('devices', canaryFailedText(there, back), ['retry', 'skip', 'undo']);
      if (answer === 'undo') throw failure('UndoRequested', `The canary did not go there and back: ${detail}.`);
      this.#op.board.phase('moving the fleet');
      if (answer === 'skip') return;
    }
  }

  /** A wave goes, is judged, and comes back where it has not arrived; then people decide. */
  async #send({
    at,
    who,
    censuses,
    toCome = 1,
    late = false,
  }: {
    at: number;
    who: Wave | 'rest';
    censuses: Censuses;
    /** Waves that there are still to be, with this one. */
    toCome?: number;
    late?: boolean;
  }): Promise<void> {
    const wave = this.#first + at;
    const step = stepOf(who, at);
    const { service } = this.#move;
    const { windowMs, seen, rate, errors } = this.#how;
    const planned = await this.#plan(step, { wave, first: this.#first, who, censuses });
    if (planned.devices === 0) {
      this.#op.board.mark(step, { status: 'skipped', detail: 'nobody is left for it' });
      return;
    }
    const files = { wave, shards: planned.shards };
    const { source, made } = this.#course;
    const perSecond = this.#perSecond(made);
    for (;;) {
      const leftMs = wavesLeftMs({ devices: planned.able - this.#arrived, waves: toCome }, perSecond, this.#judgedMs);
      const forecast = wavingText(planned, perSecond, toCome, leftMs);
      this.#op.board.mark(step, { status: 'running', startedAt: new Date().toISOString(), detail: forecast });
      this.#away = true;
      const toldAt = new Date().toISOString();
      const sent = await this.#tell(files, { on: source, to: made });
      const judgedFrom = Date.now();
      const judged = await this.#judge({
        ...{ waves: [files], from: source, to: made, what: 'arrived', toldAt, forMs: windowMs, seen, rate, errors },
        report: `missing-${wave}-${this.#fleet.sequence}`,
      });
      const detail = wavedText(planned, sent, judged);
      // Who came late may never have been awake: that tells nothing of the others.
      if (judged.passed || (late && judged.awake === 0)) {
        this.#arrived += planned.devices;
        this.#judgedMs.push(Date.now() - judgedFrom);
        this.#op.board.mark(step, { status: 'done', finishedAt: new Date().toISOString(), detail });
        return;
      }
      this.#op.board.mark(step, { status: 'failed', detail });
      const back = await this.#back([files]);
      this.#op.board.record('run', `wave ${at + 1} went back`, detail);
      const answer = await this.#course.ask('devices', waveFailedText(at, judged, back), ['retry', 'skip', 'undo']);
      if (answer === 'undo') throw failure('UndoRequested', `Wave ${at + 1} of ${service} did not arrive: ${detail}.`);
      this.#op.board.phase('moving the fleet');
      if (answer === 'retry') continue;
      if (judged.missing) this.#without.push(judged.missing);
      await this.#tell(files, { on: source, to: made });
      const left = `${judged.devices - judged.arrived} were left where they are`;
      this.#op.board.mark(step, { status: 'done', finishedAt: new Date().toISOString(), detail: left });
      return;
    }
  }

  /** Above all before it, and in the record before anything is told. */
  async nextSequence(): Promise<number> {
    this.#fleet.sequence = Math.max(this.#fleet.sequence + 1, Date.now());
    await this.note();
    return this.#fleet.sequence;
  }

  async #tell(files: Files, { on, to }: { on: RecordedPlacement; to: RecordedPlacement }): Promise<SentRedirects> {
    const { owner } = this.#move;
    const sequence = await this.nextSequence();
    const endpoint = this.#endpoint(to);
    const { name } = this.#fleet;
    const waits = await this.#op.waits();
    return this.#atSafePoints(() =>
      redirecting(`wave ${files.wave + 1} to ${to.provider}`, waits, (sender) =>
        sender.sendRedirects({
          ...{
            keptAt: this.#places.keptAt,
            name,
            ...files,
            without: this.#without,
            sequence,
            endpoint,
            estate: owner.estate,
            certificates: to === this.#course.made,
          },
          ...{ on: this.#places.registry(on), to: this.#places.registry(to) },
          devicesPerSecond: this.#perSecond(to),
        }),
      ),
    );
  }

  /** Devices that may be told to go there in a second. */
  #perSecond({ providerType }: RecordedPlacement): number {
    return this.#how.devicesPerSecond ?? devicesPerSecond[providerType];
  }

  #endpoint(placement: RecordedPlacement): DeviceEndpoint {
    const { owner, service } = this.#move;
    const endpoint = deviceEndpoint({ placement, ...owner });
    if (endpoint) return endpoint;
    throw failure('VerificationFailed', `${service} on ${placement.provider} has no endpoint for devices.`);
  }

  async #judge({
    from,
    to,
    forMs,
    windowMs = this.#how.windowMs,
    ...more
  }: Pick<JudgeWaveInput, 'waves' | 'what' | 'toldAt' | 'seen' | 'rate' | 'report'> & {
    errors?: number | undefined;
    windowMs?: number;
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
          ...{ keptAt: this.#places.keptAt, name, sightings: name, without: this.#without, ...more },
          ...{ from: from.provider, to: to.provider, windowMs, untilAt, everyMs: lookMs },
        });
      });
      if (judged.passed || judged.failed || Date.now() >= end) return judged;
    }
  }

  #atSafePoints<T>(act: (again: boolean) => Promise<T>): Promise<T> {
    return atSafePoints(this.#op, this.#move.service, act);
  }

  /** Tells these waves to come home, and waits until they are seen to have left. */
  async #back(waves: Files[], windowMs = this.#how.windowMs): Promise<JudgedWave> {
    const { source, made } = this.#course;
    for (const files of waves) if (files.shards > 0) await this.#tell(files, { on: made, to: source });
    const toldAt = new Date().toISOString();
    return this.#judge({
      ...{ waves, from: made, to: source, what: 'left', toldAt, windowMs, forMs: this.#how.windowMs },
      report: `away-${this.#fleet.sequence}`,
    });
  }

  get #all(): Files[] {
    return this.#fleet.told.map((shards, wave) => ({ wave, shards }));
  }
}

const stepOf = (who: Wave | 'rest', at: number): string => `wave ${at + 1}: ${waveText(who)}`;
