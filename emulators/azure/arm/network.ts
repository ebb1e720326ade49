/** `Microsoft.Network` (version 2025-01-01): security groups, public addresses, NAT gateways, virtual networks with their subnets. */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { accept, asObject, Refusal } from './accept.ts';
import type { ArmKind, Asked, Stored } from './kind.ts';
import { keyOf } from './resource-id.ts';

const Reference = z.looseObject({ id: z.string().min(1) });

const RuleProperties = z.strictObject({
  description: z.string().optional(),
  protocol: z.enum(['*', 'Tcp', 'Udp', 'Icmp', 'Esp', 'Ah']),
  sourcePortRange: z.string().optional(),
  destinationPortRange: z.string().optional(),
  sourceAddressPrefix: z.string().optional(),
  destinationAddressPrefix: z.string().optional(),
  sourcePortRanges: z.array(z.string()).optional(),
  destinationPortRanges: z.array(z.string()).optional(),
  sourceAddressPrefixes: z.array(z.string()).optional(),
  destinationAddressPrefixes: z.array(z.string()).optional(),
  access: z.enum(['Allow', 'Deny']),
  priority: z.int().min(100).max(4096),
  direction: z.enum(['Inbound', 'Outbound']),
  provisioningState: z.string().optional(),
});
const named = <T extends z.ZodType>(properties: T) =>
  z.strictObject({
    id: z.string().optional(),
    name: z.string().min(1),
    type: z.string().optional(),
    etag: z.string().optional(),
    properties,
  });
const SecurityGroup = z.strictObject({
  flushConnection: z.boolean().optional(),
  securityRules: z.array(named(RuleProperties)).default([]),
});
const PublicAddress = z.strictObject({
  publicIPAllocationMethod: z.enum(['Static', 'Dynamic']),
  publicIPAddressVersion: z.enum(['IPv4', 'IPv6']).default('IPv4'),
  idleTimeoutInMinutes: z.int().min(4).max(30).default(4),
});
const Gateway = z.strictObject({
  idleTimeoutInMinutes: z.int().min(4).max(120).default(4),
  publicIpAddresses: z.array(Reference).default([]),
});
const Subnet = z.strictObject({
  addressPrefix: z.string().regex(/^[\d.]+\/\d+$/),
  networkSecurityGroup: Reference.optional(),
  natGateway: Reference.optional(),
  defaultOutboundAccess: z.boolean().optional(),
  privateEndpointNetworkPolicies: z.string().optional(),
  privateLinkServiceNetworkPolicies: z.string().optional(),
  provisioningState: z.string().optional(),
});
const Network = z.strictObject({
  addressSpace: z.strictObject({ addressPrefixes: z.array(z.string().regex(/^[\d.]+\/\d+$/)).min(1) }),
  subnets: z.array(named(Subnet)).default([]),
  enableDdosProtection: z.boolean().optional(),
});
/** By ARM's name of the type; a test compares their keys with the client's own mappers. */
export const networkSchemas = {
  NetworkSecurityGroup: SecurityGroup,
  SecurityRule: RuleProperties,
  PublicIPAddress: PublicAddress,
  NatGateway: Gateway,
  VirtualNetwork: Network,
  Subnet,
};

const ns = 'Microsoft.Network';
const types = {
  group: `${ns}/networkSecurityGroups`,
  address: `${ns}/publicIPAddresses`,
  gateway: `${ns}/natGateways`,
  network: `${ns}/virtualNetworks`,
};

const readOnly = [
  'provisioningState',
  'resourceGuid',
  'defaultSecurityRules',
  'subnets',
  'ipAddress',
  'ipConfiguration',
];

function needReady({ list }: Asked, type: string, id: string | undefined): void {
  if (id === undefined) return;
  const found = [...list(type)].find((one) => keyOf(one.id) === keyOf(id));
  if (!found) throw new Refusal(400, 'InvalidResourceReference', `Resource ${id} was not found.`);
  if (found.phase?.state === 'Creating' || found.phase?.state === 'Deleting')
    throw new Refusal(429, 'ReferencedResourceNotProvisioned', `Resource ${id} is in the state ${found.phase.state}.`);
}

