/**
 * The devices of an IoT hub. A query lists a page of them whole, one call registers or removes a hundred. Queries are answered
 * from an index that lags behind by up to minutes, so what is decided about one device is read from its twin.
 * https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-query-language
 */
import type { Registry } from 'azure-iothub';
import { z } from 'zod';
import { type Credential, type Device, fleetDifferences, withoutNulls } from '../../../model/fleet.ts';
import { fromTwinTags, toTwinTags } from '../../../model/fleet-mapping.ts';
import type { JsonObject } from '../../../model/service.ts';
import type { Ask, DeviceRegistry, Put } from '../device-registry.ts';
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
function toDescription(
  device: Device,
  mark: string,
): Registry.DeviceDescription & { tags: unknown; properties: unknown } {
  const { id, status, credential, desired, reported } = device;
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
    tags: toTwinTags(device, mark),
    properties: { desired, reported },
  };
}

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

  return {
    atOnce: bulkDevices,
    async page(token) {
      const query = registry.createQuery('SELECT * FROM devices', pageSize);
      const { result } = await ask('Microsoft.Devices/IotHubs/query', host, () => query.next(token ?? ''));
      const rows = z.array(TwinRow).parse(result);
      return { devices: rows.map(toDevice), next: query.continuationToken || undefined };
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
