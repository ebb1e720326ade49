/** Which resource a call to AWS is about, as far as the call tells: EC2's are named by AWS, and most calls to IAM leave out the path. */
import type { Call } from './calls.ts';

/** The kinds of AWS IoT by the first segment of a path. */
const iotKinds: Readonly<Record<string, string>> = {
  things: 'thing',
  'thing-groups': 'thinggroup',
  'thing-types': 'thingtype',
  policies: 'policy',
  rules: 'rule',
  certificates: 'cert',
  cacertificate: 'cacert',
};

const lastOf = (arn: string): string => arn.split(':').slice(5).join(':');

type Fields = (name: string) => string | undefined;

/** Fields of a form of the query protocol or of a JSON body, inner ones by a dotted name. */
function fieldsOf(body: string): Fields {
  if (!body.startsWith('{')) {
    const form = new URLSearchParams(body);
    return (name) => form.get(name) ?? undefined;
  }
  const json: unknown = JSON.parse(body);
  return (name) => {
    const found = name.split('.').reduce<unknown>((at, key) => Object(at)[key], json);
    return typeof found === 'string' ? found : undefined;
  };
}

const named = (kind: string, name: string | undefined): string | undefined => name && `${kind}${name}`;

const arn = (field: string | undefined): string | undefined => field && lastOf(field);

/** By the service in front of the colon of a right. */
const finders: Readonly<Record<string, (call: Call, field: Fields) => string | undefined>> = {
  s3({ host, path }) {
    const bucket = /^(.+)\.s3[.-]/.exec(host)?.[1];
    return bucket && `${bucket}${path === '/' ? '' : decodeURIComponent(path)}`;
  },
  iot({ path, query }, field) {
    const [first = '', name = ''] = path.split('/').filter(Boolean).map(decodeURIComponent);
    if (/^(add|remove)Thing/.test(name)) return named('thinggroup/', field('thingGroupName'));
    const kind = iotKinds[first];
    return kind && name ? `${kind}/${name}` : arn(query.resourceArn);
  },
  kinesis: (_call, field) => arn(field('StreamARN') ?? field('ResourceARN')) ?? named('stream/', field('StreamName')),
  sqs: (_call, field) => field('QueueName') ?? field('QueueUrl')?.split('/').at(-1),
  glue: (_call, field) =>
    arn(field('ResourceArn')) ??
    named('database/', field('DatabaseInput.Name') ?? field('DatabaseName') ?? field('Name')),
  autoscaling: (_call, field) => named('autoScalingGroup:*:autoScalingGroupName/', field('AutoScalingGroupName')),
  iam({ action }, field) {
    const path = field('Path');
    if (action === 'CreateRole') return named(`role${path}`, field('RoleName'));
    return action === 'CreateInstanceProfile'
      ? named(`instance-profile${path}`, field('InstanceProfileName'))
      : undefined;
  },
};

/**
 * The last part of the resource's ARN, `stream/orders`; undefined where the call does not tell. Region and account are not
 * told apart.
 */
export const awsResource = (service: string, call: Call, body: string): string | undefined =>
  finders[service]?.(call, fieldsOf(body));

/** Whether a resource of a policy holds for what `awsResource` answers. */
export const covers = (resource: string, name: string): boolean =>
  resource === '*' || wildcard(lastOf(resource)).test(name);

/** `*` and `?` as in IAM's policies. */
export const wildcard = (pattern: string): RegExp =>
  new RegExp(
    `^${pattern
      .replace(/[.\\+^${}()|[\]]/g, '\\$&')
      .replaceAll('*', '.*')
      .replaceAll('?', '.')}$`,
    's',
  );
