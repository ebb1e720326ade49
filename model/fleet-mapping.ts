/**
 * How a device fits each cloud: what each takes, in which form it keeps what it has no word for, and the list of what does not
 * map, which `docs/fleet.md` publishes. Pure. GCP's registry is our own (`registered-device.ts`) and takes nearly everything.
 */
import { base64urlnopad, utf8 } from '@scure/base';
import { z } from 'zod';
import type { Device } from './fleet.ts';
import { DeviceId } from './registered-device.ts';
import type { Json, JsonObject, ProviderType } from './service.ts';

/** Why a cloud cannot hold a device. */
export const fleetRefusals = [
  'id',
  'no-credential',
  'key',
  'no-certificate',
  'sha1',
  'certificates',
  'attributes',
  'groups',
  'state',
] as const;
export type FleetRefusal = (typeof fleetRefusals)[number];

/** What a device leaves behind that moves all the same. */
export const fleetLosses = ['permissions', 'edge', 'parent', 'model', 'status-reason'] as const;
export type FleetLoss = (typeof fleetLosses)[number];

export interface FleetGap {
  name: FleetRefusal | FleetLoss | 'groups-aside' | 'encoded' | 'typed-tags' | 'last-seen' | 'versions' | 'delivery';
  from: readonly ProviderType[];
  to: readonly ProviderType[];
  /** `refused`: the device stays. `lost`: it moves without it. `changed`: it arrives in another form, the same for `diff`. */
  becomes: 'refused' | 'lost' | 'changed';
  text: string;
}

const every = ['aws', 'azure', 'gcp'] as const;

/** What does not map, by direction. Shown before a fleet is copied, and in the documentation. */
export const fleetGaps: readonly FleetGap[] = [
  {
    name: 'id',
    from: ['azure', 'gcp'],
    to: ['aws'],
    becomes: 'refused',
    text: 'AWS takes letters, digits, `:`, `_` and `-` in the name of a thing; a device is known by its ID, so none is given another',
  },
  {
    name: 'id',
    from: ['aws', 'azure'],
    to: ['gcp'],
    becomes: 'refused',
    text: 'our registry takes letters, digits, `.`, `_`, `:` and `-`, beginning with a letter or digit',
  },
  {
    name: 'no-certificate',
    from: ['azure', 'gcp'],
    to: ['aws'],
    becomes: 'refused',
    text: 'AWS must be given the certificate itself, where the registry holds a thumbprint or trusts a CA: the device has to claim a new one. Devices that were once copied from AWS carry theirs along',
  },
  {
    name: 'sha1',
    from: ['azure'],
    to: ['aws', 'gcp'],
    becomes: 'refused',
    text: 'a SHA-1 thumbprint is not trusted elsewhere: the device has to claim a new certificate, or be given its SHA-256 thumbprint first',
  },
  {
    name: 'key',
    from: ['azure'],
    to: ['aws', 'gcp'],
    becomes: 'refused',
    text: 'a symmetric key does not leave the cloud, and no other takes one: the device has to claim a certificate',
  },
  {
    name: 'no-credential',
    from: ['aws', 'azure'],
    to: every,
    becomes: 'refused',
    text: 'a device without any credential could not connect',
  },
  {
    name: 'certificates',
    from: ['aws'],
    to: ['azure', 'gcp'],
    becomes: 'refused',
    text: 'more than two certificates of one status at once: the device has to claim a new one, or lose some first',
  },
  {
    name: 'attributes',
    from: ['azure', 'gcp'],
    to: ['aws'],
    becomes: 'refused',
    text: 'AWS takes 50 attributes, names of letters, digits and `_.,@/:#-`, values of 800 characters; one is ours on a copy',
  },
  {
    name: 'attributes',
    from: ['aws', 'gcp'],
    to: ['azure'],
    becomes: 'refused',
    text: 'tags take 8 KB with the certificate that goes along, values 4 KB; a dot in a name becomes a level of its own, and no level may hold `$`, a space, or be a value as well',
  },
  {
    name: 'groups',
    from: ['azure', 'gcp'],
    to: ['aws'],
    becomes: 'refused',
    text: 'a thing is in ten groups at most, one of which is that of its placement; names of 60 letters, digits, `:`, `_` and `-`',
  },
  {
    name: 'state',
    from: ['azure', 'gcp'],
    to: ['aws'],
    becomes: 'refused',
    text: 'a shadow holds 8 KB, eight levels deep',
  },
  {
    name: 'state',
    from: ['aws', 'gcp'],
    to: ['azure'],
    becomes: 'refused',
    text: 'desired and reported properties hold 32 KB each, ten levels deep, without `.`, `$` or a space in a name',
  },
  {
    name: 'permissions',
    from: ['aws'],
    to: ['azure', 'gcp'],
    becomes: 'lost',
    text: 'policies of its own: elsewhere every device has the rights of its placement and no more',
  },
  { name: 'edge', from: ['azure'], to: ['aws', 'gcp'], becomes: 'lost', text: 'that it is an IoT Edge device' },
  { name: 'parent', from: ['azure'], to: ['aws', 'gcp'], becomes: 'lost', text: 'the gateway that it is behind' },
  { name: 'model', from: ['azure'], to: ['aws', 'gcp'], becomes: 'lost', text: 'its Plug and Play model' },
  { name: 'status-reason', from: ['azure'], to: ['aws', 'gcp'], becomes: 'lost', text: 'why it was disabled' },
  { name: 'last-seen', from: ['azure'], to: ['aws', 'gcp'], becomes: 'lost', text: 'when it was active last' },
  {
    name: 'versions',
    from: every,
    to: every,
    becomes: 'lost',
    text: 'versions and times of its state: the copy begins to count anew',
  },
  {
    name: 'groups-aside',
    from: ['aws', 'gcp'],
    to: ['azure'],
    becomes: 'changed',
    text: 'an IoT hub has no groups: they stand in the tag `multiCloud`, with the certificate for the way back',
  },
  {
    name: 'encoded',
    from: ['azure', 'gcp'],
    to: ['aws'],
    becomes: 'changed',
    text: 'an attribute value with characters that AWS does not take stands there as `base64:` and base64url',
  },
  {
    name: 'typed-tags',
    from: ['azure'],
    to: ['aws', 'gcp'],
    becomes: 'changed',
    text: 'attributes are text: numbers, booleans and lists among the tags become their JSON, levels become names with dots',
  },
  {
    name: 'delivery',
    from: ['aws', 'azure'],
    to: ['gcp'],
    becomes: 'changed',
    text: 'the registry keeps desired and reported state; our broker does not hand it to devices',
  },
];

