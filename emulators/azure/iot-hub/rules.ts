/**
 * What Azure Resource Manager accepts for IoT Hub and what it makes of it: `Microsoft.Devices/IotHubs` and below, version
 * 2023-06-30. Pure; which statuses are answered, when an operation ends and where it is stored is the ARM core's.
 */
import { randomBytes, randomUUID, X509Certificate } from 'node:crypto';
import { z } from 'zod';
import { accept, asObject, type Properties, Refusal } from '../arm/accept.ts';

const Sku = z.strictObject({
  name: z.enum(['F1', 'B1', 'B2', 'B3', 'S1', 'S2', 'S3']),
  tier: z.string().optional(),
  capacity: z.int().min(1).default(1),
});
const Identity = z.strictObject({
  type: z.enum(['SystemAssigned', 'UserAssigned', 'SystemAssigned, UserAssigned', 'None']).default('None'),
  userAssignedIdentities: z.record(z.string(), z.json()).optional(),
});
const endpointName = z.string().regex(/^[A-Za-z0-9\-._]{1,64}$/);
const EventHubEndpoint = z.strictObject({
  id: z.string().optional(),
  connectionString: z.string().optional(),
  endpointUri: z.string().optional(),
  entityPath: z.string().optional(),
  authenticationType: z.enum(['keyBased', 'identityBased']).default('keyBased'),
  identity: z.strictObject({ userAssignedIdentity: z.string().optional() }).optional(),
  name: endpointName,
  subscriptionId: z.string().optional(),
  resourceGroup: z.string().optional(),
});
const RouteShape = z.strictObject({
  name: z.string().regex(/^[$A-Za-z0-9\-._]{1,64}$/),
  source: z.enum([
    'Invalid',
    'DeviceMessages',
    'TwinChangeEvents',
    'DeviceLifecycleEvents',
    'DeviceJobLifecycleEvents',
    'DigitalTwinChangeEvents',
    'DeviceConnectionStateEvents',
    'MqttBrokerMessages',
  ]),
  // Conditions over message content are not evaluated here, so they are not taken either.
  condition: z.literal('true', 'only the condition "true" is served locally').default('true'),
  endpointNames: z.array(endpointName).length(1),
  isEnabled: z.boolean(),
});
const none = z.array(z.json()).max(0, 'only event hub endpoints are served locally').optional();
const Routing = z.strictObject({
  endpoints: z
    .strictObject({
      serviceBusQueues: none,
      serviceBusTopics: none,
      eventHubs: z.array(EventHubEndpoint).max(10).default([]),
      storageContainers: none,
      cosmosDBSqlContainers: none,
    })
    .prefault({}),
  routes: z.array(RouteShape).max(100).default([]),
  fallbackRoute: RouteShape.partial({ name: true }).optional(),
  enrichments: none,
});
export type Routing = z.infer<typeof Routing>;

export const BuiltIn = z.strictObject({
  retentionTimeInDays: z.int().min(1).max(7).default(1),
  partitionCount: z.int().min(2).max(128).default(4),
});
const Policies = z
  .array(
    z.strictObject({
      keyName: z.string(),
      primaryKey: z.string().optional(),
      secondaryKey: z.string().optional(),
      rights: z.string(),
    }),
  )
  .optional();

