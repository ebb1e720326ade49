/**
 * The typed client: what another service imports to deploy, look at and remove an estate.
 *
 *     const estate = await connect({ address: '127.0.0.1:7233', namespace: 'default' });
 *     const deployment = await estate.deploy();
 *     const result = await deployment.result();
 *
 * It starts workflows and reads their records; it holds no cloud credentials and reaches no cloud.
 */
import { randomBytes } from 'node:crypto';
import {
  Client,
  Connection,
  type ConnectionOptions,
  type DataConverter,
  WorkflowExecutionAlreadyStartedError,
  WorkflowNotFoundError,
} from '@temporalio/client';
import type { ConflictPage } from '../model/conflict-view.ts';
import {
  type AuditVerdict,
  type CheckDevicesInput,
  type DevicesCheck,
  type EstateCheck,
  type EstatePlan,
  taskQueue,
  workflowIds,
} from '../model/operations.ts';
import { type EstateRecord, type ServiceRecord, ServiceSummary } from '../model/record.ts';
import type { Wave } from '../model/wave-settings.ts';
import { OperationHandle, ReplicationHandle } from './operation-handle.ts';

export type { Conflict, ConflictPage, RestoreResult } from '../model/conflict-view.ts';
export type { Endpoint, EndpointRecord } from '../model/endpoint-record.ts';
export type {
  AuditVerdict,
  CheckDevicesInput,
  DevicesCheck,
  EstateCheck,
  EstatePlan,
  OperationResult,
  Rebuilt,
  RehearsalResult,
  SteerResult,
  VerifyResult,
} from '../model/operations.ts';
export type { AuditEntry, Progress } from '../model/progress.ts';
export type { ServiceRecord, ServiceSummary } from '../model/record.ts';
export type { DirectionLag, ReplicationLag } from '../model/replicate.ts';
export { type CodecKeys, encryptedConverter, readCodecKeys } from '../temporal/codec.ts';
export { type TemporalAccess, type TemporalSettings, temporalAccess } from '../temporal/connection.ts';
export {
  type EndpointOptions,
  type FollowedEndpoint,
  type FollowOptions,
  followEndpoint,
  resolveEndpoint,
} from './endpoint.ts';
export { OperationFailed, OperationHandle, ReplicationHandle } from './operation-handle.ts';

export interface ConnectOptions {
  /** Of the Temporal server's frontend. */
  address?: string;
  namespace?: string;
  /** Name of the estate. */
  estate?: string;
  /** TLS, API key, metadata: as the Temporal SDK takes them, and as `temporalAccess({})` finds them. */
  connection?: Omit<ConnectionOptions, 'address'>;
  /** The same as the workers', where they have one: `encryptedConverter(readCodecKeys(file))`. */
  dataConverter?: DataConverter;
}

/** Sections of an estate file that a run may carry instead of the worker's. */
export interface FileSections {
  services?: Record<string, unknown>;
  placement?: Record<string, unknown>;
  cost?: Record<string, unknown>;
}

export interface PlanOptions {
  file?: FileSections | undefined;
  /** Digests of the other sections of that file: the run is refused where they differ from the worker's own. */
  others?: Record<string, string> | undefined;
  /** Who asks: values that others have applied since are listed in the plan. */
  by?: string | undefined;
}

export interface DeployOptions extends PlanOptions {
  /** `manual`: the run asks before it changes anything. */
  approval?: 'none' | 'manual';
  /** Take back values that somebody else has applied since, without asking. */
  revert?: boolean;
}

