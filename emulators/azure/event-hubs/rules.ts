/**
 * What Azure Resource Manager accepts for Event Hubs and what it makes of it: `Microsoft.EventHub/namespaces` and below,
 * version 2024-01-01. Pure; which statuses are answered, when an operation ends and where it is stored is the ARM core's.
 */
import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { accept, asObject, type Properties, Refusal } from '../arm/accept.ts';

const Tls = z.enum(['1.0', '1.1', '1.2', '1.3']);
export const Sku = z.strictObject({
  name: z.enum(['Basic', 'Standard', 'Premium']),
  tier: z.enum(['Basic', 'Standard', 'Premium']).optional(),
  capacity: z.int().min(1).max(40).default(1),
});
export const NamespaceProperties = z.strictObject({
  minimumTlsVersion: Tls.default('1.2'),
  clusterArmId: z.string().optional(),
  isAutoInflateEnabled: z.boolean().default(false),
  publicNetworkAccess: z.enum(['Enabled', 'Disabled', 'SecuredByPerimeter']).default('Enabled'),
  maximumThroughputUnits: z.int().min(0).max(40).default(0),
  kafkaEnabled: z.boolean().default(true),
  zoneRedundant: z.boolean().default(true),
  encryption: z.json().optional(),
  geoDataReplication: z.json().optional(),
  ipV6Enabled: z.boolean().optional(),
  platformCapabilities: z.json().optional(),
  privateEndpointConnections: z.array(z.json()).optional(),
  disableLocalAuth: z.boolean().default(false),
  alternateName: z.string().optional(),
});
const namespaceReadOnly = ['provisioningState', 'status', 'createdAt', 'updatedAt', 'serviceBusEndpoint', 'metricId'];

/** https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules */
export function checkNamespaceName(name: string): void {
  if (!/^[A-Za-z][A-Za-z0-9-]{4,48}[A-Za-z0-9]$/.test(name) || /(-sb|-mgmt)$/i.test(name))
    throw new Refusal(400, 'BadRequest', `The specified name '${name}' is not valid for a namespace.`);
}

export interface Resource {
  sku?: unknown;
  properties: Properties;
}

/** Of a PUT, or of a PATCH over what is there. */
export function namespace(name: string, subscription: string, body: Properties, before?: Resource): Resource {
  checkNamespaceName(name);
  const old = before?.properties ?? {};
  const kept = Object.fromEntries(Object.entries(old).filter(([key]) => !namespaceReadOnly.includes(key)));
  const properties = accept(NamespaceProperties, { ...kept, ...asObject(body.properties) }, namespaceReadOnly);
  const sku = accept(Sku, body.sku ?? before?.sku ?? { name: 'Standard', tier: 'Standard' });
  if (sku.tier && sku.tier !== sku.name) throw new Refusal(400, 'BadRequest', 'sku.tier differs from sku.name');
  if (properties.isAutoInflateEnabled) {
    if (sku.name !== 'Standard')
      throw new Refusal(400, 'BadRequest', 'AutoInflate is only supported in the Standard tier.');
    if (properties.maximumThroughputUnits < sku.capacity)
      throw new Refusal(400, 'BadRequest', 'MaximumThroughputUnits must not be less than the capacity.');
  }
  const now = new Date().toISOString();
  return {
    sku: { ...sku, tier: sku.name },
    properties: {
      ...properties,
      maximumThroughputUnits: properties.isAutoInflateEnabled ? properties.maximumThroughputUnits : 0,
      metricId: `${subscription}:${name.toLowerCase()}`,
      serviceBusEndpoint: `https://${name}.servicebus.windows.net:443/`,
      status: 'Active',
      createdAt: old.createdAt ?? now,
      updatedAt: now,
    },
  };
}