export const HubProperties = z.strictObject({
  authorizationPolicies: Policies,
  disableLocalAuth: z.boolean().default(false),
  disableDeviceSAS: z.boolean().default(false),
  disableModuleSAS: z.boolean().default(false),
  restrictOutboundNetworkAccess: z.boolean().optional(),
  allowedFqdnList: z.array(z.string()).optional(),
  publicNetworkAccess: z.enum(['Enabled', 'Disabled']).default('Enabled'),
  ipFilterRules: z.array(z.json()).optional(),
  networkRuleSets: z.json().optional(),
  minTlsVersion: z.enum(['1.0', '1.2']).optional(),
  privateEndpointConnections: z.array(z.json()).optional(),
  eventHubEndpoints: z.record(z.literal('events'), z.json()).optional(),
  routing: Routing.optional(),
  storageEndpoints: z.record(z.string(), z.json()).optional(),
  messagingEndpoints: z.record(z.string(), z.json()).optional(),
  enableFileUploadNotifications: z.boolean().optional(),
  cloudToDevice: z.json().optional(),
  comments: z.string().optional(),
  features: z.enum(['None', 'DeviceManagement']).default('None'),
  enableDataResidency: z.boolean().optional(),
});
const readOnly = ['provisioningState', 'state', 'hostName', 'locations'];

const tiers: Record<string, string> = { F: 'Free', B: 'Basic', S: 'Standard' };
const mostUnits: Record<string, number> = { F1: 1, B3: 10, S3: 10 };

export interface HubResource {
  sku?: unknown;
  identity?: unknown;
  properties: Properties;
}

export const checkHubName = (name: string): void => {
  if (!/^[A-Za-z0-9](-?[A-Za-z0-9])*$/.test(name) || name.length < 3 || name.length > 50)
    throw new Refusal(400, '400001', `The name '${name}' is not valid for an IoT hub.`);
};

const newKey = (): string => randomBytes(32).toString('base64');
const defaultPolicies = () =>
  [
    ['iothubowner', 'RegistryWrite, ServiceConnect, DeviceConnect'],
    ['service', 'ServiceConnect'],
    ['device', 'DeviceConnect'],
    ['registryRead', 'RegistryRead'],
    ['registryReadWrite', 'RegistryWrite'],
  ].map(([keyName, rights]) => ({ keyName, primaryKey: newKey(), secondaryKey: newKey(), rights }));

/** Of a PUT: the whole document. Keys and the names of the built-in endpoint outlive a PUT that leaves them out. */
export function hub(name: string, tenantId: string, body: Properties, before?: HubResource): HubResource {
  checkHubName(name);
  const given = accept(HubProperties, asObject(body.properties), readOnly);
  const sku = accept(Sku, body.sku);
  const identity = accept(Identity, body.identity ?? before?.identity ?? {}, ['principalId', 'tenantId']);
  const { principalId = randomUUID() } = asObject(before?.identity);
  const old = before?.properties ?? {};
  if (sku.capacity > (mostUnits[sku.name] ?? 200))
    throw new Refusal(400, '400001', `The edition ${sku.name} has at most ${mostUnits[sku.name] ?? 200} units.`);
  if (before && old.minTlsVersion !== given.minTlsVersion)
    throw new Refusal(400, '400001', 'minTlsVersion cannot be changed after creation.');
  const endpoint = { ...asObject(asObject(old.eventHubEndpoints).events) };
  const { path, endpoint: address, streamId, ...known } = endpoint;
  const builtIn = accept(BuiltIn, { ...known, ...asObject(given.eventHubEndpoints?.events) }, [
    'partitionIds',
    'path',
    'endpoint',
    'streamId',
  ]);
  if (before && known.partitionCount !== builtIn.partitionCount)
    throw new Refusal(400, '400001', 'The partition count of the built-in endpoint cannot be changed.');
  const routing: Routing = given.routing ?? { endpoints: { eventHubs: [] }, routes: [] };
  checkRouting(routing);
  const system = identity.type.startsWith('SystemAssigned');
  const suffix = randomBytes(5).toString('hex');
  const now = new Date().toISOString();
  return {
    sku: { ...sku, tier: tiers[sku.name.charAt(0)] ?? 'Standard' },
    identity: {
      type: identity.type,
      ...(system ? { principalId, tenantId } : {}),
    },
    properties: {
      ...given,
      authorizationPolicies: given.authorizationPolicies ?? old.authorizationPolicies ?? defaultPolicies(),
      routing: {
        ...routing,
        fallbackRoute: routing.fallbackRoute ?? {
          name: '$fallback',
          source: 'DeviceMessages',
          condition: 'true',
          endpointNames: ['events'],
          isEnabled: true,
        },
      },
      eventHubEndpoints: {
        events: {
          ...builtIn,
          partitionIds: Array.from({ length: builtIn.partitionCount }, (_, index) => String(index)),
          path: path ?? name.toLowerCase(),
          endpoint: address ?? `sb://iothub-ns-${name.toLowerCase().slice(0, 26)}-${suffix}.servicebus.windows.net/`,
          streamId: streamId ?? randomBytes(8).toString('hex'),
        },
      },
      hostName: `${name.toLowerCase()}.azure-devices.net`,
      state: 'Active',
      createdAt: old.createdAt ?? now,
      registryId: old.registryId ?? randomBytes(8).toString('hex'),
    },
  };
}

