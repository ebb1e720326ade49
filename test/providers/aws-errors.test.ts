import { SQSClient } from '@aws-sdk/client-sqs';
import { classify } from '../../activities/providers/aws/errors.ts';
import { principalOf } from '../../activities/providers/aws/provider.ts';
import { createQueue } from '../../activities/providers/aws/sqs-queue.ts';

const failure = (name: string, message = '', httpStatusCode = 400) =>
  Object.assign(new Error(message), { name, $metadata: { httpStatusCode, requestId: 'r-1' } });

it.each([
  ['UnrecognizedClientException', '', 'Unauthenticated'],
  ['ExpiredToken', '', 'Unauthenticated'],
  ['AccessDeniedException', '', 'PermissionDenied'],
  ['UnauthorizedOperation', '', 'PermissionDenied'],
  ['LimitExceededException', '', 'QuotaExceeded'],
  ['VpcLimitExceeded', '', 'QuotaExceeded'],
  ['ThrottlingException', '', 'Throttled'],
  ['SlowDown', '', 'Throttled'],
  ['InvalidVpcID.NotFound', '', 'NotFound'],
  ['InvalidGroup.Duplicate', '', 'AlreadyExists'],
  ['InvalidSubnet.Conflict', '', 'AlreadyExists'],
  ['DependencyViolation', '', 'PreconditionFailed'],
  ['ValidationError', 'AutoScalingGroup name not found', 'NotFound'],
  ['ValidationError', 'Invalid IAM Instance Profile name', 'Unavailable'],
  ['InvalidParameterValue', '', 'InvalidInput'],
  ['RequestTimeTooSkewed', '', 'ClockSkewed'],
  ['InvalidSignatureException', 'Signature expired: 20261124T000000Z is now earlier', 'ClockSkewed'],
  ['SomethingNew', '', 'Unavailable'],
] as const)('%s %s means %s', (name, message, kind) => {
  expect(classify(failure(name, message))).toMatchObject({ kind, requestId: 'r-1' });
});

it('a status tells where a name does not', () => {
  expect(classify(failure('Unknown', '', 403)).kind).toBe('PermissionDenied');
  expect(classify(failure('403', '', 403)).kind).toBe('PermissionDenied');
});

it('names the missing right, and nothing else of the message', () => {
  const message = 'User: arn:aws:iam::1:user/secret is not authorized to perform: iot:CreateThingType on resource: x';
  expect(classify(failure('AccessDeniedException', message)).missing).toBe('iot:CreateThingType');
});

it('a session has the rights of its role; the root user is not simulated', () => {
  expect(principalOf('arn:aws:sts::1:assumed-role/worker/session')).toBe('arn:aws:iam::1:role/worker');
  expect(principalOf('arn:aws:iam::1:user/worker')).toBe('arn:aws:iam::1:user/worker');
  expect(principalOf('arn:aws:iam::1:root')).toBeUndefined();
});

it('a queue whose name is held is no cloud that does not answer: it says when it goes on, and asks again until then', async () => {
  const sqs = new SQSClient({ region: 'us-east-1' });
  sqs.send = () => Promise.reject(failure('QueueDeletedRecently', 'You must wait 60 seconds'));
  const made = createQueue(sqs, { QueueName: 'feed' }, new AbortController().signal);
  await expect(made).rejects.toMatchObject({
    kind: 'Throttled',
    retryable: true,
    fields: { retryAfterMs: 15_000, resource: 'feed' },
    message: expect.stringContaining('goes on by itself'),
  });
});
