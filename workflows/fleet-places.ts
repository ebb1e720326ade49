/** The two placements of a fleet that moves, as activities are told of them. */
import { registryParts } from '../model/fleet.ts';
import type { RecordedPlacement } from '../model/record.ts';
import { type PlacementRef, placementRef } from '../model/transfer.ts';
import type { Course } from './course.ts';

export class FleetPlaces {
  readonly #course: Course;

  constructor(course: Course) {
    this.#course = course;
  }

  ref(recorded: RecordedPlacement): PlacementRef {
    return placementRef(this.#course.move.owner, recorded);
  }

  /** Without what is no part of the registry: it would be told again and again in the run's history. */
  registry(recorded: RecordedPlacement): PlacementRef {
    const resources = recorded.resources.filter(({ key }) => registryParts[recorded.providerType].includes(key));
    return this.ref({ ...recorded, resources });
  }

  get registries(): { source: PlacementRef; target: PlacementRef } {
    return { source: this.registry(this.#course.source), target: this.registry(this.#course.made) };
  }

  /** Whose place keeps the files. */
  get keptAt(): PlacementRef {
    return this.ref({ ...this.#course.made, resources: [] });
  }
}
