/** The devices of our own registry: one JSON object each in the placement's bucket. One call lists a thousand, one reads or writes one. */
import { crc32 } from 'node:zlib';
import { CloudError } from '../../../model/errors.ts';
import { type Device, fleetDifferences, textsIn, withoutNulls, withoutTexts } from '../../../model/fleet.ts';
import { deviceObject, deviceOfObject, devicesPrefix, RegisteredDevice } from '../../../model/registered-device.ts';
import type { Ask, DeviceRegistry, Put, StandingDevice, StandingDevices } from '../device-registry.ts';
import { type Expected, md5Of, type ObjectStore, type StoredObject } from '../object-store.ts';
import { textOf } from '../pooled-http.ts';
import { ifFound, isKind } from './errors.ts';

function toDevice(stored: RegisteredDevice): Device {
  const { id, status, authentication, attributes, groups = [], certificates = {}, copiedBy = '' } = stored;
  const certificateOf = (thumbprint: string) => {
    const der = certificates[thumbprint];
    return { thumbprint, ...(der !== undefined && { der }) };
  };
  return {
    id,
    status,
    credential:
      authentication.type === 'authority'
        ? { type: 'authority' }
        : { type: 'certificates', certificates: authentication.thumbprints.toSorted().map(certificateOf) },
    groups: groups.toSorted(),
    attributes,
    desired: withoutNulls(stored.desired ?? {}),
    reported: withoutNulls(stored.reported ?? {}),
    permissions: [],
    extras: [],
    lastSeen: '',
    copiedBy,
  };
}

function toStored(device: Device, mark: string): RegisteredDevice {
  const { id, status, credential, attributes, groups, desired, reported } = device;
  const certificates = credential.type === 'certificates' ? credential.certificates : [];
  const known = certificates.flatMap(({ thumbprint, der }) => (der === undefined ? [] : [[thumbprint, der] as const]));
  return {
    v: 1,
    id,
    status,
    authentication:
      credential.type === 'authority'
        ? { type: 'authority' }
        : { type: 'thumbprint', thumbprints: certificates.map(({ thumbprint }) => thumbprint) },
    attributes,
    groups,
    desired,
    reported,
    ...(known.length > 0 && { certificates: Object.fromEntries(known) }),
    copiedBy: mark,
  };
}

/** A malformed object counts as none, as it does for the broker. */
function parse(text: string, id: string): RegisteredDevice | undefined {
  try {
    const { data } = RegisteredDevice.safeParse(JSON.parse(text));
    return data?.id === id ? data : undefined;
  } catch {
    return undefined;
  }
}

/** The placement's own proof, which is there for seconds. */
const isCanary = ({ id, attributes }: RegisteredDevice): boolean =>
  attributes.purpose === 'canary' && id.startsWith('canary-');

/** Tries to write over what somebody else has changed meanwhile. */
const mostConflicts = 5;

