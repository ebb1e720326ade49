/** Where devices are registered: the type and the group of a placement's things. */
import {
  CreateThingGroupCommand,
  CreateThingTypeCommand,
  DeleteThingGroupCommand,
  DeleteThingTypeCommand,
  DeprecateThingTypeCommand,
  DescribeEndpointCommand,
  DescribeThingGroupCommand,
  DescribeThingTypeCommand,
  ListThingGroupsCommand,
  ListThingsCommand,
  ListThingsInThingGroupCommand,
  ListThingTypesCommand,
  UpdateThingGroupCommand,
} from '@aws-sdk/client-iot';
import { toThingGroup } from '../../../model/fleet-mapping.ts';
import { resourceName } from '../../../model/names.ts';
import type { Placement, ResourceSpec } from '../../../model/service.ts';
import type { Call, ResourceDriver } from '../driver.ts';
import type { Clients } from './clients.ts';
import { gone, ifFound } from './errors.ts';
import { canaryPrefix, removeThing } from './iot-device.ts';
import { iotArn, iotDriver } from './iot-resource.ts';
import { allPages, desiredTags } from './tags.ts';

export function registrySpecs(placement: Placement): [type: ResourceSpec, group: ResourceSpec] {
  const name = resourceName(placement, { limit: 128 });
  return [
    {
      key: 'type',
      kind: 'aws.iot.thing-type',
      name,
      needs: [],
      holdsData: true,
      desired: { tags: desiredTags(placement), deprecated: false },
    },
    {
      key: 'group',
      kind: 'aws.iot.thing-group',
      name,
      // A group goes before the type: its things are of that type.
      needs: ['type'],
      holdsData: true,
      desired: { tags: desiredTags(placement), description: `Devices of ${placement.owner.service}` },
    },
  ];
}

/** Clients of where things are, and of where their shadows are. */
const planes = (clients: Clients, { placement }: Pick<Call, 'placement'>) => ({
  iot: clients.iot(placement.region),
  data: clients.iotData(placement.region),
});

export function thingTypeDriver(clients: Clients): ResourceDriver {
  const client = ({ placement }: Pick<Call, 'placement'>) => clients.iot(placement.region);
  const things = async (spec: ResourceSpec, call: Call, maxResults: number) => {
    const command = new ListThingsCommand({ thingTypeName: spec.name, maxResults });
    return (await client(call).send(command, { abortSignal: call.signal })).things ?? [];
  };
  return iotDriver(clients, {
    kind: 'aws.iot.thing-type',
    arnOf: ({ name }, placement) => iotArn(placement, `thingtype/${name}`),
    async read(spec, call) {
      const command = new DescribeThingTypeCommand({ thingTypeName: spec.name });
      const found = await ifFound(client(call).send(command, { abortSignal: call.signal }));
      if (!found) return undefined;
      return {
        properties: { deprecated: found.thingTypeMetadata?.deprecated ?? false },
        outputs: { thingType: spec.name },
      };
    },
    async create(spec, call, tags) {
      const command = new CreateThingTypeCommand({ thingTypeName: spec.name, tags });
      await client(call).send(command, { abortSignal: call.signal });
    },
    async update(spec, drift, call) {
      if (!drift.includes('deprecated')) return;
      const command = new DeprecateThingTypeCommand({ thingTypeName: spec.name, undoDeprecate: true });
      await client(call).send(command, { abortSignal: call.signal });
    },
    /** Five minutes must pass between deprecating and deleting: asked again until then, which `remove` of the portable layer does. */
    async remove(spec, call) {
      const options = { abortSignal: call.signal };
      const thingTypeName = spec.name;
      const found = await ifFound(client(call).send(new DescribeThingTypeCommand({ thingTypeName }), options));
      if (!found) return;
      if (!found.thingTypeMetadata?.deprecated)
        await client(call).send(new DeprecateThingTypeCommand({ thingTypeName }), options);
      await gone(client(call).send(new DeleteThingTypeCommand({ thingTypeName }), options)).catch((error: unknown) => {
        if (!(error instanceof Error) || error.name !== 'InvalidRequestException') throw error;
      });
    },
    async page(call, nextToken) {
      const page = await client(call).send(new ListThingTypesCommand({ nextToken }), { abortSignal: call.signal });
      const items = (page.thingTypes ?? [])
        .filter(({ thingTypeName }) => thingTypeName?.startsWith(call.placement.owner.estate))
        .map(({ thingTypeName = '', thingTypeArn = '' }) => ({ name: thingTypeName, arn: thingTypeArn }));
      return { items, next: page.nextToken };
    },
    store: {
      isEmpty: async (spec, call) => (await things(spec, call, 1)).length === 0,
      async empty(spec, call) {
        const found = await things(spec, call, 50);
        for (const { thingName = '' } of found) await removeThing(planes(clients, call), thingName, call.signal);
        return found.length === 0;
      },
    },
  });
}

