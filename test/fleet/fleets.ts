/** Registries on the local clouds, filled by their own APIs, and the activities as a worker would run them. */
import { randomBytes, X509Certificate } from 'node:crypto';
import {
  AddThingToThingGroupCommand,
  AttachPolicyCommand,
  AttachThingPrincipalCommand,
  CreatePolicyCommand,
  CreateThingCommand,
  CreateThingGroupCommand,
  IoTClient,
  RegisterCertificateWithoutCACommand,
} from '@aws-sdk/client-iot';
import { IoTDataPlaneClient, UpdateThingShadowCommand } from '@aws-sdk/client-iot-data-plane';
import { ClientSecretCredential } from '@azure/identity';
import { Storage } from '@google-cloud/storage';
import { MockActivityEnvironment } from '@temporalio/testing';
import iothub from 'azure-iothub';
import { createDeviceActivities } from '../../activities/devices/activities.ts';
import { selfSigned } from '../../activities/providers/gcp/self-signed.ts';
import type { ProviderPool } from '../../activities/providers/pool.ts';
import { Resource } from '../../activities/providers/provision.ts';
import { type DeviceActivities, registryParts } from '../../model/fleet.ts';
import type { RecordedResource } from '../../model/record.ts';
import { deviceObject, type RegisteredDevice } from '../../model/registered-device.ts';
import type { JsonObject, Outputs, Placement, ProviderType } from '../../model/service.ts';
import { type PlacementRef, placementRef } from '../../model/transfer.ts';
import { testProviders } from '../conformance/providers.ts';
import { pool, signal } from '../transfer/stores.ts';

const pace = { pollMs: 25, heartbeat: () => {} };

/** Runs activities as a worker with these providers does, with what they would find of an earlier attempt. */
export function runner(of: ProviderPool) {
  const activities = createDeviceActivities({ pool: of, pollMs: 25, callDeadlineMs: 20_000 });
  return async <K extends keyof DeviceActivities>(
    name: K,
    input: Parameters<DeviceActivities[K]>[0],
    environment = new MockActivityEnvironment(),
  ): Promise<Awaited<ReturnType<DeviceActivities[K]>>> => {
    const act = activities[name] as (input: unknown) => Promise<unknown>;
    const answer: unknown = await environment.run(async () => act(input));
    return answer as Awaited<ReturnType<DeviceActivities[K]>>;
  };
}
export const run = runner(pool);

/** What of a placement a registry is, and what that needs. */
const parts = { ...registryParts, azure: ['group', 'hub', 'worker-registers'] };

/** A placement of which the registry alone is there. `uid`: of an estate that has others. */
export async function registryOf(
  providerType: ProviderType,
  uid = randomBytes(16).toString('hex'),
): Promise<PlacementRef> {
  const { region, account } = testProviders[providerType];
  const owner = {
    estate: 'fleets',
    uid,
    service: 'iot_core',
    controller: 'test',
    generation: 1,
  };
  const configuration = { device_count: 1000, message_rate: 100, retention_days: 7 };
  const placement: Placement = {
    owner,
    type: 'iot_core',
    provider: providerType,
    providerType,
    region,
    account,
    configuration,
  };
  const provider = await pool.get(providerType);
  const cell = provider.cells.find(({ type }) => type === 'iot_core');
  if (!cell) throw new Error('no cell');
  const outputs: Record<string, Outputs> = {};
  const resources: RecordedResource[] = [];
  for (const spec of cell.design(placement).filter(({ key }) => parts[providerType].includes(key))) {
    const needs = Object.fromEntries(spec.needs.map((need) => [need, outputs[need] ?? {}]));
    const ensured = await new Resource(provider, cell, spec, { placement, needs, signal }).ensure(pace);
    outputs[spec.key] = ensured.outputs;
    const { key, kind, name, holdsData } = spec;
    resources.push({ key, kind, name, id: ensured.id, needs: spec.needs, holdsData, outputs: ensured.outputs });
  }
  const { generation, ...named } = owner;
  const rest = { role: 'current' as const, monthlyCostUsd: 0, endpoint: '', health: '', settlesAt: '' };
  const recorded = { provider: providerType, providerType, type: 'iot_core' as const, region, account, configuration };
  return placementRef(named, { ...recorded, generation, resources, ...rest });
}

