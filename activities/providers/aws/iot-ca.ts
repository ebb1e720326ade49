/**
 * An authority that is registered with AWS IoT, in SNI_ONLY mode: no proof of possession is asked, and it may be registered in
 * several accounts. One account and region knows it once, however many placements use it there and for what, so each use owns
 * a reference: a tag of its own on the shared registration. Whoever drops the last reference deletes the registration, unless
 * somebody else than an estate had made it.
 */
import { X509Certificate } from 'node:crypto';
import {
  DeleteCACertificateCommand,
  DescribeCACertificateCommand,
  type DescribeCACertificateCommandOutput,
  ListCACertificatesCommand,
  ListTagsForResourceCommand,
  RegisterCACertificateCommand,
  type RegistrationConfig,
  type Tag,
  TagResourceCommand,
  UntagResourceCommand,
  UpdateCACertificateCommand,
} from '@aws-sdk/client-iot';
import { CloudError } from '../../../model/errors.ts';
import { isSought } from '../../../model/names.ts';
import type { JsonObject, Owner, ResourceSpec } from '../../../model/service.ts';
import type { Call, ResourceDriver } from '../driver.ts';
import type { Clients } from './clients.ts';
import { gone, ifFound, isKind } from './errors.ts';
import { iotArn } from './iot-resource.ts';
import { allPages, eachOf, fromList, type Tags } from './tags.ts';

/** Before the name of a reference, as a tag's key, by what the authority is used for. */
const referenceKeys = { user: 'multi-cloud-user:', newborns: 'multi-cloud-newborns:' } as const;
/** On a registration that an estate made. */
const madeByUs = 'multi-cloud-registered';

/** IoT's ID of a certificate is the SHA-256 of its DER form. */
export const certificateIdOf = (pem: string): string =>
  new X509Certificate(pem).fingerprint256.replaceAll(':', '').toLowerCase();

const toReference = ({ estate, service, uid, controller, generation }: Owner): string =>
  [estate, service, uid, controller, generation].join('/');

function fromReference(value: string | undefined): Owner | undefined {
  const [estate, service, uid, controller, generation] = (value ?? '').split('/');
  if (!estate || !service || !uid || !controller || !Number(generation)) return undefined;
  return { estate, service, uid, controller, generation: Number(generation) };
}

/** What one use of an authority differs in from another. */
export interface AuthorityUse {
  kind: string;
  use: keyof typeof referenceKeys;
  pemOf(call: Pick<Call, 'placement'>): string;
  /** Who the authority lets in by itself, where that is what it is used for. */
  registration?: {
    of(spec: ResourceSpec): RegistrationConfig;
    properties(found: DescribeCACertificateCommandOutput): JsonObject;
    /** What is said where it lets devices in for somebody else already. */
    taken: string;
    /** What is left to take away once it lets nobody in any more. */
    clear(certificateId: string, call: Call): Promise<void>;
  };
}

