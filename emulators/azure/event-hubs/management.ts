/** Answers of `$management`: what an event hub and its partitions hold. */
import rhea from 'rhea';
import type { EventHub } from './entities.ts';
import type { Streams } from './streams.ts';

/** The body of the answer, or undefined where the service answers 400. */
export function management(
  streams: Streams,
  hub: EventHub,
  { operation, type, partition }: Record<string, unknown>,
): Record<string, unknown> | undefined {
  const { types } = rhea;
  if (operation !== 'READ') return undefined;
  if (type === 'com.microsoft:eventhub')
    return {
      name: hub.name,
      type,
      created_at: types.wrap_timestamp(hub.createdMs),
      partition_count: types.wrap_int(hub.partitions),
      partition_ids: Array.from({ length: hub.partitions }, (_, index) => String(index)),
    };
  const index = Number(partition);
  if (type !== 'com.microsoft:partition' || !Number.isInteger(index) || index < 0 || index >= hub.partitions)
    return undefined;
  const log = streams.log(hub, index);
  return {
    name: hub.name,
    type,
    partition: String(index),
    begin_sequence_number: types.wrap_long(log.firstSequence),
    last_enqueued_sequence_number: types.wrap_long(log.last?.sequence ?? -1),
    last_enqueued_offset: String(log.last?.offset ?? -1),
    last_enqueued_time_utc: types.wrap_timestamp(log.last?.enqueuedMs ?? 0),
    is_partition_empty: log.empty,
  };
}
