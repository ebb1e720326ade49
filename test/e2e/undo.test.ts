/** A provision that fails for good, at each step of a cell: nothing is left behind, and a second run succeeds. */
import { ApplicationFailure } from '@temporalio/activity';
import { WorkflowFailedError } from '@temporalio/client';
import type { OperationResult } from '../../model/operations.ts';
import { CellsEstate, cellsEstate, sampledCells, type TestCell } from './cells.ts';
import { type OwnWorker, ownWorker, quietTemporal } from './own-worker.ts';

const estate = 'undo';

describe('a provision that fails for good', () => {
  let worker: OwnWorker;
  let all: CellsEstate;
  /** By service: the resource whose provision fails after it took effect. */
  const sabotaged = new Map<string, string>();
  const seen: Record<string, string[]> = {};
  /** The cells do not touch each other, so all go through their steps side by side. */
  const chains = new Map<string, Promise<string[]>>();

  beforeAll(async () => {
    quietTemporal();
    worker = await ownWorker({
      namespace: `undo-${Date.now()}`,
      estateFile: cellsEstate(estate),
      wrap: (real) => ({
        ...real,
        async ensureResource(request) {
          const { service } = request.placement.owner;
          seen[service] = [...new Set([...(seen[service] ?? []), request.spec.key])];
          const ensured = await real.ensureResource(request);
          if (sabotaged.get(service) === request.spec.key)
            throw ApplicationFailure.nonRetryable('refused for good', 'InvalidInput');
          return ensured;
        },
      }),
    });
    all = new CellsEstate(worker, estate);
    for (const cell of sampledCells)
      chains.set(
        cell.service,
        throughAllSteps(cell).catch((error: unknown) => [String(error)]),
      );
  }, 120_000);
  afterAll(() => worker.close(), 60_000);

  /** Fails each step in turn, then succeeds, then removes. Returns what differs from the promise. */
  async function throughAllSteps(cell: TestCell): Promise<string[]> {
    const { service, provider } = cell;
    const broken: string[] = [];
    const expectDone = async (type: string, placements: number) => {
      const result = await all.run(type, { service });
      if (result.outcome !== 'done' || result.orphans.length > 0 || result.placements.length !== placements)
        broken.push(`${type}: ${JSON.stringify(result)}`);
    };
    const expectNothing = async (when: string) => {
      const found = await all.left(cell);
      if (found.length > 0) broken.push(`${when} left ${found.join(', ')}`);
    };
    // The first run tells the names of all steps.
    await expectDone('deployService', 1);
    await expectDone('removeService', 0);
    await expectNothing('the first removal');
    for (const key of seen[service] ?? []) {
      sabotaged.set(service, key);
      const failed = await all.run('deployService', { service }).then(
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

  it.each(sampledCells)(
    '$type on $provider: leaves nothing behind at any step, and a second run succeeds',
    async ({ service }) => {
      expect(await chains.get(service)).toEqual([]);
      expect(seen[service]?.length).toBeGreaterThan(0);
    },
    600_000,
  );
});
