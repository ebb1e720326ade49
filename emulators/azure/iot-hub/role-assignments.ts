/** `Microsoft.Authorization/roleAssignments` (version 2022-04-01) and what the built-in data roles allow. */
import { z } from 'zod';
import { accept, asObject, type Properties, Refusal } from '../arm/accept.ts';

const guid = z.guid();
const Assignment = z.strictObject({
  roleDefinitionId: z.string().regex(/\/providers\/Microsoft\.Authorization\/roleDefinitions\/[0-9a-f-]{36}$/i),
  principalId: guid,
  principalType: z.enum(['User', 'Group', 'ServicePrincipal', 'ForeignGroup', 'Device']).default('User'),
  description: z.string().optional(),
  condition: z.string().optional(),
  conditionVersion: z.string().optional(),
  delegatedManagedIdentityResourceId: z.string().optional(),
});
const readOnly = ['scope', 'createdOn', 'updatedOn', 'createdBy', 'updatedBy'];

export interface Held {
  scope: string;
  roleId: string;
  principalId: string;
}

/** Data actions by role: https://learn.microsoft.com/azure/role-based-access-control/built-in-roles (2026-11-24). `*` is any run of characters. */
const dataActions: Record<string, readonly string[]> = {
  '2b629674-e913-4c01-ae53-ef4638d8f975': ['Microsoft.EventHub/*/send/action'],
  'a638d3c7-ab3a-418d-83e6-5f17a39d4fde': ['Microsoft.EventHub/*/receive/action'],
  'f526a384-b230-433a-b45c-95f59c4a2dec': ['Microsoft.EventHub/*'],
  '4fc6c259-987e-4a07-842e-c321cc9d413f': ['Microsoft.Devices/IotHubs/*'],
  'b447c946-2db7-41ec-983d-d8bf3b1c77e3': ['Microsoft.Devices/IotHubs/*/read'],
  '4ea46cd5-c1b2-4a8e-910b-273211f9ce47': ['Microsoft.Devices/IotHubs/devices/*'],
  'ba92f5b4-2d11-453d-a403-e96b0029c9fe': ['Microsoft.Storage/storageAccounts/blobServices/containers/*'],
  'b7e6dc6d-f1e8-4753-8033-0f276bb0955b': ['Microsoft.Storage/storageAccounts/blobServices/containers/*'],
  'c6a89b2d-59bc-44d0-9896-0f6e12d7b80a': [
    'Microsoft.Storage/storageAccounts/queueServices/queues/messages/add/action',
  ],
  '8a0f0c08-91a1-4084-bc3d-661d67233fed': [
    'Microsoft.Storage/storageAccounts/queueServices/queues/messages/read',
    'Microsoft.Storage/storageAccounts/queueServices/queues/messages/process/action',
  ],
  '2a2b9908-6ea1-4ae2-8e65-a410df84e7d1': [
    'Microsoft.Storage/storageAccounts/blobServices/containers/read',
    'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read',
  ],
};

const matches = (pattern: string, action: string): boolean => {
  const parts = pattern.toLowerCase().split('*');
  const text = action.toLowerCase();
  if (parts.length === 1) return text === parts[0];
  const [first = '', last = ''] = [parts[0], parts.at(-1)];
  return text.startsWith(first) && text.endsWith(last) && text.length >= first.length + last.length;
};

const within = (scope: string, id: string): boolean =>
  id.toLowerCase() === scope.toLowerCase() || id.toLowerCase().startsWith(`${scope.toLowerCase().replace(/\/$/, '')}/`);

/** The data action on the resource, by an assignment on it or anything above it. */
export const allowed = (
  all: Iterable<Held>,
  principal: string,
  action: string,
  resource: string,
  /** What a role of the subscription's own allows. */
  custom: (roleId: string) => readonly string[] = () => [],
): boolean =>
  [...all].some(
    ({ principalId, roleId, scope }) =>
      principalId === principal &&
      within(scope, resource) &&
      (dataActions[roleId] ?? custom(roleId)).some((pattern) => matches(pattern, action)),
  );

/** The definition of a built-in role, as far as this knows it. */
export const roleDefinition = (id: string): Properties | undefined => {
  const actions = dataActions[id.toLowerCase()];
  return (
    actions && {
      type: 'BuiltInRole',
      permissions: [{ actions: [], notActions: [], dataActions: actions, notDataActions: [] }],
      assignableScopes: ['/'],
    }
  );
};

/** Under its name an assignment can change its description and condition, and nothing else. */
export function roleAssignment(
  scope: string,
  name: string,
  body: Properties,
  others: Iterable<{ name: string; properties: Properties }>,
): Properties {
  if (!guid.safeParse(name).success)
    throw new Refusal(
      400,
      'InvalidRoleAssignmentId',
      `The role assignment ID '${name}' is not valid. It must be a GUID.`,
    );
  const given = accept(Assignment, asObject(body.properties), readOnly);
  const same = (one: Properties): boolean =>
    String(one.scope).toLowerCase() === scope.toLowerCase() &&
    one.principalId === given.principalId &&
    roleIdOf(one) === roleIdOf(given);
  for (const one of others) {
    if (one.name === name && same(one.properties)) {
      const { createdOn } = one.properties;
      return { ...given, scope, createdOn, updatedOn: new Date().toISOString() };
    }
    if (one.name === name)
      throw new Refusal(
        409,
        'RoleAssignmentUpdateNotPermitted',
        'Tenant ID, application ID, principal ID, and scope are not allowed to be updated.',
      );
    if (same(one.properties)) throw new Refusal(409, 'RoleAssignmentExists', 'The role assignment already exists.');
  }
  const now = new Date().toISOString();
  return { ...given, scope, createdOn: now, updatedOn: now };
}

const roleIdOf = (properties: Properties): string =>
  String(properties.roleDefinitionId).split('/').at(-1)?.toLowerCase() ?? '';

export const held = (properties: Properties): Held => ({
  scope: String(properties.scope),
  roleId: roleIdOf(properties),
  principalId: String(properties.principalId),
});
