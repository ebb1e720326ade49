/** Where device-to-cloud messages go: every route that is enabled, or the fallback when none matched. */

import rhea from 'rhea';
import type { StreamMessage, Streams } from '../event-hubs/streams.ts';
import type { DeviceRecord } from './device.ts';
import type { IotHub } from './entities.ts';

export interface Telemetry {
  payload: Buffer;
  /** Property bag of the topic: `$.ct`, `$.mid` and their kin are system properties, all others the application's own. */
  properties: Readonly<Record<string, string>>;
}

const systemProperties: Record<string, string> = {
  '$.ct': 'content_type',
  '$.ce': 'content_encoding',
  '$.mid': 'message_id',
  '$.cid': 'correlation_id',
  '$.uid': 'user_id',
};
const authScope: Record<DeviceRecord['authentication']['type'], string> = {
  sas: 'device',
  selfSigned: 'device',
  certificateAuthority: 'hub',
  none: 'device',
};

/** https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-messages-construct */
function toMessage(hub: IotHub, device: DeviceRecord, { payload, properties }: Telemetry): StreamMessage {
  const entries = Object.entries(properties);
  const system = entries.flatMap(([name, value]) => (systemProperties[name] ? [[systemProperties[name], value]] : []));
  const application = entries.filter(([name]) => !name.startsWith('$.'));
  const type = device.authentication.type === 'sas' ? 'sas' : 'x509';
  return {
    ...Object.fromEntries(system),
    application_properties: Object.fromEntries(application),
    message_annotations: {
      'iothub-connection-device-id': device.deviceId,
      'iothub-connection-auth-method': JSON.stringify({
        scope: authScope[device.authentication.type],
        type,
        issuer: 'iothub',
      }),
      'iothub-connection-auth-generation-id': device.generationId,
      'iothub-enqueuedtime': rhea.types.wrap_timestamp(Date.now()),
      'iothub-message-source': 'Telemetry',
      'iothub-hub-name': hub.name,
    },
    body: rhea.message.data_section(payload),
  };
}

/** Durable in every endpoint when it returns. An endpoint that is missing or refuses the hub loses the message, as it does in the service. */
export function route(hub: IotHub, streams: Streams, device: DeviceRecord, telemetry: Telemetry): void {
  const message = toMessage(hub, device, telemetry);
  const routes = hub.routes.filter(({ enabled }) => enabled);
  const names = new Set(routes.flatMap(({ endpoints }) => endpoints));
  if (routes.length === 0 && hub.fallback) names.add('events');
  for (const name of names) {
    const target = name === 'events' ? hub.builtIn : hub.endpoint(name);
    if (target) streams.append(target, [message], { key: device.deviceId });
  }
}
