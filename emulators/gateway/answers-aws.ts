/**
 * Refusals of AWS. Every service has its own names for the same thing, and one of five frames to put them in.
 * https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html and each service's own list, 2026-11.
 */
import type { Answer, Cause, Said, Told } from './answers.ts';
import type { Call } from './calls.ts';

type Names = Readonly<Record<Cause, Said>>;
type Frame = (call: Call, said: Said) => Answer;

const away = 'The service is unavailable. Please try again.';
const late = 'Signature expired: 20260101T000000Z is now earlier than 20260101T001000Z (20260101T001500Z - 5 min.)';
const user = 'User: arn:aws:iam::000000000000:user/worker is not authorized to perform:';

const xml = (text: string): string => `<?xml version="1.0" encoding="UTF-8"?>\n${text}`;
const error = ([, code, message]: Said, before = ''): string =>
  `<Error>${before}<Code>${code}</Code><Message>${message}</Message></Error>`;

/** Keys of EC2's and the query protocol's frames differ in case and nesting. */
const frames = {
  s3: ({ id }, said) => ({
    status: said[0],
    headers: { 'content-type': 'application/xml', 'x-amz-request-id': `fault-${id}` },
    body: xml(error(said).replace('</Error>', `<RequestId>fault-${id}</RequestId></Error>`)),
  }),
  ec2: ({ id }, said) => ({
    status: said[0],
    headers: { 'content-type': 'text/xml;charset=UTF-8' },
    body: xml(`<Response><Errors>${error(said)}</Errors><RequestID>fault-${id}</RequestID></Response>`),
  }),
  query: ({ id }, said) => ({
    status: said[0],
    headers: { 'content-type': 'text/xml', 'x-amzn-requestid': `fault-${id}` },
    body: `<ErrorResponse>${error(said, '<Type>Sender</Type>')}<RequestId>fault-${id}</RequestId></ErrorResponse>`,
  }),
  json: ({ id }, [status, code, message]) => ({
    status,
    headers: { 'content-type': 'application/x-amz-json-1.1', 'x-amzn-requestid': `fault-${id}` },
    body: JSON.stringify({ __type: code, message }),
  }),
  rest: ({ id }, [status, code, message]) => ({
    status,
    headers: { 'content-type': 'application/json', 'x-amzn-errortype': code, 'x-amzn-requestid': `fault-${id}` },
    body: JSON.stringify({ message }),
  }),
} satisfies Record<string, Frame>;

const query = (right: string): Names => ({
  throttled: [400, 'Throttling', 'Rate exceeded'],
  unavailable: [503, 'ServiceUnavailable', away],
  denied: [403, 'AccessDenied', `${user} ${right}`],
  quota: [409, 'LimitExceeded', 'Cannot exceed quota for this account.'],
  expired: [403, 'ExpiredToken', 'The security token included in the request is expired'],
  revoked: [403, 'InvalidClientTokenId', 'The security token included in the request is invalid.'],
  skewed: [403, 'SignatureDoesNotMatch', late],
  held: [409, 'EntityAlreadyExists', 'An entity with this name already exists.'],
});
const json = (right: string): Names => ({
  throttled: [400, 'ThrottlingException', 'Rate exceeded'],
  unavailable: [503, 'ServiceUnavailableException', away],
  denied: [400, 'AccessDeniedException', `${user} ${right}`],
  quota: [400, 'LimitExceededException', 'The limit of your account is exceeded.'],
  expired: [400, 'ExpiredTokenException', 'The security token included in the request is expired'],
  revoked: [400, 'UnrecognizedClientException', 'The security token included in the request is invalid.'],
  skewed: [400, 'InvalidSignatureException', late],
  held: [400, 'ResourceInUseException', 'A resource of this name is being deleted.'],
});

