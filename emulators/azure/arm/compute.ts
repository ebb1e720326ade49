/** `Microsoft.Compute/virtualMachineScaleSets` (version 2025-04-01), without machines behind them: they count as running once made. */
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { accept, asObject, type Properties, Refusal } from './accept.ts';
import type { ArmKind, Asked, Made, Stored } from './kind.ts';
import { subnetsOf } from './network.ts';
import { keyOf } from './resource-id.ts';

const Key = z.strictObject({ path: z.string(), keyData: z.string().regex(/^ssh-(rsa|ed25519) AAAA[\w+/=]+/) });
const OsProfile = z.strictObject({
  computerNamePrefix: z.string().min(1).max(58),
  adminUsername: z.string().regex(/^(?!(admin|root|administrator)$)[a-z_][a-z0-9_-]{0,31}$/),
  adminPassword: z.string().optional(),
  customData: z.string().optional(),
  linuxConfiguration: z.strictObject({
    disablePasswordAuthentication: z.boolean().optional(),
    ssh: z.strictObject({ publicKeys: z.array(Key).min(1) }).optional(),
    provisionVMAgent: z.boolean().optional(),
  }),
});
const Storage = z.strictObject({
  imageReference: z.strictObject({
    publisher: z.string(),
    offer: z.string(),
    sku: z.string(),
    version: z.string(),
  }),
  osDisk: z.strictObject({
    createOption: z.literal('FromImage'),
    caching: z.enum(['None', 'ReadOnly', 'ReadWrite']).optional(),
    diskSizeGB: z.int().min(30).max(4095).optional(),
    managedDisk: z
      .strictObject({ storageAccountType: z.enum(['Standard_LRS', 'StandardSSD_LRS', 'Premium_LRS', 'Premium_ZRS']) })
      .optional(),
  }),
});
const IpConfiguration = z.strictObject({
  name: z.string(),
  properties: z.strictObject({
    primary: z.boolean().optional(),
    subnet: z.strictObject({ id: z.string() }),
    publicIPAddressConfiguration: z.json().optional(),
    privateIPAddressVersion: z.string().optional(),
  }),
});
const Interface = z.strictObject({
  name: z.string(),
  properties: z.strictObject({
    primary: z.boolean().optional(),
    enableAcceleratedNetworking: z.boolean().optional(),
    networkSecurityGroup: z.strictObject({ id: z.string() }).optional(),
    ipConfigurations: z.array(IpConfiguration).min(1),
  }),
});
const Security = z.strictObject({
  securityType: z.enum(['TrustedLaunch', 'ConfidentialVM', 'Standard']).optional(),
  encryptionAtHost: z.boolean().optional(),
  uefiSettings: z
    .strictObject({ secureBootEnabled: z.boolean().optional(), vTpmEnabled: z.boolean().optional() })
    .optional(),
});
const Profile = z.strictObject({
  osProfile: OsProfile,
  storageProfile: Storage,
  networkProfile: z.strictObject({ networkInterfaceConfigurations: z.array(Interface).min(1) }),
  securityProfile: Security.optional(),
  diagnosticsProfile: z
    .strictObject({ bootDiagnostics: z.strictObject({ enabled: z.boolean().optional() }).optional() })
    .optional(),
});
const Upgrades = z.strictObject({ mode: z.enum(['Automatic', 'Manual', 'Rolling']) });
const ScaleSet = z.strictObject({
  orchestrationMode: z.literal('Uniform', 'only the uniform mode is served locally'),
  singlePlacementGroup: z.boolean().optional(),
  overprovision: z.boolean().default(true),
  zoneBalance: z.boolean().optional(),
  platformFaultDomainCount: z.int().optional(),
  upgradePolicy: Upgrades,
  virtualMachineProfile: Profile,
});
const Patch = z.strictObject({
  upgradePolicy: Upgrades.optional(),
  virtualMachineProfile: z.strictObject({ securityProfile: Security.optional() }).optional(),
});
const Sku = z.strictObject({
  name: z.string().regex(/^Standard_[A-Z]\w+$/),
  tier: z.string().optional(),
  capacity: z.int().min(0).max(1000),
});
const Identity = z.strictObject({ type: z.enum(['None', 'SystemAssigned']).default('None') });

