/** The placements of a service that hold its devices, as the activities that look at them or copy them are told of them. */
import { registryParts } from '../model/fleet.ts';
import type { ServiceRecord } from '../model/record.ts';
import type { Owner } from '../model/service.ts';
import { type PlacementRef, placementRef } from '../model/transfer.ts';
import { failure } from './calls.ts';

export class Fleet {
  readonly #placements: PlacementRef[];

  constructor(owner: Omit<Owner, 'generation'>, record: ServiceRecord | undefined) {
    const placements = record?.placements ?? [];
    if (placements.length === 0) throw failure('ServiceNotFound', `${owner.service} is nowhere: deploy it first`);
    const [other] = placements.filter(({ type }) => type !== 'iot_core');
    if (other) throw failure('NotSupported', `${owner.service} is of type ${other.type}; only iot_core has devices`);
    // The other parts of a placement would be told again and again in the run's history.
    this.#placements = placements.map((placement) => {
      const resources = placement.resources.filter(({ key }) => registryParts[placement.providerType].includes(key));
      return placementRef(owner, { ...placement, resources });
    });
  }

  /** By the provider's name; without one, where there is no other. */
  at(provider: string | undefined): PlacementRef {
    const names = this.#placements.map((placement) => placement.provider).join(', ');
    const found = this.#placements.filter((placement) => provider === undefined || placement.provider === provider);
    const [placement, ...more] = found;
    if (!placement) throw failure('InvalidInput', `it is not on ${provider}; it is on ${names}`);
    if (more.length > 0) throw failure('InvalidInput', `provider: it is on ${names}; say which one`);
    return placement;
  }
}
