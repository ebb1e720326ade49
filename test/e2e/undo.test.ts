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
  /** By service: the resource whose provision fails after it took effect. */
  const sabotaged = new Map<string, string>();
  const seen: Record<string, string[]> = {};
  /** The cells do not touch each other, so all go through their steps side by side. */
  const chains = new Map<string, Promise<string[]>>();

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
        if (sabotaged.get(service) === request.spec.key)
          throw ApplicationFailure.nonRetryable('refused for good', 'InvalidInput');
        return ensured;
      },
    }));
    for (const cell of cells)
      chains.set(
        cell.service,
        throughAllSteps(cell).catch((error: unknown) => [String(error)]),
      );
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

  /** Fails each step in turn, then succeeds, then removes. Returns what differs from the promise. */
  async function throughAllSteps({ service, provider }: (typeof cells)[number]): Promise<string[]> {
    const broken: string[] = [];
    const expectDone = async (type: string, placements: number) => {
      const result = await run(type, { service });
      if (result.outcome !== 'done' || result.orphans.length > 0 || result.placements.length !== placements)
        broken.push(`${type}: ${JSON.stringify(result)}`);
    };
    const expectNothing = async (when: string) => {
      const found = await left(service);
      if (found.length > 0) broken.push(`${when} left ${found.join(', ')}`);
    };
    // The first run tells the names of all steps.
    await expectDone('deployService', 1);
    await expectDone('removeService', 0);
    await expectNothing('the first removal');
    for (const key of seen[service] ?? []) {
      sabotaged.set(service, key);
      const failed = await run('deployService', { service }).then(
        () => 'it succeeded',
        (error: unknown) => (error instanceof WorkflowFailedError ? error.cause : error),
      );
      const details = failed instanceof ApplicationFailure ? (failed.details?.[0] as OperationResult) : undefined;
      if (details?.outcome !== 'undone' || details.orphans.length > 0) broken.push(`${key} on ${provider}: ${failed}`);
      await expectNothing(`a failure at ${key}`);
    }
    sabotaged.delete(service);
    await expectDone('deployService', 1);
    await expectDone('removeService', 0);
    await expectNothing('the last removal');
    return broken;
  }

  it.each(cells)(
    '$type on $provider: leaves nothing behind at any step, and a second run succeeds',
    async ({ service }) => {
      expect(await chains.get(service)).toEqual([]);
      expect(seen[service]?.length).toBeGreaterThan(0);
    },
    600_000,
  );
});
