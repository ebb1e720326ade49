/** The machines of a `compute` placement: one scale set over all zones of the region, without public addresses. */
import { generateKeyPairSync } from 'node:crypto';
import type { SecurityProfile, VirtualMachineScaleSet, VirtualMachineScaleSetVMProfile } from '@azure/arm-compute';
import { resourceName, toTags } from '../../../model/names.ts';
import type { Placement, ResourceSpec } from '../../../model/service.ts';
import type { Call, Found, ResourceDriver } from '../driver.ts';
import type { AzureClients } from './clients.ts';
import { found } from './errors.ts';
import { subnetName } from './network.ts';
import { hasZones } from './regions.ts';
import { resourceGroupName, stateOf } from './resource-group.ts';
import { ours, ownerOf, region, tagsOf } from './tags.ts';

const image = { publisher: 'Canonical', offer: 'ubuntu-24_04-lts', sku: 'server', version: 'latest' };
const imageName = `${image.publisher}/${image.offer}/${image.sku}`;

/** Up to 64 characters; the machines take the first nine of it as the prefix of their own names. */
export const scaleSetName = (placement: Placement): string => resourceName(placement, { limit: 64 });

/** `capacity` is left out where autoscale decides it; then it starts with `start`. */
export function scaleSetSpec(placement: Placement, size: string, capacity: number | undefined): ResourceSpec {
  return {
    key: 'machines',
    kind: 'azure.compute.scale-set',
    name: scaleSetName(placement),
    needs: ['network'],
    desired: {
      location: placement.region,
      zones: hasZones(placement.region) ? ['1', '2', '3'] : [],
      size,
      ...(capacity === undefined ? {} : { capacity }),
      image: imageName,
      identity: 'SystemAssigned',
      passwords: false,
      // The subscription must have the feature Microsoft.Compute/EncryptionAtHost registered, once:
      // https://learn.microsoft.com/azure/virtual-machines/linux/disks-enable-host-based-encryption-cli
      encryptionAtHost: true,
      security: 'TrustedLaunch, secure boot, vTPM',
      publicAddress: false,
      subnet: subnetName,
      upgrades: 'Automatic',
      tags: toTags(placement.owner),
    },
    holdsData: false,
  };
}

/**
 * ARM wants a key for a machine without a password. This one's private half is dropped at once: nobody logs in with it;
 * administrators come with Entra ID or `az ssh` and a key of theirs.
 */
function unusedKey(): string {
  const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 3072 });
  const { n = '', e = '' } = publicKey.export({ format: 'jwk' });
  const field = (bytes: Buffer): Buffer => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    return Buffer.concat([length, bytes]);
  };
  // A number whose first bit is set needs a zero before it, else it is negative.
  const number = (value: string): Buffer => {
    const bytes = Buffer.from(value, 'base64url');
    return field((bytes[0] ?? 0) & 0x80 ? Buffer.concat([Buffer.of(0), bytes]) : bytes);
  };
  return `ssh-rsa ${Buffer.concat([field(Buffer.from('ssh-rsa')), number(e), number(n)]).toString('base64')}`;
}

const securityProfile: SecurityProfile = {
  securityType: 'TrustedLaunch',
  uefiSettings: { secureBootEnabled: true, vTpmEnabled: true },
  encryptionAtHost: true,
};

const administrator = 'multicloud';

function machine(name: string, subnet: string): VirtualMachineScaleSetVMProfile {
  return {
    osProfile: {
      computerNamePrefix: name.slice(0, 9),
      adminUsername: administrator,
      linuxConfiguration: {
        disablePasswordAuthentication: true,
        ssh: { publicKeys: [{ path: `/home/${administrator}/.ssh/authorized_keys`, keyData: unusedKey() }] },
      },
    },
    storageProfile: {
      imageReference: image,
      osDisk: {
        createOption: 'FromImage',
        caching: 'ReadWrite',
        managedDisk: { storageAccountType: 'Premium_LRS' },
      },
    },
    networkProfile: {
      networkInterfaceConfigurations: [
        {
          name: 'primary',
          primary: true,
          ipConfigurations: [{ name: 'primary', primary: true, subnet: { id: subnet } }],
        },
      ],
    },
    securityProfile,
    diagnosticsProfile: { bootDiagnostics: { enabled: true } },
  };
}

