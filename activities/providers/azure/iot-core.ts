/**
 * iot_core on Azure: devices talk to an IoT hub, which routes their telemetry to an event hub that programs read. Nobody
 * holds a shared key: the hub writes with its own identity, the workers with theirs, devices prove themselves by certificate.
 */
import { IotCoreConfiguration } from '../../../model/configuration.ts';
import { CloudError } from '../../../model/errors.ts';
import { justInTimeRefusal } from '../../../model/just-in-time.ts';
import { resourceName, toTags } from '../../../model/names.ts';
import type { Placement, ProviderType, ResourceSpec } from '../../../model/service.ts';
import { cheapestKind } from '../../../model/sizing.ts';
import type { Cell, Check, Health, Observed, ProviderSettings } from '../driver.ts';
import type { AzureClients } from './clients.ts';
import { namespaceChecks, type StreamLoad, streamRetentionDays, streamSpecs } from './event-hubs.ts';
import { eventHubDrivers } from './event-hubs-drivers.ts';
import { deviceCanary } from './iot-canary.ts';
import { iotHubDriver } from './iot-hub.ts';
import { iotHubCertificateDriver, iotHubReadersDriver, thumbprintOf } from './iot-hub-parts.ts';
import { iotHubRouteDriver, routeDesired } from './iot-hub-route.ts';
import { ownerOfScope, resourceGroupDriver, resourceGroupSpec } from './resource-group.ts';
import { roleAssignmentDriver, roleSpec, worker } from './role-assignment.ts';
import { followerDriver } from './telemetry.ts';

/** Devices report in messages of at most 4 KB, the size by which IoT Hub counts. */
const messageKb = 4;

/**
 * Messages a day that one unit of each edition takes, most units a hub has, and the price of a unit (USD a month, West US 2),
 * https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-quotas-throttling and the price list (2026-11-24). A unit's
 * throttle (12, 120, 6000 sends a second) lies above its daily quota, so the quota alone decides. The free edition is never
 * chosen.
 */
const editions = [
  { sku: 'S1', capacity: 400_000, maxUnits: 200, price: 25 },
  { sku: 'S2', capacity: 6_000_000, maxUnits: 200, price: 250 },
  { sku: 'S3', capacity: 300_000_000, maxUnits: 10, price: 2_500 },
] as const;

/** The cheapest edition and number of units that take the fleet's messages; beyond what one hub can do, the largest. */
export function hubSize(messagesPerSecond: number): { sku: string; units: number } {
  const best = cheapestKind(messagesPerSecond * 86_400, editions);
  return { sku: best?.kind.sku ?? 'S1', units: Math.max(1, best?.units ?? 1) };
}

const configurationOf = (placement: Placement) => IotCoreConfiguration.parse(placement.configuration);

export function telemetryLoad(placement: Placement): StreamLoad {
  const { message_rate, retention_days } = configurationOf(placement);
  const mbytes = (message_rate * messageKb) / 1024;
  return {
    peakMbytesPerSecond: mbytes,
    peakEventsPerSecond: message_rate,
    averageMbytesPerSecond: mbytes,
    retentionDays: retention_days,
  };
}

function design(placement: Placement, deviceCa: string | undefined): ResourceSpec[] {
  const refusal = justInTimeRefusal(placement.providerType, placement.configuration);
  if (refusal !== undefined) {
    const fields = { kind: 'NotSupported' as const, provider: placement.provider, operation: 'design' };
    throw new CloudError({ ...fields, resource: placement.owner.service }, refusal);
  }
  const configuration = configurationOf(placement);
  const { sku, units } = hubSize(configuration.message_rate);
  const name = resourceName(placement, { limit: 50 });
  const stream = streamSpecs(placement, { name: 'telemetry', partitions: 8 }, telemetryLoad(placement));
  const namespace = stream.find(({ key }) => key === 'namespace')?.name ?? '';
  const hub: ResourceSpec = {
    key: 'hub',
    kind: 'azure.iothub.hub',
    name,
    needs: ['group'],
    desired: {
      location: placement.region,
      sku,
      units,
      minimumTlsVersion: '1.2',
      localAuth: false,
      deviceKeys: false,
      identity: 'SystemAssigned',
      partitions: 4,
      retentionDays: streamRetentionDays(configuration.retention_days),
      tags: toTags(placement.owner),
    },
    holdsData: true,
  };
  const authority: ResourceSpec[] = deviceCa
    ? [
        {
          key: 'device-authority',
          kind: 'azure.iothub.certificate',
          name: `${name}/device-authority`,
          needs: ['hub'],
          desired: { thumbprint: thumbprintOf(deviceCa), verified: true },
          holdsData: false,
        },
      ]
    : [];
  return [
    resourceGroupSpec(placement),
    ...stream,
    hub,
    ...authority,
    {
      key: 'hub-readers',
      kind: 'azure.iothub.consumer-group',
      name: `${name}/multi-cloud`,
      needs: ['hub'],
      desired: {},
      holdsData: false,
    },
    roleSpec(placement, 'hub-sends', 'Azure Event Hubs Data Sender', 'stream', 'hub'),
    roleSpec(placement, 'worker-reads', 'Azure Event Hubs Data Receiver', 'stream', worker),
    roleSpec(placement, 'worker-registers', 'IoT Hub Data Contributor', 'hub', worker),
    {
      key: 'route',
      kind: 'azure.iothub.route',
      name: `${name}/telemetry`,
      needs: ['hub', 'stream', 'hub-sends'],
      desired: routeDesired(namespace, 'telemetry'),
      holdsData: false,
    },
  ];
}

