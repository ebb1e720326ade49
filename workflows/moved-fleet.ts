/**
 * A fleet on its way: its registry is copied and compared while devices stay where they are; then they are told to go, wave by
 * wave, each judged by what the target's stream shows of it. Whoever goes back tells them to come home before anything else.
 */
import * as wf from '@temporalio/workflow';
import type { EstatePlan } from '../model/operations.ts';
import type { MovingFleet } from '../model/wave-settings.ts';
import { failure, watch } from './calls.ts';
import { Claims } from './claims.ts';
import type { Course } from './course.ts';
import { FleetPlaces } from './fleet-places.ts';
import { censusText, differences, fleetCutoverText, volatileField } from './fleet-text.ts';
import type { Move } from './migration-plan.ts';
import type { Moved } from './moved.ts';
import { Newborns } from './newborns.ts';
import type { Operation } from './operation.ts';
import { reason } from './progress.ts';
import { Registration } from './registration.ts';
import { TelemetryPumps } from './telemetry-pumps.ts';
import { Waves } from './waves.ts';

/** A census that finds no more than so many new devices is the last one before the cutover is asked about. */
const fewNew = 10;
const mostCensuses = 10;
/** In the soak: looks at who has come to the source, and the time between two of them, in what one takes. */
const [mostLooks, restShare] = [24, 10];
const answers: [string, ...string[]] = ['retry', 'skip', 'undo'];

export class MovedFleet implements Moved {
  readonly handing = 'moving';
  readonly proven = true;
  readonly #course: Course;
  readonly #op: Operation;
  readonly #move: Move;
  readonly #places: FleetPlaces;
  readonly #waves: Waves;
  /** What the record says of it. */
  readonly #fleet: MovingFleet;
  readonly #pumps: TelemetryPumps;
  /** Those that need another certificate for the target. */
  readonly #claims: Claims;
  readonly #newborns: Newborns;
  #registration: Registration | undefined;
  /** Censuses so far: their number names them. */
  #censuses: number;
  #census = '';
  #known: string | null = null;
  #there = '';
  /** Devices that the last verification has left as they are. */
  #accepted = 0;

