/**
 * A worker inside the test process, in a Temporal namespace of its own beside the local stack's, so that a test can stand
 * between workflows and activities while everything below (drivers, SDKs, clouds) stays what it is.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client, Connection, isGrpcServiceError } from '@temporalio/client';
import {
  bundleWorkflowCode,
  DefaultLogger,
  IllegalStateError,
  NativeConnection,
  Runtime,
  Worker,
} from '@temporalio/worker';
import { createDeviceActivities } from '../../activities/devices/activities.ts';
import { createSenderActivities } from '../../activities/devices/sender.ts';
import { createWaveActivities } from '../../activities/devices/waves.ts';
import { createEstateActivities, type Waits } from '../../activities/estate/load.ts';
import { createPlacementActivities } from '../../activities/estate/place.ts';
import type { BulkActivities } from '../../activities/index.ts';
import { createNotifyActivities } from '../../activities/notify/activities.ts';
import { createProviderActivities } from '../../activities/providers/activities.ts';
import { ProviderPool } from '../../activities/providers/pool.ts';
import { createRegistryActivities } from '../../activities/registry/registry.ts';
import { createScheduleActivities } from '../../activities/registry/schedules.ts';
import { createFollowActivities } from '../../activities/replication/follow.ts';
import { createReplicateActivities, reportsBy } from '../../activities/replication/replicate.ts';
import { createSidesActivities } from '../../activities/replication/sides.ts';
import { createTelemetryActivities } from '../../activities/telemetry/follow.ts';
import { createBalancerActivities } from '../../activities/traffic/weights.ts';
import { createTransferActivities } from '../../activities/transfer/activities.ts';
import { loadPermissions, loadSheets } from '../../config/load.ts';
import { bulkQueue, providerQueue, taskQueue, urgentQueue, watchQueue } from '../../model/operations.ts';
import type { Identity } from '../../model/permissions.ts';
import { senderQueue } from '../../model/waves.ts';
import { type CodecKeys, encryptedConverter } from '../../temporal/codec.ts';
import { workflowBundle } from '../../workers/bundle.ts';
import { searchAttributes } from '../../workflows/search-attributes.ts';
import { localRun } from '../local/stack.ts';

export type ProviderActivities = ReturnType<typeof createProviderActivities>;

/** Secrets that a test gives in place of the environment's. */
export const secrets: Record<string, string> = {};

export interface OwnWorker {
  client: Client;
  pool: ProviderPool;
  close(): Promise<void>;
}

const root = join(import.meta.dirname, '../..');
/** As far away as the local clouds are. */
const defaultWaits: Waits = { callDeadlineMs: 10_000, settleMs: 1000, blockedMs: 500, followMs: 200, fenceMs: 300 };

interface OwnWorkerOptions {
  namespace: string;
  estateFile: string;
  /** May replace what the provider activities do. */
  wrap?: (real: ProviderActivities) => ProviderActivities;
  /** Other workflows than the product's own. */
  workflowsPath?: string;
  waits?: Waits;
  /** Encrypts payloads with these keys. */
  codecKeys?: CodecKeys;
  /** Whether it can move data, too; may replace what does it. */
  moves?: (real: BulkActivities) => BulkActivities;
  /** Credentials of what takes back and removes, where others than those of the rest. */
  undoSecrets?: Readonly<Record<string, string>>;
}

