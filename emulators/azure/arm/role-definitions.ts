/** `Microsoft.Authorization/roleDefinitions` (version 2022-04-01): the subscription's own roles. */
import { z } from 'zod';
import { accept, asObject, Refusal } from './accept.ts';
import type { ArmKind, Stored } from './kind.ts';

const Permissions = z.strictObject({
  actions: z.array(z.string()).default([]),
  notActions: z.array(z.string()).default([]),
  dataActions: z.array(z.string()).default([]),
  notDataActions: z.array(z.string()).default([]),
});
export type RolePermissions = z.infer<typeof Permissions>;

const Definition = z.strictObject({
  roleName: z.string().min(1),
  description: z.string().optional(),
  type: z.literal('CustomRole'),
  assignableScopes: z.array(z.string()).min(1),
  permissions: z.array(Permissions).min(1),
});
const readOnly = ['createdOn', 'updatedOn', 'createdBy', 'updatedBy'];

export const roleDefinitionKind: ArmKind = {
  type: 'Microsoft.Authorization/roleDefinitions',
  tracked: false,
  statuses: { created: 201, updated: 201, deleted: 200 },
  longRunning: false,
  ifMatch: false,
  global: false,
  make: ({ name, body }) => {
    if (!z.guid().safeParse(name).success)
      throw new Refusal(
        400,
        'InvalidRoleDefinitionId',
        `The role definition ID '${name}' is not valid. It must be a GUID.`,
      );
    return { properties: accept(Definition, asObject(body.properties), readOnly) };
  },
};

/** What each of the roles allows, by its ID. */
export const customRoles = (definitions: Iterable<Stored>): Map<string, RolePermissions[]> =>
  new Map(
    [...definitions].map(({ name, properties }) => [
      name.toLowerCase(),
      z.array(Permissions).parse(properties.permissions),
    ]),
  );

/** Actions and data actions have no name in common; reading a container's properties is an action that its data plane asks for. */
export const everything = ({ actions, dataActions }: RolePermissions): string[] => [...actions, ...dataActions];

const matches = (pattern: string, action: string): boolean =>
  new RegExp(`^${pattern.replace(/[.\\+?^${}()|[\]]/g, '\\$&').replaceAll('*', '.*')}$`, 'i').test(action);

/** https://learn.microsoft.com/azure/role-based-access-control/role-definitions#actions */
export const mayDo = (granted: readonly RolePermissions[], action: string): boolean =>
  granted.some(
    ({ actions, notActions }) =>
      actions.some((pattern) => matches(pattern, action)) && !notActions.some((pattern) => matches(pattern, action)),
  );
