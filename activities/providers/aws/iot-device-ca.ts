/**
 * The authority that signs device certificates, registered in SNI_ONLY mode: no proof of possession is asked, and it may be
 * registered in several accounts. One account and region knows it once, however many placements use it there, so each
 * placement owns a reference: a tag of its own on the shared registration. Whoever drops the last reference deletes the
 * registration, unless somebody else than an estate had made it.
 */
import { X509Certificate } from 'node:crypto';
import {
  DeleteCACertificateCommand,
  DescribeCACertificateCommand,
  ListCACertificatesCommand,
  ListTagsForResourceCommand,
  RegisterCACertificateCommand,
  type Tag,
  TagResourceCommand,
  UntagResourceCommand,
  UpdateCACertificateCommand,
} from '@aws-sdk/client-iot';
import { isSought, resourceName } from '../../../model/names.ts';
import type { Owner, Placement, ResourceSpec } from '../../../model/service.ts';
import type { Call, ResourceDriver } from '../driver.ts';
import type { Clients } from './clients.ts';
import { gone, ifFound, isKind } from './errors.ts';
import { iotArn } from './iot-resource.ts';
import { allPages, eachOf, fromList, type Tags } from './tags.ts';

const kind = 'aws.iot.ca-certificate';
/** Before the name of a reference, as a tag's key. */
const referenceKey = 'multi-cloud-user:';
/** On a registration that an estate made. */
const madeByUs = 'multi-cloud-registered';

/** IoT's ID of a certificate is the SHA-256 of its DER form. */
const idOf = (pem: string): string => new X509Certificate(pem).fingerprint256.replaceAll(':', '').toLowerCase();

export const deviceCaSpec = (placement: Placement, pem: string): ResourceSpec => ({
  key: 'device_ca',
  kind,
  // A tag's key ends at 128 characters.
  name: resourceName(placement, { limit: 100, suffix: 'ca' }),
  needs: [],
  holdsData: false,
  desired: { certificateId: idOf(pem), status: 'ACTIVE', mode: 'SNI_ONLY' },
});

const toReference = ({ estate, service, uid, controller, generation }: Owner): string =>
  [estate, service, uid, controller, generation].join('/');

function fromReference(value: string | undefined): Owner | undefined {
  const [estate, service, uid, controller, generation] = (value ?? '').split('/');
  if (!estate || !service || !uid || !controller || !Number(generation)) return undefined;
  return { estate, service, uid, controller, generation: Number(generation) };
}

export function deviceCaDriver(clients: Clients, pem: string): ResourceDriver {
  type Where = Pick<Call, 'placement' | 'signal'>;
  const certificateId = idOf(pem);
  const client = ({ placement }: Where) => clients.iot(placement.region);
  const arnOf = ({ placement }: Where): string => iotArn(placement, `cacert/${certificateId}`);
  const tagsAt = async (resourceArn: string, call: Where): Promise<Tags> => {
    const tags = await allPages<Tag>(async (nextToken) => {
      const command = new ListTagsForResourceCommand({ resourceArn, nextToken });
      const page = await ifFound(client(call).send(command, { abortSignal: call.signal }));
      return { items: page?.tags ?? [], next: page?.nextToken };
    });
    return fromList(tags);
  };
  const reference = (spec: ResourceSpec, { placement }: Call): Tag => ({
    Key: referenceKey + spec.name,
    Value: toReference(placement.owner),
  });
  const setStatus = async (newStatus: 'ACTIVE' | 'INACTIVE', call: Call): Promise<void> => {
    const command = new UpdateCACertificateCommand({ certificateId, newStatus });
    await client(call).send(command, { abortSignal: call.signal });
  };

  return {
    kind,
    immutable: ['certificateId', 'mode'],

    async observe(spec, call) {
      const command = new DescribeCACertificateCommand({ certificateId });
      const found = await ifFound(client(call).send(command, { abortSignal: call.signal }));
      const description = found?.certificateDescription;
      const value = description && (await tagsAt(arnOf(call), call))[referenceKey + spec.name];
      if (!value) return undefined;
      return {
        id: arnOf(call),
        owner: fromReference(value),
        state: 'ready',
        properties: {
          certificateId: description.certificateId ?? '',
          status: description.status ?? '',
          mode: description.certificateMode ?? 'DEFAULT',
        },
        outputs: { certificateId },
      };
    },

    async create(spec, call) {
      const options = { abortSignal: call.signal };
      const register = new RegisterCACertificateCommand({
        caCertificate: pem,
        certificateMode: 'SNI_ONLY',
        setAsActive: true,
        allowAutoRegistration: false,
        tags: [reference(spec, call), { Key: madeByUs, Value: 'true' }],
      });
      try {
        await client(call).send(register, options);
      } catch (error) {
        if (!isKind(error, 'AlreadyExists')) throw error;
        const command = new TagResourceCommand({ resourceArn: arnOf(call), tags: [reference(spec, call)] });
        await client(call).send(command, options);
      }
    },

    async update(_spec, _observed, drift, call) {
      if (drift.includes('status')) await setStatus('ACTIVE', call);
    },

    async remove(spec, observed, call) {
      const options = { abortSignal: call.signal };
      const tagKeys = [referenceKey + spec.name];
      const untag = new UntagResourceCommand({ resourceArn: observed.id, tagKeys });
      await gone(client(call).send(untag, options));
      const tags = await tagsAt(observed.id, call);
      const used = Object.keys(tags).some((key) => key.startsWith(referenceKey));
      if (used || !tags[madeByUs]) return;
      await gone(setStatus('INACTIVE', call));
      await gone(client(call).send(new DeleteCACertificateCommand({ certificateId }), options));
    },

    async list(call) {
      const certificates = await allPages(async (marker) => {
        const page = await client(call).send(new ListCACertificatesCommand({ marker }), { abortSignal: call.signal });
        return { items: page.certificates ?? [], next: page.nextMarker };
      });
      return eachOf(certificates, async ({ certificateArn = '' }) =>
        Object.entries(await tagsAt(certificateArn, call)).flatMap(([key, value]) => {
          const owner = key.startsWith(referenceKey) ? fromReference(value) : undefined;
          if (!isSought(owner, call.placement.owner)) return [];
          return [{ kind, name: key.slice(referenceKey.length), id: certificateArn, owner }];
        }),
      );
    },
  };
}
