/**
 * Event Hubs: namespace, event hub, consumer group. A stream is a buffer between producers and the lake or the rules that
 * read it, bounded by its retention; what must be kept is written to a store, so none of these kinds holds data.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { resourceName, toTags } from '../../../model/names.ts';
import type { Placement, ResourceSpec } from '../../../model/service.ts';
import type { Check, Found, Observed } from '../driver.ts';

/**
 * Standard tier, https://learn.microsoft.com/azure/event-hubs/event-hubs-quotas (2026-11-24): one throughput unit takes
 * 1 MB/s or 1000 events/s in; 40 units a namespace; 32 partitions and 7 days of retention an event hub.
 */
export const standardTier = {
  mbytesPerUnit: 1,
  eventsPerUnit: 1000,
  maxUnits: 40,
  maxPartitions: 32,
  maxRetentionDays: 7,
};

/** Load on a stream: at its peak, and what it carries on average, from which it starts. */
export interface StreamLoad {
  peakMbytesPerSecond: number;
  peakEventsPerSecond: number;
  averageMbytesPerSecond: number;
  retentionDays: number;
}

const unitsFor = (mbytes: number, events: number): number =>
  Math.min(
    standardTier.maxUnits,
    Math.max(1, Math.ceil(mbytes / standardTier.mbytesPerUnit), Math.ceil(events / standardTier.eventsPerUnit)),
  );

/** Units to start with and to grow to; auto-inflate never shrinks again. */
export function streamSize(load: StreamLoad): { units: number; maxUnits: number } {
  const maxUnits = Math.max(2, unitsFor(load.peakMbytesPerSecond, load.peakEventsPerSecond));
  return { units: Math.min(maxUnits, unitsFor(load.averageMbytesPerSecond, 0)), maxUnits };
}

export const streamRetentionDays = (days: number): number => Math.min(days, standardTier.maxRetentionDays);

export const namespaceName = (placement: Placement): string => resourceName(placement, { limit: 50 });

/**
 * The specs of a namespace with one event hub that the consumer group `multi-cloud` reads. Nested names are
 * `<namespace>/<hub>`, as in ARM. Partitions cost nothing and can never change, so they do not follow the load.
 */
export function streamSpecs(
  placement: Placement,
  hub: { name: string; partitions: number },
  load: StreamLoad,
): ResourceSpec[] {
  const namespace = namespaceName(placement);
  return [
    {
      key: 'namespace',
      kind: 'azure.eventhub.namespace',
      name: namespace,
      needs: ['group'],
      desired: {
        location: placement.region,
        sku: 'Standard',
        autoInflate: true,
        maxUnits: streamSize(load).maxUnits,
        minimumTlsVersion: '1.2',
        localAuth: false,
        tags: toTags(placement.owner),
      },
      holdsData: false,
    },
    {
      key: 'stream',
      kind: 'azure.eventhub.hub',
      name: `${namespace}/${hub.name}`,
      needs: ['namespace'],
      desired: { partitions: hub.partitions, retentionHours: streamRetentionDays(load.retentionDays) * 24 },
      holdsData: false,
    },
    {
      key: 'stream-readers',
      kind: 'azure.eventhub.consumer-group',
      name: `${namespace}/${hub.name}/multi-cloud`,
      needs: ['stream'],
      desired: { metadata: 'readers of multi-cloud' },
      holdsData: false,
    },
  ];
}

export function namespaceChecks(namespace: Observed | undefined): Check[] {
  const resource = `Event Hubs ${namespace?.id.split('/').at(-1) ?? ''}`;
  const { minimumTlsVersion, localAuth } = namespace?.properties ?? {};
  const encrypted = { ok: namespace !== undefined, found: 'Microsoft-managed keys, always on' };
  const keyless = {
    ok: localAuth === false,
    found: localAuth === false ? 'Entra identities only' : 'takes shared keys',
  };
  return [
    { name: 'encryption at rest', resource, ...encrypted },
    { name: 'TLS only', resource, ok: minimumTlsVersion === '1.2', found: `at least TLS ${String(minimumTlsVersion)}` },
    { name: 'no public access', resource, ...keyless },
  ];
}

/** Untagged children cannot outlive the tagged resource that they are part of: finding that one finds them. */
export const goesWithItsParent = async (): Promise<Found[]> => [];

const closeMs = 1000;
interface Closable {
  close(): Promise<void>;
}
/** One after the other; a client whose connection goes down meanwhile may take minutes, and is left to itself. */
export async function closeSoon(...clients: (Closable | undefined)[]): Promise<void> {
  const closing = async (): Promise<void> => {
    for (const client of clients) await client?.close().catch(() => {});
  };
  await Promise.race([closing(), pause(closeMs)]);
}
