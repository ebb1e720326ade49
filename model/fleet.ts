/**
 * A fleet: what every cloud's device registry knows of a device, in one shape, and what the activities of
 * `activities/devices` are asked and answer. Nothing large passes through a workflow: censuses, outcomes and reports are files
 * in a records bucket, and what is passed on is their keys and counts.
 */
import { z } from 'zod';
import { inabilities } from './device-abilities.ts';
import { claimProperty, redirectProperty } from './device-redirect.ts';
import { fleetRefusals } from './fleet-mapping.ts';
import { type JsonObject, type ProviderType, providerTypes } from './service.ts';
import { canonical } from './sha256.ts';
import { PlacementRef } from './transfer.ts';

/** Lower case hex: SHA-256 over DER, or SHA-1 where a cloud was given no more. */
const Thumbprint = z.string().regex(/^([0-9a-f]{40}|[0-9a-f]{64})$/);
const State = z.record(z.string(), z.json());

export const Credential = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('certificates'),
    /** Exactly these; two while a key is being replaced. In the order of their thumbprints. */
    certificates: z
      .array(
        z.strictObject({
          thumbprint: Thumbprint,
          /** The certificate itself, base64 of DER; left out where the cloud knows its thumbprint only. */
          der: z.base64().optional(),
        }),
      )
      .min(1),
  }),
  /** Any certificate for this ID that the placement's device CA has signed. */
  z.strictObject({ type: z.literal('authority') }),
  /** A symmetric key, which the cloud keeps. */
  z.strictObject({ type: z.literal('key') }),
  z.strictObject({ type: z.literal('none') }),
]);
export type Credential = z.infer<typeof Credential>;

export const Device = z.strictObject({
  id: z.string(),
  status: z.enum(['enabled', 'disabled']),
  credential: Credential,
  /** Besides the group that all devices of a placement are in; sorted. */
  groups: z.array(z.string()),
  attributes: z.record(z.string(), z.string()),
  /** State as the cloud wants it, and as the device has told. */
  desired: State,
  reported: State,
  /** Names of what grants it more than every device of the placement has. */
  permissions: z.array(z.string()),
  /** What the cloud holds of it besides and no other cloud has a word for: `edge`, `parent`, `model`. */
  extras: z.array(z.string()),
  /** ISO time; '' where the cloud does not tell, or never saw it. */
  lastSeen: z.string(),
  /** Mark of the copy that made it (`copyMark`); '' for a device that is no copy. */
  copiedBy: z.string(),
});
export type Device = z.infer<typeof Device>;

/** Keys of the resources of a placement that its registry is found by. */
export const registryParts: Record<ProviderType, readonly string[]> = {
  aws: ['type', 'group', 'policy'],
  azure: ['hub'],
  gcp: ['registry'],
};

/** What two registries must agree on. `credential`: thumbprints, or that a CA vouches. */
export const fleetFields = ['status', 'credential', 'groups', 'attributes', 'desired', 'reported'] as const;
export type FleetField = (typeof fleetFields)[number];

/** What of a field is compared, as text: the same for two devices that agree. */
export function comparable(device: Device, field: FleetField): string {
  if (field === 'credential') return canonical(thumbprints(device.credential));
  return canonical(field === 'desired' ? withoutTexts(device.desired) : device[field]);
}

/** Where a device is told to go is of the cloud that tells it, not of the device. */
export function withoutTexts({
  [redirectProperty]: _,
  [claimProperty]: __,
  ...desired
}: Device['desired']): Device['desired'] {
  return desired;
}

/** What of it a cloud tells a device from us. */
export function textsIn({
  [redirectProperty]: redirect,
  [claimProperty]: claim,
}: Device['desired']): Device['desired'] {
  return {
    ...(redirect !== undefined && { [redirectProperty]: redirect }),
    ...(claim !== undefined && { [claimProperty]: claim }),
  };
}

/** All that a cloud tells a device from us; one at a time. */
export type DeviceTexts = Record<typeof redirectProperty | typeof claimProperty, string | null>;
export const noTexts: DeviceTexts = { [redirectProperty]: null, [claimProperty]: null };

const thumbprints = (credential: Credential): string =>
  credential.type === 'certificates'
    ? credential.certificates.map(({ thumbprint }) => thumbprint).join(' ')
    : credential.type;

