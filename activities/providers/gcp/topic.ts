/** A Pub/Sub topic whose messages stay in the placement's region. */
import type { protos } from '@google-cloud/pubsub';
import { resourceName } from '../../../model/names.ts';
import type { Placement, ResourceSpec } from '../../../model/service.ts';
import { feedName } from '../change-feed.ts';
import type { ResourceDriver } from '../driver.ts';
import { type Clients, once } from './clients.ts';
import { abortable } from './compute-resource.ts';
import { ifFound } from './errors.ts';
import { cleanLabels, desiredLabels, foundBy, labelsOf, ownership } from './labels.ts';

type ITopic = protos.google.pubsub.v1.ITopic;

export const topicKind = 'gcp.pubsub.topic';

/** Pub/Sub keeps messages for 31 days at the most: https://cloud.google.com/pubsub/docs/replay-overview. */
const maxRetentionDays = 31;
const daySeconds = 24 * 3600;

export const messageRetentionDays = (wanted: number): number =>
  Math.min(Math.max(1, Math.ceil(wanted)), maxRetentionDays);

export const topicName = (placement: Placement): string => resourceName(placement, { limit: 255 });

export function topicSpec(
  placement: Placement,
  retentionDays: number,
): Pick<ResourceSpec, 'kind' | 'name' | 'desired'> {
  return {
    kind: topicKind,
    name: topicName(placement),
    desired: {
      tags: desiredLabels(placement),
      retentionDays: messageRetentionDays(retentionDays),
      regions: [placement.region],
    },
  };
}

export const days = (duration: protos.google.protobuf.IDuration | null | undefined): number =>
  Number(String(duration?.seconds ?? 0)) / daySeconds;
export const duration = (inDays: unknown): protos.google.protobuf.IDuration => ({
  seconds: Number(inDays) * daySeconds,
});

/** `lists`: which of the topics it finds; those of feeds are found as such. */
export function topicDriver(
  { project, pubsub }: Pick<Clients, 'project' | 'pubsub'>,
  lists = (name: string): boolean => !feedName.is(name),
): ResourceDriver {
  const path = (name: string): string => `projects/${project}/topics/${name}`;
  const wanted = (spec: ResourceSpec): ITopic => ({
    name: path(spec.name),
    labels: labelsOf(spec),
    messageRetentionDuration: duration(spec.desired.retentionDays),
    messageStoragePolicy: { allowedPersistenceRegions: strings(spec.desired.regions) },
  });
  const masks: Readonly<Record<string, string>> = {
    tags: 'labels',
    retentionDays: 'message_retention_duration',
    regions: 'message_storage_policy',
  };

  return {
    kind: topicKind,
    immutable: [],
    async observe(spec, { signal }) {
      const { topics } = await pubsub();
      const found = await ifFound(abortable(signal, topics.getTopic({ topic: path(spec.name) })));
      if (!found) return undefined;
      const [topic] = found;
      const { tags, ...owned } = ownership(topic.labels, spec);
      return {
        id: `//pubsub.googleapis.com/${path(spec.name)}`,
        ...owned,
        state: 'ready',
        properties: {
          tags,
          retentionDays: days(topic.messageRetentionDuration),
          regions: [...(topic.messageStoragePolicy?.allowedPersistenceRegions ?? [])].sort(),
          encryption: topic.kmsKeyName || 'keys that Google manages',
        },
        outputs: { topic: path(spec.name) },
      };
    },
    async create(spec, { signal }) {
      const { topics } = await pubsub();
      await abortable(signal, topics.createTopic(wanted(spec), once));
    },
    async update(spec, _observed, drift, { signal }) {
      const { topics } = await pubsub();
      const topic = wanted(spec);
      // The mask replaces all labels, so those of others go back with ours.
      const [present] = await abortable(signal, topics.getTopic({ topic: path(spec.name) }));
      topic.labels = { ...cleanLabels(present.labels), ...labelsOf(spec) };
      const paths = drift.flatMap((property) => masks[property] ?? []);
      await abortable(signal, topics.updateTopic({ topic, updateMask: { paths } }, once));
    },
    async remove({ name }, _observed, { signal }) {
      const { topics } = await pubsub();
      await ifFound(abortable(signal, topics.deleteTopic({ topic: path(name) }, once)));
    },
    async list({ placement, signal }) {
      const { topics } = await pubsub();
      const [all] = await abortable(signal, topics.listTopics({ project: `projects/${project}` }));
      return all
        .filter(({ messageStoragePolicy: policy }) => policy?.allowedPersistenceRegions?.includes(placement.region))
        .filter(({ name }) => lists(shortName(name)))
        .flatMap(({ name, labels }) =>
          foundBy(placement, topicKind, shortName(name), `//pubsub.googleapis.com/${name}`, labels),
        );
    },
  };
}

export const shortName = (name: string | null | undefined): string => (name ?? '').split('/').at(-1) ?? '';

const strings = (value: unknown): string[] => (Array.isArray(value) ? value.map(String) : []);
