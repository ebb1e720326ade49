/** A provision that fails for good, at each step of each cell: nothing is left behind, and a second run succeeds. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ApplicationFailure } from '@temporalio/activity';
import { WorkflowFailedError } from '@temporalio/client';
import type { Ensured } from '../../activities/providers/provision.ts';
import { scan } from '../../activities/providers/provision.ts';
import { type OperationResult, taskQueue, workflowIds } from '../../model/operations.ts';
import type { ServiceRecord } from '../../model/record.ts';
import { providerTypes, type ServiceType } from '../../model/service.ts';
import { type OwnWorker, ownWorker, quietTemporal, writeEstate } from './own-worker.ts';

const types: ServiceType[] = ['storage', 'data_lake', 'compute', 'iot_core'];
const cells = providerTypes.flatMap((provider) =>
  types.map((type) => ({ provider, type, service: `${provider}_${type}` })),
);
const estate = 'undo';

describe('a provision that fails for good', () => {
  let worker: OwnWorker;
  /** The resource whose provision fails after it took effect. */
  let sabotaged: { service: string; key: string } | undefined;
  const seen: Record<string, string[]> = {};

  beforeAll(async () => {
    quietTemporal();
    const services = Object.fromEntries(
      cells.map(({ provider, type, service }) => [
        service,
        { type, redundancy: 1, preferred_providers: [provider], protect: false },
      ]),
    );
    const file = writeEstate(join(mkdtempSync(join(tmpdir(), 'estate-')), 'estate.yaml'), estate, services);
    worker = await ownWorker(`undo-${Date.now()}`, file, (real) => ({
      ...real,
      async ensureResource(request): Promise<Ensured> {
        const { service } = request.placement.owner;
        seen[service] = [...new Set([...(seen[service] ?? []), request.spec.key])];
        const ensured = await real.ensureResource(request);
        if (sabotaged?.service === service && sabotaged.key === request.spec.key)
          throw ApplicationFailure.nonRetryable('refused for good', 'InvalidInput');
        return ensured;
      },
    }));
  }, 120_000);
  afterAll(() => worker.close(), 60_000);

  let runs = 0;
  const run = (type: string, input: object): Promise<OperationResult> =>
    worker.client.workflow.execute(type, { taskQueue, workflowId: `${type}-${++runs}`, args: [input] });

  async function left(service: string): Promise<string[]> {
    const record: ServiceRecord = await worker.client.workflow
      .getHandle(workflowIds.cloudService(estate, service))
      .query('record');
    const cell = cells.find((one) => one.service === service);
    const provider = await worker.pool.get(cell?.provider ?? '');
    const uid: { uid: string } = await worker.client.workflow
      .getHandle(workflowIds.cloudEstate(estate))
      .query('record');
    const region = { aws: 'us-west-2', azure: 'westus2', gcp: 'us-central1' }[cell?.provider ?? 'aws'];
    const account = await provider.account(AbortSignal.timeout(20_000));
    const placement = {
      owner: { estate, uid: uid.uid, service, controller: '', generation: 1 },
      ...{
        type: cell?.type ?? 'storage',
        provider: provider.type,
        providerType: provider.type,
        region,
        account,
        configuration: {},
      },
    };
    const found = await scan(provider, placement, AbortSignal.timeout(30_000));
    const mine = found.filter(({ owner }) => owner.uid === uid.uid && owner.service === service);
    return [
      ...mine.map(({ kind, name }) => `${kind} ${name}`),
      ...record.intents.map(({ resource }) => `intent ${resource.key}`),
    ];
  }

  it.each(cells)(
    '$type on $provider: leaves nothing behind at any step, and a second run succeeds',
    async ({ service, provider }) => {
      // The first failure is at the end, which tells the names of all steps.
      const first = await run('deployService', { service });
      expect(first).toMatchObject({ outcome: 'done', orphans: [], placements: [{ service, provider }] });
      await run('removeService', { service });
      expect(await left(service)).toEqual([]);

      for (const key of seen[service] ?? []) {
        sabotaged = { service, key };
        const failed = await run('deployService', { service }).then(
          () => 'it succeeded',
          (error: unknown) => (error instanceof WorkflowFailedError ? error.cause : error),
        );
        expect(failed).toMatchObject({
          type: 'InvalidInput',
          message: 'refused for good',
          details: [{ outcome: 'undone', orphans: [] }],
        });
        expect({ key, left: await left(service) }).toEqual({ key, left: [] });
      }
      sabotaged = undefined;
      expect(await run('deployService', { service })).toMatchObject({ outcome: 'done', orphans: [] });
      expect(await run('removeService', { service })).toMatchObject({ outcome: 'done', orphans: [] });
      expect(await left(service)).toEqual([]);
    },
    240_000,
  );
});
