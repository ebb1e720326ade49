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
import { DeleteThingShadowCommand, type IoTDataPlaneClient } from '@aws-sdk/client-iot-data-plane';
import { topicRoot } from '../../../model/device-endpoint.ts';
import { resourceName } from '../../../model/names.ts';
import type { Placement } from '../../../model/service.ts';
import type { Ask } from '../device-registry.ts';
import { gone, ifFound } from './errors.ts';

/** Devices that prove the way through and are removed again. */
export const canaryPrefix = (placement: Placement): string => `${resourceName(placement, { limit: 90 })}-canary-`;

/** Topics of a placement. `device` may be a policy variable. */
export const topicOf = ({ owner }: Placement, direction: 'dt' | 'cmd', device: string, rest: string): string =>
  `${direction}/${topicRoot(owner)}/${device}/${rest}`;

const atOnce: Ask = (_operation, _resource, request) => request();

/** Puts a certificate out of use: it stays known, so that its authority does not let it in anew. */
export async function retireCertificate(
  iot: IoTClient,
  arn: string,
  abortSignal: AbortSignal,
  ask: Ask = atOnce,
): Promise<void> {
  const options = { abortSignal };
  const id = arn.slice(arn.lastIndexOf('/') + 1);
  const attached = await ask('iot:ListAttachedPolicies', id, () =>
    ifFound(iot.send(new ListAttachedPoliciesCommand({ target: arn }), options)),
  );
  for (const { policyName } of attached?.policies ?? []) {
    const detach = new DetachPolicyCommand({ policyName, target: arn });
    await ask('iot:DetachPolicy', id, () => gone(iot.send(detach, options)));
  }
  const deactivate = new UpdateCertificateCommand({ certificateId: id, newStatus: 'INACTIVE' });
  await ask('iot:UpdateCertificate', id, () => gone(iot.send(deactivate, options)));
}

/** Removes a certificate with all that holds it. */
export async function removeCertificate(
  iot: IoTClient,
  arn: string,
  abortSignal: AbortSignal,
  ask: Ask = atOnce,
): Promise<void> {
  await retireCertificate(iot, arn, abortSignal, ask);
  const options = { abortSignal };
  const id = arn.slice(arn.lastIndexOf('/') + 1);
  const remove = new DeleteCertificateCommand({ certificateId: id, forceDelete: true });
  await ask('iot:DeleteCertificate', id, () => gone(iot.send(remove, options)));
}

/** Removes a thing, its certificates, which are no use to anything else, and its shadow, which would outlive it. */
export async function removeThing(
  { iot, data }: { iot: IoTClient; data: IoTDataPlaneClient },
  thingName: string,
  abortSignal: AbortSignal,
): Promise<void> {
  const options = { abortSignal };
  const principals = await ifFound(iot.send(new ListThingPrincipalsCommand({ thingName }), options));
  for (const principal of principals?.principals ?? []) {
    await gone(iot.send(new DetachThingPrincipalCommand({ thingName, principal }), options));
    await removeCertificate(iot, principal, abortSignal);
  }
  await gone(data.send(new DeleteThingShadowCommand({ thingName }), options));
  await gone(iot.send(new DeleteThingCommand({ thingName }), options));
}