function checkRouting({ endpoints, routes, fallbackRoute }: Routing): void {
  const names = new Set(['events', ...endpoints.eventHubs.map(({ name }) => name)]);
  if (names.size !== endpoints.eventHubs.length + 1)
    throw new Refusal(400, '400001', 'Names of endpoints must be unique and cannot be "events".');
  for (const one of [...routes, ...(fallbackRoute ? [fallbackRoute] : [])])
    for (const name of one.endpointNames)
      if (!names.has(name)) throw new Refusal(400, '400133', `The route ${one.name} refers to no endpoint ${name}.`);
  for (const endpoint of endpoints.eventHubs) {
    const complete =
      endpoint.authenticationType === 'identityBased'
        ? /^sb:\/\/[a-z0-9-]+\.servicebus\.windows\.net\/?$/i.test(endpoint.endpointUri ?? '') && endpoint.entityPath
        : endpoint.connectionString;
    if (!complete) throw new Refusal(400, '400131', `The endpoint ${endpoint.name} lacks its address.`);
  }
}

/** What GET shows: without keys, and without what only this emulator knows. */
export function shown({ properties, ...rest }: HubResource, provisioningState = 'Succeeded'): HubResource {
  const { authorizationPolicies: _keys, registryId: _registry, createdAt: _created, ...open } = properties;
  const { streamId: _stream, ...events } = asObject(asObject(open.eventHubEndpoints).events);
  const state = { Succeeded: 'Active', Deleting: 'Deleting' }[provisioningState] ?? 'Transitioning';
  return { ...rest, properties: { ...open, state, eventHubEndpoints: { events } } };
}

export const CertificateProperties = z.strictObject({
  certificate: z.string(),
  isVerified: z.boolean().default(false),
});

/** The certificate is sent as base64 of the PEM, of the DER encoding, or as the PEM itself. */
export function certificate(body: Properties, before?: { properties: Properties }): { properties: Properties } {
  const given = accept(CertificateProperties, asObject(body.properties), [
    'subject',
    'expiry',
    'thumbprint',
    'created',
    'updated',
  ]);
  const bytes = given.certificate.includes('-----BEGIN')
    ? Buffer.from(given.certificate)
    : Buffer.from(given.certificate, 'base64');
  let parsed: X509Certificate;
  try {
    parsed = new X509Certificate(bytes);
  } catch {
    throw new Refusal(400, '400015', 'The certificate cannot be read.');
  }
  if (!parsed.ca) throw new Refusal(400, '400015', 'The certificate is not one of an authority.');
  const now = new Date().toUTCString();
  return {
    properties: {
      subject: /(?:^|\n)CN=(.+)/.exec(parsed.subject)?.[1] ?? parsed.subject,
      expiry: new Date(parsed.validTo).toUTCString(),
      thumbprint: parsed.fingerprint.replaceAll(':', ''),
      isVerified: given.isVerified,
      created: before?.properties.created ?? now,
      updated: now,
      certificate: given.certificate,
    },
  };
}
