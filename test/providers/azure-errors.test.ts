/** Errors of Azure by kind, and the tables that must agree with the dated sheets. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { RestError } from '@azure/core-rest-pipeline';
import { parse } from 'yaml';
import { AzureClients } from '../../activities/providers/azure/clients.ts';
import { classify } from '../../activities/providers/azure/errors.ts';
import { allows } from '../../activities/providers/azure/granted.ts';
import { azureProvider } from '../../activities/providers/azure/provider.ts';
import { vmSize } from '../../activities/providers/azure/vm-sizes.ts';
import { factSheets } from '../../model/facts.ts';
import { testProviders } from '../conformance/providers.ts';

const credentials = {
  tenant_id: process.env.AZURE_TENANT_ID ?? '',
  client_id: process.env.AZURE_CLIENT_ID ?? '',
  client_secret: process.env.AZURE_CLIENT_SECRET ?? '',
};
const settings = { name: 'azure', region: 'westus2', pollMs: 25, callDeadlineMs: 20_000, credentials };
const soon = (): AbortSignal => AbortSignal.timeout(20_000);

const kindFrom = async (step: Promise<unknown>): Promise<string> =>
  step.then(
    () => 'no error',
    (error: unknown) => classify(error).kind,
  );

describe('errors of Azure by kind', () => {
  it('tells a wrong secret, a subscription out of sight and a missing resource apart', async () => {
    const stranger = azureProvider({ ...settings, credentials: { ...credentials, client_secret: 'wrong' } });
    expect(await kindFrom(stranger.account(soon()))).toBe('Unauthenticated');
    const other = azureProvider({ ...settings, account: '11111111-1111-4111-8111-111111111111' });
    expect(await kindFrom(other.account(soon()))).toBe('Unauthenticated');
    const clients = new AzureClients(settings);
    const { resourceGroups } = clients.resources(testProviders.azure.account);
    expect(await kindFrom(resourceGroups.get('nothing-here', { abortSignal: soon() }))).toBe('NotFound');
    const invalid = resourceGroups.createOrUpdate('ends-with.', { location: 'westus2' });
    expect(await kindFrom(invalid)).toBe('InvalidInput');
  });

  it('reads the right that is missing, the quota and the wait out of an answer', () => {
    const answer = (statusCode: number, code: string, message: string) => new RestError(message, { statusCode, code });
    const denied = answer(
      403,
      'AuthorizationFailed',
      "The client 'x' does not have authorization to perform action 'Microsoft.Storage/storageAccounts/write' over scope '/subscriptions/y'",
    );
    expect(classify(denied)).toMatchObject({
      kind: 'PermissionDenied',
      missing: 'Microsoft.Storage/storageAccounts/write',
    });
    const cores = 'Operation could not be completed as it results in exceeding approved Total Regional Cores quota.';
    expect(classify(answer(409, 'OperationNotAllowed', cores)).kind).toBe('QuotaExceeded');
    expect(classify(answer(429, 'TooManyRequests', '')).kind).toBe('Throttled');
    expect(classify(answer(409, 'StorageAccountAlreadyTaken', '')).kind).toBe('AlreadyExists');
    expect(classify(answer(409, 'AnotherOperationInProgress', '')).kind).toBe('Unavailable');
    expect(classify(answer(400, 'InUseSubnetCannotBeDeleted', '')).kind).toBe('PreconditionFailed');
    expect(classify(answer(503, 'ServerBusy', '')).kind).toBe('Throttled');
    expect(classify(new Error('anything')).kind).toBe('Unavailable');
  });

  it('finds rights in wildcards and their exceptions', () => {
    const granted = { actions: ['Microsoft.Storage/*'], notActions: ['Microsoft.Storage/storageAccounts/delete'] };
    expect(allows(granted, 'microsoft.storage/storageAccounts/write')).toBe(true);
    expect(allows(granted, 'Microsoft.Storage/storageAccounts/delete')).toBe(false);
    expect(allows(granted, 'Microsoft.Network/virtualNetworks/write')).toBe(false);
  });
});

it('maps every instance type to the size that prices are taken for', () => {
  const file = join(import.meta.dirname, '../../config/facts/instance-types.yaml');
  const { instance_types } = factSheets['instance-types'].parse(parse(readFileSync(file, 'utf8')));
  for (const { name, sizes } of instance_types) expect([name, vmSize(name)]).toEqual([name, sizes.azure]);
});