const services: Readonly<Record<string, (right: string) => [Frame, Names]>> = {
  s3: (right) => [
    frames.s3,
    {
      throttled: [503, 'SlowDown', 'Please reduce your request rate.'],
      unavailable: [503, 'ServiceUnavailable', 'Service is unable to handle request.'],
      denied: [403, 'AccessDenied', `${user} ${right} because no identity-based policy allows the ${right} action`],
      quota: [400, 'TooManyBuckets', 'You have attempted to create more buckets than allowed'],
      expired: [400, 'ExpiredToken', 'The provided token has expired.'],
      revoked: [403, 'InvalidAccessKeyId', 'The AWS Access Key Id you provided does not exist in our records.'],
      skewed: [
        403,
        'RequestTimeTooSkewed',
        'The difference between the request time and the current time is too large.',
      ],
      held: [
        409,
        'OperationAborted',
        'A conflicting conditional operation is currently in progress against this resource. Please try again.',
      ],
    },
  ],
  ec2: (right) => [
    frames.ec2,
    {
      throttled: [503, 'RequestLimitExceeded', 'Request limit exceeded.'],
      unavailable: [503, 'Unavailable', 'The service is unavailable. Please try again shortly.'],
      denied: [403, 'UnauthorizedOperation', `You are not authorized to perform this operation. ${user} ${right}`],
      quota: [400, 'VpcLimitExceeded', 'The maximum number of VPCs has been reached.'],
      expired: [400, 'ExpiredToken', 'The security token included in the request is expired'],
      revoked: [401, 'AuthFailure', 'AWS was not able to validate the provided access credentials'],
      skewed: [400, 'RequestExpired', 'Request has expired.'],
      held: [400, 'InvalidLaunchTemplateName.AlreadyExistsException', 'Launch template name already in use.'],
    },
  ],
  iam: (right) => [frames.query, query(right)],
  sts: (right) => [frames.query, query(right)],
  autoscaling: (right) => [
    frames.query,
    {
      ...query(right),
      quota: [400, 'LimitExceeded', 'You have already reached a limit for your Auto Scaling resources.'],
      held: [400, 'AlreadyExists', 'AutoScalingGroup by this name is pending delete'],
    },
  ],
  sqs: (right) => [
    frames.json,
    {
      ...json(right),
      throttled: [403, 'RequestThrottled', 'Request is throttled.'],
      denied: [403, 'AccessDeniedException', `${user} ${right}`],
      quota: [403, 'OverLimit', 'A limit of your account is exceeded: too many messages are in flight.'],
      held: [
        400,
        'com.amazonaws.sqs#QueueDeletedRecently',
        'You must wait 60 seconds after deleting a queue before you can create another with the same name.',
      ],
    },
  ],
  kinesis: (right) => [
    frames.json,
    {
      ...json(right),
      // The same name for both; the words tell them apart.
      throttled: [400, 'LimitExceededException', 'Rate exceeded for stream x under account 000000000000.'],
      quota: [400, 'LimitExceededException', 'This request would exceed the shard limit for the account 000000000000.'],
    },
  ],
  glue: (right) => [
    frames.json,
    {
      ...json(right),
      quota: [400, 'ResourceNumberLimitExceededException', 'Number of databases exceeds the account limit.'],
      held: [400, 'AlreadyExistsException', 'Database already exists.'],
    },
  ],
  iot: (right) => [
    frames.rest,
    {
      ...json(right),
      throttled: [429, 'ThrottlingException', 'Rate exceeded'],
      denied: [403, 'AccessDeniedException', `${user} ${right}`],
      quota: [410, 'LimitExceededException', 'The limit of this resource is exceeded.'],
      expired: [403, 'ExpiredTokenException', 'The security token included in the request is expired'],
      revoked: [403, 'UnrecognizedClientException', 'The security token included in the request is invalid.'],
      skewed: [403, 'InvalidSignatureException', late],
      held: [409, 'ResourceAlreadyExistsException', 'The resource already exists.'],
    },
  ],
};

export function awsAnswer(cause: Cause, call: Call, { right }: Told): Answer {
  const service = call.host.split('.').find((word) => word in services) ?? 's3';
  const [frame, names] = services[service]?.(right) ?? [frames.json, json(right)];
  return frame(call, names[cause]);
}
