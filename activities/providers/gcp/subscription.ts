/** The subscription by which a placement's messages are read; it never expires, however long nobody reads. */
import type { protos } from '@google-cloud/pubsub';
import { resourceName } from '../../../model/names.ts';
import type { Placement, ResourceSpec } from '../../../model/service.ts';
import { feedName } from '../change-feed.ts';
import type { ResourceDriver } from '../driver.ts';
import { followerName } from '../telemetry.ts';
import { type Clients, once } from './clients.ts';
import { abortable } from './compute-resource.ts';
import { ifFound } from './errors.ts';
import { cleanLabels, desiredLabels, foundBy, labelsOf, ownership } from './labels.ts';
import { days, duration, messageRetentionDays, shortName, topicName } from './topic.ts';

type ISubscription = protos.google.pubsub.v1.ISubscription;

export const subscriptionKind = 'gcp.pubsub.subscription';

export function subscriptionSpec(
  placement: Placement,
  retentionDays: number,
): Pick<ResourceSpec, 'kind' | 'name' | 'desired'> {
  return {
    kind: subscriptionKind,
    name: resourceName(placement, { limit: 255, suffix: 'reader' }),
    desired: {
      tags: desiredLabels(placement),
      topic: topicName(placement),
      retentionDays: messageRetentionDays(retentionDays),
      ackDeadlineSeconds: 60,
      expires: false,
    },
  };
}

/** `lists`: which of the subscriptions it finds; those of feeds are parts of these, those of followers a kind of their own. */
export function subscriptionDriver(
  { project, pubsub }: Pick<Clients, 'project' | 'pubsub'>,
  kind = subscriptionKind,
  lists = (name: string): boolean => !feedName.is(name) && !followerName.is(name),
): ResourceDriver {
  const path = (name: string): string => `projects/${project}/subscriptions/${name}`;
  const wanted = (spec: ResourceSpec): ISubscription => ({
    name: path(spec.name),
    topic: `projects/${project}/topics/${spec.desired.topic}`,
    labels: labelsOf(spec),
    messageRetentionDuration: duration(spec.desired.retentionDays),
    ackDeadlineSeconds: Number(spec.desired.ackDeadlineSeconds),
    // Given but empty: never.
    expirationPolicy: {},
    ...(spec.desired.filter !== undefined && { filter: String(spec.desired.filter) }),
  });
  const masks: Readonly<Record<string, string>> = {
    tags: 'labels',
    retentionDays: 'message_retention_duration',
    ackDeadlineSeconds: 'ack_deadline_seconds',
    expires: 'expiration_policy',
  };

  return {
    kind,
    immutable: ['topic', 'filter'],
    async observe(spec, { signal }) {
      const { subscriptions } = await pubsub();
      const found = await ifFound(abortable(signal, subscriptions.getSubscription({ subscription: path(spec.name) })));
      if (!found) return undefined;
      const [subscription] = found;
      const { tags, ...owned } = ownership(subscription.labels, spec);
      return {
        id: `//pubsub.googleapis.com/${path(spec.name)}`,
        ...owned,
        state: 'ready',
        properties: {
          tags,
          topic: shortName(subscription.topic),
          retentionDays: days(subscription.messageRetentionDuration),
          ackDeadlineSeconds: subscription.ackDeadlineSeconds ?? 10,
          expires: days(subscription.expirationPolicy?.ttl) > 0,
          filter: subscription.filter ?? '',
        },
        outputs: { subscription: path(spec.name) },
      };
    },
    async create(spec, { signal }) {
      const { subscriptions } = await pubsub();
      await abortable(signal, subscriptions.createSubscription(wanted(spec), once));
    },
    async update(spec, _observed, drift, { signal }) {
      const { subscriptions } = await pubsub();
      const subscription = wanted(spec);
      // The mask replaces all labels, so those of others go back with ours.
      const [present] = await abortable(signal, subscriptions.getSubscription({ subscription: path(spec.name) }));
      subscription.labels = { ...cleanLabels(present.labels), ...labelsOf(spec) };
      const paths = drift.flatMap((property) => masks[property] ?? []);
      await abortable(signal, subscriptions.updateSubscription({ subscription, updateMask: { paths } }, once));
    },
    async remove({ name }, _observed, { signal }) {
      const { subscriptions } = await pubsub();
      await ifFound(abortable(signal, subscriptions.deleteSubscription({ subscription: path(name) }, once)));
    },
    // A subscription has no region of its own: all that carry the estate's UID.
    async list({ placement, signal }) {
      const { subscriptions } = await pubsub();
      const [all] = await abortable(signal, subscriptions.listSubscriptions({ project: `projects/${project}` }));
      const some = all.filter(({ name }) => lists(shortName(name)));
      return some.flatMap(({ name, labels }) =>
        foundBy(placement, kind, shortName(name), `//pubsub.googleapis.com/${name}`, labels),
      );
    },
  };
}
