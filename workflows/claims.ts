/** Devices that need another certificate for the target: they are asked for a request where they are, and certificates are made for those that answer. */
import * as wf from '@temporalio/workflow';
import type { AskedClaims } from '../model/device-claim.ts';
import type { ProviderType } from '../model/service.ts';
import { devicesPerSecond, type MovingFleet } from '../model/wave-settings.ts';
import { redirecting } from './calls.ts';
import type { Course } from './course.ts';
import type { FleetPlaces } from './fleet-places.ts';
import { claimedText } from './fleet-text.ts';
import { atSafePoints } from './following.ts';
import type { FleetMove } from './migration-plan.ts';
import { reason } from './progress.ts';
import type { Waves } from './waves.ts';

/** Between two looks at who has answered, and the longest that a run waits for answers. */
const [lookMs, longestMs] = [2000, 1_800_000];
const step = 'claim';

export class Claims {
  readonly #course: Course;
  readonly #how: FleetMove;
  readonly #fleet: MovingFleet;
  readonly #places: FleetPlaces;
  readonly #waves: Waves;
  readonly #untilAt: string;
  /** Censuses whose devices were asked, and those of who has a new certificate. */
  readonly #asked: string[] = [];
  readonly #taken: string[] = [];
  #counts = { asked: 0, devices: 0 };
  #open = 0;
  #unable = false;

  constructor(
    course: Course,
    { how, fleet, places, waves }: { how: FleetMove; fleet: MovingFleet; places: FleetPlaces; waves: Waves },
  ) {
    this.#course = course;
    this.#how = how;
    this.#fleet = fleet;
    this.#places = places;
    this.#waves = waves;
    this.#untilAt = new Date(Date.now() + course.move.soakMs).toISOString();
  }

  /** What a certificate has to be for. None where nobody can make one. */
  get needs(): { to: ProviderType; untilAt: string } | undefined {
    return this.#unable ? undefined : { to: this.#course.made.providerType, untilAt: this.#untilAt };
  }

  /** Devices that were asked and have not answered. */
  get open(): number {
    return this.#open;
  }

  /** Under which the comparison of both registries finds new certificates. */
  get named(): { claimed?: string } {
    return this.#taken.length > 0 ? { claimed: this.#fleet.name } : {};
  }

  async ask(census: string, needing: number): Promise<void> {
    const { op, move } = this.#course;
    op.board.mark(step, { status: 'running', startedAt: new Date().toISOString(), detail: `${needing} need one` });
    const sequence = await this.#waves.nextSequence();
    const asked = await atSafePoints(op, move.service, () => this.#tell({ census, sequence, retract: false }));
    if (asked.unable) {
      this.#unable = true;
      op.board.mark(step, { status: 'skipped', detail: `${needing} need one, and the sender has no claimAuthority` });
      return;
    }
    this.#asked.push(census);
    this.#counts.asked += asked.asked;
    // Who was asked by an earlier run may have answered.
    this.#open += needing - asked.gone - asked.failed;
  }

  /** Certificates for those that have answered, as a census of this name; waits for the others for as long as a wave. */
  async take(into: string, waiting: boolean): Promise<{ devices: number; shards: number }> {
    const { op, source, move } = this.#course;
    const forMs = waiting ? Math.min(this.#how.windowMs, longestMs) : 0;
    const at = new Date();
    const issuedAt = at.toISOString();
    const waitUntil = new Date(at.getTime() + forMs).toISOString();
    const waits = await op.waits();
    const issued = await atSafePoints(op, move.service, () =>
      redirecting('certificates for devices', waits, (sender) =>
        sender.issueCertificates({
          ...{ ...this.#common, censuses: this.#asked, before: this.#taken, into, from: source.provider },
          ...{ issuedAt, waitUntil, everyMs: lookMs },
        }),
      ),
    );
    this.#open = issued.open;
    if (issued.devices > 0) this.#taken.push(into);
    this.#counts.devices += issued.devices;
    const { asked, devices } = this.#counts;
    const detail = claimedText(asked, devices, issued.open, issued.refused);
    op.board.mark(step, { status: 'done', finishedAt: new Date().toISOString(), detail });
    return { devices: issued.devices, shards: issued.shards };
  }

  /** Where everything is taken back nobody is to go on asking. What stays would only be answered once more. */
  async retract(): Promise<void> {
    const { sequence } = this.#fleet;
    try {
      for (const census of this.#asked) await this.#tell({ census, sequence, retract: true });
    } catch (error) {
      if (wf.isCancellation(error)) throw error;
      this.#course.op.board.record('run', `devices are still asked for certificate requests: ${reason(error)}`);
    }
  }

  async #tell(what: { census: string; sequence: number; retract: boolean }): Promise<AskedClaims> {
    const { op, source, move, made } = this.#course;
    const waits = await op.waits();
    const summary = what.retract ? 'ask for no certificate requests' : 'ask for certificate requests';
    return redirecting(summary, waits, (sender) =>
      sender.askClaims({
        ...{ ...this.#common, ...what, on: this.#places.registry(source), estate: move.owner.estate },
        devicesPerSecond: this.#how.devicesPerSecond ?? devicesPerSecond[made.providerType],
      }),
    );
  }

  get #common() {
    return {
      ...{ keptAt: this.#places.keptAt, name: this.#fleet.name },
      ...{ to: this.#course.made.providerType, untilAt: this.#untilAt },
    };
  }
}
