/** `iot_core` on AWS: AWS IoT Core, with a rule that carries telemetry to an SQS queue. */
import { GetTopicRuleCommand } from '@aws-sdk/client-iot';
import type { Placement, ResourceSpec } from '../../../model/service.ts';
import type { Cell, Check } from '../driver.ts';
import type { Clients } from './clients.ts';
import { numberIn } from './configuration.ts';
import { roleArn, roleDriver, roleSpec } from './iam-role.ts';
import { canary } from './iot-canary.ts';
import { deviceCaDriver, deviceCaSpec } from './iot-device-ca.ts';
import { justInTimeDriver, justInTimeSpecs } from './iot-just-in-time.ts';
import { policyDriver, policySpec } from './iot-policy.ts';
import { registrySpecs, thingGroupDriver, thingTypeDriver } from './iot-registry.ts';
import { topicRuleDriver, topicRuleSpec } from './iot-topic-rule.ts';
import { errorsSpec, queueArn, queueDriver, queueSpec, queueUrl } from './sqs-queue.ts';
import { followerDriver, followerQueue } from './telemetry.ts';

function design(placement: Placement, deviceCa: string | undefined): ResourceSpec[] {
  const days = numberIn(placement.configuration, 'retention_days') ?? 14;
  const telemetry = queueSpec(placement, 'telemetry', days);
  const errors = errorsSpec(placement);
  const send = {
    Sid: 'Telemetry',
    Effect: 'Allow' as const,
    Action: ['sqs:SendMessage'],
    Resource: [telemetry.name, errors.name, followerQueue(placement).name].map((name) => queueArn(placement, name)),
  };
  const role = roleSpec(placement, 'iot.amazonaws.com', [send]);
  const route = {
    queueUrl: queueUrl(placement, telemetry.name),
    errorsUrl: queueUrl(placement, errors.name),
    roleArn: roleArn(placement, role.name),
  };
  const [type, group] = registrySpecs(placement);
  const policy = policySpec(placement);
  return [
    ...[type, group],
    policy,
    ...(deviceCa ? [deviceCaSpec(placement, deviceCa)] : []),
    ...justInTimeSpecs(placement, { type: type.name, group: group.name, policy: policy.name }),
    telemetry,
    errors,
    role,
    topicRuleSpec(placement, route),
  ];
}

/** `deviceCa` is the PEM of the authority that signs device certificates. */
export function iotCore(clients: Clients, deviceCa: string | undefined): Cell {
  return {
    provider: 'aws',
    type: 'iot_core',
    design: (placement) => design(placement, deviceCa),
    resources: [
      thingTypeDriver(clients),
      thingGroupDriver(clients),
      policyDriver(clients),
      ...(deviceCa ? [deviceCaDriver(clients, deviceCa)] : []),
      justInTimeDriver(clients),
      queueDriver(clients),
      roleDriver(clients),
      topicRuleDriver(clients),
      followerDriver(clients),
    ],

    verify(_placement, observed) {
      const queues = ['telemetry', 'errors'].flatMap((key): Check[] => {
        const { encryption, tlsOnly, retentionSeconds } = observed[key]?.properties ?? {};
        const encrypted = encryption === 'SSE-SQS' || encryption === 'SSE-KMS';
        return [
          { name: 'encryption at rest', resource: key, ok: encrypted, found: String(encryption) },
          {
            name: 'TLS only',
            resource: key,
            ok: tlsOnly === true,
            found: tlsOnly === true ? 'other requests are denied' : 'plain HTTP is not denied',
          },
          {
            name: 'retention',
            resource: key,
            ok: Number(retentionSeconds) > 0,
            found: `${Number(retentionSeconds) / 86_400} days (14 at most)`,
          },
        ];
      });
      const document = JSON.stringify(observed.policy?.properties.document ?? {});
      const bound = document.includes('iot:Connection.Thing.ThingName') && !/"(iot:)?\*"/.test(document);
      const permissions = JSON.stringify(observed.role?.properties.permissions ?? {});
      const narrow = permissions.includes('sqs:SendMessage') && !permissions.includes('"*"');
      return [
        ...queues,
        {
          name: 'least privilege',
          resource: 'policy',
          ok: bound,
          found: bound ? 'a device may use its own name and topics only' : 'a device may act as another',
        },
        {
          name: 'least privilege',
          resource: 'role',
          ok: narrow,
          found: narrow ? 'may send to its queues only' : 'may do more than send to its queues',
        },
      ];
    },

    async health(placement, observed, signal) {
      const ruleName = observed.rule?.outputs.rule;
      const missing = ['type', 'group', 'policy', 'telemetry', 'errors', 'role', 'rule'].filter(
        (key) => !observed[key],
      );
      if (!ruleName || missing.length > 0) return { healthy: false, detail: `missing: ${missing.join(', ')}` };
      const command = new GetTopicRuleCommand({ ruleName });
      const { rule } = await clients.iot(placement.region).send(command, { abortSignal: signal });
      const enabled = rule?.ruleDisabled !== true;
      return { healthy: enabled, detail: `rule ${ruleName} is ${enabled ? 'enabled' : 'disabled'}` };
    },

    canary: (placement, observed, signal) => canary(clients, placement, observed, signal),

    endpoint(_placement, observed) {
      const host = observed.group?.outputs.endpoint;
      return host ? `mqtts://${host}:8883` : '';
    },
  };
}
