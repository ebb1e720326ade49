/**
 * The feed of a container: a system topic of Event Grid on its storage account, which sends to a queue of the same account. The
 * topic carries the owner's tags and has an identity of its own, which may send to that queue alone: with shared keys off, as on
 * our accounts, Event Grid has no other way. Azure lets an account have one system topic:
 * https://learn.microsoft.com/azure/event-grid/system-topics. What Event Grid tells, and that changes of metadata and tags are not
 * among it: https://learn.microsoft.com/azure/event-grid/event-schema-blob-storage.
 */

import { setTimeout as pause } from 'node:timers/promises';
import type { EventSubscription, SystemTopic } from '@azure/arm-eventgrid';
import { z } from 'zod';
import { resourceName, toTags } from '../../../model/names.ts';
import type { JsonObject, Placement, ResourceSpec } from '../../../model/service.ts';
import { type FeedDriver, feedName, type Notice } from '../change-feed.ts';
import type { Call, Found, ResourceDriver } from '../driver.ts';
import type { AzureClients } from './clients.ts';
import { found, isKind } from './errors.ts';
import { resourceGroupName, stateOf } from './resource-group.ts';
import { guid, type Role, roleId } from './role-assignment.ts';
import { accountName, containerName } from './storage-account.ts';
import { ours, ownerOf, region, tagsOf } from './tags.ts';

const kind = 'azure.eventgrid.feed';
/** As long as we may look: the longest is for ever. */
const retentionSeconds = 7 * 86_400;
/** Until what was received and not acknowledged comes again. */
const hiddenSeconds = 300;
/** A queue gives no more at once, and does not wait for a message: it is asked again after this. */
const batch = 32;
const askAgainMs = 250;

const sender = 'Storage Queue Data Message Sender';
const receiver = 'Storage Queue Data Message Processor';
const assignmentName = ({ name }: ResourceSpec, role: Role): string => guid(`${name}/${role}`);

const nameOf = (placement: Placement): string => resourceName(placement, { limit: 50, suffix: feedName.suffix });

const Event = z.looseObject({
  subject: z.string(),
  eventTime: z.string(),
  eventType: z.string().default(''),
  data: z.looseObject({ eTag: z.string().optional(), sequencer: z.string().optional() }).default({}),
});

/** Names in a subject are as they are, not encoded. */
export function noticeOf(text: string, receipt: string, container: string): Notice {
  const { subject, eventTime, eventType, data } = Event.parse(JSON.parse(Buffer.from(text, 'base64').toString('utf8')));
  const before = `${subjectOf(container)}blobs/`;
  if (!subject.startsWith(before)) return { changes: [], receipt };
  const deleted = eventType === 'Microsoft.Storage.BlobDeleted';
  const version = deleted ? undefined : data.eTag?.replaceAll('"', '');
  const { sequencer: sequence } = data;
  return { changes: [{ key: subject.slice(before.length), at: eventTime, deleted, version, sequence }], receipt };
}
const subjectOf = (container: string): string => `/blobServices/default/containers/${container}/`;

export function containerFeed(clients: AzureClients): FeedDriver {
  return {
    design: (placement) => ({
      key: 'feed',
      kind,
      name: nameOf(placement),
      needs: [],
      holdsData: false,
      desired: { tags: toTags(placement.owner), receives: true, sends: true },
    }),
    open(placement) {
      const queue = clients.queue(accountName(placement), nameOf(placement));
      return {
        async receive(waitMs, abortSignal) {
          const until = Date.now() + waitMs;
          for (;;) {
            const { receivedMessageItems: items } = await queue.receiveMessages({
              numberOfMessages: batch,
              visibilityTimeout: hiddenSeconds,
              abortSignal,
            });
            if (items.length > 0)
              return items.map(({ messageText, messageId, popReceipt }) =>
                noticeOf(messageText, `${messageId} ${popReceipt}`, containerName(placement)),
              );
            const left = until - Date.now();
            if (left <= 0) return [];
            await pause(Math.min(askAgainMs, left), undefined, { signal: abortSignal });
          }
        },
        async acknowledge(receipts, abortSignal) {
          await Promise.all(
            receipts.map((receipt) => {
              const [id = '', popReceipt = ''] = receipt.split(' ');
              // One that came again meanwhile has another receipt.
              return queue.deleteMessage(id, popReceipt, { abortSignal }).catch((error: unknown) => {
                if (!isKind(error, 'NotFound') && !isKind(error, 'InvalidInput')) throw error;
              });
            }),
          );
        },
      };
    },
  };
}