export interface Identity {
  pem: string;
  key: string;
  der: string;
  thumbprint: string;
  sha1: string;
}

/** Valid longer than any soak, where nothing else is wanted. */
export async function identity(commonName: string, validMs = 90 * 86_400_000): Promise<Identity> {
  const { cert: pem, key } = await selfSigned({ commonName, usage: 'client', validMs });
  const { raw, fingerprint, fingerprint256 } = new X509Certificate(pem);
  const hex = (text: string): string => text.replaceAll(':', '').toLowerCase();
  return { pem, key, der: raw.toString('base64'), thumbprint: hex(fingerprint256), sha1: hex(fingerprint) };
}

/** A device as a test wants it, whatever the cloud. */
export interface Wanted {
  id: string;
  status?: 'enabled' | 'disabled';
  /** `der`: the registry knows the certificate itself, as AWS always does. */
  credential?: 'der' | 'thumbprint' | 'sha1' | 'authority' | 'key' | 'none' | 'three';
  groups?: string[];
  /** Tags of a twin may be anything. */
  attributes?: JsonObject;
  desired?: JsonObject;
  reported?: JsonObject;
  /** AWS: a policy of its own. */
  policy?: string;
  /** Whose certificate it is; one is made otherwise. */
  identity?: Identity;
  /** Azure: fields of its identity. */
  more?: Record<string, unknown>;
}

const secret = (name: string): string => process.env[name] ?? '';
const credentials = () => ({
  accessKeyId: secret('AWS_ACCESS_KEY_ID'),
  secretAccessKey: secret('AWS_SECRET_ACCESS_KEY'),
});
const outputs = ({ resources }: PlacementRef, key: string): Outputs =>
  resources.find((resource) => resource.key === key)?.outputs ?? {};

/** Sixteen at a time. */
async function each<T>(all: readonly T[], act: (one: T) => Promise<void>): Promise<void> {
  const waiting = [...all];
  const worker = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) await act(next);
  };
  await Promise.all(Array.from({ length: 16 }, worker));
}

async function fillAws(placement: PlacementRef, devices: readonly Wanted[]): Promise<void> {
  const { region } = placement;
  const iot = new IoTClient({ region, credentials: credentials() });
  const data = new IoTDataPlaneClient({ region, credentials: credentials() });
  const { group: own = '' } = outputs(placement, 'group');
  const { policy: policyName = '' } = outputs(placement, 'policy');
  const { thingType: thingTypeName } = outputs(placement, 'type');
  for (const thingGroupName of new Set(devices.flatMap(({ groups = [] }) => groups.map((name) => `${own}:${name}`))))
    await iot.send(new CreateThingGroupCommand({ thingGroupName }));
  await each(devices, async (device) => {
    const { id: thingName, status = 'enabled', credential = 'der', groups = [], attributes = {}, policy } = device;
    const attributePayload = { attributes: attributes as Record<string, string> };
    await iot.send(new CreateThingCommand({ thingName, thingTypeName, attributePayload }));
    for (let n = credential === 'three' ? 3 : credential === 'none' ? 0 : 1; n > 0; n--) {
      const { pem: certificatePem } = device.identity ?? (await identity(thingName));
      const active = status === 'enabled' ? 'ACTIVE' : 'INACTIVE';
      const { certificateArn: principal } = await iot.send(
        new RegisterCertificateWithoutCACommand({ certificatePem, status: active }),
      );
      await iot.send(new AttachPolicyCommand({ policyName, target: principal }));
      if (policy) {
        const statement = { Effect: 'Allow', Action: 'iot:Publish', Resource: '*' };
        const policyDocument = JSON.stringify({ Version: '2012-10-17', Statement: [statement] });
        await iot.send(new CreatePolicyCommand({ policyName: policy, policyDocument }));
        await iot.send(new AttachPolicyCommand({ policyName: policy, target: principal }));
      }
      await iot.send(new AttachThingPrincipalCommand({ thingName, principal }));
    }
    const { desired, reported } = device;
    if (desired ?? reported) {
      const payload = Buffer.from(JSON.stringify({ state: { desired, reported } }));
      await data.send(new UpdateThingShadowCommand({ thingName, payload }));
    }
    for (const thingGroupName of [own, ...groups.map((name) => `${own}:${name}`)])
      await iot.send(new AddThingToThingGroupCommand({ thingName, thingGroupName }));
  });
}

