/**
 * Devices that came in at the target by themselves while the fleet is on its way: whoever takes the target away registers them at the
 * source first, since nobody else knows them, and tells them to come there as all others.
 */
import { justInTimeAuthority } from '../model/just-in-time.ts';
import type { MovingFleet } from '../model/wave-settings.ts';
import { applicationFailure, failure, watch } from './calls.ts';
import type { Course } from './course.ts';
import type { FleetPlaces } from './fleet-places.ts';
import { strandedText } from './fleet-text.ts';
import { Registration } from './registration.ts';

export class Newborns {
  readonly #course: Course;
  readonly #fleet: MovingFleet;
  readonly #places: FleetPlaces;
  #looks = 0;

  constructor(course: Course, { fleet, places }: { fleet: MovingFleet; places: FleetPlaces }) {
    this.#course = course;
    this.#fleet = fleet;
    this.#places = places;
  }

  /** Whether the target lets in whom nobody has registered. */
  get expected(): boolean {
    return justInTimeAuthority(this.#course.made.configuration) !== undefined;
  }

  /** Registers at the source who came in at the target and is not known there; tells how many. */
  async register(): Promise<number> {
    if (!this.expected) return 0;
    const { op, move } = this.#course;
    const { service } = move;
    const { source, target } = this.#places.registries;
    const { name, epoch, startedAt } = this.#fleet;
    const [all, known, into] = ['there', 'known', 'born'].map((what) => `${name}-${what}-${epoch}-${this.#looks}`);
    this.#looks++;
    const ask = async (text: string): Promise<string> => {
      op.board.record('run', text, service);
      return 'skip';
    };
    // The other way round than all else of the move; the source's bucket keeps these files, as the one of where they are going.
    const back = new Registration(op, { service, source: target, target: source, startedAt, mark: name, ask });
    const census = (placement: typeof source, as = '') =>
      back.bulk('census of newborns', (on) =>
        on.censusDevices({
          ...{ placement, keptAt: source, census: as, to: source.providerType },
          callsPerSecond: back.share(placement),
        }),
      );
    try {
      await census(target, all);
    } catch (error) {
      // A run that is gone was taking the target away: whoever was there has been taken home before that.
      if (applicationFailure(error)?.type === 'NotFound') return 0;
      throw error;
    }
    await census(source, known);
    const keptAt = this.#places.ref({ ...this.#course.source, resources: [] });
    const found = await op.held(service, () =>
      watch('who was born there').selectDevices({
        ...{ keptAt, census: all ?? '', before: known ?? '', into: into ?? '', born: true as const },
      }),
    );
    if (found.devices === 0) return 0;
    await back.register(into ?? '', found);
    const left = back.left + back.counts.refused;
    if (left > 0) throw failure('VerificationFailed', strandedText(left, move.source.provider, target.provider));
    op.board.record('run', `${found.devices} devices that came in there are registered at home`, target.provider);
    return found.devices;
  }
}
