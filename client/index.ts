/**
 * The typed client: what another service imports to deploy, look at and remove an estate.
 *
 *     const estate = await connect({ address: '127.0.0.1:7233', namespace: 'default' });
 *     const deployment = await estate.deploy();
 *     const result = await deployment.result();
 *
 * It starts workflows and reads their records; it holds no cloud credentials and reaches no cloud.
 */
import { Client, Connection, type ConnectionOptions, WorkflowNotFoundError } from '@temporalio/client';
import { type EstatePlan, taskQueue, workflowIds } from '../model/operations.ts';
import { type EstateRecord, type ServiceRecord, ServiceSummary } from '../model/record.ts';
import { OperationHandle } from './operation-handle.ts';

export type { EstatePlan, OperationResult } from '../model/operations.ts';
export type { Progress } from '../model/progress.ts';
export { OperationFailed, OperationHandle } from './operation-handle.ts';

export interface ConnectOptions {
  /** Of the Temporal server's frontend. */
  address?: string;
  namespace?: string;
  /** Name of the estate. */
  estate?: string;
  /** TLS, API key, metadata: as the Temporal SDK takes them. */
  connection?: Omit<ConnectionOptions, 'address'>;
}

/** Sections of an estate file that a run may carry instead of the worker's. */
export interface FileSections {
  services?: Record<string, unknown>;
  placement?: Record<string, unknown>;
  cost?: Record<string, unknown>;
}

export interface DeployOptions {
  file?: FileSections | undefined;
  /** `manual`: the run asks before it changes anything. */
  approval?: 'none' | 'manual';
  /** Who asks, for the audit trail. */
  by?: string;
}

export async function connect({
  address = '127.0.0.1:7233',
  namespace = 'default',
  estate = 'multi-cloud',
  connection,
}: ConnectOptions = {}): Promise<EstateClient> {
  const connected = await Connection.connect({ ...connection, address, connectTimeout: '5s' });
  return new EstateClient(new Client({ connection: connected, namespace }), estate, address);
}

export class EstateClient {
  readonly temporal: Client;
  readonly name: string;
  readonly address: string;

  constructor(temporal: Client, name: string, address: string) {
    this.temporal = temporal;
    this.name = name;
    this.address = address;
  }

  /** Starts `deployEstate`. One that runs already is joined, not doubled. */
  deploy(options: DeployOptions = {}): Promise<OperationHandle> {
    return this.#start('deployEstate', workflowIds.deployEstate(this.name), options);
  }

  deployService(service: string, options: DeployOptions = {}): Promise<OperationHandle> {
    return this.#start('deployService', workflowIds.deployService(this.name, service), { service, ...options });
  }

  /** `confirm` is `<estate>/<service>`; without it a protected service is not removed. */
  remove({
    service,
    confirm,
    by,
  }: {
    service: string;
    confirm?: string | undefined;
    by?: string;
  }): Promise<OperationHandle> {
    return this.#start('removeService', workflowIds.removeService(this.name, service), {
      service,
      ...(confirm !== undefined && { confirm }),
      ...(by !== undefined && { by }),
    });
  }

  /** What `deploy` would do now. Changes nothing. */
  async plan(file?: FileSections): Promise<EstatePlan> {
    const id = `${Date.now().toString(36)}${Math.random().toString(36).slice(2, 6)}`;
    const started = await this.#start('planEstate', workflowIds.planEstate(this.name, id), file ? { file } : {});
    return started.outcome<EstatePlan>();
  }

  /** A run by its workflow ID. */
  handle(workflowId: string): OperationHandle {
    return new OperationHandle(this.temporal.workflow.getHandle(workflowId));
  }

  /** Every service of the estate, from one list of its records. */
  async status(): Promise<ServiceSummary[]> {
    const query = `WorkflowType = "cloudService" AND ExecutionStatus = "Running" AND Estate = "${this.name}"`;
    const summaries: ServiceSummary[] = [];
    for await (const { memo } of this.temporal.workflow.list({ query })) {
      const summary = ServiceSummary.safeParse(memo?.summary);
      if (summary.success) summaries.push(summary.data);
    }
    return summaries.sort((a, b) => (a.service < b.service ? -1 : 1));
  }

  /** Full record of a service; undefined where none was ever begun. */
  service(service: string): Promise<ServiceRecord | undefined> {
    return this.#record(workflowIds.cloudService(this.name, service));
  }

  estate(): Promise<EstateRecord | undefined> {
    return this.#record(workflowIds.cloudEstate(this.name));
  }

  /** Where readers and devices of a service go now: one address a current placement, by provider. */
  async endpoint(service: string): Promise<Record<string, string>> {
    const placements = (await this.service(service))?.placements ?? [];
    return Object.fromEntries(
      placements.filter(({ role }) => role === 'current').map(({ provider, endpoint }) => [provider, endpoint]),
    );
  }

  close(): Promise<void> {
    return this.temporal.connection.close();
  }

  async #start(type: string, workflowId: string, input: object): Promise<OperationHandle> {
    const handle = await this.temporal.workflow.start(type, {
      taskQueue,
      workflowId,
      args: [{ estate: this.name, ...input }],
      workflowIdConflictPolicy: 'USE_EXISTING',
    });
    return new OperationHandle(handle);
  }

  async #record<T>(workflowId: string): Promise<T | undefined> {
    try {
      return await this.temporal.workflow.getHandle(workflowId).query<T>('record');
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return undefined;
      throw error;
    }
  }
}
