/**
 * The way out of the network: the default route in the VPC's main route table, which comes and goes with the VPC and is
 * marked as ours by tags. It exists for us from the moment it carries them.
 */
import {
  CreateRouteCommand,
  DeleteRouteCommand,
  DeleteTagsCommand,
  DescribeRouteTablesCommand,
  type Filter,
  ReplaceRouteCommand,
  type RouteTable,
} from '@aws-sdk/client-ec2';
import { resourceName } from '../../../model/names.ts';
import type { Placement, ResourceSpec } from '../../../model/service.ts';
import type { Call, ResourceDriver } from '../driver.ts';
import type { Clients } from './clients.ts';
import { createTags, namedTags } from './ec2-resource.ts';
import { gone } from './errors.ts';
import { foundBy, fromList, ownerFilter, ownership, tagsOf } from './tags.ts';

const kind = 'aws.ec2.default-route';
const everywhere = '0.0.0.0/0';

export function defaultRouteSpec(placement: Placement): ResourceSpec {
  const name = resourceName(placement, { limit: 200, suffix: 'route' });
  return {
    key: 'route',
    kind,
    name,
    needs: ['network', 'gateway'],
    holdsData: false,
    desired: { tags: namedTags(placement, name), internet: true },
  };
}

export function defaultRouteDriver(clients: Clients): ResourceDriver {
  const client = ({ placement }: Pick<Call, 'placement'>) => clients.ec2(placement.region);
  const find = async (Filters: Filter[], call: Pick<Call, 'placement' | 'signal'>): Promise<RouteTable[]> => {
    const page = await client(call).send(new DescribeRouteTablesCommand({ Filters }), { abortSignal: call.signal });
    return page.RouteTables ?? [];
  };
  const wayOut = ({ Routes }: RouteTable) =>
    Routes?.find(({ DestinationCidrBlock }) => DestinationCidrBlock === everywhere);

  return {
    kind,
    immutable: [],

    async observe(spec, call) {
      const table = (await find([{ Name: 'tag:Name', Values: [spec.name] }], call))[0];
      if (!table?.RouteTableId) return undefined;
      const { tags, ...owned } = ownership(fromList(table.Tags), spec);
      const route = wayOut(table);
      return {
        id: table.RouteTableId,
        ...owned,
        state: 'ready',
        properties: { tags, internet: route?.State === 'active' && route.GatewayId?.startsWith('igw-') === true },
        outputs: { routeTableId: table.RouteTableId },
      };
    },

    async create(spec, call) {
      const VpcId = call.needs.network?.vpcId ?? '';
      const table = (
        await find(
          [
            { Name: 'vpc-id', Values: [VpcId] },
            { Name: 'association.main', Values: ['true'] },
          ],
          call,
        )
      )[0];
      if (!table?.RouteTableId) throw Object.assign(new Error('no main route table'), { name: 'NotFound' });
      await createTags(clients, table.RouteTableId, spec, call);
      await setRoute(table, call);
    },

    async update(spec, observed, drift, call) {
      if (drift.includes('tags')) await createTags(clients, observed.id, spec, call);
      const table = (await find([{ Name: 'route-table-id', Values: [observed.id] }], call))[0];
      if (drift.includes('internet') && table) await setRoute(table, call);
    },

    async remove(spec, observed, call) {
      const options = { abortSignal: call.signal };
      const RouteTableId = observed.id;
      await gone(
        client(call).send(new DeleteRouteCommand({ RouteTableId, DestinationCidrBlock: everywhere }), options),
      );
      const Tags = Object.keys(tagsOf(spec)).map((Key) => ({ Key }));
      await gone(client(call).send(new DeleteTagsCommand({ Resources: [RouteTableId], Tags }), options));
    },

    async list(call) {
      return (await find([ownerFilter(call.placement)], call)).flatMap(({ RouteTableId = '', Tags }) => {
        const tags = fromList(Tags);
        return foundBy(call.placement, kind, tags.Name ?? '', RouteTableId, tags);
      });
    },
  };

  async function setRoute(table: RouteTable, call: Call): Promise<void> {
    const route = {
      RouteTableId: table.RouteTableId,
      DestinationCidrBlock: everywhere,
      GatewayId: call.needs.gateway?.gatewayId,
    };
    const options = { abortSignal: call.signal };
    await (wayOut(table)
      ? client(call).send(new ReplaceRouteCommand(route), options)
      : client(call).send(new CreateRouteCommand(route), options));
  }
}
