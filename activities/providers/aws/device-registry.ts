/**
 * The devices of AWS IoT Core: a thing with its certificates, policy, groups and shadow, some six calls each. A device belongs
 * to the placement once its thing is in the placement's group, which is the last that a copy does: what an interrupted one has
 * begun is no device yet, bears the copy's mark, and is finished or taken back by whoever comes next.
 */
import { X509Certificate } from 'node:crypto';
import {
  AddThingToThingGroupCommand,
  AttachPolicyCommand,
  AttachThingPrincipalCommand,
  CreateThingCommand,
  CreateThingGroupCommand,
  DeleteThingCommand,
  DescribeCertificateCommand,
  DescribeThingCommand,
  DetachThingPrincipalCommand,
  ListAttachedPoliciesCommand,
  ListPrincipalThingsCommand,
  ListThingGroupsForThingCommand,
  ListThingPrincipalsCommand,
  ListThingsInThingGroupCommand,
  RegisterCertificateWithoutCACommand,
  RemoveThingFromThingGroupCommand,
  UpdateCertificateCommand,
  UpdateThingCommand,
} from '@aws-sdk/client-iot';
import {
  DeleteThingShadowCommand,
  GetThingShadowCommand,
  UpdateThingShadowCommand,
} from '@aws-sdk/client-iot-data-plane';
import { z } from 'zod';
import { CloudError } from '../../../model/errors.ts';
import {
  type Credential,
  comparable,
  type Device,
  fleetDifferences,
  markedAt,
  withoutNulls,
} from '../../../model/fleet.ts';
import {
  copiedByAttribute,
  fromThingAttributes,
  fromThingBesides,
  fromThingGroup,
  mostThingAttributes,
  toThingAttributes,
  toThingBesides,
  toThingGroup,
} from '../../../model/fleet-mapping.ts';
import { justInTimeAuthority } from '../../../model/just-in-time.ts';
import { patchBetween, replicated } from '../../../model/replicated-device.ts';
import type { JsonObject } from '../../../model/service.ts';
import type { PlacementRef } from '../../../model/transfer.ts';
import type { Ask, DeviceRegistry, Put, StandingDevice, StandingDevices } from '../device-registry.ts';
import { outputOf } from '../object-store.ts';
import type { Clients } from './clients.ts';
import { gone, ifFound, isKind } from './errors.ts';
import { canaryPrefix, removeCertificate, retireCertificate } from './iot-device.ts';
import { iotArn } from './iot-resource.ts';

/** What a page of a group's members holds at most. https://docs.aws.amazon.com/iot/latest/apireference/API_ListThingsInThingGroup.html */
const pageSize = 250;
/** Clocks of ours and of AWS may differ by so much. */
const skewMs = 5 * 60_000;

const State = z.record(z.string(), z.json()).default({});
const Shadow = z.object({
  state: z.object({ desired: State, reported: State }).prefault({}),
  metadata: z.object({ desired: z.json() }).partial().optional(),
  version: z.number().optional(),
});

/** A certificate as it is registered. */
interface Registered {
  thumbprint: string;
  der: string;
  active: boolean;
  policies: string[];
  /** Milliseconds. */
  changedAt: number;
}

/** A thing as it was read, with what a change of it depends on. */
interface Thing {
  device: Device;
  member: boolean;
  thingTypeName: string | undefined;
  attributes: Readonly<Record<string, string>>;
  version: number;
  certificates: readonly Registered[];
  /** Names of its thing groups but for the placement's. */
  groups: readonly string[];
  desired: JsonObject;
  /** Undefined where there is none. */
  shadowVersion: number | undefined;
  changedAt: number;
}

const derOf = (pem: string): string => new X509Certificate(pem).raw.toString('base64');
const pemOf = (der: string): string => new X509Certificate(Buffer.from(der, 'base64')).toString();