export function thingGroupDriver(clients: Clients): ResourceDriver {
  const client = ({ placement }: Pick<Call, 'placement'>) => clients.iot(placement.region);
  const members = async (spec: ResourceSpec, call: Call, maxResults: number): Promise<string[]> => {
    const command = new ListThingsInThingGroupCommand({ thingGroupName: spec.name, maxResults });
    return (await ifFound(client(call).send(command, { abortSignal: call.signal })))?.things ?? [];
  };
  /** Those that copies of fleets have made of the groups that devices are in. */
  const groupsOf = async (spec: ResourceSpec, call: Call): Promise<string[]> => {
    const prefix = toThingGroup(spec.name, '');
    const found = await allPages(async (nextToken) => {
      const command = new ListThingGroupsCommand({ namePrefixFilter: prefix, nextToken });
      const page = await client(call).send(command, { abortSignal: call.signal });
      return { items: page.thingGroups ?? [], next: page.nextToken };
    });
    return found.flatMap(({ groupName }) => (groupName?.startsWith(prefix) ? [groupName] : []));
  };
  return iotDriver(clients, {
    kind: 'aws.iot.thing-group',
    arnOf: ({ name }, placement) => iotArn(placement, `thinggroup/${name}`),
    async read(spec, call) {
      const options = { abortSignal: call.signal };
      const describe = new DescribeThingGroupCommand({ thingGroupName: spec.name });
      const endpoint = new DescribeEndpointCommand({ endpointType: 'iot:Data-ATS' });
      const [found, address] = await Promise.all([
        ifFound(client(call).send(describe, options)),
        client(call).send(endpoint, options),
      ]);
      if (!found) return undefined;
      return {
        properties: { description: found.thingGroupProperties?.thingGroupDescription ?? '' },
        outputs: { group: spec.name, endpoint: address.endpointAddress ?? '' },
      };
    },
    async create(spec, call, tags) {
      const command = new CreateThingGroupCommand({
        thingGroupName: spec.name,
        thingGroupProperties: { thingGroupDescription: String(spec.desired.description) },
        tags,
      });
      await client(call).send(command, { abortSignal: call.signal });
    },
    async update(spec, drift, call) {
      if (!drift.includes('description')) return;
      const command = new UpdateThingGroupCommand({
        thingGroupName: spec.name,
        thingGroupProperties: { thingGroupDescription: String(spec.desired.description) },
      });
      await client(call).send(command, { abortSignal: call.signal });
    },
    async remove(spec, call) {
      // A canary whose worker died may have left its device behind.
      for (const name of await members(spec, call, 250)) await removeThing(planes(clients, call), name, call.signal);
      for (const thingGroupName of await groupsOf(spec, call))
        await gone(client(call).send(new DeleteThingGroupCommand({ thingGroupName }), { abortSignal: call.signal }));
      const command = new DeleteThingGroupCommand({ thingGroupName: spec.name });
      await gone(client(call).send(command, { abortSignal: call.signal }));
    },
    async page(call, nextToken) {
      const command = new ListThingGroupsCommand({ namePrefixFilter: call.placement.owner.estate, nextToken });
      const page = await client(call).send(command, { abortSignal: call.signal });
      const items = (page.thingGroups ?? []).map(({ groupName = '', groupArn = '' }) => ({
        name: groupName,
        arn: groupArn,
      }));
      return { items, next: page.nextToken };
    },
    store: {
      isEmpty: async (spec, call) =>
        (await members(spec, call, 250)).every((name) => name.startsWith(canaryPrefix(call.placement))),
      async empty(spec, call) {
        const found = await members(spec, call, 50);
        for (const name of found) await removeThing(planes(clients, call), name, call.signal);
        return found.length === 0;
      },
    },
  });
}
