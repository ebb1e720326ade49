/** The lifecycle policy of a storage account: there is one at most, named `default`. It belongs to whoever owns the account. */
import type { ManagementPolicy, ManagementPolicyRule } from '@azure/arm-storage';
import type { JsonObject, ResourceSpec } from '../../../model/service.ts';
import type { Call, ResourceDriver } from '../driver.ts';
import type { AzureClients } from './clients.ts';
import { found } from './errors.ts';
import { goesWithItsParent } from './event-hubs.ts';
import { ownerOfScope, resourceGroupName } from './resource-group.ts';

/** Overwritten and deleted versions go after so many days, as on the other clouds. */
const noncurrentDays = 90;

export const lifecycleSpec = (account: string, expireDays: number | undefined): ResourceSpec => ({
  key: 'lifecycle',
  kind: 'azure.storage.lifecycle',
  name: account,
  needs: ['account'],
  desired: { noncurrentDays, ...(expireDays ? { expireDays } : {}) },
  holdsData: false,
});

export function lifecycleDriver(clients: AzureClients): ResourceDriver {
  const operations = (call: Call) => clients.storage(call.placement.account).managementPolicies;
  const write = async (spec: ResourceSpec, call: Call): Promise<void> => {
    const policy = { policy: { rules: rulesOf(spec.desired) } };
    await operations(call).createOrUpdate(resourceGroupName(call.placement), spec.name, 'default', policy, {
      abortSignal: call.signal,
    });
  };
  return {
    kind: 'azure.storage.lifecycle',
    immutable: [],
    async observe(spec, call) {
      const group = resourceGroupName(call.placement);
      const seen = await found(() => operations(call).get(group, spec.name, 'default', { abortSignal: call.signal }));
      if (!seen?.id) return undefined;
      const owner = await ownerOfScope(clients, seen.id, call);
      return { id: seen.id, owner, state: 'ready', properties: numbersIn(seen), outputs: { id: seen.id } };
    },
    create: write,
    update: (spec, _observed, _drift, call) => write(spec, call),
    async remove(spec, _observed, call) {
      const group = resourceGroupName(call.placement);
      await found(() => operations(call).delete(group, spec.name, 'default', { abortSignal: call.signal }));
    },
    list: goesWithItsParent,
  };
}

const rule = (name: string, actions: ManagementPolicyRule['definition']['actions']): ManagementPolicyRule => ({
  name,
  enabled: true,
  type: 'Lifecycle',
  definition: { actions, filters: { blobTypes: ['blockBlob', 'appendBlob'] } },
});

const rulesOf = ({ noncurrentDays, expireDays }: JsonObject): ManagementPolicyRule[] => {
  const version = { delete: { daysAfterCreationGreaterThan: Number(noncurrentDays) } };
  const history = rule('history', { version, snapshot: version });
  if (expireDays === undefined) return [history];
  return [
    history,
    rule('retention', { baseBlob: { delete: { daysAfterModificationGreaterThan: Number(expireDays) } } }),
  ];
};

/** The numbers in the enabled rules; those that others added are listed by name, so that they show as drift. */
function numbersIn({ policy }: ManagementPolicy): JsonObject {
  const enabled = (policy?.rules ?? []).filter(({ enabled }) => enabled !== false);
  const actionsOf = (wanted: string) => enabled.find(({ name }) => name === wanted)?.definition.actions;
  const expireDays = actionsOf('retention')?.baseBlob?.delete?.daysAfterModificationGreaterThan;
  const others = enabled.flatMap(({ name }) => (name === 'history' || name === 'retention' ? [] : [name])).sort();
  return {
    noncurrentDays: actionsOf('history')?.version?.delete?.daysAfterCreationGreaterThan ?? 0,
    ...(expireDays === undefined ? {} : { expireDays }),
    ...(others.length > 0 ? { others } : {}),
  };
}