/** Starts workers for this estate file. */
export async function ownWorker({
  namespace,
  estateFile,
  wrap = (real) => real,
  workflowsPath,
  waits = defaultWaits,
  codecKeys,
  moves,
  undoSecrets,
}: OwnWorkerOptions): Promise<OwnWorker> {
  const run = localRun();
  const { address } = run.temporal;
  const connection = await Connection.connect({ address });
  await createNamespace(connection, namespace);
  const dataConverter = codecKeys && encryptedConverter(codecKeys);
  const client = new Client({ connection, namespace, ...(dataConverter && { dataConverter }) });
  const native = await NativeConnection.connect({ address });
  const { deviceCa, brokerTarball, pollMs, redirectKeyFile, claimAuthority } = JSON.parse(
    readFileSync(run.settings, 'utf8'),
  );
  const poolOf = (own: Readonly<Record<string, string>>): ProviderPool =>
    new ProviderPool({
      estateFile,
      deviceCa: readFileSync(deviceCa, 'utf8'),
      brokerTarball,
      pollMs,
      callDeadlineMs: waits.callDeadlineMs,
      secrets: () => ({ ...process.env, ...secrets, ...own }),
    });
  const pool = poolOf({});
  const undoPool = undoSecrets ? poolOf(undoSecrets) : pool;
  const { namespaceInfo } = await client.workflowService.describeNamespace({ namespace });
  const bundle = workflowsPath
    ? await bundleWorkflowCode({ workflowsPath })
    : await workflowBundle(root, join(root, '.local', 'bundles'), dataConverter?.failureConverterPath);
  const permissions = loadPermissions(join(root, 'config'));
  const activitiesOf = (of: ProviderPool, identities: readonly Identity[]): ProviderActivities =>
    wrap(createProviderActivities({ pool: of, pollMs, callDeadlineMs: waits.callDeadlineMs, permissions, identities }));
  const provider = activitiesOf(pool, undoSecrets ? ['control'] : ['control', 'undo']);
  const urgent = undoSecrets ? activitiesOf(undoPool, ['undo']) : provider;
  const common = { connection: native, namespace, ...(dataConverter && { dataConverter }) };
  const workers = [
    await Worker.create({
      ...common,
      taskQueue,
      workflowBundle: bundle,
      activities: {
        ...createRegistryActivities({ client, controller: namespaceInfo?.id ?? '' }),
        ...createScheduleActivities({ client }),
        ...createEstateActivities({ estateFile, waits }),
        ...createPlacementActivities({ sheets: loadSheets(join(root, 'config')) }),
        ...createBalancerActivities({ callDeadlineMs: waits.callDeadlineMs }),
        ...createNotifyActivities({ estateFile, secrets: () => ({ ...process.env, ...secrets }) }),
      },
    }),
  ];
  for (const name of pool.names()) {
    workers.push(await Worker.create({ ...common, taskQueue: providerQueue(name), activities: provider }));
    workers.push(await Worker.create({ ...common, taskQueue: urgentQueue(name), activities: urgent }));
  }
  if (moves) {
    const dependencies = { pool, pollMs, callDeadlineMs: waits.callDeadlineMs };
    const devices = createDeviceActivities(dependencies);
    const transfers = moves({ ...createTransferActivities(dependencies), ...devices });
    for (const source of pool.names())
      for (const target of pool.names().filter((name) => name !== source))
        workers.push(
          await Worker.create({ ...common, taskQueue: bulkQueue(source, target), activities: { ...transfers } }),
        );
    const activities = {
      ...createFollowActivities({ ...dependencies, ...transfers }),
      ...createTelemetryActivities(dependencies),
      ...createReplicateActivities({ ...dependencies, report: reportsBy(client) }),
      ...createSidesActivities(dependencies),
      ...devices,
      ...createWaveActivities(dependencies),
    };
    workers.push(
      await Worker.create({ ...common, taskQueue: watchQueue, maxHeartbeatThrottleInterval: '200ms', activities }),
    );
    const key = readFileSync(redirectKeyFile, 'utf8');
    const [certificate, caKey] = [claimAuthority.certificateFile, claimAuthority.keyFile].map((name: string) =>
      readFileSync(name, 'utf8'),
    ) as [string, string];
    const sender = createSenderActivities({ ...dependencies, key, authority: { certificate, key: caKey } });
    workers.push(await Worker.create({ ...common, taskQueue: senderQueue, activities: sender }));
  }
  const running = Promise.all(workers.map((worker) => worker.run()));
  return {
    client,
    pool,
    async close() {
      for (const worker of workers) worker.shutdown();
      await running;
      await pool.close();
      if (undoPool !== pool) await undoPool.close();
      await native.close();
      await connection.close();
    },
  };
}

export async function createNamespace(connection: Connection, namespace: string): Promise<void> {
  try {
    await connection.workflowService.registerNamespace({
      namespace,
      workflowExecutionRetentionPeriod: { seconds: 86_400 as never },
    });
  } catch (error) {
    // Of a worker that was there before.
    if (isGrpcServiceError(error) && error.code === 6) return;
    throw error;
  }
  const types = { KEYWORD: 2, KEYWORD_LIST: 7, DOUBLE: 4, BOOL: 5 } as Record<string, number>;
  const wanted = Object.fromEntries(Object.values(searchAttributes).map(({ name, type }) => [name, types[type] ?? 2]));
  for (let attempt = 0; ; attempt++) {
    try {
      await connection.operatorService.addSearchAttributes({ namespace, searchAttributes: wanted });
      return;
    } catch (error) {
      if (attempt >= 50) throw error; // a new namespace is known to the whole server a moment later
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
}

export function quietTemporal(): void {
  try {
    Runtime.install({ logger: new DefaultLogger('ERROR') });
  } catch (error) {
    // Test files share a process: another one has made it, and something of it is still open.
    if (!(error instanceof IllegalStateError)) throw error;
  }
}

/** Writes an estate file with the sample's three clouds and these services. */
export function writeEstate(file: string, name: string, services: object, more: object = {}): string {
  const estate = {
    ...more,
    name,
    providers: [
      {
        name: 'aws',
        type: 'aws',
        region: 'us-west-2',
        credentials: { access_key_id: '${AWS_ACCESS_KEY_ID}', secret_access_key: '${AWS_SECRET_ACCESS_KEY}' },
      },
      {
        name: 'azure',
        type: 'azure',
        region: 'westus2',
        credentials: {
          tenant_id: '${AZURE_TENANT_ID}',
          client_id: '${AZURE_CLIENT_ID}',
          client_secret: '${AZURE_CLIENT_SECRET}',
        },
      },
      {
        name: 'gcp',
        type: 'gcp',
        region: 'us-central1',
        credentials: { project_id: '${GCP_PROJECT_ID}', key_file: '${GCP_KEY_FILE}' },
      },
    ],
    services,
    compliance: { data_residency: { us: ['us-west-2', 'westus2', 'us-central1'] } },
  };
  writeFileSync(file, JSON.stringify(estate)); // JSON is YAML
  return file;
}
