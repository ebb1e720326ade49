import { readFileSync } from 'node:fs';
import { loadPermissions } from '../../config/load.ts';
import { awsActions } from '../../emulators/gateway/rights-aws.ts';
import { gcpPermissions } from '../../emulators/gateway/rights-gcp.ts';
import { type AzureRole, type IamPolicy, identities, policiesFor, rightsFor } from '../../model/permissions.ts';
import { type ProviderType, providerTypes } from '../../model/service.ts';

const sheets = loadPermissions('config');
const azure: { builtInRoles: string[]; reference: string[] } = JSON.parse(
  readFileSync('emulators/gateway/definitions/azure-actions.json', 'utf8'),
);
const scope = { estate: 'multi-cloud', account: '123456789012' };

/** Azure's names count as known where a built-in role or the reference has them; read, write and delete go with every type. */
const azureTypes = new Set(
  [...azure.builtInRoles, ...azure.reference].flatMap((name) => {
    const parts = name.toLowerCase().split('/');
    return parts.map((_, at) => parts.slice(0, at).join('/'));
  }),
);
const isKnown: Record<ProviderType, (right: string) => boolean> = {
  aws: (right) => {
    const [service = '', action = ''] = right.split(':');
    return awsActions.actions[service]?.includes(action) === true;
  },
  azure: (right) => {
    const name = right.toLowerCase();
    const [, type = '', verb = ''] = /^(.*)\/([^/]+)$/.exec(name) ?? [];
    return (
      [...azure.builtInRoles, ...azure.reference].some((known) => known.toLowerCase() === name) ||
      (/^(read|write|delete)$/.test(verb) && azureTypes.has(type))
    );
  },
  gcp: (right) => {
    const [, resource = '', verb = ''] = /^(.*)\.(\w+)$/.exec(right) ?? [];
    return gcpPermissions.permissions[resource]?.includes(verb) === true;
  },
};

test.each(providerTypes)('every right that the sheet of %s lists is one that the cloud has', (provider) => {
  const all = identities.flatMap((identity) => rightsFor(sheets[provider], { identity }));
  expect(all.filter((right) => !isKnown[provider](right))).toEqual([]);
  expect(all.length).toBeGreaterThan(50);
  expect(isKnown[provider](`${all[0]}X`)).toBe(false);
});

test.each(providerTypes)(
  'who only watches %s changes nothing, and who takes back creates nothing of its own',
  (provider) => {
    const changing =
      /:(Create|Put|Delete|Update|Attach|Tag|Run|Modify)|\/(write|delete)$|\.(create|delete|update|set\w+)$/;
    expect(rightsFor(sheets[provider], { identity: 'watch' }).filter((right) => changing.test(right))).toEqual([]);
    const makes =
      /:(CreateVpc|CreateBucket|CreateRole|RunInstances)$|scaleSets\/write$|roleAssignments\/write$|networks\.create$|buckets\.create$/i;
    expect(rightsFor(sheets[provider], { identity: 'control' }).filter((right) => makes.test(right))).not.toEqual([]);
    const undo = rightsFor(sheets[provider], { identity: 'undo' });
    // An update of a group of instances hands it a template, which takes the right to start them; a fence takes roles and gives
    // them back.
    const handing = /RunInstances|scaleSets|roleAssignments/i;
    expect(undo.filter((right) => makes.test(right) && !handing.test(right))).toEqual([]);
  },
);

describe('policies of AWS', () => {
  const policies = identities.flatMap((identity) =>
    Object.values(policiesFor('aws', sheets.aws, { identity }, scope) as Record<string, IamPolicy>),
  );
  const statements = policies.flatMap(({ Statement }) => Statement);

  test('fit into managed policies, name every action once for each identity, and none by a wildcard', () => {
    expect(policies.map((policy) => JSON.stringify(policy).length).filter((length) => length > 6144)).toEqual([]);
    const printed = statements.flatMap(({ Action }) => Action).sort();
    expect(printed).toEqual(identities.flatMap((identity) => rightsFor(sheets.aws, { identity })).sort());
    expect(printed.filter((action) => action.includes('*'))).toEqual([]);
  });

  test('end at the resources of the estate, but where an action takes no resource or EC2 names it', () => {
    const everywhere = statements.filter(({ Resource }) => Resource.includes('*')).flatMap(({ Action }) => Action);
    const confinable = everywhere.filter((action) => !awsActions.withoutResource.includes(action));
    expect(
      confinable.filter(
        (action) => !/^ec2:|^iam:SimulatePrincipalPolicy$|^servicequotas:GetServiceQuota$/.test(action),
      ),
    ).toEqual([]);
    const passing = statements.find(({ Action }) => Action.includes('iam:PassRole'));
    expect(passing?.Resource).toEqual([
      'arn:aws:iam::123456789012:role/multi-cloud/multi-cloud/*',
      'arn:aws:iam::123456789012:instance-profile/multi-cloud/multi-cloud/*',
    ]);
  });
});

test('a role of Azure lists rights on content apart, and may be assigned in its subscription alone', () => {
  const role = policiesFor('azure', sheets.azure, { identity: 'undo' }, scope)['multi-cloud-undo.json'] as AzureRole;
  expect(role.AssignableScopes).toEqual(['/subscriptions/123456789012']);
  expect(role.DataActions.length).toBeGreaterThan(0);
  expect(role.Actions.filter((action) => /\/blobs\//.test(action))).toEqual([]);
});