  constructor(course: Course) {
    const { op, move } = course;
    if (!move.fleet) throw failure('NotSupported', `${move.service} is no fleet.`);
    this.#course = course;
    this.#op = op;
    this.#move = move;
    this.#places = new FleetPlaces(course);
    const { begun, lastRedirect } = move.fleet;
    const startedAt = new Date().toISOString();
    this.#fleet = begun
      ? { ...begun, epoch: begun.epoch + 1 }
      : { name: wf.uuid4().slice(0, 8), startedAt, registered: [], told: [], sequence: lastRedirect, epoch: 1 };
    course.fleet = this.#fleet;
    course.sourceOnly = move.sourceOnly;
    this.#censuses = this.#fleet.registered.length;
    this.#waves = new Waves(course, { how: move.fleet, fleet: this.#fleet, places: this.#places });
    this.#newborns = new Newborns(course, { fleet: this.#fleet, places: this.#places });
    const { service, owner } = move;
    const { name, epoch } = this.#fleet;
    this.#claims = new Claims(course, {
      how: move.fleet,
      fleet: this.#fleet,
      places: this.#places,
      waves: this.#waves,
    });
    this.#pumps = new TelemetryPumps(op, { service, owner, name, epoch, keptAt: () => this.#places.keptAt });
  }

  get leftText(): string {
    return `${this.#course.sourceOnly} devices are only there, or were not seen at ${this.#course.made.provider}`;
  }

  /** They are told to come home once the target is known. */
  async release(): Promise<void> {}

  async admit(): Promise<void> {}

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
        // The last ones first: a device with another certificate stands in an earlier census with its own one.
        for (const [n, files] of [...this.#fleet.registered.entries()].reverse())
          removed += await this.#registering.remove(this.#newOf(n), files);
        await this.#claims.retract();
        return `${removed} devices removed`;
      },
    });
    this.#pumps.undoable([this.#course.source, this.#course.made]);
    if (!this.#newborns.expected) return;
    // Also where nobody else has gone there yet.
    this.#op.saga.add({
      step: 'newborns',
      orphan: { provider: this.#course.made.provider, kind: 'devices', name: service },
      first: true,
      undo: async () => ((await this.#takeIn()) ? this.#allHome() : 'nobody is left there'),
    });
  }

  async copy(): Promise<void> {
    this.#op.board.phase('copying the registry');
    this.undoable('begun');
    await this.#pumps.prepare([this.#course.source, this.#course.made]);
    if (this.#waves.away) await this.#allHome();
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

  /** After the switch devices may still be registered at the source, by whatever provisions them: they are sent on. */
  async whileFollowing<T>(ask: () => Promise<T>): Promise<T> {
    await this.#follow();
    if (!this.#course.switched || !wf.patched('late devices')) return ask();
    const looking = new wf.CancellationScope();
    const looks = looking.run(() => this.#sendOn()).catch(() => {});
    try {
      return await ask();
    } finally {
      looking.cancel();
      await looks;
    }
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
    const catchUp = async (how: 'always' | 'if new'): Promise<number> => {
      const found = await this.#registerNew();
      if (found > 0 || how === 'always') await this.#compare();
      return found;
    };
    await this.#waves.send(catchUp, () => this.#lastCensuses);
  }

  async handBack(): Promise<string> {
    await this.#follow();
    await this.#takeIn();
    return this.#waves.home();
  }

  turned(): void {}

  async settle(): Promise<void> {
    const { fleet } = this.#move;
    const known = !wf.patched('late devices') || (await this.#look(fleet?.windowMs ?? 0));
    await this.#waves.countLeft();
    // Somebody may be there of whom nothing is known.
    if (!known) this.#course.sourceOnly++;
  }

  async close(): Promise<void> {
    const { source, made } = this.#course;
    await this.#pumps.drain(this.#places.ref(source), this.#places.ref(made));
    await this.#pumps.close([source, made]);
  }

  /** Registers what is new since the last census, and who has claimed a certificate; tells how many that are. */
  async #registerNew(): Promise<number> {
    const n = this.#censuses++;
    const { name, registered, epoch } = this.#fleet;
    this.#census = `${name}-${epoch}-${n}`;
    const { target, source } = this.#places.registries;
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
    const needs = wf.patched('claimed certificates') ? this.#claims.needs : undefined;
    const found = await this.#op.held(this.#move.service, () =>
      watch('what is new').selectDevices({
        ...{ keptAt: this.#places.keptAt, census, before, into },
        ...(needs && { claims: needs }),
      }),
    );
    this.#known = census;
    registered[n] = found.shards;
    if (found.devices > 0) {
      await this.#waves.note();
      await this.#registering.register(into, found, needs?.untilAt);
    }
    return found.devices + (needs ? await this.#claim(into, found.claims ?? 0) : 0);
  }

  /** Asks who has come for a certificate request, and registers those for whom certificates were made; tells how many. */
  async #claim(census: string, needing: number): Promise<number> {
    if (needing > 0) await this.#claims.ask(census, needing);
    if (this.#claims.open === 0) return 0;
    const n = this.#censuses++;
    this.#fleet.registered[n] = 0;
    const claimed = await this.#claims.take(this.#newOf(n), needing > 0 && !this.#course.switched);
    if (claimed.devices === 0) return 0;
    this.#fleet.registered[n] = claimed.shards;
    await this.#waves.note();
    await this.#registering.register(this.#newOf(n), claimed);
    this.#registering.counts.refused -= claimed.devices;
    return claimed.devices;
  }

  /** Looks again and again, but so that a run's history stays short and the registry is left alone most of the time. */
  async #sendOn(): Promise<void> {
    const { fleet, soakMs } = this.#move;
    for (let tookMs = 0; ; ) {
      await wf.sleep(Math.max(fleet?.windowMs ?? 0, soakMs / mostLooks, tookMs * restShare));
      const began = Date.now();
      await this.#look(0);
      tookMs = Date.now() - began;
    }
  }

  /** Sends on who has come to the source since the last look; a failure is told, and the next look is another chance. */
  async #look(forMs: number): Promise<boolean> {
    const before = this.#known;
    try {
      if ((await this.#registerNew()) === 0) return true;
      await this.#compare();
      await this.#waves.sendLate(this.#lastCensuses, forMs);
      return true;
    } catch (error) {
      if (wf.isCancellation(error)) throw error;
      this.#known = before;
      this.#op.board.record('run', `late devices were not sent on: ${reason(error)}`, this.#course.source.provider);
      return false;
    }
  }

  get #lastCensuses(): { source: string; target: string } {
    return { source: this.#census, target: this.#there };
  }

  #newOf(n: number): string {
    return `${this.#fleet.name}-new-${n}`;
  }

  async #compare(): Promise<{ same: number; wrong: number; text: string }> {
    const { target } = this.#places.registries;
    this.#there = `${this.#census}-there`;
    const there = { placement: target, keptAt: target, census: this.#there };
    const registering = this.#registering;
    await registering.bulk('census of the target', (on) =>
      on.censusDevices({ ...there, callsPerSecond: registering.share(target) }),
    );
    const diff = await registering.bulk('compare', (on) =>
      on.diffDevices({
        ...{ keptAt: target, left: this.#census, right: this.#there },
        ...(this.#newborns.expected && { born: true as const }),
        ...this.#claims.named,
      }),
    );
    const { missing = 0, born = 0, [volatileField]: _, ...fields } = diff.different;
    const unknown = Math.max(0, missing - registering.counts.refused - registering.left);
    const others = Object.values(fields).reduce((sum, count) => sum + count, 0);
    const wrong = unknown + Math.max(0, others - registering.left);
    const text = [wrong > 0 ? `${differences(diff)} (${diff.report})` : '', born > 0 ? `${born} came in there` : ''];
    return { same: diff.same, wrong, text: text.filter(Boolean).join('; ') };
  }

  async #allHome(): Promise<string> {
    const { source, made } = this.#course;
    if (this.#waves.away) await this.#follow();
    await this.#takeIn();
    const home = this.#waves.away ? await this.#waves.home() : 'all devices are at home';
    await this.#pumps.drain(this.#places.ref(made), this.#places.ref(source));
    return home;
  }

  /** Makes those who were born at the target devices of the source that are at the target; tells whether there are any. */
  async #takeIn(): Promise<boolean> {
    if ((await this.#newborns.register()) === 0) return false;
    const born = this.#newOf(this.#censuses);
    await this.#registerNew();
    await this.#compare();
    if (!this.#waves.away) await this.#follow();
    await this.#waves.take({ source: born, target: this.#there });
    return true;
  }

  /** What comes to the one that follows goes to the one that serves; both are watched. */
  #follow(): Promise<void> {
    return this.#pumps.start(this.#places.ref(this.#course.to), this.#places.ref(this.#course.from));
  }

  get #registering(): Registration {
    const { service } = this.#move;
    const { name: mark, startedAt } = this.#fleet;
    // After the switch nobody waits for an answer: whoever cannot go is counted, and keeps the source.
    const ask = async (text: string): Promise<string> => {
      if (!this.#course.switched) return this.#course.ask('devices', text, answers);
      this.#op.board.record('run', text, service);
      return 'skip';
    };
    this.#registration ??= new Registration(this.#op, { service, ...this.#places.registries, startedAt, mark, ask });
    return this.#registration;
  }
}
