/** What the local AWS promises beyond what its cells exercise: it survives kill -9, and devices are held to their policies. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  AutoScalingClient,
  CreateAutoScalingGroupCommand,
  DescribeAutoScalingGroupsCommand,
} from '@aws-sdk/client-auto-scaling';
import {
  CreateLaunchTemplateCommand,
  CreateSubnetCommand,
  CreateVpcCommand,
  DescribeVpcsCommand,
  EC2Client,
} from '@aws-sdk/client-ec2';
import { CreateRoleCommand, GetRoleCommand, IAMClient } from '@aws-sdk/client-iam';
import {
  AttachPolicyCommand,
  AttachThingPrincipalCommand,
  CreatePolicyCommand,
  CreateThingCommand,
  DescribeThingCommand,
  IoTClient,
  RegisterCertificateWithoutCACommand,
} from '@aws-sdk/client-iot';
import {
  CreateBucketCommand,
  GetBucketTaggingCommand,
  GetObjectCommand,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import {
  GetAWSDefaultServiceQuotaCommand,
  GetServiceQuotaCommand,
  ServiceQuotasClient,
} from '@aws-sdk/client-service-quotas';
import { CreateQueueCommand, ReceiveMessageCommand, SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import { connectAsync, type IClientOptions } from 'mqtt';
import { authority, issueCertificate } from '../../emulators/certificates.ts';
import type { Listener } from '../../emulators/local-cloud.ts';
import { setLimit } from '../../emulators/quota-limits.ts';
import { localRun } from '../local/stack.ts';

const region = 'us-west-2';
const state = mkdtempSync(join(tmpdir(), 'local-aws-'));
let cloud: ChildProcess;
let ports: Record<string, number>;

let runs = 0;
/** A run of ports behind those of the tests' own local clouds: below the range from which connections get theirs. */
const freePorts = (): number => Number(localRun().temporal.address.split(':')[1]) + 150 + 10 * runs++;

