/** Every service's own way to refuse a call, as the drivers' SDK clients hear it. The calls are those of callers that no other test is. */
import { dirname, join } from 'node:path';
import { DescribeAutoScalingGroupsCommand } from '@aws-sdk/client-auto-scaling';
import { DescribeVpcsCommand } from '@aws-sdk/client-ec2';
import { GetDatabasesCommand } from '@aws-sdk/client-glue';
import { ListRolesCommand } from '@aws-sdk/client-iam';
import { ListThingTypesCommand } from '@aws-sdk/client-iot';
import { ListStreamsCommand } from '@aws-sdk/client-kinesis';
import { ListBucketsCommand } from '@aws-sdk/client-s3';
import { ListQueuesCommand } from '@aws-sdk/client-sqs';
import { GetCallerIdentityCommand } from '@aws-sdk/client-sts';
import iothub from 'azure-iothub';
import { z } from 'zod';
import { Clients as AwsClients } from '../../activities/providers/aws/clients.ts';
import { classify as classifyAws } from '../../activities/providers/aws/errors.ts';
import { AzureClients } from '../../activities/providers/azure/clients.ts';
import { classify as classifyAzure } from '../../activities/providers/azure/errors.ts';
import { Clients as GcpClients, once } from '../../activities/providers/gcp/clients.ts';
import { classify as classifyGcp } from '../../activities/providers/gcp/errors.ts';
import { registerApplication } from '../../emulators/azure/application.ts';
import { accounts, azureApplication } from '../../emulators/environment.ts';
import type { Cause } from '../../emulators/gateway/answers.ts';
import { serviceAccountKeyFile } from '../../emulators/gcp/service-account-key.ts';
import type { CloudErrorKind } from '../../model/errors.ts';
import type { ProviderType } from '../../model/service.ts';
import { armFault } from './stack.ts';

const state = dirname(process.env.MULTI_CLOUD_NETWORK ?? '');
const region = 'eu-west-1';
const settings = (credentials: Record<string, string>) => ({
  name: 'refused',
  region,
  credentials,
  pollMs: 25,
  callDeadlineMs: 20_000,
});
const key = 'AKIAREFUSED';
const aws = new AwsClients(settings({ access_key_id: key, secret_access_key: 'x' }));
const application = registerApplication(join(state, 'azure'), 'refused');
const azure = new AzureClients(
  settings({ tenant_id: azureApplication.tenant, client_id: application.client, client_secret: application.secret }),
);
const account = 'refused-account';
const gcp = new GcpClients(
  settings({ project_id: accounts.gcp, key_file: serviceAccountKeyFile(join(state, 'gcp'), accounts.gcp, account) }),
);
const callers: Record<ProviderType, string> = {
  aws: key,
  azure: application.client,
  gcp: `${account}@${accounts.gcp}.iam.gserviceaccount.com`,
};
const subscription = accounts.azure;
const project = accounts.gcp;
const found = (url: string) => () =>
  gcp.rest.call('GET', url, { schema: z.unknown(), signal: AbortSignal.timeout(20_000) });

