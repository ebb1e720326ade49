/**
 * The devices of an IoT hub. A query lists a page of them whole, one call registers or removes a hundred. Queries are answered
 * from an index that lags behind by up to minutes, so what is decided about one device is read from its twin.
 * https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-query-language
 */
import type { Registry } from 'azure-iothub';
import { z } from 'zod';
import { CloudError } from '../../../model/errors.ts';
import { type Credential, comparable, type Device, fleetDifferences, withoutNulls } from '../../../model/fleet.ts';
import { begunTag, fromTwinTags, knownInTags, toReplicatedTags, toTwinTags } from '../../../model/fleet-mapping.ts';
import { keepingForm, patchBetween, replicated } from '../../../model/replicated-device.ts';
import type { JsonObject } from '../../../model/service.ts';
import type { Ask, DeviceRegistry, ListedDevice, Put, StandingDevice, StandingDevices } from '../device-registry.ts';
import { found } from './errors.ts';

/** https://learn.microsoft.com/rest/api/iothub/service/bulk-registry (2026-11-28). */
const bulkDevices = 100;
/** Of one bulk request: what the registry takes at once is not published, and four of these are a megabyte. */
const bulkBytes = 256 * 1024;
const pageSize = 1000;
const never = '0001-01-01T00:00:00Z';

const State = z.record(z.string(), z.json()).default({});
const Print = z.string().nullish();
const TwinRow = z.object({
  deviceId: z.string(),
  deviceEtag: z.string().default(''),
  etag: z.string().default(''),
  statusUpdateTime: z.string().nullish(),
  status: z.enum(['enabled', 'disabled']),
  statusReason: z.string().nullish(),
  lastActivityTime: z.string().nullish(),
  authenticationType: z.enum(['sas', 'selfSigned', 'certificateAuthority', 'none']),
  x509Thumbprint: z.looseObject({ primaryThumbprint: Print, secondaryThumbprint: Print }).nullish(),
  capabilities: z.looseObject({ iotEdge: z.boolean().nullish() }).nullish(),
  deviceScope: z.string().nullish(),
  modelId: z.string().nullish(),
  tags: State,
  properties: z.looseObject({ desired: State, reported: State }),
});
type TwinRow = z.infer<typeof TwinRow>;

/** The answer to a bulk change of which a part has failed comes with status 400. */
const BulkFailure = z.object({
  responseBody: z
    .string()
    .transform((text, context): unknown => {
      try {
        return JSON.parse(text);
      } catch {
        context.addIssue('no JSON');
        return z.NEVER;
      }
    })
    .pipe(z.object({ errors: z.array(z.object({ deviceId: z.string(), errorStatus: z.string() })).min(1) })),
});

function credentialOf(row: TwinRow, certificates: Readonly<Record<string, string>>): Credential {
  switch (row.authenticationType) {
    case 'sas':
      return { type: 'key' };
    case 'none':
      return { type: 'none' };
    case 'certificateAuthority':
      return { type: 'authority' };
  }
  const { primaryThumbprint, secondaryThumbprint } = row.x509Thumbprint ?? {};
  const thumbprints = [primaryThumbprint, secondaryThumbprint].flatMap((print) => print?.toLowerCase() || []);
  if (thumbprints.length === 0) return { type: 'none' };
  return {
    type: 'certificates',
    certificates: [...new Set(thumbprints)].sort().map((thumbprint) => {
      const der = certificates[thumbprint];
      return { thumbprint, ...(der !== undefined && { der }) };
    }),
  };
}

/** Without what the hub adds. */
const plain = ({ $metadata, $version, ...own }: JsonObject): JsonObject => withoutNulls(own);

function toDevice(row: TwinRow): Device {
  const { certificates, ...ours } = fromTwinTags(withoutNulls(row.tags));
  return {
    id: row.deviceId,
    status: row.status,
    credential: credentialOf(row, certificates),
    ...ours,
    desired: plain(row.properties.desired),
    reported: plain(row.properties.reported),
    permissions: [],
    extras: [
      ...(row.capabilities?.iotEdge ? ['edge'] : []),
      ...(row.deviceScope ? ['parent'] : []),
      ...(row.modelId ? ['model'] : []),
      ...(row.statusReason ? ['status-reason'] : []),
    ],
    lastSeen: !row.lastActivityTime || row.lastActivityTime.startsWith(never.slice(0, 10)) ? '' : row.lastActivityTime,
  };
}

