/**
 * Role assignments: who may do what on one resource, and on nothing above it. An assignment takes no tags; it belongs to
 * whoever owns the resource that it is on, and Azure deletes it with that resource.
 */

import { resourceName } from '../../../model/names.ts';
import type { Placement, ResourceSpec } from '../../../model/service.ts';
import { sha256Hex } from '../../../model/sha256.ts';
import type { Call, Observed, ResourceDriver } from '../driver.ts';
import type { AzureClients } from './clients.ts';
import { found } from './errors.ts';
import { goesWithItsParent } from './event-hubs.ts';

/** Built-in roles, https://learn.microsoft.com/azure/role-based-access-control/built-in-roles (2026-11-24). */
export const roles = {
  'Azure Event Hubs Data Sender': '2b629674-e913-4c01-ae53-ef4638d8f975',
  'Azure Event Hubs Data Receiver': 'a638d3c7-ab3a-418d-83e6-5f17a39d4fde',
  'IoT Hub Data Contributor': '4fc6c259-987e-4a07-842e-c321cc9d413f',
  'Storage Blob Data Contributor': 'ba92f5b4-2d11-453d-a403-e96b0029c9fe',
  'Storage Queue Data Message Processor': '8a0f0c08-91a1-4084-bc3d-661d67233fed',
  'Storage Queue Data Message Sender': 'c6a89b2d-59bc-44d0-9896-0f6e12d7b80a',
  'Storage Blob Data Reader': '2a2b9908-6ea1-4ae2-8e65-a410df84e7d1',
} as const;
export type Role = keyof typeof roles;

export const roleId = (subscription: string, role: Role): string =>
  `/subscriptions/${subscription}/providers/Microsoft.Authorization/roleDefinitions/${roles[role]}`;

/** The identity that these drivers run as. */
export const worker = 'worker';

/** GUID of 32 hex digits, the same for the same text. */
export function guid(text: string): string {
  const hex = sha256Hex(text);
  return [hex.slice(0, 8), hex.slice(8, 12), `5${hex.slice(13, 16)}`, `a${hex.slice(17, 20)}`, hex.slice(20, 32)].join(
    '-',
  );
}

/** `holder` is `worker`, or the key of the resource whose identity (output `principalId`) gets the role. */
export function roleSpec(placement: Placement, key: string, role: Role, on: string, holder: string): ResourceSpec {
  return {
    key,
    kind: 'azure.authorization.role-assignment',
    name: guid(`${resourceName(placement, { limit: 50 })}/${key}`),
    needs: holder === worker ? [on] : [on, holder],
    desired: { role, on, holder },
    holdsData: false,
  };
}

export function roleAssignmentDriver(
  clients: AzureClients,
  /** Owner of a resource, by its ARM ID: read from the tags of the nearest tagged one. */
  ownerById: (id: string, call: Call) => Promise<Observed['owner']>,
): ResourceDriver {
  const assignments = (call: Call) => clients.authorization(call.placement.account).roleAssignments;
  const scopeOf = (spec: ResourceSpec, call: Call): string | undefined => call.needs[String(spec.desired.on)]?.id;
  const holderOf = async (spec: ResourceSpec, call: Call): Promise<string> =>
    spec.desired.holder === worker
      ? clients.principal(call.signal)
      : (call.needs[String(spec.desired.holder)]?.principalId ?? '');
  const driver: ResourceDriver = {
    kind: 'azure.authorization.role-assignment',
    immutable: [],
    async observe(spec, call) {
      const scope = scopeOf(spec, call);
      if (!scope) return undefined;
      const seen = await found(() => assignments(call).get(scope, spec.name, { abortSignal: call.signal }));
      if (!seen?.id) return undefined;
      const role = Object.entries(roles).find(([, id]) => seen.roleDefinitionId?.toLowerCase().endsWith(id));
      const isHolder = seen.principalId === (await holderOf(spec, call));
      return {
        id: seen.id,
        owner: await ownerById(scope, call),
        state: 'ready',
        properties: {
          role: role?.[0] ?? seen.roleDefinitionId ?? '',
          on: seen.scope?.toLowerCase() === scope.toLowerCase() ? String(spec.desired.on) : (seen.scope ?? ''),
          holder: isHolder ? String(spec.desired.holder) : 'somebody else',
        },
        outputs: { principalId: seen.principalId ?? '' },
      };
    },
    async create(spec, call) {
      const { account } = call.placement;
      await assignments(call).create(
        scopeOf(spec, call) ?? '',
        spec.name,
        {
          roleDefinitionId: roleId(account, spec.desired.role as Role),
          principalId: await holderOf(spec, call),
          // Without the type Azure looks the principal up and does not find one that was made seconds ago.
          principalType: 'ServicePrincipal',
        },
        { abortSignal: call.signal },
      );
    },
    /** An assignment cannot change: after its holder was replaced (other credentials, a hub made again) it is made anew. */
    async update(spec, observed, _drift, call) {
      await driver.remove(spec, observed, call);
      await driver.create(spec, call);
    },
    async remove(_spec, observed, call) {
      await found(() => assignments(call).deleteById(observed.id, { abortSignal: call.signal }));
    },
    list: goesWithItsParent,
  };
  return driver;
}
