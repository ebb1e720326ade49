/** One device in the registry: a thing with its certificates. */
import {
  DeleteCertificateCommand,
  DeleteThingCommand,
  DetachPolicyCommand,
  DetachThingPrincipalCommand,
  type IoTClient,
  ListAttachedPoliciesCommand,
  ListThingPrincipalsCommand,
  UpdateCertificateCommand,
} from '@aws-sdk/client-iot';
import { topicRoot } from '../../../model/device-endpoint.ts';
import { resourceName } from '../../../model/names.ts';
import type { Placement } from '../../../model/service.ts';
import { gone, ifFound } from './errors.ts';

/** Devices that prove the way through and are removed again. */
export const canaryPrefix = (placement: Placement): string => `${resourceName(placement, { limit: 90 })}-canary-`;

/** Topics of a placement. `device` may be a policy variable. */
export const topicOf = ({ owner }: Placement, direction: 'dt' | 'cmd', device: string, rest: string): string =>
  `${direction}/${topicRoot(owner)}/${device}/${rest}`;

/** Removes a certificate with all that holds it. */
export async function removeCertificate(iot: IoTClient, arn: string, abortSignal: AbortSignal): Promise<void> {
  const options = { abortSignal };
  const certificateId = arn.slice(arn.lastIndexOf('/') + 1);
  const attached = await ifFound(iot.send(new ListAttachedPoliciesCommand({ target: arn }), options));
  for (const { policyName } of attached?.policies ?? [])
    await gone(iot.send(new DetachPolicyCommand({ policyName, target: arn }), options));
  await gone(iot.send(new UpdateCertificateCommand({ certificateId, newStatus: 'INACTIVE' }), options));
  await gone(iot.send(new DeleteCertificateCommand({ certificateId, forceDelete: true }), options));
}

/** Removes a thing, and its certificates, which are no use to anything else. */
export async function removeThing(iot: IoTClient, thingName: string, abortSignal: AbortSignal): Promise<void> {
  const options = { abortSignal };
  const principals = await ifFound(iot.send(new ListThingPrincipalsCommand({ thingName }), options));
  for (const principal of principals?.principals ?? []) {
    await gone(iot.send(new DetachThingPrincipalCommand({ thingName, principal }), options));
    await removeCertificate(iot, principal, abortSignal);
  }
  await gone(iot.send(new DeleteThingCommand({ thingName }), options));
}