export const HubProperties = z.strictObject({
  messageRetentionInDays: z.int().min(1).max(90).optional(),
  partitionCount: z.int().min(1).max(1024).default(4),
  status: z.enum(['Active', 'Disabled', 'SendDisabled', 'ReceiveDisabled']).default('Active'),
  userMetadata: z.string().max(1024).optional(),
  captureDescription: z.json().optional(),
  messageTimestampDescription: z.strictObject({ timestampType: z.enum(['LogAppend', 'Create']).optional() }).optional(),
  retentionDescription: z
    .strictObject({
      cleanupPolicy: z.enum(['Delete', 'Compact', 'DeleteOrCompact']).default('Delete'),
      retentionTimeInHours: z.int().min(1).optional(),
      tombstoneRetentionTimeInHours: z.int().min(1).optional(),
    })
    .optional(),
});
const limits: Record<string, { partitions: number; hours: number }> = {
  Basic: { partitions: 32, hours: 24 },
  Standard: { partitions: 32, hours: 168 },
  Premium: { partitions: 100, hours: 2160 },
};

export function hub(name: string, parent: Resource, body: Properties, before?: Resource): Resource {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,254}[A-Za-z0-9]$|^[A-Za-z0-9]$/.test(name))
    throw new Refusal(400, 'BadRequest', `The specified name '${name}' is not valid for an event hub.`);
  const given = accept(HubProperties, asObject(body.properties), ['partitionIds', 'createdAt', 'updatedAt']);
  const sku = accept(Sku, parent.sku).name;
  const limit = limits[sku] ?? { partitions: 32, hours: 168 };
  const hours = given.retentionDescription?.retentionTimeInHours ?? (given.messageRetentionInDays ?? 1) * 24;
  if (hours > limit.hours)
    throw new Refusal(
      400,
      'BadRequest',
      `The retention of ${hours} hours exceeds the ${limit.hours} of the ${sku} tier.`,
    );
  if (given.partitionCount > limit.partitions)
    throw new Refusal(400, 'BadRequest', `PartitionCount must not exceed ${limit.partitions} in the ${sku} tier.`);
  const old = before?.properties.partitionCount;
  if (old !== undefined && old !== given.partitionCount && sku !== 'Premium')
    throw new Refusal(400, 'BadRequest', 'The partition count of an event hub cannot be changed in this tier.');
  const now = new Date().toISOString();
  return {
    properties: {
      ...given,
      messageRetentionInDays: Math.ceil(hours / 24),
      retentionDescription: { cleanupPolicy: 'Delete', ...given.retentionDescription, retentionTimeInHours: hours },
      partitionIds: Array.from({ length: given.partitionCount }, (_, index) => String(index)),
      createdAt: before?.properties.createdAt ?? now,
      updatedAt: now,
      // Ours: names the stored messages; a hub made again under the same name starts empty.
      streamId: before?.properties.streamId ?? randomBytes(8).toString('hex'),
    },
  };
}

export const ConsumerGroupProperties = z.strictObject({ userMetadata: z.string().max(1024).optional() });

export function consumerGroup(name: string, body: Properties, before?: Resource): Resource {
  if (!/^(\$Default|[A-Za-z0-9][A-Za-z0-9._-]{0,49})$/.test(name))
    throw new Refusal(400, 'BadRequest', `The specified name '${name}' is not valid for a consumer group.`);
  const now = new Date().toISOString();
  const given = accept(ConsumerGroupProperties, asObject(body.properties), ['createdAt', 'updatedAt']);
  return { properties: { ...given, createdAt: before?.properties.createdAt ?? now, updatedAt: now } };
}

export const RuleProperties = z.strictObject({ rights: z.array(z.enum(['Listen', 'Send', 'Manage'])).min(1) });

/** Keys are kept beside the rights and shown only by `listKeys`. */
export function authorizationRule(body: Properties, before?: Resource): Resource {
  const { rights } = accept(RuleProperties, asObject(body.properties));
  if (rights.includes('Manage') && rights.length < 3)
    throw new Refusal(400, 'BadRequest', 'Manage requires Listen and Send as well.');
  const key = (): string => randomBytes(32).toString('base64');
  const { primaryKey = key(), secondaryKey = key() } = before?.properties ?? {};
  return { properties: { rights, primaryKey, secondaryKey } };
}