export function authorityDriver(clients: Clients, { kind, use, pemOf, registration }: AuthorityUse): ResourceDriver {
  type Where = Pick<Call, 'placement' | 'signal'>;
  const referenceKey = referenceKeys[use];
  const client = ({ placement }: Where) => clients.iot(placement.region);
  const tagsAt = async (resourceArn: string, call: Where): Promise<Tags> => {
    const tags = await allPages<Tag>(async (nextToken) => {
      const command = new ListTagsForResourceCommand({ resourceArn, nextToken });
      const page = await ifFound(client(call).send(command, { abortSignal: call.signal }));
      return { items: page?.tags ?? [], next: page?.nextToken };
    });
    return fromList(tags);
  };
  const all = async (call: Where) => {
    const certificates = await allPages(async (marker) => {
      const page = await client(call).send(new ListCACertificatesCommand({ marker }), { abortSignal: call.signal });
      return { items: page.certificates ?? [], next: page.nextMarker };
    });
    return eachOf(certificates, async ({ certificateArn = '', certificateId = '' }) => [
      { certificateArn, certificateId, tags: await tagsAt(certificateArn, call) },
    ]);
  };
  /** What today's design does not have any more is found by its reference alone. */
  const idOf = async (spec: ResourceSpec, call: Where): Promise<string | undefined> => {
    if (spec.desired.certificateId !== undefined) return String(spec.desired.certificateId);
    return (await all(call)).find(({ tags }) => tags[referenceKey + spec.name])?.certificateId;
  };
  const arnOf = ({ placement }: Where, certificateId: string): string => iotArn(placement, `cacert/${certificateId}`);
  const reference = (spec: ResourceSpec, { placement }: Call): Tag => ({
    Key: referenceKey + spec.name,
    Value: toReference(placement.owner),
  });
  const open = async (spec: ResourceSpec, certificateId: string, call: Call): Promise<void> => {
    const command = new UpdateCACertificateCommand({
      certificateId,
      newStatus: 'ACTIVE',
      ...(registration && {
        newAutoRegistrationStatus: 'ENABLE' as const,
        registrationConfig: registration.of(spec),
      }),
    });
    await client(call).send(command, { abortSignal: call.signal });
  };

  return {
    kind,
    immutable: ['certificateId', 'mode'],

    async observe(spec, call) {
      const certificateId = await idOf(spec, call);
      if (certificateId === undefined) return undefined;
      const command = new DescribeCACertificateCommand({ certificateId });
      const found = await ifFound(client(call).send(command, { abortSignal: call.signal }));
      const description = found?.certificateDescription;
      const value = description && (await tagsAt(arnOf(call, certificateId), call))[referenceKey + spec.name];
      if (!value) return undefined;
      return {
        id: arnOf(call, certificateId),
        owner: fromReference(value),
        state: 'ready',
        properties: {
          certificateId: description.certificateId ?? '',
          status: description.status ?? '',
          mode: description.certificateMode ?? 'DEFAULT',
          ...registration?.properties(found),
        },
        outputs: { certificateId },
      };
    },

    async create(spec, call) {
      const options = { abortSignal: call.signal };
      const pem = pemOf(call);
      const register = new RegisterCACertificateCommand({
        caCertificate: pem,
        certificateMode: 'SNI_ONLY',
        setAsActive: true,
        allowAutoRegistration: registration !== undefined,
        ...(registration && { registrationConfig: registration.of(spec) }),
        tags: [reference(spec, call), { Key: madeByUs, Value: 'true' }],
      });
      try {
        await client(call).send(register, options);
      } catch (error) {
        if (!isKind(error, 'AlreadyExists')) throw error;
        const certificateId = certificateIdOf(pem);
        const resourceArn = arnOf(call, certificateId);
        if (registration && !(await tagsAt(resourceArn, call))[referenceKey + spec.name]) {
          const { certificateDescription } = await client(call).send(
            new DescribeCACertificateCommand({ certificateId }),
            options,
          );
          if (certificateDescription?.autoRegistrationStatus === 'ENABLE')
            throw new CloudError(
              { kind: 'InvalidInput', provider: 'aws', operation: `${kind} create`, resource: spec.name },
              registration.taken,
            );
        }
        const command = new TagResourceCommand({ resourceArn, tags: [reference(spec, call)] });
        await client(call).send(command, options);
        if (registration) await open(spec, certificateId, call);
      }
    },

    async update(spec, _observed, drift, call) {
      const certificateId = await idOf(spec, call);
      if (drift.length > 0 && certificateId !== undefined) await open(spec, certificateId, call);
    },

    async remove(spec, observed, call) {
      const options = { abortSignal: call.signal };
      const certificateId = observed.outputs.certificateId ?? '';
      if (registration) {
        const close = new UpdateCACertificateCommand({
          certificateId,
          newAutoRegistrationStatus: 'DISABLE',
          removeAutoRegistration: true,
        });
        await gone(client(call).send(close, options));
        await registration.clear(certificateId, call);
      }
      const untag = new UntagResourceCommand({ resourceArn: observed.id, tagKeys: [referenceKey + spec.name] });
      await gone(client(call).send(untag, options));
      const tags = await tagsAt(observed.id, call);
      const used = Object.keys(tags).some((key) =>
        Object.values(referenceKeys).some((prefix) => key.startsWith(prefix)),
      );
      if (used || !tags[madeByUs]) return;
      const deactivate = new UpdateCACertificateCommand({ certificateId, newStatus: 'INACTIVE' });
      await gone(client(call).send(deactivate, options));
      await gone(client(call).send(new DeleteCACertificateCommand({ certificateId }), options));
    },

    async list(call) {
      return (await all(call)).flatMap(({ certificateArn, tags }) =>
        Object.entries(tags).flatMap(([key, value]) => {
          const owner = key.startsWith(referenceKey) ? fromReference(value) : undefined;
          if (!isSought(owner, call.placement.owner)) return [];
          return [{ kind, name: key.slice(referenceKey.length), id: certificateArn, owner }];
        }),
      );
    },
  };
}
