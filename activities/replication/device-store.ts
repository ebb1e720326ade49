/**
 * A device registry as a store: a device is an object under its ID, whose bytes are what replication carries of it
 * (`model/replicated-device.ts`). So the pump, its books, comparisons, repairs and the log of conflicts are those of objects.
 */
import { hash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { CloudError, type CloudErrorKind } from '../../model/errors.ts';
import { type Device, registryCallsPerSecond } from '../../model/fleet.ts';
import { fleetGaps, judgeDevice, takesId } from '../../model/fleet-mapping.ts';
import { deviceFromText, deviceText, type ReplicatedDevice } from '../../model/replicated-device.ts';
import { canonical } from '../../model/sha256.ts';
import type { PlacementRef } from '../../model/transfer.ts';
import { asker, Rate } from '../devices/ask.ts';
import type { StandingDevice, StandingDevices } from '../providers/device-registry.ts';
import type { Provider } from '../providers/driver.ts';
import type { ObjectStore, StoredObject } from '../providers/object-store.ts';

/** Of the requests that a registry takes, replication makes half: operators and devices need the others. */
const share = 0.5;
/** Devices that were looked at last: whoever reads one has looked at it just before. */
const mostKept = 2000;
/** A device is larger than this on no cloud. */
const mostBytes = 256 * 1024;
/** What replication does not carry changes the conditions of a write as well. */
const mostTries = 5;
const movedKinds: readonly CloudErrorKind[] = ['PreconditionFailed', 'AlreadyExists'];

export interface DeviceStoreOptions {
  callDeadlineMs: number;
  /** Requests a second; left out: half of `registryCallsPerSecond`. */
  callsPerSecond?: number | undefined;
  signal: AbortSignal;
}

export function deviceStore(
  provider: Provider,
  placement: PlacementRef,
  { callDeadlineMs, callsPerSecond, signal }: DeviceStoreOptions,
): ObjectStore {
  const { providerType } = placement;
  const rate = new Rate(callsPerSecond ?? registryCallsPerSecond[providerType] * share);
  const { ask } = asker(provider, { rate, deadlineMs: callDeadlineMs, signal });
  return storeOf(provider.devices(placement, ask, signal).standing, placement);
}

/** What is only asked of objects that go in pieces, or have a history. */
function larger(
  failure: (operation: string) => CloudError,
): Pick<ObjectStore, 'versions' | 'open' | 'stream' | 'uploads'> {
  const none = (operation: string) => () => Promise.reject(failure(operation));
  return {
    versions: none('list versions'),
    open: none('open'),
    stream: none('stream'),
    uploads: {
      order: 'in order',
      checks: 'parts',
      limits: { object: mostBytes, parts: 1, part: mostBytes, quantum: mostBytes },
      flowsFrom: Number.POSITIVE_INFINITY,
      begin: none('begin the upload'),
      received: none('look at the upload'),
      put: none('write a part'),
      stream: none('write a part'),
      complete: none('complete the upload'),
      abandon: none('give up the upload'),
    },
  };
}

const md5Of = (text: string): string => hash('md5', text, 'base64');

/** Of what replication carries and of what stands beside it: what else changes is not its concern. */
const versionOf = (text: string, known: StandingDevice['known']): string =>
  hash('sha256', `${text}\n${canonical(known)}`, 'hex').slice(0, 32);

/** The version that a look shows: that of a device which is being changed is the one that it had. */
const shownVersion = ({ device, known, begun }: StandingDevice): string =>
  begun ?? versionOf(deviceText(device), known);

function objectOf(standing: StandingDevice): StoredObject {
  const { device, known, modified } = standing;
  const text = deviceText(device);
  return {
    key: device.id,
    size: Buffer.byteLength(text),
    version: shownVersion(standing),
    modified,
    checksums: { md5: md5Of(text) },
    attributes: { headers: {}, metadata: { ...known }, tags: {} },
  };
}

function storeOf(devices: StandingDevices, { provider, providerType, owner }: PlacementRef): ObjectStore {
  const failure = (kind: CloudErrorKind, operation: string, resource: string, why?: string): CloudError =>
    new CloudError({ kind, provider, operation, resource }, why);
  const kept = new Map<string, StandingDevice>();
  /** By ID, what was listed last, where the registry says that it is still the same. */
  const listed = new Map<string, { tag: string; object: StoredObject }>();

  function keep(id: string, standing: StandingDevice | undefined): StandingDevice | undefined {
    kept.delete(id);
    if (!standing) return undefined;
    kept.set(id, standing);
    const [oldest] = kept.keys();
    if (kept.size > mostKept && oldest !== undefined) kept.delete(oldest);
    return standing;
  }

  const find = async (id: string): Promise<StandingDevice | undefined> =>
    keep(id, takesId(providerType, id) ? await devices.find(id) : undefined);

  /** What the registry holds of it besides, and can hold it by. */
  function fitting(id: string, wanted: ReplicatedDevice, there: Device | undefined): Device {
    const known = there?.credential.type === 'certificates' ? there.credential.certificates : [];
    // AWS has each certificate that is registered there, whether others know more than its thumbprint or not.
    const credential =
      providerType === 'aws' && wanted.credential.type === 'certificates'
        ? {
            ...wanted.credential,
            certificates: wanted.credential.certificates.map((one) => ({
              ...known.find(({ thumbprint }) => thumbprint === one.thumbprint),
              ...one,
            })),
          }
        : wanted.credential;
    const { permissions = [], extras = [], lastSeen = '', copiedBy = '', reported = {} } = there ?? {};
    const device = { ...wanted, id, credential, permissions, extras, lastSeen, copiedBy, reported };
    const { refusal, detail } = judgeDevice(device, providerType);
    if (refusal === undefined) return device;
    const { text = '' } = fleetGaps.find(({ name, to }) => name === refusal && to.includes(providerType)) ?? {};
    throw failure('NotSupported', 'write', id, `${refusal}${detail && ` (${detail})`}: ${text}`);
  }

  return {
    id: `${providerType}:devices/${owner.uid}/${owner.service}/${provider}-${owner.generation}`,
    digest: 'md5',
    vouchedBytes: Number.POSITIVE_INFINITY,
    metadataBytes: devices.knownBytes,
    compares: ['md5'],
    listsNewestFirst: false,
    tellsVersion: true,
    inOrder: false,
    dated: devices.dated,
    isAnswered: (written, version) => written === version,

    refusal: ({ key, size }) => (size > mostBytes ? 'size' : takesId(providerType, key) ? undefined : 'key'),
    // Marks and stamps come to it; all else of a device is in its bytes.
    fit: () => ({ native: { headers: {}, metadata: {}, tags: {} }, rest: {} }),

    ...larger((operation) => failure('NotSupported', operation, owner.service)),

    async page({ token }) {
      const { devices: some, next } = await devices.list(token);
      const objects = await Promise.all(
        some.map(async ({ id, tag, look }) => {
          const before = listed.get(id);
          if (tag !== undefined && before?.tag === tag) return before.object;
          const standing = await look();
          const object = standing && objectOf(standing);
          if (object && tag !== undefined) listed.set(id, { tag, object });
          return object;
        }),
      );
      return { objects: objects.filter((object) => object !== undefined), next };
    },

    async head(key) {
      const standing = await find(key);
      return standing && objectOf(standing);
    },

    async read({ key, version }, { from, bytes }) {
      const known = kept.get(key);
      const standing = known && shownVersion(known) === version ? known : await find(key);
      if (!standing || standing.begun !== undefined || shownVersion(standing) !== version)
        throw failure('PreconditionFailed', 'read', key);
      const chunk = Buffer.from(deviceText(standing.device)).subarray(from, from + bytes);
      return {
        object: objectOf(standing),
        piece: { chunks: [chunk], bytes: chunk.length, crc32: crc32(chunk), release: () => {} },
      };
    },

    async write({ key, attributes: { metadata }, expected }, { chunks }) {
      const wanted = deviceFromText(Buffer.concat(chunks).toString('utf8'));
      if (!wanted) throw failure('InvalidInput', 'write', key, 'it is no device');
      for (let tries = 1; ; tries++) {
        const standing = await find(key);
        const device = fitting(key, wanted, standing?.device);
        const text = deviceText(device);
        const answer = { version: versionOf(text, metadata), checksums: { md5: md5Of(text) } };
        const version = standing && shownVersion(standing);
        // A write whose answer was lost finds itself.
        if (standing?.begun === undefined && version === answer.version) return answer;
        if ('absent' in expected ? standing : version !== expected.version)
          throw failure('PreconditionFailed', 'write', key);
        try {
          const over = standing && version !== undefined ? { standing, version } : undefined;
          const written = await devices.write(device, metadata, over);
          keep(key, undefined);
          return { ...answer, version: shownVersion(written) };
        } catch (error) {
          if (!(error instanceof CloudError) || !movedKinds.includes(error.kind) || tries >= mostTries) throw error;
        }
      }
    },

    async remove({ key, version }) {
      for (let tries = 1; ; tries++) {
        const standing = await find(key);
        if (!standing) return;
        if (shownVersion(standing) !== version) throw failure('PreconditionFailed', 'remove', key);
        try {
          await devices.drop({ standing, version });
          keep(key, undefined);
          return;
        } catch (error) {
          if (!(error instanceof CloudError) || !movedKinds.includes(error.kind) || tries >= mostTries) throw error;
        }
      }
    },
  };
}