/** As a bulk change takes it. */
const toDescription = (
  device: Device,
  mark: string,
): Registry.DeviceDescription & { tags: unknown; properties: unknown } => ({
  ...toIdentity(device),
  tags: toTwinTags(device, mark),
  properties: { desired: device.desired, reported: device.reported },
});

function toIdentity({ id, status, credential }: Device): Registry.DeviceDescription {
  // One alone stands in both places, as the hub's own portal asks.
  const [primary, secondary = primary] =
    credential.type === 'certificates' ? credential.certificates.map(({ thumbprint }) => thumbprint.toUpperCase()) : [];
  return {
    deviceId: id,
    status,
    authentication:
      primary === undefined
        ? { type: 'certificateAuthority' }
        : { type: 'selfSigned', x509Thumbprint: { primaryThumbprint: primary, secondaryThumbprint: secondary } },
  };
}

const Updated = z.object({ $metadata: z.object({ $lastUpdated: z.string() }).optional() });

/** Of tags and of certificates the hub keeps no time. */
function modifiedAt({ properties, statusUpdateTime }: TwinRow): string {
  const { $metadata } = Updated.safeParse(properties.desired).data ?? {};
  const times = [$metadata?.$lastUpdated, statusUpdateTime].map((time) => Date.parse(time ?? '') || 0);
  return new Date(Math.max(0, ...times)).toISOString();
}

/** The placement's own proof, which is there for seconds. */
const isCanary = (id: string): boolean => id.startsWith('multi-cloud-canary-');

