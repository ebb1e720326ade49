/**
 * Where a device connects, and how it speaks there. The three clouds differ in user name and topics and in nothing else: MQTT
 * 3.1.1 over mutual TLS on each, the device's ID as client ID, its desired state as the way in which the cloud tells it something.
 */
import { z } from 'zod';
import { DeviceId } from './registered-device.ts';
import type { Json, JsonObject, ProviderType } from './service.ts';

const label = '[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?';

/**
 * A host name as a certificate bears it: lower case letters, digits and hyphens, no dot at its end. Punycode (`xn--`) is
 * refused, since a name that people read as another one is no use to a device.
 */
export const HostName = z
  .string()
  .max(253)
  .regex(new RegExp(`^(?!.*(^|\\.)xn--)(${label}\\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`), {
    error: 'must be a host name in lower case, without a dot at its end and without punycode',
  });

/** What stands in the topics of AWS before a device's ID: without cloud or generation, so that devices keep their topics. */
export const topicRoot = ({ estate, uid, service }: { estate: string; uid: string; service: string }): string =>
  `${estate}-${uid.slice(0, 8)}/${service}`;

/** End of the names in the certificates of our broker: in no DNS, and nobody else's. */
export const brokerSuffix = '.broker.internal';

/** One of the authorities built into the agent, by its SHA-256 (hex). */
const BuiltIn = z.strictObject({ sha256: z.string().regex(/^[0-9a-f]{64}$/, 'must be 64 hex digits in lower case') });

const shared = {
  /** What the server's certificate must be for. */
  host: HostName,
  port: z.int().min(1).max(65_535),
  /** What vouches for the server; left out, any of the authorities built into the agent. */
  authority: BuiltIn.optional(),
};

export const DeviceEndpoint = z.discriminatedUnion('dialect', [
  z.strictObject({
    dialect: z.literal('aws'),
    ...shared,
    /** `topicRoot` */
    root: z.string().regex(/^[a-z0-9-]{1,60}\/[a-z0-9_-]{1,40}$/, 'must be <estate>-<UID>/<service>'),
  }),
  z.strictObject({ dialect: z.literal('azure'), ...shared }),
  z.strictObject({
    dialect: z.literal('gcp'),
    ...shared,
    host: HostName.endsWith(brokerSuffix),
    /** Our broker's name stands in no DNS and its certificate vouches for itself, so both are told. */
    address: z.ipv4().optional(),
    authority: z.union([z.strictObject({ pem: z.string().max(4096) }), BuiltIn]).optional(),
  }),
]);
export type DeviceEndpoint = z.infer<typeof DeviceEndpoint>;

/** One cloud's way to speak MQTT, for one device. */
export interface Dialect {
  clientId: string;
  username: string | undefined;
  /** Topic of its telemetry, JSON. */
  telemetry: string;
  /** Filters that bring the desired state. */
  subscriptions: readonly string[];
  /** What is published, empty, to be told the desired state as it is now; left out where a subscription already brings it. */
  ask: string | undefined;
  /** What is published, with QoS 1, to tell this as reported state; our broker keeps none. */
  report: ((reported: JsonObject) => { topic: string; message: JsonObject }) | undefined;
  /** The desired state, or the changed part of it, that a message under one of `subscriptions` carries. */
  desired(topic: string, message: JsonObject): JsonObject | undefined;
}

const isObject = (value: Json | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** https://docs.aws.amazon.com/iot/latest/developerguide/device-shadow-mqtt.html */
function aws(root: string, device: string): Dialect {
  const shadow = `$aws/things/${device}/shadow`;
  return {
    clientId: device,
    username: undefined,
    telemetry: `dt/${root}/${device}/telemetry`,
    subscriptions: [`${shadow}/get/accepted`, `${shadow}/update/delta`],
    ask: `${shadow}/get`,
    report: (reported) => ({ topic: `${shadow}/update`, message: { state: { reported } } }),
    desired(topic, { state }) {
      if (!isObject(state)) return undefined;
      if (topic.endsWith('/delta')) return state;
      return isObject(state.desired) ? state.desired : undefined;
    },
  };
}

/** https://learn.microsoft.com/azure/iot/iot-mqtt-connect-to-iot-hub */
const azure = (host: string, device: string): Dialect => ({
  clientId: device,
  username: `${host}/${device}/?api-version=2021-04-12`,
  telemetry: `devices/${device}/messages/events/$.ct=application%2Fjson&$.ce=utf-8`,
  subscriptions: ['$iothub/twin/res/#', '$iothub/twin/PATCH/properties/desired/#'],
  ask: '$iothub/twin/GET/?$rid=desired',
  report: (reported) => ({ topic: '$iothub/twin/PATCH/properties/reported/?$rid=reported', message: reported }),
  desired(topic, message) {
    if (topic.startsWith('$iothub/twin/PATCH/')) return message;
    return topic.startsWith('$iothub/twin/res/200/') && isObject(message.desired) ? message.desired : undefined;
  },
});

/** `broker/access.ts` */
const gcp = (device: string): Dialect => ({
  clientId: device,
  username: undefined,
  telemetry: `devices/${device}/telemetry`,
  subscriptions: [`devices/${device}/config`],
  ask: undefined,
  report: undefined,
  desired: (_topic, message) => message,
});

export function dialectOf(endpoint: DeviceEndpoint, device: string): Dialect {
  switch (endpoint.dialect) {
    case 'aws':
      return aws(endpoint.root, device);
    case 'azure':
      return azure(endpoint.host, device);
    case 'gcp':
      return gcp(device);
  }
}

/** The part of a recorded placement of an `iot_core` that says where its devices go. */
export interface DevicePlacement {
  providerType: ProviderType;
  resources: readonly { key: string; outputs: Readonly<Record<string, string>> }[];
}

/** Undefined where the placement is not there yet. `uid` is the estate's. */
export function deviceEndpoint({
  placement: { providerType, resources },
  estate,
  uid,
  service,
}: {
  placement: DevicePlacement;
  estate: string;
  uid: string;
  service: string;
}): DeviceEndpoint | undefined {
  const output = (key: string, name: string): string | undefined =>
    resources.find((resource) => resource.key === key)?.outputs[name];
  const certificate = output('server-key-pair', 'certificate');
  const found = {
    aws: { dialect: 'aws', host: output('group', 'endpoint'), port: 8883, root: topicRoot({ estate, uid, service }) },
    azure: { dialect: 'azure', host: output('hub', 'host'), port: 8883 },
    gcp: {
      dialect: 'gcp',
      host: output('server-key-pair', 'serverName'),
      port: 8883,
      address: output('forwarding-rule', 'address'),
      authority: certificate === undefined ? undefined : { pem: certificate },
    },
  }[providerType];
  return DeviceEndpoint.safeParse(found).data;
}

/** What a device calls one of its messages: unique over all its lives, whichever cloud it was sent to. */
export interface MessageKey {
  device: string;
  /** How often the device has started, this time included. */
  boot: number;
  /** Of the message since then, from 1. */
  sequence: number;
}

export const messageKey = ({ device, boot, sequence }: MessageKey): string => `${device}/${boot}/${sequence}`;

const count = z
  .string()
  .regex(/^[1-9][0-9]{0,15}$/)
  .transform(Number)
  .pipe(z.int());
const Key = z.tuple([DeviceId, count, count]);

export function parseMessageKey(text: string): MessageKey | undefined {
  const [device, boot, sequence] = Key.safeParse(text.split('/')).data ?? [];
  return device !== undefined && boot !== undefined && sequence !== undefined ? { device, boot, sequence } : undefined;
}
