/** Resource groups, as a resource type like any other: what lies in one is deleted with it. */
import { asObject, Refusal } from './accept.ts';
import type { ArmKind } from './kind.ts';

export const resourceGroupKind: ArmKind = {
  type: 'Microsoft.Resources/resourceGroups',
  tracked: true,
  statuses: { created: 201, updated: 200, deleted: 202 },
  longRunning: true,
  ifMatch: false,
  global: false,
  make: ({ name, body }) => {
    if (!/^[\p{L}\p{N}_().-]{0,89}[\p{L}\p{N}_()-]$/u.test(name))
      throw new Refusal(400, 'InvalidResourceGroup', `The provided resource group name '${name}' is not valid.`);
    const unknown = Object.keys(asObject(body.properties)).filter((key) => key !== 'provisioningState');
    if (unknown.length > 0) throw new Refusal(400, 'InvalidRequestContent', `Unknown property: ${unknown.join(', ')}`);
    return { properties: {} };
  },
};
