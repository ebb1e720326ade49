/** The worker: one program that serves the queues of the roles it is started in. Reads its settings, makes clients, holds no logic. */
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs, parseEnv } from 'node:util';
import { Client, Connection } from '@temporalio/client';
import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import { createDeviceActivities } from '../activities/devices/activities.ts';
import { createSenderActivities } from '../activities/devices/sender.ts';
import { createWaveActivities } from '../activities/devices/waves.ts';
import { createEstateActivities } from '../activities/estate/load.ts';
import { createPlacementActivities } from '../activities/estate/place.ts';
import { createNotifyActivities } from '../activities/notify/activities.ts';
import { createProviderActivities } from '../activities/providers/activities.ts';
import { ProviderPool } from '../activities/providers/pool.ts';
import { createRegistryActivities } from '../activities/registry/registry.ts';
import { createScheduleActivities } from '../activities/registry/schedules.ts';
import { createFollowActivities } from '../activities/replication/follow.ts';
import { createReplicateActivities, reportsBy } from '../activities/replication/replicate.ts';
import { createSidesActivities } from '../activities/replication/sides.ts';
import { createTelemetryActivities } from '../activities/telemetry/follow.ts';
import { createBalancerActivities } from '../activities/traffic/weights.ts';
import { createTransferActivities } from '../activities/transfer/activities.ts';
import { loadPermissions, loadSheets } from '../config/load.ts';
import { bulkQueue, providerQueue, taskQueue, urgentQueue, watchQueue } from '../model/operations.ts';
import { senderQueue } from '../model/waves.ts';
import { encryptedConverter, readCodecKeys } from '../temporal/codec.ts';
import { followApiKey, temporalAccess } from '../temporal/connection.ts';
import { workflowBundle } from './bundle.ts';
import { checkSearchAttributes } from './search-attributes.ts';
import { readSettings } from './settings.ts';

const root = resolve(import.meta.dirname, '..');
const roles = ['control', 'providers', 'provision', 'undo', 'bulk', 'watch', 'sender'] as const;

const { values } = parseArgs({
  options: { settings: { type: 'string' }, role: { type: 'string', multiple: true }, help: { type: 'boolean' } },
});
if (values.help) {
  process.stdout.write(
    `worker [--settings FILE] [--role ${roles.join('|')} ...]\n\n` +
      'Serves the task queues of the given roles (default: all of them):\n' +
      '  control    workflows, records and plans; holds no cloud credentials\n' +
      '  providers  the calls to each cloud of the estate file: the two that follow, with one set of credentials\n' +
      '  provision  what creates, repairs and verifies, with the credentials of the identity "control"\n' +
      '  undo       what takes back, removes and fences, with those of the identity "undo"\n' +
      '  bulk       moving data from each cloud of the estate file to each other, with those of the identity "bulk"\n' +
      '  watch      following what changes in one cloud, to keep another in step, with the same ones\n' +
      '  sender     telling devices where to go, with the same ones and the key of the setting "redirectKeyFile"; left out\n' +
      '             where no role is given and the setting is not there\n',
  );
  process.exit(0);
}

const settings = readSettings(values.settings);
const chosen = values.role ?? [...roles];
const { metricsAddress: bindAddress } = settings;
Runtime.install({
  logger: new DefaultLogger('WARN'),
  ...(bindAddress !== undefined && { telemetryOptions: { metrics: { prometheus: { bindAddress } } } }),
});

const { address, namespace, connection: access, apiKeyFile } = temporalAccess(settings.temporal);
const codecKeys = settings.codecKeys ?? process.env.MULTI_CLOUD_CODEC_KEYS;
const dataConverter = codecKeys === undefined ? undefined : encryptedConverter(readCodecKeys(codecKeys));
const { apiKey, ...security } = access;
const connection = await NativeConnection.connect({
  ...security,
  address,
  ...(apiKey && { apiKey: apiKey() }),
});
const unfollow = apiKeyFile === undefined ? () => {} : followApiKey(apiKeyFile, connection);
const client = new Client({
  connection: await Connection.connect({ ...access, address }),
  namespace,
  ...(dataConverter && { dataConverter }),
});
/** What all of these workers have in common. */
const common = { connection, namespace, ...(dataConverter && { dataConverter }) };
const { namespaceInfo } = await client.workflowService.describeNamespace({ namespace });
await checkSearchAttributes(client.connection, namespace);