function verify(placement: Placement, observed: Record<string, Observed>): Check[] {
  const { hub, namespace, stream, route } = observed;
  const asked = configurationOf(placement).retention_days;
  const roles = ['hub-sends', 'worker-reads', 'worker-registers'];
  const days = Number(stream?.properties.retentionHours ?? 0) / 24;
  const name = `IoT hub ${hub?.id.split('/').at(-1) ?? ''}`;
  const { minimumTlsVersion, localAuth, deviceKeys } = hub?.properties ?? {};
  const keyless = localAuth === false && deviceKeys === false;
  return [
    { name: 'encryption at rest', resource: name, ok: hub !== undefined, found: 'Microsoft-managed keys, always on' },
    {
      name: 'TLS only',
      resource: name,
      ok: minimumTlsVersion === '1.2',
      found: `at least TLS ${String(minimumTlsVersion)}`,
    },
    {
      name: 'no public access',
      resource: name,
      ok: keyless,
      found: keyless ? 'Entra identities and device certificates only' : 'takes shared keys',
    },
    ...namespaceChecks(namespace),
    {
      name: 'retention',
      resource: 'telemetry stream',
      ok: days >= streamRetentionDays(asked),
      found: days < asked ? `${days} days, the most that this tier keeps (${asked} asked)` : `${days} days`,
    },
    {
      name: 'least privilege',
      resource: name,
      ok: roles.every((key) => observed[key]?.properties.on === (key === 'worker-registers' ? 'hub' : 'stream')),
      found: `${roles.filter((key) => observed[key]).length} roles, each on one resource; route ${String(route?.properties.authentication)}`,
    },
  ];
}

export function iotCoreCell(clients: AzureClients, settings: ProviderSettings): Cell {
  const { deviceCa } = settings;
  return {
    provider: 'azure' satisfies ProviderType,
    type: 'iot_core',
    design: (placement) => design(placement, deviceCa),
    resources: [
      resourceGroupDriver(clients),
      ...eventHubDrivers(clients, telemetryLoad),
      iotHubDriver(clients),
      iotHubCertificateDriver(clients, deviceCa),
      iotHubReadersDriver(clients),
      iotHubRouteDriver(clients),
      roleAssignmentDriver(clients, (id, call) => ownerOfScope(clients, id, call)),
      followerDriver(clients, telemetryLoad),
    ],
    verify,
    health: async (_placement, observed): Promise<Health> => {
      const missing = ['hub', 'namespace', 'stream', 'route'].filter((key) => observed[key]?.state !== 'ready');
      return missing.length > 0
        ? { healthy: false, detail: `not ready: ${missing.join(', ')}` }
        : { healthy: true, detail: 'hub active, telemetry routed to its event hub' };
    },
    canary: (_placement, observed, signal) =>
      deviceCanary(
        {
          hubHost: observed.hub?.outputs.host ?? '',
          namespaceHost: observed.stream?.outputs.namespace ?? '',
          eventHub: observed.stream?.outputs.hub ?? '',
          consumerGroup: observed['stream-readers']?.outputs.group ?? '',
        },
        clients.credential,
        signal,
      ),
    endpoint: (_placement, observed) => `mqtts://${observed.hub?.outputs.host ?? ''}:8883`,
  };
}
