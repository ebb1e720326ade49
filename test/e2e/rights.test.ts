/** Workers whose credentials may do what `multi-cloud permissions` prints for their roles, and no more. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type OperationResult, taskQueue, workflowIds } from '../../model/operations.ts';
import { providerTypes } from '../../model/service.ts';
import { limitedCredentials, placeholders } from '../conformance/identities.ts';
import { type OwnWorker, ownWorker, quietTemporal, secrets, writeEstate } from './own-worker.ts';

const estate = 'rights';
let worker: OwnWorker;

/** Under the names that the estate file's placeholders have. */
async function secretsOf(identity: 'control' | 'undo'): Promise<Record<string, string>> {
  const all: Record<string, string> = {};
  for (const type of providerTypes) {
    const name = `${estate}-${identity}`;
    const { credentials } = await limitedCredentials(type, { name, parts: ['storage'], identity, estate });
    Object.assign(all, placeholders(type, credentials));
  }
  return all;
}

beforeAll(async () => {
  quietTemporal();
  const services = { store: { type: 'storage', redundancy: 3, protect: false } };
  const file = writeEstate(join(mkdtempSync(join(tmpdir(), 'estate-')), 'estate.yaml'), estate, services);
  Object.assign(secrets, await secretsOf('control'));
  worker = await ownWorker({
    namespace: `rights-${Date.now()}`,
    estateFile: file,
    undoSecrets: await secretsOf('undo'),
  });
}, 120_000);
afterAll(() => worker.close(), 60_000);

const run = (type: string, workflowId: string): Promise<OperationResult> =>
  worker.client.workflow.execute(type, { taskQueue, workflowId, args: [{ service: 'store' }] });

it('deploy a service on three clouds and keep its trail, as who creates; remove it, as who takes back', async () => {
  const placed = await run('deployService', workflowIds.deployService(estate, 'store'));
  expect(placed).toMatchObject({ outcome: 'done', orphans: [] });
  expect(placed.placements.map(({ provider }) => provider).sort()).toEqual(['aws', 'azure', 'gcp']);
  const removed = await run('removeService', workflowIds.removeService(estate, 'store'));
  expect(removed).toMatchObject({ outcome: 'done', placements: [], orphans: [] });
}, 240_000);
