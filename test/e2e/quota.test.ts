/** A quota without room holds a run before anything exists: the plan says so, and the run goes on alone once it was raised. */
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { stripVTControlCharacters } from 'node:util';
import { scan } from '../../activities/providers/provision.ts';
import { planText } from '../../client/cli/plan-text.ts';
import { EstateClient, type OperationHandle } from '../../client/index.ts';
import { accounts } from '../../emulators/environment.ts';
import type { Placement, ProviderType } from '../../model/service.ts';
import { armFault, setQuota } from '../local/stack.ts';
import { type OwnWorker, ownWorker, quietTemporal, writeEstate } from './own-worker.ts';

/** Of no other test: their limits are lowered. */
const regions: Record<ProviderType, string> = { aws: 'us-east-2', azure: 'eastus2', gcp: 'us-west1' };
const name = 'quota';
const machines = { type: 'compute', configuration: { instance_type: 't3.large', instance_count: 2 }, protect: false };
const services = {
  files: { type: 'storage', preferred_providers: ['azure'], protect: false },
  machines_aws: { ...machines, preferred_providers: ['aws'] },
  machines_gcp: { ...machines, preferred_providers: ['gcp'] },
};
const moving = { type: 'storage', preferred_providers: ['gcp', 'azure'], protect: false };

let worker: OwnWorker;
let estate: EstateClient;

beforeAll(async () => {
  quietTemporal();
  const file = join(mkdtempSync(join(tmpdir(), 'estate-')), 'estate.yaml');
  writeEstate(file, name, { ...services, moving });
  const written = JSON.parse(readFileSync(file, 'utf8'));
  for (const provider of written.providers) provider.region = regions[provider.type as ProviderType];
  written.compliance.data_residency.us = Object.values(regions);
  writeFileSync(file, JSON.stringify(written));
  worker = await ownWorker({ namespace: `quota-${Date.now()}`, estateFile: file, moves: (real) => real });
  estate = new EstateClient(worker.client, name, '');
}, 120_000);
afterAll(() => worker.close(), 60_000);

async function blocked(run: OperationHandle, named: string): Promise<string> {
  for (;;) {
    const { blocked: why } = await run.progress();
    if (why?.includes(named)) return why;
    await setTimeout(50);
  }
}

/** Names of all that stands in a cloud and bears the estate's name. */
async function standing(type: ProviderType): Promise<string[]> {
  const placement: Placement = {
    owner: { estate: name, uid: '', service: 'files', controller: '', generation: 1 },
    type: 'storage',
    provider: type,
    providerType: type,
    region: regions[type],
    account: accounts[type],
    configuration: {},
  };
  return (await scan(await worker.pool.get(type), placement, AbortSignal.timeout(30_000))).map((one) => one.name);
}

it('lists every quota without room, creates nothing, and ends when the last of them was raised', async () => {
  const file = { services };
  const raise = {
    aws: await setQuota({ cloud: 'aws', name: 'L-1216C47A', region: regions.aws, limit: 2 }),
    azure: await setQuota({ cloud: 'azure', name: 'StorageAccounts', region: regions.azure, limit: 0 }),
    gcp: await setQuota({ cloud: 'gcp', name: 'CPUS', region: regions.gcp, limit: 3 }),
  };
  try {
    const plan = await estate.plan({ file });
    const short = plan.short?.map(({ provider, name: quota, needs, used, limit }) => [
      provider,
      quota,
      needs,
      used,
      limit,
    ]);
    expect(short).toEqual([
      ['azure', 'StorageAccounts', 1, 0, 0],
      ['aws', 'L-1216C47A', 4, 0, 2],
      ['gcp', 'CPUS', 4, 0, 3],
    ]);
    const text = stripVTControlCharacters(planText(plan));
    expect(text).toContain('machines_aws on aws needs 4 vCPUs, 2 of 2 left: quota L-1216C47A');
    expect(text).toContain('--quota-code L-1216C47A --region us-east-2 --desired-value 4');
    expect(text).toContain('machines_gcp on gcp needs 4 vCPUs, 3 of 3 left: quota CPUS of us-west1');

    const run = await estate.deploy({ file });
    const why = await blocked(run, 'QuotaExceeded');
    for (const quota of ['StorageAccounts', 'L-1216C47A', 'CPUS of us-west1']) expect(why).toContain(quota);
    // The record hears of it a moment after the run's progress shows it.
    while ((await estate.service('files'))?.status === 'planned') await setTimeout(100);
    expect(await estate.service('files')).toMatchObject({ status: 'blocked', intents: [], placements: [] });
    for (const type of ['aws', 'azure', 'gcp'] as const) expect([type, ...(await standing(type))]).toEqual([type]);

    await raise.azure();
    await raise.gcp();
    for (let still = why; still.includes('StorageAccounts'); ) still = await blocked(run, 'L-1216C47A');
    for (const type of ['aws', 'azure', 'gcp'] as const) expect([type, ...(await standing(type))]).toEqual([type]);
    await raise.aws();
    expect(await run.result()).toMatchObject({ outcome: 'done', orphans: [] });
    for (const type of ['aws', 'azure', 'gcp'] as const) expect(await standing(type)).not.toEqual([]);

    // What is there takes nothing any more, however full the quota is.
    raise.aws = await setQuota({ cloud: 'aws', name: 'L-1216C47A', region: regions.aws, limit: 4 });
    expect((await estate.plan({ file })).short).toEqual([]);
  } finally {
    for (const heal of Object.values(raise)) await heal();
  }
}, 240_000);

it('says what it could not read, and goes on without it', async () => {
  const match = { cloud: 'azure', path: '/Microsoft.Storage.locations.eastus2.usages$/' };
  const heal = await armFault({ match, effect: 'refuse', cause: 'denied' });
  try {
    const file = { services: { ...services, more: services.files } };
    const { warnings, short } = await estate.plan({ file });
    expect(short).toEqual([]);
    const unknown = warnings.filter((warning) => warning.includes('unknown'));
    expect(unknown).toEqual(['more on azure: what is left is unknown of StorageAccounts of eastus2: PermissionDenied']);
  } finally {
    await heal();
  }
}, 60_000);

it('holds a migration before its target exists; an undo leaves the source as it was', async () => {
  const placed = await estate.deploy({
    file: { services: { ...services, moving: { ...moving, preferred_providers: ['gcp'] } } },
  });
  await placed.result();
  const heal = await setQuota({ cloud: 'azure', name: 'StorageAccounts', region: regions.azure, limit: 0 });
  try {
    const before = await standing('azure');
    const run = await estate.migrate({ service: 'moving', from: 'gcp', to: 'azure', by: 'test' });
    expect(await blocked(run, 'QuotaExceeded')).toContain('moving on azure needs 1 storage accounts, 0 of 0 left');
    await run.undo('test');
    await expect(run.result()).rejects.toMatchObject({ type: 'UndoRequested' });
    expect(await standing('azure')).toEqual(before);
    expect(await estate.service('moving')).toMatchObject({
      status: 'running',
      intents: [],
      placements: [{ provider: 'gcp', role: 'current' }],
    });
  } finally {
    await heal();
  }
}, 240_000);