type Calls = Record<string, () => Promise<unknown>>;
const services: Record<ProviderType, Calls> = {
  aws: {
    s3: () => aws.s3(region).send(new ListBucketsCommand({})),
    ec2: () => aws.ec2(region).send(new DescribeVpcsCommand({})),
    iam: () => aws.iam().send(new ListRolesCommand({})),
    sts: () => aws.sts(region).send(new GetCallerIdentityCommand({})),
    autoscaling: () => aws.autoScaling(region).send(new DescribeAutoScalingGroupsCommand({})),
    sqs: () => aws.sqs(region).send(new ListQueuesCommand({})),
    kinesis: () => aws.kinesis(region).send(new ListStreamsCommand({})),
    glue: () => aws.glue(region).send(new GetDatabasesCommand({})),
    iot: () => aws.iot(region).send(new ListThingTypesCommand({})),
  },
  azure: {
    resources: () => azure.resources(subscription).resourceGroups.get('refused'),
    compute: () => azure.compute(subscription).virtualMachineScaleSets.get('refused', 'x'),
    network: () => azure.network(subscription).virtualNetworks.get('refused', 'x'),
    storage: () => azure.storage(subscription).storageAccounts.getProperties('refused', 'x'),
    eventhub: () => azure.eventHub(subscription).namespaces.get('refused', 'x'),
    iothub: () => azure.iotHub(subscription).iotHubResource.get('refused', 'x'),
    blob: () => azure.container('refused', 'x').getProperties(),
    devices: () => iothub.Registry.fromTokenCredential('refused.azure-devices.net', azure.credential).get('x'),
  },
  gcp: {
    storage: () => gcp.storage().bucket('refused').getMetadata(),
    compute: async () => (await gcp.compute()).networks.get({ project, network: 'refused' }, once),
    bigquery: async () => (await gcp.bigQuery()).dataset('refused').getMetadata(),
    pubsub: async () => (await gcp.pubsub()).topics.getTopic({ topic: `projects/${project}/topics/refused` }, once),
    iam: found(`https://iam.googleapis.com/v1/projects/${project}/serviceAccounts`),
    secretmanager: found(`https://secretmanager.googleapis.com/v1/projects/${project}/secrets`),
    projects: found(`https://cloudresourcemanager.googleapis.com/v3/projects/${project}`),
  },
};
const classify = { aws: classifyAws, azure: classifyAzure, gcp: classifyGcp };

const kinds: Record<Cause, CloudErrorKind | readonly CloudErrorKind[]> = {
  throttled: 'Throttled',
  unavailable: 'Unavailable',
  denied: 'PermissionDenied',
  quota: 'QuotaExceeded',
  expired: 'Unauthenticated',
  revoked: 'Unauthenticated',
  skewed: 'ClockSkewed',
  // What holds a name may be ours, or go away by itself.
  held: ['AlreadyExists', 'Unavailable', 'PreconditionFailed'],
};
/** Where a service says less than the others: one status for all that is wrong with a token. */
const exceptions: Record<string, Partial<Record<Cause, CloudErrorKind>>> = {
  'azure devices': { denied: 'Unauthenticated' },
};
/** Services whose refusal names no right, and a client that keeps no headers. */
const namesNoRight = ['sts', 'blob', 'devices'];
const keepsNoHeaders = ['devices'];

const rows = Object.entries(services).flatMap(([cloud, calls]) =>
  Object.keys(calls).map((service) => [cloud as ProviderType, service] as const),
);

test.each(rows)('%s %s: each cause is told in its own words, and understood', async (cloud, service) => {
  for (const [cause, kind] of Object.entries(kinds) as [Cause, (typeof kinds)[Cause]][]) {
    const fault = { effect: 'refuse', cause, retryAfterSeconds: 7 } as const;
    const heal = await armFault({ ...fault, match: { cloud, caller: callers[cloud] } });
    const error = await services[cloud][service]?.().then(
      () => Promise.reject(new Error('it succeeded')),
      (thrown: unknown) => thrown,
    );
    const hits = await heal();
    const understood = classify[cloud](error);
    const expected = exceptions[`${cloud} ${service}`]?.[cause] ?? kind;
    const said = error instanceof Error ? `${error.name}: ${error.message}` : '';
    expect([cause, hits, said, [expected].flat().includes(understood.kind) || understood.kind]).toEqual([
      cause,
      1,
      said,
      true,
    ]);
    if (cause === 'throttled' && !keepsNoHeaders.includes(service)) expect(understood.retryAfterMs).toBe(7000);
    if (cause === 'denied' && !namesNoRight.includes(service)) expect(understood.missing).toMatch(/^[\w.]+[:./]\w+/);
  }
});
