/**
 * A device as replication carries it, in the words of `model/fleet.ts`: what each registry keeps and each can be given, as one text
 * that is the same wherever it is read. Left out is what stays with a cloud: where it tells the device to go, what the device has
 * reported to it, who copied it there, and what no other cloud has a word for. Pure.
 */
import { Device, withoutNulls, withoutTexts } from './fleet.ts';
import type { Json, JsonObject } from './service.ts';
import { canonical } from './sha256.ts';

export const ReplicatedDevice = Device.pick({
  status: true,
  credential: true,
  groups: true,
  attributes: true,
  desired: true,
});
export type ReplicatedDevice = ReturnType<typeof ReplicatedDevice.parse>;

const isBag = (value: Json | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** An empty object says nothing, and a device shadow does not keep it. */
function withoutEmpty(state: JsonObject): JsonObject {
  const full: JsonObject = {};
  for (const [name, value] of Object.entries(state)) {
    const inner = isBag(value) ? withoutEmpty(value) : value;
    if (!isBag(inner) || Object.keys(inner).length > 0) full[name] = inner;
  }
  return full;
}

export function replicated({ status, credential, groups, attributes, desired }: ReplicatedDevice): ReplicatedDevice {
  const sorted =
    credential.type === 'certificates'
      ? {
          ...credential,
          certificates: credential.certificates.toSorted((a, b) => (a.thumbprint < b.thumbprint ? -1 : 1)),
        }
      : credential;
  return {
    status,
    credential: sorted,
    groups: [...new Set(groups)].sort(),
    attributes,
    desired: withoutEmpty(withoutNulls(withoutTexts(desired))),
  };
}

export const deviceText = (device: ReplicatedDevice): string => canonical(replicated(device));

/** Undefined for what is no such text. */
export function deviceFromText(text: string): ReplicatedDevice | undefined {
  try {
    const { data } = ReplicatedDevice.safeParse(JSON.parse(text));
    return data && replicated(data);
  } catch {
    return undefined;
  }
}

/** What turns one state into another where it is merged: null takes a name away. Empty where they are the same. */
export function patchBetween(from: JsonObject, to: JsonObject): JsonObject {
  const patch: JsonObject = {};
  for (const name of Object.keys(from)) if (!Object.hasOwn(to, name)) patch[name] = null;
  for (const [name, value] of Object.entries(to)) {
    const before = Object.hasOwn(from, name) ? from[name] : undefined;
    if (isBag(value) && isBag(before)) {
      const inner = patchBetween(before, value);
      if (Object.keys(inner).length > 0) patch[name] = inner;
    } else if (before === undefined || canonical(before) !== canonical(value)) patch[name] = value;
  }
  return patch;
}

/** What is there already in another form that says the same stays as it is: a number of a twin's tags, and its text. */
export function keepingForm(wanted: JsonObject, there: JsonObject): JsonObject {
  return Object.fromEntries(
    Object.entries(wanted).map(([name, value]) => {
      const before = Object.hasOwn(there, name) ? there[name] : undefined;
      if (isBag(value)) return [name, isBag(before) ? keepingForm(value, before) : value];
      const same = before !== undefined && !isBag(before) && JSON.stringify(before) === value;
      return [name, same ? before : value];
    }),
  );
}
