/** AWS as a provider: its cells, whose account it is, which rights are missing. */

import { SimulatePrincipalPolicyCommand } from '@aws-sdk/client-iam';
import { GetCallerIdentityCommand } from '@aws-sdk/client-sts';
import { resourceName } from '../../../model/names.ts';
import type { Placement } from '../../../model/service.ts';
import type { Provider, ProviderSettings } from '../driver.ts';
import { outputOf } from '../object-store.ts';
import { PooledHttp } from '../pooled-http.ts';
import { bucketFeed } from './change-feed.ts';
import { Clients } from './clients.ts';
import { compute } from './compute.ts';
import { dataLake } from './data-lake.ts';
import { iotDevices } from './device-registry.ts';
import { route53 } from './dns.ts';
import { classify, isKind } from './errors.ts';
import { bucketFence } from './fence.ts';
import { iotCore } from './iot-core.ts';
import { s3Store } from './object-store.ts';
import { smallObjects } from './objects.ts';
import { awsQuotas } from './quotas.ts';
import { storage } from './storage.ts';
import { allPages } from './tags.ts';
import { queueTelemetry } from './telemetry.ts';
import { weightedRoute53 } from './weights.ts';

/**
 * The IAM identity behind a caller's ARN: a session of an assumed role has the rights of its role. Undefined for the
 * account's root user, who cannot be simulated and may do everything.
 * https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html
 */
export function principalOf(arn: string): string | undefined {
  const session = /^arn:([^:]+):sts::(\d+):assumed-role\/(.+)\/[^/]+$/.exec(arn);
  if (session) return `arn:${session[1]}:iam::${session[2]}:role/${session[3]}`;
  return arn.endsWith(':root') ? undefined : arn;
}

export function awsProvider(settings: ProviderSettings): Provider {
  const clients = new Clients(settings);
  const http = new PooledHttp({ idleMs: settings.callDeadlineMs });
  const identity = (signal: AbortSignal) =>
    clients.sts(settings.region).send(new GetCallerIdentityCommand({}), { abortSignal: signal });

  return {
    type: 'aws',
    cells: [iotCore(clients, settings.deviceCa), compute(clients), dataLake(clients), storage(clients)],
    objects: smallObjects(clients),
    store: (placement) => s3Store(clients, http, { ...placement, bucket: outputOf(placement, 'bucket', 'bucket') }),
    devices: (placement, ask, signal) => iotDevices(clients, placement, ask, signal),
    feed: bucketFeed(clients),
    telemetry: queueTelemetry(clients),
    dns: route53(clients, settings.pollMs),
    weights: weightedRoute53(clients, settings.pollMs),
    fence: bucketFence(clients, async (signal) => {
      const { UserId = '', Arn = '' } = await identity(signal);
      return { userId: UserId, principal: principalOf(Arn) };
    }),
    quotas: awsQuotas(clients),
    classify,

    async account(signal) {
      return (await identity(signal)).Account ?? '';
    },

    async missingPermissions(permissions, placement, signal) {
      const principal = principalOf((await identity(signal)).Arn ?? '');
      if (!principal || permissions.length === 0) return [];
      try {
        const everywhere = await denied(clients, principal, permissions, '*', signal);
        // Rights may be limited to what bears the estate's name, as `permissions` prints them: then "on everything" is denied.
        const byResource = Map.groupBy(everywhere, (permission) => exampleOf(permission, placement));
        const named = [...byResource].map(([resource, some]) => denied(clients, principal, some, resource, signal));
        return (await Promise.all(named)).flat();
      } catch (error) {
        // Who may not ask is told nothing; the first call that is denied then blocks the run, naming the right.
        // A role with a path cannot be rebuilt from its session's ARN: then there is nothing to ask either.
        if (isKind(error, 'PermissionDenied') || isKind(error, 'NotFound')) return [];
        throw error;
      }
    },

    async close() {
      clients.close();
      http.close();
    },
  };
}

/** Those of the rights that a principal does not have on a resource. */
async function denied(
  clients: Clients,
  PolicySourceArn: string,
  permissions: readonly string[],
  resource: string,
  signal: AbortSignal,
): Promise<string[]> {
  const results = await allPages(async (Marker) => {
    const query = { PolicySourceArn, ActionNames: [...permissions], ResourceArns: [resource], Marker };
    const page = await clients.iam().send(new SimulatePrincipalPolicyCommand(query), { abortSignal: signal });
    return { items: page.EvaluationResults ?? [], next: page.IsTruncated ? page.Marker : undefined };
  });
  return results.flatMap(({ EvalDecision, EvalActionName = '' }) =>
    EvalDecision === 'allowed' ? [] : [EvalActionName],
  );
}

/** ARN of a resource as this placement would have it, of the kind that an action is about. */
function exampleOf(action: string, placement: Placement): string {
  const { region, account, owner } = placement;
  const name = resourceName(placement, { limit: 60 });
  const word = name.replaceAll('-', '_');
  const examples: Record<string, string> = {
    s3: `arn:aws:s3:::${name}`,
    'iam:CreateServiceLinkedRole': `arn:aws:iam::${account}:role/aws-service-role/autoscaling.amazonaws.com/AWSServiceRoleForAutoScaling`,
    iam: `arn:aws:iam::${account}:role/multi-cloud/${owner.estate}/${name}`,
    sqs: `arn:aws:sqs:${region}:${account}:${name}`,
    kinesis: `arn:aws:kinesis:${region}:${account}:stream/${name}`,
    glue: `arn:aws:glue:${region}:${account}:database/${word}`,
    iot: `arn:aws:iot:${region}:${account}:thinggroup/${name}`,
    autoscaling: `arn:aws:autoscaling:${region}:${account}:autoScalingGroup:*:autoScalingGroupName/${name}`,
    ssm: `arn:aws:ssm:${region}::parameter/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64`,
  };
  return examples[action] ?? examples[action.slice(0, action.indexOf(':'))] ?? '*';
}
