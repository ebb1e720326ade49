/** The sample estate, deployed by the worker of the local stack, found again by asking each cloud with its own SDK. */

import { createHash, X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { AutoScalingClient, DescribeAutoScalingGroupsCommand } from '@aws-sdk/client-auto-scaling';
import { IoTClient, ListThingGroupsCommand } from '@aws-sdk/client-iot';
import { ListBucketsCommand, S3Client } from '@aws-sdk/client-s3';
import { IotHubClient } from '@azure/arm-iothub';
import { StorageManagementClient } from '@azure/arm-storage';
import { ClientSecretCredential } from '@azure/identity';
import { Storage } from '@google-cloud/storage';
import iothub from 'azure-iothub';
import { connect, type EstateClient } from '../../client/index.ts';
import { authority, issueCertificate } from '../../emulators/certificates.ts';
import { accounts } from '../../emulators/environment.ts';
import type { RecordedPlacement } from '../../model/record.ts';
import { jsonLines, multiCloud } from '../client/command.ts';
import { localRun } from '../local/stack.ts';

const variable = (name: string): string => process.env[name] ?? '';

describe('the sample estate', () => {
  let estate: EstateClient;
  const placed: Record<string, RecordedPlacement[]> = {};
  const nameOf = (service: string, provider: string, kind: RegExp): string =>
    placed[service]?.find((one) => one.provider === provider)?.resources.find((one) => kind.test(one.kind))?.name ??
    'none';

  beforeAll(async () => {
    const { address, namespace } = localRun().temporal;
    estate = await connect({ address, namespace });
    const deployment = await estate.deploy({ by: 'test' });
    expect(await deployment.result()).toMatchObject({ outcome: 'done', orphans: [], skipped: [] });
    for (const { service } of await estate.status()) {
      const placements = (await estate.service(service))?.placements ?? [];
      // A service that other tests have deployed and removed has a record, too.
      if (placements.length > 0) placed[service] = placements;
    }
  }, 240_000);
  afterAll(() => estate.close());

  it('has each service on the clouds that the placement chose', async () => {
    const clouds = Object.entries(placed).map(([service, placements]) => [
      service,
      placements.map(({ provider }) => provider),
    ]);
    expect(Object.fromEntries(clouds)).toEqual({
      iot_core: ['aws', 'azure'],
      data_lake: ['aws', 'azure', 'gcp'],
      compute: ['aws', 'gcp'],
      firmware: ['aws'],
      telemetry_archive: ['aws'],
    });
    expect(
      (await estate.status())
        .filter(({ service }) => placed[service])
        .map(({ service, status }) => `${service} ${status}`),
    ).toEqual(
      ['compute', 'data_lake', 'firmware', 'iot_core', 'telemetry_archive'].map((service) => `${service} running`),
    );
  });

  it('is on AWS, as AWS says', async () => {
    const region = 'us-west-2';
    const { Buckets = [] } = await new S3Client({ region }).send(new ListBucketsCommand({}));
    const buckets = Buckets.map(({ Name }) => Name);
    for (const service of ['data_lake', 'firmware', 'telemetry_archive'])
      expect(buckets).toContain(nameOf(service, 'aws', /s3/));
    const { thingGroups = [] } = await new IoTClient({ region }).send(new ListThingGroupsCommand({}));
    expect(thingGroups.map(({ groupName }) => groupName)).toContain(nameOf('iot_core', 'aws', /group/));
    const { AutoScalingGroups = [] } = await new AutoScalingClient({ region }).send(
      new DescribeAutoScalingGroupsCommand({}),
    );
    const group = AutoScalingGroups.find(
      ({ AutoScalingGroupName }) => AutoScalingGroupName === nameOf('compute', 'aws', /autoscaling/),
    );
    expect(group).toMatchObject({ MinSize: 5, MaxSize: 20, DesiredCapacity: 10 });
  });

  it('is on Azure, as Azure says', async () => {
    const credential = new ClientSecretCredential(
      variable('AZURE_TENANT_ID'),
      variable('AZURE_CLIENT_ID'),
      variable('AZURE_CLIENT_SECRET'),
    );
    const hubs: string[] = [];
    for await (const { name } of new IotHubClient(credential, accounts.azure).iotHubResource.listBySubscription())
      hubs.push(name ?? '');
    expect(hubs).toContain(nameOf('iot_core', 'azure', /^azure\.iothub\.hub$/));
    const stores: string[] = [];
    for await (const { name } of new StorageManagementClient(credential, accounts.azure).storageAccounts.list())
      stores.push(name ?? '');
    expect(stores).toContain(nameOf('data_lake', 'azure', /storage.*account/i));
  });

  it('is on GCP, as GCP says', async () => {
    const storage = new Storage({ projectId: accounts.gcp, keyFilename: variable('GCP_KEY_FILE') });
    const [buckets] = await storage.getBuckets();
    expect(buckets.map(({ name }) => name)).toContain(nameOf('data_lake', 'gcp', /bucket/));
  });

  it('takes what simulated devices publish where the service is', async () => {
    const host = placed.iot_core
      ?.find(({ provider }) => provider === 'azure')
      ?.resources.find(({ key }) => key === 'hub')?.outputs.host;
    const folder = mkdtempSync(join(tmpdir(), 'devices-'));
    const state = dirname(localRun().network);
    const credential = new ClientSecretCredential(
      variable('AZURE_TENANT_ID'),
      variable('AZURE_CLIENT_ID'),
      variable('AZURE_CLIENT_SECRET'),
    );
    const registry = iothub.Registry.fromTokenCredential(host ?? '', credential);
    const ca = await authority(join(state, 'device-ca'));
    const simulate = (count: number, ...more: string[]) =>
      multiCloud(
        ['devices', 'simulate', 'iot_core', '--certificates', folder, '--count', String(count), '--json', ...more],
        { MULTI_CLOUD_STATE: state },
      );
    try {
      for (const deviceId of ['simulated-1', 'simulated-2']) {
        const { cert, key } = await issueCertificate(ca, [deviceId], true);
        writeFileSync(join(folder, `${deviceId}.pem`), cert);
        writeFileSync(join(folder, `${deviceId}.key`), key);
        const thumbprint = createHash('sha256').update(new X509Certificate(cert).raw).digest('hex');
        await registry.create({
          deviceId,
          status: 'enabled',
          authentication: {
            type: 'selfSigned',
            x509Thumbprint: { primaryThumbprint: thumbprint, secondaryThumbprint: thumbprint },
          },
        });
      }
      const { code, out, err } = await simulate(2, '--provider', 'azure', '--for', '8s');
      const last = jsonLines(out).at(-1);
      expect({ code, err, last }).toMatchObject({ code: 0, last: { event: 'result', devices: 2, refused: {} } });
      expect(Number(last?.acknowledged)).toBeGreaterThan(4);
      const tooMany = await simulate(3);
      expect([tooMany.code, tooMany.err]).toEqual([2, expect.stringContaining('holds 2 devices')]);
      const elsewhere = await simulate(2, '--provider', 'gcp');
      expect([elsewhere.code, elsewhere.err]).toEqual([2, expect.stringContaining('allowed: aws, azure')]);
    } finally {
      for (const device of ['simulated-1', 'simulated-2']) await registry.delete(device).catch(() => {});
      rmSync(folder, { recursive: true });
    }
  }, 60_000);

  it('is done with nothing to change when deployed again', async () => {
    const before = await estate.service('compute');
    expect(await (await estate.deploy()).result()).toMatchObject({ outcome: 'done' });
    expect((await estate.service('compute'))?.placements).toEqual(before?.placements);
  }, 60_000);
});
