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
} from '@aws-sdk/client-iot';
import {
  DeleteThingShadowCommand,
  GetThingShadowCommand,
  UpdateThingShadowCommand,
} from '@aws-sdk/client-iot-data-plane';
import { z } from 'zod';
import { type Credential, type Device, fleetDifferences, markedAt, withoutNulls } from '../../../model/fleet.ts';
import { fromThingAttributes, fromThingGroup, toThingAttributes, toThingGroup } from '../../../model/fleet-mapping.ts';
import type { PlacementRef } from '../../../model/transfer.ts';
import type { Ask, DeviceRegistry, Put } from '../device-registry.ts';
import { outputOf } from '../object-store.ts';
import type { Clients } from './clients.ts';
import { gone, ifFound, isKind } from './errors.ts';
import { canaryPrefix, removeCertificate } from './iot-device.ts';
import { iotArn } from './iot-resource.ts';

/** What a page of a group's members holds at most. https://docs.aws.amazon.com/iot/latest/apireference/API_ListThingsInThingGroup.html */
const pageSize = 250;
/** Clocks of ours and of AWS may differ by so much. */
const skewMs = 5 * 60_000;

const State = z.record(z.string(), z.json()).default({});
const Shadow = z.object({ state: z.object({ desired: State, reported: State }).prefault({}) });

/** A certificate as it is registered. */
interface Registered {
  thumbprint: string;
  der: string;
  active: boolean;
  policies: string[];
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
    const { certificatePem, status } = found?.certificateDescription ?? {};
    if (!certificatePem) return undefined;
    const policies = (attached?.policies ?? []).flatMap((one) => one.policyName ?? []);
    return { thumbprint: certificateId, der: derOf(certificatePem), active: status === 'ACTIVE', policies };
  }

  /** The device of this name, and whether it is the placement's. */
  async function read(thingName: string): Promise<{ device: Device; member: boolean } | undefined> {
    const [thing, principals, member, shadow] = await Promise.all([
      ask('iot:DescribeThing', thingName, () => ifFound(iot.send(new DescribeThingCommand({ thingName }), options))),
      ask('iot:ListThingPrincipals', thingName, () =>
        ifFound(iot.send(new ListThingPrincipalsCommand({ thingName }), options)),
      ),
      ask('iot:ListThingGroupsForThing', thingName, () =>
        ifFound(iot.send(new ListThingGroupsForThingCommand({ thingName }), options)),
      ),
      ask('iot:GetThingShadow', thingName, () => ifFound(data.send(new GetThingShadowCommand({ thingName }), options))),
    ]);
    if (!thing) return undefined;
    const arns = (principals?.principals ?? []).filter((arn) => arn.includes(':cert/'));
    const certificates = (await Promise.all(arns.map(certificate))).filter((one) => one !== undefined);
    const enabled = certificates.some(({ active }) => active);
    const names = (member?.thingGroups ?? []).flatMap(({ groupName }) => groupName ?? []);
    const { state } = Shadow.parse(shadow?.payload ? JSON.parse(Buffer.from(shadow.payload).toString('utf8')) : {});
    const policies = certificates.flatMap((one) => one.policies).filter((name) => name !== policyName);
    return {
      member: names.includes(own),
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
      const principal = arnOf(thumbprint);
      const policy = new AttachPolicyCommand({ policyName, target: principal });
      await ask('iot:AttachPolicy', thingName, () => iot.send(policy, options));
      const attach = new AttachThingPrincipalCommand({ thingName, principal });
      await ask('iot:AttachThingPrincipal', thingName, () => iot.send(attach, options));
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
    const list = new ListPrincipalThingsCommand({ principal: arnOf(certificateId) });
    const held = await ask('iot:ListPrincipalThings', certificateId, () => ifFound(iot.send(list, options)));
    return (held?.things ?? []).length === 0;
  }

  return {
    atOnce: 1,
    async page(nextToken) {
      const command = new ListThingsInThingGroupCommand({ thingGroupName: own, maxResults: pageSize, nextToken });
      const found = await ask('iot:ListThingsInThingGroup', own, () => iot.send(command, options));
      const prefix = canaryPrefix(placement);
      const names = (found.things ?? []).filter((name) => !name.startsWith(prefix));
      const devices = await Promise.all(names.map(read));
      return { devices: devices.flatMap((one) => one?.device ?? []), next: found.nextToken };
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

const credentialOf = (certificates: readonly Registered[]): Credential =>
  certificates.length === 0
    ? { type: 'none' }
    : {
        type: 'certificates',
        certificates: certificates
          .map(({ thumbprint, der }) => ({ thumbprint, der }))
          .toSorted((a, b) => (a.thumbprint < b.thumbprint ? -1 : 1)),
      };
