/** The activities that workflows call, by the queue they are served on. Types only: workflows never load this code. */
import type { createEstateActivities } from './estate/load.ts';
import type { createPlacementActivities } from './estate/place.ts';
import type { createProviderActivities } from './providers/activities.ts';
import type { createRegistryActivities } from './registry/registry.ts';

/** On the queue of the workflows: files of the worker, records in Temporal. No cloud. */
export type Activities = ReturnType<typeof createRegistryActivities> &
  ReturnType<typeof createEstateActivities> &
  ReturnType<typeof createPlacementActivities>;

/** On the queues of one provider. */
export type ProviderActivities = ReturnType<typeof createProviderActivities>;
