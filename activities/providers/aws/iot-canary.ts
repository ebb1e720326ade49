/** A device made for a moment: it connects with its certificate, sends telemetry, and the message must come out of the queue. */
import 'reflect-metadata';
import { randomBytes, webcrypto } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import {
  AddThingToThingGroupCommand,
  AttachPolicyCommand,
  AttachThingPrincipalCommand,
  CreateThingCommand,
  RegisterCertificateWithoutCACommand,
} from '@aws-sdk/client-iot';
import {
  ChangeMessageVisibilityCommand,
  DeleteMessageCommand,
  GetQueueAttributesCommand,
  type Message,
  ReceiveMessageCommand,
} from '@aws-sdk/client-sqs';
import * as x509 from '@peculiar/x509';
import { connectAsync } from 'mqtt';
import type { Placement } from '../../../model/service.ts';
import type { Health, Observed } from '../driver.ts';
import type { Clients } from './clients.ts';
import { canaryPrefix, removeCertificate, removeThing, topicOf } from './iot-device.ts';

/** Rights of a new certificate reach all brokers within seconds, so the first tries may be refused. */
const connectTries = 6;
const deliveryMs = 20_000;

interface Identity {
  cert: string;
  key: string;
}

async function makeIdentity(name: string): Promise<Identity> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: [{ CN: [name] }],
    notBefore: new Date(Date.now() - 3_600_000),
    notAfter: new Date(Date.now() + 24 * 3_600_000),
    signingAlgorithm: algorithm,
    keys,
  });
  const key = await webcrypto.subtle.exportKey('pkcs8', keys.privateKey);
  return { cert: certificate.toString('pem'), key: x509.PemConverter.encode(key, 'PRIVATE KEY') };
}

interface Delivery {
  host: string;
  device: string;
  identity: Identity;
  topic: string;
  body: string;
}

async function publish({ host, device, identity, topic, body }: Delivery, signal: AbortSignal): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      const options = { servername: host, clientId: device, ...identity, reconnectPeriod: 0, connectTimeout: 10_000 };
      // Without `false` a connection that is closed instead of answered would never be given up.
      const client = await connectAsync(`mqtts://${host}:8883`, options, false);
      try {
        // A device that sends what its policy denies is cut off, not answered.
        const cut = new Promise<never>((_, reject) => client.once('close', () => reject(new Error('cut off'))));
        signal.addEventListener('abort', () => client.end(true), { once: true });
        await Promise.race([client.publishAsync(topic, body, { qos: 1 }), cut]);
      } finally {
        await client.endAsync(true);
      }
      return;
    } catch (error) {
      if (attempt >= connectTries || signal.aborted) throw error;
      await setTimeout(500 * attempt, undefined, { signal });
    }
  }
}

export async function canary(
  clients: Clients,
  placement: Placement,
  observed: Record<string, Observed>,
  signal: AbortSignal,
): Promise<Health> {
  const iot = clients.iot(placement.region);
  const sqs = clients.sqs(placement.region);
  const { endpoint = '', group = '' } = observed.group?.outputs ?? {};
  const policyName = observed.policy?.outputs.policy;
  const QueueUrl = observed.telemetry?.outputs.url;
  if (!endpoint || !policyName || !QueueUrl || !observed.rule)
    return { healthy: false, detail: 'a part of the way from device to queue does not exist' };

  const options = { abortSignal: signal };
  const nonce = randomBytes(8).toString('hex');
  const thingName = canaryPrefix(placement) + nonce;
  const identity = await makeIdentity(thingName);
  let certificateArn: string | undefined;
  const started = Date.now();
  try {
    const registered = await iot.send(
      new RegisterCertificateWithoutCACommand({ certificatePem: identity.cert, status: 'ACTIVE' }),
      options,
    );
    certificateArn = registered.certificateArn;
    await iot.send(new CreateThingCommand({ thingName }), options);
    await iot.send(new AddThingToThingGroupCommand({ thingName, thingGroupName: group }), options);
    await iot.send(new AttachPolicyCommand({ policyName, target: certificateArn }), options);
    await iot.send(new AttachThingPrincipalCommand({ thingName, principal: certificateArn }), options);
    const topic = topicOf(placement, 'dt', thingName, 'telemetry');
    try {
      const body = JSON.stringify({ canary: nonce });
      await publish({ host: endpoint, device: thingName, identity, topic, body }, signal);
    } catch {
      // Its own words could name hosts and addresses; what failed is clear without them.
      return { healthy: false, detail: `a device could not connect to ${endpoint}:8883 and publish with its policy` };
    }
    return (await received(nonce))
      ? { healthy: true, detail: `a device's telemetry reached the queue in ${Date.now() - started} ms` }
      : { healthy: false, detail: `telemetry was accepted and did not reach the queue; ${await backlog()}` };
  } finally {
    // Also after a failure or a cancel: what is left would be a device that nobody owns.
    const cleanup = AbortSignal.timeout(20_000);
    await removeThing({ iot, data: clients.iotData(placement.region) }, thingName, cleanup);
    if (certificateArn) await removeCertificate(iot, certificateArn, cleanup);
  }

  /** Looks until the message with this nonce comes; puts all others back at once. */
  async function received(nonce: string): Promise<boolean> {
    for (const deadline = Date.now() + deliveryMs; Date.now() < deadline; ) {
      const query = { QueueUrl, MaxNumberOfMessages: 10, WaitTimeSeconds: 2, VisibilityTimeout: 10 };
      const { Messages = [] } = await sqs.send(new ReceiveMessageCommand(query), options);
      const ours = Messages.find(({ Body }) => Body?.includes(nonce));
      await Promise.all(Messages.filter((message) => message !== ours).map(putBack));
      if (!ours) continue;
      await sqs.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle: ours.ReceiptHandle }), options);
      return true;
    }
    return false;
  }

  async function putBack({ ReceiptHandle }: Message): Promise<void> {
    const command = new ChangeMessageVisibilityCommand({ QueueUrl, ReceiptHandle, VisibilityTimeout: 0 });
    await sqs.send(command, options);
  }

  async function backlog(): Promise<string> {
    const query = { QueueUrl, AttributeNames: ['ApproximateNumberOfMessages' as const] };
    const { Attributes } = await sqs.send(new GetQueueAttributesCommand(query), options);
    return `${Attributes?.ApproximateNumberOfMessages ?? '?'} messages wait there`;
  }
}
