/** The registry of a service on two clouds, from the command line: looked at, compared, copied, taken back; the key stays on the device. */
import { randomBytes } from 'node:crypto';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import mqtt from 'mqtt';
import { EstateClient, OperationFailed, type OperationHandle } from '../../client/index.ts';
import type { WaitingFor } from '../../model/decisions.ts';
import type { CopiedFleet } from '../../model/operations.ts';
import { type PlacementRef, placementRef } from '../../model/transfer.ts';
import { jsonLines, multiCloud } from '../client/command.ts';
import { fill, identity, type Wanted } from '../fleet/fleets.ts';
import { localRun } from '../local/stack.ts';
import { type OwnWorker, ownWorker, quietTemporal, writeEstate } from './own-worker.ts';

const name = 'devices';
const namespace = `devices-${randomBytes(3).toString('hex')}`;
const service = 'fleet';
const count = 25;

let worker: OwnWorker;
let estate: EstateClient;
const placed: Record<string, PlacementRef> = {};
const mine = identity('pump-key');
/** What each activity that registers was given of the quota. */
const shares: number[] = [];

const command = (...args: string[]) =>
  multiCloud(['devices', ...args], {
    MULTI_CLOUD_ADDRESS: localRun().temporal.address,
    MULTI_CLOUD_NAMESPACE: namespace,
    MULTI_CLOUD_ESTATE: name,
  });
const document = async (...args: string[]) => {
  const { code, out, err } = await command(...args, '--json');
  if (code !== 0) throw new Error(err);
  return JSON.parse(out);
};
async function asked(handle: OperationHandle): Promise<WaitingFor> {
  for (;;) {
    const [question] = (await handle.progress()).waitingFor;
    if (question) return question;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

beforeAll(async () => {
  quietTemporal();
  const file = writeEstate(join(mkdtempSync(join(tmpdir(), 'devices-')), 'estate.yaml'), name, {
    [service]: { type: 'iot_core', redundancy: 2, preferred_providers: ['azure', 'gcp'], protect: false },
  });
  worker = await ownWorker({
    namespace,
    estateFile: file,
    moves: (real) => ({
      ...real,
      copyDevices(input) {
        shares.push(input.callsPerSecond);
        return real.copyDevices(input);
      },
    }),
  });
  estate = new EstateClient(worker.client, name, '');
  await (await estate.deploy()).result();
  const record = await estate.service(service);
  const { uid = '' } = (await estate.estate()) ?? {};
  const { namespaceInfo } = await worker.client.workflowService.describeNamespace({ namespace });
  for (const placement of record?.placements ?? [])
    placed[placement.provider] = placementRef(
      { estate: name, service, uid, controller: namespaceInfo?.id ?? '' },
      placement,
    );
  const devices = Array.from({ length: count }, (_, n): Wanted => ({ id: `pump-${n}`, attributes: { n } }));
  const odd: Wanted[] = [
    { id: 'pump-key', identity: await mine },
    { id: 'symmetric', credential: 'key' },
    { id: 'taken', attributes: { site: 'north' } },
  ];
  await fill.azure(placed.azure as PlacementRef, [...devices, ...odd]);
  await fill.gcp(placed.gcp as PlacementRef, [{ id: 'taken', attributes: { site: 'south' } }]);
}, 180_000);
afterAll(() => worker.close(), 60_000);

it('lists a registry, and who could not go to another cloud', async () => {
  const found = await document('list', service, '--provider', 'azure', '--to', 'gcp');
  expect(found).toMatchObject({ provider: 'azure', census: { devices: count + 3, refused: { key: 1 } } });
  const every = await command('list', service, '--provider', 'azure', '--all', '--json');
  expect(jsonLines(every.out).map(({ id }) => id)).toHaveLength(count + 3);
  const { code, out } = await command('list', service, '--provider', 'azure', '--to', 'gcp');
  expect([code, out]).toEqual([0, expect.stringContaining('symmetric')]);
});

it('says which provider it needs, and which there are', async () => {
  const { code, err } = await command('list', service);
  expect([code, err]).toEqual([2, expect.stringMatching(/azure.*gcp/)]);
});

it('copies a registry; asks about a device that stands there as something else, and leaves it as it is', async () => {
  const before = await command('diff', service, '--from', 'azure', '--to', 'gcp');
  expect([before.code, before.out]).toEqual([1, expect.stringContaining(`${count + 2} missing`)]);
  const handle = await estate.copyFleet({ service, from: 'azure', to: 'gcp', by: 'test', calls_per_second: 300 });
  const question = await asked(handle);
  // A worker does one at a time: what is kept back for others is lost.
  expect(shares).toEqual([300]);
  const { steps } = await handle.progress();
  expect(steps.find((step) => step.name === 'compare')?.detail).toMatch(/^done about 20/);
  expect(question).toMatchObject({ question: 'devices', answers: ['retry', 'skip', 'undo'] });
  expect(question.text).toContain('taken (credential attributes)');
  await handle.decide({ question: 'devices', answer: 'skip', by: 'test', plan: question.plan });
  const { copy } = await handle.outcome<CopiedFleet>();
  expect(copy).toEqual({ provider: 'gcp', name: copy?.name, moved: count + 1, there: 0, refused: 1, left: 1 });

  const after = await command('diff', service, '--from', 'azure', '--to', 'gcp', '--all', '--json');
  expect(after.code).toBe(1);
  expect(jsonLines(after.out)).toEqual(
    expect.arrayContaining([
      { id: 'taken', differs: 'credential attributes' },
      { id: 'symmetric', differs: 'missing' },
    ]),
  );
  const outcomes = jsonLines(
    (await command('outcome', service, '--provider', 'gcp', '--copy', copy?.name ?? '', '--json')).out,
  );
  expect(outcomes).toHaveLength(count + 3);
  expect(outcomes.find(({ id }) => id === 'symmetric')).toMatchObject({ outcome: 'refused', why: 'key' });
}, 60_000);

it('lets a device in on the other cloud with the key that it has always had', async () => {
  const { pem: cert, key } = await mine;
  const output = (resource: string, key: string): string =>
    placed.gcp?.resources.find((one) => one.key === resource)?.outputs[key] ?? '';
  const client = await mqtt.connectAsync(
    `mqtts://${output('forwarding-rule', 'address')}:8883`,
    {
      clientId: 'pump-key',
      servername: output('server-key-pair', 'serverName'),
      ca: output('server-key-pair', 'certificate'),
      cert,
      key,
      reconnectPeriod: 0,
      connectTimeout: 10_000,
    },
    false,
  );
  await client.publishAsync('devices/pump-key/telemetry/x', 'still me', { qos: 1 });
  await client.endAsync(true);
}, 30_000);

it('takes back what a copy has registered, and nothing that was there before', async () => {
  const late: Wanted[] = [{ id: 'late-1' }, { id: 'late-2', status: 'disabled' }];
  await fill.azure(placed.azure as PlacementRef, late);
  const handle = await estate.copyFleet({ service, from: 'azure', to: 'gcp', by: 'test' });
  const { plan } = await asked(handle);
  expect((await document('list', service, '--provider', 'gcp')).census.devices).toBe(count + 2 + late.length);
  await handle.decide({ question: 'devices', answer: 'undo', by: 'test', plan });
  await expect(handle.result()).rejects.toThrow(OperationFailed);
  expect((await document('list', service, '--provider', 'gcp')).census.devices).toBe(count + 2);
}, 60_000);
