/**
 * data_lake on Azure: a storage account with a flat namespace (a hierarchical one keeps no versions), its container, and an
 * event hub for what comes in.
 *
 * The catalogue is a convention here, not a resource: tables are Iceberg directories of the container, `catalogue/<database>/`,
 * whose metadata lie beside their data, so a migration that carries the objects carries the catalogue. In production Microsoft
 * Purview or a Fabric lakehouse registers that prefix; both belong to the tenant rather than to a placement, outlive it, and
 * are therefore not made or removed with it.
 */
import { DataLakeConfiguration } from '../../../model/configuration.ts';
import type { Placement } from '../../../model/service.ts';
import type { Cell, Health } from '../driver.ts';
import { feedDriver } from './change-feed.ts';
import type { AzureClients } from './clients.ts';
import { namespaceChecks, type StreamLoad, standardTier, streamSpecs } from './event-hubs.ts';
import { eventHubDrivers } from './event-hubs-drivers.ts';
import { ownerOfScope, resourceGroupDriver, resourceGroupSpec } from './resource-group.ts';
import { roleAssignmentDriver, roleSpec, worker } from './role-assignment.ts';
import { storageDrivers, storageSpecs } from './storage-account.ts';
import { storageChecks } from './storage-checks.ts';

/** Producers send batches of about this size; one throughput unit takes 1000 events a second. */
const eventKb = 64;
/** Share of the peak that comes in on average, as the estimate of its cost assumes. */
const averageShare = 0.05;

/** What is on its way to the container waits here for its writer: three days bridge a long weekend. */
const streamDays = 3;

export function ingestLoad(placement: Placement): StreamLoad {
  const { ingestion_rate_mbps } = DataLakeConfiguration.parse(placement.configuration);
  const peak = ingestion_rate_mbps / 8;
  return {
    peakMbytesPerSecond: peak,
    peakEventsPerSecond: (peak * 1024) / eventKb,
    averageMbytesPerSecond: peak * averageShare,
    retentionDays: streamDays,
  };
}

export function dataLakeCell(clients: AzureClients): Cell {
  return {
    provider: 'azure',
    type: 'data_lake',
    design(placement) {
      const { retention_days } = DataLakeConfiguration.parse(placement.configuration);
      const stream = { name: 'ingest', partitions: standardTier.maxPartitions };
      return [
        resourceGroupSpec(placement),
        ...storageSpecs(placement, retention_days),
        ...streamSpecs(placement, stream, ingestLoad(placement)),
        roleSpec(placement, 'worker-sends', 'Azure Event Hubs Data Sender', 'stream', worker),
        roleSpec(placement, 'worker-reads', 'Azure Event Hubs Data Receiver', 'stream', worker),
      ];
    },
    resources: [
      resourceGroupDriver(clients),
      ...storageDrivers(clients),
      feedDriver(clients),
      ...eventHubDrivers(clients, ingestLoad),
      roleAssignmentDriver(clients, (id, call) => ownerOfScope(clients, id, call)),
    ],
    verify: (_placement, observed) => [
      ...storageChecks(observed),
      ...namespaceChecks(observed.namespace),
      {
        name: 'retention',
        resource: 'ingest stream',
        ok: Number(observed.stream?.properties.retentionHours) >= streamDays * 24,
        found: `${String(observed.stream?.properties.retentionHours)} hours until it is in the container`,
      },
    ],
    health: async (_placement, observed): Promise<Health> => {
      const missing = ['account', 'container', 'namespace', 'stream'].filter((key) => observed[key]?.state !== 'ready');
      return missing.length > 0
        ? { healthy: false, detail: `not ready: ${missing.join(', ')}` }
        : { healthy: true, detail: 'account and ingest stream are ready' };
    },
    endpoint: (_placement, observed) =>
      `https://${observed.account?.outputs.name ?? ''}.blob.core.windows.net/${observed.container?.outputs.name ?? ''}`,
  };
}