export async function connect({
  address = '127.0.0.1:7233',
  namespace = 'default',
  estate = 'multi-cloud',
  connection,
  dataConverter,
}: ConnectOptions = {}): Promise<EstateClient> {
  const connected = await Connection.connect({ ...connection, address, connectTimeout: '5s' });
  return new EstateClient(
    new Client({ connection: connected, namespace, ...(dataConverter && { dataConverter }) }),
    estate,
    address,
  );
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

  /**
   * Starts `deployEstate`. A plain one joins the run that is going; one that asks for something of its own runs beside it
   * and is refused as `OperationInProgress`, unless both turn out to do the same.
   */
  deploy(options: DeployOptions = {}): Promise<OperationHandle> {
    return this.#start('deployEstate', workflowIds.deployEstate(this.name), options, isPlain(options));
  }

  deployService(service: string, options: DeployOptions = {}): Promise<OperationHandle> {
    const id = workflowIds.deployService(this.name, service);
    return this.#start('deployService', id, { service, ...options }, isPlain(options));
  }

  /**
   * Moves a service from one cloud to another. It asks before it cuts over (`progress().waitingFor`, then `approve` or
   * `reject`), and ends once the soak is over. `soak` and `source_retention` take the place of the estate file's.
   */
  migrate(input: {
    service: string;
    from: string;
    to: string;
    soak?: string | undefined;
    source_retention?: string | undefined;
    /** Whether older versions of objects go too; else what the estate file says. */
    versions?: boolean | undefined;
    /** How a fleet goes: percentages, or cohorts. */
    waves?: Wave[] | undefined;
    approve_waves?: boolean | undefined;
    devices_per_second?: number | undefined;
    /** How long a wave has to arrive: `10m`. */
    wave_window?: string | undefined;
    wave_seen?: number | undefined;
    wave_rate?: number | undefined;
    wave_errors?: number | undefined;
    canary?: boolean | undefined;
    by?: string | undefined;
  }): Promise<OperationHandle> {
    return this.#start('migrateService', workflowIds.migrateService(this.name, input.service), input);
  }

  /**
   * Spreads the traffic of a service with a front of its own over its placements, in steps: `weights` by provider, in whatever
   * proportion. Without them it looks only: `outcome<SteerResult>()` tells what is.
   */
  steer(input: {
    service: string;
    weights?: Record<string, number> | undefined;
    /** Percentages of the way; default 1, 10, 50, 100. */
    steps?: number[] | undefined;
    /** How long each step is watched: `1m`. */
    hold?: string | undefined;
    /** Largest share of requests, 0 to 1, that may fail at a target which was given more. */
    max_errors?: number | undefined;
    approval?: 'none' | 'manual' | undefined;
    by?: string | undefined;
  }): Promise<OperationHandle> {
    return this.#start('steerService', workflowIds.steerService(this.name, input.service), input);
  }

  /**
   * Moves a sample (`1%`) of a service's objects under another name, takes it back, and tells what the whole would take:
   * `(await handle.outcome<RehearsalResult>()).rehearsal`. The service itself is only read.
   */
  rehearse(input: {
    service: string;
    from: string;
    to: string;
    sample: string;
    by?: string | undefined;
  }): Promise<OperationHandle> {
    return this.#start('rehearseMigration', workflowIds.rehearseMigration(this.name, input.service), input);
  }

  /** `confirm` is `<estate>/<service>`; without it a protected service is not removed. */
  remove(input: {
    service: string;
    confirm?: string | undefined;
    /** Only what a migration has left behind. */
    retained?: boolean | undefined;
    by?: string | undefined;
  }): Promise<OperationHandle> {
    return this.#start('removeService', workflowIds.removeService(this.name, input.service), input);
  }

  /** What `deploy` would do now. Changes nothing. */
  async plan({ file, others, by }: PlanOptions = {}): Promise<EstatePlan> {
    const id = randomBytes(4).toString('hex');
    const started = await this.#start('planEstate', workflowIds.planEstate(this.name, id), { file, others, by });
    return started.outcome<EstatePlan>();
  }

  /** Finishes, or takes back, what an interrupted run has begun; removes what no record knows. */
  recover(input: {
    service: string;
    direction?: 'finish' | 'undo' | undefined;
    by?: string | undefined;
  }): Promise<OperationHandle> {
    return this.#start('recoverService', workflowIds.recoverService(this.name, input.service), input);
  }

  /**
   * After a lost Temporal database: makes the records again from the records buckets, read-only until `confirm` is called with
   * the UID that the result names. `uid` says which estate of this name is meant, where the accounts hold several.
   */
  rebuild(input: { uid?: string | undefined; by?: string | undefined } = {}): Promise<OperationHandle> {
    return this.#start('rebuildEstate', workflowIds.rebuildEstate(this.name), input);
  }

  confirm(input: { uid: string; by?: string | undefined }): Promise<OperationHandle> {
    const { uid: confirm, by } = input;
    return this.#start('rebuildEstate', workflowIds.rebuildEstate(this.name), { confirm, by });
  }

  /**
   * Compares the placements of a service object by object; `repair` makes those that only keep copies equal to the current
   * one. `from`: which one counts, where several are current. What it found: `(await handle.outcome<VerifyResult>()).verified`.
   */
  verify(input: {
    service: string;
    from?: string | undefined;
    repair?: boolean | undefined;
    by?: string | undefined;
  }): Promise<OperationHandle> {
    return this.#start('verifyService', workflowIds.verifyService(this.name, input.service), input);
  }

  /** A page of what has lost conflicts in the last week, or since then; `after`: what the page before gave as `next`. */
  async conflicts(input: {
    service: string;
    /** ISO time. */
    since?: string | undefined;
    after?: string | undefined;
  }): Promise<ConflictPage> {
    const id = workflowIds.checkConflicts(this.name, input.service, randomBytes(4).toString('hex'));
    return (await this.#start('checkConflicts', id, input)).outcome<ConflictPage>();
  }

  /**
   * Writes what has lost a conflict back, as a user's change of now: on the side that it was lost on, or on `to`, under its own
   * key, or as another. `(await handle.outcome<RestoreResult>()).restored` says where it is.
   */
  restoreConflict(input: {
    service: string;
    id: string;
    to?: string | undefined;
    as?: string | undefined;
    by?: string | undefined;
  }): Promise<OperationHandle> {
    return this.#start('restoreConflict', workflowIds.restoreConflict(this.name, input.service, input.id), input);
  }

  /**
   * Keeps the sides of a service in step, as the estate file wishes or as it is asked here, until it is cancelled. A run that does
   * so already goes on as it is asked here, and as the file wishes by now. `lag()` of the handle tells how far behind each direction is.
   */
  async replicate(input: {
    service: string;
    mode?: 'active-active' | 'active-passive' | undefined;
    /** The provider whose side takes the writes, or stands against all others. */
    source?: string | undefined;
    conflict_resolution?: 'last-write-wins' | 'source-wins' | 'keep-both' | undefined;
    latency_threshold_ms?: number | undefined;
    max_deletes?: number | undefined;
    topology?: 'mesh' | 'ring' | undefined;
    by?: string | undefined;
  }): Promise<ReplicationHandle> {
    const id = workflowIds.replicateService(this.name, input.service);
    const { joined } = await this.#start('replicateService', id, input, true);
    const handle = new ReplicationHandle(this.temporal.workflow.getHandle(id), joined);
    const { service: _, ...asked } = input;
    if (joined) await handle.reconfigure(asked);
    return handle;
  }

  /** The run that keeps the sides of a service in step, whether there is one or not. */
  replication(service: string): ReplicationHandle {
    return new ReplicationHandle(this.temporal.workflow.getHandle(workflowIds.replicateService(this.name, service)));
  }

  /** Looks at every cloud and every record: what is the matter, and what to do. Changes nothing in the clouds. */
  async check({ by }: { by?: string | undefined } = {}): Promise<EstateCheck> {
    const id = randomBytes(4).toString('hex');
    const started = await this.#start('checkEstate', workflowIds.checkEstate(this.name, id), { by });
    return started.outcome<EstateCheck>();
  }

  /** Looks at the devices of an `iot_core` service: what a registry holds, how two differ, pages of what was written of it. */
  async devices(input: CheckDevicesInput): Promise<DevicesCheck> {
    const started = await this.#start('checkDevices', workflowIds.checkDevices(this.name, input.service), input);
    return started.outcome<DevicesCheck>();
  }

  /** Registers the devices of one placement of an `iot_core` service at another; asks about those that it could not. */
  copyFleet(input: {
    service: string;
    from: string;
    to: string;
    calls_per_second?: number | undefined;
    by?: string | undefined;
  }): Promise<OperationHandle> {
    return this.#start('copyFleet', workflowIds.copyFleet(this.name, input.service), input);
  }

  /** Judges the audit trail of a run as the records buckets keep it: the latest run of the workflow where none is named. */
  async verifyAudit(workflowId: string, run?: string): Promise<AuditVerdict> {
    const id = randomBytes(4).toString('hex');
    const runId = run ?? (await this.temporal.workflow.getHandle(workflowId).describe()).runId;
    const started = await this.#start('verifyAudit', workflowIds.verifyAudit(this.name, id), { workflowId, runId });
    return started.outcome<AuditVerdict>();
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

  async #start(type: string, workflowId: string, input: object, join = false): Promise<OperationHandle> {
    const start = (id: string) =>
      this.temporal.workflow.start(type, {
        taskQueue,
        workflowId: id,
        args: [{ estate: this.name, ...defined(input) }],
        workflowIdConflictPolicy: 'FAIL',
      });
    try {
      return new OperationHandle(await start(workflowId));
    } catch (error) {
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
      if (join) return new OperationHandle(this.temporal.workflow.getHandle(workflowId), true);
      return new OperationHandle(await start(`${workflowId}-${randomBytes(4).toString('hex')}`));
    }
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

/** Asks for what the worker's file says, and nothing else. */
const isPlain = ({ file, approval, revert }: DeployOptions): boolean =>
  file === undefined && approval !== 'manual' && !revert;

const defined = (input: object): object =>
  Object.fromEntries(Object.entries(input).filter(([, value]) => value !== undefined));
