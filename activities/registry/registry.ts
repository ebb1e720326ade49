/** Reading and writing the records: long-lived workflows, reached by update-with-start so that a missing one is begun. */
import { Context, heartbeat } from '@temporalio/activity';
import {
  ApplicationFailure,
  type Client,
  isGrpcServiceError,
  WithStartWorkflowOperation,
  WorkflowFailedError,
  WorkflowNotFoundError,
  WorkflowUpdateFailedError,
} from '@temporalio/client';
import type { Acquired, YieldRequest } from '../../model/lock.ts';
import { type OperationResult, taskQueue, workflowIds } from '../../model/operations.ts';
import { confirmCommand } from '../../model/rebuild.ts';
import {
  EstateRecord,
  type Holder,
  type Orphan,
  type Replicating,
  ServiceRecord,
  ServiceSummary,
} from '../../model/record.ts';
import type { Reconfiguration, Reconfigured, StandAside } from '../../model/replicate.ts';
import * as estateRecord from '../../workflows/cloud-estate.ts';
import * as serviceRecord from '../../workflows/cloud-service.ts';

export interface RegistryDependencies {
  client: Client;
  /** Temporal namespace ID: the `controller` tag. */
  controller: string;
}

/** The identity that the estate's resources carry. */
export interface Identity {
  uid: string;
  controller: string;
}

type Asker = Pick<Holder, 'workflowId' | 'runId'>;

