/**
 * GCP's `iot_core`: our MQTT broker on a managed instance group behind a passthrough load balancer, its device registry in a
 * bucket, its telemetry in Pub/Sub. Why: docs/decisions/0002-gcp-iot-core.md.
 */
import { brokerSuffix } from '../../../model/device-endpoint.ts';
import { justInTimeAuthority, justInTimeKey } from '../../../model/just-in-time.ts';
import { resourceName } from '../../../model/names.ts';
import type { Placement, ResourceSpec } from '../../../model/service.ts';
import type { Cell, Check, Observed, ResourceDriver } from '../driver.ts';
import { artifactDriver, artifactSha256 } from './artifact.ts';
import { brokerStartup } from './broker-startup.ts';
import { bucketChecks } from './bucket.ts';
import {
  account,
  computeName,
  firewall,
  ground,
  groupHealth,
  loginMetadata,
  template,
  verifyMachines,
} from './compute.ts';
import type { ComputeScope } from './compute-resource.ts';
import { iamMemberDriver } from './iam-member.ts';
import { instanceGroupDrivers } from './instance-group.ts';
import { type CanaryClients, canary } from './iot-core-canary.ts';
import { loadBalancerDrivers } from './load-balancer.ts';
import { healthCheckRanges, networkDrivers } from './network.ts';
import { secretDriver, serverKeyPairDriver } from './secret.ts';
import { accountEmail, accountName } from './service-account.ts';

/** What this cell shares with others, made once by the provider. */
export interface IotCoreParts extends CanaryClients {
  scope: ComputeScope;
  bucket: ResourceDriver;
  topic: ResourceDriver;
  subscription: ResourceDriver;
  follower: ResourceDriver;
  serviceAccount: ResourceDriver;
  /** Specification of the registry's bucket: versioned, private, in the placement's region. */
  bucketSpec(placement: Placement): Pick<ResourceSpec, 'kind' | 'name' | 'desired'>;
  topicSpec(placement: Placement, retentionDays: number): Pick<ResourceSpec, 'kind' | 'name' | 'desired'>;
  subscriptionSpec(placement: Placement, retentionDays: number): Pick<ResourceSpec, 'kind' | 'name' | 'desired'>;
  brokerTarball: string | undefined;
  /** PEM of the authority that signs device certificates, public part. */
  deviceCa: string | undefined;
}

/** Measured on 2 vCPUs with 8 GB: 2,000 connections take 128 MiB, TLS handshakes come at 500 a second. */
const devicesPerInstance = 10_000;
const brokerMachine = 'e2-standard-2';
const ports = { mqtt: 8883, health: 8080 };

/** Two at least: in two zones, so that one may fail. */
export const brokerCount = (devices: number): number => Math.max(2, Math.ceil(devices / devicesPerInstance));

const mayRegister = `${justInTimeKey}-may-register`;

const retentionDays = ({ configuration }: Placement): number => Number(configuration.retention_days ?? 7);