const secrets = () => ({
  ...process.env,
  ...(settings.secretsFile && parseEnv(readFileSync(settings.secretsFile, 'utf8'))),
});
const pool = new ProviderPool({
  estateFile: settings.estateFile,
  allowedNames: settings.allowedNames,
  deviceCa: settings.deviceCa && readFileSync(settings.deviceCa, 'utf8'),
  brokerTarball: settings.brokerTarball,
  pollMs: settings.pollMs,
  callDeadlineMs: settings.waits.callDeadlineMs,
  secrets,
});
/** The queues of one provider that are served here, by the identity whose calls they are. */
const queues = {
  control: chosen.includes('providers') || chosen.includes('provision') ? providerQueue : undefined,
  undo: chosen.includes('providers') || chosen.includes('undo') ? urgentQueue : undefined,
};
const providerDependencies = {
  pool,
  pollMs: settings.pollMs,
  callDeadlineMs: settings.waits.callDeadlineMs,
  permissions: loadPermissions(settings.sheets),
  identities: (['control', 'undo'] as const).filter((identity) => queues[identity]),
  recordsDays: settings.recordsDays,
};

const workers: Worker[] = [];
if (chosen.includes('control'))
  workers.push(
    await Worker.create({
      ...common,
      taskQueue,
      // A worker that died leaves tasks on its own queue; the next one gets them after this.
      stickyQueueScheduleToStartTimeout: '2s',
      workflowBundle: await workflowBundle(root, join(root, '.local', 'bundles'), dataConverter?.failureConverterPath),
      activities: {
        ...createRegistryActivities({ client, controller: namespaceInfo?.id ?? '' }),
        ...createScheduleActivities({ client }),
        ...createEstateActivities({
          estateFile: settings.estateFile,
          allowedNames: settings.allowedNames,
          waits: settings.waits,
        }),
        ...createPlacementActivities({ sheets: loadSheets(settings.sheets) }),
        ...createBalancerActivities({ callDeadlineMs: settings.waits.callDeadlineMs }),
        ...createNotifyActivities({
          estateFile: settings.estateFile,
          allowedNames: settings.allowedNames,
          smtp: settings.smtp,
          secrets,
        }),
      },
    }),
  );
const providerActivities = createProviderActivities(providerDependencies);
for (const queue of [queues.control, queues.undo])
  if (queue)
    for (const name of pool.names())
      workers.push(await Worker.create({ ...common, taskQueue: queue(name), activities: providerActivities }));
const transfers = createTransferActivities(providerDependencies);
const devices = createDeviceActivities(providerDependencies);
if (chosen.includes('bulk')) {
  const activities = { ...transfers, ...devices };
  // Each may hold hundreds of MiB of bodies.
  const limits = { maxConcurrentActivityTaskExecutions: 1, maxConcurrentActivityTaskPolls: 1 };
  for (const source of pool.names())
    for (const target of pool.names())
      if (source !== target)
        workers.push(await Worker.create({ ...common, ...limits, taskQueue: bulkQueue(source, target), activities }));
}
if (chosen.includes('watch'))
  workers.push(
    await Worker.create({
      ...common,
      taskQueue: watchQueue,
      // A cutover waits for a pump to hear that it is to stop.
      maxHeartbeatThrottleInterval: '1s',
      activities: {
        ...createFollowActivities({ ...providerDependencies, ...transfers }),
        ...createTelemetryActivities(providerDependencies),
        ...createReplicateActivities({ ...providerDependencies, report: reportsBy(client) }),
        ...createSidesActivities(providerDependencies),
        ...devices,
        ...createWaveActivities(providerDependencies),
        ...createReplicateActivities({ ...providerDependencies, report: reportsBy(client) }),
      },
    }),
  );
const { redirectKeyFile, claimAuthority } = settings;
if (chosen.includes('sender') && (redirectKeyFile !== undefined || values.role)) {
  if (redirectKeyFile === undefined) throw new Error('The role sender needs the setting redirectKeyFile.');
  const key = readFileSync(redirectKeyFile, 'utf8').trim();
  const authority = claimAuthority && {
    certificate: readFileSync(claimAuthority.certificateFile, 'utf8'),
    key: readFileSync(claimAuthority.keyFile, 'utf8'),
  };
  const activities = createSenderActivities({ ...providerDependencies, key, authority });
  workers.push(await Worker.create({ ...common, taskQueue: senderQueue, activities }));
}

process.stdout.write(`ready ${workers.map(({ options }) => options.taskQueue).join(' ')}\n`);
try {
  await Promise.all(workers.map((worker) => worker.run()));
} finally {
  unfollow();
  await pool.close();
  await client.connection.close();
  await connection.close();
}
