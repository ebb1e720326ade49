/** Temporal Schedules of the estate. Each is named after what it is for, so that making it again finds it. */
import { type Client, ScheduleAlreadyRunning, ScheduleNotFoundError } from '@temporalio/client';
import { divergenceSchedule } from '../../model/divergence.ts';
import { taskQueue, workflowIds } from '../../model/operations.ts';

interface OfService {
  estate: string;
  service: string;
}

export function createScheduleActivities({ client }: { client: Client }) {
  return {
    /** Compares the sides of a replicated service every so often: at the same interval it is left as it is. */
    async ensureSchedule({ estate, service, everyMs }: OfService & { everyMs: number }): Promise<void> {
      const scheduleId = divergenceSchedule(estate, service);
      const spec = { intervals: [{ every: everyMs }] };
      try {
        await client.schedule.create({
          scheduleId,
          spec,
          action: {
            type: 'startWorkflow',
            workflowType: 'verifyService',
            workflowId: workflowIds.verifyService(estate, service),
            taskQueue,
            args: [{ v: 1, estate, service, by: `schedule ${scheduleId}` }],
          },
          // One that takes longer than the interval is not run beside itself, and what was missed is one comparison.
          policies: { overlap: 'SKIP', catchupWindow: '1h' },
        });
      } catch (error) {
        if (!(error instanceof ScheduleAlreadyRunning)) throw error;
        const schedule = client.schedule.getHandle(scheduleId);
        const [now] = (await schedule.describe()).spec.intervals ?? [];
        if (now?.every !== everyMs) await schedule.update((before) => ({ ...before, spec }));
      }
    },

    async removeSchedule({ estate, service }: OfService): Promise<void> {
      try {
        await client.schedule.getHandle(divergenceSchedule(estate, service)).delete();
      } catch (error) {
        if (!(error instanceof ScheduleNotFoundError)) throw error;
      }
    },
  };
}
