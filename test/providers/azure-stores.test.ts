/** Stores on Azure that outlive a removal, and who gets at what is in them. */
import { randomBytes } from 'node:crypto';
import { AzureClients } from '../../activities/providers/azure/clients.ts';
import type { Call, Cell, Provider } from '../../activities/providers/driver.ts';
import { Resource } from '../../activities/providers/provision.ts';
import type { Outputs, Placement } from '../../model/service.ts';
import { testProviders } from '../conformance/providers.ts';

const credentials = {
  tenant_id: process.env.AZURE_TENANT_ID ?? '',
  client_id: process.env.AZURE_CLIENT_ID ?? '',
  client_secret: process.env.AZURE_CLIENT_SECRET ?? '',
};
const settings = { name: 'azure', region: 'westus2', pollMs: 25, callDeadlineMs: 20_000, credentials };
const soon = (): AbortSignal => AbortSignal.timeout(20_000);
const pace = { pollMs: 25, callDeadlineMs: 20_000, heartbeat: () => {} };

describe('a store on Azure', () => {
  const provider: Provider = testProviders.azure.provider();
  const cell = provider.cells.find(({ type }) => type === 'storage') as Cell;
  const placement: Placement = {
    owner: {
      estate: 'keeping',
      uid: randomBytes(16).toString('hex'),
      service: 'storage',
      controller: 'test-controller',
      generation: 1,
    },
    type: 'storage',
    provider: 'azure',
    providerType: 'azure',
    region: 'westus2',
    account: testProviders.azure.account,
    configuration: {},
  };
  const specs = cell.design(placement);

  const resources = (outputs: Record<string, Outputs>) => (key: string) => {
    const spec = specs.find((one) => one.key === key);
    if (!spec) throw new Error(key);
    const needs = Object.fromEntries(spec.needs.map((need) => [need, outputs[need] ?? {}]));
    const call: Call = { placement, needs, signal: soon() };
    return new Resource(provider, cell, spec, call);
  };
  const outputsNow = async (): Promise<Record<string, Outputs>> => {
    const outputs: Record<string, Outputs> = {};
    for (const { key } of specs) {
      const seen = await resources(outputs)(key).observe();
      if (seen) outputs[key] = seen.outputs;
    }
    return outputs;
  };
  const removeAll = async (deleteData: boolean): Promise<Record<string, string>> => {
    const of = resources(await outputsNow());
    const outcomes: Record<string, string> = {};
    for (const { key } of specs.toReversed())
      outcomes[key] = await of(key).remove(pace, { deleteData, retainUntil: '2099-01-01' });
    return outcomes;
  };

  beforeAll(async () => {
    const outputs: Record<string, Outputs> = {};
    for (const { key } of specs) outputs[key] = (await resources(outputs)(key).ensure(pace)).outputs;
  }, 60_000);
  afterAll(() => provider.close());

  it('takes and gives objects to the worker alone', async () => {
    const { account } = await outputsNow();
    const objects = new AzureClients(settings).container(account?.name ?? '', 'objects');
    await objects.getBlockBlobClient('a/first object').upload('hello', 5);
    const back = await objects.getBlockBlobClient('a/first object').downloadToBuffer();
    expect(back.toString()).toBe('hello');
    const anonymous = await fetch(`https://${account?.name}.blob.core.windows.net/objects/a/first%20object`);
    expect(anonymous.status).toBe(401);
  });

  it('is kept and marked when it holds something, with all that it needs', async () => {
    expect(await removeAll(false)).toEqual({
      lifecycle: 'removed',
      container: 'retained',
      'worker-stores': 'removed',
      account: 'retained',
      group: 'retained',
    });
    const of = resources(await outputsNow());
    for (const key of ['container', 'account', 'group'])
      expect((await of(key).observe())?.retainedUntil).toBe('2099-01-01');
    // Once more, now without the right to look into it.
    expect((await removeAll(false)).container).toBe('retained');
  });

  it('is deleted with its content when that is asked for', async () => {
    const outcomes = await removeAll(true);
    expect(outcomes).toMatchObject({ container: 'removed', account: 'removed', group: 'removed' });
    expect(await outputsNow()).toEqual({});
  });
});
