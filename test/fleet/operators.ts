/** Who changes devices by each cloud's own API, and knows nothing of us. */
import {
  AddThingToThingGroupCommand,
  CreateThingGroupCommand,
  DeleteThingCommand,
  DescribeThingCommand,
  DetachThingPrincipalCommand,
  IoTClient,
  ListThingPrincipalsCommand,
  RemoveThingFromThingGroupCommand,
  UpdateCertificateCommand,
  UpdateThingCommand,
} from '@aws-sdk/client-iot';
import { IoTDataPlaneClient, UpdateThingShadowCommand } from '@aws-sdk/client-iot-data-plane';
import { ClientSecretCredential } from '@azure/identity';
import iothub from 'azure-iothub';
import { type Device, fleetFields } from '../../model/fleet.ts';
import { deviceObject, RegisteredDevice } from '../../model/registered-device.ts';
import type { JsonObject, ProviderType } from '../../model/service.ts';
import type { PlacementRef } from '../../model/transfer.ts';
import { pool, signal } from '../transfer/stores.ts';
import { bucketOf } from './fleets.ts';

export interface DeviceChange {
  status?: 'enabled' | 'disabled';
  /** These are set; the others stay. */
  attributes?: Record<string, string>;
  desired?: JsonObject;
  /** A group that it joins, or leaves. */
  joins?: string;
  leaves?: string;
}

interface Operator {
  change(placement: PlacementRef, id: string, change: DeviceChange): Promise<void>;
  remove(placement: PlacementRef, id: string): Promise<void>;
}

const secret = (name: string): string => process.env[name] ?? '';
const outputOf = ({ resources }: PlacementRef, key: string, output: string): string =>
  resources.find((one) => one.key === key)?.outputs[output] ?? '';

const aws: Operator = {
  async change(placement, thingName, { status, attributes, desired, joins, leaves }) {
    const iot = new IoTClient({ region: placement.region });
    const own = outputOf(placement, 'group', 'group');
    if (attributes)
      await iot.send(new UpdateThingCommand({ thingName, attributePayload: { attributes, merge: true } }));
    if (desired) {
      const data = new IoTDataPlaneClient({ region: placement.region });
      const payload = Buffer.from(JSON.stringify({ state: { desired } }));
      await data.send(new UpdateThingShadowCommand({ thingName, payload }));
    }
    if (status) {
      const { principals = [] } = await iot.send(new ListThingPrincipalsCommand({ thingName }));
      const newStatus = status === 'enabled' ? 'ACTIVE' : 'INACTIVE';
      for (const principal of principals)
        await iot.send(new UpdateCertificateCommand({ certificateId: principal.split('/').at(-1), newStatus }));
    }
    if (joins) {
      const thingGroupName = `${own}:${joins}`;
      await iot.send(new CreateThingGroupCommand({ thingGroupName }));
      await iot.send(new AddThingToThingGroupCommand({ thingName, thingGroupName }));
    }
    if (leaves) await iot.send(new RemoveThingFromThingGroupCommand({ thingName, thingGroupName: `${own}:${leaves}` }));
  },
  async remove(placement, thingName) {
    const iot = new IoTClient({ region: placement.region });
    await iot.send(new DescribeThingCommand({ thingName }));
    const { principals = [] } = await iot.send(new ListThingPrincipalsCommand({ thingName }));
    for (const principal of principals) await iot.send(new DetachThingPrincipalCommand({ thingName, principal }));
    await iot.send(new DeleteThingCommand({ thingName }));
  },
};

function hub(placement: PlacementRef): iothub.Registry {
  const [tenant, id, key] = ['AZURE_TENANT_ID', 'AZURE_CLIENT_ID', 'AZURE_CLIENT_SECRET'].map(secret);
  const credential = new ClientSecretCredential(tenant ?? '', id ?? '', key ?? '');
  return iothub.Registry.fromTokenCredential(outputOf(placement, 'hub', 'host'), credential);
}

/** Tags of a twin, as they stand. */
export const tagsOf = async (placement: PlacementRef, id: string): Promise<JsonObject> =>
  (await hub(placement).getTwin(id)).responseBody.tags as JsonObject;

const azure: Operator = {
  async change(placement, id, { status, attributes, desired, joins, leaves }) {
    const registry = hub(placement);
    if (status) {
      const { responseBody } = await registry.get(id);
      await registry.update({ ...JSON.parse(JSON.stringify(responseBody)), status });
    }
    const { responseBody: twin } = await registry.getTwin(id);
    const { multiCloud = {} } = twin.tags as { multiCloud?: { groups?: string[] } };
    const before = multiCloud.groups ?? [];
    const groups = [...before.filter((name) => name !== leaves), ...(joins ? [joins] : [])];
    const isMoved = joins !== undefined || leaves !== undefined;
    const tags = { ...attributes, ...(isMoved && { multiCloud: { groups } }) };
    await registry.updateTwin(id, { tags, ...(desired && { properties: { desired } }) }, '*');
  },
  async remove(placement, id) {
    await hub(placement).delete(id);
  },
};

const gcp: Operator = {
  async change(placement, id, { status, attributes, desired, joins, leaves }) {
    const file = bucketOf(placement).file(deviceObject(id));
    const [text] = await file.download();
    const before = RegisteredDevice.parse(JSON.parse(text.toString()));
    const groups = [...(before.groups ?? []).filter((name) => name !== leaves), ...(joins ? [joins] : [])];
    const after = {
      ...before,
      ...(status && { status }),
      attributes: { ...before.attributes, ...attributes },
      desired: { ...before.desired, ...desired },
      groups,
    };
    await file.save(JSON.stringify(after), { resumable: false });
  },
  async remove(placement, id) {
    await bucketOf(placement).file(deviceObject(id)).delete();
  },
};

export const operators: Record<ProviderType, Operator> = { aws, azure, gcp };

/** What a registry holds, by ID. */
export async function devicesAt(placement: PlacementRef): Promise<Map<string, Device>> {
  const registry = (await pool.get(placement.provider)).devices(placement, (_o, _r, request) => request(), signal);
  const found = new Map<string, Device>();
  for (let token: string | undefined; ; ) {
    const { devices, next } = await registry.page(token);
    for (const device of devices) found.set(device.id, device);
    if (next === undefined) return found;
    token = next;
  }
}

/** The fields of a device that replication carries. */
export const carried = fleetFields.filter((field) => field !== 'reported');