/** The fields in which two registries differ about a device. */
export const fleetDifferences = (a: Device, b: Device): FleetField[] =>
  fleetFields.filter((field) => comparable(a, field) !== comparable(b, field));

/** Without nulls, which a patch of any cloud's state takes for "remove this". */
export function withoutNulls(state: JsonObject): JsonObject {
  return Object.fromEntries(
    Object.entries(state).flatMap(([name, value]) => {
      if (value === null) return [];
      const nested = typeof value === 'object' && !Array.isArray(value);
      return [[name, nested ? withoutNulls(value) : value]];
    }),
  );
}

/** Devices that one activity copies: about 30 s of work where a device takes six calls of 100 a second. */
export const shardDevices = 500;

/** Stands on each device that a copy has made: an undo removes these and no others. Fits every cloud's rules. */
export const copyMark = ({ transfer, startedAt }: { transfer: string; startedAt: string }): string =>
  `${transfer}@${startedAt}`;
/** When the copy that left this mark began, milliseconds; NaN for what is no mark. */
export const markedAt = (mark: string): number => Date.parse(mark.slice(mark.lastIndexOf('@') + 1));

const Name = z.string().regex(/^[A-Za-z0-9_-]{1,64}$/, 'must match [A-Za-z0-9_-]{1,64}');
/** Share of the quota that an activity may use: one HTTP request is one call. */
const CallsPerSecond = z.number().min(1).max(10_000);
const Count = z.number().int().min(0);
const Refused = z.partialRecord(z.enum(fleetRefusals), Count);

export const CensusDevicesInput = z.strictObject({
  placement: PlacementRef,
  /** The files are kept in the records bucket of this one's place. */
  keptAt: PlacementRef,
  /** Names the files: the same in all activities of one run, another one in the next. */
  census: Name,
  /** Judges each device for a move to this cloud. */
  to: z.enum(providerTypes).nullable().default(null),
  /** Also counts who could be registered there and not arrive: until then certificates have to be valid. */
  validUntil: z.iso.datetime().optional(),
  callsPerSecond: CallsPerSecond,
});
export type CensusDevicesInput = z.input<typeof CensusDevicesInput>;

/** A device in a few words. */
export const DeviceRow = z.strictObject({
  id: z.string(),
  status: z.string(),
  credential: z.string(),
  groups: z.string(),
  lastSeen: z.string(),
});
export type DeviceRow = z.infer<typeof DeviceRow>;

export const deviceRow = ({ id, status, credential, groups, lastSeen }: Device): DeviceRow => ({
  id,
  status,
  credential: credential.type,
  groups: groups.join(' '),
  lastSeen,
});

/** Rows that an answer shows; the others are in its file. */
export const firstRows = 20;

export const Census = z.strictObject({
  devices: Count,
  disabled: Count,
  credentials: z.partialRecord(z.enum(['certificates', 'authority', 'key', 'none']), Count),
  /** Devices that the other cloud cannot hold, by the reason. */
  refused: Refused,
  /** Devices that it can hold and that could not arrive. */
  unable: z.partialRecord(z.enum(inabilities), Count).optional(),
  /** Devices that move and leave something behind, by what (`fleetGaps`). */
  partly: z.record(z.string(), Count),
  /** Of all these, those that go once they have claimed another certificate, by what it stands in for. */
  claims: z.record(z.string(), Count).optional(),
  /** Files of at most `shardDevices` devices each, numbered from 0. */
  shards: Count,
  /** Key prefix of these files: JSON lines in gzip. */
  files: z.string(),
  /** Key prefix of the files that name each refused device and why, JSON lines; '' where there are none. */
  refusedFiles: z.string(),
  first: z.array(DeviceRow),
});
export type Census = z.infer<typeof Census>;

/** What every activity of one copy is told. */
const Copy = z.strictObject({
  target: PlacementRef,
  /** Name of the copy, and of the census that it takes its devices from. */
  transfer: Name,
  startedAt: z.iso.datetime(),
  /** Stands in the mark in place of `transfer`, where several copies are taken back as one. */
  mark: Name.optional(),
});

export const CopyDevicesInput = Copy.extend({
  shard: Count,
  /** The next one tries again what the one before has not moved. */
  attempt: Count.default(0),
  /** Who can claim a certificate that is valid longer is not registered with its own one that ends before. */
  validUntil: z.iso.datetime().optional(),
  callsPerSecond: CallsPerSecond,
});
export type CopyDevicesInput = z.input<typeof CopyDevicesInput>;

