/** Changes resources behind their owner's back, in the ways that the drivers for AWS mend, and puts content into what holds some. */
import {
  AuthorizeSecurityGroupIngressCommand,
  CreateLaunchTemplateVersionCommand,
  EC2Client,
  ModifyLaunchTemplateCommand,
} from '@aws-sdk/client-ec2';
import { AttachRolePolicyCommand, IAMClient } from '@aws-sdk/client-iam';
import {
  AddThingToThingGroupCommand,
  AttachPolicyCommand,
  AttachThingPrincipalCommand,
  CreateKeysAndCertificateCommand,
  CreateThingCommand,
  IoTClient,
} from '@aws-sdk/client-iot';
import { IncreaseStreamRetentionPeriodCommand, KinesisClient } from '@aws-sdk/client-kinesis';
import { DeleteBucketPolicyCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import type { Observed } from '../../activities/providers/driver.ts';

export async function tamperAws(region: string, observed: Readonly<Record<string, Observed>>): Promise<void> {
  const { firewall, role, template, stream, telemetry, bucket, group, policy } = observed;
  const ec2 = new EC2Client({ region });
  if (firewall) {
    const IpPermissions = [{ IpProtocol: 'tcp', FromPort: 22, ToPort: 22, IpRanges: [{ CidrIp: '0.0.0.0/0' }] }];
    await ec2.send(new AuthorizeSecurityGroupIngressCommand({ GroupId: firewall.id, IpPermissions }));
  }
  if (template) {
    const next = { LaunchTemplateId: template.id, LaunchTemplateData: { InstanceType: 't3.nano' as const } };
    const { LaunchTemplateVersion } = await ec2.send(new CreateLaunchTemplateVersionCommand(next));
    const DefaultVersion = String(LaunchTemplateVersion?.VersionNumber ?? '');
    await ec2.send(new ModifyLaunchTemplateCommand({ LaunchTemplateId: template.id, DefaultVersion }));
  }
  ec2.destroy();
  if (role) {
    const iam = new IAMClient({ region: 'us-east-1' });
    const PolicyArn = 'arn:aws:iam::aws:policy/ReadOnlyAccess';
    await iam.send(new AttachRolePolicyCommand({ RoleName: role.outputs.role, PolicyArn }));
    iam.destroy();
  }
  if (stream) {
    const kinesis = new KinesisClient({ region, requestHandler: new NodeHttpHandler() });
    const period = { StreamName: stream.outputs.stream, RetentionPeriodHours: 48 };
    await kinesis.send(new IncreaseStreamRetentionPeriodCommand(period));
    kinesis.destroy();
  }
  if (telemetry) {
    const sqs = new SQSClient({ region });
    await sqs.send(new SendMessageCommand({ QueueUrl: telemetry.outputs.url, MessageBody: "not the canary's" }));
    sqs.destroy();
  }
  if (bucket) {
    const s3 = new S3Client({ region });
    await s3.send(new PutObjectCommand({ Bucket: bucket.outputs.bucket, Key: 'raw/1', Body: 'one' }));
    s3.destroy();
  }
  if (group && policy) {
    const iot = new IoTClient({ region });
    const { certificateArn } = await iot.send(new CreateKeysAndCertificateCommand({ setAsActive: true }));
    const [thingName, thingGroupName] = ['pump-7', group.outputs.group];
    await iot.send(new CreateThingCommand({ thingName }));
    await iot.send(new AddThingToThingGroupCommand({ thingName, thingGroupName }));
    await iot.send(new AttachPolicyCommand({ policyName: policy.outputs.policy, target: certificateArn }));
    await iot.send(new AttachThingPrincipalCommand({ thingName, principal: certificateArn }));
    iot.destroy();
  }
}

/** Leaves a bucket without a policy, as somebody may. */
export async function bareAws(region: string, { bucket }: Readonly<Record<string, Observed>>): Promise<void> {
  const s3 = new S3Client({ region });
  await s3.send(new DeleteBucketPolicyCommand({ Bucket: bucket?.outputs.bucket }));
  s3.destroy();
}
