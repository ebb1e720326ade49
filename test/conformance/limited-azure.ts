/** An application with one role of the subscription's own, made by the subscription's owner. */
import { randomUUID } from 'node:crypto';
import { dirname, join } from 'node:path';
import { AuthorizationManagementClient } from '@azure/arm-authorization';
import { ClientSecretCredential } from '@azure/identity';
import { registerApplication } from '../../emulators/azure/application.ts';
import { accounts, azureApplication } from '../../emulators/environment.ts';
import type { AzureRole } from '../../model/permissions.ts';

const scope = `/subscriptions/${accounts.azure}`;

/** `undefined`: may do everything. */
export async function limitedAzure(name: string, roles: readonly unknown[] | undefined) {
  const { tenant, client, secret } = azureApplication;
  const owner = new AuthorizationManagementClient(new ClientSecretCredential(tenant, client, secret), accounts.azure);
  const state = join(dirname(process.env.MULTI_CLOUD_NETWORK ?? ''), 'azure');
  const application = registerApplication(state, `limited-${name}`);
  for (const role of (roles ?? [everything]) as AzureRole[]) {
    const { Name, Description, Actions, NotActions, DataActions, NotDataActions, AssignableScopes } = role;
    const definition = await owner.roleDefinitions.createOrUpdate(scope, randomUUID(), {
      roleName: `${Name}-${name}`,
      description: Description,
      roleType: 'CustomRole',
      permissions: [
        { actions: Actions, notActions: NotActions, dataActions: DataActions, notDataActions: NotDataActions },
      ],
      assignableScopes: AssignableScopes,
    });
    await owner.roleAssignments.create(scope, randomUUID(), {
      roleDefinitionId: definition.id ?? '',
      principalId: application.object,
      principalType: 'ServicePrincipal',
    });
  }
  return {
    caller: application.client,
    credentials: { tenant_id: tenant, client_id: application.client, client_secret: application.secret },
  };
}

const everything: AzureRole = {
  Name: 'everything',
  IsCustom: true,
  Description: 'Recording what is needed',
  Actions: ['*'],
  NotActions: [],
  DataActions: ['*'],
  NotDataActions: [],
  AssignableScopes: [scope],
};
