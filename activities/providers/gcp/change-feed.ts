/**
 * The feed of a bucket: its Pub/Sub notifications, to a topic with one subscription. The topic carries the owner's labels; each
 * notification configuration of a bucket is a resource of its own, and ours is known by its topic.
 * https://cloud.google.com/storage/docs/pubsub-notifications
 */
import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import { CloudError } from '../../../model/errors.ts';
import { resourceName } from '../../../model/names.ts';
import type { Placement, ResourceSpec } from '../../../model/service.ts';
import { type FeedDriver, feedName, type Notice } from '../change-feed.ts';
import type { Observed, ResourceDriver } from '../driver.ts';
import { bucketName } from './bucket.ts';
import { type Clients, once } from './clients.ts';
import { abortable } from './compute-resource.ts';
import { ifFound, isKind, isTimeout } from './errors.ts';
import { iamMemberDriver } from './iam-member.ts';
import { subscriptionDriver, subscriptionSpec } from './subscription.ts';
import { topicDriver, topicSpec } from './topic.ts';

const kind = 'gcp.storage.feed';
/** A deletion in a versioned bucket archives; so does an overwrite, which says so and is told besides. */
const eventTypes = ['OBJECT_ARCHIVE', 'OBJECT_DELETE', 'OBJECT_FINALIZE', 'OBJECT_METADATA_UPDATE'];
/** The longest that a subscription keeps what nobody fetches, days. */
const retentionDays = 31;
/** Until what was received and not acknowledged comes again; the longest that can be asked for is 600 s. */
const hiddenSeconds = 300;
/** Pub/Sub gives and takes no more at once. */
const batch = 1000;

const nameOf = (placement: Placement): string => resourceName(placement, { limit: 255, suffix: feedName.suffix });

const Attributes = z.object({
  objectId: z.string(),
  eventTime: z.string(),
  eventType: z.string().default(''),
  objectGeneration: z.string().optional(),
  overwrittenByGeneration: z.string().optional(),
});

function noticeOf(attributes: unknown, receipt: string): Notice {
  const { data } = Attributes.safeParse(attributes);
  if (!data || data.overwrittenByGeneration !== undefined) return { changes: [], receipt };
  const { objectId: key, eventTime: at, eventType, objectGeneration: generation } = data;
  // A new generation begins with the metageneration 1; of later ones the event does not tell.
  const version = eventType === 'OBJECT_FINALIZE' && generation ? `${generation}.1` : undefined;
  const deleted = ['OBJECT_DELETE', 'OBJECT_ARCHIVE'].includes(eventType);
  return { changes: [{ key, at, deleted, version, ...(!deleted && { sequence: generation }) }], receipt };
}

export function bucketFeed({ project, pubsub }: Pick<Clients, 'project' | 'pubsub'>): FeedDriver {
  return {
    design: (placement) => ({
      key: 'feed',
      kind,
      name: nameOf(placement),
      needs: [],
      holdsData: false,
      desired: { tags: topicSpec(placement, retentionDays).desired.tags ?? {}, receives: true, sends: true },
    }),
    open(placement) {
      const subscription = `projects/${project}/subscriptions/${nameOf(placement)}`;
      return {
        async receive(waitMs, signal) {
          const { subscriptions } = await pubsub();
          // Pub/Sub itself ends a wait; what it would have handed to one that was given up comes again later.
          const within = { ...once, timeout: waitMs };
          const pulling = subscriptions.pull({ subscription, maxMessages: batch }, within);
          const [{ receivedMessages }] = await abortable(signal, pulling).catch((error: unknown) => {
            if (isTimeout(error)) return [{ receivedMessages: [] }];
            throw error;
          });
          return (receivedMessages ?? []).map(({ message, ackId }) => noticeOf(message?.attributes, ackId ?? ''));
        },
        async acknowledge(receipts, signal) {
          const { subscriptions } = await pubsub();
          for (let start = 0; start < receipts.length; start += batch) {
            const ackIds = receipts.slice(start, start + batch);
            await abortable(signal, subscriptions.acknowledge({ subscription, ackIds }, once));
          }
        },
      };
    },
  };
}

