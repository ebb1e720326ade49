/** The network of a `compute` placement: a VPC of its own, two subnets in two zones, a way out to the internet. */
import {
  AttachInternetGatewayCommand,
  CreateInternetGatewayCommand,
  CreateSubnetCommand,
  CreateVpcCommand,
  DeleteInternetGatewayCommand,
  DeleteSubnetCommand,
  DeleteVpcCommand,
  DescribeAvailabilityZonesCommand,
  DescribeInternetGatewaysCommand,
  DescribeSubnetsCommand,
  DescribeVpcAttributeCommand,
  DescribeVpcsCommand,
  DetachInternetGatewayCommand,
  type InternetGateway,
  ModifySubnetAttributeCommand,
  ModifyVpcAttributeCommand,
  type Subnet,
  type Vpc,
} from '@aws-sdk/client-ec2';
import { resourceName } from '../../../model/names.ts';
import type { Placement, ResourceSpec } from '../../../model/service.ts';
import type { Call, ResourceDriver } from '../driver.ts';
import type { Clients } from './clients.ts';
import { ec2Driver, namedTags, tagSpecification } from './ec2-resource.ts';
import { gone } from './errors.ts';

const vpcCidr = '10.40.0.0/16';
const subnetCidrs = ['10.40.0.0/20', '10.40.16.0/20'];
export const subnetKeys = ['subnet_a', 'subnet_b'] as const;

export function networkSpecs(placement: Placement): ResourceSpec[] {
  const part = (key: string, kind: string, needs: string[], properties: ResourceSpec['desired']): ResourceSpec => {
    const name = resourceName(placement, { limit: 200, suffix: key.replaceAll('_', '-') });
    return {
      key,
      kind,
      name,
      needs,
      holdsData: false,
      desired: { tags: namedTags(placement, name), ...properties },
    };
  };
  return [
    part('network', 'aws.ec2.vpc', [], { cidr: vpcCidr, dnsHostnames: true }),
    part('gateway', 'aws.ec2.internet-gateway', ['network'], { attached: true }),
    ...subnetKeys.map((key, index) =>
      part(key, 'aws.ec2.subnet', ['network'], { cidr: subnetCidrs[index] ?? '', publicAddresses: true }),
    ),
  ];
}

export function vpcDriver(clients: Clients): ResourceDriver {
  const client = ({ placement }: Pick<Call, 'placement'>) => clients.ec2(placement.region);
  const setDnsHostnames = async (VpcId: string, call: Call): Promise<void> => {
    const command = new ModifyVpcAttributeCommand({ VpcId, EnableDnsHostnames: { Value: true } });
    await client(call).send(command, { abortSignal: call.signal });
  };
  return ec2Driver<Vpc>(clients, {
    kind: 'aws.ec2.vpc',
    immutable: ['cidr'],
    idOf: ({ VpcId }) => VpcId,
    async find(Filters, call) {
      const page = await client(call).send(new DescribeVpcsCommand({ Filters }), { abortSignal: call.signal });
      return page.Vpcs ?? [];
    },
    async properties({ VpcId, CidrBlock }, call) {
      const command = new DescribeVpcAttributeCommand({ VpcId, Attribute: 'enableDnsHostnames' });
      const { EnableDnsHostnames } = await client(call).send(command, { abortSignal: call.signal });
      return { cidr: CidrBlock ?? '', dnsHostnames: EnableDnsHostnames?.Value ?? false };
    },
    outputs: ({ VpcId }) => ({ vpcId: VpcId ?? '' }),
    async create(spec, call) {
      const command = new CreateVpcCommand({
        CidrBlock: String(spec.desired.cidr),
        TagSpecifications: tagSpecification('vpc', spec),
      });
      const { Vpc } = await client(call).send(command, { abortSignal: call.signal });
      if (Vpc?.VpcId) await setDnsHostnames(Vpc.VpcId, call);
    },
    async update(_spec, id, drift, call) {
      if (drift.includes('dnsHostnames')) await setDnsHostnames(id, call);
    },
    async remove(VpcId, call) {
      await gone(client(call).send(new DeleteVpcCommand({ VpcId }), { abortSignal: call.signal }));
    },
  });
}

