/** Devices on their way, wave by wave: they are told to go, judged by what the target's stream shows of them, and told to come home. */
import * as wf from '@temporalio/workflow';
import { deviceEndpoint } from '../model/device-endpoint.ts';
import type { RecordedPlacement } from '../model/record.ts';
import { devicesPerSecond, type MovingFleet, type Wave, waveText } from '../model/wave-settings.ts';
import type { JudgedWave, JudgeWaveInput, SentRedirects } from '../model/waves.ts';
import { failure, redirecting, watch } from './calls.ts';
import type { Course } from './course.ts';
import type { FleetPlaces } from './fleet-places.ts';
import { notHomeText, wavedText, waveFailedText, waveQuestion } from './fleet-text.ts';
import { untilGateCloses } from './following.ts';
import type { FleetMove, Move } from './migration-plan.ts';
import type { Operation } from './operation.ts';

/** Between two looks at who has arrived. */
const lookMs = 2000;
/** An activity that looks returns after this long. */
const longestLookMs = 1_800_000;

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
  /** Waves of earlier runs: their devices are told again. */
  readonly #first: number;
  /** Files of devices that people have decided to go on without. */
  readonly #without: string[] = [];
  /** Devices that no wave can take. */
  #stay: number;
  /** Whether devices may be at the target, or on their way there. */
  #away: boolean;

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

  /** All of them, in their order; before the last one `catchUp` brings in who came meanwhile. `censuses`: names of the last of both. */
  async send(catchUp: () => Promise<void>, censuses: () => { source: string; target: string }): Promise<void> {
    const all: (Wave | 'rest')[] = [...this.#how.waves.filter((wave) => wave !== 100), 'rest'];
    this.#op.board.expect(all.map(stepOf));
    for (const [at, who] of all.entries()) {
      if (who === 'rest' && at > 0) await catchUp();
      if (at > 0) await this.#approve(at, who);
      await this.#send({ at, who, censuses: censuses() });
    }
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

  /** A wave goes, is judged, and comes back where it has not arrived; then people decide. */
  async #send({
    at,
    who,
    censuses,
  }: {
    at: number;
    who: Wave | 'rest';
    censuses: { source: string; target: string };
  }): Promise<void> {
    const wave = this.#first + at;
    const step = stepOf(who, at);
    const { service } = this.#move;
    const { name } = this.#fleet;
    const { windowMs, seen, rate } = this.#how;
    const planned = await this.#op.held(service, () =>
      watch(step).planWave({
        ...{ keptAt: this.#places.keptAt, name, wave, first: this.#first, who },
        ...{ ...censuses, to: this.#course.made.providerType },
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
      const answer = await this.#course.ask('devices', waveFailedText(wave, judged, back), ['retry', 'skip', 'undo']);
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
  async #tell(files: Files, { on, to }: { on: RecordedPlacement; to: RecordedPlacement }): Promise<SentRedirects> {
    const { owner, service } = this.#move;
    this.#fleet.sequence = Math.max(this.#fleet.sequence + 1, Date.now());
    await this.note();
    const endpoint = deviceEndpoint({ placement: to, ...owner });
    if (!endpoint) throw failure('VerificationFailed', `${service} on ${to.provider} has no endpoint for devices.`);
    const { sequence, name } = this.#fleet;
    return this.#atSafePoints(() =>
      redirecting(`wave ${files.wave + 1} to ${to.provider}`, (sender) =>
        sender.sendRedirects({
          ...{
            keptAt: this.#places.keptAt,
            name,
            ...files,
            without: this.#without,
            sequence,
            endpoint,
            estate: owner.estate,
          },
          ...{ on: this.#places.registry(on), to: this.#places.registry(to) },
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
          ...{ keptAt: this.#places.keptAt, name, sightings: name, without: this.#without, ...more },
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
  async #back(waves: Files[]): Promise<JudgedWave> {
    const { source, made } = this.#course;
    for (const files of waves) if (files.shards > 0) await this.#tell(files, { on: made, to: source });
    const toldAt = new Date().toISOString();
    return this.#judge({
      ...{ waves, from: made, to: source, what: 'left', toldAt, forMs: this.#how.windowMs },
      report: `away-${this.#fleet.sequence}`,
    });
  }

  get #all(): Files[] {
    return this.#fleet.told.map((shards, wave) => ({ wave, shards }));
  }
}

const stepOf = (who: Wave | 'rest', at: number): string => `wave ${at + 1}: ${waveText(who)}`;