export function bucketDevices(store: ObjectStore, ask: Ask, signal: AbortSignal): DeviceRegistry {
  async function storedIn(object: StoredObject, id: string): Promise<RegisteredDevice | undefined> {
    const range = { from: 0, bytes: object.size };
    const answer = await ask('storage.objects.get', id, () => ifFound(store.read(object, range, signal)));
    return answer && parse(textOf(answer.piece), id);
  }

  /** What was read of each device that stands. */
  const read = new WeakMap<StandingDevice, { object: StoredObject; stored: RegisteredDevice }>();

  async function standingIn(object: StoredObject, id: string): Promise<StandingDevice | undefined> {
    const stored = await storedIn(object, id);
    if (!stored || isCanary(stored)) return undefined;
    const { modified, attributes: { metadata = {} } = {} } = object;
    const known = Object.fromEntries(Object.entries(metadata).filter(([name]) => name.startsWith('multicloud')));
    const standing = { device: toDevice(stored), known, modified, begun: undefined };
    read.set(standing, { object, stored });
    return standing;
  }

  async function contentOf(object: StoredObject, id: string): Promise<Device | undefined> {
    const stored = await storedIn(object, id);
    return stored && toDevice(stored);
  }

  async function save(
    stored: RegisteredDevice,
    expected: Expected,
    metadata: Readonly<Record<string, string>> = {},
  ): Promise<void> {
    const bytes = Buffer.from(JSON.stringify(stored));
    const piece = { chunks: [bytes], bytes: bytes.length };
    const object = {
      key: deviceObject(stored.id),
      size: bytes.length,
      attributes: { headers: { 'content-type': 'application/json' }, metadata: { ...metadata }, tags: {} },
      expected,
      md5: md5Of(piece),
    };
    await ask('storage.objects.create', stored.id, () => store.write(object, piece, crc32(bytes), signal));
  }

  async function find(id: string): Promise<{ object: StoredObject; device: Device | undefined } | undefined> {
    const object = await ask('storage.objects.get', id, () => store.head(deviceObject(id), signal));
    return object && { object, device: await contentOf(object, id) };
  }

  async function put(device: Device, mark: string): Promise<Put> {
    try {
      await save(toStored(device, mark), { absent: true });
      return { how: 'moved' };
    } catch (error) {
      if (!isKind(error, 'PreconditionFailed')) throw error;
    }
    const known = (await find(device.id))?.device;
    const fields = known && fleetDifferences(device, known);
    if (!fields || fields.length > 0) return { how: 'differs', fields: fields ?? [] };
    // A create whose answer was lost finds itself.
    return { how: known.copiedBy === mark ? 'moved' : 'there' };
  }

  async function remove({ id }: Device, mark: string): Promise<number> {
    const found = await find(id);
    if (found?.device?.copiedBy !== mark) return 0;
    await ask('storage.objects.delete', id, () => store.remove(found.object, signal));
    return 1;
  }

  const list = (token: string | undefined) =>
    ask('storage.objects.list', store.id, () => store.page({ after: devicesPrefix, token }, signal));

  async function look(id: string, conflicts = 0): Promise<StandingDevice | undefined> {
    const object = await ask('storage.objects.get', id, () => store.head(deviceObject(id), signal));
    return object && lookAt(object, id, conflicts);
  }

  async function lookAt(object: StoredObject, id: string, conflicts = 0): Promise<StandingDevice | undefined> {
    try {
      return await standingIn(object, id);
    } catch (error) {
      // It was changed between the two calls.
      if (!isKind(error, 'PreconditionFailed') || conflicts >= mostConflicts) throw error;
      return look(id, conflicts + 1);
    }
  }

  const standing: StandingDevices = {
    dated: true,
    knownBytes: 8192,
    async list(token) {
      const { objects, next } = await list(token);
      const devices = objects.flatMap((object) => {
        const id = deviceOfObject(object.key);
        return id === undefined ? [] : [{ id, tag: object.version, look: () => lookAt(object, id) }];
      });
      return { devices, next };
    },
    find: look,
    async write(device, known, over) {
      const before = over && read.get(over.standing);
      const wanted = toStored({ ...device, reported: before?.stored.reported ?? {} }, before?.stored.copiedBy ?? '');
      const texts = textsIn(before?.stored.desired ?? {});
      const stored = { ...wanted, ...(Object.keys(texts).length > 0 && { desired: { ...wanted.desired, ...texts } }) };
      try {
        await save(stored, before ? { version: before.object.version } : { absent: true }, known);
      } catch (error) {
        // An object that is no device, so that whoever looks sees none.
        if (over || !isKind(error, 'PreconditionFailed') || (await look(device.id))) throw error;
        const fields = { kind: 'InvalidInput' as const, provider: 'gcp', operation: 'write', resource: device.id };
        throw new CloudError(fields, 'something that is no device stands under its name');
      }
      return { device: toDevice(stored), known, modified: new Date().toISOString(), begun: undefined };
    },
    async drop(over) {
      const object = read.get(over.standing)?.object;
      if (object) await ask('storage.objects.delete', over.standing.device.id, () => store.remove(object, signal));
    },
  };

  return {
    standing,
    atOnce: 1,
    async page(token) {
      const page = await list(token);
      const devices = await Promise.all(
        page.objects.map((object) => {
          const id = deviceOfObject(object.key);
          return id === undefined ? undefined : contentOf(object, id);
        }),
      );
      return { devices: devices.filter((device) => device !== undefined), next: page.next };
    },
    put: (devices, mark) => Promise.all(devices.map((device) => put(device, mark))),
    async remove(devices, mark) {
      const removed = await Promise.all(devices.map((device) => remove(device, mark)));
      return removed.reduce((sum, one) => sum + one, 0);
    },
    async tell(id, texts) {
      for (let conflicts = 0; ; conflicts++) {
        const object = await ask('storage.objects.get', id, () => store.head(deviceObject(id), signal));
        const stored = object && (await storedIn(object, id));
        if (!stored) return false;
        const before = stored.desired ?? {};
        if (Object.entries(texts).every(([property, text]) => (before[property] ?? null) === text)) return true;
        const desired = { ...withoutTexts(before), ...withoutNulls(texts) };
        try {
          await save({ ...stored, desired }, { version: object.version }, object.attributes?.metadata);
          return true;
        } catch (error) {
          if (!isKind(error, 'PreconditionFailed') || conflicts >= mostConflicts) throw error;
        }
      }
    },
  };
}