export function feedDriver(clients: Pick<Clients, 'project' | 'pubsub' | 'rest' | 'storage'>): ResourceDriver {
  const { project, rest, storage } = clients;
  const topics = topicDriver(clients, feedName.is);
  const subscriptions = subscriptionDriver(clients);
  const publishers = iamMemberDriver(project, rest);
  const topicOf = ({ name }: ResourceSpec, placement: Placement): ResourceSpec => ({
    key: 'feed',
    needs: [],
    holdsData: false,
    ...topicSpec(placement, 1),
    name,
  });
  const subscriptionOf = ({ name }: ResourceSpec, placement: Placement): ResourceSpec => {
    const { desired, ...spec } = subscriptionSpec(placement, retentionDays);
    const own = { ...desired, topic: name, ackDeadlineSeconds: hiddenSeconds };
    return { key: 'feed', needs: [], holdsData: false, ...spec, name, desired: own };
  };
  /** Cloud Storage itself, as it is known in this project. */
  const publisherOf = async ({ name }: ResourceSpec, signal: AbortSignal): Promise<ResourceSpec> => {
    const [{ emailAddress = '' }] = await abortable(signal, storage().getServiceAccount());
    const desired = {
      on: 'topic',
      target: name,
      role: 'roles/pubsub.publisher',
      member: `serviceAccount:${emailAddress}`,
    };
    return { key: 'feed', kind: publishers.kind, name, needs: [], holdsData: false, desired };
  };
  const drift = (spec: ResourceSpec, observed: Observed): string[] =>
    Object.keys(spec.desired).filter((key) => !isDeepStrictEqual(spec.desired[key], observed.properties[key]));

  /** Ours, of this bucket; none where there is no such bucket. */
  async function notifications({ name }: ResourceSpec, placement: Placement, signal: AbortSignal) {
    const found = await ifFound(abortable(signal, storage().bucket(bucketName(placement)).getNotifications()));
    const topic = `//pubsub.googleapis.com/projects/${project}/topics/${name}`;
    return (found?.[0] ?? []).filter(({ metadata }) => metadata?.topic === topic);
  }

  return {
    kind,
    immutable: [],

    async observe(spec, call) {
      const topic = await topics.observe(topicOf(spec, call.placement), call);
      if (!topic) return undefined;
      const reader = subscriptionOf(spec, call.placement);
      const [subscription, publisher, sent] = await Promise.all([
        subscriptions.observe(reader, call),
        publisherOf(spec, call.signal).then((publishes) => publishers.observe(publishes, call)),
        notifications(spec, call.placement, call.signal),
      ]);
      const told = sent[0]?.metadata?.event_types?.toSorted();
      return {
        ...topic,
        properties: {
          tags: topic.properties.tags ?? {},
          receives: subscription !== undefined && drift(reader, subscription).length === 0,
          sends: publisher !== undefined && sent.length === 1 && isDeepStrictEqual(told, eventTypes),
        },
        outputs: { topic: spec.name },
      };
    },

    // What comes after the topic is made by the update that follows.
    create: (spec, call) => topics.create(topicOf(spec, call.placement), call),

    async update(spec, observed, differs, call) {
      const { placement, signal } = call;
      if (differs.includes('tags')) await topics.update(topicOf(spec, placement), observed, ['tags'], call);
      if (differs.includes('receives')) {
        const reader = subscriptionOf(spec, placement);
        const present = await subscriptions.observe(reader, call);
        if (present) await subscriptions.update(reader, present, Object.keys(reader.desired), call);
        else await subscriptions.create(reader, call);
      }
      if (!differs.includes('sends')) return;
      await publishers.create(await publisherOf(spec, signal), call);
      for (const one of await notifications(spec, placement, signal)) await ifFound(abortable(signal, one.delete()));
      const bucket = storage().bucket(bucketName(placement));
      const options = { eventTypes, payloadFormat: 'NONE' };
      const topic = `projects/${project}/topics/${spec.name}`;
      try {
        await abortable(signal, bucket.createNotification(topic, options));
      } catch (error) {
        // Cloud Storage looks whether it may publish, which it may some seconds after it was told.
        if (!isKind(error, 'PermissionDenied') && !isKind(error, 'InvalidInput')) throw error;
        const fields = { provider: 'gcp', operation: 'storage.notifications.insert', resource: spec.name };
        throw new CloudError({
          ...fields,
          kind: isKind(error, 'PermissionDenied') ? 'PermissionDenied' : 'Unavailable',
        });
      }
    },

    async remove(spec, observed, call) {
      const { placement, signal } = call;
      for (const one of await notifications(spec, placement, signal)) await ifFound(abortable(signal, one.delete()));
      await subscriptions.remove(subscriptionOf(spec, placement), observed, call);
      await topics.remove(topicOf(spec, placement), observed, call);
    },

    async list(call) {
      return (await topics.list(call)).map((one) => ({ ...one, kind }));
    },
  };
}
