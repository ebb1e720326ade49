/** The rule that carries telemetry from MQTT to the queue, and what it cannot deliver to the queue of errors. */
import {
  CreateTopicRuleCommand,
  DeleteTopicRuleCommand,
  GetTopicRuleCommand,
  ListTopicRulesCommand,
  ReplaceTopicRuleCommand,
  type TopicRulePayload,
} from '@aws-sdk/client-iot';
import { resourceName } from '../../../model/names.ts';
import type { Placement, ResourceSpec } from '../../../model/service.ts';
import type { Call, ResourceDriver } from '../driver.ts';
import { followerName } from '../telemetry.ts';
import type { Clients } from './clients.ts';
import { isKind } from './errors.ts';
import { topicOf } from './iot-device.ts';
import { iotArn, iotDriver } from './iot-resource.ts';
import { allPages, desiredTags, tagsOf } from './tags.ts';

const sqlVersion = '2016-03-23';

export interface Route {
  queueUrl: string;
  errorsUrl: string;
  roleArn: string;
}

export const topicRuleSpec = (
  placement: Placement,
  { queueUrl, errorsUrl, roleArn }: Route,
  suffix = 'telemetry',
): ResourceSpec => ({
  key: 'rule',
  kind: 'aws.iot.topic-rule',
  // Letters, digits and underscores only.
  name: resourceName(placement, { limit: 128, separator: '_', suffix }),
  needs: ['telemetry', 'errors', 'role'],
  holdsData: false,
  desired: {
    tags: desiredTags(placement),
    // The broker's own word for device and time stands beside what the device sent.
    sql: `SELECT *, clientid() AS mqtt_client, topic() AS mqtt_topic, timestamp() AS received_at FROM '${topicOf(placement, 'dt', '+', 'telemetry')}'`,
    queueUrl,
    errorsUrl,
    roleArn,
    enabled: true,
  },
});

const payloadOf = ({ desired }: ResourceSpec): TopicRulePayload => {
  const target = (url: unknown) => ({
    sqs: { queueUrl: String(url), roleArn: String(desired.roleArn), useBase64: false },
  });
  return {
    sql: String(desired.sql),
    awsIotSqlVersion: sqlVersion,
    ruleDisabled: false,
    actions: [target(desired.queueUrl)],
    errorAction: target(desired.errorsUrl),
  };
};

export function topicRuleDriver(clients: Clients): ResourceDriver {
  const client = ({ placement }: Pick<Call, 'placement'>) => clients.iot(placement.region);
  const page = async (call: Pick<Call, 'placement' | 'signal'>, nextToken: string | undefined) => {
    const prefix = call.placement.owner.estate.replaceAll('-', '_');
    const found = await client(call).send(new ListTopicRulesCommand({ nextToken }), { abortSignal: call.signal });
    const items = (found.rules ?? [])
      .filter(({ ruleName }) => ruleName?.startsWith(prefix))
      .map(({ ruleName = '', ruleArn = '' }) => ({ name: ruleName, arn: ruleArn }));
    return { items, next: found.nextToken };
  };
  /** IoT answers "unauthorized" for a rule that does not exist, so existence is asked of the list. */
  const exists = async (spec: ResourceSpec, call: Call): Promise<boolean> =>
    (await allPages((token) => page(call, token))).some(({ name }) => name === spec.name);

  return iotDriver(clients, {
    kind: 'aws.iot.topic-rule',
    arnOf: ({ name }, placement) => iotArn(placement, `rule/${name}`),
    async read(spec, call) {
      if (!(await exists(spec, call))) return undefined;
      const command = new GetTopicRuleCommand({ ruleName: spec.name });
      const { rule } = await client(call).send(command, { abortSignal: call.signal });
      return {
        properties: {
          sql: rule?.sql ?? '',
          queueUrl: rule?.actions?.[0]?.sqs?.queueUrl ?? '',
          errorsUrl: rule?.errorAction?.sqs?.queueUrl ?? '',
          roleArn: rule?.actions?.[0]?.sqs?.roleArn ?? '',
          enabled: rule?.ruleDisabled !== true && rule?.actions?.length === 1,
        },
        outputs: { rule: spec.name },
      };
    },
    async create(spec, call) {
      const command = new CreateTopicRuleCommand({
        ruleName: spec.name,
        topicRulePayload: payloadOf(spec),
        // This one call takes its tags as a query string.
        tags: new URLSearchParams(tagsOf(spec)).toString(),
      });
      await client(call).send(command, { abortSignal: call.signal });
    },
    async update(spec, drift, call) {
      if (drift.every((property) => property === 'tags')) return;
      const command = new ReplaceTopicRuleCommand({ ruleName: spec.name, topicRulePayload: payloadOf(spec) });
      await client(call).send(command, { abortSignal: call.signal });
    },
    async remove(spec, call) {
      if (!(await exists(spec, call))) return;
      const command = new DeleteTopicRuleCommand({ ruleName: spec.name });
      try {
        await client(call).send(command, { abortSignal: call.signal });
      } catch (error) {
        // The same answer for a rule that an earlier try, whose answer got lost, has deleted.
        if (!isKind(error, 'PermissionDenied') || (await exists(spec, call))) throw error;
      }
    },
    // The rule of a follower is a part of it.
    async page(call, token) {
      const { items, next } = await page(call, token);
      return { items: items.filter(({ name }) => !followerName.is(name)), next };
    },
  });
}
