/**
 * The fence of a storage account: whoever has a role that writes blobs, on the account, its group or its container, has a role
 * that reads them instead. Shared keys are off on our accounts, and a link (user delegation SAS) can do no more than whoever
 * issued it: https://learn.microsoft.com/rest/api/storageservices/create-user-delegation-sas. Keys of such links are not
 * revoked, since that would cut off readers as well.
 *
 * What takes a role's place says in its description what it stands for; what it stands for is in the fence's record.
 */
import { isDeepStrictEqual } from 'node:util';
import type { RoleAssignment } from '@azure/arm-authorization';
import { z } from 'zod';
import type { Writer } from '../../../model/fence.ts';
import type { JsonObject } from '../../../model/service.ts';
import type { FenceDriver, FenceMark } from '../driver.ts';
import type { AzureClients } from './clients.ts';
import { found } from './errors.ts';
import { allows } from './granted.ts';
import { resourceGroupName } from './resource-group.ts';
import { guid, roleId } from './role-assignment.ts';
import { accountName } from './storage-account.ts';

const blobs = 'Microsoft.Storage/storageAccounts/blobServices/containers/blobs';
const reads = `${blobs}/read`;
/** https://learn.microsoft.com/azure/role-based-access-control/permissions/storage, 2026-11-28. */
const writes = [
  'write',
  'delete',
  'add/action',
  'move/action',
  'deleteBlobVersion/action',
  'permanentDelete/action',
  'tags/write',
  'immutableStorage/runAsSuperUser/action',
  'modifyPermissions/action',
  'manageOwnership/action',
].map((action) => `${blobs}/${action}`);

const Assignment = z.strictObject({
  scope: z.string(),
  roleDefinitionId: z.string(),
  principalId: z.string(),
  principalType: z.string(),
  /** Empty where there is none; so are the next two. */
  description: z.string(),
  condition: z.string(),
  conditionVersion: z.string(),
  /** What its role lets do with blobs. */
  reads: z.boolean(),
  writes: z.boolean(),
});
type Assignment = z.infer<typeof Assignment>;
/** Role assignments by name, in the order of the names. */
const Rights = z.record(z.string(), Assignment);
type Rights = z.infer<typeof Rights>;

const prefix = 'multi-cloud fence';
const isOurs = ({ description }: Assignment): boolean => description.startsWith(prefix);
const sorted = (rights: Rights): Rights =>
  Object.fromEntries(Object.entries(rights).toSorted(([a], [b]) => (a < b ? -1 : 1)));
const same = (a: string, b: string): boolean => a.toLowerCase() === b.toLowerCase();
const among = (ours: readonly string[], { principalId }: Pick<Assignment, 'principalId'>): boolean =>
  ours.some((one) => same(one, principalId));

/** `ours`: object IDs of the workers' identities. */
export function fencedRoles(rights: JsonObject, mark: FenceMark, ours: readonly string[], reader: string): JsonObject {
  const now = Rights.parse(rights);
  const { owner, expiresAt } = mark;
  const description = `${prefix} of run ${owner.runId} of ${owner.workflowId} until ${expiresAt}`.slice(0, 1000);
  const fenced: Rights = {};
  for (const [name, one] of Object.entries(now)) {
    if (isOurs(one)) fenced[name] = { ...one, description };
    else if (!one.writes || among(ours, one)) fenced[name] = one;
    else if (one.reads && !Object.values(now).some((other) => readsFor(other, one)))
      // Its condition stays: it may limit what can be read.
      fenced[guid(`${name}/fence`)] = { ...one, roleDefinitionId: reader, description, writes: false };
  }
  return sorted(fenced);
}

/** Whether an assignment that does not write lets the holder of another one read the same. */
const readsFor = (other: Assignment, one: Assignment): boolean =>
  other.reads && !other.writes && same(other.principalId, one.principalId) && same(other.scope, one.scope);

export function liftedRoles(rights: JsonObject, before: JsonObject, ours: readonly string[]): JsonObject {
  const taken = Object.entries(Rights.parse(before)).filter(
    ([, one]) => one.writes && !isOurs(one) && !among(ours, one),
  );
  const others = Object.entries(Rights.parse(rights)).filter(([, one]) => !isOurs(one));
  return sorted(Object.fromEntries([...taken, ...others]));
}

