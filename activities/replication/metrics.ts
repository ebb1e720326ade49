/**
 * What a pump tells the worker's metrics (`metricsAddress`), by service and direction. Where none are served, telling costs
 * nothing.
 */
import { Context } from '@temporalio/activity';
import type { DirectionLag } from '../../model/replicate.ts';

const counted = ['applied', 'conflicts', 'errors'] as const;
type Counted = Pick<DirectionLag, 'from' | 'to' | 'seconds' | (typeof counted)[number]>;

/** Of the activity that it is called in. The answer is told how far each direction is, as often as one likes. */
export function replicationMetrics(estate: string, service: string): (directions: readonly Counted[]) => void {
  const meter = Context.current().metricMeter.withTags({ estate, service });
  const lag = meter.createGauge(
    'multi_cloud_replication_lag_seconds',
    'float',
    's',
    'From a change on one side until it is on the other',
  );
  const counters = {
    applied: meter.createCounter('multi_cloud_replication_applied', '', 'Changes that were brought to the other side'),
    conflicts: meter.createCounter('multi_cloud_replication_conflicts', '', 'Changes that lost a conflict'),
    errors: meter.createCounter('multi_cloud_replication_errors', '', 'Keys that could not be brought over'),
  };
  const told = new Map<string, number>();
  return (directions) => {
    for (const { from, to, seconds, ...counts } of directions) {
      lag.set(seconds, { from, to });
      for (const what of counted) {
        const name = `${what} ${from}>${to}`;
        const more = counts[what] - (told.get(name) ?? 0);
        if (more > 0) counters[what].add(more, { from, to });
        told.set(name, counts[what]);
      }
    }
  };
}
