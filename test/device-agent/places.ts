/** `iot_core` on the three local clouds, with devices in its registries, as an operator's own tools would put them there. */
import { createHash, randomBytes, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import {
  AttachPolicyCommand,
  AttachThingPrincipalCommand,
  CreatePolicyCommand,
  CreateThingCommand,
  IoTClient,
  RegisterCertificateWithoutCACommand,
} from '@aws-sdk/client-iot';
import { SQSClient } from '@aws-sdk/client-sqs';
import { EventHubConsumerClient } from '@azure/event-hubs';
import { ClientSecretCredential } from '@azure/identity';
import { v1 } from '@google-cloud/pubsub';
import { Storage } from '@google-cloud/storage';
import iothub from 'azure-iothub';
import mqtt from 'mqtt';
import type { TelemetryStream } from '../../client/telemetry.ts';
import { eventHubStream, queueStream, subscriptionStream } from '../../client/telemetry-streams.ts';
import { authority, issueCertificate, type KeyPair } from '../../emulators/certificates.ts';
import { accounts, azureApplication } from '../../emulators/environment.ts';
import { type DeviceEndpoint, deviceEndpoint } from '../../model/device-endpoint.ts';
import { redirectProperty } from '../../model/device-redirect.ts';
import { deviceObject, type RegisteredDevice } from '../../model/registered-device.ts';
import type { ProviderType } from '../../model/service.ts';
import type { PlacementRef } from '../../model/transfer.ts';
import { testProviders } from '../conformance/providers.ts';
import { localRun } from '../local/stack.ts';
import { madeBy } from '../transfer/stores.ts';

export interface Device {
  id: string;
  pair: KeyPair;
}

export interface Place {
  type: ProviderType;
  endpoint: DeviceEndpoint;
  placement: PlacementRef;
  stream: TelemetryStream;
  register(device: Device): Promise<void>;
  /** Puts a message into the desired state of the device, or takes it away. */
  tell(device: string, message: string | null): Promise<void>;
  close(): Promise<void>;
}

export const estate = 'devices';
const service = 'iot_core';
const uid = randomBytes(16).toString('hex');
/** As many devices as an estate file usually says; two brokers on Google Cloud. */
const configuration = { device_count: 1000, message_rate: 100, retention_days: 1 };

export const suffixes = ['.iot.us-west-2.amazonaws.com', '.azure-devices.net', '.broker.internal'];

/** PEM file of the authority that signs the local clouds' certificates: what is built into a device as a public one. */
export function authoritiesFile(): string {
  const { ca } = JSON.parse(readFileSync(localRun().network, 'utf8'));
  return ca;
}

export async function devices(count: number, prefix: string): Promise<Device[]> {
  const ca = await authority(join(dirname(localRun().network), 'device-ca'));
  const ids = Array.from({ length: count }, (_, n) => `${prefix}-${n + 1}`);
  return Promise.all(ids.map(async (id) => ({ id, pair: await issueCertificate(ca, [id], true) })));
}

const thumbprint = ({ cert }: KeyPair): string =>
  createHash('sha256').update(new X509Certificate(cert).raw).digest('hex');

/** `of`: UID of the estate, where it is not to be the one that all tests share. */
export async function place(type: ProviderType, of = uid): Promise<Place> {
  const { region, account, provider: make } = testProviders[type];
  const provider = make();
  const owner = { estate, uid: of, service, controller: 'test', generation: 1 };
  const made = await madeBy(provider, {
    owner,
    type: service,
    provider: type,
    providerType: type,
    region,
    account,
    configuration,
  });
  await provider.close();
  const output = (key: string, name: string): string => {
    const value = made.resources.find((resource) => resource.key === key)?.outputs[name];
    if (value === undefined) throw new Error(`no ${key}.${name} on ${type}`);
    return value;
  };
  const endpoint = deviceEndpoint({ placement: made, estate, uid: of, service });
  if (!endpoint) throw new Error(`no endpoint on ${type}`);
  return { type, endpoint, placement: made, ...(await { aws, azure, gcp }[type]({ region, output, endpoint })) };
}

interface Made {
  region: string;
  output: (key: string, name: string) => string;
  endpoint: DeviceEndpoint;
}
type Cloud = Omit<Place, 'type' | 'endpoint' | 'placement'>;

async function aws({ region, output, endpoint }: Made): Promise<Cloud> {
  const iot = new IoTClient({ region });
  const sqs = new SQSClient({ region });
  const register = async ({ id, pair }: Device, policyName = output('policy', 'policy')): Promise<void> => {
    const registered = new RegisterCertificateWithoutCACommand({ certificatePem: pair.cert, status: 'ACTIVE' });
    const { certificateArn: arn } = await iot.send(registered);
    await iot.send(new CreateThingCommand({ thingName: id }));
    await iot.send(new AttachPolicyCommand({ policyName, target: arn }));
    await iot.send(new AttachThingPrincipalCommand({ thingName: id, principal: arn }));
  };
  // Who changes shadows here does it over MQTT, as a thing of its own with a policy of its own.
  const [operator] = await devices(1, `operator-${randomBytes(3).toString('hex')}`);
  if (!operator) throw new Error('no operator');
  const allow = (Action: string, what: string) => ({ Effect: 'Allow', Action, Resource: `arn:aws:iot:*:*:${what}` });
  const document = {
    Version: '2012-10-17',
    Statement: [allow('iot:Connect', `client/${operator.id}`), allow('iot:Publish', 'topic/$aws/things/*')],
  };
  await iot.send(new CreatePolicyCommand({ policyName: operator.id, policyDocument: JSON.stringify(document) }));
  await register(operator, operator.id);
  const shadows = await mqtt.connectAsync(`mqtts://${endpoint.host}:${endpoint.port}`, {
    clientId: operator.id,
    ...operator.pair,
    reconnectPeriod: 0,
  });
  return {
    stream: queueStream({ sqs, queueUrl: output('telemetry', 'url') }),
    register,
    async tell(device, message) {
      const state = { desired: { [redirectProperty]: message } };
      await shadows.publishAsync(`$aws/things/${device}/shadow/update`, JSON.stringify({ state }), { qos: 1 });
    },
    async close() {
      await shadows.endAsync(true);
      iot.destroy();
      sqs.destroy();
    },
  };
}

async function azure({ output }: Made): Promise<Cloud> {
  const { tenant, client, secret } = azureApplication;
  const credential = new ClientSecretCredential(tenant, client, secret);
  const registry = iothub.Registry.fromTokenCredential(output('hub', 'host'), credential);
  const consumer = new EventHubConsumerClient(
    output('stream-readers', 'group'),
    output('stream', 'namespace'),
    output('stream', 'hub'),
    credential,
  );
  return {
    stream: eventHubStream({ consumer, from: new Date(0) }),
    async register({ id, pair }) {
      const x509Thumbprint = { primaryThumbprint: thumbprint(pair), secondaryThumbprint: thumbprint(pair) };
      await registry.create({
        deviceId: id,
        status: 'enabled',
        authentication: { type: 'selfSigned', x509Thumbprint },
      });
    },
    async tell(device, message) {
      await registry.updateTwin(device, { properties: { desired: { [redirectProperty]: message } } }, '*');
    },
    close: () => consumer.close(),
  };
}

async function gcp({ output }: Made): Promise<Cloud> {
  const project = { projectId: accounts.gcp, keyFilename: process.env.GCP_KEY_FILE ?? '' };
  const bucket = new Storage(project).bucket(output('registry', 'bucket'));
  const subscriber = new v1.SubscriberClient({ ...project, fallback: true });
  const save = (device: RegisteredDevice): Promise<void> =>
    bucket.file(deviceObject(device.id)).save(JSON.stringify(device), { resumable: false });
  return {
    stream: subscriptionStream({ subscriber, subscription: output('subscription', 'subscription') }),
    register: ({ id, pair }) =>
      save({
        v: 1,
        id,
        status: 'enabled',
        authentication: { type: 'thumbprint', thumbprints: [thumbprint(pair)] },
        attributes: {},
      }),
    async tell(device, message) {
      const [bytes] = await bucket.file(deviceObject(device)).download();
      const desired = message === null ? {} : { [redirectProperty]: message };
      await save({ ...JSON.parse(bytes.toString('utf8')), desired });
    },
    close: () => subscriber.close(),
  };
}
