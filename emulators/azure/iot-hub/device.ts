/** Device identities and twins as they are stored and as they are asked for. */
import { randomBytes } from 'node:crypto';
import { z } from 'zod';

const json = z.json();
const bag = z.record(z.string(), json);
export type Bag = z.infer<typeof bag>;
export type Value = z.infer<typeof json>;

const thumbprint = z
  .string()
  .regex(/^([0-9A-Fa-f]{40}|[0-9A-Fa-f]{64})$/)
  .nullish();
const key = z.string().nullish();

const Authentication = z.strictObject({
  type: z.enum(['sas', 'selfSigned', 'certificateAuthority', 'none']).default('sas'),
  symmetricKey: z.strictObject({ primaryKey: key, secondaryKey: key }).nullish(),
  x509Thumbprint: z.strictObject({ primaryThumbprint: thumbprint, secondaryThumbprint: thumbprint }).nullish(),
});
export type Authentication = z.infer<typeof Authentication>;

export const deviceId = z.string().regex(/^[A-Za-z0-9\-:.+%_#*?!(),=@;$']{1,128}$/);

const shared = {
  etag: z.string().nullish(),
  status: z
    .string()
    .toLowerCase()
    .pipe(z.enum(['enabled', 'disabled']))
    .default('enabled'),
  statusReason: z.string().max(128).nullish(),
  authentication: Authentication.nullish(),
  capabilities: z.strictObject({ iotEdge: z.boolean().default(false) }).nullish(),
  deviceScope: z.string().nullish(),
  parentScopes: z.array(z.string()).nullish(),
};
/** Body of PUT /devices/{id}; what a client sends back from an earlier answer is read-only and ignored. */
export const DeviceRequest = z.strictObject({
  deviceId,
  ...shared,
  generationId: z.string().nullish(),
  connectionState: z.string().nullish(),
  statusUpdatedTime: z.string().nullish(),
  connectionStateUpdatedTime: z.string().nullish(),
  lastActivityTime: z.string().nullish(),
  cloudToDeviceMessageCount: z.union([z.number(), z.string()]).nullish(),
});
export type DeviceRequest = z.infer<typeof DeviceRequest>;

/** One element of POST /devices. Its modes are written in any case by the clients. */
export const BulkRequest = z.strictObject({
  id: deviceId,
  ...shared,
  importMode: z
    .string()
    .transform((mode) => mode.toLowerCase())
    .default('create'),
  eTag: z.string().nullish(),
  twinETag: z.string().nullish(),
  tags: bag.nullish(),
  properties: z.strictObject({ desired: bag.nullish(), reported: bag.nullish() }).nullish(),
  // The Node client sends the properties of its deprecated Device class as well.
  generationId: z.string().nullish(),
  connectionState: z.string().nullish(),
  statusUpdatedTime: z.string().nullish(),
  connectionStateUpdatedTime: z.string().nullish(),
  lastActivityTime: z.string().nullish(),
  cloudToDeviceMessageCount: z.union([z.number(), z.string()]).nullish(),
});
export type BulkRequest = z.infer<typeof BulkRequest>;

export interface Section {
  version: number;
  updated: string;
  values: Bag;
}

export interface DeviceRecord {
  deviceId: string;
  generationId: string;
  etag: string;
  status: 'enabled' | 'disabled';
  statusReason: string | null;
  statusUpdatedTime: string;
  authentication: {
    type: Authentication['type'];
    primaryKey: string | null;
    secondaryKey: string | null;
    primaryThumbprint: string | null;
    secondaryThumbprint: string | null;
  };
  iotEdge: boolean;
  deviceScope: string | null;
  twin: { etag: string; version: number; tags: Bag; desired: Section; reported: Section };
}

/** Not persisted: after a restart every device is disconnected. */
export interface Presence {
  connected: boolean;
  changed: string;
  activity: string;
}

const never = '0001-01-01T00:00:00Z';
export const absent: Presence = { connected: false, changed: never, activity: never };
export const newEtag = (): string => randomBytes(6).toString('base64');
const newKey = (): string => randomBytes(32).toString('base64');

/** Keys are made where the type is `sas` and none were given, as the service does. */
export function makeRecord(id: string, wanted: Omit<DeviceRequest, 'deviceId'>, before?: DeviceRecord): DeviceRecord {
  const now = new Date().toISOString();
  const authentication = wanted.authentication ?? { type: 'sas' as const };
  const sas = authentication.type === 'sas';
  const { symmetricKey, x509Thumbprint } = authentication;
  const empty = (): Section => ({ version: 1, updated: now, values: {} });
  return {
    deviceId: id,
    generationId: before?.generationId ?? String(Date.now() * 1000 + Math.floor(Math.random() * 1000)),
    etag: newEtag(),
    status: wanted.status,
    statusReason: wanted.statusReason ?? null,
    statusUpdatedTime: before && before.status === wanted.status ? before.statusUpdatedTime : before ? now : never,
    authentication: {
      type: authentication.type,
      primaryKey: sas ? symmetricKey?.primaryKey || before?.authentication.primaryKey || newKey() : null,
      secondaryKey: sas ? symmetricKey?.secondaryKey || before?.authentication.secondaryKey || newKey() : null,
      primaryThumbprint: x509Thumbprint?.primaryThumbprint?.toUpperCase() ?? null,
      secondaryThumbprint: x509Thumbprint?.secondaryThumbprint?.toUpperCase() ?? null,
    },
    iotEdge: wanted.capabilities?.iotEdge ?? false,
    deviceScope: wanted.deviceScope ?? null,
    twin: before?.twin ?? { etag: newEtag(), version: 2, tags: {}, desired: empty(), reported: empty() },
  };
}

/** The identity as GET /devices/{id} shows it. */
export const showDevice = (record: DeviceRecord, presence: Presence): Record<string, unknown> => ({
  deviceId: record.deviceId,
  generationId: record.generationId,
  etag: record.etag,
  connectionState: presence.connected ? 'Connected' : 'Disconnected',
  status: record.status,
  statusReason: record.statusReason,
  connectionStateUpdatedTime: presence.changed,
  statusUpdatedTime: record.statusUpdatedTime,
  lastActivityTime: presence.activity,
  cloudToDeviceMessageCount: 0,
  authentication: {
    symmetricKey: {
      primaryKey: record.authentication.primaryKey,
      secondaryKey: record.authentication.secondaryKey,
    },
    x509Thumbprint: showThumbprints(record),
    type: record.authentication.type,
  },
  capabilities: { iotEdge: record.iotEdge },
  ...(record.deviceScope ? { deviceScope: record.deviceScope } : {}),
});

const showThumbprints = ({ authentication }: DeviceRecord): Record<string, unknown> => ({
  primaryThumbprint: authentication.primaryThumbprint,
  secondaryThumbprint: authentication.secondaryThumbprint,
});

/** The twin as GET /twins/{id} and queries show it. */
export function showTwin(record: DeviceRecord, presence: Presence): Record<string, unknown> {
  const { twin } = record;
  const section = ({ values, updated, version }: Section): Record<string, unknown> => ({
    ...values,
    $metadata: { $lastUpdated: updated },
    $version: version,
  });
  return {
    deviceId: record.deviceId,
    etag: twin.etag,
    deviceEtag: record.etag,
    status: record.status,
    ...(record.statusReason ? { statusReason: record.statusReason } : {}),
    statusUpdateTime: record.statusUpdatedTime,
    connectionState: presence.connected ? 'Connected' : 'Disconnected',
    lastActivityTime: presence.activity,
    cloudToDeviceMessageCount: 0,
    authenticationType: record.authentication.type,
    x509Thumbprint: showThumbprints(record),
    modelId: '',
    version: twin.version,
    tags: twin.tags,
    properties: { desired: section(twin.desired), reported: section(twin.reported) },
    capabilities: { iotEdge: record.iotEdge },
    ...(record.deviceScope ? { deviceScope: record.deviceScope } : {}),
  };
}