export function subnetDriver(clients: Clients): ResourceDriver {
  const client = ({ placement }: Pick<Call, 'placement'>) => clients.ec2(placement.region);
  /** Names of zones differ from account to account; the first and second of those offered serve subnets a and b. */
  const zoneFor = async (spec: ResourceSpec, call: Call): Promise<string | undefined> => {
    const Filters = [{ Name: 'zone-type', Values: ['availability-zone'] }];
    const answer = await client(call).send(new DescribeAvailabilityZonesCommand({ Filters }), {
      abortSignal: call.signal,
    });
    const zones = (answer.AvailabilityZones ?? []).flatMap(({ ZoneName }) => (ZoneName ? [ZoneName] : [])).sort();
    return zones[subnetCidrs.indexOf(String(spec.desired.cidr)) % zones.length];
  };
  const mapAddresses = async (SubnetId: string, call: Call): Promise<void> => {
    const command = new ModifySubnetAttributeCommand({ SubnetId, MapPublicIpOnLaunch: { Value: true } });
    await client(call).send(command, { abortSignal: call.signal });
  };
  return ec2Driver<Subnet>(clients, {
    kind: 'aws.ec2.subnet',
    immutable: ['cidr'],
    idOf: ({ SubnetId }) => SubnetId,
    async find(Filters, call) {
      const page = await client(call).send(new DescribeSubnetsCommand({ Filters }), { abortSignal: call.signal });
      return page.Subnets ?? [];
    },
    properties: ({ CidrBlock, MapPublicIpOnLaunch }) => ({
      cidr: CidrBlock ?? '',
      publicAddresses: MapPublicIpOnLaunch ?? false,
    }),
    outputs: ({ SubnetId, AvailabilityZone }) => ({ subnetId: SubnetId ?? '', zone: AvailabilityZone ?? '' }),
    async create(spec, call) {
      const command = new CreateSubnetCommand({
        VpcId: call.needs.network?.vpcId,
        CidrBlock: String(spec.desired.cidr),
        AvailabilityZone: await zoneFor(spec, call),
        TagSpecifications: tagSpecification('subnet', spec),
      });
      const { Subnet } = await client(call).send(command, { abortSignal: call.signal });
      if (Subnet?.SubnetId) await mapAddresses(Subnet.SubnetId, call);
    },
    async update(_spec, id, drift, call) {
      if (drift.includes('publicAddresses')) await mapAddresses(id, call);
    },
    async remove(SubnetId, call) {
      await gone(client(call).send(new DeleteSubnetCommand({ SubnetId }), { abortSignal: call.signal }));
    },
  });
}

export function internetGatewayDriver(clients: Clients): ResourceDriver {
  const client = ({ placement }: Pick<Call, 'placement'>) => clients.ec2(placement.region);
  const attach = async (InternetGatewayId: string, call: Call): Promise<void> => {
    const command = new AttachInternetGatewayCommand({ InternetGatewayId, VpcId: call.needs.network?.vpcId });
    await client(call).send(command, { abortSignal: call.signal });
  };
  return ec2Driver<InternetGateway>(clients, {
    kind: 'aws.ec2.internet-gateway',
    immutable: [],
    idOf: ({ InternetGatewayId }) => InternetGatewayId,
    async find(Filters, call) {
      const page = await client(call).send(new DescribeInternetGatewaysCommand({ Filters }), {
        abortSignal: call.signal,
      });
      return page.InternetGateways ?? [];
    },
    properties: ({ Attachments }) => ({ attached: (Attachments ?? []).length > 0 }),
    outputs: ({ InternetGatewayId }) => ({ gatewayId: InternetGatewayId ?? '' }),
    async create(spec, call) {
      const command = new CreateInternetGatewayCommand({
        TagSpecifications: tagSpecification('internet-gateway', spec),
      });
      const { InternetGateway } = await client(call).send(command, { abortSignal: call.signal });
      if (InternetGateway?.InternetGatewayId) await attach(InternetGateway.InternetGatewayId, call);
    },
    async update(_spec, id, drift, call) {
      if (drift.includes('attached')) await attach(id, call);
    },
    async remove(InternetGatewayId, call) {
      const options = { abortSignal: call.signal };
      const query = new DescribeInternetGatewaysCommand({
        Filters: [{ Name: 'internet-gateway-id', Values: [InternetGatewayId] }],
      });
      const found = await client(call).send(query, options);
      for (const { VpcId } of found.InternetGateways?.[0]?.Attachments ?? [])
        await gone(client(call).send(new DetachInternetGatewayCommand({ InternetGatewayId, VpcId }), options));
      await gone(client(call).send(new DeleteInternetGatewayCommand({ InternetGatewayId }), options));
    },
  });
}