async function fillAzure(placement: PlacementRef, devices: readonly Wanted[]): Promise<void> {
  const { host = '' } = outputs(placement, 'hub');
  const [tenant, id, key] = ['AZURE_TENANT_ID', 'AZURE_CLIENT_ID', 'AZURE_CLIENT_SECRET'].map(secret);
  const credential = new ClientSecretCredential(tenant ?? '', id ?? '', key ?? '');
  const registry = iothub.Registry.fromTokenCredential(host, credential);
  const described = await Promise.all(
    devices.map(async ({ id: deviceId, status = 'enabled', credential: kind = 'der', groups = [], ...device }) => {
      const { thumbprint, sha1, der } = device.identity ?? (await identity(deviceId));
      const print = kind === 'sha1' ? sha1 : thumbprint;
      const types = { authority: 'certificateAuthority', key: 'sas', none: 'none' } as Record<string, string>;
      const type = types[kind] ?? 'selfSigned';
      return {
        deviceId,
        status,
        authentication: {
          type,
          ...(type === 'selfSigned' && { x509Thumbprint: { primaryThumbprint: print, secondaryThumbprint: print } }),
        },
        tags: {
          ...device.attributes,
          multiCloud: { groups, ...(kind === 'der' && { certificates: { [thumbprint]: der } }) },
        },
        properties: { desired: device.desired ?? {}, reported: device.reported ?? {} },
        ...device.more,
      };
    }),
  );
  for (let at = 0; at < described.length; at += 50) await registry.addDevices(described.slice(at, at + 50));
}

async function fillGcp(placement: PlacementRef, devices: readonly Wanted[]): Promise<void> {
  const bucket = bucketOf(placement);
  await each(devices, async ({ id, status = 'enabled', credential = 'der', attributes = {}, ...device }) => {
    const { thumbprint, der } = device.identity ?? (await identity(id));
    const stored: RegisteredDevice = {
      v: 1,
      id,
      status,
      authentication:
        credential === 'authority' ? { type: 'authority' } : { type: 'thumbprint', thumbprints: [thumbprint] },
      attributes: attributes as Record<string, string>,
      ...(device.groups && { groups: device.groups }),
      ...(device.desired && { desired: device.desired }),
      ...(device.reported && { reported: device.reported }),
      ...(credential === 'der' && { certificates: { [thumbprint]: der } }),
    };
    await bucket.file(deviceObject(id)).save(JSON.stringify(stored), { resumable: false });
  });
}

export const bucketOf = (placement: PlacementRef) => {
  const { bucket = '' } = outputs(placement, 'registry');
  return new Storage({ projectId: secret('GCP_PROJECT_ID'), keyFilename: secret('GCP_KEY_FILE') }).bucket(bucket);
};

/** Registers devices by the cloud's own API, as somebody without us would. */
export const fill: Record<ProviderType, (placement: PlacementRef, devices: readonly Wanted[]) => Promise<void>> = {
  aws: fillAws,
  azure: fillAzure,
  gcp: fillGcp,
};