/** For people, one line a gap. */
export const gapsBetween = (from: ProviderType, to: ProviderType): FleetGap[] =>
  fleetGaps.filter((gap) => from !== to && gap.from.includes(from) && gap.to.includes(to));

/**
 * What each cloud takes.
 * AWS: https://docs.aws.amazon.com/iot/latest/apireference/API_ThingDocument.html and
 * https://docs.aws.amazon.com/general/latest/gr/iot-core.html (2026-11-28).
 * Azure: https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-identity-registry and
 * https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-device-twins (2026-11-28).
 */
const idOf: Record<ProviderType, z.ZodType<string>> = {
  aws: z.string().regex(/^[a-zA-Z0-9:_-]{1,128}$/),
  azure: z.string().regex(/^[A-Za-z0-9\-:.+%_#*?!(),=@;$']{1,128}$/),
  gcp: DeviceId,
};
export const mostThingAttributes = 50;
const thing = {
  attributes: mostThingAttributes,
  attributeName: /^[a-zA-Z0-9_.,@/:#-]{1,128}$/,
  value: /^[a-zA-Z0-9_.,@/:#=[\]-]{1,800}$/,
  groups: 10,
  /** 128 characters, before which the name of the placement's own group stands (`model/names.ts`: 65 at most). */
  group: /^[a-zA-Z0-9:_-]{1,60}$/,
  shadowBytes: 8 * 1024,
  shadowLevels: 8,
};
const twin = { tagBytes: 8 * 1024, stateBytes: 32 * 1024, valueBytes: 4 * 1024, nameBytes: 1024, levels: 10 };

export const takesId = (type: ProviderType, id: string): boolean => idOf[type].safeParse(id).success;

const bytesOf = (value: unknown): number => utf8.decode(JSON.stringify(value)).length;

/** Whether a cloud can hold a device, and what it then leaves behind. `detail` names the part that does not fit. */
export function judgeDevice(
  device: Device,
  to: ProviderType,
): { refusal: FleetRefusal | undefined; detail: string; without: FleetLoss[] } {
  const without = [
    ...(device.permissions.length > 0 ? ['permissions' as const] : []),
    ...fleetLosses.filter((loss) => device.extras.includes(loss)),
  ];
  const [refusal, detail = ''] = refusalOf(device, to) ?? [];
  return { refusal, detail, without };
}

function refusalOf(device: Device, type: ProviderType): [FleetRefusal, string?] | undefined {
  const { credential } = device;
  if (!takesId(type, device.id)) return ['id'];
  if (credential.type === 'none') return ['no-credential'];
  if (credential.type === 'key') return ['key'];
  if (credential.type === 'certificates') {
    const { certificates } = credential;
    if (type !== 'azure' && certificates.some(({ thumbprint }) => thumbprint.length === 40)) return ['sha1'];
    if (type !== 'aws' && certificates.length > 2) return ['certificates', String(certificates.length)];
  }
  if (type === 'aws') {
    const known = credential.type === 'certificates' && credential.certificates.every(({ der }) => der !== undefined);
    if (!known) return ['no-certificate'];
    const attributes = Object.entries(toThingAttributes(device, ''));
    if (attributes.length > thing.attributes) return ['attributes', String(attributes.length)];
    const odd = attributes.find(([name, value]) => !thing.attributeName.test(name) || value.length > 800);
    if (odd) return ['attributes', odd[0]];
    const ours = Object.keys(device.attributes).find(
      (name) => [copiedByAttribute, bornAttribute].includes(name) || name.startsWith(besides),
    );
    if (ours !== undefined) return ['attributes', ours];
    if (device.groups.length >= thing.groups) return ['groups', String(device.groups.length)];
    const strange = device.groups.find((name) => !thing.group.test(name));
    if (strange !== undefined) return ['groups', strange];
    const { desired, reported } = device;
    if (bytesOf({ desired, reported }) > thing.shadowBytes) return ['state', 'size'];
    if (levels(desired) > thing.shadowLevels || levels(reported) > thing.shadowLevels) return ['state', 'levels'];
  }
  if (type === 'azure') {
    const tags = toTwinTags(device, 'x'.repeat(100));
    if (typeof tags === 'string') return ['attributes', tags];
    if (bytesOf(tags) > twin.tagBytes) return ['attributes', 'size'];
    for (const name of ['desired', 'reported'] as const) {
      const problem = oddState(device[name]);
      if (problem) return ['state', `${name}: ${problem}`];
    }
  }
  return undefined;
}

const levels = (value: Json): number =>
  typeof value === 'object' && value !== null ? 1 + Math.max(0, ...Object.values(value).map(levels)) : 0;

/** https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-device-twins#tags-and-properties-format */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
const twinName = /^[^\u0000-\u001f\u007f-\u009f.$ ]+$/;

function oddState(state: JsonObject): string | undefined {
  if (bytesOf(state) > twin.stateBytes) return 'size';
  if (levels(state) > twin.levels) return 'levels';
  const odd = (value: Json): string | undefined => {
    if (typeof value === 'string') return bytesOf(value) > twin.valueBytes ? 'a long value' : undefined;
    if (typeof value !== 'object' || value === null) return undefined;
    for (const [name, inner] of Object.entries(value)) {
      if (!Array.isArray(value) && !twinName.test(name)) return name;
      const within = odd(inner);
      if (within !== undefined) return within;
    }
    return undefined;
  };
  return odd(state);
}

/** Name of the attribute of a thing that holds the mark of its copy. */
export const copiedByAttribute = 'multi-cloud-copied-by';
/** Of the one that holds the certificate which a device came in with that nobody had registered. */
export const bornAttribute = 'multi-cloud-born';
/** Begins the names of attributes in which stands what replication knows of a thing. */
const besides = 'multi-cloud.';
/** Stands on a thing while a copy is changing it: the version that it had before. */
const begunName = 'begun';
const encoded = 'base64:';

/** Attributes of a thing; what AWS does not take as a value is encoded. */
export const toThingAttributes = (device: Device, mark: string): Record<string, string> => ({
  ...Object.fromEntries(
    Object.entries(device.attributes).map(([name, value]) => [
      name,
      thing.value.test(value) && !value.startsWith(encoded)
        ? value
        : encoded + base64urlnopad.encode(utf8.decode(value)),
    ]),
  ),
  [copiedByAttribute]: mark,
});

/** Attributes of a thing in which stands what replication knows of it. */
export const toThingBesides = (known: Readonly<Record<string, string>>, begun?: string): Record<string, string> => ({
  ...Object.fromEntries(
    Object.entries(known).map(([name, text]) => [besides + name, base64urlnopad.encode(utf8.decode(text))]),
  ),
  ...(begun !== undefined && { [besides + begunName]: begun }),
});

export function fromThingBesides(all: Readonly<Record<string, string>>): {
  known: Record<string, string>;
  begun: string | undefined;
} {
  const { [besides + begunName]: begun, ...own } = all;
  const known: Record<string, string> = {};
  for (const [name, value] of Object.entries(own))
    if (name.startsWith(besides))
      try {
        known[name.slice(besides.length)] = utf8.encode(base64urlnopad.decode(value));
      } catch {
        // somebody's own
      }
  return { known, begun };
}

export function fromThingAttributes(all: Readonly<Record<string, string>>): Pick<Device, 'attributes' | 'copiedBy'> {
  const { [copiedByAttribute]: copiedBy = '', [bornAttribute]: _, ...others } = all;
  const own = Object.fromEntries(Object.entries(others).filter(([name]) => !name.startsWith(besides)));
  const plain = (value: string): string => {
    if (!value.startsWith(encoded)) return value;
    try {
      return utf8.encode(base64urlnopad.decode(value.slice(encoded.length)));
    } catch {
      return value; // somebody's own
    }
  };
  return { attributes: Object.fromEntries(Object.entries(own).map(([name, value]) => [name, plain(value)])), copiedBy };
}

/** A group of devices as a thing group of a placement, whose own group has the name `own`. */
export const toThingGroup = (own: string, group: string): string => `${own}:${group}`;
/** The other way round; thing groups that are not the placement's keep their names. */
export const fromThingGroup = (own: string, name: string): string =>
  name.startsWith(`${own}:`) ? name.slice(own.length + 1) : name;

/** The tag of a twin in which stands what an IoT hub has no word for. */
const aside = 'multiCloud';
const Aside = z.looseObject({
  copiedBy: z.string().default(''),
  groups: z.array(z.string()).default([]),
  /** Certificates, base64 of DER, by their thumbprints. */
  certificates: z.record(z.string(), z.string()).default({}),
  /** What replication knows of the device, and the version that it had when a copy began to change it. */
  known: z.record(z.string(), z.string()).default({}),
  begun: z.string().optional(),
});

/** Tags of a twin; a name with dots becomes levels. The name of the attribute that cannot be one, where there is one. */
export function toTwinTags(device: Device, mark: string): JsonObject | string {
  const tags: JsonObject = {};
  for (const [name, value] of Object.entries(device.attributes)) {
    const path = name.split('.');
    const last = path.pop() ?? '';
    const fits = [...path, last].every((part) => twinName.test(part) && bytesOf(part) <= twin.nameBytes);
    if (!fits || path.length >= twin.levels || bytesOf(value) > twin.valueBytes || (path[0] ?? last) === aside)
      return name;
    let at = tags;
    for (const part of path) {
      const inner = Object.hasOwn(at, part) ? at[part] : {};
      if (typeof inner !== 'object' || inner === null || Array.isArray(inner)) return name;
      at[part] = inner;
      at = inner;
    }
    if (Object.hasOwn(at, last)) return name;
    at[last] = value;
  }
  const { credential, groups } = device;
  const certificates = credential.type === 'certificates' ? credential.certificates : [];
  const known = certificates.flatMap(({ thumbprint, der }) => (der === undefined ? [] : [[thumbprint, der] as const]));
  tags[aside] = { copiedBy: mark, groups: [...groups], certificates: Object.fromEntries(known) };
  return tags;
}

/** A patch of a twin's tags that says only this: a copy has begun to change the device. */
export const begunTag = (version: string): JsonObject => ({ [aside]: { begun: version } });

/** Tags of a twin in which stands what replication knows of it as well. */
export function toReplicatedTags(device: Device, known: Readonly<Record<string, string>>): JsonObject | string {
  const tags = toTwinTags(device, device.copiedBy);
  if (typeof tags === 'string') return tags;
  return { ...tags, [aside]: { ...(tags[aside] as JsonObject), known: { ...known } } };
}

export interface FromTags {
  attributes: Record<string, string>;
  groups: string[];
  copiedBy: string;
  certificates: Record<string, string>;
}

export function knownInTags({ [aside]: kept }: JsonObject): {
  known: Record<string, string>;
  begun: string | undefined;
} {
  const { known, begun } = Aside.safeParse(kept ?? {}).data ?? Aside.parse({});
  return { known, begun };
}

export function fromTwinTags({ [aside]: kept, ...tags }: JsonObject): FromTags {
  const attributes: Record<string, string> = {};
  const flatten = (value: JsonObject, prefix: string): void => {
    for (const [name, inner] of Object.entries(value))
      if (typeof inner === 'object' && inner !== null && !Array.isArray(inner)) flatten(inner, `${prefix}${name}.`);
      else attributes[prefix + name] = typeof inner === 'string' ? inner : JSON.stringify(inner);
  };
  flatten(tags, '');
  // What somebody else has put there is no word of ours.
  const { copiedBy, groups, certificates } = Aside.safeParse(kept ?? {}).data ?? Aside.parse({});
  return { attributes, groups: groups.toSorted(), copiedBy, certificates };
}