/** Empty texts are left out. */
const parametersOf = (one: Assignment) => ({
  roleDefinitionId: one.roleDefinitionId,
  principalId: one.principalId,
  principalType: one.principalType,
  ...(one.description && { description: one.description }),
  ...(one.condition && { condition: one.condition, conditionVersion: one.conditionVersion }),
});

export function accountFence(clients: AzureClients): FenceDriver {
  /** What a role lets do with blobs, by the ID of its definition. */
  async function granted(id: string, subscription: string, abortSignal: AbortSignal) {
    const definition = await found(() =>
      clients.authorization(subscription).roleDefinitions.getById(id, { abortSignal }),
    );
    const may = (action: string): boolean =>
      (definition?.permissions ?? []).some(({ dataActions = [], notDataActions = [] }) =>
        allows({ actions: dataActions, notActions: notDataActions }, action),
      );
    return { reads: may(reads), writes: writes.some(may) };
  }

  return {
    settles: {
      longestMs: 10 * 60_000,
      source:
        'https://learn.microsoft.com/azure/role-based-access-control/troubleshooting#symptom---role-assignment-changes-are-not-being-detected, 2026-11-28: up to 10 minutes',
    },

    identity: (abortSignal) => clients.principal(abortSignal),

    async read(placement, exempt, abortSignal) {
      const { account: subscription } = placement;
      const group = resourceGroupName(placement);
      const [us, account] = await Promise.all([
        clients.principal(abortSignal),
        clients.storage(subscription).storageAccounts.getProperties(group, accountName(placement), { abortSignal }),
      ]);
      const ours = [us, ...exempt];
      const { roleAssignments } = clients.authorization(subscription);
      const all: RoleAssignment[] = [];
      // At the account, above and below it.
      for await (const one of roleAssignments.listForScope(account.id ?? '', { abortSignal })) all.push(one);
      const definitions = [...new Set(all.map(({ roleDefinitionId = '' }) => roleDefinitionId))];
      const does = new Map(
        await Promise.all(definitions.map(async (id) => [id, await granted(id, subscription, abortSignal)] as const)),
      );
      const own = `/subscriptions/${subscription}/resourceGroups/${group}`.toLowerCase();
      const now: Rights = {};
      const escapes: Writer[] = [];
      for (const one of all) {
        const { name = '', scope = '', roleDefinitionId = '', principalId = '', principalType = '' } = one;
        const may = does.get(roleDefinitionId);
        if (!may?.reads && !may?.writes) continue;
        const { description = '', condition = '', conditionVersion = '' } = one;
        const known = { scope, roleDefinitionId, principalId, principalType, description, condition, conditionVersion };
        if (`${scope.toLowerCase()}/`.startsWith(`${own}/`)) now[name] = { ...known, ...may };
        else if (may.writes && !among(ours, { principalId }))
          escapes.push({ identity: principalId, by: `role ${roleDefinitionId.split('/').at(-1)} on ${scope}` });
      }
      if (account.allowSharedKeyAccess !== false)
        escapes.push({ identity: 'holders of the account keys', by: 'allowSharedKeyAccess' });
      const reader = roleId(subscription, 'Storage Blob Data Reader');

      return {
        now: sorted(now),
        marked: Object.values(now).some(isOurs),
        writers: Object.values(now)
          .filter((one) => one.writes && !among(ours, one))
          .map((one) => ({
            identity: one.principalId,
            by: `role ${one.roleDefinitionId.split('/').at(-1)} on ${one.scope}`,
          })),
        escapes,
        fenced: (rights, mark) => fencedRoles(rights, mark, ours, reader),
        lifted: (rights, before) => liftedRoles(rights, before, ours),
        async apply(wanted) {
          const target = Rights.parse(wanted);
          for (const [name, one] of Object.entries(target))
            if (!isDeepStrictEqual(one, now[name]))
              await roleAssignments.create(one.scope, name, parametersOf(one), { abortSignal });
          for (const [name, { scope }] of Object.entries(now))
            if (!target[name]) await found(() => roleAssignments.delete(scope, name, { abortSignal }));
        },
      };
    },

    survey: async () => ({
      writers: [],
      uploads: { count: 0, first: [] },
      unknown: [
        'blocks that were staged and not committed: Azure lists them for one blob at a time; committing them is refused',
        'links (user delegation SAS): Azure keeps no list of them; they lose the right to write with whoever issued them',
      ],
    }),
  };
}