export function hubDevices(registry: Registry, host: string, ask: Ask): DeviceRegistry {
  const twinOf = async (id: string): Promise<TwinRow | undefined> => {
    const answer = await ask('Microsoft.Devices/IotHubs/twins/read', id, () => found(() => registry.getTwin(id)));
    return answer && TwinRow.parse(answer.responseBody);
  };

  /** Makes a bulk change; tells which of the devices were refused, by the hub's word for why. */
  async function bulk(operation: string, change: () => Promise<unknown>): Promise<Map<string, string>> {
    return ask(operation, host, async () => {
      try {
        await change();
        return new Map();
      } catch (error) {
        const failed = BulkFailure.safeParse(error);
        if (!failed.success) throw error;
        return new Map(failed.data.responseBody.errors.map(({ deviceId, errorStatus }) => [deviceId, errorStatus]));
      }
    });
  }

  async function known(device: Device, mark: string): Promise<Put> {
    const row = await twinOf(device.id);
    const there = row && toDevice(row);
    const fields = there && fleetDifferences(device, there);
    if (!fields || fields.length > 0) return { how: 'differs', fields: fields ?? [] };
    // A create whose answer was lost finds itself.
    return { how: there.copiedBy === mark ? 'moved' : 'there' };
  }

  async function rowsAfter(token: string | undefined): Promise<{ rows: TwinRow[]; next: string | undefined }> {
    const query = registry.createQuery('SELECT * FROM devices', pageSize);
    const { result } = await ask('Microsoft.Devices/IotHubs/query', host, () => query.next(token ?? ''));
    return { rows: z.array(TwinRow).parse(result), next: query.continuationToken || undefined };
  }

  /** What was read of each device that stands. */
  const read = new WeakMap<StandingDevice, TwinRow>();

  function standingOf(row: TwinRow): StandingDevice {
    const standing = { device: toDevice(row), ...knownInTags(withoutNulls(row.tags)), modified: modifiedAt(row) };
    read.set(standing, row);
    return standing;
  }

  /** The refusal of one device as if it had been asked for alone. */
  async function alone(operation: string, id: string, change: () => Promise<unknown>): Promise<void> {
    const why = (await bulk(operation, change)).get(id);
    if (why === undefined) return;
    const moved = /Already|Precondition|NotFound/i.test(why);
    const kind = moved ? ('PreconditionFailed' as const) : ('InvalidInput' as const);
    throw new CloudError({ kind, provider: 'azure', operation, resource: id }, `the hub says ${why}`);
  }

  async function patched(id: string, patch: JsonObject, etag: string): Promise<TwinRow> {
    const { responseBody } = await ask('Microsoft.Devices/IotHubs/twins/write', id, () =>
      registry.updateTwin(id, patch, etag),
    );
    return TwinRow.parse(responseBody);
  }

  const standing: StandingDevices = {
    dated: false,
    // Of the 8 KB of all tags.
    knownBytes: 2048,

    async list(token) {
      const { rows, next } = await rowsAfter(token);
      const devices = rows
        .filter(({ deviceId }) => !isCanary(deviceId))
        .map((row): ListedDevice => ({ id: row.deviceId, tag: undefined, look: async () => standingOf(row) }));
      return { devices, next };
    },

    async find(id) {
      const row = await twinOf(id);
      return row && standingOf(row);
    },

    async write(device, known, over) {
      const { id } = device;
      const row = over && read.get(over.standing);
      const tags = toReplicatedTags({ ...device, copiedBy: over?.standing.device.copiedBy ?? '' }, known);
      if (typeof tags === 'string')
        throw new CloudError(
          { kind: 'NotSupported', provider: 'azure', operation: 'write', resource: id },
          `attributes: ${tags}`,
        );
      if (!over || !row) {
        const described = { ...toIdentity(device), tags, properties: { desired: device.desired, reported: {} } };
        await alone('Microsoft.Devices/IotHubs/devices/write', id, () => registry.addDevices([described]));
        return { device, known, modified: new Date().toISOString(), begun: undefined };
      }
      const before = over.standing.device;
      const isOther = (['status', 'credential'] as const).some(
        (field) => comparable(before, field) !== comparable(device, field),
      );
      let { etag, tags: there } = row;
      if (isOther) {
        ({ etag, tags: there } = await patched(id, { tags: begunTag(over.version) }, etag));
        const identity = {
          ...toIdentity(device),
          eTag: row.deviceEtag,
          capabilities: { iotEdge: row.capabilities?.iotEdge ?? false },
          ...(row.deviceScope && { deviceScope: row.deviceScope }),
          ...(row.statusReason && row.status === device.status && { statusReason: row.statusReason }),
        };
        await alone('Microsoft.Devices/IotHubs/devices/write', id, () => registry.updateDevices([identity], false));
      }
      // What says the same stays in its form, and what both leave out is left alone.
      const desired = patchBetween(replicated(before).desired, replicated(device).desired);
      const patch = {
        tags: patchBetween(withoutNulls(there), keepingForm(tags, there)),
        ...(Object.keys(desired).length > 0 && { properties: { desired } }),
      };
      return standingOf(await patched(id, patch, etag));
    },

    async drop({ standing: gone }) {
      const exact = { deviceId: gone.device.id, eTag: read.get(gone)?.deviceEtag };
      await alone('Microsoft.Devices/IotHubs/devices/delete', gone.device.id, () =>
        registry.removeDevices([exact], false),
      );
    },
  };

  return {
    standing,
    atOnce: bulkDevices,
    async page(token) {
      const { rows, next } = await rowsAfter(token);
      return { devices: rows.map(toDevice), next };
    },

    async put(devices, mark) {
      const described = devices.map((device) => toDescription(device, mark));
      const refused = new Map<string, string>();
      for (const part of inParts(described)) {
        const failed = await bulk('Microsoft.Devices/IotHubs/devices/write', () => registry.addDevices(part));
        for (const [id, why] of failed) refused.set(id, why);
      }
      return Promise.all(
        devices.map((device): Put | Promise<Put> => {
          const why = refused.get(device.id);
          if (why === undefined) return { how: 'moved' };
          return /Already/.test(why) ? known(device, mark) : { how: 'failed', why };
        }),
      );
    },

    async remove(devices, mark) {
      const rows = await Promise.all(devices.map(({ id }) => twinOf(id)));
      const ours = rows.filter((row) => row !== undefined && toDevice(row).copiedBy === mark);
      if (ours.length === 0) return 0;
      // Not one that was changed since it was looked at.
      const exact = ours.map((row) => ({ deviceId: row?.deviceId ?? '', eTag: row?.deviceEtag }));
      const failed = await bulk('Microsoft.Devices/IotHubs/devices/delete', () => registry.removeDevices(exact, false));
      return ours.length - failed.size;
    },

    async tell(id, texts) {
      const patch = { properties: { desired: texts } };
      const update = () => found(() => registry.updateTwin(id, patch, '*'));
      return (await ask('Microsoft.Devices/IotHubs/twins/write', id, update)) !== undefined;
    },
  };
}

function* inParts<T>(all: readonly T[]): Generator<T[]> {
  let part: T[] = [];
  let bytes = 0;
  for (const one of all) {
    const size = Buffer.byteLength(JSON.stringify(one));
    if (part.length > 0 && bytes + size > bulkBytes) {
      yield part;
      part = [];
      bytes = 0;
    }
    part.push(one);
    bytes += size;
  }
  if (part.length > 0) yield part;
}
