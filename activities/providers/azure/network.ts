/**
 * The network of a placement with machines: nothing may come in, and what goes out leaves through one NAT gateway.
 * All four kinds are written whole by PUT, so one driver serves them.
 */
import type {
  NatGateway,
  NetworkManagementClient,
  NetworkSecurityGroup,
  PublicIPAddress,
  Resource,
  SecurityRule,
  VirtualNetwork,
} from '@azure/arm-network';
import { resourceName, toTags } from '../../../model/names.ts';
import type { JsonObject, Outputs, Placement, ResourceSpec } from '../../../model/service.ts';
import type { Call, Found, Observed, ResourceDriver } from '../driver.ts';
import type { AzureClients } from './clients.ts';
import { found } from './errors.ts';
import { hasZones } from './regions.ts';
import { resourceGroupName, stateOf } from './resource-group.ts';
import { ours, ownerOf, region, tagsOf } from './tags.ts';

const addressSpace = '10.64.0.0/16';
const subnetRange = '10.64.0.0/20';
export const subnetName = 'machines';

/** Up to 80 characters, unique in the resource group. */
export const networkName = (placement: Placement, suffix: string): string =>
  resourceName(placement, { limit: 80, suffix });

export function networkSpecs(placement: Placement): ResourceSpec[] {
  const base = { location: placement.region, tags: toTags(placement.owner) };
  const spec = (key: string, kind: string, suffix: string, needs: string[], desired: JsonObject): ResourceSpec => ({
    key,
    kind: `azure.network.${kind}`,
    name: networkName(placement, suffix),
    needs,
    desired: { ...base, ...desired },
    holdsData: false,
  });
  return [
    // The rules that every group has deny what comes from outside the network; nothing is added to them.
    spec('firewall', 'security-group', 'nsg', ['group'], { ingress: [] }),
    spec('egress-address', 'public-ip', 'egress', ['group'], {
      sku: 'Standard',
      allocation: 'Static',
      zones: hasZones(placement.region) ? ['1', '2', '3'] : [],
    }),
    spec('egress', 'nat-gateway', 'nat', ['egress-address'], {
      sku: 'Standard',
      address: networkName(placement, 'egress'),
    }),
    spec('network', 'virtual-network', 'vnet', ['firewall', 'egress'], {
      ranges: [addressSpace],
      subnets: [
        `${subnetName} ${subnetRange} ${networkName(placement, 'nsg')} ${networkName(placement, 'nat')} private`,
      ],
    }),
  ];
}

interface Operations<T> {
  get(group: string, name: string, options: { abortSignal: AbortSignal }): Promise<T>;
  beginCreateOrUpdate(group: string, name: string, body: T, options: { abortSignal: AbortSignal }): Promise<unknown>;
  beginDelete(group: string, name: string, options: { abortSignal: AbortSignal }): Promise<unknown>;
  listAll(options: { abortSignal: AbortSignal }): AsyncIterable<T>;
}

interface NetworkKind<T> {
  kind: string;
  immutable: readonly string[];
  operations(client: NetworkManagementClient): Operations<T>;
  body(spec: ResourceSpec, call: Call): T;
  properties(seen: T): JsonObject;
  outputs?(seen: T): Outputs;
}

/** Every network resource has these, though the SDK's types do not say so in common. */
type NetworkResource = Resource & { readonly provisioningState?: string };

function networkDriver<T extends NetworkResource>(clients: AzureClients, of: NetworkKind<T>): ResourceDriver {
  const operations = (call: Pick<Call, 'placement'>) => of.operations(clients.network(call.placement.account));
  const read = (name: string, call: Call): Promise<T | undefined> =>
    found(() => operations(call).get(resourceGroupName(call.placement), name, { abortSignal: call.signal }));
  const write = async (spec: ResourceSpec, call: Call, others: Record<string, string> | undefined): Promise<void> => {
    const body = {
      ...of.body(spec, call),
      location: call.placement.region,
      tags: { ...others, ...toTags(call.placement.owner) },
    };
    await operations(call).beginCreateOrUpdate(resourceGroupName(call.placement), spec.name, body, {
      abortSignal: call.signal,
    });
  };
  return {
    kind: of.kind,
    immutable: ['location', ...of.immutable],
    async observe(spec, call): Promise<Observed | undefined> {
      const seen = await read(spec.name, call);
      if (!seen?.id) return undefined;
      return {
        id: seen.id,
        owner: ownerOf(seen.tags),
        state: stateOf(seen.provisioningState),
        properties: { location: region(seen.location), ...of.properties(seen), tags: tagsOf(seen.tags) },
        outputs: { id: seen.id, name: spec.name, ...of.outputs?.(seen) },
      };
    },
    create: (spec, call) => write(spec, call, {}),
    update: async (spec, _observed, _drift, call) => write(spec, call, (await read(spec.name, call))?.tags),
    async remove(spec, _observed, call) {
      const group = resourceGroupName(call.placement);
      await found(() => operations(call).beginDelete(group, spec.name, { abortSignal: call.signal }));
    },
    async list(call) {
      const all: Found[] = [];
      for await (const seen of operations(call).listAll({ abortSignal: call.signal })) {
        const owner = ours(seen.tags, call.placement);
        if (owner && seen.id && seen.name && region(seen.location) === call.placement.region)
          all.push({ kind: of.kind, name: seen.name, id: seen.id, owner });
      }
      return all;
    },
  };
}

