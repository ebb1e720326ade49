/** The activities that workflows call, by the queue they are served on. Types only: workflows never load this code. */
import type { DeviceActivities } from '../model/fleet.ts';
import type { TelemetryActivities, TelemetryFollowerActivities } from '../model/telemetry-pump.ts';
import type { WaveActivities } from '../model/waves.ts';
import type { createEstateActivities } from './estate/load.ts';
import type { createPlacementActivities } from './estate/place.ts';
import type { NotifyActivities } from './notify/activities.ts';
import type { createProviderActivities } from './providers/activities.ts';
import type { FeedActivities } from './providers/feed.ts';
import type { FenceActivities } from './providers/fence.ts';
import type { createRegistryActivities } from './registry/registry.ts';
import type { createScheduleActivities } from './registry/schedules.ts';
import type { createFollowActivities } from './replication/follow.ts';
import type { ReplicateActivities } from './replication/replicate.ts';
import type { SidesActivities } from './replication/sides.ts';
import type { EndpointActivities } from './traffic/endpoint-records.ts';
import type { BalancerActivities, WeightActivities } from './traffic/weights.ts';
import type { createTransferActivities } from './transfer/activities.ts';

/** On the queue of the workflows: files of the worker, records in Temporal. No cloud. */
export type Activities = ReturnType<typeof createRegistryActivities> &
  ReturnType<typeof createScheduleActivities> &
  ReturnType<typeof createEstateActivities> &
  ReturnType<typeof createPlacementActivities> &
  BalancerActivities &
  NotifyActivities;

/** On the queues of one provider. */
export type ProviderActivities = ReturnType<typeof createProviderActivities> &
  FenceActivities &
  FeedActivities &
  TelemetryFollowerActivities &
  EndpointActivities &
  WeightActivities;

/** On the bulk queues of two providers. */
export type BulkActivities = ReturnType<typeof createTransferActivities> & DeviceActivities;

/** On the queue of what follows. */
export type WatchActivities = ReturnType<typeof createFollowActivities> &
  TelemetryActivities &
  ReplicateActivities &
  SidesActivities &
  DeviceActivities &
  WaveActivities;

/** On the queue of those who may tell devices where to go. */
export type { SenderActivities } from '../model/waves.ts';
