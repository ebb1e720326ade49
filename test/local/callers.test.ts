/** A caller of AWS is held to the resources that its policies name, whatever the protocol that names them. */
import { AutoScalingClient, DeleteAutoScalingGroupCommand } from '@aws-sdk/client-auto-scaling';
import { GetDatabaseCommand, GlueClient } from '@aws-sdk/client-glue';
import { CreateRoleCommand, IAMClient } from '@aws-sdk/client-iam';
import { DeleteThingGroupCommand, DescribeThingGroupCommand, IoTClient } from '@aws-sdk/client-iot';
import { DescribeStreamSummaryCommand, KinesisClient, PutRecordCommand } from '@aws-sdk/client-kinesis';
import { GetObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { CreateQueueCommand, GetQueueUrlCommand, SQSClient } from '@aws-sdk/client-sqs';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import { limitedAws } from '../conformance/limited-aws.ts';

const own = (service: string, resource: string) => `arn:aws:${service}:*:*:${resource}`;
const resources = [
  own('autoscaling', 'autoScalingGroup:*:autoScalingGroupName/mine-*'),
  own('glue', 'database/mine_*'),
  'arn:aws:iam::*:role/mine/*',
  own('iot', 'thinggroup/mine-*'),
  own('kinesis', 'stream/mine-*'),
  'arn:aws:s3:::mine-*/*',
  own('sqs', 'mine-*'),
];
/** What the gateway says of a call that policies do not cover; every cloud of its own says it otherwise, or not at all. */
const refused = /AccessDenied|not authorized/i;

let settings: { region: string; maxAttempts: number; credentials: { accessKeyId: string; secretAccessKey: string } };
beforeAll(async () => {
  const Statement = ['autoscaling', 'glue', 'iam', 'iot', 'kinesis', 's3', 'sqs'].map((service) => ({
    Effect: 'Allow',
    Action: [`${service}:*`],
    Resource: resources.filter((one) => one.startsWith(`arn:aws:${service}:`)),
  }));
  const policy = { Version: '2012-10-17', Statement };
  const { credentials } = await limitedAws(`resources-${Date.now()}`, [policy]);
  const { access_key_id: accessKeyId, secret_access_key: secretAccessKey } = credentials;
  settings = { region: 'us-west-2', maxAttempts: 1, credentials: { accessKeyId, secretAccessKey } };
});

// Kinesis' client speaks HTTP/2 where nobody tells it otherwise; the local clouds do not.
const kinesis = () => new KinesisClient({ ...settings, requestHandler: new NodeHttpHandler({}) });
const AssumeRolePolicyDocument = '{"Version":"2012-10-17","Statement":[]}';
const calls: Record<string, (whose: string) => Promise<unknown>> = {
  'Kinesis, read': (whose) => kinesis().send(new DescribeStreamSummaryCommand({ StreamName: `${whose}-stream` })),
  'Kinesis, written': (whose) =>
    kinesis().send(new PutRecordCommand({ StreamName: `${whose}-stream`, PartitionKey: 'a', Data: Buffer.from('a') })),
  'SQS, by name': (whose) => new SQSClient(settings).send(new GetQueueUrlCommand({ QueueName: `${whose}-queue` })),
  'SQS, created': (whose) => new SQSClient(settings).send(new CreateQueueCommand({ QueueName: `${whose}-queue` })),
  Glue: (whose) => new GlueClient(settings).send(new GetDatabaseCommand({ Name: `${whose}_lake` })),
  'AWS IoT, read': (whose) =>
    new IoTClient(settings).send(new DescribeThingGroupCommand({ thingGroupName: `${whose}-group` })),
  'AWS IoT, removed': (whose) =>
    new IoTClient(settings).send(new DeleteThingGroupCommand({ thingGroupName: `${whose}-group` })),
  'Auto Scaling': (whose) =>
    new AutoScalingClient(settings).send(new DeleteAutoScalingGroupCommand({ AutoScalingGroupName: `${whose}-group` })),
  IAM: (whose) =>
    new IAMClient(settings).send(
      new CreateRoleCommand({ RoleName: `${whose}-role`, Path: `/${whose}/`, AssumeRolePolicyDocument }),
    ),
  S3: (whose) => new S3Client(settings).send(new GetObjectCommand({ Bucket: `${whose}-bucket`, Key: 'a/b' })),
};

it.each(Object.keys(calls))('%s: what is named in its policies alone', async (name) => {
  const said = async (whose: string): Promise<string> => {
    try {
      await calls[name]?.(whose);
      return 'done';
    } catch (error) {
      return String(error);
    }
  };
  expect(await said('others')).toMatch(refused);
  expect(await said('mine')).not.toMatch(refused);
});