export function scaleSetDriver(clients: AzureClients, startOf: (placement: Placement) => number): ResourceDriver {
  const operations = (call: Pick<Call, 'placement'>) => clients.compute(call.placement.account).virtualMachineScaleSets;
  const read = (name: string, call: Call): Promise<VirtualMachineScaleSet | undefined> =>
    found(() => operations(call).get(resourceGroupName(call.placement), name, { abortSignal: call.signal }));

  return {
    kind: 'azure.compute.scale-set',
    immutable: ['location', 'zones', 'image', 'passwords', 'security', 'publicAddress', 'subnet'],
    async observe(spec, call) {
      const seen = await read(spec.name, call);
      if (!seen?.id) return undefined;
      const { osProfile, storageProfile, networkProfile, securityProfile: security } = seen.virtualMachineProfile ?? {};
      const addresses = (networkProfile?.networkInterfaceConfigurations ?? []).flatMap(
        ({ ipConfigurations }) => ipConfigurations ?? [],
      );
      const { publisher, offer, sku } = storageProfile?.imageReference ?? {};
      const { secureBootEnabled, vTpmEnabled } = security?.uefiSettings ?? {};
      return {
        id: seen.id,
        owner: ownerOf(seen.tags),
        state: stateOf(seen.provisioningState),
        properties: {
          location: region(seen.location),
          zones: (seen.zones ?? []).toSorted(),
          size: seen.sku?.name ?? '',
          capacity: seen.sku?.capacity ?? 0,
          image: `${publisher}/${offer}/${sku}`,
          identity: seen.identity?.type ?? 'None',
          passwords: !osProfile?.linuxConfiguration?.disablePasswordAuthentication,
          encryptionAtHost: security?.encryptionAtHost ?? false,
          security: [security?.securityType, secureBootEnabled && 'secure boot', vTpmEnabled && 'vTPM']
            .filter(Boolean)
            .join(', '),
          publicAddress: addresses.some(({ publicIPAddressConfiguration }) => publicIPAddressConfiguration),
          subnet: addresses.map(({ subnet }) => subnet?.id?.split('/').at(-1) ?? '').join(),
          upgrades: seen.upgradePolicy?.mode ?? '',
          tags: tagsOf(seen.tags),
        },
        outputs: { id: seen.id, name: spec.name, principalId: seen.identity?.principalId ?? '' },
      };
    },
    async create(spec, call) {
      const zones = Array.isArray(spec.desired.zones) ? spec.desired.zones.map(String) : [];
      await operations(call).beginCreateOrUpdate(
        resourceGroupName(call.placement),
        spec.name,
        {
          location: call.placement.region,
          tags: toTags(call.placement.owner),
          sku: { name: String(spec.desired.size), tier: 'Standard', capacity: startOf(call.placement) },
          identity: { type: 'SystemAssigned' },
          ...(zones.length > 0 ? { zones, zoneBalance: false } : {}),
          orchestrationMode: 'Uniform',
          singlePlacementGroup: false,
          overprovision: false,
          upgradePolicy: { mode: 'Automatic' },
          virtualMachineProfile: machine(spec.name, call.needs.network?.subnet ?? ''),
        },
        // A second PUT would ask for another key, which is refused: it must not get that far.
        { ifNoneMatch: '*', abortSignal: call.signal },
      );
    },
    async update(spec, observed, _drift, call) {
      const seen = await read(spec.name, call);
      const capacity = Number(spec.desired.capacity ?? observed.properties.capacity);
      await operations(call).beginUpdate(
        resourceGroupName(call.placement),
        spec.name,
        {
          tags: { ...seen?.tags, ...toTags(call.placement.owner) },
          sku: { name: String(spec.desired.size), tier: 'Standard', capacity },
          identity: { type: 'SystemAssigned' },
          upgradePolicy: { mode: 'Automatic' },
          virtualMachineProfile: { securityProfile },
        },
        { abortSignal: call.signal },
      );
    },
    async remove(spec, _observed, call) {
      const group = resourceGroupName(call.placement);
      await found(() => operations(call).beginDelete(group, spec.name, { abortSignal: call.signal }));
    },
    async list(call) {
      const all: Found[] = [];
      for await (const seen of operations(call).listAll({ abortSignal: call.signal })) {
        const owner = ours(seen.tags, call.placement);
        if (owner && seen.id && seen.name && region(seen.location) === call.placement.region)
          all.push({ kind: this.kind, name: seen.name, id: seen.id, owner });
      }
      return all;
    },
  };
}