export function createRegistryActivities({ client, controller }: RegistryDependencies) {
  const startService = (estate: string, service: string) =>
    new WithStartWorkflowOperation('cloudService', {
      workflowId: workflowIds.cloudService(estate, service),
      taskQueue,
      args: [{ v: 1, estate, service }],
      workflowIdConflictPolicy: 'USE_EXISTING',
      staticSummary: `the record of ${service}`,
    });
  const startEstate = (estate: string) =>
    new WithStartWorkflowOperation('cloudEstate', {
      workflowId: workflowIds.cloudEstate(estate),
      taskQueue,
      args: [{ v: 1, estate }],
      workflowIdConflictPolicy: 'USE_EXISTING',
      staticSummary: `the record of the estate ${estate}`,
    });
  /** The same in every attempt of this activity, so that a repeated update is the same update. */
  const updateId = (step: string) => {
    const { workflowExecution, activityId } = Context.current().info;
    return `${workflowExecution?.runId}-${activityId}-${step}`;
  };

  async function readEstate(estate: string): Promise<EstateRecord | undefined> {
    const known = await queryRecord(() =>
      client.workflow.getHandle(workflowIds.cloudEstate(estate)).query(estateRecord.record),
    );
    return known && EstateRecord.parse(known);
  }

  /** Nothing is changed by records that were rebuilt and that nobody has confirmed. */
  async function refuseUnconfirmed(estate: string): Promise<void> {
    const known = await readEstate(estate);
    if (known?.unconfirmed)
      throw ApplicationFailure.nonRetryable(
        `The records of the estate ${estate} were rebuilt and are read-only: nothing was changed. Compare them with what runs (npx multi-cloud status, npx multi-cloud doctor), then confirm them: ${confirmCommand(known.uid)}`,
        'Unconfirmed',
      );
  }

  return {
    /** Whether a run still lives. One that the server no longer knows does not. */
    async isRunning(run: Asker): Promise<boolean> {
      try {
        // Without the run ID: the same workflow ID keeps its lock over a reset or a continue-as-new.
        const { status } = await client.workflow.getHandle(run.workflowId).describe();
        return status.name === 'RUNNING' || status.name === 'PAUSED';
      } catch (error) {
        if (error instanceof WorkflowNotFoundError) return false;
        throw error;
      }
    },

    async openEstate({ estate }: { estate: string }): Promise<Identity> {
      const { uid, controller: recorded } = await client.workflow.executeUpdateWithStart(estateRecord.open, {
        startWorkflowOperation: startEstate(estate),
      });
      return { uid, controller: recorded || controller };
    },

    /** What was applied last, by whom; undefined before the first time. */
    async readApplied({ estate }: { estate: string }): Promise<EstateRecord['lastApplied']> {
      return (await readEstate(estate))?.lastApplied;
    },

    /** The record of the estate; undefined before its first run. */
    readEstate({ estate }: { estate: string }): Promise<EstateRecord | undefined> {
      return readEstate(estate);
    },

    /** A recovery of the whole estate may have it while it is unconfirmed. */
    async acquireEstate({ estate, holder }: { estate: string; holder: Holder }): Promise<Acquired> {
      if (holder.operation !== 'recover') await refuseUnconfirmed(estate);
      return client.workflow.executeUpdateWithStart(estateRecord.acquire, {
        args: [holder],
        updateId: updateId('acquire'),
        startWorkflowOperation: startEstate(estate),
      });
    },

    async releaseEstate({ estate, holder }: { estate: string; holder: Asker }): Promise<void> {
      await client.workflow.executeUpdateWithStart(estateRecord.release, {
        args: [holder],
        startWorkflowOperation: startEstate(estate),
      });
    },

    /** Tells whether another file was applied before. */
    recordApplied({ estate, file }: { estate: string; file: estateRecord.Applied }): Promise<boolean> {
      return client.workflow.executeUpdateWithStart(estateRecord.applied, {
        args: [file],
        startWorkflowOperation: startEstate(estate),
      });
    },

    async acquireService({
      estate,
      service,
      holder,
    }: {
      estate: string;
      service: string;
      holder: Holder;
    }): Promise<Acquired> {
      await refuseUnconfirmed(estate);
      return client.workflow.executeUpdateWithStart(serviceRecord.acquire, {
        args: [holder],
        updateId: updateId('acquire'),
        startWorkflowOperation: startService(estate, service),
      });
    },

    releaseService({
      estate,
      service,
      holder,
    }: {
      estate: string;
      service: string;
      holder: Asker;
    }): Promise<{ revision: number }> {
      return client.workflow.executeUpdateWithStart(serviceRecord.release, {
        args: [holder],
        startWorkflowOperation: startService(estate, service),
      });
    },

    async writeService({
      estate,
      service,
      request,
    }: {
      estate: string;
      service: string;
      request: serviceRecord.WriteRequest;
    }): Promise<void> {
      await client.workflow.executeUpdateWithStart(serviceRecord.write, {
        args: [request],
        updateId: `${request.runId}-${request.step}`,
        startWorkflowOperation: startService(estate, service),
      });
    },

    /** Puts rebuilt records in place: the estate's first, so that nothing is changed by those of its services. */
    async rebuild({ estate, services }: { estate: EstateRecord; services: ServiceRecord[] }): Promise<void> {
      const name = estate.estate;
      await client.workflow.executeUpdateWithStart(estateRecord.rebuild, {
        args: [estate],
        updateId: updateId('rebuild'),
        startWorkflowOperation: startEstate(name),
      });
      for (const record of services)
        await told(
          client.workflow.executeUpdateWithStart(serviceRecord.rebuild, {
            args: [record],
            updateId: updateId('rebuild'),
            startWorkflowOperation: startService(name, record.service),
          }),
        );
    },

    /** Ends the read-only time of rebuilt records. */
    async confirmRebuilt({ estate }: { estate: string }): Promise<void> {
      await client.workflow.executeUpdateWithStart(estateRecord.confirm, {
        startWorkflowOperation: startEstate(estate),
      });
    },

    /** Notes what a scan has found, unless somebody works on the service. */
    async noteOrphans({
      estate,
      service,
      orphans,
    }: {
      estate: string;
      service: string;
      orphans: Orphan[];
    }): Promise<void> {
      await client.workflow.executeUpdateWithStart(serviceRecord.noteOrphans, {
        args: [orphans],
        updateId: updateId('orphans'),
        startWorkflowOperation: startService(estate, service),
      });
    },

    /** Says in the record of a service that its sides are kept in step; `null`: no longer. */
    async noteReplication({
      estate,
      service,
      replication,
    }: {
      estate: string;
      service: string;
      replication: Replicating | null;
    }): Promise<void> {
      await client.workflow.executeUpdateWithStart(serviceRecord.noteReplication, {
        args: [replication],
        updateId: updateId('replication'),
        startWorkflowOperation: startService(estate, service),
      });
    },

    /**
     * Waits until the record says something else than `known` of who works on the service and where it is; answers what it says.
     * By its summary alone: that costs no worker anything.
     */
    async awaitRecord({ estate, service, known }: { estate: string; service: string; known: string }): Promise<string> {
      for (;;) {
        heartbeat();
        const now = await shownOf(client, workflowIds.cloudService(estate, service));
        if (now !== known) return now;
        await Context.current().sleep(recordPollMs);
      }
    },

    /** Ends when nobody keeps the sides of a service in step any more, for as long as this run has its lock. */
    async askToStandAside({ estate, service, holder }: { estate: string; service: string; holder: Holder }) {
      const handle = client.workflow.getHandle(workflowIds.replicateService(estate, service));
      const context = Context.current();
      const beat = setInterval(() => context.heartbeat(), 1000);
      try {
        await handle.executeUpdate<void, [StandAside]>('standAside', {
          args: [{ holder }],
          updateId: updateId('aside'),
        });
      } catch (error) {
        if (error instanceof WorkflowNotFoundError) return;
        // It may have ended meanwhile.
        if ((await handle.describe()).status.name !== 'RUNNING') return;
        throw error;
      } finally {
        clearInterval(beat);
      }
    },

    /** Begins to keep the sides of these services in step; a run that does so already hears that the file may have changed. */
    async startReplications({ estate, services }: { estate: string; services: readonly string[] }): Promise<void> {
      for (const service of services) {
        const running = client.workflow.getHandle(workflowIds.replicateService(estate, service));
        const asked: [Reconfiguration] = [{ by: 'the estate file' }];
        const update = { args: asked, updateId: updateId(service), waitForStage: 'ACCEPTED' as const };
        const told = await running.startUpdate<Reconfigured, [Reconfiguration]>('reconfigure', update).then(
          () => true,
          (error: unknown) => {
            if (error instanceof WorkflowNotFoundError) return false;
            throw error;
          },
        );
        if (told) continue;
        await client.workflow.start('replicateService', {
          workflowId: workflowIds.replicateService(estate, service),
          taskQueue,
          args: [{ v: 1, estate, service, by: 'the estate file' }],
          workflowIdConflictPolicy: 'USE_EXISTING',
          staticSummary: `keeps the sides of ${service} in step`,
        });
      }
    },

    /** The records of all services that the estate has ever had. */
    async readServices({ estate }: { estate: string }): Promise<Record<string, ServiceRecord>> {
      const prefix = workflowIds.cloudService(estate, '');
      const names = new Set<string>();
      for (const name of (await readEstate(estate))?.services ?? []) names.add(name);
      const query = `WorkflowType = "cloudService" AND ExecutionStatus = "Running" AND Estate = "${estate}"`;
      for await (const { workflowId } of client.workflow.list({ query }))
        if (workflowId.startsWith(prefix)) names.add(workflowId.slice(prefix.length));
      const records = await Promise.all(
        [...names].sort().map(async (service) => {
          const found = await queryRecord(() =>
            client.workflow.getHandle(workflowIds.cloudService(estate, service)).query(serviceRecord.record),
          );
          return found ? ([service, ServiceRecord.parse(found)] as const) : undefined;
        }),
      );
      return Object.fromEntries(records.filter((entry) => entry !== undefined));
    },

    /** Tells the holder of a lock to stop at its next safe point. One that has just ended needs no telling. */
    async askToYield({ holder, request }: { holder: Holder; request: YieldRequest }): Promise<void> {
      try {
        await client.workflow.getHandle(holder.workflowId).signal('yieldTo', request);
      } catch (error) {
        if (!(error instanceof WorkflowNotFoundError)) throw error;
      }
    },

    /** Waits for the end of a run, whatever it is. */
    async awaitEnd({ workflowId, runId }: Asker): Promise<void> {
      const beat = setInterval(() => heartbeat(), 5000);
      try {
        await client.workflow.getHandle(workflowId, runId).result();
      } catch (error) {
        if (!(error instanceof WorkflowFailedError || error instanceof WorkflowNotFoundError)) throw error;
      } finally {
        clearInterval(beat);
      }
    },

    /** Waits for the end of the run that does the very same thing, and ends as it does. */
    async awaitHolder({ workflowId, runId }: Asker): Promise<OperationResult> {
      const beat = setInterval(() => heartbeat(), 5000);
      try {
        return await client.workflow.getHandle<() => Promise<OperationResult>>(workflowId, runId).result();
      } catch (error) {
        if (error instanceof WorkflowFailedError) {
          const failure = error.cause instanceof ApplicationFailure ? error.cause : undefined;
          throw ApplicationFailure.nonRetryable(
            `${workflowId}, which did the same, failed: ${error.cause?.message ?? error.message}`,
            failure?.type ?? 'OperationInProgress',
          );
        }
        throw error;
      } finally {
        clearInterval(beat);
      }
    },
  };
}

const recordPollMs = 1000;

async function shownOf(client: Client, workflowId: string): Promise<string> {
  try {
    const { memo } = await client.workflow.getHandle(workflowId).describe();
    const parsed = ServiceSummary.safeParse(memo?.summary);
    if (!parsed.success) return 'unknown';
    const { status, operation, placements } = parsed.data;
    const where = placements.map(({ provider, region, role }) => [provider, region, role]);
    return JSON.stringify([status === 'removed', operation?.operation, operation?.workflowId, where]);
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return 'none';
    throw error;
  }
}

/** What a record's own check refuses is final. */
async function told<T>(update: Promise<T>): Promise<T> {
  try {
    return await update;
  } catch (error) {
    if (error instanceof WorkflowUpdateFailedError && error.cause instanceof ApplicationFailure)
      throw ApplicationFailure.nonRetryable(error.cause.message, error.cause.type ?? 'InvalidInput');
    throw error;
  }
}

/** A record that does not exist is no record; every other failure is one. */
async function queryRecord<T>(read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return undefined;
    if (isGrpcServiceError(error) && error.code === 5) return undefined;
    throw error;
  }
}