const nameIn = (reference: { id?: string } | undefined): string => reference?.id?.split('/').at(-1) ?? '';

const openings = (group: NetworkSecurityGroup): string[] =>
  (group.securityRules ?? [])
    .filter((rule: SecurityRule) => rule.direction === 'Inbound' && rule.access === 'Allow')
    .map(
      ({ sourceAddressPrefix, protocol, destinationPortRange }) =>
        `${sourceAddressPrefix ?? 'several'} ${protocol} ${destinationPortRange ?? 'several'}`,
    )
    .sort();

export function networkDrivers(clients: AzureClients): ResourceDriver[] {
  return [
    networkDriver<NetworkSecurityGroup>(clients, {
      kind: 'azure.network.security-group',
      immutable: [],
      operations: (client) => client.networkSecurityGroups,
      body: () => ({ securityRules: [] }),
      properties: (seen) => ({ ingress: openings(seen) }),
    }),
    networkDriver<PublicIPAddress>(clients, {
      kind: 'azure.network.public-ip',
      immutable: ['sku', 'allocation', 'zones'],
      operations: (client) => client.publicIPAddresses,
      body: ({ desired }) => ({
        sku: { name: 'Standard' },
        publicIPAllocationMethod: 'Static',
        publicIPAddressVersion: 'IPv4',
        ...(Array.isArray(desired.zones) && desired.zones.length > 0 ? { zones: desired.zones.map(String) } : {}),
      }),
      properties: (seen) => ({
        sku: seen.sku?.name ?? '',
        allocation: seen.publicIPAllocationMethod ?? '',
        zones: (seen.zones ?? []).toSorted(),
      }),
      outputs: (seen) => ({ address: seen.ipAddress ?? '' }),
    }),
    networkDriver<NatGateway>(clients, {
      kind: 'azure.network.nat-gateway',
      immutable: ['sku'],
      operations: (client) => client.natGateways,
      body: (_spec, { needs }) => ({
        sku: { name: 'Standard' },
        publicIpAddresses: [{ id: needs['egress-address']?.id ?? '' }],
        idleTimeoutInMinutes: 4,
      }),
      properties: (seen) => ({
        sku: seen.sku?.name ?? '',
        address: (seen.publicIpAddresses ?? []).map(nameIn).sort().join(),
      }),
    }),
    networkDriver<VirtualNetwork>(clients, {
      kind: 'azure.network.virtual-network',
      immutable: ['ranges'],
      operations: (client) => client.virtualNetworks,
      body: (_spec, { needs }) => ({
        addressSpace: { addressPrefixes: [addressSpace] },
        subnets: [
          {
            name: subnetName,
            addressPrefix: subnetRange,
            networkSecurityGroup: { id: needs.firewall?.id ?? '' },
            natGateway: { id: needs.egress?.id ?? '' },
            // No way out but the gateway's.
            defaultOutboundAccess: false,
          },
        ],
      }),
      properties: (seen) => ({
        ranges: (seen.addressSpace?.addressPrefixes ?? []).toSorted(),
        subnets: (seen.subnets ?? [])
          .map((subnet) =>
            [
              subnet.name,
              subnet.addressPrefix,
              nameIn(subnet.networkSecurityGroup),
              nameIn(subnet.natGateway),
              subnet.defaultOutboundAccess === false ? 'private' : 'default outbound access',
            ].join(' '),
          )
          .sort(),
      }),
      outputs: (seen) => ({ subnet: seen.subnets?.find(({ name }) => name === subnetName)?.id ?? '' }),
    }),
  ];
}
