/** A run that is terminated in the middle undoes nothing: what it began is finished, or taken back, by whoever comes next. */
import { whole } from '../faults/choice.ts';
import { CellsEstate, cellsEstate, sampledCells, type TestCell } from './cells.ts';
import { type OwnWorker, ownWorker, quietTemporal } from './own-worker.ts';

const estate = 'recover';
describe('a run that was terminated', () => {
  let worker: OwnWorker;
  let all: CellsEstate;
  /** By service: the resource whose creation or removal is the last that its run sees, and that run. */
  const fatal = new Map<string, { key: string; workflowId: string }>();
  const seen = new Map<string, Set<string>>();
  const chains = new Map<string, Promise<string[]>>();

  async function end(service: string, key: string): Promise<void> {
    const keys = seen.get(service) ?? new Set();
    seen.set(service, keys.add(key));
    const here = fatal.get(service);
    if (here?.key !== key) return;
    fatal.delete(service);
    await worker.client.workflow.getHandle(here.workflowId).terminate();
  }

  beforeAll(async () => {
    quietTemporal();
    worker = await ownWorker({
      namespace: `recover-${Date.now()}`,
      estateFile: cellsEstate(estate),
      wrap: (real) => ({
        ...real,
        async ensureResource(request) {
          const ensured = await real.ensureResource(request);
          await end(request.placement.owner.service, request.spec.key);
          return ensured;
        },
        async removeResource(request) {
          const removed = await real.removeResource(request);
          await end(request.placement.owner.service, request.resource.key);
          return removed;
        },
      }),
    });
    all = new CellsEstate(worker, estate);
    for (const cell of sampledCells)
      chains.set(
        cell.service,
        throughAllEnds(cell).catch((error: unknown) => [String(error)]),
      );
  }, 120_000);
  afterAll(() => worker.close(), 60_000);

  async function throughAllEnds(cell: TestCell): Promise<string[]> {
    const { service } = cell;
    const broken: string[] = [];
    const done = async (type: string, input: object, placements: number, generation?: number) => {
      const result = await all.run(type, { service, ...input });
      const left = await all.left(cell);
      const record = await all.record(service);
      const found = record.placements.map((placement) => placement.generation);
      if (result.outcome !== 'done' || result.orphans.length > 0) broken.push(`${type}: ${JSON.stringify(result)}`);
      if (left.length > 0) broken.push(`${type} left ${left.join(', ')}`);
      if (found.length !== placements || (generation !== undefined && found[0] !== generation))
        broken.push(`${type}: generations ${found}, wanted ${generation}`);
    };
    const terminated = async (type: string, key: string) => {
      const run = await all.start(type, { service });
      fatal.set(service, { key, workflowId: run.workflowId });
      await run.result().then(
        () => broken.push(`${type} survived the end at ${key}`),
        () => {},
      );
      if ((await all.record(service)).intents.length === 0) broken.push(`${type}: no intent is open after ${key}`);
    };

    // The first run tells the names of all steps.
    await done('deployService', {}, 1, 1);
    await done('removeService', {}, 0);
    const keys = [...(seen.get(service) ?? [])];
    const middle = keys[Math.floor(keys.length / 2)];
    const some = [...new Set(whole ? [keys[0], middle, keys.at(-1)] : [middle])].filter((key) => key !== undefined);
    let generation = 2;
    for (const key of some) {
      await terminated('deployService', key);
      await done('recoverService', {}, 1, generation);
      await terminated('removeService', key);
      await done('recoverService', {}, 0);
      await terminated('deployService', key);
      await done('recoverService', { direction: 'undo' }, 0);
      await terminated('deployService', key);
      await done('deployService', {}, 1, generation + 2);
      await done('removeService', {}, 0);
      generation += 3;
    }
    return broken;
  }

  it.each(sampledCells)(
    '$type on $provider: is finished, or taken back, with nothing left over',
    async ({ service }) => {
      expect(await chains.get(service)).toEqual([]);
      expect(seen.get(service)?.size).toBeGreaterThan(0);
    },
    600_000,
  );
});
