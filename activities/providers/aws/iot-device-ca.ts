/**
 * The authority that signs device certificates, registered in SNI_ONLY mode: no proof of possession is asked, and it may be
 * registered in several accounts. In one account and region it can be registered once; a second placement with the same
 * authority there finds it as not its own.
 */
import { X509Certificate } from 'node:crypto';
import {
  DeleteCACertificateCommand,
  DescribeCACertificateCommand,
  ListCACertificatesCommand,
  RegisterCACertificateCommand,
  UpdateCACertificateCommand,
} from '@aws-sdk/client-iot';
import { resourceName } from '../../../model/names.ts';
import type { Placement, ResourceSpec } from '../../../model/service.ts';
import type { Call, ResourceDriver } from '../driver.ts';
import type { Clients } from './clients.ts';
import { gone, ifFound } from './errors.ts';
import { iotArn, iotDriver } from './iot-resource.ts';
import { desiredTags } from './tags.ts';

const kind = 'aws.iot.ca-certificate';

/** IoT's ID of a certificate is the SHA-256 of its DER form. */
const idOf = (pem: string): string => new X509Certificate(pem).fingerprint256.replaceAll(':', '').toLowerCase();

export function deviceCaSpec(placement: Placement, pem: string): ResourceSpec {
  const name = resourceName(placement, { limit: 128, suffix: 'ca' });
  return {
    key: 'device_ca',
    kind,
    name,
    needs: [],
    holdsData: false,
    desired: {
      tags: { ...desiredTags(placement), Name: name },
      certificateId: idOf(pem),
      status: 'ACTIVE',
      mode: 'SNI_ONLY',
    },
  };
}

export function deviceCaDriver(clients: Clients, pem: string): ResourceDriver {
  const client = ({ placement }: Pick<Call, 'placement'>) => clients.iot(placement.region);
  const certificateId = idOf(pem);
  const setStatus = async (newStatus: 'ACTIVE' | 'INACTIVE', call: Call): Promise<void> => {
    const command = new UpdateCACertificateCommand({ certificateId, newStatus });
    await client(call).send(command, { abortSignal: call.signal });
  };
  return iotDriver(clients, {
    kind,
    immutable: ['certificateId', 'mode'],
    arnOf: (_spec, placement) => iotArn(placement, `cacert/${certificateId}`),
    async read(_spec, call) {
      const command = new DescribeCACertificateCommand({ certificateId });
      const found = await ifFound(client(call).send(command, { abortSignal: call.signal }));
      const description = found?.certificateDescription;
      if (!description) return undefined;
      return {
        properties: {
          certificateId: description.certificateId ?? '',
          status: description.status ?? '',
          mode: description.certificateMode ?? 'DEFAULT',
        },
        outputs: { certificateId },
      };
    },
    async create(_spec, call, tags) {
      const command = new RegisterCACertificateCommand({
        caCertificate: pem,
        certificateMode: 'SNI_ONLY',
        setAsActive: true,
        allowAutoRegistration: false,
        tags,
      });
      await client(call).send(command, { abortSignal: call.signal });
    },
    async update(_spec, drift, call) {
      if (drift.includes('status')) await setStatus('ACTIVE', call);
    },
    async remove(_spec, call) {
      await gone(setStatus('INACTIVE', call));
      await gone(client(call).send(new DeleteCACertificateCommand({ certificateId }), { abortSignal: call.signal }));
    },
    async page(call, marker) {
      const page = await client(call).send(new ListCACertificatesCommand({ marker }), { abortSignal: call.signal });
      const items = (page.certificates ?? []).map(({ certificateArn = '' }) => ({ arn: certificateArn }));
      return { items, next: page.nextMarker };
    },
  });
}
