/** Parts of an IoT hub that are ARM resources of their own: the authority of the devices' certificates, readers of the built-in endpoint. */
import { X509Certificate } from 'node:crypto';
import type { ResourceDriver } from '../driver.ts';
import type { AzureClients } from './clients.ts';
import { found } from './errors.ts';
import { goesWithItsParent } from './event-hubs.ts';
import { builtIn, IotHubs } from './iot-hub-document.ts';
import { ownerOf } from './tags.ts';

/** SHA-1 over the DER encoding, as IoT Hub shows it. */
export const thumbprintOf = (pem: string): string => new X509Certificate(pem).fingerprint.replaceAll(':', '');

export function iotHubCertificateDriver(clients: AzureClients, deviceCa: string | undefined): ResourceDriver {
  const hubs = new IotHubs(clients);
  const certificate: ResourceDriver = {
    kind: 'azure.iothub.certificate',
    immutable: [],
    async observe(spec, call) {
      const [parent = '', name = ''] = spec.name.split('/');
      const seen = await found(() =>
        hubs.client(call).certificates.get(hubs.group(call), parent, name, { abortSignal: call.signal }),
      );
      if (!seen?.id) return undefined;
      return {
        id: seen.id,
        owner: ownerOf((await hubs.read(spec.name, call))?.tags),
        state: 'ready',
        properties: {
          thumbprint: (seen.properties?.thumbprint ?? '').toUpperCase(),
          verified: seen.properties?.isVerified ?? false,
        },
        outputs: {},
      };
    },
    async create(spec, call) {
      const [parent = '', name = ''] = spec.name.split('/');
      const before = await found(() =>
        hubs.client(call).certificates.get(hubs.group(call), parent, name, { abortSignal: call.signal }),
      );
      // Verified by this call: whoever may write the hub vouches for the authority, no proof of possession is asked.
      const content = Buffer.from(deviceCa ?? '').toString('base64');
      await hubs
        .client(call)
        .certificates.createOrUpdate(
          hubs.group(call),
          parent,
          name,
          { properties: { certificate: content, isVerified: true } },
          { ...(before?.etag === undefined ? {} : { ifMatch: before.etag }), abortSignal: call.signal },
        );
    },
    update: (spec, _observed, _drift, call) => certificate.create(spec, call),
    async remove(spec, _observed, call) {
      const [parent = '', name = ''] = spec.name.split('/');
      const seen = await found(() =>
        hubs.client(call).certificates.get(hubs.group(call), parent, name, { abortSignal: call.signal }),
      );
      if (!seen?.etag) return;
      const { etag } = seen;
      await found(() =>
        hubs.client(call).certificates.delete(hubs.group(call), parent, name, etag, { abortSignal: call.signal }),
      );
    },
    list: goesWithItsParent,
  };

  return certificate;
}

export function iotHubReadersDriver(clients: AzureClients): ResourceDriver {
  const hubs = new IotHubs(clients);
  return {
    kind: 'azure.iothub.consumer-group',
    immutable: [],
    async observe(spec, call) {
      const [parent = '', name = ''] = spec.name.split('/');
      const seen = await found(() =>
        hubs.client(call).iotHubResource.getEventHubConsumerGroup(hubs.group(call), parent, builtIn, name, {
          abortSignal: call.signal,
        }),
      );
      if (!seen?.id) return undefined;
      const owner = ownerOf((await hubs.read(spec.name, call))?.tags);
      return { id: seen.id, owner, state: 'ready', properties: {}, outputs: { group: name } };
    },
    async create(spec, call) {
      const [parent = '', name = ''] = spec.name.split('/');
      const body = { properties: { name } };
      await hubs
        .client(call)
        .iotHubResource.createEventHubConsumerGroup(hubs.group(call), parent, builtIn, name, body, {
          abortSignal: call.signal,
        });
    },
    update: async () => {},
    async remove(spec, _observed, call) {
      const [parent = '', name = ''] = spec.name.split('/');
      await found(() =>
        hubs.client(call).iotHubResource.deleteEventHubConsumerGroup(hubs.group(call), parent, builtIn, name, {
          abortSignal: call.signal,
        }),
      );
    },
    list: goesWithItsParent,
  };
}
