/** Histories of runs that once took place replay with today's workflows: running ones would go on after an upgrade. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { Worker } from '@temporalio/worker';
import { quietTemporal } from '../e2e/own-worker.ts';

const folder = join(import.meta.dirname, '../histories');
const names = readdirSync(folder).filter((name) => name.endsWith('.json.gz'));
const workflowsPath = join(import.meta.dirname, '../../workflows/index.ts');
const read = (name: string): { workflowId: string; history: unknown } =>
  JSON.parse(gunzipSync(readFileSync(join(folder, name))).toString('utf8'));

beforeAll(quietTemporal);

describe('committed histories', () => {
  it('are there for each workflow type', () => {
    const types = new Set(names.map((name) => name.slice(0, name.indexOf('-'))));
    const exported = [...readFileSync(workflowsPath, 'utf8').matchAll(/export \{ (\w+) \}/g)].map(([, type]) => type);
    expect([...types].sort()).toEqual(exported.sort());
  });

  it('are there of each way that a migration goes', () => {
    const ways = ['moved', 'rejected', 'returned', 'paused', 'blocked', 'parked', 'fleetMoved', 'fleetReturned'];
    expect(names).toEqual(expect.arrayContaining(ways.map((way) => `migrateService-${way}.json.gz`)));
  });

  it('replay', async () => {
    const histories = names.map(read);
    const failed: string[] = [];
    // The real workflow IDs: IDs of children derive from them.
    for await (const { workflowId, error } of Worker.runReplayHistories({ workflowsPath }, histories))
      if (error) failed.push(`${workflowId}: ${error.message}`);
    expect(failed).toEqual([]);
  }, 120_000);
});
