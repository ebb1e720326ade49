/** A fence whose run was lost: the check of the estate tells it, a recovery lifts it. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createFenceActivities } from '../../activities/providers/fence.ts';
import { recordsBuckets } from '../../activities/records/bucket.ts';
import { EstateClient } from '../../client/index.ts';
import type { Placement } from '../../model/service.ts';
import { testProviders } from '../conformance/providers.ts';
import { type OwnWorker, ownWorker, quietTemporal, writeEstate } from './own-worker.ts';

const name = 'fences';
const service = 'firmware';
let worker: OwnWorker;
let estate: EstateClient;

beforeAll(async () => {
  quietTemporal();
  const wish = { type: 'storage', redundancy: 1, preferred_providers: ['azure'], protect: false };
  const file = writeEstate(join(mkdtempSync(join(tmpdir(), 'fences-')), 'estate.yaml'), name, { [service]: wish });
  worker = await ownWorker({ namespace: `fences-${Date.now()}`, estateFile: file });
  estate = new EstateClient(worker.client, name, '');
}, 60_000);
afterAll(() => worker.close());

it('is told by the check, with the command that lifts it', async () => {
  expect(await (await estate.deploy()).result()).toMatchObject({ outcome: 'done' });
  const [placed] = (await estate.service(service))?.placements ?? [];
  const { namespaceInfo } = await worker.client.workflowService.describeNamespace({
    namespace: worker.client.options.namespace,
  });
  const uid = (await estate.estate())?.uid ?? '';
  const { provider, providerType, type, region, account, generation = 1, configuration = {} } = placed ?? {};
  const placement = {
    ...{ provider, providerType, type, region, account, configuration },
    owner: { estate: name, uid, service, controller: namespaceInfo?.id ?? '', generation },
  } as Placement;
  const azure = testProviders.azure.provider();
  const pace = { pollMs: 25, heartbeat: () => {} };
  const cellOf = () => {
    const cell = azure.cells.find((one) => one.type === 'storage');
    if (!cell) throw new Error('no cell');
    return cell;
  };
  const fences = createFenceActivities({
    atPlacement: (_, act) => act(azure, AbortSignal.timeout(20_000)),
    ensureBucket: recordsBuckets({ cellOf, pace: () => pace, retentionDays: 1, repair: true }),
    needed: () => [],
  });
  const owner = { workflowId: 'migrate/fences/firmware', runId: 'lost' };
  await fences.fenceStore({ placement, owner, expiresAt: '2099-01-01T00:00:00Z' });

  const [judged] = (await estate.check()).services;
  expect(judged).toEqual({
    service,
    status: 'running',
    problem:
      'writers are refused on azure by a fence of migrate/fences/firmware until 2099-01-01T00:00:00Z, and no operation is at work',
    command: 'multi-cloud recover firmware',
  });
  expect(await (await estate.recover({ service })).result()).toMatchObject({ outcome: 'done' });
  expect(await fences.fenceState({ placement })).toEqual({ fence: null, inForce: false, escapes: [] });
  expect((await estate.check()).services[0]?.problem).toBe('');
  expect(await (await estate.remove({ service })).result()).toMatchObject({ outcome: 'done', orphans: [] });
}, 90_000);