function design(placement: Placement, parts: IotCoreParts): ResourceSpec[] {
  const { project } = parts.scope;
  const name = (suffix: string): string => computeName(placement, suffix);
  const registry = parts.bucketSpec(placement);
  const telemetry = parts.topicSpec(placement, retentionDays(placement));
  const email = accountEmail(project, accountName(placement));
  const secret = resourceName(placement, { limit: 255, suffix: 'server' });
  const serverName = `${resourceName(placement, { limit: 40 })}${brokerSuffix}`;
  const grant = (
    key: string,
    on: string,
    target: string,
    role: string,
    needs: string[],
  ): Omit<ResourceSpec, 'holdsData'> => ({
    key,
    kind: 'gcp.iam.member',
    name: `${target} ${role}`,
    needs: ['account', ...needs],
    desired: { on, target, role, member: `serviceAccount:${email}` },
  });
  const newborns = justInTimeAuthority(placement.configuration);
  const drafts: (Omit<ResourceSpec, 'holdsData'> & { holdsData?: boolean })[] = [
    { key: 'registry', needs: [], holdsData: true, ...registry },
    {
      key: 'artifact',
      kind: 'gcp.storage.artifact',
      name: `${registry.name}/broker/broker.tar.gz`,
      needs: ['registry'],
      desired: { sha256: artifactSha256(parts.brokerTarball) },
    },
    { key: 'telemetry', needs: [], ...telemetry },
    { key: 'subscription', needs: ['telemetry'], ...parts.subscriptionSpec(placement, retentionDays(placement)) },
    account(placement),
    {
      key: 'secret',
      kind: 'gcp.secret-manager.secret',
      name: secret,
      needs: [],
      desired: { region: placement.region },
    },
    grant('may-read-registry', 'bucket', registry.name, 'roles/storage.objectViewer', ['registry']),
    grant('may-publish', 'topic', telemetry.name, 'roles/pubsub.publisher', ['telemetry']),
    grant('may-read-key', 'secret', secret, 'roles/secretmanager.secretAccessor', ['secret']),
    // Creating alone: what is registered already, and the program that brokers run, it may neither change nor take away.
    ...(newborns === undefined
      ? []
      : [grant(mayRegister, 'bucket', registry.name, 'roles/storage.objectCreator', ['registry'])]),
    ...ground(placement),
    firewall(placement, 'devices', {
      action: 'allow',
      ports: [String(ports.mqtt)],
      sources: ['0.0.0.0/0'],
      priority: 1000,
      logged: false,
    }),
    firewall(placement, 'health', {
      action: 'allow',
      ports: [String(ports.health)],
      sources: healthCheckRanges,
      priority: 1000,
      logged: false,
    }),
    {
      key: 'address',
      kind: 'gcp.compute.address',
      name: name('address'),
      needs: [],
      desired: { tier: 'PREMIUM' },
    },
    {
      key: 'server-key-pair',
      kind: 'gcp.secret-manager.server-key-pair',
      name: `${secret}/server-key-pair`,
      needs: ['secret', 'address'],
      desired: { serverName },
    },
    {
      key: 'health',
      kind: 'gcp.compute.health-check',
      name: name('health'),
      needs: [],
      desired: { port: ports.health, path: '/healthz', intervalSeconds: 5 },
    },
    template(placement, {
      machineType: brokerMachine,
      metadata: { ...loginMetadata, 'startup-script': brokerStartup },
    }),
    {
      key: 'group',
      kind: 'gcp.compute.instance-group',
      name: name('group'),
      needs: [
        'template',
        'router',
        'health',
        'artifact',
        'server-key-pair',
        'telemetry',
        'may-read-registry',
        'may-publish',
        'may-read-key',
        'firewall-health',
        ...(newborns === undefined ? [] : [mayRegister]),
      ],
      desired: {
        template: name('template'),
        size: brokerCount(Number(placement.configuration.device_count ?? 1000)),
        updates: 'PROACTIVE',
        metadata: {
          'broker-registry': registry.name,
          'broker-topic': `projects/${project}/topics/${telemetry.name}`,
          'broker-secret': `projects/${project}/secrets/${secret}`,
          ...(parts.deviceCa ? { 'broker-device-authority': parts.deviceCa } : {}),
          // Named where there is none as well: what a patch leaves out stays.
          'broker-just-in-time-authority': newborns ?? '',
          'program-main': 'broker.cjs',
          'program-sha256': artifactSha256(parts.brokerTarball),
          'program-source': `gs://${registry.name}/broker/broker.tar.gz`,
        },
      },
    },
    {
      key: 'backend',
      kind: 'gcp.compute.backend-service',
      name: name('backend'),
      needs: ['group', 'health'],
      desired: { scheme: 'EXTERNAL', protocol: 'TCP', drainSeconds: 30, groups: 1 },
    },
    {
      key: 'forwarding-rule',
      kind: 'gcp.compute.forwarding-rule',
      name: name('mqtt'),
      needs: ['backend', 'address', 'firewall-devices'],
      desired: { ports: String(ports.mqtt), scheme: 'EXTERNAL' },
    },
  ];
  return drafts.map((draft) => ({ holdsData: false, ...draft }));
}

function verify(placement: Placement, observed: Record<string, Observed>): Check[] {
  const newborns = justInTimeAuthority(placement.configuration) === undefined ? [] : [mayRegister];
  const grants = ['may-read-registry', 'may-publish', 'may-read-key', ...newborns].map((key) => observed[key]);
  const narrow = grants.every((grant) => grant !== undefined);
  const certificate = observed['server-key-pair']?.outputs.certificate;
  const rule = observed['forwarding-rule'];
  return [
    ...bucketChecks('registry', observed.registry),
    ...verifyMachines(observed),
    {
      name: 'TLS only',
      resource: rule?.id ?? 'forwarding-rule',
      ok: rule?.properties.ports === String(ports.mqtt) && certificate !== undefined,
      found: `only port ${String(rule?.properties.ports ?? 'none')} is forwarded; the broker speaks mutual TLS there`,
    },
    {
      name: 'least privilege',
      resource: observed.account?.id ?? 'account',
      ok: narrow,
      found: narrow ? `${grants.length} roles, each on one resource` : 'a role is missing',
    },
  ];
}

export function iotCoreCell(parts: IotCoreParts): Cell {
  const { scope, rest } = parts;
  const { project } = scope;
  return {
    provider: 'gcp',
    type: 'iot_core',
    design: (placement) => design(placement, parts),
    resources: [
      parts.bucket,
      artifactDriver(parts.storage, parts.brokerTarball),
      parts.topic,
      parts.subscription,
      parts.follower,
      parts.serviceAccount,
      secretDriver(project, rest),
      serverKeyPairDriver(project, rest),
      iamMemberDriver(project, rest),
      ...networkDrivers(scope),
      ...instanceGroupDrivers(scope),
      ...loadBalancerDrivers(scope),
    ],
    verify,
    health: async (_placement, observed) => groupHealth(observed),
    canary(placement, observed, signal) {
      const registry = parts.bucketSpec(placement).name;
      const topic = parts.topicSpec(placement, retentionDays(placement)).name;
      return canary(parts, { project, registry, topic }, observed, signal);
    },
    endpoint: (_placement, observed) => `mqtts://${observed['forwarding-rule']?.outputs.address ?? ''}:${ports.mqtt}`,
  };
}