export function iotDevices(
  clients: Clients,
  placement: PlacementRef,
  ask: Ask,
  abortSignal: AbortSignal,
): DeviceRegistry {
  const own = outputOf(placement, 'group', 'group');
  const thingTypeName = outputOf(placement, 'type', 'thingType');
  const policyName = outputOf(placement, 'policy', 'policy');
  const iot = clients.iot(placement.region);
  const data = clients.iotData(placement.region);
  const options = { abortSignal };
  const arnOf = (thumbprint: string): string => iotArn(placement, `cert/${thumbprint}`);
  /** Groups that are known to be there. */
  const groups = new Map<string, Promise<unknown>>();

  async function certificate(principal: string): Promise<Registered | undefined> {
    const certificateId = principal.slice(principal.lastIndexOf('/') + 1);
    const [found, attached] = await Promise.all([
      ask('iot:DescribeCertificate', certificateId, () =>
        ifFound(iot.send(new DescribeCertificateCommand({ certificateId }), options)),
      ),
      ask('iot:ListAttachedPolicies', certificateId, () =>
        ifFound(iot.send(new ListAttachedPoliciesCommand({ target: principal }), options)),
      ),
    ]);
    const { certificatePem, status, creationDate, lastModifiedDate } = found?.certificateDescription ?? {};
    if (!certificatePem) return undefined;
    const policies = (attached?.policies ?? []).flatMap((one) => one.policyName ?? []);
    return {
      thumbprint: certificateId,
      der: derOf(certificatePem),
      active: status === 'ACTIVE',
      policies,
      changedAt: (lastModifiedDate ?? creationDate)?.getTime() ?? 0,
    };
  }

  /** The device of this name, and whether it is the placement's. */
  async function read(thingName: string): Promise<Thing | undefined> {
    const describe = new DescribeThingCommand({ thingName });
    const thing = await ask('iot:DescribeThing', thingName, () => ifFound(iot.send(describe, options)));
    if (!thing) return undefined;
    const [principals, member, shadow] = await Promise.all([
      ask('iot:ListThingPrincipals', thingName, () =>
        ifFound(iot.send(new ListThingPrincipalsCommand({ thingName }), options)),
      ),
      ask('iot:ListThingGroupsForThing', thingName, () =>
        ifFound(iot.send(new ListThingGroupsForThingCommand({ thingName }), options)),
      ),
      ask('iot:GetThingShadow', thingName, () => ifFound(data.send(new GetThingShadowCommand({ thingName }), options))),
    ]);
    const arns = (principals?.principals ?? []).filter((arn) => arn.includes(':cert/'));
    const certificates = (await Promise.all(arns.map(certificate))).filter((one) => one !== undefined);
    const enabled = certificates.some(({ active }) => active);
    const names = (member?.thingGroups ?? []).flatMap(({ groupName }) => groupName ?? []);
    const { state, metadata, version } = Shadow.parse(
      shadow?.payload ? JSON.parse(Buffer.from(shadow.payload).toString('utf8')) : {},
    );
    const policies = certificates.flatMap((one) => one.policies).filter((name) => name !== policyName);
    return {
      member: names.includes(own),
      thingTypeName: thing.thingTypeName,
      attributes: thing.attributes ?? {},
      version: Number(thing.version ?? 1),
      certificates,
      groups: names.filter((name) => name !== own),
      desired: withoutNulls(state.desired),
      shadowVersion: version,
      changedAt: Math.max(lastStamp(metadata?.desired), ...certificates.map(({ changedAt }) => changedAt)),
      device: {
        id: thingName,
        status: enabled ? 'enabled' : 'disabled',
        credential: credentialOf(certificates.filter(({ active }) => active === enabled)),
        groups: names
          .filter((name) => name !== own)
          .map((name) => fromThingGroup(own, name))
          .toSorted(),
        ...fromThingAttributes(thing.attributes ?? {}),
        desired: withoutNulls(state.desired),
        reported: withoutNulls(state.reported),
        permissions: [...new Set(policies)].sort(),
        extras: [],
        lastSeen: '',
      },
    };
  }

  async function put(device: Device, mark: string): Promise<Put> {
    const { id: thingName, credential, status } = device;
    try {
      const attributePayload = { attributes: toThingAttributes(device, mark) };
      const command = new CreateThingCommand({ thingName, thingTypeName, attributePayload });
      // Answers the same for a thing that an earlier attempt with this mark has made.
      await ask('iot:CreateThing', thingName, () => iot.send(command, options));
    } catch (error) {
      if (!isKind(error, 'AlreadyExists')) throw error;
      const known = await read(thingName);
      if (!known?.member) return { how: 'differs', fields: [] };
      const fields = fleetDifferences(device, known.device);
      return fields.length === 0 ? { how: 'there' } : { how: 'differs', fields };
    }
    const certificates = credential.type === 'certificates' ? credential.certificates : [];
    for (const [at, { thumbprint, der = '' }] of certificates.entries()) {
      if (!(await register(thumbprint, pemOf(der), status))) {
        const begun = certificates.slice(0, at);
        await remove({ ...device, credential: { type: 'certificates', certificates: begun } }, mark);
        return { how: 'differs', fields: ['status'] };
      }
      await attach(thingName, thumbprint);
    }
    const { desired, reported } = device;
    if (Object.keys(desired).length + Object.keys(reported).length > 0) {
      const payload = Buffer.from(JSON.stringify({ state: { desired, reported } }));
      const command = new UpdateThingShadowCommand({ thingName, payload });
      await ask('iot:UpdateThingShadow', thingName, () => data.send(command, options));
    }
    for (const group of device.groups.map((name) => toThingGroup(own, name))) {
      await groupExists(group);
      await join(thingName, group);
    }
    await join(thingName, own);
    return { how: 'moved' };
  }

  async function attach(thingName: string, thumbprint: string): Promise<void> {
    const principal = arnOf(thumbprint);
    const policy = new AttachPolicyCommand({ policyName, target: principal });
    await ask('iot:AttachPolicy', thingName, () => iot.send(policy, options));
    const command = new AttachThingPrincipalCommand({ thingName, principal });
    await ask('iot:AttachThingPrincipal', thingName, () => iot.send(command, options));
  }

  /** False where it is registered with another status: somebody else's, and not ours to change. */
  async function register(certificateId: string, certificatePem: string, status: Device['status']): Promise<boolean> {
    const wanted = status === 'enabled' ? 'ACTIVE' : 'INACTIVE';
    const command = new RegisterCertificateWithoutCACommand({ certificatePem, status: wanted });
    try {
      await ask('iot:RegisterCertificateWithoutCA', certificateId, () => iot.send(command, options));
      return true;
    } catch (error) {
      if (!isKind(error, 'AlreadyExists')) throw error;
    }
    const describe = new DescribeCertificateCommand({ certificateId });
    const found = await ask('iot:DescribeCertificate', certificateId, () => iot.send(describe, options));
    return found.certificateDescription?.status === wanted;
  }

  const groupExists = (thingGroupName: string): Promise<unknown> => {
    const known =
      groups.get(thingGroupName) ??
      ask('iot:CreateThingGroup', thingGroupName, () =>
        iot.send(new CreateThingGroupCommand({ thingGroupName }), options),
      ).catch((error: unknown) => {
        // Somebody has described it meanwhile.
        if (!isKind(error, 'AlreadyExists')) throw error;
      });
    groups.set(thingGroupName, known);
    return known;
  };

  const join = (thingName: string, thingGroupName: string): Promise<unknown> =>
    ask('iot:AddThingToThingGroup', thingName, () =>
      iot.send(new AddThingToThingGroupCommand({ thingName, thingGroupName }), options),
    );

  async function remove(device: Device, mark: string): Promise<number> {
    const { id: thingName, credential } = device;
    const describe = new DescribeThingCommand({ thingName });
    const thing = await ask('iot:DescribeThing', thingName, () => ifFound(iot.send(describe, options)));
    if (!thing || fromThingAttributes(thing.attributes ?? {}).copiedBy !== mark) return 0;
    const shadow = new DeleteThingShadowCommand({ thingName });
    await ask('iot:DeleteThingShadow', thingName, () => gone(data.send(shadow, options)));
    // Those that an earlier attempt has detached already are not listed any more.
    for (const { thumbprint } of credential.type === 'certificates' ? credential.certificates : []) {
      const principal = arnOf(thumbprint);
      const detach = new DetachThingPrincipalCommand({ thingName, principal });
      await ask('iot:DetachThingPrincipal', thingName, () => gone(iot.send(detach, options)));
      if (await madeBy(mark, thumbprint)) await removeCertificate(iot, principal, abortSignal, ask);
    }
    await ask('iot:DeleteThing', thingName, () => gone(iot.send(new DeleteThingCommand({ thingName }), options)));
    return 1;
  }

  /** Whether a certificate was registered by a copy: it is not older than that, and nothing else holds it. */
  async function madeBy(mark: string, certificateId: string): Promise<boolean> {
    const describe = new DescribeCertificateCommand({ certificateId });
    const found = await ask('iot:DescribeCertificate', certificateId, () => ifFound(iot.send(describe, options)));
    const created = found?.certificateDescription?.creationDate?.getTime() ?? Number.NEGATIVE_INFINITY;
    if (created < markedAt(mark) - skewMs) return false;
    return (await heldBy(certificateId)).length === 0;
  }

  /** Names of the things that a certificate is attached to. */
  async function heldBy(certificateId: string): Promise<string[]> {
    const list = new ListPrincipalThingsCommand({ principal: arnOf(certificateId) });
    const held = await ask('iot:ListPrincipalThings', certificateId, () => ifFound(iot.send(list, options)));
    return held?.things ?? [];
  }

  async function namesAfter(nextToken: string | undefined): Promise<{ names: string[]; next: string | undefined }> {
    const command = new ListThingsInThingGroupCommand({ thingGroupName: own, maxResults: pageSize, nextToken });
    const found = await ask('iot:ListThingsInThingGroup', own, () => iot.send(command, options));
    const prefix = canaryPrefix(placement);
    return { names: (found.things ?? []).filter((name) => !name.startsWith(prefix)), next: found.nextToken };
  }

  // Kept in step.

  /** What was read of each device that stands. */
  const things = new WeakMap<StandingDevice, Thing>();

  async function look(thingName: string): Promise<StandingDevice | undefined> {
    const thing = await read(thingName);
    if (!thing?.member) return undefined;
    const { device, attributes, changedAt } = thing;
    const standing = { device, ...fromThingBesides(attributes), modified: new Date(changedAt).toISOString() };
    things.set(standing, thing);
    return standing;
  }

  const refused = (kind: 'InvalidInput' | 'PreconditionFailed', resource: string, why: string): CloudError =>
    new CloudError({ kind, provider: 'aws', operation: 'write', resource }, why);

  const setAttributes = (
    thingName: string,
    attributes: Record<string, string>,
    { merge, expectedVersion }: { merge: boolean; expectedVersion: number },
  ): Promise<unknown> =>
    ask('iot:UpdateThing', thingName, () =>
      iot.send(
        new UpdateThingCommand({ thingName, attributePayload: { attributes, merge }, expectedVersion }),
        options,
      ),
    );

  /** The thing of a new device, which nobody sees before it is in the placement's group. */
  async function begin(device: Device, attributes: Record<string, string>): Promise<Thing | undefined> {
    const { id: thingName } = device;
    const command = new CreateThingCommand({ thingName, thingTypeName, attributePayload: { attributes } });
    try {
      await ask('iot:CreateThing', thingName, () => iot.send(command, options));
      return undefined;
    } catch (error) {
      if (!isKind(error, 'AlreadyExists')) throw error;
    }
    const there = await read(thingName);
    if (!there || there.member) throw refused('PreconditionFailed', thingName, 'it has come meanwhile');
    if (there.thingTypeName !== thingTypeName || Object.keys(fromThingBesides(there.attributes).known).length === 0)
      throw refused('InvalidInput', thingName, 'its name is taken by a thing that is not of this placement');
    return there;
  }

  /** Its certificates become exactly these; one that nothing holds any more is no use to anybody. */
  async function credentialBecomes({ id: thingName, credential, status }: Device, there: readonly Registered[]) {
    const certificates = credential.type === 'certificates' ? credential.certificates : [];
    const wanted = status === 'enabled' ? ('ACTIVE' as const) : ('INACTIVE' as const);
    const obey = (certificateId: string): Promise<unknown> =>
      ask('iot:UpdateCertificate', certificateId, () =>
        iot.send(new UpdateCertificateCommand({ certificateId, newStatus: wanted }), options),
      );
    for (const { thumbprint, der } of certificates) {
      const known = there.find((one) => one.thumbprint === thumbprint);
      if (!known && !(await register(thumbprint, pemOf(der ?? ''), status))) {
        const holders = (await heldBy(thumbprint)).filter((name) => name !== thingName);
        if (holders.length > 0)
          throw refused(
            'InvalidInput',
            thingName,
            `its certificate is that of ${holders[0]} as well, in another status`,
          );
        await obey(thumbprint);
      } else if (known && known.active !== (status === 'enabled')) await obey(thumbprint);
      if (!known) await attach(thingName, thumbprint);
    }
    for (const { thumbprint, active } of there)
      if (!certificates.some((one) => one.thumbprint === thumbprint)) await release(thingName, thumbprint, active);
  }

  /** One that was put out of use before stays as it is. */
  async function release(thingName: string, thumbprint: string, used: boolean): Promise<void> {
    const principal = arnOf(thumbprint);
    const detach = new DetachThingPrincipalCommand({ thingName, principal });
    await ask('iot:DetachThingPrincipal', thingName, () => gone(iot.send(detach, options)));
    if (!used || (await heldBy(thumbprint)).length > 0) return;
    // Where devices of an authority come in by themselves, a certificate that is not known would.
    const forget = justInTimeAuthority(placement.configuration) === undefined ? removeCertificate : retireCertificate;
    await forget(iot, principal, abortSignal, ask);
  }

  async function groupsBecome({ id: thingName, groups: wanted }: Device, there: readonly string[]): Promise<void> {
    const known = new Map(there.map((name) => [fromThingGroup(own, name), name]));
    for (const name of wanted)
      if (!known.has(name)) {
        await groupExists(toThingGroup(own, name));
        await join(thingName, toThingGroup(own, name));
      }
    for (const [name, thingGroupName] of known)
      if (!wanted.includes(name)) {
        const command = new RemoveThingFromThingGroupCommand({ thingName, thingGroupName });
        await ask('iot:RemoveThingFromThingGroup', thingName, () => gone(iot.send(command, options)));
      }
  }

  async function desiredBecomes({ id: thingName }: Device, patch: JsonObject, version: number | undefined) {
    if (Object.keys(patch).length === 0) return;
    const payload = Buffer.from(JSON.stringify({ state: { desired: patch }, version }));
    const command = new UpdateThingShadowCommand({ thingName, payload });
    await ask('iot:UpdateThingShadow', thingName, () => data.send(command, options));
  }

  const standing: StandingDevices = {
    dated: false,
    // Two values of 800 characters, in base64.
    knownBytes: 1100,

    async list(token) {
      const { names, next } = await namesAfter(token);
      return { devices: names.map((id) => ({ id, tag: undefined, look: () => look(id) })), next };
    },

    find: look,

    async write(device, known, over) {
      const { id: thingName } = device;
      const before = over && things.get(over.standing);
      const copiedBy = before?.device.copiedBy ?? '';
      const { [copiedByAttribute]: mark, ...plain } = toThingAttributes(device, copiedBy);
      const attributes = {
        ...plain,
        ...(copiedBy !== '' && { [copiedByAttribute]: mark ?? '' }),
        ...toThingBesides(known),
      };
      // One more is there while it is begun.
      if (Object.keys(attributes).length >= mostThingAttributes)
        throw refused(
          'InvalidInput',
          thingName,
          `attributes: a thing has ${mostThingAttributes} at most, of which some are ours`,
        );
      const wanted = replicated(device);
      const written = { device, known, modified: new Date().toISOString(), begun: undefined };
      if (!over || !before) {
        const begun = await begin(device, attributes);
        await credentialBecomes(device, begun?.certificates ?? []);
        await desiredBecomes(device, patchBetween(begun?.desired ?? {}, wanted.desired), begun?.shadowVersion);
        await groupsBecome(device, begun?.groups ?? []);
        if (begun) await setAttributes(thingName, attributes, { merge: false, expectedVersion: begun.version });
        await join(thingName, own);
        return written;
      }
      const others = (['status', 'credential'] as const).some(
        (field) => comparable(before.device, field) !== comparable(device, field),
      );
      const desired = patchBetween(replicated(before.device).desired, wanted.desired);
      const inParts =
        others ||
        Object.keys(desired).length > 0 ||
        comparable(before.device, 'groups') !== comparable(device, 'groups');
      let { version: expectedVersion } = before;
      if (inParts) {
        await setAttributes(thingName, toThingBesides({}, over.version), { merge: true, expectedVersion });
        expectedVersion++;
        if (others || over.standing.begun !== undefined) await credentialBecomes(device, before.certificates);
        await desiredBecomes(device, desired, before.shadowVersion);
        await groupsBecome(device, before.groups);
      }
      await setAttributes(thingName, attributes, { merge: false, expectedVersion });
      return written;
    },

    async drop(over) {
      const before = things.get(over.standing);
      if (!before) return;
      const { device, certificates, version } = before;
      const { id: thingName } = device;
      await setAttributes(thingName, toThingBesides({}, over.version), { merge: true, expectedVersion: version });
      const shadow = new DeleteThingShadowCommand({ thingName });
      await ask('iot:DeleteThingShadow', thingName, () => gone(data.send(shadow, options)));
      const own = device.credential.type === 'certificates' ? device.credential.certificates : [];
      for (const { thumbprint } of certificates)
        await release(
          thingName,
          thumbprint,
          own.some((one) => one.thumbprint === thumbprint),
        );
      const command = new DeleteThingCommand({ thingName, expectedVersion: version + 1 });
      await ask('iot:DeleteThing', thingName, () => gone(iot.send(command, options)));
    },
  };

  return {
    standing,
    atOnce: 1,
    async page(token) {
      const { names, next } = await namesAfter(token);
      const devices = await Promise.all(names.map(read));
      return { devices: devices.flatMap((one) => one?.device ?? []), next };
    },
    put: (devices, mark) => Promise.all(devices.map((device) => put(device, mark))),
    async remove(devices, mark) {
      const removed = await Promise.all(devices.map((device) => remove(device, mark)));
      return removed.reduce((sum, one) => sum + one, 0);
    },
    async tell(thingName, texts) {
      // A shadow may be there without its thing, and would come to be.
      const describe = new DescribeThingCommand({ thingName });
      if (!(await ask('iot:DescribeThing', thingName, () => ifFound(iot.send(describe, options))))) return false;
      const payload = Buffer.from(JSON.stringify({ state: { desired: texts } }));
      const update = new UpdateThingShadowCommand({ thingName, payload });
      await ask('iot:UpdateThingShadow', thingName, () => data.send(update, options));
      return true;
    },
  };
}

/** The last of the times that a shadow keeps of each of its values, milliseconds; 0 where it has none. */
function lastStamp(metadata: unknown): number {
  if (typeof metadata !== 'object' || metadata === null) return 0;
  return Object.entries(metadata).reduce(
    (last, [name, inner]) =>
      Math.max(last, name === 'timestamp' && typeof inner === 'number' ? inner * 1000 : lastStamp(inner)),
    0,
  );
}

const credentialOf = (certificates: readonly Registered[]): Credential =>
  certificates.length === 0
    ? { type: 'none' }
    : {
        type: 'certificates',
        certificates: certificates
          .map(({ thumbprint, der }) => ({ thumbprint, der }))
          .toSorted((a, b) => (a.thumbprint < b.thumbprint ? -1 : 1)),
      };
