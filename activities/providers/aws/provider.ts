/** AWS as a provider: its cells, whose account it is, which rights are missing. */
import { SimulatePrincipalPolicyCommand } from '@aws-sdk/client-iam';
import { GetCallerIdentityCommand } from '@aws-sdk/client-sts';
import type { Provider, ProviderSettings } from '../driver.ts';
import { Clients } from './clients.ts';
import { compute } from './compute.ts';
import { dataLake } from './data-lake.ts';
import { classify, isKind } from './errors.ts';
import { iotCore } from './iot-core.ts';
import { storage } from './storage.ts';

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
  const identity = (signal: AbortSignal) =>
    clients.sts(settings.region).send(new GetCallerIdentityCommand({}), { abortSignal: signal });

  return {
    type: 'aws',
    cells: [iotCore(clients, settings.deviceCa), compute(clients), dataLake(clients), storage(clients)],
    classify,

    async account(signal) {
      return (await identity(signal)).Account ?? '';
    },

    async missingPermissions(permissions, _placement, signal) {
      const PolicySourceArn = principalOf((await identity(signal)).Arn ?? '');
      if (!PolicySourceArn || permissions.length === 0) return [];
      const query = { PolicySourceArn, ActionNames: [...permissions] };
      try {
        const answer = await clients.iam().send(new SimulatePrincipalPolicyCommand(query), { abortSignal: signal });
        return (answer.EvaluationResults ?? [])
          .filter(({ EvalDecision }) => EvalDecision !== 'allowed')
          .map(({ EvalActionName = '' }) => EvalActionName);
      } catch (error) {
        // Who may not ask is told nothing; the first call that is denied then blocks the run, naming the right.
        // A role with a path cannot be rebuilt from its session's ARN: then there is nothing to ask either.
        if (isKind(error, 'PermissionDenied') || isKind(error, 'NotFound')) return [];
        throw error;
      }
    },

    async close() {
      clients.close();
    },
  };
}