export function feedDriver(clients: AzureClients): ResourceDriver {
  const grid = ({ placement }: Pick<Call, 'placement'>) => clients.eventGrid(placement.account);
  const accountId = ({ account, ...placement }: Placement): string =>
    `/subscriptions/${account}/resourceGroups/${resourceGroupName({ account, ...placement })}/providers/Microsoft.Storage/storageAccounts/${accountName({ account, ...placement })}`;
  const queueId = (spec: ResourceSpec, placement: Placement): string =>
    `${accountId(placement)}/queueServices/default/queues/${spec.name}`;

  const read = (spec: ResourceSpec, call: Call): Promise<SystemTopic | undefined> =>
    found(() =>
      grid(call).systemTopics.get(resourceGroupName(call.placement), spec.name, { abortSignal: call.signal }),
    );

  /** Who may do what with the queue: the topic sends, we receive. */
  async function holdersOf(call: Call, topic: SystemTopic | undefined): Promise<[Role, string][]> {
    return [
      [sender, topic?.identity?.principalId ?? ''],
      [receiver, await clients.principal(call.signal)],
    ];
  }

  async function isReceiving(spec: ResourceSpec, call: Call, topic: SystemTopic): Promise<boolean> {
    const { placement, signal: abortSignal } = call;
    const scope = queueId(spec, placement);
    const { queue } = clients.storage(placement.account);
    const { roleAssignments } = clients.authorization(placement.account);
    const there = await found(() =>
      queue.get(resourceGroupName(placement), accountName(placement), spec.name, { abortSignal }),
    );
    if (!there) return false;
    const wanted = await holdersOf(call, topic);
    const given = await Promise.all(
      wanted.map(async ([role, principalId]) => {
        const seen = await found(() => roleAssignments.get(scope, assignmentName(spec, role), { abortSignal }));
        return seen?.principalId === principalId;
      }),
    );
    return given.every(Boolean);
  }

  function subscriptionOf(spec: ResourceSpec, placement: Placement): EventSubscription {
    return {
      deliveryWithResourceIdentity: {
        identity: { type: 'SystemAssigned' },
        destination: {
          endpointType: 'StorageQueue',
          resourceId: accountId(placement),
          queueName: spec.name,
          queueMessageTimeToLiveInSeconds: retentionSeconds,
        },
      },
      filter: {
        subjectBeginsWith: subjectOf(containerName(placement)),
        includedEventTypes: ['Microsoft.Storage.BlobCreated', 'Microsoft.Storage.BlobDeleted'],
      },
      eventDeliverySchema: 'EventGridSchema',
    };
  }

  const subscription = (spec: ResourceSpec, call: Call): Promise<EventSubscription | undefined> => {
    const { placement, signal: abortSignal } = call;
    const subscriptions = grid(call).systemTopicEventSubscriptions;
    return found(() => subscriptions.get(resourceGroupName(placement), spec.name, spec.name, { abortSignal }));
  };
  function isSending(seen: EventSubscription | undefined, spec: ResourceSpec, placement: Placement): boolean {
    const to = seen?.deliveryWithResourceIdentity?.destination;
    return (
      to !== undefined &&
      'queueName' in to &&
      to.queueName === spec.name &&
      seen?.filter?.subjectBeginsWith === subjectOf(containerName(placement))
    );
  }

  const topicOf = (placement: Placement, tags: Record<string, string>): SystemTopic => ({
    location: placement.region,
    source: accountId(placement),
    topicType: 'Microsoft.Storage.StorageAccounts',
    identity: { type: 'SystemAssigned' },
    tags,
  });

  return {
    kind,
    immutable: [],

    async observe(spec, call) {
      const topic = await read(spec, call);
      if (!topic?.id) return undefined;
      const properties: JsonObject = { tags: tagsOf(topic.tags), receives: false, sends: false };
      let state = stateOf(topic.provisioningState);
      if (state === 'ready') {
        const [receives, seen] = await Promise.all([isReceiving(spec, call, topic), subscription(spec, call)]);
        properties.receives = receives;
        properties.sends = isSending(seen, spec, call.placement);
        if (seen) state = stateOf(seen.provisioningState);
      }
      return { id: topic.id, owner: ownerOf(topic.tags), state, properties, outputs: { topic: spec.name } };
    },

    // What comes after the topic is made by the update that follows: roles need the identity that the topic then has.
    async create(spec, call) {
      const { placement, signal: abortSignal } = call;
      const body = topicOf(placement, toTags(placement.owner));
      const group = resourceGroupName(placement);
      await grid(call).systemTopics.beginCreateOrUpdate(group, spec.name, body, { abortSignal });
    },

    async update(spec, _observed, drift, call) {
      const { placement, signal: abortSignal } = call;
      const group = resourceGroupName(placement);
      const topic = await read(spec, call);
      if (drift.includes('tags')) {
        const tags = { ...topic?.tags, ...toTags(placement.owner) };
        await grid(call).systemTopics.beginUpdate(group, spec.name, { tags }, { abortSignal });
      }
      if (drift.includes('receives')) {
        const scope = queueId(spec, placement);
        const { roleAssignments } = clients.authorization(placement.account);
        await clients
          .storage(placement.account)
          .queue.create(group, accountName(placement), spec.name, {}, { abortSignal });
        for (const [role, principalId] of await holdersOf(call, topic)) {
          const name = assignmentName(spec, role);
          const seen = await found(() => roleAssignments.get(scope, name, { abortSignal }));
          if (seen?.principalId === principalId) continue;
          // An assignment cannot change: other credentials have another one.
          if (seen) await found(() => roleAssignments.delete(scope, name, { abortSignal }));
          const roleDefinitionId = roleId(placement.account, role);
          const principalType = 'ServicePrincipal';
          await roleAssignments.create(scope, name, { roleDefinitionId, principalId, principalType }, { abortSignal });
        }
      }
      if (drift.includes('sends')) {
        const subscriptions = grid(call).systemTopicEventSubscriptions;
        const body = subscriptionOf(spec, placement);
        await subscriptions.beginCreateOrUpdate(group, spec.name, spec.name, body, { abortSignal });
      }
    },

    async remove(spec, _observed, call) {
      const { placement, signal: abortSignal } = call;
      const group = resourceGroupName(placement);
      const scope = queueId(spec, placement);
      const { roleAssignments } = clients.authorization(placement.account);
      for (const role of [sender, receiver] as const)
        await found(() => roleAssignments.delete(scope, assignmentName(spec, role), { abortSignal }));
      await found(() =>
        clients.storage(placement.account).queue.delete(group, accountName(placement), spec.name, { abortSignal }),
      );
      // Its subscription goes with it.
      await found(() => grid(call).systemTopics.beginDelete(group, spec.name, { abortSignal }));
    },

    async list(call) {
      const all: Found[] = [];
      for await (const seen of grid(call).systemTopics.listBySubscription({ abortSignal: call.signal })) {
        const owner = ours(seen.tags, call.placement);
        if (owner && seen.id && seen.name && region(seen.location) === call.placement.region)
          all.push({ kind, name: seen.name, id: seen.id, owner });
      }
      return all;
    },
  };
}
