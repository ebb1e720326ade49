/** `storage` on Azure: one container in a storage account of its own. */
import { StorageConfiguration } from '../../../model/configuration.ts';
import type { Cell } from '../driver.ts';
import { feedDriver } from './change-feed.ts';
import type { AzureClients } from './clients.ts';
import { ownerOfScope, resourceGroupDriver, resourceGroupSpec } from './resource-group.ts';
import { roleAssignmentDriver } from './role-assignment.ts';
import { containerName, storageDrivers, storageSpecs } from './storage-account.ts';
import { storageChecks } from './storage-checks.ts';

export function storageCell(clients: AzureClients): Cell {
  return {
    provider: 'azure',
    type: 'storage',
    design(placement) {
      const { retention_days } = StorageConfiguration.parse(placement.configuration);
      return [resourceGroupSpec(placement), ...storageSpecs(placement, retention_days)];
    },
    resources: [
      resourceGroupDriver(clients),
      ...storageDrivers(clients),
      feedDriver(clients),
      roleAssignmentDriver(clients, (id, call) => ownerOfScope(clients, id, call)),
    ],
    verify: (_placement, observed) => storageChecks(observed),
    async health(placement, observed, signal) {
      const account = observed.account?.outputs.name;
      const container = containerName(placement);
      if (!account) return { healthy: false, detail: 'the storage account does not exist' };
      await clients.container(account, container).getProperties({ abortSignal: signal });
      return { healthy: true, detail: `container ${account}/${container} answers` };
    },
    endpoint: (placement, observed) => `${observed.account?.outputs.url ?? ''}${containerName(placement)}`,
  };
}