async function start(port: number): Promise<void> {
  const settings = {
    state,
    port,
    ports: 10,
    certificates: join(state, 'certificates'),
    operationMs: 0,
    nameHeldMs: 0,
    account: '000000000000',
  };
  cloud = spawn(process.execPath, [join(import.meta.dirname, '../../emulators/aws/main.ts')], {
    env: { PATH: process.env.PATH, LOCAL_CLOUD: JSON.stringify(settings), NODE_NO_WARNINGS: '1' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  for await (const chunk of cloud.stdout ?? []) {
    text += chunk;
    if (/^ready .*\n/m.test(text)) break;
  }
  const listeners: Listener[] = JSON.parse(/^ready (.*)$/m.exec(text)?.[1] ?? '[]');
  ports = Object.fromEntries(listeners.map(({ name, to }) => [name, to]));
}

const settings = (name: string) => ({
  region,
  endpoint: `http://127.0.0.1:${ports[name]}`,
  credentials: { accessKeyId: 'AKIALOCALTEST', secretAccessKey: 'local' },
});

beforeAll(async () => {
  await start(freePorts());
}, 60_000);
afterAll(async () => {
  cloud.kill('SIGTERM');
  if (cloud.exitCode === null && cloud.signalCode === null) await once(cloud, 'exit');
  rmSync(state, { recursive: true, force: true });
});

it('keeps every change that it answered over kill -9', async () => {
  const s3 = new S3Client({ ...settings('aws'), forcePathStyle: true });
  const Bucket = 'kept-over-a-kill';
  await s3.send(new CreateBucketCommand({ Bucket, CreateBucketConfiguration: { Tags: [{ Key: 'a', Value: 'b' }] } }));
  await s3.send(new PutObjectCommand({ Bucket, Key: 'k', Body: 'v' }));
  await new IoTClient(settings('aws')).send(new CreateThingCommand({ thingName: 'kept' }));
  await new IAMClient(settings('aws')).send(
    new CreateRoleCommand({ RoleName: 'kept', AssumeRolePolicyDocument: '{}' }),
  );
  const sqs = new SQSClient(settings('aws'));
  await sqs.send(new CreateQueueCommand({ QueueName: 'kept' }));
  const QueueUrl = `http://127.0.0.1:${ports.aws}/000000000000/kept`;
  await new SQSClient({ ...settings('aws'), useQueueUrlAsEndpoint: false }).send(
    new SendMessageCommand({ QueueUrl, MessageBody: 'm' }),
  );
  const ec2 = new EC2Client(settings('ec2'));
  const { Vpc } = await ec2.send(new CreateVpcCommand({ CidrBlock: '10.0.0.0/16' }));
  const { Subnet } = await ec2.send(new CreateSubnetCommand({ VpcId: Vpc?.VpcId, CidrBlock: '10.0.0.0/24' }));
  const template = { LaunchTemplateName: 'kept', LaunchTemplateData: { ImageId: 'ami-0000000000000a023' } };
  await ec2.send(new CreateLaunchTemplateCommand(template));
  await new AutoScalingClient(settings('ec2')).send(
    new CreateAutoScalingGroupCommand({
      AutoScalingGroupName: 'kept',
      MinSize: 2,
      MaxSize: 2,
      LaunchTemplate: { LaunchTemplateName: 'kept' },
      VPCZoneIdentifier: Subnet?.SubnetId,
    }),
  );

  cloud.kill('SIGKILL');
  await once(cloud, 'exit');
  await start(freePorts());

  const again = new S3Client({ ...settings('aws'), forcePathStyle: true });
  expect((await again.send(new GetBucketTaggingCommand({ Bucket }))).TagSet).toEqual([{ Key: 'a', Value: 'b' }]);
  const object = await again.send(new GetObjectCommand({ Bucket, Key: 'k' }));
  expect(await object.Body?.transformToString()).toBe('v');
  await new IoTClient(settings('aws')).send(new DescribeThingCommand({ thingName: 'kept' }));
  await new IAMClient(settings('aws')).send(new GetRoleCommand({ RoleName: 'kept' }));
  const received = await new SQSClient({ ...settings('aws'), useQueueUrlAsEndpoint: false }).send(
    new ReceiveMessageCommand({ QueueUrl: `http://127.0.0.1:${ports.aws}/000000000000/kept` }),
  );
  expect(received.Messages?.[0]?.Body).toBe('m');
  const groups = await new AutoScalingClient(settings('ec2')).send(new DescribeAutoScalingGroupsCommand({}));
  expect(groups.AutoScalingGroups?.map(({ Instances }) => Instances?.length)).toEqual([2]);
}, 60_000);

describe('a quota', () => {
  const elsewhere = 'us-east-2';
  const at = (name: string) => ({ ...settings(name), region: elsewhere });
  const limit = (name: string, to: number | null) =>
    setLimit(state, { cloud: 'aws', name, limit: to, ...(name !== 'L-DC2B2D3D' && { region: elsewhere }) });

  it('is told, holds for what exists already, and is gone as soon as it was raised', async () => {
    const ec2 = new EC2Client(at('ec2'));
    const quotas = new ServiceQuotasClient(at('ec2'));
    const vpcs = { ServiceCode: 'vpc', QuotaCode: 'L-F678F1CE' };
    const { Vpcs = [] } = await ec2.send(new DescribeVpcsCommand({}));
    limit('L-F678F1CE', Vpcs.length);
    expect((await quotas.send(new GetServiceQuotaCommand(vpcs))).Quota?.Value).toBe(Vpcs.length);
    expect((await quotas.send(new GetAWSDefaultServiceQuotaCommand(vpcs))).Quota?.Value).toBe(5);
    const create = () => ec2.send(new CreateVpcCommand({ CidrBlock: '10.0.0.0/16' }));
    await expect(create()).rejects.toMatchObject({ name: 'VpcLimitExceeded' });
    limit('L-F678F1CE', null);
    await create();
  });

  it('of buckets holds for the whole account; one that was never changed is known by its default alone', async () => {
    const s3 = new S3Client({ ...settings('aws'), forcePathStyle: true });
    const asked = { ServiceCode: 's3', QuotaCode: 'L-DC2B2D3D' };
    const quotas = new ServiceQuotasClient(at('ec2'));
    await expect(quotas.send(new GetServiceQuotaCommand(asked))).rejects.toMatchObject({
      name: 'NoSuchResourceException',
    });
    limit('L-DC2B2D3D', 1);
    const create = new CreateBucketCommand({ Bucket: 'one-too-many' });
    await expect(s3.send(create)).rejects.toMatchObject({ name: 'TooManyBuckets' });
    limit('L-DC2B2D3D', null);
    await s3.send(create);
  });

  it('of vCPUs lets a group start as many instances as fit, and the others once it was raised', async () => {
    const ec2 = new EC2Client(at('ec2'));
    const groups = new AutoScalingClient(at('ec2'));
    limit('L-1216C47A', 5);
    const LaunchTemplateName = 'large';
    const LaunchTemplateData = { ImageId: 'ami-0000000000000a023', InstanceType: 't3.large' as const };
    await ec2.send(new CreateLaunchTemplateCommand({ LaunchTemplateName, LaunchTemplateData }));
    const size = { MinSize: 3, MaxSize: 3, AvailabilityZones: [`${elsewhere}a`] };
    const group = { AutoScalingGroupName: 'large', LaunchTemplate: { LaunchTemplateName }, ...size };
    await groups.send(new CreateAutoScalingGroupCommand(group));
    const started = async () => {
      const seen = await groups.send(new DescribeAutoScalingGroupsCommand({ AutoScalingGroupNames: ['large'] }));
      return seen.AutoScalingGroups?.[0]?.Instances?.length;
    };
    expect(await started()).toBe(2);
    limit('L-1216C47A', null);
    expect(await started()).toBe(3);
  });
});

describe('a device', () => {
  const iot = () => new IoTClient(settings('aws'));
  const arn = (what: string): string => `arn:aws:iot:${region}:000000000000:${what}`;
  let options: IClientOptions;
  const connect = (other: IClientOptions = {}) =>
    connectAsync(`mqtts://127.0.0.1:${ports.mqtt}`, { ...options, ...other }, false);

  beforeAll(async () => {
    const server = await authority(join(state, 'certificates'));
    const device = await issueCertificate(await authority(state, 'devices', 'devices'), ['device-1'], true);
    const self = '$' + '{iot:Connection.Thing.ThingName}';
    const document = {
      Version: '2012-10-17',
      Statement: [
        { Effect: 'Allow', Action: 'iot:Connect', Resource: arn(`client/${self}`) },
        { Effect: 'Allow', Action: 'iot:Publish', Resource: arn(`topic/dt/${self}`) },
      ],
    };
    await iot().send(new CreateThingCommand({ thingName: 'device-1' }));
    await iot().send(new CreatePolicyCommand({ policyName: 'own', policyDocument: JSON.stringify(document) }));
    const { certificateArn } = await iot().send(
      new RegisterCertificateWithoutCACommand({ certificatePem: device.cert, status: 'ACTIVE' }),
    );
    await iot().send(new AttachPolicyCommand({ policyName: 'own', target: certificateArn }));
    await iot().send(new AttachThingPrincipalCommand({ thingName: 'device-1', principal: certificateArn }));
    options = {
      servername: `any.iot.${region}.amazonaws.com`,
      ca: server.cert,
      ...device,
      clientId: 'device-1',
      reconnectPeriod: 0,
      connectTimeout: 5000,
    };
  });

  it('connects with its certificate as itself and sends on its own topic', async () => {
    const client = await connect();
    await client.publishAsync('dt/device-1', '{}', { qos: 1 });
    await client.endAsync(true);
  });

  it('is cut off when it sends on the topic of another', async () => {
    const client = await connect();
    const closed = new Promise<void>((done) => client.once('close', () => done()));
    client.publish('dt/device-2', '{}', { qos: 1 });
    await closed;
    await client.endAsync(true);
  });

  it('cannot be another, nor anybody without a certificate', async () => {
    await expect(connect({ clientId: 'device-2' })).rejects.toThrow();
    await expect(connect({ cert: '', key: '' })).rejects.toThrow();
  });
});
