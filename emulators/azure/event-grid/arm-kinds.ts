/** `Microsoft.EventGrid` (version 2022-06-15): system topics of storage accounts, and event subscriptions that deliver to storage queues. */
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { accept, asObject, Refusal } from '../arm/accept.ts';
import type { ArmKind, Asked, Made, Stored } from '../arm/kind.ts';
import { keyOf } from '../arm/resource-id.ts';

export const topicType = 'Microsoft.EventGrid/systemTopics';
export const topicSubscriptionType = `${topicType}/eventSubscriptions`;
/** Extensions of a source, which is their scope. */
export const sourceSubscriptionType = 'Microsoft.EventGrid/eventSubscriptions';
const storageTopic = 'Microsoft.Storage.StorageAccounts';

const Destination = z.strictObject({
  endpointType: z.literal('StorageQueue'),
  properties: z.strictObject({
    resourceId: z.string(),
    queueName: z.string(),
    queueMessageTimeToLiveInSeconds: z.int().min(1).optional(),
  }),
});
export const SubscriptionProperties = z.strictObject({
  destination: Destination.optional(),
  deliveryWithResourceIdentity: z
    .strictObject({ identity: z.strictObject({ type: z.literal('SystemAssigned') }), destination: Destination })
    .optional(),
  filter: z
    .strictObject({
      subjectBeginsWith: z.string().default(''),
      subjectEndsWith: z.string().default(''),
      includedEventTypes: z.array(z.string()).nullish(),
      isSubjectCaseSensitive: z.boolean().optional(),
      enableAdvancedFilteringOnArrays: z.boolean().optional(),
    })
    .prefault({}),
  eventDeliverySchema: z.literal('EventGridSchema').default('EventGridSchema'),
  labels: z.array(z.string()).optional(),
  retryPolicy: z
    .strictObject({ maxDeliveryAttempts: z.int().default(30), eventTimeToLiveInMinutes: z.int().default(1440) })
    .prefault({}),
});
const readOnly = ['provisioningState', 'topic'];
const TopicProperties = z.strictObject({ source: z.string(), topicType: z.literal(storageTopic) });
const Identity = z.strictObject({ type: z.enum(['None', 'SystemAssigned']).default('None') });

const sourceIn = (id: string): string => id.replace(/\/providers\/Microsoft\.EventGrid\/.*$/i, '');

function topic({ id, body, before, tenant, list }: Asked): Made {
  const { source } = accept(TopicProperties, asObject(body.properties), [...readOnly, 'metricResourceId']);
  const account = [...list('Microsoft.Storage/storageAccounts')].find((one) => keyOf(one.id) === keyOf(source));
  if (!account) throw new Refusal(400, 'InvalidRequest', `The source ${source} does not exist.`);
  for (const other of list(topicType))
    if (keyOf(other.id) !== keyOf(id) && keyOf(String(other.properties.source)) === keyOf(source))
      throw new Refusal(400, 'InvalidRequest', `Only one system topic is allowed per source: ${other.id}`);
  const { type } = accept(Identity, body.identity ?? before?.identity ?? {}, ['principalId', 'tenantId']);
  const { principalId = randomUUID() } = asObject(before?.identity);
  return {
    identity: type === 'None' ? { type } : { type, principalId, tenantId: tenant },
    properties: {
      source,
      topicType: storageTopic,
      metricResourceId: before?.properties.metricResourceId ?? randomUUID(),
    },
  };
}

function subscription({ id, body, parents, list }: Asked): Made {
  const given = accept(SubscriptionProperties, asObject(body.properties), readOnly);
  const { destination, deliveryWithResourceIdentity } = given;
  if ((destination === undefined) === (deliveryWithResourceIdentity === undefined))
    throw new Refusal(400, 'InvalidRequest', 'One destination is needed, with an identity or without.');
  const above = parents.find(({ type }) => type === topicType);
  const ofTopic = /\/systemTopics\/[^/]+\/eventSubscriptions\//i.test(id);
  if (ofTopic && !above) throw new Refusal(404, 'ParentResourceNotFound', 'The system topic was not found.');
  if (deliveryWithResourceIdentity && asObject(above?.identity).type !== 'SystemAssigned')
    throw new Refusal(400, 'InvalidRequest', 'The topic has no identity to deliver with.');
  const to = (deliveryWithResourceIdentity?.destination ?? destination)?.properties;
  const queue = `${to?.resourceId}/queueServices/default/queues/${to?.queueName}`;
  const exists = [...list('Microsoft.Storage/storageAccounts/queueServices/queues')].some(
    (one) => keyOf(one.id) === keyOf(queue),
  );
  if (!exists) throw new Refusal(400, 'InvalidRequest', `The destination ${queue} does not exist.`);
  return { properties: { ...given, topic: above ? above.properties.source : sourceIn(id) } };
}

const common = { tracked: false, longRunning: true, ifMatch: false, global: false } as const;
const statuses = { created: 201, updated: 201, deleted: 202 } as const;

export const eventGridKinds: ArmKind[] = [
  { ...common, type: topicType, tracked: true, statuses, make: topic },
  { ...common, type: topicSubscriptionType, statuses, make: subscription },
  { ...common, type: sourceSubscriptionType, statuses, make: subscription },
];

/** Where a subscription delivers: the queue, and as whom; by the account's keys where no identity is given. */
export function deliveryOf(stored: Stored) {
  const { destination, deliveryWithResourceIdentity, filter } = SubscriptionProperties.parse(
    Object.fromEntries(Object.entries(stored.properties).filter(([name]) => !readOnly.includes(name))),
  );
  const to = (deliveryWithResourceIdentity?.destination ?? destination)?.properties;
  return {
    account: to?.resourceId ?? '',
    queue: `${to?.resourceId}/queueServices/default/queues/${to?.queueName}`,
    ttlSeconds: to?.queueMessageTimeToLiveInSeconds ?? 7 * 86_400,
    byIdentity: deliveryWithResourceIdentity !== undefined,
    filter,
  };
}