function identityOf({ body, before, tenant }: Asked): Properties {
  const { type } = accept(Identity, body.identity ?? before?.identity ?? {}, ['principalId', 'tenantId']);
  if (type === 'None') return { type };
  return { type, principalId: asObject(before?.identity).principalId ?? randomUUID(), tenantId: tenant };
}

function scaleSet(asked: Asked): Made {
  const { body, before, list } = asked;
  const given = accept(ScaleSet, asObject(body.properties), ['provisioningState', 'uniqueId', 'timeCreated']);
  const { osProfile, networkProfile } = given.virtualMachineProfile;
  for (const { properties } of networkProfile.networkInterfaceConfigurations)
    for (const { properties: address } of properties.ipConfigurations) needSubnet(address.subnet.id, list);
  if (before) {
    const old = ScaleSet.parse(settable(before.properties)).virtualMachineProfile.osProfile;
    if (JSON.stringify(old) !== JSON.stringify(osProfile))
      throw new Refusal(409, 'PropertyChangeNotAllowed', "Changing property 'osProfile' is not allowed.");
  }
  return {
    sku: accept(Sku, body.sku),
    identity: identityOf(asked),
    zones: body.zones,
    properties: {
      ...given,
      uniqueId: before?.properties.uniqueId ?? randomUUID(),
      timeCreated: before?.properties.timeCreated ?? new Date().toISOString(),
    },
  };
}

const settable = ({ uniqueId: _id, timeCreated: _created, ...properties }: Properties): Properties => properties;

function patched(asked: Asked): Made {
  const { body, before } = asked;
  const given = accept(Patch, asObject(body.properties));
  const old = ScaleSet.parse(settable(before?.properties ?? {}));
  const security = { ...old.virtualMachineProfile.securityProfile, ...given.virtualMachineProfile?.securityProfile };
  if (security.securityType !== old.virtualMachineProfile.securityProfile?.securityType)
    throw new Refusal(409, 'PropertyChangeNotAllowed', "Changing property 'securityType' is not allowed.");
  return {
    sku: accept(Sku, { ...asObject(before?.sku), ...asObject(body.sku) }),
    identity: identityOf(asked),
    zones: before?.zones,
    properties: {
      ...before?.properties,
      ...old,
      upgradePolicy: given.upgradePolicy ?? old.upgradePolicy,
      virtualMachineProfile: { ...old.virtualMachineProfile, securityProfile: security },
    },
  };
}

function needSubnet(id: string, list: Asked['list']): void {
  for (const network of list('Microsoft.Network/virtualNetworks'))
    for (const subnet of subnetsOf(network)) if (keyOf(subnet.id ?? '') === keyOf(id)) return;
  throw new Refusal(404, 'SubnetNotFound', `The subnet ${id} was not found.`);
}

const capacityOf = ({ sku }: Stored): number => Number(asObject(sku).capacity ?? 0);

/** Keys are written, never read back. */
const withoutKeys = (made: Made): Made => {
  const {
    customData: _data,
    adminPassword: _password,
    ...osProfile
  } = asObject(asObject(made.properties.virtualMachineProfile).osProfile);
  const virtualMachineProfile = { ...asObject(made.properties.virtualMachineProfile), osProfile };
  return { ...made, properties: { ...made.properties, virtualMachineProfile } };
};

export const computeKinds: ArmKind[] = [
  {
    type: 'Microsoft.Compute/virtualMachineScaleSets',
    tracked: true,
    statuses: { created: 201, updated: 200, deleted: 202 },
    longRunning: true,
    ifMatch: false,
    global: false,
    make: scaleSet,
    patch: patched,
    show: withoutKeys,
    actions: {
      instanceview: (stored) => ({
        virtualMachine: {
          statusesSummary:
            stored.phase?.state === 'Creating'
              ? []
              : [{ code: 'ProvisioningState/succeeded', count: capacityOf(stored) }],
        },
        statuses: [{ code: 'ProvisioningState/succeeded', level: 'Info', displayStatus: 'Provisioning succeeded' }],
      }),
      virtualmachines: (stored) => ({
        value: Array.from({ length: capacityOf(stored) }, (_, index) => ({
          id: `${stored.id}/virtualMachines/${index}`,
          name: `${stored.name}_${index}`,
          instanceId: String(index),
          location: stored.location,
          properties: { provisioningState: 'Succeeded', latestModelApplied: true },
        })),
      }),
    },
  },
];