const standard = (body: unknown): { name: string; tier: string } =>
  accept(z.strictObject({ name: z.literal('Standard'), tier: z.string().default('Regional') }), body);

export const subnetsOf = ({ properties }: Stored): z.infer<ReturnType<typeof named<typeof Subnet>>>[] =>
  accept(Network, properties).subnets;

const usesIn = (id: string, references: readonly ({ id: string } | undefined)[]): boolean =>
  references.some((one) => one && keyOf(one.id) === keyOf(id));

const base = {
  tracked: true,
  statuses: { created: 201, updated: 200, deleted: 202 },
  longRunning: true,
  ifMatch: false,
  global: false,
} as const;

export const networkKinds: ArmKind[] = [
  {
    ...base,
    type: types.group,
    make: ({ id, body }) => {
      const { securityRules } = accept(SecurityGroup, asObject(body.properties), readOnly);
      const rules = securityRules.map((rule) => ({ ...rule, id: `${id}/securityRules/${rule.name}` }));
      return { properties: { securityRules: rules } };
    },
    checkRemoval: ({ id, name }, list) => {
      for (const network of list(types.network))
        if (
          usesIn(
            id,
            subnetsOf(network).map(({ properties }) => properties.networkSecurityGroup),
          )
        )
          throw new Refusal(400, 'InUseNetworkSecurityGroupCannotBeDeleted', `${name} is in use by ${network.id}.`);
    },
  },
  {
    ...base,
    type: types.address,
    make: ({ id, body }) => {
      const hash = createHash('sha256').update(id).digest();
      return {
        sku: standard(body.sku),
        zones: body.zones,
        // 203.0.113.0/24 is for documentation: no such address is ever anybody's.
        properties: {
          ...accept(PublicAddress, asObject(body.properties), readOnly),
          ipAddress: `203.0.113.${hash[0]}`,
        },
      };
    },
    checkRemoval: ({ id, name }, list) => {
      for (const gateway of list(types.gateway))
        if (usesIn(id, accept(Gateway, gateway.properties).publicIpAddresses))
          throw new Refusal(400, 'PublicIPAddressCannotBeDeleted', `${name} is in use by ${gateway.id}.`);
    },
  },
  {
    ...base,
    type: types.gateway,
    make: (asked) => {
      const given = accept(Gateway, asObject(asked.body.properties), readOnly);
      for (const { id } of given.publicIpAddresses) needReady(asked, types.address, id);
      return { sku: standard(asked.body.sku), zones: asked.body.zones, properties: given };
    },
    checkRemoval: ({ id, name }, list) => {
      for (const network of list(types.network))
        if (
          usesIn(
            id,
            subnetsOf(network).map(({ properties }) => properties.natGateway),
          )
        )
          throw new Refusal(400, 'InUseNatGatewayCannotBeDeleted', `${name} is in use by ${network.id}.`);
    },
  },
  {
    ...base,
    type: types.network,
    make: (asked) => {
      const given = accept(Network, asObject(asked.body.properties), ['provisioningState', 'resourceGuid']);
      const subnets = given.subnets.map((subnet) => {
        needReady(asked, types.group, subnet.properties.networkSecurityGroup?.id);
        needReady(asked, types.gateway, subnet.properties.natGateway?.id);
        return { ...subnet, id: `${asked.id}/subnets/${subnet.name}` };
      });
      return { properties: { ...given, subnets } };
    },
    checkRemoval: ({ id, name }, list) => {
      for (const scaleSet of list('Microsoft.Compute/virtualMachineScaleSets'))
        if (
          JSON.stringify(scaleSet.properties)
            .toLowerCase()
            .includes(`"${keyOf(id)}/subnets/`)
        )
          throw new Refusal(400, 'InUseSubnetCannotBeDeleted', `A subnet of ${name} is in use by ${scaleSet.id}.`);
    },
  },
];