/**
 * What became of a device. `there`: the same was registered before. `differs`: something else stands under its ID, which was
 * left as it is. `refused`: the cloud cannot hold it. `failed`: it may work another time.
 */
export const Outcome = z.strictObject({
  id: z.string(),
  outcome: z.enum(['moved', 'there', 'differs', 'refused', 'failed']),
  /** Reason of a refusal, fields that differ, kind of the failure. */
  why: z.string(),
  /** What of it has no place there (`fleetGaps`). */
  without: z.array(z.string()),
});
export type Outcome = z.infer<typeof Outcome>;

export interface CopiedDevices {
  moved: number;
  there: number;
  differs: number;
  refused: number;
  failed: number;
  /** First of those that another attempt may move, at most 5. */
  left: Outcome[];
  /** Keys of the outcome of each device: JSON lines, and the same as CSV. */
  outcome: string;
  table: string;
}

export const RemoveCopiedDevicesInput = Copy.extend({ shard: Count, callsPerSecond: CallsPerSecond });
export type RemoveCopiedDevicesInput = z.infer<typeof RemoveCopiedDevicesInput>;

export interface RemovedDevices {
  removed: number;
}

export const DiffDevicesInput = z.strictObject({
  keptAt: PlacementRef,
  /** Names of two censuses. */
  left: Name,
  right: Name,
  /** Who is on the right alone and is no copy is `born` there, not `extra`. */
  born: z.literal(true).optional(),
  /** Name of a move: on the left its devices are taken with the certificates that were made for them. */
  claimed: Name.optional(),
});
export type DiffDevicesInput = z.infer<typeof DiffDevicesInput>;

/** A device about which two registries differ: `missing` on the right, `extra` or `born` there, or in which fields. */
export const DeviceDifference = z.strictObject({ id: z.string(), differs: z.array(z.string()) });
export type DeviceDifference = z.infer<typeof DeviceDifference>;

export const DiffedDevices = z.strictObject({
  same: Count,
  different: z.record(z.string(), Count),
  /** Key prefix of the report: JSON lines, one for each device that differs; '' where there are none. */
  report: z.string(),
  first: z.array(DeviceDifference),
});
export type DiffedDevices = z.infer<typeof DiffedDevices>;

/** Which files of a census or copy are read: a page is one of them. */
export const deviceReports = ['devices', 'refused', 'diff', 'outcomes'] as const;
export const ReadDevicesInput = z.strictObject({
  keptAt: PlacementRef,
  name: Name,
  report: z.enum(deviceReports),
  page: Count,
});
export type ReadDevicesInput = z.infer<typeof ReadDevicesInput>;

/** At most a thousand rows. */
export const DeviceRows = z.strictObject({ rows: z.array(z.record(z.string(), z.string())), pages: Count });
export type DeviceRows = z.infer<typeof DeviceRows>;

/**
 * Requests a second that a registry takes by default. AWS: 10 of each kind for certificates, some six kinds a device
 * (https://docs.aws.amazon.com/general/latest/gr/iot-core.html). Azure: 100 twin reads and 50 updates of the smallest hub
 * (https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-quotas-throttling). GCP: writes to a bucket that is not used to
 * more (https://cloud.google.com/storage/docs/request-rate). 2026-11-28; AWS and GCP from memory.
 */
export const registryCallsPerSecond: Record<ProviderType, number> = { aws: 60, azure: 50, gcp: 1000 };

/** What the activities do; each may be repeated at any point. */
export interface DeviceActivities {
  /** Lists a registry into files, and judges each device for a move. */
  censusDevices(input: CensusDevicesInput): Promise<Census>;
  /** Registers the devices of one file of a census, named as the transfer, at the target. */
  copyDevices(input: CopyDevicesInput): Promise<CopiedDevices>;
  /** Takes back what `copyDevices` has registered. */
  removeCopiedDevices(input: RemoveCopiedDevicesInput): Promise<RemovedDevices>;
  /** Compares two censuses; asks no registry. */
  diffDevices(input: DiffDevicesInput): Promise<DiffedDevices>;
  /** Reads what the others have written, page by page. */
  readDevices(input: ReadDevicesInput): Promise<DeviceRows>;
}
