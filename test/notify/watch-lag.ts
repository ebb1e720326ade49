/** A run that observes lags as they are given to it, and continues as new between them where it is told to. */
import * as wf from '@temporalio/workflow';
import type { HandedIncidents } from '../../model/alert.ts';
import type { LagDirection } from '../../model/incident.ts';
import { Incidents } from '../../workflows/incidents.ts';

interface Seen {
  lagMs: number;
  /** How long after the one before it. */
  afterMs: number;
  /** The direction is aws to gcp where none is given. */
  direction?: LagDirection;
  /** A new run observes what comes after it. */
  thenNew?: boolean;
}

export interface WatchedLag {
  seen: Seen[];
  handed?: HandedIncidents;
  trail?: string[];
}

/** Answers its audit trail. */
export async function watchLag({ seen, handed, trail = [] }: WatchedLag): Promise<string[]> {
  const incidents = new Incidents(
    {
      ...{ estate: 'multi-cloud', service: 'data_lake' },
      rule: { thresholdMs: 1000, beginsAfterMs: 10_000, endsAfterMs: 60_000 },
      note: (what) => void trail.push(what),
    },
    handed,
  );
  try {
    for (const [at, { lagMs, afterMs, direction = { from: 'aws', to: 'gcp' }, thenNew }] of seen.entries()) {
      await wf.sleep(afterMs);
      incidents.observe(direction, lagMs);
      if (thenNew)
        await wf.continueAsNew<typeof watchLag>({
          seen: seen.slice(at + 1),
          handed: await incidents.handOver(),
          trail,
        });
    }
  } catch (error) {
    if (!wf.isCancellation(error)) throw error;
  }
  await incidents.end('replication was stopped', 3_600_000);
  return trail;
}
