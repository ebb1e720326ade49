/**
 * Devices of the fleet's authority that nobody has registered: AWS IoT registers one when it first connects, cuts it off, and knows it
 * when it comes again (just-in-time provisioning, https://docs.aws.amazon.com/iot/latest/developerguide/jit-provisioning.html). It
 * becomes a device as any other: a thing of the placement's type in its group, an active certificate with its policy.
 */
import { ListCertificatesByCACommand, ListPrincipalThingsCommand } from '@aws-sdk/client-iot';
import { bornAttribute } from '../../../model/fleet-mapping.ts';
import { authorityMark, justInTimeAuthority, justInTimeKey } from '../../../model/just-in-time.ts';
import { resourceName } from '../../../model/names.ts';
import type { JsonObject, Placement, ResourceSpec } from '../../../model/service.ts';
import type { Call, ResourceDriver } from '../driver.ts';
import type { Clients } from './clients.ts';
import { ifFound } from './errors.ts';
import { roleArn, roleSpec } from './iam-role.ts';
import { authorityDriver, certificateIdOf } from './iot-ca.ts';
import { removeCertificate } from './iot-device.ts';
import { iotArn } from './iot-resource.ts';
import { allPages } from './tags.ts';

const kind = 'aws.iot.just-in-time';
const roleSuffix = 'just-in-time-role';
const certificateIdParameter = 'AWS::IoT::Certificate::Id';
const nameParameter = 'AWS::IoT::Certificate::CommonName';

interface Registry {
  type: string;
  group: string;
  policy: string;
}

/** A thing that has come another way does not bear this certificate's attribute: provisioning fails there, and it keeps its own. */
const templateOf = ({ type, group, policy }: Registry): JsonObject => ({
  Parameters: { [certificateIdParameter]: { Type: 'String' }, [nameParameter]: { Type: 'String' } },
  Resources: {
    thing: {
      Type: 'AWS::IoT::Thing',
      Properties: {
        ThingName: { Ref: nameParameter },
        ThingTypeName: type,
        ThingGroups: [group],
        AttributePayload: { [bornAttribute]: { Ref: certificateIdParameter } },
      },
      OverrideSettings: { AttributePayload: 'FAIL', ThingTypeName: 'FAIL', ThingGroups: 'FAIL' },
    },
    certificate: {
      Type: 'AWS::IoT::Certificate',
      Properties: { CertificateId: { Ref: certificateIdParameter }, Status: 'ACTIVE' },
    },
    policy: { Type: 'AWS::IoT::Policy', Properties: { PolicyName: policy } },
  },
});

/** What AWS IoT does in the name of the role, as its own policy AWSIoTThingsRegistration has it, on things of this account and what is the placement's. */
function statements(placement: Placement, { type, group, policy }: Registry) {
  const allow = (Sid: string, Action: string[], ...on: string[]) => ({
    ...{ Sid, Effect: 'Allow' as const, Action: Action.map((action) => `iot:${action}`) },
    Resource: on.map((what) => iotArn(placement, what)),
  });
  return [
    allow('Things', ['CreateThing', 'DescribeThing', 'ListThingGroupsForThing', 'ListThingPrincipals'], 'thing/*'),
    allow('Type', ['CreateThing', 'DescribeThingType'], `thingtype/${type}`),
    allow('Group', ['AddThingToThingGroup', 'DescribeThingGroup'], 'thing/*', `thinggroup/${group}`),
    allow('Certificates', ['AttachThingPrincipal', 'DescribeCertificate', 'UpdateCertificate'], 'thing/*', 'cert/*'),
    allow('Policy', ['AttachPolicy', 'AttachPrincipalPolicy', 'GetPolicy'], `policy/${policy}`, 'cert/*'),
  ];
}

export function justInTimeSpecs(placement: Placement, registry: Registry): ResourceSpec[] {
  const pem = justInTimeAuthority(placement.configuration);
  if (pem === undefined) return [];
  const role = roleSpec(placement, 'iot.amazonaws.com', statements(placement, registry), roleSuffix);
  const mark = authorityMark(pem);
  return [
    role,
    {
      key: `${justInTimeKey}-${mark}`,
      kind,
      // A tag's key ends at 128 characters.
      name: resourceName(placement, { limit: 100, suffix: mark }),
      needs: ['type', 'group', 'policy', role.key],
      holdsData: false,
      desired: {
        certificateId: certificateIdOf(pem),
        status: 'ACTIVE',
        mode: 'SNI_ONLY',
        open: 'ENABLE',
        template: templateOf(registry),
        roleArn: roleArn(placement, role.name),
      },
    },
  ];
}

export const justInTimeDriver = (clients: Clients): ResourceDriver =>
  authorityDriver(clients, {
    kind,
    use: 'newborns',
    pemOf: ({ placement }) => justInTimeAuthority(placement.configuration) ?? '',
    registration: {
      of: ({ desired }) => ({ templateBody: JSON.stringify(desired.template), roleArn: String(desired.roleArn) }),
      properties: ({ certificateDescription, registrationConfig }) => ({
        open: certificateDescription?.autoRegistrationStatus ?? '',
        template: JSON.parse(registrationConfig?.templateBody ?? '{}'),
        roleArn: registrationConfig?.roleArn ?? '',
      }),
      taken:
        'this authority lets devices in for somebody else in this account and region already, and AWS sends them to one place only: name another one, or put the service elsewhere',
      clear: (certificateId, call) => dropUnused(clients, certificateId, call),
    },
  });

/** Certificates of the authority that are in nobody's use: out of use, or of devices that could not become any. */
async function dropUnused(clients: Clients, caCertificateId: string, { placement, signal }: Call): Promise<void> {
  const iot = clients.iot(placement.region);
  const found = await allPages(async (marker) => {
    const page = await iot.send(new ListCertificatesByCACommand({ caCertificateId, marker }), { abortSignal: signal });
    return { items: page.certificates ?? [], next: page.nextMarker };
  });
  for (const { certificateArn: principal = '', status } of found) {
    if (status === 'ACTIVE') continue;
    const list = new ListPrincipalThingsCommand({ principal });
    const holders = (await ifFound(iot.send(list, { abortSignal: signal })))?.things ?? [];
    if (holders.length === 0) await removeCertificate(iot, principal, signal);
  }
}
